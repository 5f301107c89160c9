"""The second regime: each phase of a batch is a kernel of many blocks, for networks of any size.

A batch takes one kernel for each layer forward, of which the last one finds the loss, too, one for
each layer backward, one for the gradients of all layers and one for all updates. One more gathers
the rows, if their numbers must be converted or dropped, and one finds the loss, if a tile does not
hold a row's outputs. If the rows of a
batch are split among blocks that add to the same gradient, each block has its own copy, and the
update sums the copies in a fixed order.
"""

from functools import partial
from weakref import WeakKeyDictionary

import numpy as np

from .layout import Layer, layout, loss_share
from .memory import address_of
from .phases import SPAN, THREADS, kernels
from .products import backward_kernel, forward_kernel, gradient_kernel
from .tensor import SIDES, TensorTile
from .tiles import TILES
from .toolkit import LANES, SIMULATED, Graph, configured, has_tensor_cores, multiprocessors

#: The most rows processed at a time, and the most bytes of their work memory.
LONGEST_BLOCK, WORK_BYTES = 16 if SIMULATED else 1 << 17, 2 << 30
#: Batches per graph: the launch then costs little for each.
GRAPH_BATCHES = 16
#: Threads of a block whose threads need long for each element.
FEW_THREADS = 4 if SIMULATED else 64
#: The fewest rows per copy of the gradient, and per copy that is made of large tiles.
LEAST_SHARE, LEAST_LONG = (4, 8) if SIMULATED else (64, 512)
#: The fewest rows for which products of float32 go to tensor cores: those take three products for
#: each. And the fewest units on either side of a layer's weights: narrow ones fill no tile.
LEAST_TENSOR_ROWS, LEAST_TENSOR_UNITS = (16, 4) if SIMULATED else (4096, 32)
#: Blocks of large tiles that a multiprocessor has at once: while one waits, another multiplies.
TENSOR_BLOCKS = 2
#: The most that the tiles of gradients may cover, as a multiple of the gradients themselves.
MOST_PADDED = 2


def _queue(program):
    for launch in program:
        launch()


