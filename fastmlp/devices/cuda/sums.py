"""Sums over rows and over a block's threads, in a fixed order: the same bits from run to run."""

from .layout import NOWHERE
from .target import cuda, device


@device
def block_sum(value, scratch):
    """The sum of one value of each thread, the same for all threads; their number is 2^n."""
    thread = cuda.threadIdx.x
    cuda.syncthreads()
    scratch[thread] = value
    cuda.syncthreads()
    half = cuda.blockDim.x // 2
    while half > 0:
        if thread < half:
            scratch[thread] += scratch[thread + half]
        cuda.syncthreads()
        half //= 2
    return scratch[0]


@device
def sum_rows(state, layer, j, first, last, before):
    """The gradient of a layer's bias j, and of what its unit's activation learns.

    The sum over rows [first, last) is added to `before` times what the gradient holds.
    """
    g, bias = state.gradient, state.start + layer.biases + j
    first, last = first * layer.stride + j, last * layer.stride + j
    total = before * g[bias]
    for place in range(first, last, layer.stride):
        total += state.work[layer.slopes + place]
    g[bias] = total
    if layer.learned != NOWHERE:
        learned = state.start + layer.learned + j
        total = before * g[learned]
        for place in range(first, last, layer.stride):
            total += state.work[layer.learning + place]
        g[learned] = total
