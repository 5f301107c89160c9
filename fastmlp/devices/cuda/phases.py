"""The kernels of the second regime: one for each phase of a batch, of many blocks.

In kernels that multiply, a block of threads computes a tile of the product; in the others, each
thread takes one element after the other. They read their position in the run from `position`.
"""

import math
from functools import lru_cache
from typing import NamedTuple

from numba import from_dtype, uint64

from .elements import Kind, State, elements, weight_of
from .layout import NOWHERE, layer_at
from .position import (
    BATCH,
    BATCH_ROWS,
    BLOCK_ROWS,
    CURRENT_BATCH,
    CURRENT_ROW,
    CURRENT_ROWS,
    END,
    FIRST_STEP,
    ROW,
    SEED,
    WEIGHTED,
)
from .sums import block_sum, sum_column
from .tiles import Tile, product
from .toolkit import LANES, SIMULATED, cuda, device, kernel
from .updates import CLIP_NORM, clip_scale, shrunk, slope_of, updater

#: Threads of blocks that process elements one by one.
THREADS = 4 if SIMULATED else 256
#: Numbers that a thread loads before it stores the first of them. The compiler cannot do this by
#: itself: a store might change what the next load reads.
IN_FLIGHT = 2 if SIMULATED else 8
#: Features of a row that a warp gathers at a time, and how many of them each of its threads.
GATHERED = 4
SPAN = GATHERED * LANES


class Kernels(NamedTuple):
    """The kernels that do not multiply."""

    gather: object
    choose_pieces: object
    judge: object
    measure: object
    update: object
    limit_norms: object
    collect: object


@device
def _state(position, parameters, gradient, start, work):
    batch = position[CURRENT_BATCH]
    row = position[CURRENT_ROW] - batch * position[BATCH_ROWS]
    return State(
        parameters, gradient, start, work, position[SEED], position[FIRST_STEP] + batch, row
    )  # fmt: skip


@device
def _gradient_at(gradient, size, copies, i):
    """Sum the copies of the gradient for parameter i, in a fixed order."""
    return sum_column(gradient, i, size, 0, copies, 1)


