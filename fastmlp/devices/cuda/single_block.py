"""The first regime: one block of threads trains a small network alone.

Parameters, gradient and intermediate results of a block of rows stay in the block's shared memory
for a whole run of batches. Phases end with a barrier of the threads, which takes nanoseconds; a
kernel for each phase would take microseconds.
"""

import math
from functools import lru_cache, partial

import numpy as np
from numba import from_dtype, int32, uint32

from ...regularization import Regularization
from .elements import Kind, State, elements, weight_of
from .layout import NOWHERE, layer_at, layout, loss_share
from .position import (
    BATCH,
    BATCH_ROWS,
    BATCHES,
    BLOCK_ROWS,
    END,
    FIRST_STEP,
    ORDER,
    PLACE,
    SEED,
    TARGETS,
    WEIGHTED,
    WEIGHTS,
)
from .sums import block_sum, sum_column
from .toolkit import (
    LANES,
    SIMULATED,
    allow_all_shared,
    configured,
    cuda,
    device,
    kernel,
    shared_memory,
)
from .updates import CLIP_NORM, MAX_NORM, clip_scale, shrunk, slope_of, updater


def threads_of(kind: Kind) -> int:
    """Return the threads of the block: as many as the registers allow; few in the simulator."""
    if SIMULATED:
        return 4
    plain = kind.dtype == np.float32 and not kind.dropping and not kind.learns
    return 384 if plain else 256


def _small_product(real, leave):
    """Return a function of one block that calls leave(r, c, Σ_k A[r, k] B[k, c]) for all r and c.

    Every thread takes 4 x 4 elements at a time, whose rows and columns are spread evenly over the
    product: neighbouring threads then read neighbouring numbers, or the same one. Incomplete tiles
    read the last row or column again.
    """

    @device
    def product(
        state, layer, a, a_start, a_row, a_depth, b, b_start, b_column, b_depth,
        rows, columns, depth, down, pieces,
    ):  # fmt: skip
        x = cuda.local.array(4, real)
        y = cuda.local.array(4, real)
        at_x = cuda.local.array(4, int32)
        at_y = cuda.local.array(4, int32)
        sums = cuda.local.array((4, 4), real)
        tall, wide = (rows + 3) // 4, (columns + 3) // 4
        for tile in range(cuda.threadIdx.x, tall * wide, cuda.blockDim.x):
            row = tile % tall if down else tile // wide
            column = tile // tall if down else tile % wide
            for i in range(4):
                at_x[i] = a_start + min(row + i * tall, rows - 1) * a_row
                at_y[i] = b_start + min(column + i * wide, columns - 1) * b_column
                for j in range(4):
                    sums[i, j] = real(0)
            for k in range(depth):
                # Unsigned: Numba checks whether a signed index is negative and counts from the end.
                for i in range(4):
                    x[i] = a[uint32(at_x[i] + k * a_depth)]
                    y[i] = b[uint32(at_y[i] + k * b_depth)]
                for i in range(4):
                    for j in range(4):
                        sums[i, j] += x[i] * y[j]
            for piece in range(pieces):
                for i in range(4):
                    for j in range(4):
                        r, c = row + i * tall, column + j * wide
                        if r < rows and c < columns:
                            leave(state, layer, r, c, piece, sums[i, j])

    return product


@device
def _store(state, layer, r, j, piece, z):
    state.work[layer.slopes + r * layer.stride + j] = z


@device
def _add_to_gradient(state, layer, m, n, piece, value):
    state.gradient[state.start + layer.weights + m * layer.fan_out + n] += value


