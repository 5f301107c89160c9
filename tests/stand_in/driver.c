/* A stand-in for libcuda.so.1: the driver's functions that numba-cuda and fastmlp call.

   Memory of the GPU is the host's, and its machine code is what translation.py makes of a kernel's
   LLVM IR. A stream is a queue that the host works off when somebody waits for it, or before, as
   `orders` says: a missing wait shows. What a driver would refuse is refused by its error code. What
   it would not notice, such as the use of freed memory, ends the process with a line on stderr that
   says so. */
#define _GNU_SOURCE
#include "stand_in.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int Result;
typedef unsigned long long Pointer;
typedef void *Handle;
enum {
  SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201, NOT_FOUND = 500, NOT_READY = 600, CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
};

/* One host thread at a time. Recursive: running a stream may lead to another one. */
static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static void unlock(int *unused) { (void)unused; pthread_mutex_unlock(&mutex); }
#define LOCKED \
  pthread_mutex_lock(&mutex); \
  __attribute__((cleanup(unlock), unused)) int locked = 0

/* ---- the GPU --------------------------------------------------------------------------------- */

enum {
  DRIVER_VERSION = 13000,
  MULTIPROCESSORS = 6, /* few: small networks then fill them, and go round several times */
  MOST_THREADS = 1024, MOST_SHARED = 227 << 10, SHARED_UNASKED = 48 << 10,
};
static const size_t TOTAL_MEMORY = (size_t)4 << 30;

static const struct {
  int attribute, value;
} ATTRIBUTES[] = {
  {1, MOST_THREADS}, {2, 1024}, {3, 1024}, {4, 64}, /* threads of a block, and in each direction */
  {5, 2147483647}, {6, 65535}, {7, 65535},          /* blocks of a grid */
  {8, SHARED_UNASKED}, {97, MOST_SHARED}, {81, 228 << 10}, /* shared memory: of a block, by default
                                                             and at most; of a multiprocessor */
  {10, 32}, {12, 65536}, {82, 65536},  /* threads of a warp, registers of a block and of ... */
  {16, MULTIPROCESSORS}, {39, 2048},   /* ... multiprocessors, and their threads */
  {13, 1980000}, {38, 50 << 20},                           /* clock, L2 cache */
  {31, 1}, {41, 1}, {95, 1}, {75, 9}, {76, 0},             /* abilities, compute capability */
};

Result cuInit(unsigned flags) { (void)flags; return SUCCESS; }
Result cuDriverGetVersion(int *version) { *version = DRIVER_VERSION; return SUCCESS; }
Result cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }

Result cuDeviceGet(int *device, int number) {
  *device = 0;
  return number ? INVALID_DEVICE : SUCCESS;
}

Result cuDeviceGetName(char *name, int length, int device) {
  (void)device;
  snprintf(name, length, "a stand-in for a GPU");
  return SUCCESS;
}

Result cuDeviceGetUuid(char *uuid, int device) {
  (void)device;
  memset(uuid, 1, 16);
  return SUCCESS;
}

Result cuDeviceTotalMem(size_t *bytes, int device) {
  (void)device;
  *bytes = TOTAL_MEMORY;
  return SUCCESS;
}

Result cuDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  *value = 0;
  for (size_t i = 0; i < sizeof ATTRIBUTES / sizeof *ATTRIBUTES; i++)
    if (ATTRIBUTES[i].attribute == attribute) *value = ATTRIBUTES[i].value;
  return SUCCESS;
}

/* ---- contexts: there is one ------------------------------------------------------------------ */

enum { MOST_CONTEXTS = 64 };
static int the_context;
static __thread Handle stack[MOST_CONTEXTS];
static __thread int depth;

Result cuDevicePrimaryCtxRetain(Handle *context, int device) {
  (void)device;
  *context = &the_context;
  return SUCCESS;
}

Result cuDevicePrimaryCtxRelease(int device) { (void)device; return SUCCESS; }
Result cuDevicePrimaryCtxReset(int device) { (void)device; return SUCCESS; }

Result cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
  (void)device;
  *flags = 0;
  *active = 1;
  return SUCCESS;
}

Result cuCtxGetCurrent(Handle *context) {
  *context = depth ? stack[depth - 1] : NULL;
  return SUCCESS;
}

Result cuCtxPushCurrent(Handle context) {
  if (depth == MOST_CONTEXTS) stop("more than %d contexts are pushed", MOST_CONTEXTS);
  stack[depth++] = context;
  return SUCCESS;
}