@lru_cache
def kernels(kind: Kind) -> Kernels:
    """Return the kernels that do not multiply, for one kind of network."""
    real = from_dtype(kind.dtype)
    own = elements(kind)
    update_parameter = updater(kind.optimizer)

    def named(function):
        name = kind.name and f"cuda.{function.__name__}-{kind.name}"
        return kernel(THREADS, name)(function)

    def gather(position, layers, numbers, parameters, work, X, order):
        at, batch = position[ROW], position[BATCH]
        batch_end = min((batch + 1) * position[BATCH_ROWS], position[END])
        rows = min(position[BLOCK_ROWS], batch_end - at)
        begin = batch * position[BATCH_ROWS]
        step = position[FIRST_STEP] + batch
        state = State(parameters, parameters, 0, work, position[SEED], step, at - begin)
        layer = layer_at(layers, numbers, 0)
        if cuda.grid(1) == 0:
            position[CURRENT_ROW], position[CURRENT_ROWS], position[CURRENT_BATCH] = at, rows, batch
        x = cuda.local.array(GATHERED, real)
        spans = (layer.units + SPAN - 1) // SPAN
        for part in range(cuda.grid(1) // LANES, rows * spans, cuda.gridsize(1) // LANES):
            r, first = part // spans, part % spans * SPAN + cuda.threadIdx.x % LANES
            row = order[at + r]
            for q in range(GATHERED):
                if first + q * LANES < layer.units:
                    x[q] = real(X[row, first + q * LANES])
            for q in range(GATHERED):
                if first + q * LANES < layer.units:
                    own.gather(state, layer, r, first + q * LANES, x[q])

    def choose_pieces(position, layers, numbers, parameters, work, index):
        layer = layer_at(layers, numbers, index)
        state = _state(position, parameters, parameters, 0, work)
        rows = position[CURRENT_ROWS]
        for r in range(cuda.grid(1) // LANES, rows, cuda.gridsize(1) // LANES):
            for j in range(cuda.threadIdx.x % LANES, layer.units, LANES):
                own.choose_piece(state, layer, r, j)

    def judge(
        position, layers, numbers, parameters, work, targets, weights, order, constants, epsilon,
        losses, judges,
    ):  # fmt: skip
        layer = layer_at(layers, numbers, len(layers) - 1)
        state = _state(position, parameters, parameters, 0, work)
        at, rows = position[CURRENT_ROW], position[CURRENT_ROWS]
        for r in range(cuda.grid(1), rows, cuda.gridsize(1)):
            own.finish_outputs(state, layer, r)
            if judges:
                row = order[at + r]
                weight = weight_of(weights, row, position[WEIGHTED])
                losses[at + r] = own.judge(
                    state, layer, r, targets, row, weight, constants, epsilon
                )

    def measure(position, parameters, gradient, steps, penalised, copies, squares):
        scratch = cuda.shared.array(THREADS, real)
        step, size = steps[position[CURRENT_BATCH]], len(parameters)
        total = real(0)
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            g = _gradient_at(gradient, size, copies, i)
            slope = slope_of(step, parameters[i], g, i < penalised)
            total += slope * slope
        total = block_sum(total, scratch)
        if cuda.threadIdx.x == 0:
            squares[cuda.blockIdx.x] = total

    def update(
        position, parameters, first, second, gradient, steps, penalised, copies, squares,
        losses, loss_share, totals,
    ):  # fmt: skip
        scratch = cuda.shared.array(THREADS, real)
        batch, size = position[CURRENT_BATCH], len(parameters)
        step, scale = steps[batch], real(1)
        if step[CLIP_NORM] < math.inf:
            total = real(0)
            for block in range(len(squares)):
                total += squares[block]
            scale = clip_scale(step, total)
        penalty = loss = real(0)
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            g = _gradient_at(gradient, size, copies, i)
            penalty += update_parameter(step, parameters, first, second, i, g, i < penalised, scale)
        begin = batch * position[BATCH_ROWS]
        end = min(begin + position[BATCH_ROWS], position[END])
        for r in range(begin + cuda.grid(1), end, cuda.gridsize(1)):
            loss += losses[r]
        total = block_sum(real(0.5) * penalty + loss_share * loss, scratch)
        if cuda.threadIdx.x == 0:
            totals[batch, cuda.blockIdx.x] = total
        if cuda.grid(1) == 0:
            position[BATCH] = batch + 1

    def limit_norms(layers, numbers, parameters, index, most):
        layer = layer_at(layers, numbers, index)
        for j in range(cuda.grid(1), layer.fan_out, cuda.gridsize(1)):
            shrunk(parameters, layer.weights + j, layer.fan_out, layer.fan_in, most)

    def collect(gradient, copies, size):
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            gradient[i] = _gradient_at(gradient, size, copies, i)

    functions = gather, choose_pieces, judge, measure, update, limit_norms, collect
    return Kernels(*(named(function) for function in functions))


def _named(function, kind, tile):
    sides = "x".join(map(str, tile))
    name = kind.name and f"cuda.{function.__name__}-{sides}-{kind.name}"
    # While one block waits for memory, another one computes. A float64 takes two registers.
    return kernel(tile.threads, name, blocks=8 // kind.dtype.itemsize)(function)


def _columns_first(tile):
    """Return how threads share a tile's elements: log2 of those side by side, and their rows."""
    lanes = min(tile.columns, tile.threads)
    return lanes.bit_length() - 1, tile.threads // lanes


@lru_cache
def forward_kernel(kind: Kind, tile: Tile):
    """Return a layer's forward kernel: product, bias, activation and slope; one tile per block."""
    real, own = from_dtype(kind.dtype), elements(kind)
    multiply = product(tile, kind.dtype, True, False)
    height, width, room, line = tile.rows, tile.columns, tile.room, tile.line
    shift, step = _columns_first(tile)
    lanes = 1 << shift

    def forward(position, layers, numbers, parameters, work, index):
        out = cuda.shared.array(room, real, alignment=16)
        layer = layer_at(layers, numbers, index)
        rows = position[CURRENT_ROWS]
        m0, n0 = cuda.blockIdx.y * height, cuda.blockIdx.x * width
        if m0 >= rows:
            return
        multiply(
            work, layer.inputs, layer.inputs_stride, 1, parameters, layer.weights, 1, layer.fan_out,
            m0, n0, rows, layer.fan_out, 0, layer.fan_in, out,
        )  # fmt: skip
        state = _state(position, parameters, parameters, 0, work)
        thread = cuda.threadIdx.x
        for n in range(thread & (lanes - 1), min(width, layer.fan_out - n0), lanes):
            bias = parameters[layer.biases + n0 + n]
            for m in range(thread >> shift, min(height, rows - m0), step):
                own.leave(state, layer, m0 + m, n0 + n, out[uint64(m * line + n)] + bias)

    return _named(forward, kind, tile)


@lru_cache
def backward_kernel(kind: Kind, tile: Tile):
    """Return a layer's backward kernel: deltas times weights, times the previous layer's slopes."""
    real, own = from_dtype(kind.dtype), elements(kind)
    multiply = product(tile, kind.dtype, True, True)
    height, width, room, line = tile.rows, tile.columns, tile.room, tile.line
    shift, step = _columns_first(tile)
    lanes, at_once = 1 << shift, min(IN_FLIGHT, height // step)

    def backward(position, layers, numbers, parameters, work, index):
        out = cuda.shared.array(room, real, alignment=16)
        layer, before = layer_at(layers, numbers, index), layer_at(layers, numbers, index - 1)
        rows = position[CURRENT_ROWS]
        m0, n0 = cuda.blockIdx.y * height, cuda.blockIdx.x * width
        if m0 >= rows:
            return
        multiply(
            work, layer.slopes, layer.stride, 1, parameters, layer.weights, layer.fan_out, 1,
            m0, n0, rows, layer.fan_in, 0, layer.fan_out, out,
        )  # fmt: skip
        state = _state(position, parameters, parameters, 0, work)
        slopes = cuda.local.array(at_once, real)
        thread, end = cuda.threadIdx.x, min(height, rows - m0)
        for n in range(thread & (lanes - 1), min(width, before.units - n0), lanes):
            for piece in range(before.pieces):
                for first in range(thread >> shift, end, at_once * step):
                    for q in range(at_once):
                        m = first + q * step
                        if m < end:
                            slopes[q] = own.slope(state, before, m0 + m, n0 + n, piece)
                    for q in range(at_once):
                        m = first + q * step
                        if m < end:
                            upstream = out[uint64(m * line + n)]
                            own.pass_back(state, before, m0 + m, n0 + n, piece, slopes[q], upstream)

    return _named(backward, kind, tile)


@lru_cache
def gradient_kernel(kind: Kind, tile: Tile):
    """Return the kernel of all gradients; a block does a tile of a layer, for a part of the rows.

    The first blocks sum columns of deltas, which gives the gradients of biases.
    """
    real = from_dtype(kind.dtype)
    multiply = product(tile, kind.dtype, False, False)
    height, width, room, line = tile.rows, tile.columns, tile.room, tile.line
    threads = tile.threads
    groups = threads // LANES

    @device
    def put(state, place, total, adds):
        g = uint64(state.start + place)
        state.gradient[g] = state.gradient[g] + total if adds else total

    @device
    def put_sums(state, start, stride, place, columns, first, last, adds, out):
        """Sum up to `LANES` columns; each group of threads has a share of the rows."""
        lane, group = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
        if lane < columns:
            out[group * LANES + lane] = sum_column(
                state.work, start + lane, stride, first + group, last, groups
            )
        cuda.syncthreads()
        if group == 0 and lane < columns:
            total = out[lane]
            for other in range(1, groups):
                total += out[other * LANES + lane]
            put(state, place + lane, total, adds)
        cuda.syncthreads()

    @device
    def some_columns(state, layer, number, first, last, adds, out):
        j = number * LANES
        columns = min(LANES, layer.fan_out - j)
        start, place = layer.slopes + j, layer.biases + j
        for _ in range(1 if layer.learned == NOWHERE else 2):
            put_sums(state, start, layer.stride, place, columns, first, last, adds, out)
            start, place = layer.learning + j, layer.learned + j

    @device
    def tiles_of(layer):
        return (layer.fan_in + height - 1) // height, (layer.fan_out + width - 1) // width

    @device
    def one_tile(state, layer, number, first, last, adds, out):
        _, across = tiles_of(layer)
        m0, n0 = number // across * height, number % across * width
        multiply(
            state.work, layer.inputs, 1, layer.inputs_stride,
            state.work, layer.slopes, 1, layer.stride,
            m0, n0, layer.fan_in, layer.fan_out, first, last, out,
        )  # fmt: skip
        for number in range(cuda.threadIdx.x, height * width, threads):
            m, n = m0 + number // width, n0 + number % width
            if m < layer.fan_in and n < layer.fan_out:
                place = layer.weights + m * layer.fan_out + n
                put(state, place, out[uint64((m - m0) * line + n - n0)], adds)

    def gradient(position, layers, numbers, work, gradient, size, adds):
        out = cuda.shared.array(room, real, alignment=16)
        rows, copy = position[CURRENT_ROWS], cuda.blockIdx.y
        share = (rows + cuda.gridDim.y - 1) // cuda.gridDim.y
        first = min(copy * share, rows)
        last = min(first + share, rows)
        state = _state(position, gradient, gradient, copy * size, work)
        number = cuda.blockIdx.x
        if cuda.threadIdx.x == 0 and number == 0 and copy == 0:
            position[ROW] = position[CURRENT_ROW] + rows
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            if number >= 0 and number * LANES < layer.fan_out:
                some_columns(state, layer, number, first, last, adds, out)
            number -= (layer.fan_out + LANES - 1) // LANES
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            tall, across = tiles_of(layer)
            if number >= 0 and number < tall * across:
                one_tile(state, layer, number, first, last, adds, out)
            number -= tall * across

    return _named(gradient, kind, tile)
