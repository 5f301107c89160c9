/* Runs a kernel: blocks one after the other, the threads of a block as fibers of one host thread.

   A fiber runs until it waits for others. All that CUDA leaves open is decided by `orders`: which
   block comes first, and which of the threads that can go on. A missing barrier thus shows, either
   as NaN, since shared memory is poisoned, or as results that depend on the order. */
#define _GNU_SOURCE
#include "stand_in.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum {
  WARP = 32,
  MOST_THREADS = 1024,
  MOST_BLOCKS = 16, /* of a cluster */
  WINDOW = 512 << 10,
  STACK = 256 << 10,
  COPIES = 64, /* that a thread may have in flight */
  GUARD = 64,  /* bytes after each array in shared memory; compiler.py leaves them free */
};
/* All bits of poison are set: NaN in both dtypes, -1 as an integer. */
enum { POISON = 0xff, INTACT = 0xab };

typedef union {
  uint32_t u;
  float f;
  double d;
  uint64_t l;
} Slot;

typedef enum { READY, AT_WARP, AT_BLOCK, AT_CLUSTER, DONE } State;

typedef struct {
  char *to;
  char bytes[16];
  int length;
  int group; /* 0 until it is committed, then 1, 2, and so on */
} Copy;

typedef struct {
  State state;
  unsigned index[3];
  Slot shown[2][16]; /* what the other lanes of the warp see; in turns, so that none is too late */
  int turn;
  Copy copies[COPIES];
  int copying, groups;
} Thread;

typedef struct {
  unsigned index[3];
  Thread *threads;
  char *shared; /* its shared memory, while another block of the cluster runs */
} Block;

typedef struct {
  ucontext_t beginning;
  jmp_buf context;
  int begun;
} Fiber;

static const Launch *launch;
static int thread_count, block_count; /* of a block, of a cluster */
static Block blocks[MOST_BLOCKS];
static Block *block;   /* the one that runs */
static Thread *thread; /* the one that runs */
static Fiber *fiber, fibers[MOST_BLOCKS][MOST_THREADS];
static jmp_buf scheduler;
static char *stacks[MOST_BLOCKS];
static char *window; /* the shared memory of the block that runs */

/* ---- random numbers, and the end ------------------------------------------------------------- */

Orders orders = {ASCENDING, AT_ONCE, 1};

uint64_t random_number(void) { /* xorshift */
  orders.random ^= orders.random << 13;
  orders.random ^= orders.random >> 7;
  orders.random ^= orders.random << 17;
  return orders.random;
}

static void say_where(void) {
  if (!launch) return;
  fprintf(stderr, " in kernel %s", launch->kernel->own_name);
  const unsigned *b = block ? block->index : NULL, *t = thread ? thread->index : NULL;
  if (b) fprintf(stderr, ", block (%u, %u, %u)", b[0], b[1], b[2]);
  if (t) fprintf(stderr, ", thread (%u, %u, %u)", t[0], t[1], t[2]);
}

void stop(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("stand-in: ", stderr);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  say_where();
  fputc('\n', stderr);
  _exit(70);
}

static void bad_address(int number, siginfo_t *info, void *context) {
  char text[200];
  (void)context;
  if (!launch) { /* no kernel's doing: as if there were no handler */
    signal(number, SIG_DFL);
    return;
  }
  /* The processor does not tell the address if it is not aligned. */
  if (!info->si_addr) stop("no access to address 0, or to four numbers that are not aligned");
  describe_address(info->si_addr, text, sizeof text);
  stop("no access to address %p, %s", info->si_addr, text);
}

static void shuffled(int *order, int count) {
  for (int i = 0; i < count; i++) order[i] = orders.threads == DESCENDING ? count - 1 - i : i;
  if (orders.threads != SHUFFLED) return;
  for (int i = count - 1; i > 0; i--) {
    int j = random_number() % (i + 1), other = order[j];
    order[j] = order[i];
    order[i] = other;
  }
}

/* ---- shared memory --------------------------------------------------------------------------- */

/* The window lies below 4 GiB, so that its addresses are their own lower 32 bits: kernels may keep
   them in 32-bit registers, as they do on a GPU. */
char *standin_window(void) {
  for (uintptr_t at = 0x20000000; !window && at < 0xf0000000; at += 0x8000000) {
    void *got = mmap((void *)at, WINDOW, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != MAP_FAILED) window = got;
  }
  if (!window) stop("no room below 4 GiB for shared memory");
  return window;
}