Result cuCtxPopCurrent(Handle *context) {
  if (!depth) return INVALID_CONTEXT;
  depth--;
  if (context) *context = stack[depth];
  return SUCCESS;
}

Result cuCtxSetCurrent(Handle context) {
  if (depth) depth--;
  return context ? cuCtxPushCurrent(context) : SUCCESS;
}

Result cuCtxGetDevice(int *device) {
  *device = 0;
  return depth ? SUCCESS : INVALID_CONTEXT;
}

Result cuCtxGetId(Handle context, unsigned long long *id) {
  (void)context;
  *id = 1;
  return SUCCESS;
}

Result cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  *least = 0;
  *greatest = -5;
  return SUCCESS;
}

/* ---- memory ------------------------------------------------------------------------------------

   Every allocation ends, to 16 bytes, at a page that must not be touched, and its addresses are
   never used again: reading or writing beyond its end, or after it was freed, is a fault. */

enum { POISON = 0xff, GRAIN = 16 };
static const size_t ROOM = (size_t)64 << 30; /* of addresses, not of memory */

typedef struct Memory {
  char *at, *pages;
  size_t bytes, length; /* asked for, and of all pages */
  int on_host, freed;
  struct Memory *before;
} Memory;

static Memory *memories;
static char *room, *next_room;
static size_t used;

static Memory *memory_at(const void *address) {
  for (Memory *m = memories; m; m = m->before)
    if ((char *)address >= m->pages && (char *)address < m->pages + m->length) return m;
  return NULL;
}

void describe_address(const void *address, char *text, size_t length) {
  const Memory *m = memory_at(address);
  if (!m)
    snprintf(text, length, "which is no memory of the GPU");
  else
    snprintf(text, length, "%td bytes from the start of %zu %s", (char *)address - m->at, m->bytes,
             m->freed ? "that were freed" : "allocated ones");
}

static void *allocated(size_t bytes, int on_host) {
  size_t page = sysconf(_SC_PAGESIZE), length = (bytes + page - 1) / page * page + page;
  if (!room) {
    room = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) stop("no room for the memory of a GPU");
    next_room = room;
  }
  if (next_room + length > room + ROOM) stop("all addresses for the memory of a GPU are used up");
  Memory *m = calloc(1, sizeof *m);
  *m = (Memory){.pages = next_room, .bytes = bytes, .length = length, .on_host = on_host};
  m->at = next_room + length - page - (bytes + GRAIN - 1) / GRAIN * GRAIN;
  next_room += length;
  mprotect(m->pages, length - page, PROT_READ | PROT_WRITE);
  memset(m->pages, POISON, length - page);
  m->before = memories;
  memories = m;
  if (!on_host) used += bytes;
  return m->at;
}

static void check_margin(const Memory *m, const char *from, const char *to) {
  for (const char *c = from; c < to; c++)
    if ((unsigned char)*c != POISON)
      stop("a write at byte %td of %zu allocated ones", c - m->at, m->bytes);
}

static void freed(void *address, int on_host) {
  Memory *m = memory_at(address);
  if (!m || m->at != address || m->on_host != on_host || m->freed)
    stop("%p is freed, and was not allocated", address);
  check_margin(m, m->pages, m->at);
  check_margin(m, m->at + m->bytes, m->pages + m->length - sysconf(_SC_PAGESIZE));
  m->freed = 1;
  if (!on_host) used -= m->bytes;
  madvise(m->pages, m->length, MADV_DONTNEED);
  mprotect(m->pages, m->length, PROT_NONE);
}

static void check_access(const void *address, size_t bytes, const char *what) {
  const Memory *m = memory_at(address);
  char text[200];
  describe_address(address, text, sizeof text);
  if (bytes && (!m || m->freed || (char *)address < m->at ||
                (char *)address + bytes > m->at + m->bytes))
    stop("%s of %zu bytes at %p, %s", what, bytes, address, text);
}

static int is_pinned(const void *address) {
  const Memory *m = memory_at(address);
  return m && m->on_host && !m->freed;
}

/* ---- streams, events, graphs -------------------------------------------------------------------

   Handles are never freed, so that the use of a destroyed one is noticed. */

typedef enum { STREAM = 0x57e0, EVENT, GRAPH, EXECUTABLE, LIBRARY, FUNCTION } Type;

typedef struct {
  Type type;
  int destroyed;
} Object;

static void *object(Type type, size_t bytes) {
  Object *one = calloc(1, bytes);
  one->type = type;
  return one;
}

