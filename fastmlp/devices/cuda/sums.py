"""Sums over rows and over a block's threads, in a fixed order: bit-identical from run to run."""

from .toolkit import cuda, device


@device
def block_sum(value, scratch):
    """Return the sum of all threads' values, the same in every thread."""
    thread, count = cuda.threadIdx.x, cuda.blockDim.x
    cuda.syncthreads()
    scratch[thread] = value
    cuda.syncthreads()
    while count > 1:
        half = (count + 1) // 2
        if thread + half < count:
            scratch[thread] += scratch[thread + half]
        cuda.syncthreads()
        count = half
    return scratch[0]


@device
def sum_column(work, start, stride, first, last, step):
    """Return the sum of a column over every `step`-th row from `first` to `last`."""
    total = type(work[0])(0)
    for r in range(first, last, step):
        total += work[start + r * stride]
    return total
