"""The third regime: a cluster of blocks trains one small network, each with a share of the rows.

Every block has all parameters in its shared memory, and sums the gradient of its share of a batch.
Then it updates its part of the parameters, by the sum of all blocks' gradients of these, and sends
them to the others. A batch thus takes two barriers of the cluster. All sums are in a fixed order.
"""

import math
from functools import lru_cache

from numba import from_dtype, uint32

from .block import parts, threads_of
from .blocks import Blocks, SingleBlock
from .cluster_memory import address_in, arrive, load_from, meet, rank, store_to, wait
from .elements import Kind
from .position import BATCH, BATCH_ROWS, BATCHES, BLOCK_ROWS, END, ORDER, PLACE
from .shared import VECTOR
from .sums import block_sum
from .toolkit import cluster_launch, cuda, device, kernel
from .updates import MAX_NORM

#: Blocks of a cluster: the most that every GPU with clusters can have.
BLOCKS = 8


@device
def share(begin, end, number):
    """Return the begin and the end of one of BLOCKS nearly equal shares of what is in between."""
    length = (end - begin + BLOCKS - 1) // BLOCKS
    first = min(begin + number * length, end)
    return first, min(first + length, end)


@lru_cache
def cluster(kind: Kind):
    """Return the kernel that trains on the batches from BATCH to BATCHES of the order."""
    real, threads_here = from_dtype(kind.dtype), threads_of(kind)
    size_of, room = kind.dtype.itemsize, threads_here + BLOCKS

    @device
    def total_of(value, scratch):
        """Return the sum of the values of all threads of the cluster, the same in every thread."""
        total = block_sum(value, scratch)
        if cuda.threadIdx.x < BLOCKS:
            place = uint32(threads_here + rank())
            store_to(uint32(address_in(cuda.threadIdx.x, scratch) + size_of * place), total)
        meet()
        total = scratch[threads_here]
        for block in range(1, BLOCKS):
            total += scratch[threads_here + block]
        return total

    @device
    def collect(state, places, low, high):
        """Sum the gradients of all blocks for the parameters from `low` to `high`."""
        gradient, starts = state.gradient, cuda.local.array(BLOCKS, uint32)
        values = cuda.local.array(BLOCKS, real)
        for block in range(BLOCKS):
            starts[block] = address_in(block, gradient)
        for i in range(low + cuda.threadIdx.x, high, cuda.blockDim.x):
            at = uint32(state.start + places[i])
            for block in range(BLOCKS):
                values[block] = load_from(gradient, uint32(starts[block] + size_of * at))
            total = values[0]
            for block in range(1, BLOCKS):
                total += values[block]
            gradient[at] = total  # nobody else reads this one

    @device
    def send(state, places, low, high):
        """Send the parameters from `low` to `high` to all blocks."""
        parameters, starts = state.parameters, cuda.local.array(BLOCKS, uint32)
        for block in range(BLOCKS):
            starts[block] = address_in(block, parameters)
        for i in range(low + cuda.threadIdx.x, high, cuda.blockDim.x):
            at = uint32(places[i])
            value = parameters[at]
            for block in range(BLOCKS):
                store_to(uint32(starts[block] + size_of * at), value)

    block = parts(kind, total_of)

    def train_together(
        positions, tables, all_numbers, places, parameters, firsts, seconds, steps, epsilon,
        X, targets, weights, order, all_constants, loss_share, totals, start, penalised,
    ):  # fmt: skip
        position = positions[cuda.blockIdx.x // BLOCKS]
        place = position[PLACE]
        layers, numbers, constants = tables[place], all_numbers[place], all_constants[place]
        thread, threads, own = cuda.threadIdx.x, cuda.blockDim.x, rank()
        shared = cuda.shared.array(0, real, alignment=VECTOR)
        scratch = cuda.shared.array(room, real)
        low, high = share(0, parameters.shape[1], own)
        state = block.prepare(
            shared, start, places, parameters[place], layers, numbers, position[BLOCK_ROWS]
        )
        for batch in range(position[BATCH], position[BATCHES]):
            begin = position[ORDER] + batch * position[BATCH_ROWS]
            end = min(begin + position[BATCH_ROWS], position[END])
            first_row, last_row = share(begin, end, own)
            loss = block.add_rows(
                state, position, layers, numbers, batch, begin, first_row, last_row,
                X, targets, weights, order, constants, epsilon,
            )  # fmt: skip
            meet()  # all gradients are there, and nobody needs the parameters any more
            collect(state, places, low, high)
            first, second = firsts[position[PLACE]], seconds[position[PLACE]]
            penalty = block.update(
                state, places, low, high, penalised, steps[batch], first, second, scratch
            )
            send(state, places, low, high)
            arrive()
            total = block_sum(penalty + loss * loss_share, scratch)
            if thread == 0:
                totals[batch, own] = total
            wait()  # all parameters are there, and nobody needs the gradients any more
            for i in range(start + thread, 2 * start, threads):
                shared[i] = real(0)
            most = steps[batch, MAX_NORM]
            if most < math.inf:  # every block limits all of its own, which are the same
                block.limit_norms(state, layers, numbers, most)
        # From here on, no block reads or writes the memory of another one, which may have ended.
        cuda.syncthreads()
        for i in range(low + thread, high, threads):
            parameters[place, i] = shared[places[i]]

    name = kind.name and f"cuda.cluster-{kind.name}"
    return kernel(threads_here, name)(train_together)


class ClusterBlocks(Blocks):
    """The kernel for networks of one kind and shape, with a cluster of blocks for each."""

    parts = BLOCKS
    kernel_of = staticmethod(cluster)

    def _configured(self, count, stream, arguments):
        return cluster_launch(
            self._kernel, count, BLOCKS, self._threads, stream, self._bytes, arguments
        )


class Cluster(SingleBlock):
    """Trains one network with a cluster of blocks; see `SingleBlock` for the parameters."""

    blocks_of = ClusterBlocks
