"""The second regime: each phase of a batch is a kernel of many blocks, for networks of any size.

A batch takes one kernel to gather its rows, one for each layer forward, one for the loss, one for
each layer back, one for the gradients of all layers and one for all updates. Where a batch's rows
are split among blocks that add to the same gradient, each has a copy of its own, and the update
adds the copies up in order.
"""

import math
from functools import lru_cache, partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numba import from_dtype

from .cursor import (
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
from .elements import (
    CLIP_NORM,
    DECAY,
    Kind,
    State,
    elements,
    shrunk,
    slope_of,
    stepper,
    twice_penalty_of,
    weight_of,
)
from .layout import NOWHERE, Layer, layer_at, layout
from .sums import block_sum, sum_column
from .target import SIMULATED, Graph, configured, cuda, device, kernel, multiprocessors
from .tiles import LARGE, SMALL, Tile, product

#: Threads of blocks that go through places one by one.
THREADS = 4 if SIMULATED else 256
#: Threads that go along a row together.
LANES = 2 if SIMULATED else 32


#: The most rows in work at a time, and the most bytes that these may take.
LONGEST_BLOCK, WORK_BYTES = 16 if SIMULATED else 1 << 17, 2 << 30
#: Batches of one graph: what its launch takes is then little for each.
GRAPH_BATCHES = 16
#: The fewest rows that a copy of the gradient is made for.
LEAST_SHARE = 4 if SIMULATED else 64


def _queue(program):
    for launch in program:
        launch()


def _tiles(tile, rows, columns):
    """How many tiles make up a product."""
    return -(-rows // tile.rows) * -(-columns // tile.columns)


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
def _state(cursor, parameters, gradient, start, work):
    batch = cursor[CURRENT_BATCH]
    row = cursor[CURRENT_ROW] - batch * cursor[BATCH_ROWS]
    return State(
        parameters, gradient, start, work, cursor[SEED], cursor[FIRST_STEP] + batch, row
    )  # fmt: skip


@device
def _gradient_at(gradient, size, copies, i):
    """What the copies of the gradient hold for parameter i, added up in order."""
    total = gradient[i]
    for copy in range(1, copies):
        total += gradient[copy * size + i]
    return total


@lru_cache
def kernels(kind: Kind) -> Kernels:
    """The kernels that do not multiply, for one kind of network."""
    real = from_dtype(kind.dtype)
    own = elements(kind)
    step_parameter = stepper(kind.optimizer)

    def named(function):
        name = kind.name and f"cuda.{function.__name__}-{kind.name}"
        return kernel(THREADS, name)(function)

    def gather(cursor, layers, numbers, parameters, work, X, order):
        at, batch = cursor[ROW], cursor[BATCH]
        batch_end = min((batch + 1) * cursor[BATCH_ROWS], cursor[END])
        rows = min(cursor[BLOCK_ROWS], batch_end - at)
        begin = batch * cursor[BATCH_ROWS]
        step = cursor[FIRST_STEP] + batch
        state = State(parameters, parameters, 0, work, cursor[SEED], step, at - begin)
        layer = layer_at(layers, numbers, 0)
        if cuda.grid(1) == 0:
            cursor[CURRENT_ROW], cursor[CURRENT_ROWS], cursor[CURRENT_BATCH] = at, rows, batch
        for r in range(cuda.grid(1) // LANES, rows, cuda.gridsize(1) // LANES):
            row = order[at + r]
            for j in range(cuda.threadIdx.x % LANES, layer.units, LANES):
                own.gather(state, layer, r, j, real(X[row, j]))

    def choose_pieces(cursor, layers, numbers, parameters, work, index):
        layer = layer_at(layers, numbers, index)
        state = _state(cursor, parameters, parameters, 0, work)
        rows = cursor[CURRENT_ROWS]
        for r in range(cuda.grid(1) // LANES, rows, cuda.gridsize(1) // LANES):
            for j in range(cuda.threadIdx.x % LANES, layer.units, LANES):
                own.choose_piece(state, layer, r, j)

    def judge(
        cursor, layers, numbers, parameters, work, targets, weights, order, constants, epsilon,
        losses, judges,
    ):  # fmt: skip
        layer = layer_at(layers, numbers, len(layers) - 1)
        state = _state(cursor, parameters, parameters, 0, work)
        at, rows = cursor[CURRENT_ROW], cursor[CURRENT_ROWS]
        for r in range(cuda.grid(1), rows, cuda.gridsize(1)):
            own.finish_outputs(state, layer, r)
            if judges:
                row = order[at + r]
                weight = weight_of(weights, row, cursor[WEIGHTED])
                losses[at + r] = own.judge(
                    state, layer, r, targets, row, weight, constants, epsilon
                )

    def measure(cursor, parameters, gradient, steps, penalised, copies, squares):
        scratch = cuda.shared.array(THREADS, real)
        step, size = steps[cursor[CURRENT_BATCH]], len(parameters)
        total = real(0)
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            g = _gradient_at(gradient, size, copies, i)
            slope = slope_of(step, parameters[i], g, i < penalised)
            total += slope * slope
        total = block_sum(total, scratch)
        if cuda.threadIdx.x == 0:
            squares[cuda.blockIdx.x] = total

    def update(
        cursor, parameters, first, second, gradient, steps, penalised, copies, squares, penalties
    ):
        scratch = cuda.shared.array(THREADS, real)
        batch, size = cursor[CURRENT_BATCH], len(parameters)
        step, scale = steps[batch], real(1)
        if step[CLIP_NORM] < math.inf:
            total = real(0)
            for block in range(len(squares)):
                total += squares[block]
            if total > step[CLIP_NORM] * step[CLIP_NORM]:
                scale = step[CLIP_NORM] / real(math.sqrt(total))
        penalty = real(0)
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            w, free = parameters[i], i >= penalised
            penalty += twice_penalty_of(step, w, not free)
            g = _gradient_at(gradient, size, copies, i)
            slope = slope_of(step, w, g, not free) * scale
            decay = real(1) if free else step[DECAY]
            parameters[i] = step_parameter(step, w, slope, decay, first, second, i)
        penalty = block_sum(penalty, scratch)
        if cuda.threadIdx.x == 0:
            penalties[batch, cuda.blockIdx.x] = penalty
        if cuda.grid(1) == 0:
            cursor[BATCH] = batch + 1

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
    return kernel(tile.threads, name)(function)


@lru_cache
def forward_kernel(kind: Kind, tile: Tile):
    """The kernel of a layer forward: product, bias, activation and slope; a tile a block."""
    real, own = from_dtype(kind.dtype), elements(kind)
    multiply = product(tile, kind.dtype, True, False)
    shape, threads = (tile.rows, tile.columns), tile.threads
    height, width = shape

    def forward(cursor, layers, numbers, parameters, work, index):
        out = cuda.shared.array(shape, real)
        layer = layer_at(layers, numbers, index)
        rows = cursor[CURRENT_ROWS]
        m0, n0 = cuda.blockIdx.y * height, cuda.blockIdx.x * width
        if m0 >= rows:
            return
        multiply(
            work, layer.inputs, layer.inputs_stride, 1, parameters, layer.weights, 1, layer.fan_out,
            m0, n0, rows, layer.fan_out, 0, layer.fan_in, out,
        )  # fmt: skip
        state = _state(cursor, parameters, parameters, 0, work)
        for place in range(cuda.threadIdx.x, height * width, threads):
            m, n = place // width, place % width
            if m0 + m < rows and n0 + n < layer.fan_out:
                own.leave(state, layer, m0 + m, n0 + n, out[m, n])

    return _named(forward, kind, tile)


@lru_cache
def backward_kernel(kind: Kind, tile: Tile):
    """The kernel of a layer back: deltas times weights, times the slopes of the layer before."""
    real, own = from_dtype(kind.dtype), elements(kind)
    multiply = product(tile, kind.dtype, True, True)
    shape, threads = (tile.rows, tile.columns), tile.threads
    height, width = shape

    def backward(cursor, layers, numbers, parameters, work, index):
        out = cuda.shared.array(shape, real)
        layer, before = layer_at(layers, numbers, index), layer_at(layers, numbers, index - 1)
        rows = cursor[CURRENT_ROWS]
        m0, n0 = cuda.blockIdx.y * height, cuda.blockIdx.x * width
        if m0 >= rows:
            return
        multiply(
            work, layer.slopes, layer.stride, 1, parameters, layer.weights, layer.fan_out, 1,
            m0, n0, rows, layer.fan_in, 0, layer.fan_out, out,
        )  # fmt: skip
        state = _state(cursor, parameters, parameters, 0, work)
        for place in range(cuda.threadIdx.x, height * width, threads):
            m, n = place // width, place % width
            if m0 + m < rows and n0 + n < before.units:
                for piece in range(before.pieces):
                    own.pass_back(state, before, m0 + m, n0 + n, piece, out[m, n])

    return _named(backward, kind, tile)


@lru_cache
def gradient_kernel(kind: Kind, tile: Tile):
    """The kernel of all layers' gradients; a block takes a tile of a layer, for a part of the rows.

    The first blocks add up columns of deltas, which gives the gradients of biases.
    """
    real = from_dtype(kind.dtype)
    multiply = product(tile, kind.dtype, False, False)
    shape, threads = (tile.rows, tile.columns), tile.threads
    height, width = shape
    groups = threads // LANES

    @device
    def put(state, place, total, adds):
        g = state.start + place
        state.gradient[g] = state.gradient[g] + total if adds else total

    @device
    def put_sums(state, start, stride, place, columns, first, last, adds, out):
        """Sums of up to `LANES` columns; each group of threads has a share of the rows."""
        lane, group = cuda.threadIdx.x % LANES, cuda.threadIdx.x // LANES
        if lane < columns:
            out[group, lane] = sum_column(
                state.work, start + lane, stride, first + group, last, groups
            )
        cuda.syncthreads()
        if group == 0 and lane < columns:
            total = out[0, lane]
            for other in range(1, groups):
                total += out[other, lane]
            put(state, place + lane, total, adds)
        cuda.syncthreads()

    @device
    def some_columns(state, layer, number, first, last, adds, out):
        j = number * LANES
        columns = min(LANES, layer.fan_out - j)
        put_sums(
            state, layer.slopes + j, layer.stride, layer.biases + j, columns, first, last, adds, out
        )  # fmt: skip
        if layer.learned != NOWHERE:
            put_sums(
                state, layer.learning + j, layer.stride, layer.learned + j, columns,
                first, last, adds, out,
            )  # fmt: skip

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
                put(state, place, out[m - m0, n - n0], adds)

    def gradient(cursor, layers, numbers, work, gradient, size, adds):
        out = cuda.shared.array(shape, real)
        rows, copy = cursor[CURRENT_ROWS], cuda.blockIdx.y
        share = (rows + cuda.gridDim.y - 1) // cuda.gridDim.y
        first = min(copy * share, rows)
        last = min(first + share, rows)
        state = _state(cursor, gradient, gradient, copy * size, work)
        number = cuda.blockIdx.x
        if cuda.threadIdx.x == 0 and number == 0 and copy == 0:
            cursor[ROW] = cursor[CURRENT_ROW] + rows
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


class Layered:
    """Trains or runs one network, phase by phase.

    Parameters
    ----------
    kind : Kind
        What kernels are made for.
    network, regularization
        As the device has them.
    batch_rows : int
        Rows of a batch.
    memory : Memory
        The parameters, moments and constants on the GPU.
    """

    #: The most floating-point operations of one run: some tenths of a second.
    longest_run = 2e12

    def __init__(self, kind, network, regularization, batch_rows, memory):
        self._kind, self._memory, self._regularization = kind, memory, regularization
        one = layout(network, kind.activations, kind.dtype, 1, regularization)
        room = WORK_BYTES // (one.work_size * kind.dtype.itemsize)
        self._batch_rows = batch_rows
        #: Rows in work at a time: a longer batch is taken in blocks, whose gradients are added.
        self.block_rows = max(1, min(batch_rows, LONGEST_BLOCK, room))
        plan = layout(network, kind.activations, kind.dtype, self.block_rows, regularization)
        self._layers = [Layer(*line, 0, 0) for line in plan.layers.tolist()]
        self._size = network.size
        self._work = memory.empty(plan.work_size)
        self._tables = memory.upload(plan.layers), memory.upload(plan.numbers)
        self._kernels = kernels(kind)
        self._gradient_tile, self._gradient_blocks, self._copies = self._gradient_plan()
        self._gradient = None
        # A run that is no more takes what was made for it along.
        self._programs, self._graphs = WeakKeyDictionary(), WeakKeyDictionary()
        #: Blocks of an update, each of which adds up a part of the penalty.
        self.penalty_parts = self._blocks(network.size)

    # ---- how many blocks -------------------------------------------------------------------------

    @staticmethod
    def _blocks(places):
        """Blocks of threads for so many places; a thread may take several."""
        return min(-(-places // THREADS), 4 * multiprocessors())

    def _tile(self, rows, columns):
        """The larger tile, unless it would leave multiprocessors idle."""
        large = LARGE[self._kind.dtype.itemsize]
        busy = _tiles(large, rows, columns) >= multiprocessors()
        return large if busy else SMALL[self._kind.dtype.itemsize]

    def _gradient_plan(self):
        """The tile of gradients, the blocks for one copy of them, and the number of copies."""
        itemsize, layers = self._kind.dtype.itemsize, self._layers[1:]
        tile = LARGE[itemsize]
        tiles = sum(_tiles(tile, layer.fan_in, layer.fan_out) for layer in layers)
        if tiles * max(1, self.block_rows // 512) < multiprocessors():
            tile = SMALL[itemsize]
            tiles = sum(_tiles(tile, layer.fan_in, layer.fan_out) for layer in layers)
        blocks = tiles + sum(-(-layer.fan_out // LANES) for layer in layers)
        most = -(-self.block_rows // LEAST_SHARE)
        return tile, blocks, max(1, min(most, 2 * multiprocessors() // blocks))

    # ---- programs: launches with their arguments -------------------------------------------------

    def _launch(self, compiled, blocks, threads, *arguments):
        return partial(configured(compiled, blocks, threads, self._memory.stream), *arguments)

    def _product(self, make, rows, columns, *arguments):
        tile = self._tile(rows, columns)
        blocks = -(-columns // tile.columns), -(-rows // tile.rows)
        return self._launch(make(self._kind, tile), blocks, tile.threads, *arguments)

    def _forward(self, cursor, X, order):
        """The launches that run a block of rows through all layers."""
        net = cursor, *self._tables, self._memory.parameters, self._work
        rows = self.block_rows
        wide = self._blocks(rows * LANES)
        program = [self._launch(self._kernels.gather, wide, THREADS, *net, X, order)]
        for index, layer in enumerate(self._layers[1:], start=1):
            program.append(self._product(forward_kernel, rows, layer.fan_out, *net, index))
            if layer.pieces > 1:
                choose = self._kernels.choose_pieces
                program.append(self._launch(choose, wide, THREADS, *net, index))
        return program

    def _judge(self, cursor, targets, weights, order, losses, judges):
        return self._launch(
            self._kernels.judge, self._blocks(self.block_rows), THREADS,
            cursor, *self._tables, self._memory.parameters, self._work, targets, weights, order,
            self._memory.constants, self._memory.epsilon, losses, judges,
        )  # fmt: skip

    def _add_gradient(self, run, cursor, adds):
        """The launches that take a block of rows to its gradient."""
        net = cursor, *self._tables, self._memory.parameters, self._work
        judge = self._judge(cursor, run.targets, run.weights, run.order, run.losses, True)
        backward = [
            self._product(backward_kernel, self.block_rows, self._layers[index].fan_in, *net, index)
            for index in range(len(self._layers) - 1, 1, -1)
        ]
        gradient = self._launch(
            gradient_kernel(self._kind, self._gradient_tile),
            (self._gradient_blocks, self._copies), self._gradient_tile.threads,
            cursor, *self._tables, self._work, self._gradient, self._size, adds,
        )  # fmt: skip
        return [*self._forward(cursor, run.X, run.order), judge, *backward, gradient]

    def _update(self, run, cursor):
        """The launches that update all parameters by their gradient."""
        kernels, memory, blocks = self._kernels, self._memory, self.penalty_parts
        penalised = self._layers[1].biases
        most, program = self._regularization.max_norm, []
        squares = memory.empty(blocks)
        sums = self._gradient, run.steps, penalised, self._copies, squares
        if self._regularization.clip_norm < np.inf:
            measure = self._launch(
                kernels.measure, blocks, THREADS, cursor, memory.parameters, *sums
            )
            program.append(measure)
        update = self._launch(
            kernels.update, blocks, THREADS,
            cursor, memory.parameters, memory.first, memory.second, *sums, run.penalties,
        )  # fmt: skip
        program.append(update)
        if most < np.inf:
            limit, most = kernels.limit_norms, memory.dtype.type(most)
            program += [
                self._launch(
                    limit, self._blocks(layer.fan_out), THREADS,
                    *self._tables, memory.parameters, index, most,
                )
                for index, layer in enumerate(self._layers[1:], start=1)
            ]  # fmt: skip
        return program

    def _program_of(self, run, cursor):
        """The launches of a batch's first block, of its other ones, and of its update."""
        if run not in self._programs:
            if self._gradient is None:
                self._gradient = self._memory.empty(self._copies * self._size)
            blocks = [self._add_gradient(run, cursor, adds) for adds in (False, True)]
            trains = self._memory.first is not None
            self._programs[run] = *blocks, self._update(run, cursor) if trains else []
        return self._programs[run]

    # ---- verbs -----------------------------------------------------------------------------------

    def launch(self, run):
        """Queue the training on a run of batches."""
        cursor = run.cursor(self._batch_rows, self.block_rows)
        known = run in self._programs
        first, more, update = self._program_of(run, cursor)
        if self._batch_rows <= self.block_rows and not SIMULATED:
            program, batches = [*first, *update], run.batches
            if not known:  # only what has run can be recorded
                _queue(program)
                batches -= 1
            self._repeat(run, program, batches)
            return
        for begin in range(0, run.rows, self._batch_rows):
            rows = min(self._batch_rows, run.rows - begin)
            blocks = -(-rows // self.block_rows)
            _queue([*first, *more * (blocks - 1), *update])

    def _repeat(self, run, program, batches):
        """Queue batches of a block each, as graphs of many batches and of one."""
        graphs = self._graphs.setdefault(run, {})
        for length in (GRAPH_BATCHES, 1):
            for _ in range(batches // length):
                if length not in graphs:
                    graph = Graph(self._memory.stream)
                    with graph.recorded():
                        _queue(program * length)
                    graphs[length] = graph
                graphs[length].launch()
            batches %= length

    def add_gradient(self, run, adds):
        """Queue the gradient's sum over the rows of a run; it `adds` to that of the runs before."""
        cursor = run.cursor(run.rows, self.block_rows)
        first, more, _ = self._program_of(run, cursor)
        for block in range(-(-run.rows // self.block_rows)):
            _queue(more if adds or block > 0 else first)

    def collect(self):
        """The gradient's sum over all rows since it was begun, on the GPU."""
        collect = self._launch(
            self._kernels.collect, self._blocks(self._size), THREADS,
            self._gradient, self._copies, self._size,
        )  # fmt: skip
        collect()
        return self._gradient[: self._size]

    def forward(self, run):
        """The outputs of up to a block of rows, (rows, outputs) on the GPU."""
        cursor = run.cursor(self.block_rows, self.block_rows)
        nothing = run.order, run.losses
        judge = self._judge(cursor, run.targets, run.weights, *nothing, False)
        _queue([*self._forward(cursor, run.X, run.order), judge])
        last = self._layers[-1]
        place = slice(last.outputs, last.outputs + run.rows * last.units)
        return self._work[place].reshape(run.rows, last.units)