class Layered:
    """Trains or runs one network, phase by phase.

    Parameters
    ----------
    kind : Kind
        The kind of network that kernels are compiled for.
    network, regularization
        The same as the device's.
    batch_rows : int
        Rows of a batch.
    memory : Memory
        The parameters, moments and constants on the GPU.
    """

    #: The most floating-point operations of one run: a few tenths of a second.
    longest_run = 2e12

    def __init__(self, kind, network, regularization, batch_rows, memory):
        # Kernels are told the precision by their tile.
        self._precision, self._kind = kind.precision, kind._replace(precision="float32")
        self._memory, self._regularization = memory, regularization
        one = layout(network, kind.activations, kind.dtype, 1, regularization)
        room = WORK_BYTES // (one.work_size * kind.dtype.itemsize)
        self._batch_rows = batch_rows
        #: Rows processed at a time: larger batches are split into blocks; their gradients add up.
        self.block_rows = max(1, min(batch_rows, LONGEST_BLOCK, room))
        plan = layout(network, kind.activations, kind.dtype, self.block_rows, regularization)
        self._layers = [Layer(*line, 0, 0) for line in plan.layers.tolist()]
        self._size = network.size
        self._work = memory.empty(plan.work_size)
        self._tables = memory.upload(plan.layers), memory.upload(plan.numbers)
        self._kernels = kernels(self._kind)
        self._gradient_tile, self._gradient_blocks, self._copies = self._gradient_plan()
        self._gradient = None
        # Weak: when a run is deleted, so are its programs and graphs.
        self._programs, self._graphs = WeakKeyDictionary(), WeakKeyDictionary()
        self._loss_share = kind.dtype.type(loss_share(network))
        #: Blocks of an update, each of which sums a part of a batch's losses and of the penalty.
        self.parts = self._blocks(max(network.size, batch_rows // 8))

    # ---- how many blocks -------------------------------------------------------------------------

    @staticmethod
    def _blocks(places):
        """Return the number of blocks for this many elements; a thread may take several."""
        return min(-(-places // THREADS), 4 * multiprocessors())

    def _tensor_tiles(self, shapes, places):
        """Return the tiles for products on tensor cores, if these are to compute them.

        `shapes` are those of weights that the products are with, or that they are derivatives by.
        If all `places`, positions and strides of factors and depths along lines, are multiples of
        four, as many numbers are copied at once.
        """
        rows = LEAST_TENSOR_ROWS if self._precision == "float32" else 1
        narrow = max(min(shape) for shape in shapes) < LEAST_TENSOR_UNITS
        if self._kind.dtype != np.float32 or self.block_rows < rows or narrow:
            return []
        aligned = all(place % 4 == 0 for place in places)
        tiles = [TensorTile(*sides, self._precision, aligned) for sides in SIDES]
        return tiles if has_tensor_cores() else []

    def _tile(self, rows, columns, depth, *places):
        """Return the largest tile that leaves no multiprocessor idle."""
        *tiles, smallest = TILES[self._kind.dtype.itemsize]
        on_tensor_cores = self._tensor_tiles([(depth, columns)], places)
        for tile in on_tensor_cores:
            if tile.count(rows, columns) >= TENSOR_BLOCKS * multiprocessors():
                return tile
        for tile in on_tensor_cores[-1:]:  # half of the multiprocessors are faster than all without
            if tile.count(rows, columns) >= multiprocessors() / 2:
                return tile
        for tile in tiles:
            if tile.count(rows, columns) >= multiprocessors():
                return tile
        return smallest

    def _gradient_plan(self):
        """Return the gradients' tile, the blocks for one copy of them, and the number of copies."""
        layers = self._layers[1:]
        shapes = [(layer.fan_in, layer.fan_out) for layer in layers]
        parts = max(1, self.block_rows // LEAST_LONG)
        size = sum(rows * columns for rows, columns in shapes)
        factors = [(each.inputs, each.inputs_stride, each.slopes, each.stride) for each in layers]
        on_tensor_cores = self._tensor_tiles(shapes, sum(factors, ()))
        for tile in (*on_tensor_cores, *TILES[self._kind.dtype.itemsize]):  # the last, if none do
            count = sum(tile.count(*shape) for shape in shapes)
            busy = count * parts >= multiprocessors()
            if busy and count * tile.rows * tile.columns <= MOST_PADDED * size:
                break
        biases = sum(-(-layer.fan_out // LANES) for layer in layers)
        most = -(-self.block_rows // LEAST_SHARE)
        # Blocks that sum biases are soon done: those that multiply fill the multiprocessors.
        copies = max(1, min(most, 2 * multiprocessors() // count))
        return tile, count + biases, copies

    # ---- programs: launches with their arguments -------------------------------------------------

    def _launch(self, compiled, blocks, threads, *arguments):
        return partial(configured(compiled, blocks, threads, self._memory.stream), *arguments)

    def _product(self, make, tile, columns, *arguments):
        """Return the launch of a product of the block's rows and the weights of a layer."""
        blocks = -(-columns // tile.columns), -(-self.block_rows // tile.rows)
        return self._launch(make(self._kind, tile), blocks, tile.threads, *arguments)

    def _line_of(self, X):
        """Return X as one line of numbers, if products can read its rows in place, or else None."""
        drops = bool(self._regularization.dropped(0))
        plain = X.dtype == self._kind.dtype and X.flags["C_CONTIGUOUS"]
        return X.reshape(-1) if plain and not drops else None

    def _forward(self, run, position, judges):
        """Return the launches that run a block of rows through all layers, and judge them."""
        net = position, *self._tables, self._memory.parameters, self._work
        judged = (
            run.targets, run.weights, run.order, self._memory.constants, self._memory.epsilon,
            run.losses, judges,
        )  # fmt: skip
        wide = self._blocks(self.block_rows * LANES)
        line, program, count = self._line_of(run.X), [], len(self._layers) - 1
        if line is None:
            spread = self._blocks(self.block_rows * LANES * -(-self._layers[0].units // SPAN))
            gather = self._kernels.gather
            program.append(self._launch(gather, spread, THREADS, *net, run.X, run.order))
        for index, layer in enumerate(self._layers[1:], start=1):
            listed = index == 1 and line is not None
            inputs = layer.inputs, layer.inputs_stride, layer.fan_in
            if listed:
                inputs = address_of(line), layer.fan_in
            places = *inputs, layer.weights, layer.fan_out
            tile = self._tile(self.block_rows, layer.fan_out, layer.fan_in, *places)
            last = index == count and layer.fan_out <= tile.columns
            make = partial(forward_kernel, listed=listed, last=last)
            rows = line if listed else self._memory.parameters  # which nobody reads
            program.append(self._product(make, tile, layer.fan_out, *net, index, rows, *judged))
            if layer.pieces > 1:
                choose = self._kernels.choose_pieces
                program.append(self._launch(choose, wide, THREADS, *net, index))
        if not last:
            # A thread goes along its row alone: many multiprocessors with few threads are faster.
            blocks = min(-(-self.block_rows // FEW_THREADS), 16 * multiprocessors())
            judge = self._kernels.judge
            program.append(self._launch(judge, blocks, FEW_THREADS, *net, *judged))
        return program

    def _add_gradient(self, run, position, adds):
        """Return the launches that compute the gradient of a block of rows."""
        net = position, *self._tables, self._memory.parameters, self._work
        program = self._forward(run, position, True)
        for index, layer in reversed(list(enumerate(self._layers[2:], start=2))):
            places = layer.slopes, layer.stride, layer.weights, layer.fan_out
            tile = self._tile(self.block_rows, layer.fan_in, layer.fan_out, *places)
            program.append(self._product(backward_kernel, tile, layer.fan_in, *net, index))
        line, tile = self._line_of(run.X), self._gradient_tile
        listed = line is not None
        if listed and isinstance(tile, TensorTile):
            fits = address_of(line) % 4 == 0 and self._layers[0].units % 4 == 0
            tile = tile._replace(aligned=tile.aligned and fits)
        gradient = self._launch(
            gradient_kernel(self._kind, tile, listed),
            (self._gradient_blocks, self._copies), tile.threads,
            position, *self._tables, self._work, self._gradient, self._size, adds,
            line if listed else self._memory.parameters, run.order,
        )  # fmt: skip
        return [*program, gradient]

    def _update(self, run, position):
        """Return the launches that update all parameters by their gradient."""
        kernels, memory, blocks = self._kernels, self._memory, self.parts
        penalised = self._layers[1].biases
        most, program = self._regularization.max_norm, []
        squares = memory.empty(blocks)
        sums = self._gradient, run.steps, penalised, self._copies, squares
        if self._regularization.clip_norm < np.inf:
            measure = self._launch(
                kernels.measure, blocks, THREADS, position, memory.parameters, *sums
            )
            program.append(measure)
        update = self._launch(
            kernels.update, blocks, THREADS,
            position, memory.parameters, *memory.first_and_second, *sums,
            run.losses, self._loss_share, run.totals,
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

    def _program_of(self, run, position):
        """Return the launches of a batch's first block, of its other blocks, and of its update."""
        if run not in self._programs:
            if self._gradient is None:
                self._gradient = self._memory.empty(self._copies * self._size)
            blocks = [self._add_gradient(run, position, adds) for adds in (False, True)]
            trains = bool(self._memory.moments)
            self._programs[run] = *blocks, self._update(run, position) if trains else []
        return self._programs[run]

    # ---- verbs -----------------------------------------------------------------------------------

    def launch(self, run):
        """Queue the training on a run of batches."""
        position = run.beginning(self._batch_rows, self.block_rows)
        known = run in self._programs
        first, more, update = self._program_of(run, position)
        if self._batch_rows <= self.block_rows and not SIMULATED:
            program, batches = [*first, *update], run.batches
            if not known:  # a program can be recorded only after it has run once
                _queue(program)
                batches -= 1
            self._repeat(run, program, batches)
            return
        for begin in range(0, run.rows, self._batch_rows):
            rows = min(self._batch_rows, run.rows - begin)
            blocks = -(-rows // self.block_rows)
            _queue([*first, *more * (blocks - 1), *update])

    def _repeat(self, run, program, batches):
        """Queue batches of one block each, as graphs of many batches and of one."""
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
        """Queue the gradient summed over a run's rows; if `adds`, add to that of earlier runs."""
        position = run.beginning(run.rows, self.block_rows)
        first, more, _ = self._program_of(run, position)
        for block in range(-(-run.rows // self.block_rows)):
            _queue(more if adds or block > 0 else first)

    def find_losses(self, run):
        """Queue the losses of the rows of a run, without their gradient."""
        position = run.beginning(run.rows, self.block_rows)
        program = self._forward(run, position, True)
        for _ in range(-(-run.rows // self.block_rows)):
            _queue(program)

    def collect(self):
        """Return the gradient summed over all rows since it was begun, on the GPU."""
        collect = self._launch(
            self._kernels.collect, self._blocks(self._size), THREADS,
            self._gradient, self._copies, self._size,
        )  # fmt: skip
        collect()
        return self._gradient[: self._size]

    def forward(self, run):
        """Return the outputs of at most one block of rows, (rows, outputs) on the GPU."""
        position = run.beginning(self.block_rows, self.block_rows)
        _queue(self._forward(run, position, False))
        last = self._layers[-1]
        place = slice(last.outputs, last.outputs + run.rows * last.units)
        return self._work[place].reshape(run.rows, last.units)