static const char *const NAMES[] = {
  "stream", "event", "graph", "executable graph", "library", "kernel",
};

static void *checked(Handle handle, Type type) {
  Object *one = handle;
  if (!one || one->type != type) stop("%p is no %s", handle, NAMES[type - STREAM]);
  if (one->destroyed) stop("a %s is used after it was destroyed", NAMES[type - STREAM]);
  return one;
}

static void destroyed(Handle handle, Type type) {
  Object *one = checked(handle, type);
  one->destroyed = 1;
}

typedef struct Stream Stream;

typedef struct {
  Object object;
  Stream *stream;
  long recorded, done; /* how many times */
} Event;

typedef struct Work Work;
typedef struct {
  Object object;
  Work *first;
} Graph;

struct Work {
  enum { COPY, FILL, LAUNCH, RECORD, WAIT, REPEAT } kind;
  void *to;
  const void *from;
  char *staged; /* a copy of pageable memory, which belongs to the caller again */
  size_t bytes;
  int value;
  Launch launch;
  Event *event;
  long version;
  Graph *graph;
  Work *next;
};

struct Stream {
  Object object;
  Work *first, **last;
  int blocking, capturing, invalid;
  Stream *before;
};

typedef struct {
  Object object;
  Kernel kernel;
  void *library;
} Function;

static Stream *streams;
/* What is queued into the default stream is done at once, after all blocking streams. */
static Stream default_stream = {.object = {.type = STREAM}, .blocking = 1};
static long launches, repeats;

static int is_default(Handle stream) { return (uintptr_t)stream <= 2; }
static Stream *stream_of(Handle stream) {
  if (!default_stream.last) default_stream.last = &default_stream.first;
  return is_default(stream) ? &default_stream : checked(stream, STREAM);
}

static void finish_event(const Event *event, long version);

static void run(Work *work) {
  switch (work->kind) {
    case COPY: memcpy(work->to, work->from, work->bytes); break;
    case FILL: memset(work->to, work->value, work->bytes); break;
    case LAUNCH:
      launches++;
      run_kernel(&work->launch);
      break;
    case RECORD:
      if (work->event->done < work->version) work->event->done = work->version;
      break;
    case WAIT: finish_event(work->event, work->version); break;
    case REPEAT:
      repeats++;
      for (Work *one = work->graph->first; one; one = one->next) run(one);
      break;
  }
}

static void run_first(Stream *stream) {
  Work *work = stream->first;
  stream->first = work->next;
  if (!stream->first) stream->last = &stream->first;
  run(work);
  if (work->kind == LAUNCH) free(work->launch.parameters);
  free(work->staged);
  free(work);
}

static void finish(Stream *stream) {
  while (stream->first && !stream->capturing) run_first(stream);
}

static void finish_all(int blocking_only) {
  for (Stream *s = streams; s; s = s->before)
    if (s->blocking || !blocking_only) finish(s);
}

static void finish_event(const Event *event, long version) {
  while (event->done < version) {
    if (!event->stream->first) stop("an event is waited for that is never recorded");
    run_first(event->stream);
  }
}

/* Whatever may have happened until the host comes to its next call. */
static void let_run(void) {
  int count = 0;
  if (orders.streams == AT_ONCE) finish_all(0);
  if (orders.streams != ANY_TIME) return;
  for (Stream *s = streams; s; s = s->before) count++;
  while (count && random_number() % 3 == 0) {
    Stream *s = streams;
    for (int i = random_number() % count; i > 0; i--) s = s->before;
    if (s->first && !s->capturing) run_first(s);
  }
}

static Result queue(Stream *stream, Work work) {
  Work *one = malloc(sizeof *one);
  *one = work;
  one->next = NULL;
  if (stream == &default_stream) finish_all(1);
  *stream->last = one;
  stream->last = &one->next;
  if (stream == &default_stream) finish(stream);
  let_run();
  return SUCCESS;
}

static int captures(void) {
  for (Stream *s = streams; s; s = s->before)
    if (s->capturing) return 1;
  return 0;
}

/* What no capture allows ends those that there are. */
static Result refused_in_captures(void) {
  if (!captures()) return SUCCESS;
  for (Stream *s = streams; s; s = s->before) s->invalid |= s->capturing;
  return CAPTURE_UNSUPPORTED;
}

Result cuStreamCreate(Handle *handle, unsigned flags) {
  LOCKED;
  Stream *stream = object(STREAM, sizeof *stream);
  stream->last = &stream->first;
  stream->blocking = !(flags & 1);
  stream->before = streams;
  *handle = streams = stream;
  return SUCCESS;
}

