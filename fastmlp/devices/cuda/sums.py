"""Sums over rows and over a block's threads, in a fixed order: bit-identical from run to run."""

from numba import int32, uint32

from .toolkit import LANES, cuda, device


@device
def sum_column(work, start, stride, first, last, step):
    """Return the sum of a column over every `step`-th row from `first` to `last`.

    Eight numbers are loaded before they are added: one after the other, each would wait for the
    memory.
    """
    total = type(work[0])(0)
    at, far = start + first * stride, step * stride
    rows = max(last - first + step - 1, 0) // step
    for _ in range(rows // 8):
        a, b, c, d = work[at], work[at + far], work[at + 2 * far], work[at + 3 * far]
        at += 4 * far
        e, f, g, h = work[at], work[at + far], work[at + 2 * far], work[at + 3 * far]
        at += 4 * far
        total += ((a + b) + (c + d)) + ((e + f) + (g + h))
    for _ in range(rows % 8):
        total += work[at]
        at += far
    return total


@device
def block_sum(value, scratch):
    """Return the sum of all threads' values, the same in every thread.

    In two steps: halving the numbers at each step, most of the time would go by in barriers.
    """
    thread, count = cuda.threadIdx.x, cuda.blockDim.x
    cuda.syncthreads()
    scratch[thread] = value
    cuda.syncthreads()
    if thread < LANES:  # the first value of each column is its thread's alone
        total, k = value, int32(thread + LANES)
        while k < count:
            total += scratch[uint32(k)]
            k = int32(k + LANES)
        scratch[thread] = total
    cuda.syncthreads()
    total = scratch[0]
    for k in range(1, LANES):
        total += scratch[k]
    return total
