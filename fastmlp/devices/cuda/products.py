"""The kernels of the second regime that multiply: a block of threads computes a tile."""

from functools import lru_cache

from numba import from_dtype, uint64

from .elements import Kind, State, elements
from .layout import NOWHERE, layer_at
from .listed import Listed
from .phases import begun, current, judgement, state_of
from .position import ROW
from .sums import sum_column
from .tiles import Tile, product
from .toolkit import LANES, SIMULATED, cuda, device, kernel

#: Numbers that a thread loads before it stores the first of them. The compiler cannot do this by
#: itself: a store might change what the next load reads.
IN_FLIGHT = 2 if SIMULATED else 8


def _named(function, kind, tile, *choices):
    sides = "x".join(map(str, (*tile, *choices)))
    name = kind.name and f"cuda.{function.__name__}-{sides}-{kind.name}"
    # While one block waits for memory, another one computes. A float64 takes two registers.
    return kernel(tile.threads, name, blocks=8 // kind.dtype.itemsize)(function)


def _columns_first(tile):
    """Return how threads share a tile's elements: log2 of those side by side, and their rows."""
    lanes = min(tile.columns, tile.threads)
    return lanes.bit_length() - 1, tile.threads // lanes


@lru_cache
def forward_kernel(kind: Kind, tile: Tile, listed: bool, last: bool):
    """Return a layer's forward kernel: product, bias, activation and slope; one tile per block.

    If `listed`, it is that of the first layer, and reads the rows of `X`, which is flat, where they
    are. If `last`, a tile has whole rows of the network's outputs, and they are judged here, too.
    """
    real, own = from_dtype(kind.dtype), elements(kind)
    multiply = product(tile, kind.dtype, True, False, listed)
    judge_row, now = judgement(own), begun if listed else current
    height, width, room, line = tile.rows, tile.columns, tile.room, tile.line
    threads = tile.threads
    shift, step = _columns_first(tile)
    lanes = 1 << shift

    @device
    def inputs(work, layer, X, order, at):
        return work, layer.inputs, layer.inputs_stride

    @device
    def listed_inputs(work, layer, X, order, at):
        return Listed(X, order, at), 0, layer.fan_in

    inputs_of = listed_inputs if listed else inputs

    def forward(
        position, layers, numbers, parameters, work, index, X, targets, weights, order, constants,
        epsilon, losses, judges,
    ):  # fmt: skip
        out = cuda.shared.array(room, real, alignment=16)
        layer = layer_at(layers, numbers, index)
        at, rows, batch = now(position)
        m0, n0 = cuda.blockIdx.y * height, cuda.blockIdx.x * width
        if m0 >= rows:
            return
        factor, start, stride = inputs_of(work, layer, X, order, at)
        multiply(
            factor, start, stride, 1, parameters, layer.weights, 1, layer.fan_out,
            m0, n0, rows, layer.fan_out, 0, layer.fan_in, out,
        )  # fmt: skip
        state = state_of(position, parameters, parameters, 0, work, at, batch)
        thread, end = cuda.threadIdx.x, min(height, rows - m0)
        for n in range(thread & (lanes - 1), min(width, layer.fan_out - n0), lanes):
            bias = parameters[layer.biases + n0 + n]
            for m in range(thread >> shift, end, step):
                own.leave(state, layer, m0 + m, n0 + n, out[uint64(m * line + n)] + bias)
        if last:
            cuda.syncthreads()
            for m in range(thread, end, threads):
                judge_row(
                    state, layer, position, at, m0 + m, targets, weights, order, constants,
                    epsilon, losses, judges,
                )  # fmt: skip

    return _named(forward, kind, tile, listed, last)


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
        at, rows, batch = current(position)
        m0, n0 = cuda.blockIdx.y * height, cuda.blockIdx.x * width
        if m0 >= rows:
            return
        multiply(
            work, layer.slopes, layer.stride, 1, parameters, layer.weights, layer.fan_out, 1,
            m0, n0, rows, layer.fan_in, 0, layer.fan_out, out,
        )  # fmt: skip
        state = state_of(position, parameters, parameters, 0, work, at, batch)
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
def gradient_kernel(kind: Kind, tile: Tile, listed: bool):
    """Return the kernel of all gradients; a block does a tile of a layer, for a part of the rows.

    The first blocks sum columns of deltas, which gives the gradients of biases. If `listed`, the
    first layer's inputs are the rows of `X`, which is flat.
    """
    real = from_dtype(kind.dtype)
    multiply = product(tile, kind.dtype, False, False)
    multiply_listed = product(tile, kind.dtype, False, False, True)
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
    def multiplied(state, layer, X, order, m0, n0, first, last, out):
        multiply(
            state.work, layer.inputs, 1, layer.inputs_stride,
            state.work, layer.slopes, 1, layer.stride,
            m0, n0, layer.fan_in, layer.fan_out, first, last, out,
        )  # fmt: skip

    @device
    def listed_multiplied(state, layer, X, order, m0, n0, first, last, out):
        rows = Listed(X, order, state.row)
        multiply_listed(
            rows, 0, 1, layer.fan_in, state.work, layer.slopes, 1, layer.stride,
            m0, n0, layer.fan_in, layer.fan_out, first, last, out,
        )  # fmt: skip

    @device
    def one_tile(state, layer, index, number, X, order, first, last, adds, out):
        _, across = tiles_of(layer)
        m0, n0 = number // across * height, number % across * width
        if listed and index == 1:
            listed_multiplied(state, layer, X, order, m0, n0, first, last, out)
        else:
            multiplied(state, layer, X, order, m0, n0, first, last, out)
        for number in range(cuda.threadIdx.x, height * width, threads):
            m, n = m0 + number // width, n0 + number % width
            if m < layer.fan_in and n < layer.fan_out:
                place = layer.weights + m * layer.fan_out + n
                put(state, place, out[uint64((m - m0) * line + n - n0)], adds)

    def gradient(position, layers, numbers, work, gradient, size, adds, X, order):
        out = cuda.shared.array(room, real, alignment=16)
        at, rows, _ = current(position)
        copy = cuda.blockIdx.y
        share = (rows + cuda.gridDim.y - 1) // cuda.gridDim.y
        first = min(copy * share, rows)
        last = min(first + share, rows)
        state = State(gradient, gradient, copy * size, work, 0, 0, at)
        number = cuda.blockIdx.x
        if cuda.threadIdx.x == 0 and number == 0 and copy == 0:
            position[ROW] = at + rows
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            if number >= 0 and number * LANES < layer.fan_out:
                some_columns(state, layer, number, first, last, adds, out)
            number -= (layer.fan_out + LANES - 1) // LANES
        for index in range(1, len(layers)):
            layer = layer_at(layers, numbers, index)
            tall, across = tiles_of(layer)
            if number >= 0 and number < tall * across:
                one_tile(state, layer, index, number, X, order, first, last, adds, out)
            number -= tall * across

    return _named(gradient, kind, tile, listed)
