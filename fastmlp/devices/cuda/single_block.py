"""The first regime: one block of threads trains a small network alone.

Parameters, gradient and intermediate results of a block of rows stay in the block's shared memory
for a whole run of batches. Phases end with a barrier of the threads, which takes nanoseconds; a
kernel for each phase would take microseconds.
"""

import math
from functools import lru_cache, partial
from weakref import WeakKeyDictionary

import numpy as np
from numba import from_dtype

from .block import block_rows, parts, threads_of
from .elements import Kind
from .layout import loss_share
from .position import BATCH, BATCH_ROWS, BATCHES, BLOCK_ROWS, END
from .shared import VECTOR, shared_layout
from .sums import block_sum
from .toolkit import allow_all_shared, configured, cuda, kernel


@lru_cache
def single_block(kind: Kind):
    """Return the kernel that trains on the batches from BATCH to BATCHES of the order."""
    real, threads_here = from_dtype(kind.dtype), threads_of(kind)
    block = parts(kind, block_sum)

    def train(
        position, layers, numbers, places, parameters, first, second, steps, max_norm, epsilon,
        X, targets, weights, order, constants, loss_share, totals, start, penalised,
    ):  # fmt: skip
        thread, threads, size = cuda.threadIdx.x, cuda.blockDim.x, len(parameters)
        shared = cuda.shared.array(0, real, alignment=VECTOR)
        scratch = cuda.shared.array(threads_here, real)
        state = block.prepare(
            shared, start, places, parameters, layers, numbers, position[BLOCK_ROWS]
        )
        for batch in range(position[BATCH], position[BATCHES]):
            begin = batch * position[BATCH_ROWS]
            end = min(begin + position[BATCH_ROWS], position[END])
            loss = block.add_rows(
                state, position, layers, numbers, batch, begin, begin, end,
                X, targets, weights, order, constants, epsilon,
            )  # fmt: skip
            cuda.syncthreads()
            penalty = block.update(
                state, places, 0, size, penalised, steps[batch], first, second, scratch
            )
            total = block_sum(penalty + loss * loss_share, scratch)
            if thread == 0:
                totals[batch, 0] = total
            if max_norm < math.inf:  # all parameters are there: the sum had barriers
                block.limit_norms(state, layers, numbers, max_norm)
        cuda.syncthreads()
        for i in range(thread, size, threads):
            parameters[i] = shared[places[i]]

    name = kind.name and f"cuda.single_block-{kind.name}"
    return kernel(threads_here, name)(train)


class SingleBlock:
    """Trains one network with one block of threads.

    Parameters
    ----------
    kind : Kind
        The kind of network that kernels are compiled for.
    network, regularization, batch_rows
        The same as the device's.
    memory : Memory
        The parameters, moments and constants on the GPU.
    """

    #: The most floating-point operations of one run: a few tenths of a second.
    longest_run = 1e11
    #: The blocks that train it, each of which sums a part of a batch's losses and of the penalty.
    parts = 1
    kernel_of = staticmethod(single_block)

    def __init__(self, kind, network, regularization, batch_rows, memory):
        self._kernel = self.kernel_of(kind)
        self._memory, self._batch_rows = memory, batch_rows
        self._threads = threads_of(kind)
        self._block_rows = block_rows(kind, network, batch_rows, self.parts)
        plan = shared_layout(
            network, kind.activations, kind.dtype, self._block_rows, regularization
        )
        self._bytes = plan.size * kind.dtype.itemsize
        self._tables = tuple(map(memory.upload, (plan.layers, plan.numbers, plan.places)))
        self._start = np.int32(plan.parameters_size)
        self._penalised = np.int32(sum(fan_in * fan_out for fan_in, fan_out in network.shapes))
        self._max_norm = kind.dtype.type(regularization.max_norm)
        self._loss_share = kind.dtype.type(loss_share(network))
        self._launches = WeakKeyDictionary()  # when a run is deleted, so is its launch

    def launch(self, run):
        """Queue the training on a run of batches."""
        position = run.beginning(self._batch_rows, self._block_rows)
        if run not in self._launches:
            self._launches[run] = self._launch_of(run, position)
        self._launches[run]()

    def _launch_of(self, run, position):
        """Return the launch with its arguments, which are the same for every use of the run."""
        memory = self._memory
        arguments = (
            position, *self._tables, memory.parameters, *memory.first_and_second, run.steps,
            self._max_norm, memory.epsilon, run.X, run.targets, run.weights, run.order,
            memory.constants, self._loss_share, run.totals, self._start, self._penalised,
        )  # fmt: skip
        allow_all_shared(self._kernel, arguments)
        return self._configured(arguments)

    def _configured(self, arguments):
        stream = self._memory.stream
        launch = configured(self._kernel, 1, self._threads, stream, self._bytes)
        return partial(launch, *arguments)
