"""Sums over rows and over a block's threads, in a fixed order: the same bits from run to run."""

from .layout import NOWHERE
from .target import cuda, device


@device
def block_sum(value, scratch):
    """The sum of one value of each thread, the same for all threads."""
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
def sum_rows(state, layer, j, first, last, adds):
    """The gradient of a layer's bias j, and of what its unit's activation learns.

    They are sums over rows [first, last), and are stored, or where it `adds` added to those there.
    """
    g, bias = state.gradient, state.start + layer.biases + j
    first, last = first * layer.stride + j, last * layer.stride + j
    total = g[bias] if adds else type(g[bias])(0)
    for place in range(first, last, layer.stride):
        total += state.work[layer.slopes + place]
    g[bias] = total
    if layer.learned != NOWHERE:
        learned = state.start + layer.learned + j
        total = g[learned] if adds else type(g[bias])(0)
        for place in range(first, last, layer.stride):
            total += state.work[layer.learning + place]
        g[learned] = total