Result cuStreamCreateWithPriority(Handle *handle, unsigned flags, int priority) {
  (void)priority;
  return cuStreamCreate(handle, flags);
}

Result cuStreamDestroy(Handle handle) {
  LOCKED;
  Stream *stream = checked(handle, STREAM);
  if (stream->capturing) stop("a stream is destroyed while it captures");
  finish(stream);
  for (Stream **s = &streams; *s; s = &(*s)->before)
    if (*s == stream) {
      *s = stream->before;
      break;
    }
  destroyed(handle, STREAM);
  return SUCCESS;
}

Result cuStreamSynchronize(Handle handle) {
  LOCKED;
  Stream *stream = stream_of(handle);
  if (stream->capturing) {
    stream->invalid = 1;
    return CAPTURE_UNSUPPORTED;
  }
  if (stream == &default_stream) finish_all(1);
  finish(stream);
  return SUCCESS;
}

Result cuStreamQuery(Handle handle) {
  LOCKED;
  let_run();
  return stream_of(handle)->first ? NOT_READY : SUCCESS;
}

Result cuStreamGetCtx(Handle handle, Handle *context) {
  stream_of(handle);
  *context = &the_context;
  return SUCCESS;
}

Result cuStreamGetFlags(Handle handle, unsigned *flags) {
  *flags = !stream_of(handle)->blocking;
  return SUCCESS;
}

Result cuStreamGetPriority(Handle handle, int *priority) {
  stream_of(handle);
  *priority = 0;
  return SUCCESS;
}

Result cuStreamIsCapturing(Handle handle, int *status) {
  const Stream *stream = stream_of(handle);
  *status = stream->invalid ? 2 : stream->capturing;
  return SUCCESS;
}

Result cuCtxSynchronize(void) {
  LOCKED;
  Result result = refused_in_captures();
  if (!result) finish_all(0);
  return result;
}

Result cuEventCreate(Handle *handle, unsigned flags) {
  (void)flags;
  *handle = object(EVENT, sizeof(Event));
  return SUCCESS;
}

Result cuEventDestroy(Handle handle) {
  LOCKED;
  destroyed(handle, EVENT);
  return SUCCESS;
}

Result cuEventRecord(Handle handle, Handle where) {
  LOCKED;
  Event *event = checked(handle, EVENT);
  event->stream = stream_of(where);
  if (event->stream->capturing) stop("the stand-in knows no events in captures");
  event->recorded++;
  return queue(event->stream, (Work){.kind = RECORD, .event = event, .version = event->recorded});
}

Result cuStreamWaitEvent(Handle where, Handle handle, unsigned flags) {
  LOCKED;
  (void)flags;
  Event *event = checked(handle, EVENT);
  Stream *stream = stream_of(where);
  if (stream->capturing) stop("the stand-in knows no events in captures");
  if (!event->recorded) return SUCCESS;
  return queue(stream, (Work){.kind = WAIT, .event = event, .version = event->recorded});
}

Result cuEventSynchronize(Handle handle) {
  LOCKED;
  const Event *event = checked(handle, EVENT);
  finish_event(event, event->recorded);
  return SUCCESS;
}

Result cuEventQuery(Handle handle) {
  LOCKED;
  const Event *event = checked(handle, EVENT);
  let_run();
  return event->done < event->recorded ? NOT_READY : SUCCESS;
}

Result cuEventElapsedTime(float *milliseconds, Handle start, Handle end) {
  checked(start, EVENT);
  checked(end, EVENT);
  *milliseconds = 1;
  return SUCCESS;
}

Result cuStreamBeginCapture(Handle handle, int mode) {
  LOCKED;
  enum { RELAXED = 2 };
  Stream *stream = stream_of(handle);
  if (stream == &default_stream) return CAPTURE_UNSUPPORTED;
  if (mode != RELAXED) stop("the stand-in knows relaxed captures only");
  if (stream->capturing) stop("a capture in a capture");
  finish(stream); /* one queue is enough then; a driver would go on with it meanwhile */
  stream->capturing = 1;
  stream->invalid = 0;
  return SUCCESS;
}

Result cuStreamEndCapture(Handle handle, Handle *graph) {
  LOCKED;
  Stream *stream = checked(handle, STREAM);
  if (!stream->capturing) return INVALID_VALUE;
  Graph *one = object(GRAPH, sizeof *one);
  one->first = stream->first;
  stream->first = NULL;
  stream->last = &stream->first;
  stream->capturing = 0;
  *graph = stream->invalid ? NULL : one;
  return stream->invalid ? CAPTURE_INVALIDATED : SUCCESS;
}