@lru_cache
def single_block(kind: Kind):
    """Return the kernel that trains on the batches from BATCH to BATCHES of the order.

    Each block trains a network of its own, whose part of every array its position tells.
    """
    real = from_dtype(kind.dtype)
    threads_here = threads_of(kind)
    own = elements(kind)
    update_parameter = updater(kind.optimizer)

    @device
    def pass_back(state, layer, r, j, piece, upstream):
        slope = own.slope(state, layer, r, j, piece)
        own.pass_back(state, layer, r, j, piece, slope, upstream)

    forward = _small_product(real, _store)
    backward = _small_product(real, pass_back)
    gradient = _small_product(real, _add_to_gradient)

    @device
    def rows_forward(state, layers, numbers, X, order, first, rows):
        lane, group = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
        groups = cuda.blockDim.x // LANES
        layer = layer_at(layers, numbers, 0)
        for r in range(group, rows, groups):
            row = order[first + r]
            for j in range(lane, layer.units, LANES):
                own.gather(state, layer, r, j, real(X[row, j]))
        cuda.syncthreads()
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            forward(
                state, layer,
                state.work, layer.inputs, layer.inputs_stride, 1,
                state.parameters, layer.weights, 1, layer.fan_out,
                rows, layer.fan_out, layer.fan_in, False, 1,
            )  # fmt: skip
            cuda.syncthreads()
            # A loop of its own: inside the product, this code would be repeated sixteen times.
            for r in range(group, rows, groups):
                for j in range(lane, layer.fan_out, LANES):
                    z = state.work[layer.slopes + r * layer.stride + j]
                    z += state.parameters[layer.biases + j]
                    own.leave(state, layer, r, j, z)
            cuda.syncthreads()
            if layer.pieces > 1:
                for r in range(group, rows, groups):
                    for j in range(lane, layer.units, LANES):
                        own.choose_piece(state, layer, r, j)
                cuda.syncthreads()

    @device
    def rows_backward(state, layers, numbers, rows):
        for index in range(len(layers) - 1, 1, -1):
            layer, before = (
                layer_at(layers, numbers, index), layer_at(layers, numbers, index - 1),
            )  # fmt: skip
            # Down the rows, as the strides of the weights would send threads to the same bank.
            backward(
                state, before,
                state.work, layer.slopes, layer.stride, 1,
                state.parameters, layer.weights, layer.fan_out, 1,
                rows, before.units, layer.fan_out, True, before.pieces,
            )  # fmt: skip
            cuda.syncthreads()

    @device
    def add_gradient(state, layers, numbers, rows):
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            gradient(
                state, layer,
                state.work, layer.inputs, 1, layer.inputs_stride,
                state.work, layer.slopes, 1, layer.stride,
                layer.fan_in, layer.fan_out, rows, False, 1,
            )  # fmt: skip
            # The threads without a tile are the last ones.
            for j in range(layer.fan_out - 1 - cuda.threadIdx.x, -1, -cuda.blockDim.x):
                start, g = layer.slopes + j, state.start + layer.biases + j
                state.gradient[g] += sum_column(state.work, start, layer.stride, 0, rows, 1)
                if layer.learned != NOWHERE:
                    start, g = layer.learning + j, state.start + layer.learned + j
                    state.gradient[g] += sum_column(state.work, start, layer.stride, 0, rows, 1)

    @device
    def update(state, size, penalised, step, first, second, scratch, loss):
        """Update all parameters; return the sum of all threads' losses and of the penalty before.

        Only the first `penalised` parameters have one.
        """
        p, g = state.parameters, state.start
        scale = real(1)
        if step[CLIP_NORM] < math.inf:
            squares = real(0)
            for i in range(cuda.threadIdx.x, size, cuda.blockDim.x):
                slope = slope_of(step, p[i], p[g + i], i < penalised)
                squares += slope * slope
            scale = clip_scale(step, block_sum(squares, scratch))
        penalty = real(0)
        for i in range(cuda.threadIdx.x, size, cuda.blockDim.x):
            penalty += update_parameter(step, p, first, second, i, p[g + i], i < penalised, scale)
            p[g + i] = real(0)
        return block_sum(real(0.5) * penalty + loss, scratch)

    @device
    def limit_norms(state, layers, numbers, most):
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            for n in range(cuda.threadIdx.x, layer.fan_out, cuda.blockDim.x):
                shrunk(state.parameters, layer.weights + n, layer.fan_out, layer.fan_in, most)

    def train(
        positions, tables, all_numbers, parameters, firsts, seconds, steps, epsilon,
        X, targets, weights, order, all_constants, loss_share, totals,
    ):  # fmt: skip
        position = positions[cuda.blockIdx.x]
        place = position[PLACE]
        layers, numbers, constants = tables[place], all_numbers[place], all_constants[place]
        thread, threads, size = cuda.threadIdx.x, cuda.blockDim.x, parameters.shape[1]
        shared = cuda.shared.array(0, real)
        scratch = cuda.shared.array(threads_here, real)
        last = layer_at(layers, numbers, len(layers) - 1)
        penalised = layer_at(layers, numbers, 1).biases
        for i in range(thread, size, threads):
            shared[i], shared[size + i] = parameters[place, i], real(0)
        for batch in range(position[BATCH], position[BATCHES]):
            begin = position[ORDER] + batch * position[BATCH_ROWS]
            end = min(begin + position[BATCH_ROWS], position[END])
            loss = real(0)  # of this thread's rows
            for at in range(begin, end, position[BLOCK_ROWS]):
                rows = min(position[BLOCK_ROWS], end - at)
                state = State(
                    shared, shared, size, shared,
                    position[SEED], position[FIRST_STEP] + batch, at - begin,
                )  # fmt: skip
                cuda.syncthreads()
                rows_forward(state, layers, numbers, X, order, at, rows)
                for r in range(thread, rows, threads):
                    row = order[at + r]
                    weight = weight_of(weights, row + position[WEIGHTS], position[WEIGHTED])
                    row += position[TARGETS]
                    own.finish_outputs(state, last, r)
                    loss += own.judge(state, last, r, targets, row, weight, constants, epsilon)
                cuda.syncthreads()
                rows_backward(state, layers, numbers, rows)
                add_gradient(state, layers, numbers, rows)
            cuda.syncthreads()
            loss *= loss_share
            first, second = firsts[position[PLACE]], seconds[position[PLACE]]
            total = update(state, size, penalised, steps[batch], first, second, scratch, loss)
            if thread == 0:
                totals[batch, 0] = total
            if steps[batch, MAX_NORM] < math.inf:
                cuda.syncthreads()
                limit_norms(state, layers, numbers, steps[batch, MAX_NORM])
        cuda.syncthreads()
        for i in range(thread, size, threads):
            parameters[place, i] = shared[i]

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

    def __init__(self, kind, network, regularization, batch_rows, memory):
        self._blocks = Blocks(kind, network, batch_rows)
        self._memory = memory
        tables = self._blocks.tables(regularization)
        vectors = memory.parameters, *memory.first_and_second, memory.constants
        *self._vectors, self._constants = (alone(vector) for vector in vectors)
        self._tables = [alone(memory.upload(table)) for table in tables]
        self.parts = 1

    def launch(self, run):
        """Queue the training on a run of batches."""
        position = run.beginning(self._blocks.batch_rows, self._blocks.block_rows)
        launch = self._blocks.launch_of(
            1, self._memory.stream, alone(position), *self._tables, *self._vectors, run.steps,
            run.X, run.targets, run.weights, run.order, self._constants, run.totals,
        )  # fmt: skip
        launch()