static void poison_shared(void) {
  const Kernel *kernel = launch->kernel;
  int end = kernel->dynamic_place + (int)launch->shared_bytes;
  memset(window, INTACT, end + GUARD);
  for (int i = 0; i < kernel->arrays; i++)
    memset(window + kernel->places[i], POISON, kernel->lengths[i]);
  memset(window + kernel->dynamic_place, POISON, launch->shared_bytes);
}

static void check_guard(int at, const char *what, int bytes) {
  for (int i = at; i < at + GUARD; i++)
    if ((unsigned char)window[i] != INTACT)
      stop("a write %d bytes past a %s array of %d bytes in shared memory", i - at, what, bytes);
}

static void check_shared(void) {
  const Kernel *kernel = launch->kernel;
  thread = NULL;
  for (int i = 0; i < kernel->arrays; i++)
    check_guard(kernel->places[i] + kernel->lengths[i], "static", kernel->lengths[i]);
  check_guard(kernel->dynamic_place + launch->shared_bytes, "dynamic", launch->shared_bytes);
}

/* ---- fibers ---------------------------------------------------------------------------------- */

/* A fiber is begun by setcontext. _setjmp and _longjmp then switch it: they make no system call. */
static void in_fiber(void) {
  for (;;) {
    launch->kernel->run(launch->parameters);
    thread->state = DONE;
    if (!_setjmp(fiber->context)) _longjmp(scheduler, 1);
  }
}

static void run_until_it_waits(int b, int t) {
  block = &blocks[b];
  thread = &block->threads[t];
  fiber = &fibers[b][t];
  if (_setjmp(scheduler)) return;
  if (fiber->begun) _longjmp(fiber->context, 1);
  fiber->begun = 1;
  getcontext(&fiber->beginning);
  /* The lowest page of each stack is none: a stack that is too small is noticed. */
  char *stack = stacks[b] + (size_t)t * STACK;
  mprotect(stack, sysconf(_SC_PAGESIZE), PROT_NONE);
  fiber->beginning.uc_stack.ss_sp = stack;
  fiber->beginning.uc_stack.ss_size = STACK;
  makecontext(&fiber->beginning, in_fiber, 0);
  setcontext(&fiber->beginning);
}

static void wait_for(State what) {
  if (!launch->kernel->meets) stop("a kernel waits that has no barrier");
  thread->state = what;
  if (!_setjmp(fiber->context)) _longjmp(scheduler, 1);
}

/* ---- who can go on --------------------------------------------------------------------------- */

static int count(const Thread *threads, int length, State state) {
  int total = 0;
  for (int i = 0; i < length; i++) total += threads[i].state == state;
  return total;
}

static void release(Thread *threads, int length) {
  for (int i = 0; i < length; i++) threads[i].state = READY;
}

static void release_warps(void) {
  for (int first = 0; first < thread_count; first += WARP) {
    int lanes = thread_count - first < WARP ? thread_count - first : WARP;
    if (count(block->threads + first, lanes, AT_WARP) == lanes)
      release(block->threads + first, lanes);
  }
}

/* Runs a block until all of its threads are done, or wait for other blocks. */
static void run_block(int b) {
  static int order[MOST_THREADS];
  block = &blocks[b];
  for (;;) {
    shuffled(order, thread_count);
    int ran = 0;
    for (int i = 0; i < thread_count; i++)
      if (block->threads[order[i]].state == READY) {
        run_until_it_waits(b, order[i]);
        ran++;
      }
    thread = NULL;
    release_warps();
    int waiting = count(block->threads, thread_count, AT_BLOCK);
    int done = count(block->threads, thread_count, DONE);
    if (waiting && done) stop("%d threads wait at a barrier that %d never come to", waiting, done);
    if (waiting == thread_count) release(block->threads, thread_count);
    if (!ran) return;
  }
}

static void run_cluster(void) {
  int order[MOST_BLOCKS];
  for (int b = 0; b < block_count; b++) {
    poison_shared();
    if (block_count > 1) memcpy(blocks[b].shared, window, WINDOW);
    for (int t = 0; t < thread_count; t++) {
      Thread *one = &blocks[b].threads[t];
      memset(one, 0, sizeof *one);
      one->index[0] = t % launch->block[0];
      one->index[1] = t / launch->block[0] % launch->block[1];
      one->index[2] = t / launch->block[0] / launch->block[1];
    }
  }
  for (;;) {
    int waiting = 0, done = 0;
    shuffled(order, block_count);
    for (int i = 0; i < block_count; i++) {
      Block *one = &blocks[order[i]];
      if (block_count > 1) memcpy(window, one->shared, WINDOW);
      run_block(order[i]);
      check_shared();
      if (block_count > 1) memcpy(one->shared, window, WINDOW);
      waiting += count(one->threads, thread_count, AT_CLUSTER);
      done += count(one->threads, thread_count, DONE);
    }
    int all = block_count * thread_count;
    if (done == all) return;
    if (waiting < all)
      stop("of %d threads, %d are done, %d wait for the cluster, and the others for each other",
           all, done, waiting);
    for (int b = 0; b < block_count; b++) release(blocks[b].threads, thread_count);
  }
}