Result cuGraphInstantiate(Handle *executable, Handle handle, unsigned long long flags) {
  LOCKED;
  (void)flags;
  Graph *one = object(EXECUTABLE, sizeof *one);
  one->first = ((Graph *)checked(handle, GRAPH))->first;
  *executable = one;
  return SUCCESS;
}

Result cuGraphDestroy(Handle handle) {
  LOCKED;
  destroyed(handle, GRAPH);
  return SUCCESS;
}

Result cuGraphExecDestroy(Handle handle) {
  LOCKED;
  destroyed(handle, EXECUTABLE);
  return SUCCESS;
}

Result cuGraphLaunch(Handle handle, Handle where) {
  LOCKED;
  Stream *stream = stream_of(where);
  if (stream->capturing) stop("the stand-in knows no graphs in captures");
  return queue(stream, (Work){.kind = REPEAT, .graph = checked(handle, EXECUTABLE)});
}

/* ---- copies ---------------------------------------------------------------------------------- */

Result cuMemGetInfo(size_t *left, size_t *total) {
  LOCKED;
  *left = TOTAL_MEMORY - used;
  *total = TOTAL_MEMORY;
  return SUCCESS;
}

Result cuMemAlloc(Pointer *address, size_t bytes) {
  LOCKED;
  if (bytes > TOTAL_MEMORY - used) return OUT_OF_MEMORY;
  *address = (Pointer)allocated(bytes, 0);
  return SUCCESS;
}

Result cuMemFree(Pointer address) { /* waits for all work, unless there is a capture */
  LOCKED;
  if (!captures()) finish_all(0);
  freed((void *)address, 0);
  return SUCCESS;
}

Result cuMemHostAlloc(void **address, size_t bytes, unsigned flags) {
  LOCKED;
  (void)flags;
  *address = allocated(bytes, 1);
  return SUCCESS;
}

Result cuMemFreeHost(void *address) {
  LOCKED;
  if (!captures()) finish_all(0);
  freed(address, 1);
  return SUCCESS;
}

Result cuMemHostGetDevicePointer(Pointer *there, void *address, unsigned flags) {
  (void)flags;
  *there = (Pointer)address;
  return SUCCESS;
}

Result cuMemGetAddressRange(Pointer *start, size_t *bytes, Pointer address) {
  LOCKED;
  const Memory *m = memory_at((void *)address);
  if (!m || m->freed) return NOT_FOUND;
  if (start) *start = (Pointer)m->at;
  if (bytes) *bytes = m->bytes;
  return SUCCESS;
}

Result cuPointerGetAttribute(void *value, int attribute, Pointer address) {
  LOCKED;
  enum { CONTEXT = 1, MEMORY_TYPE = 2, ON_HOST = 1, ON_DEVICE = 2 };
  int pinned = is_pinned((void *)address);
  if (attribute == CONTEXT)
    *(Handle *)value = &the_context;
  else if (attribute == MEMORY_TYPE)
    *(int *)value = pinned ? ON_HOST : ON_DEVICE;
  else
    *(uint64_t *)value = 0;
  return SUCCESS;
}

static Result copy(void *to, const void *from, size_t bytes, Stream *stream) {
  return queue(stream, (Work){.kind = COPY, .to = to, .from = from, .bytes = bytes});
}

/* Pageable memory is the caller's again at once: a driver copies it first. */
Result cuMemcpyHtoDAsync(Pointer to, const void *from, size_t bytes, Handle where) {
  LOCKED;
  Stream *stream = stream_of(where);
  check_access((void *)to, bytes, "a copy to the GPU");
  if (is_pinned(from)) {
    check_access(from, bytes, "a copy from pinned memory");
    return copy((void *)to, from, bytes, stream);
  }
  if (stream->capturing) stop("a graph would read pageable memory, whatever is there then");
  char *staged = memcpy(malloc(bytes + 1), from, bytes);
  return queue(stream, (Work){.kind = COPY, .to = (void *)to, .from = staged, .staged = staged,
                              .bytes = bytes});
}

/* A copy to pageable memory is done when the call returns. */
Result cuMemcpyDtoHAsync(void *to, Pointer from, size_t bytes, Handle where) {
  LOCKED;
  Stream *stream = stream_of(where);
  check_access((void *)from, bytes, "a copy from the GPU");
  if (!is_pinned(to) && stream->capturing) stop("a graph would write pageable memory");
  copy(to, (void *)from, bytes, stream);
  if (!is_pinned(to)) finish(stream);
  return SUCCESS;
}

