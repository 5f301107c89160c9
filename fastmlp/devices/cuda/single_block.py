"""The first regime: one block of threads trains a small network alone.

Parameters, gradient and intermediate results of a block of rows stay in the block's shared memory
for a whole run of batches. Phases end with a barrier of the threads, which takes nanoseconds; a
kernel for each phase would take microseconds. A launch may train several networks, a block each.
"""

import math
from functools import lru_cache

from numba import from_dtype

from .block import parts, threads_of
from .elements import Kind
from .position import BATCH, BATCH_ROWS, BATCHES, BLOCK_ROWS, END, ORDER, PLACE
from .shared import VECTOR
from .sums import block_sum
from .toolkit import cuda, kernel
from .updates import MAX_NORM


@lru_cache
def single_block(kind: Kind):
    """Return the kernel that trains on the batches from BATCH to BATCHES of the order."""
    real, threads_here = from_dtype(kind.dtype), threads_of(kind)
    block = parts(kind, block_sum)

    def train(
        positions, tables, all_numbers, places, parameters, firsts, seconds, steps, epsilon,
        X, targets, weights, order, all_constants, loss_share, totals, start, penalised,
    ):  # fmt: skip
        position = positions[cuda.blockIdx.x]
        place = position[PLACE]
        layers, numbers, constants = tables[place], all_numbers[place], all_constants[place]
        thread, threads, size = cuda.threadIdx.x, cuda.blockDim.x, parameters.shape[1]
        shared = cuda.shared.array(0, real, alignment=VECTOR)
        scratch = cuda.shared.array(threads_here, real)
        state = block.prepare(
            shared, start, places, parameters[place], layers, numbers, position[BLOCK_ROWS]
        )
        for batch in range(position[BATCH], position[BATCHES]):
            begin = position[ORDER] + batch * position[BATCH_ROWS]
            end = min(begin + position[BATCH_ROWS], position[END])
            loss = block.add_rows(
                state, position, layers, numbers, batch, begin, begin, end,
                X, targets, weights, order, constants, epsilon,
            )  # fmt: skip
            cuda.syncthreads()
            first, second = firsts[position[PLACE]], seconds[position[PLACE]]
            penalty = block.update(
                state, places, 0, size, penalised, steps[batch], first, second, scratch
            )
            total = block_sum(penalty + loss * loss_share, scratch)
            if thread == 0:
                totals[batch, 0] = total
            if steps[batch, MAX_NORM] < math.inf:  # all are updated: the sum had barriers
                block.limit_norms(state, layers, numbers, steps[batch, MAX_NORM])
        cuda.syncthreads()
        for i in range(thread, size, threads):
            parameters[place, i] = shared[places[i]]

    name = kind.name and f"cuda.single_block-{kind.name}"
    return kernel(threads_here, name)(train)