/* Without barriers, threads need no fibers. */
static void run_alone(void) {
  static int order[MOST_THREADS];
  static Thread only;
  block = &blocks[0];
  shuffled(order, thread_count);
  for (int i = 0; i < thread_count; i++) {
    thread = &only;
    thread->index[0] = order[i] % launch->block[0];
    thread->index[1] = order[i] / launch->block[0] % launch->block[1];
    thread->index[2] = order[i] / launch->block[0] / launch->block[1];
    launch->kernel->run(launch->parameters);
  }
}

static void make_room(void) {
  for (int b = 0; b < block_count; b++) {
    if (!blocks[b].threads) {
      blocks[b].threads = calloc(MOST_THREADS, sizeof(Thread));
      blocks[b].shared = malloc(WINDOW);
      stacks[b] = mmap(NULL, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (stacks[b] == MAP_FAILED) stop("no room for the stacks of threads");
    }
  }
}

static unsigned product(const unsigned *sizes) { return sizes[0] * sizes[1] * sizes[2]; }

void run_kernel(const Launch *one) {
  static char on_fault[64 << 10];
  stack_t other = {.ss_sp = on_fault, .ss_size = sizeof on_fault};
  struct sigaction action = {.sa_sigaction = bad_address, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  struct sigaction before;
  stack_t stack_before;
  sigaltstack(&other, &stack_before); /* a fiber's own stack may be what is full */
  sigaction(SIGSEGV, &action, &before);
  launch = one;
  thread_count = product(one->block);
  block_count = product(one->cluster);
  make_room();
  standin_window();
  int clusters = product(one->grid) / block_count;
  int *order = malloc(clusters * sizeof *order);
  shuffled(order, clusters);
  for (int i = 0; i < clusters; i++) {
    for (int b = 0; b < block_count; b++) { /* clusters are along x */
      unsigned id = order[i] * block_count + b;
      blocks[b].index[0] = id % one->grid[0];
      blocks[b].index[1] = id / one->grid[0] % one->grid[1];
      blocks[b].index[2] = id / one->grid[0] / one->grid[1];
    }
    if (one->kernel->meets) {
      run_cluster();
    } else {
      poison_shared();
      run_alone();
      check_shared();
    }
  }
  free(order);
  launch = NULL;
  block = NULL;
  thread = NULL;
  sigaction(SIGSEGV, &before, NULL);
  sigaltstack(&stack_before, NULL);
}

/* ---- special registers ----------------------------------------------------------------------- */

#define REGISTER(name, value) \
  uint32_t standin_##name(void) { return value; }
REGISTER(tid_x, thread->index[0])
REGISTER(tid_y, thread->index[1])
REGISTER(tid_z, thread->index[2])
REGISTER(ctaid_x, block->index[0])
REGISTER(ctaid_y, block->index[1])
REGISTER(ctaid_z, block->index[2])
REGISTER(ntid_x, launch->block[0])
REGISTER(ntid_y, launch->block[1])
REGISTER(ntid_z, launch->block[2])
REGISTER(nctaid_x, launch->grid[0])
REGISTER(nctaid_y, launch->grid[1])
REGISTER(nctaid_z, launch->grid[2])
REGISTER(dynamic_bytes, launch->shared_bytes)
REGISTER(cluster_rank, block - blocks)
REGISTER(cluster_blocks, block_count)
REGISTER(lane, (thread - block->threads) % WARP)

/* ---- planted bugs ------------------------------------------------------------------------------ */

/* One barrier of a kernel is none. They are numbered in each kernel: a call says the number of the
   barrier that comes right after it. */
static char *faulty; /* the name of that kernel */
static int left_out, number = -1;

void standin_leave_out(const char *kernel, int barrier) {
  free(faulty);
  faulty = kernel ? strdup(kernel) : NULL;
  left_out = barrier;
}

void standin_number(int barrier) { number = barrier; }

static int is_left_out(void) {
  int own = number;
  number = -1;
  return faulty && own == left_out && !strcmp(faulty, launch->kernel->name);
}

/* ---- instructions ------------------------------------------------------------------------------

   Each takes its operands from `in` and leaves its results in `out`, a slot for each register;
   numbers that are part of its name come after them. instructions.py has their names. */

void standin_barrier(Slot *out, const Slot *in) {
  (void)out, (void)in;
  if (!is_left_out()) wait_for(AT_BLOCK);
}

void standin_warp_barrier(Slot *out, const Slot *in) {
  (void)out;
  if (in->u != UINT32_MAX) stop("only whole warps can wait here, not those of mask %x", in->u);
  wait_for(AT_WARP);
}

void standin_whole_warp(Slot *out, const Slot *in) {
  (void)out, (void)in;
  wait_for(AT_WARP);
}

void standin_nothing(Slot *out, const Slot *in) { (void)out, (void)in; }

static char *aligned(Slot address, int bytes) {
  if (address.l % bytes) stop("address %#lx is no multiple of %d", (long)address.l, bytes);
  return (char *)(uintptr_t)address.l;
}

static char *in_window(Slot address, int bytes) {
  address.l = address.u; /* 32 bits are all that there are */
  char *at = aligned(address, bytes);
  if (at < window || at + bytes > window + WINDOW)
    stop("%p is no address of shared memory", (void *)at);
  return at;
}

static Slot moved(Slot address, int offset) {
  address.l += offset;
  return address;
}

static void load(Slot *out, const char *from, int numbers, int bytes) {
  for (int i = 0; i < numbers; i++) {
    out[i].l = 0;
    memcpy(&out[i], from + i * bytes, bytes);
  }
}

static void store(char *to, const Slot *in, int numbers, int bytes) {
  for (int i = 0; i < numbers; i++) memcpy(to + i * bytes, &in[i], bytes);
}

void standin_load_shared(Slot *out, const Slot *in, int numbers, int bytes, int offset) {
  load(out, in_window(moved(in[0], offset), numbers * bytes), numbers, bytes);
}

void standin_store_shared(Slot *out, const Slot *in, int numbers, int bytes, int offset) {
  (void)out;
  store(in_window(moved(in[0], offset), numbers * bytes), in + 1, numbers, bytes);
}

void standin_load_global(Slot *out, const Slot *in, int numbers, int bytes, int offset) {
  load(out, aligned(moved(in[0], offset), numbers * bytes), numbers, bytes);
}

void standin_store_global(Slot *out, const Slot *in, int numbers, int bytes, int offset) {
  (void)out;
  store(aligned(moved(in[0], offset), numbers * bytes), in + 1, numbers, bytes);
}

void standin_same_address(Slot *out, const Slot *in) { out[0].l = in[0].l; }

/* Other blocks' shared memory: window addresses plus WINDOW for each rank, from 1 on. */
void standin_map_to_rank(Slot *out, const Slot *in) {
  if (in[1].u >= (unsigned)block_count)
    stop("no block %u in a cluster of %d", in[1].u, block_count);
  out[0].l = (uint32_t)in[0].u + (1 + in[1].u) * (uint32_t)WINDOW;
}

static char *of_rank(Slot address, int bytes) {
  uint32_t offset = address.u - (uint32_t)(uintptr_t)window;
  uint32_t rank = offset / WINDOW;
  if (address.u % bytes) stop("address %#x is no multiple of %d", address.u, bytes);
  if (rank > (unsigned)block_count) stop("%#x is no address of the cluster", address.u);
  /* An address that was not mapped is the own one. */
  if (rank == 0 || &blocks[rank - 1] == block) return window + offset % WINDOW;
  return blocks[rank - 1].shared + offset % WINDOW;
}

void standin_load_cluster(Slot *out, const Slot *in, int numbers, int bytes, int offset) {
  load(out, of_rank(moved(in[0], offset), numbers * bytes), numbers, bytes);
}

void standin_store_cluster(Slot *out, const Slot *in, int numbers, int bytes, int offset) {
  (void)out;
  store(of_rank(moved(in[0], offset), numbers * bytes), in + 1, numbers, bytes);
}

void standin_cluster_wait(Slot *out, const Slot *in) {
  (void)out, (void)in;
  if (!is_left_out()) wait_for(AT_CLUSTER);
}

/* Copies arrive when they are waited for, at the latest: what reads too early finds poison. */
static void begin_copy(const Slot *in, int bytes, int given) {
  if (thread->copying == COPIES) stop("more than %d copies are in flight", COPIES);
  if (given > bytes) stop("a copy of %d bytes reads %d", bytes, given);
  Copy *copy = &thread->copies[thread->copying++];
  *copy = (Copy){.to = in_window(in[0], bytes), .length = bytes};
  if (given) memcpy(copy->bytes, aligned(in[1], bytes), given);
}

void standin_copy_async(Slot *out, const Slot *in, int bytes) {
  (void)out;
  begin_copy(in, bytes, bytes);
}

void standin_copy_async_or_zeros(Slot *out, const Slot *in, int bytes) {
  (void)out;
  begin_copy(in, bytes, in[2].u ? bytes : 0);
}

void standin_commit_copies(Slot *out, const Slot *in) {
  (void)out, (void)in;
  thread->groups++;
  for (int i = 0; i < thread->copying; i++)
    if (thread->copies[i].group == 0) thread->copies[i].group = thread->groups;
}

static void end_copies(int last_group) {
  int kept = 0;
  for (int i = 0; i < thread->copying; i++) {
    Copy *copy = &thread->copies[i];
    if (copy->group && copy->group <= last_group)
      memcpy(copy->to, copy->bytes, copy->length);
    else
      thread->copies[kept++] = *copy;
  }
  thread->copying = kept;
}

void standin_wait_copies(Slot *out, const Slot *in, int groups_left) {
  (void)out, (void)in;
  end_copies(thread->groups - groups_left);
}

void standin_wait_all_copies(Slot *out, const Slot *in) {
  standin_commit_copies(out, in);
  end_copies(thread->groups);
}

/* What every lane of the warp shows: each waits for all others, then looks at theirs. */
static Thread *exchanged(const Slot *in, int slots) {
  Thread *warp = block->threads + (thread - block->threads) / WARP * WARP;
  if (warp + WARP > block->threads + thread_count) stop("a warp of less than %d threads", WARP);
  thread->turn ^= 1;
  memcpy(thread->shown[thread->turn], in, slots * sizeof *in);
  wait_for(AT_WARP);
  return warp;
}

void standin_shuffle_xor(Slot *out, const Slot *in) {
  Thread *warp = exchanged(in, 1);
  unsigned lane = (unsigned)(thread - warp) ^ in[1].u;
  out[0] = warp[lane % WARP].shown[thread->turn][0];
}

void standin_round_to_tf32(Slot *out, const Slot *in) { /* to nearest, ties away from zero */
  out[0].l = isfinite(in[0].f) ? (in[0].u + 0x1000) & 0xffffe000 : in[0].u;
}

static uint32_t bf16(float x) { /* to nearest, ties to even */
  Slot bits = {.f = x};
  return isfinite(x) ? (bits.u + 0x7fff + (bits.u >> 16 & 1)) >> 16 : bits.u >> 16;
}

void standin_pack_bf16(Slot *out, const Slot *in) { /* two numbers, of which the first is low */
  out[0].l = bf16(in[0].f) | bf16(in[1].f) << 16;
}

/* The numbers that a tensor core sees in a word: one, or two of half the bits. */
static double number_in(Slot word, int numbers, int i) {
  Slot seen = {.u = numbers == 1 ? word.u & 0xffffe000 : i ? word.u & 0xffff0000 : word.u << 16};
  return seen.f;
}

/* D = A B + C of a warp, A of 16 rows and 8 words, B of 8 words and 8 columns. The PTX manual says
   which lane has which of them. */
static void multiply(Slot *out, const Slot *in, int numbers) {
  enum { A = 0, B = 4, C = 6, REGISTERS = 10 };
  Thread *warp = exchanged(in, REGISTERS);
  int turn = thread->turn, lane = thread - warp;
  for (int i = 0; i < 4; i++) {
    int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    double sum = in[C + i].f;
    for (int word = 0; word < 8; word++) {
      Slot a = warp[row % 8 * 4 + word % 4].shown[turn][A + row / 8 + word / 4 * 2];
      Slot b = warp[column * 4 + word % 4].shown[turn][B + word / 4];
      for (int k = 0; k < numbers; k++) sum += number_in(a, numbers, k) * number_in(b, numbers, k);
    }
    out[i] = (Slot){.f = sum};
  }
}

void standin_mma_tf32(Slot *out, const Slot *in) { multiply(out, in, 1); }
void standin_mma_bf16(Slot *out, const Slot *in) { multiply(out, in, 2); }

int standin_isnan(double x) { return isnan(x); }
int standin_isnanf(float x) { return isnan(x); }

/* NVIDIA's fast division: 0 for divisors from 2^126 on. */
float standin_fast_divide(float a, float b) {
  float size = fabsf(b);
  return size > 0x1p126f && isfinite(size) ? (isinf(a) ? NAN : 0.0f) : a / b;
}