Result cuMemcpyDtoDAsync(Pointer to, Pointer from, size_t bytes, Handle where) {
  LOCKED;
  check_access((void *)to, bytes, "a copy within the GPU");
  check_access((void *)from, bytes, "a copy within the GPU");
  return copy((void *)to, (void *)from, bytes, stream_of(where));
}

Result cuMemcpyHtoD(Pointer to, const void *from, size_t bytes) {
  return cuMemcpyHtoDAsync(to, from, bytes, NULL);
}

Result cuMemcpyDtoH(void *to, Pointer from, size_t bytes) {
  return cuMemcpyDtoHAsync(to, from, bytes, NULL);
}

Result cuMemcpyDtoD(Pointer to, Pointer from, size_t bytes) {
  return cuMemcpyDtoDAsync(to, from, bytes, NULL);
}

Result cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, Handle where) {
  LOCKED;
  check_access((void *)to, bytes, "a fill");
  return queue(stream_of(where),
               (Work){.kind = FILL, .to = (void *)to, .value = value, .bytes = bytes});
}

Result cuMemsetD8(Pointer to, unsigned char value, size_t bytes) {
  return cuMemsetD8Async(to, value, bytes, NULL);
}

/* ---- kernels --------------------------------------------------------------------------------- */

enum { MOST_KERNELS = 8 };
typedef struct {
  Object object;
  Function *functions[MOST_KERNELS];
  int count;
} Library;

/* Called back with the image of a library, to add its kernels: the second half of the compiler. */
static int (*load)(Handle library, const char *image);

void standin_on_load(int (*function)(Handle, const char *)) { load = function; }

void standin_add_kernel(Handle handle, const Kernel *kernel) {
  Library *library = checked(handle, LIBRARY);
  if (library->count == MOST_KERNELS) stop("a library of more than %d kernels", MOST_KERNELS);
  Function *function = object(FUNCTION, sizeof *function);
  function->kernel = *kernel;
  function->kernel.name = strdup(kernel->name);
  function->kernel.own_name = strdup(kernel->own_name);
  function->library = library;
  library->functions[library->count++] = function;
}

Result cuLibraryLoadData(Handle *handle, const void *image, Handle *jit, Handle *jit_values,
                         unsigned jit_count, Handle *options, Handle *values, unsigned count) {
  (void)jit, (void)jit_values, (void)jit_count, (void)options, (void)values, (void)count;
  pthread_mutex_lock(&mutex);
  Result result = refused_in_captures();
  pthread_mutex_unlock(&mutex); /* a thread that has Python's lock may wait for ours */
  if (result) return result;
  *handle = object(LIBRARY, sizeof(Library));
  return load(*handle, image) ? INVALID_IMAGE : SUCCESS;
}

Result cuLibraryUnload(Handle handle) {
  LOCKED;
  finish_all(0);
  destroyed(handle, LIBRARY);
  return SUCCESS;
}

Result cuLibraryGetKernel(Handle *kernel, Handle handle, const char *name) {
  const Library *library = checked(handle, LIBRARY);
  for (int i = 0; i < library->count; i++)
    if (!strcmp(library->functions[i]->kernel.name, name)) {
      *kernel = library->functions[i];
      return SUCCESS;
    }
  return NOT_FOUND;
}

Result cuKernelGetFunction(Handle *function, Handle kernel) {
  *function = checked(kernel, FUNCTION);
  return SUCCESS;
}

Result cuKernelGetLibrary(Handle *library, Handle kernel) {
  *library = ((Function *)checked(kernel, FUNCTION))->library;
  return SUCCESS;
}

Result cuKernelGetName(const char **name, Handle kernel) {
  *name = ((Function *)checked(kernel, FUNCTION))->kernel.name;
  return SUCCESS;
}

enum {
  THREADS_ATTRIBUTE = 0, STATIC_ATTRIBUTE = 1, REGISTERS_ATTRIBUTE = 4, DYNAMIC_ATTRIBUTE = 8,
};

Result cuFuncGetAttribute(int *value, int attribute, Handle handle) {
  const Kernel *kernel = &((Function *)checked(handle, FUNCTION))->kernel;
  *value = attribute == THREADS_ATTRIBUTE     ? kernel->most_threads
           : attribute == STATIC_ATTRIBUTE    ? kernel->static_bytes
           : attribute == REGISTERS_ATTRIBUTE ? 64
           : attribute == DYNAMIC_ATTRIBUTE   ? kernel->dynamic_bytes
                                              : 0;
  return SUCCESS;
}