def alone(array):
    """Return an array on the GPU as that of the only network."""
    return array.reshape(1, *array.shape)


class Blocks:
    """The kernel for networks of one kind and shape, and the room that each block needs.

    Parameters
    ----------
    kind : Kind
        The kind of network that kernels are compiled for.
    network : Network
        One of these networks.
    batch_rows : int
        The rows of their batches.
    """

    def __init__(self, kind, network, batch_rows):
        self._kind, self._network, self.batch_rows = kind, network, batch_rows
        self._kernel, self._threads = single_block(kind), threads_of(kind)
        self.block_rows = block_rows(kind, network, batch_rows)
        size = self._start + self._layout(Regularization()).work_size
        self._bytes = size * kind.dtype.itemsize
        self._loss_share = kind.dtype.type(loss_share(network))
        self._epsilon = np.finfo(kind.dtype).eps

    @property
    def _start(self):
        return 2 * self._network.size

    def _layout(self, regularization):
        return layout(
            self._network, self._kind.activations, self._kind.dtype, self.block_rows,
            regularization, start=self._start, shared=True,
        )  # fmt: skip

    def tables(self, regularization):
        """Return the table of layers, and that of their numbers."""
        return self._layout(regularization)[:2]

    def launch_of(
        self, count, stream, positions, tables, numbers, parameters, first, second, steps,
        X, targets, weights, order, constants, totals,
    ):  # fmt: skip
        """Return the launch of a run of so many networks; see the kernel for its arguments."""
        arguments = (
            positions, tables, numbers, parameters, first, second, steps, self._epsilon,
            X, targets, weights, order, constants, self._loss_share, totals,
        )  # fmt: skip
        allow_all_shared(self._kernel, arguments)
        launch = configured(self._kernel, count, self._threads, stream, self._bytes)
        return partial(launch, *arguments)


def block_rows(kind, network, batch_rows) -> int:
    """Return how many rows of a batch fit in shared memory at a time; 0 if it is too small.

    Besides the rows, it holds parameters, gradient and one number per thread.
    """
    held = 2 * network.size + threads_of(kind)
    room = shared_memory() // kind.dtype.itemsize - held
    none = Regularization()
    width = layout(network, kind.activations, kind.dtype, 1, none, shared=True).work_size
    return max(0, min(batch_rows, room // width))
