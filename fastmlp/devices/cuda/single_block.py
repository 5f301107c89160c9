"""The first regime: one block of threads trains a small network alone.

Parameters, gradient and intermediate results of a block of rows stay in the block's shared memory
for a whole run of batches. Phases end with a barrier of the threads, which takes nanoseconds; a
kernel for each phase would take microseconds.
"""

import math
from functools import lru_cache

import numpy as np
from numba import from_dtype, int32, uint32, uint64

from .elements import Kind, State, elements, weight_of
from .layout import NOWHERE, layer_at
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
from .shared import SIDE, VECTOR
from .small_product import after, product, quotient
from .sums import block_sum, sum_column
from .toolkit import LANES, SIMULATED, cuda, device, kernel
from .updates import CLIP_NORM, MAX_NORM, changer, clip_scale, held, shrunk, slope_of
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


@lru_cache
def single_block(kind: Kind):
    """Return the kernel that trains on the batches from BATCH to BATCHES of the order.

    Each block trains a network of its own, whose part of every array its position tells.
    """
    real = from_dtype(kind.dtype)
    threads_here = threads_of(kind)
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
    def write_ones(state, layers, numbers, rows):
        """Write each layer's output that the next layer's biases are the weights of."""
        for index in range(len(layers)):
            layer = layer_at(layers, numbers, index)
            for r in range(cuda.threadIdx.x, rows, cuda.blockDim.x):
                state.work[layer.outputs + r * layer.outputs_stride + layer.units] = real(1)

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
    def update(state, places, penalised, step, first, second, scratch, loss):
        """Update all parameters; return the sum of all threads' losses and of the penalty before.

        Only the first `penalised` parameters have one.
        """
        p, g = state.parameters, state.start
        thread, threads, size = cuda.threadIdx.x, cuda.blockDim.x, len(places)
        step = held(step)
        scale = real(1)
        if step[CLIP_NORM] < math.inf:
            squares = real(0)
            for i in range(thread, size, threads):
                at = uint32(places[i])
                slope = slope_of(step, p[at], p[uint32(g + at)], i < penalised)
                squares += slope * slope
            scale = clip_scale(step, block_sum(squares, scratch))
        penalty = real(0)
        for i in range(thread, size, threads):
            at = uint32(places[i])
            slope = uint32(g + at)
            w, gradient_sum = p[at], p[slope]
            p[at], twice = changed(step, w, first, second, i, gradient_sum, i < penalised, scale)
            p[slope] = real(0)
            penalty += twice
        return block_sum(real(0.5) * penalty + loss, scratch)

    @device
    def limit_norms(state, layers, numbers, most):
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            for n in range(cuda.threadIdx.x, layer.fan_out, cuda.blockDim.x):
                start, stride = layer.weights + n, layer.weights_stride
                shrunk(state.parameters, start, stride, layer.fan_in, most)

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
        last = layer_at(layers, numbers, len(layers) - 1)
        for i in range(thread, len(shared), threads):
            shared[i] = real(0)
        cuda.syncthreads()
        for i in range(thread, size, threads):
            shared[places[i]] = parameters[place, i]
        begun = State(shared, shared, start, shared, 0, 0, 0)
        write_ones(begun, layers, numbers, position[BLOCK_ROWS])
        for batch in range(position[BATCH], position[BATCHES]):
            begin = position[ORDER] + batch * position[BATCH_ROWS]
            end = min(begin + position[BATCH_ROWS], position[END])
            loss = real(0)  # of this thread's rows
            for at in range(begin, end, position[BLOCK_ROWS]):
                rows = int32(min(position[BLOCK_ROWS], end - at))
                state = State(
                    shared, shared, start, shared,
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
            total = update(begun, places, penalised, steps[batch], first, second, scratch, loss)
            if thread == 0:
                totals[batch, 0] = total
            if steps[batch, MAX_NORM] < math.inf:
                cuda.syncthreads()
                limit_norms(begun, layers, numbers, steps[batch, MAX_NORM])
        cuda.syncthreads()
        for i in range(thread, size, threads):
            parameters[place, i] = shared[places[i]]

    name = kind.name and f"cuda.single_block-{kind.name}"
    return kernel(threads_here, name)(train)