Result cuKernelGetAttribute(int *value, int attribute, Handle handle, int device) {
  (void)device;
  return cuFuncGetAttribute(value, attribute, handle);
}

Result cuFuncSetAttribute(Handle handle, int attribute, int value) {
  LOCKED;
  Kernel *kernel = &((Function *)checked(handle, FUNCTION))->kernel;
  if (attribute != DYNAMIC_ATTRIBUTE) return SUCCESS;
  if (value < 0 || value + kernel->static_bytes > MOST_SHARED) return INVALID_VALUE;
  kernel->dynamic_bytes = value;
  return SUCCESS;
}

Result cuKernelSetAttribute(int attribute, int value, Handle handle, int device) {
  (void)device;
  return cuFuncSetAttribute(handle, attribute, value);
}

Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Handle handle, int threads,
                                                   size_t shared) {
  (void)threads, (void)shared;
  checked(handle, FUNCTION);
  *blocks = 1;
  return SUCCESS;
}

typedef struct {
  int id;
  char padding[4];
  unsigned value[16];
} LaunchAttribute;

typedef struct {
  unsigned grid[3], block[3], shared_bytes;
  Handle stream;
  const LaunchAttribute *attributes;
  unsigned count;
} Configuration;

/* Parameters are copied: the caller's are gone when the kernel runs. */
static void **copied(const Kernel *kernel, void **parameters) {
  size_t bytes = kernel->parameters * sizeof(void *);
  for (int i = 0; i < kernel->parameters; i++) bytes += sizeof(uint64_t);
  void **copies = calloc(1, bytes + 1);
  uint64_t *values = (uint64_t *)(copies + kernel->parameters);
  for (int i = 0; i < kernel->parameters; i++)
    copies[i] = memcpy(&values[i], parameters[i], kernel->sizes[i]);
  return copies;
}

Result cuLaunchKernelEx(const Configuration *wanted, Handle handle, void **parameters,
                        void **extra) {
  LOCKED;
  (void)extra;
  enum { CLUSTER_DIMENSION = 4, MOST_CLUSTER = 16 };
  Kernel *kernel = &((Function *)checked(handle, FUNCTION))->kernel;
  Launch launch = {.kernel = kernel, .shared_bytes = wanted->shared_bytes, .cluster = {1, 1, 1}};
  memcpy(launch.grid, wanted->grid, sizeof launch.grid);
  memcpy(launch.block, wanted->block, sizeof launch.block);
  for (unsigned i = 0; i < wanted->count; i++)
    if (wanted->attributes[i].id == CLUSTER_DIMENSION)
      memcpy(launch.cluster, wanted->attributes[i].value, sizeof launch.cluster);
    else if (wanted->attributes[i].id)
      stop("the stand-in knows no launch attribute %d", wanted->attributes[i].id);
  const unsigned *grid = launch.grid, *block = launch.block, *cluster = launch.cluster;
  long threads = (long)block[0] * block[1] * block[2];
  int fits = grid[0] && grid[1] && grid[2] && grid[1] <= 65535 && grid[2] <= 65535;
  fits = fits && threads && threads <= kernel->most_threads;
  fits = fits && cluster[0] && cluster[0] <= MOST_CLUSTER && grid[0] % cluster[0] == 0;
  fits = fits && (int)launch.shared_bytes <= kernel->dynamic_bytes;
  if (!fits) return INVALID_VALUE;
  if (cluster[1] != 1 || cluster[2] != 1) stop("the stand-in knows clusters along x only");
  launch.parameters = copied(kernel, parameters);
  return queue(stream_of(wanted->stream), (Work){.kind = LAUNCH, .launch = launch});
}

Result cuLaunchKernel(Handle kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                      unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                      Handle stream, void **parameters, void **extra) {
  const Configuration wanted = {{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes,
                                stream, NULL, 0};
  return cuLaunchKernelEx(&wanted, kernel, parameters, extra);
}

/* ---- errors, and the table of functions ------------------------------------------------------ */

Result cuGetErrorName(Result error, const char **text) {
  static char name[40];
  snprintf(name, sizeof name, "error %d of the stand-in", error);
  *text = name;
  return SUCCESS;
}

Result cuModuleGetLoadingMode(int *mode) {
  enum { LAZY = 2 };
  *mode = LAZY;
  return SUCCESS;
}

void standin_set_orders(int threads, int streams_, uint64_t seed) {
  LOCKED;
  finish_all(0);
  orders = (Orders){threads, streams_, (seed + 1) * 0x9e3779b97f4a7c15u};
}

void standin_count(long *counts) {
  counts[0] = launches;
  counts[1] = repeats;
}

Result cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                           int *status);

