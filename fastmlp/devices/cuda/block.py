"""What one block of threads computes of a batch in its shared memory.

Parameters, gradient and intermediate results of a block of rows are there. Kernels are made of
these functions: that of `single_block`, and that of `cluster`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import from_dtype, int32, uint32, uint64

from ...regularization import Regularization
from .elements import Kind, State, elements, weight_of
from .layout import NOWHERE, layer_at
from .position import BLOCK_ROWS, FIRST_STEP, SEED, TARGETS, WEIGHTED, WEIGHTS
from .shared import SIDE, VECTOR, shared_layout
from .small_product import after, product, quotient
from .sums import sum_column
from .toolkit import LANES, SIMULATED, cuda, device, shared_memory
from .updates import CLIP_NORM, changer, clip_scale, held, shrunk, slope_of
from .vectors import load, store

#: Features that a thread loads before it stores the first of them: a store might change what the
#: next load reads, so the compiler keeps their order.
IN_FLIGHT = 4


def threads_of(kind: Kind) -> int:
    """Return the threads of the block: as many as the registers allow; few in the simulator."""
    if SIMULATED:
        return 4
    few_registers = kind.dtype == np.float32 or not (kind.dropping or kind.learns)
    return 384 if few_registers else 256


class Parts(NamedTuple):
    """The functions of one kind of network, in the order in which a kernel needs them."""

    prepare: Callable
    add_rows: Callable
    update: Callable
    limit_norms: Callable


def parts(kind: Kind, total_of: Callable) -> Parts:
    """Return the functions for one kind of network.

    `total_of` sums a number of each thread over all threads that train the network, and has the
    arguments of `block_sum`.
    """
    real = from_dtype(kind.dtype)
    own, learns = elements(kind), kind.learns
    changed = changer(kind.optimizer)
    size_of = kind.dtype.itemsize
    numbers_of = VECTOR // size_of
    groups = SIDE // numbers_of
    any_pieces = ("maxout", False) in kind.activations

    @device
    def first_of(layer, start, row, column):
        """Return the place of the first number of a row's SIDE columns."""
        return int32(size_of * (start + row * layer.stride + SIDE * column))

    @device
    def activate(state, layer, row, column, tall, wide, rows, sums):
        """Store f(z) and f'(z), for sums that are z; maxout needs all pieces, so it stores z."""
        values, slopes = cuda.local.array(SIDE, real), cuda.local.array(SIDE, real)
        at, far = first_of(layer, layer.slopes, row, column), int32(size_of * tall * layer.stride)
        for i in range(SIDE):
            if any_pieces and row + i * tall >= rows:
                for j in range(SIDE):
                    sums[i * SIDE + j] = real(0)
            for g in range(groups):
                store(state.work, at + i * far + g * VECTOR, sums, i * SIDE + g * numbers_of)
        if any_pieces and layer.pieces > 1:
            return
        # From memory again, row by row: formulas are long, and here they are written out SIDE times
        # instead of SIDE * SIDE times.
        out = int32(size_of * (layer.outputs + row * layer.outputs_stride + SIDE * column))
        end = int32(SIDE * tall)
        while row < end:
            for g in range(groups):
                load(values, g * numbers_of, state.work, at + g * VECTOR)
            for j in range(SIDE):
                c = int32(SIDE * column + j)
                values[j], slopes[j] = own.activated(state, layer, row, c, values[j])
                if c >= layer.units:  # behind the units, a 1 and zeros
                    values[j] = real(1) if c == layer.units else real(0)
                if c >= layer.units or row >= rows:
                    slopes[j] = real(0)
            for g in range(groups):
                store(state.work, at + g * VECTOR, slopes, g * numbers_of)
                store(state.work, out + g * VECTOR, values, g * numbers_of)
            row, at = int32(row + tall), int32(at + far)
            out = int32(out + size_of * tall * layer.outputs_stride)

    @device
    def pass_back(state, layer, row, column, tall, wide, rows, sums):
        """Store δ = ∂loss/∂z, and ∂loss/∂c if units learn, for sums that are ∂loss/∂f(z)."""
        if any_pieces and layer.pieces > 1:
            # A piece's columns need not begin at a multiple of 16 bytes.
            first = layer.slopes + row * layer.stride + SIDE * column
            for _ in range(layer.pieces):
                for i in range(SIDE):
                    for j in range(SIDE):
                        if row + i * tall < rows and SIDE * column + j < layer.units:
                            place = uint32(first + i * tall * layer.stride + j)
                            state.work[place] *= sums[i * SIDE + j]
                first += layer.units
            return
        at, far = first_of(layer, layer.slopes, row, column), int32(size_of * tall * layer.stride)
        for i in range(SIDE):
            multiply(state.work, at + i * far, sums, i * SIDE)
        if learns and layer.learned != NOWHERE:
            at = first_of(layer, layer.learning, row, column)
            for i in range(SIDE):
                multiply(state.work, at + i * far, sums, i * SIDE)

    @device
    def multiply(shared, at, factors, first):
        values = cuda.local.array(SIDE, real)
        for g in range(groups):
            load(values, g * numbers_of, shared, at + g * VECTOR)
        for j in range(SIDE):
            values[j] *= factors[first + j]
        for g in range(groups):
            store(shared, at + g * VECTOR, values, g * numbers_of)

    @device
    def add(state, layer, row, column, tall, wide, rows, sums):
        """Add sums to the gradient."""
        values = cuda.local.array(SIDE, real)
        start, far = state.start + layer.weights, layer.weights_stride
        for i in range(SIDE):
            m = numbers_of * (row + i // numbers_of * tall) + i % numbers_of
            at = int32(size_of * (start + m * far) + VECTOR * column)
            for g in range(groups):
                load(values, g * numbers_of, state.gradient, at + g * VECTOR * wide)
            for j in range(SIDE):
                values[j] += sums[i * SIDE + j]
            for g in range(groups):
                store(state.gradient, at + g * VECTOR * wide, values, g * numbers_of)

    forward = product(real, True, False, activate)
    backward = product(real, True, True, pass_back)
    gradient = product(real, False, False, add)

    @device
    def prepare(shared, start, places, parameters, layers, numbers, rows):
        """Load the parameters, with zeros and ones where products need them; return the state."""
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        for i in range(thread, len(shared), threads):
            shared[i] = real(0)
        cuda.syncthreads()
        for i in range(thread, len(parameters), threads):
            shared[places[i]] = parameters[i]
        # The next layer's biases are the weights of these outputs.
        for index in range(len(layers)):
            layer = layer_at(layers, numbers, index)
            for r in range(thread, rows, threads):
                shared[layer.outputs + r * layer.outputs_stride + layer.units] = real(1)
        return State(shared, shared, start, shared, 0, 0, 0)

    @device
    def rows_forward(state, layers, numbers, X, order, first, rows):
        thread, threads = int32(cuda.threadIdx.x), int32(cuda.blockDim.x)
        layer = layer_at(layers, numbers, 0)
        held = cuda.local.array(IN_FLIGHT, real)
        row, column = cuda.local.array(IN_FLIGHT, int32), cuda.local.array(IN_FLIGHT, int32)
        r, j = quotient(thread, layer.units)
        down, along = quotient(threads, layer.units)
        while r < rows:
            for i in range(IN_FLIGHT):
                row[i], column[i] = r, j
                if r < rows:
                    held[i] = X[uint64(order[uint64(first + r)]), uint64(j)]
                r, j = int32(r + down), int32(j + along)
                if j >= layer.units:
                    r, j = int32(r + 1), int32(j - layer.units)
            for i in range(IN_FLIGHT):
                if row[i] < rows:
                    own.gather(state, layer, row[i], column[i], held[i])
        cuda.syncthreads()
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            forward(
                state, layer, layer.inputs, layer.inputs_stride,
                layer.weights, layer.weights_stride,
                rows, layer.fan_out, layer.fan_in + 1, thread,
            )  # fmt: skip
            cuda.syncthreads()
            if any_pieces and layer.pieces > 1:
                lane, group = thread % LANES, thread // LANES
                for r in range(group, rows, threads // LANES):
                    for j in range(lane, layer.units, LANES):
                        own.choose_piece(state, layer, r, j)
                cuda.syncthreads()

    @device
    def rows_backward(state, layers, numbers, rows):
        for index in range(len(layers) - 1, 1, -1):
            layer, before = (
                layer_at(layers, numbers, index), layer_at(layers, numbers, index - 1),
            )  # fmt: skip
            backward(
                state, before, layer.slopes, layer.stride, layer.weights, layer.weights_stride,
                rows, before.units, layer.fan_out, int32(cuda.threadIdx.x),
            )  # fmt: skip
            cuda.syncthreads()

    @device
    def add_gradient(state, layers, numbers, rows):
        place = int32(cuda.threadIdx.x)
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            place = gradient(
                state, layer, layer.inputs, layer.inputs_stride, layer.slopes, layer.stride,
                layer.fan_in + 1, layer.fan_out, rows, place,
            )  # fmt: skip
            if learns and layer.learned != NOWHERE:
                for j in range(place, layer.units, cuda.blockDim.x):
                    start, g = layer.learning + j, state.start + layer.learned + j
                    state.gradient[g] += sum_column(state.work, start, layer.stride, 0, rows, 1)
                place = after(place, layer.units)

    @device
    def add_rows(
        begun, position, layers, numbers, batch, begin, first, last,
        X, targets, weights, order, constants, epsilon,
    ):  # fmt: skip
        """Add the gradient of some of a batch's rows, BLOCK_ROWS at a time.

        The batch begins at `begin` of the order, and these are from `first` to `last` of it.
        Returns the sum of the losses of this thread's rows. A barrier has to follow.
        """
        thread, threads = cuda.threadIdx.x, cuda.blockDim.x
        outputs = layer_at(layers, numbers, len(layers) - 1)
        loss = real(0)
        for at in range(first, last, position[BLOCK_ROWS]):
            rows = int32(min(position[BLOCK_ROWS], last - at))
            state = State(
                begun.parameters, begun.gradient, begun.start, begun.work,
                position[SEED], position[FIRST_STEP] + batch, at - begin,
            )  # fmt: skip
            cuda.syncthreads()
            rows_forward(state, layers, numbers, X, order, at, rows)
            for r in range(thread, rows, threads):
                row = order[at + r]
                weight = weight_of(weights, row + position[WEIGHTS], position[WEIGHTED])
                row += position[TARGETS]
                own.finish_outputs(state, outputs, r)
                loss += own.judge(state, outputs, r, targets, row, weight, constants, epsilon)
            cuda.syncthreads()
            rows_backward(state, layers, numbers, rows)
            add_gradient(state, layers, numbers, rows)
        return loss

    @device
    def update(state, places, low, high, penalised, step, first, second, scratch):
        """Update the parameters from `low` to `high`; return this thread's penalty before.

        Only the first `penalised` parameters have one.
        """
        p, g = state.parameters, state.start
        begun, threads = low + cuda.threadIdx.x, cuda.blockDim.x
        step = held(step)
        scale = real(1)
        if step[CLIP_NORM] < math.inf:
            squares = real(0)
            for i in range(begun, high, threads):
                at = uint32(places[i])
                slope = slope_of(step, p[at], p[uint32(g + at)], i < penalised)
                squares += slope * slope
            scale = clip_scale(step, total_of(squares, scratch))
        penalty = real(0)
        for i in range(begun, high, threads):
            at = uint32(places[i])
            slope = uint32(g + at)
            w, gradient_sum = p[at], p[slope]
            p[at], twice = changed(step, w, first, second, i, gradient_sum, i < penalised, scale)
            p[slope] = real(0)
            penalty += twice
        return real(0.5) * penalty

    @device
    def limit_norms(state, layers, numbers, most):
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            for n in range(cuda.threadIdx.x, layer.fan_out, cuda.blockDim.x):
                start, stride = layer.weights + n, layer.weights_stride
                shrunk(state.parameters, start, stride, layer.fan_in, most)

    return Parts(prepare, add_rows, update, limit_norms)


def block_rows(kind, network, batch_rows, blocks=1) -> int:
    """Return how many rows of a batch a block has in shared memory at a time; 0 if it is too small.

    They are as many as fit beside parameters, gradient and one number per thread and block, or
    fewer, so that the pieces of a block's share of a batch are equally long.
    """
    plan = shared_layout(network, kind.activations, kind.dtype, SIDE, Regularization())
    held = 2 * plan.parameters_size
    room = shared_memory() // kind.dtype.itemsize - held - threads_of(kind) - blocks
    most = SIDE * (room // (plan.size - held))
    share = -(-batch_rows // blocks)
    return -(-share // -(-share // most)) if most > 0 else 0
