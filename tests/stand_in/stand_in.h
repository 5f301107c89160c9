/* What both halves of the stand-in share: driver.c queues work, threads.c runs kernels. */
#include <stddef.h>
#include <stdint.h>

/* A kernel's machine code is a function that loads its parameters from an array of pointers. */
typedef struct {
  const char *name, *own_name; /* the mangled one, and what messages have */
  void (*run)(void **parameters);
  int parameters;
  const int *sizes; /* bytes of each parameter */
  int most_threads; /* of a block: the launch bounds */
  int meets;        /* whether its threads wait for each other */
  int arrays;       /* static arrays in shared memory, ... */
  const int *places, *lengths; /* ... as bytes from the window's start */
  int static_bytes;
  int dynamic_place; /* where dynamic arrays begin, after the static ones and their guards */
  int dynamic_bytes; /* how much a launch may ask for */
} Kernel;

typedef struct {
  Kernel *kernel;
  unsigned grid[3], block[3], cluster[3];
  unsigned shared_bytes;
  void **parameters;
} Launch;

/* How the order of what CUDA leaves open is chosen. */
enum { ASCENDING, DESCENDING, SHUFFLED };
enum { AT_ONCE, LATE, ANY_TIME };
typedef struct {
  int threads, streams;
  uint64_t random;
} Orders;
extern Orders orders;

uint64_t random_number(void);
void run_kernel(const Launch *launch);
/* Says where an address lies among the allocations; in driver.c. */
void describe_address(const void *address, char *text, size_t length);
void stop(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