#define ENTRY(name) {#name, (void *)name}
static const struct {
  const char *name;
  void *function;
} FUNCTIONS[] = {
  ENTRY(cuInit), ENTRY(cuDriverGetVersion), ENTRY(cuDeviceGetCount),
  ENTRY(cuDeviceGet), ENTRY(cuDeviceGetName), ENTRY(cuDeviceGetUuid),
  ENTRY(cuDeviceTotalMem), ENTRY(cuDeviceGetAttribute), ENTRY(cuDevicePrimaryCtxRetain),
  ENTRY(cuDevicePrimaryCtxRelease), ENTRY(cuDevicePrimaryCtxReset),
  ENTRY(cuDevicePrimaryCtxGetState), ENTRY(cuCtxGetCurrent), ENTRY(cuCtxSetCurrent),
  ENTRY(cuCtxPushCurrent), ENTRY(cuCtxPopCurrent), ENTRY(cuCtxGetDevice),
  ENTRY(cuCtxGetId), ENTRY(cuCtxGetStreamPriorityRange), ENTRY(cuCtxSynchronize),
  ENTRY(cuStreamCreate), ENTRY(cuStreamCreateWithPriority), ENTRY(cuStreamDestroy),
  ENTRY(cuStreamSynchronize), ENTRY(cuStreamQuery), ENTRY(cuStreamGetCtx),
  ENTRY(cuStreamGetFlags), ENTRY(cuStreamGetPriority), ENTRY(cuStreamIsCapturing),
  ENTRY(cuStreamWaitEvent), ENTRY(cuStreamBeginCapture), ENTRY(cuStreamEndCapture),
  ENTRY(cuEventCreate), ENTRY(cuEventDestroy), ENTRY(cuEventRecord),
  ENTRY(cuEventSynchronize), ENTRY(cuEventQuery), ENTRY(cuEventElapsedTime),
  ENTRY(cuGraphInstantiate), ENTRY(cuGraphDestroy), ENTRY(cuGraphExecDestroy),
  ENTRY(cuGraphLaunch), ENTRY(cuMemGetInfo), ENTRY(cuMemAlloc), ENTRY(cuMemFree),
  ENTRY(cuMemHostAlloc), ENTRY(cuMemFreeHost), ENTRY(cuMemHostGetDevicePointer),
  ENTRY(cuMemGetAddressRange), ENTRY(cuPointerGetAttribute), ENTRY(cuMemcpyHtoD),
  ENTRY(cuMemcpyDtoH), ENTRY(cuMemcpyDtoD), ENTRY(cuMemcpyHtoDAsync),
  ENTRY(cuMemcpyDtoHAsync), ENTRY(cuMemcpyDtoDAsync), ENTRY(cuMemsetD8),
  ENTRY(cuMemsetD8Async), ENTRY(cuLibraryLoadData), ENTRY(cuLibraryUnload),
  ENTRY(cuLibraryGetKernel), ENTRY(cuKernelGetFunction), ENTRY(cuKernelGetLibrary),
  ENTRY(cuKernelGetName), ENTRY(cuKernelGetAttribute), ENTRY(cuFuncGetAttribute),
  ENTRY(cuKernelSetAttribute), ENTRY(cuFuncSetAttribute),
  ENTRY(cuOccupancyMaxActiveBlocksPerMultiprocessor), ENTRY(cuLaunchKernel),
  ENTRY(cuLaunchKernelEx), ENTRY(cuModuleGetLoadingMode),
  {"cuGetErrorName", (void *)cuGetErrorName}, {"cuGetErrorString", (void *)cuGetErrorName},
  {"cuGraphInstantiateWithFlags", (void *)cuGraphInstantiate},
  {"cuGetProcAddress", (void *)cuGetProcAddress_v2},
};

/* Callers get every function from here, and say "not found" themselves for those that are not. */
Result cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                           int *status) {
  (void)version, (void)flags;
  *function = NULL;
  for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++)
    if (!strcmp(FUNCTIONS[i].name, name)) *function = FUNCTIONS[i].function;
  if (status) *status = *function ? 0 : 1;
  return *function ? SUCCESS : NOT_FOUND;
}
