"""Small networks that train together: each epoch is one launch, with a block of threads for each.

Their fits go on in lanes, threads of their own. Each hands in the order of its epoch and the
settings of its steps, and waits; when all do, one of them sends all of this, launches, and fetches
the losses. What a network has for the whole fit is at its place in arrays of all. Rows of all fits
are in one array, in which equal ones are once.
"""

import math
import operator
import threading

import numpy as np

from ...optimizers import OPTIMIZERS
from ...regularization import Regularization
from .blocks import Blocks
from .memory import SHARE, Memory
from .position import (
    BATCH,
    BATCH_ROWS,
    BATCHES,
    BLOCK_ROWS,
    END,
    FIRST_STEP,
    LENGTH,
    ORDER,
    PLACE,
    SEED,
    TARGETS,
    WEIGHTED,
    WEIGHTS,
)
from .toolkit import free_memory
from .updates import STEP_NUMBERS


class Pool:
    """Rows of several fits in one array on the GPU, in which those that are equal are once.

    Parameters
    ----------
    memory : Memory
        Whose dtype they have, and whose stream sends them.
    shape : tuple of int
        The shape of a row.
    """

    def __init__(self, memory, shape):
        self._memory, self._shape = memory, shape
        self._arrays = {}  # by their identity: the first row of each
        self._sent = self._rows = 0
        self._on_gpu = memory.empty((1, *shape))
        self._lock = threading.Lock()

    def lacks(self, array):
        """Return how many numbers are still to be sent with this array among the rows."""
        with self._lock:
            added = 0 if array is None or self._first(array) is not None else array.size
            return added + (self._rows - self._sent) * math.prod(self._shape)

    def place(self, array):
        """Return the first of the array's rows, which are added if they are not there."""
        if array is None:
            return 0
        with self._lock:
            first = self._first(array)
            if first is None:
                first, self._rows = self._rows, self._rows + len(array)
                self._arrays[id(array)] = first, array
            return first

    def _first(self, array):
        if id(array) in self._arrays:
            return self._arrays[id(array)][0]
        equal = (first for first, other in self._arrays.values() if _are_equal(array, other))
        return next(equal, None)

    def on_gpu(self):
        """Return all rows on the GPU, after sending what was added since the last time."""
        with self._lock:
            if self._rows > self._sent:
                self._send()
            return self._on_gpu

    def _send(self):
        memory, before = self._memory, self._on_gpu
        self._on_gpu = memory.empty((self._rows, *self._shape))
        if self._sent:
            old = self._on_gpu[: self._sent]
            old.copy_to_device(before[: self._sent], stream=memory.stream)
        for first, array in self._arrays.values():
            if first >= self._sent:
                memory.send_rows(array, self._on_gpu[first : first + len(array)])
        memory.stream.synchronize()  # others read them in streams of their own
        self._sent = self._rows


def _are_equal(array, other):
    same = array.shape == other.shape and array.dtype == other.dtype
    return same and np.array_equal(array[:1], other[:1]) and np.array_equal(array, other)


class Group:
    """Networks of one kind and shape, with batches of the same size.

    Parameters
    ----------
    kind : Kind
        The kind of network that kernels are compiled for.
    network : Network
        One of the networks.
    batch_rows : int
        The rows of their batches.
    places : int
        Most networks at a time.
    X : Pool
        The features, which all groups of the same dtype have in common.
    """

    def __init__(self, kind, network, batch_rows, places, X):
        vectors = np.zeros((places, network.size), kind.dtype)
        moments = [vectors] * OPTIMIZERS[kind.optimizer].moments
        constants = np.zeros((places, network.units[-1]))
        self.memory = memory = Memory(vectors, moments, constants)
        self.blocks = Blocks(kind, network, batch_rows, memory)
        tables = self.blocks.tables(Regularization())  # those of members replace them
        self.tables = [memory.upload(np.stack([table] * places)) for table in tables]
        self._pools = X, Pool(memory, (network.units[-1],)), Pool(memory, ())
        self._positions = memory.empty((places, LENGTH), np.int64)
        self._order, self._steps = memory.empty(1, np.int64), memory.empty((1, STEP_NUMBERS))
        self._totals = memory.empty((1, 1))
        memory.stream.synchronize()  # members write to their places in streams of their own

    def place_rows(self, *parts):
        """Return the first of these rows in each pool, or None if the GPU has no room for them."""
        wanted = sum(pool.lacks(part) for pool, part in zip(self._pools, parts, strict=True))
        if wanted * self.memory.dtype.itemsize > SHARE * free_memory():
            return None
        return [pool.place(part) for pool, part in zip(self._pools, parts, strict=True)]

    def launch(self, party):
        """Train the networks of these lanes for the epochs that they have handed in."""
        memory, members = self.memory, [lane.member for lane in party]
        runs = [member.run for member in members]
        rows = np.cumsum([0, *(run.rows for run in runs)])
        batches = np.cumsum([0, *(run.batches for run in runs)])
        self._make_room(int(rows[-1]), int(batches[-1]))
        for there, parts in (
            (self._positions, self._positions_of(members, rows, batches)),
            (self._order, [run.order for run in runs]),
            (self._steps, [run.steps for run in runs]),
        ):
            here = np.concatenate(parts)
            there[: len(here)].copy_to_device(here, stream=memory.stream)
        pooled = [pool.on_gpu() for pool in self._pools]
        launch = self.blocks.launch_of(
            len(members), memory.stream, self._positions, *self.tables,
            memory.parameters, *memory.first_and_second, self._steps, *pooled, self._order,
            memory.constants, self._totals,
        )  # fmt: skip
        launch()
        totals = memory.download(self._totals[: int(batches[-1])])
        for run, own in zip(runs, np.split(totals, batches[1:-1]), strict=True):
            run.totals = own

    def _make_room(self, rows, batches):
        memory = self.memory
        if rows > len(self._order):
            self._order = memory.empty(rows, np.int64)
        if batches > len(self._totals):
            self._steps = memory.empty((batches, STEP_NUMBERS))
            self._totals = memory.empty((batches, 1))

    def _positions_of(self, members, rows, batches):
        """Return the position of each member, whose rows and batches begin at these numbers."""
        runs, blocks = [member.run for member in members], self.blocks
        X, targets, weights = np.transpose([member.firsts for member in members])
        columns = {
            BATCH: batches[:-1],
            BATCHES: batches[1:],
            BATCH_ROWS: blocks.batch_rows,
            BLOCK_ROWS: blocks.block_rows,
            END: rows[1:],
            FIRST_STEP: [run.first_step for run in runs] - batches[:-1],
            SEED: [run.seed for run in runs],
            WEIGHTED: [member.weighted for member in members],
            PLACE: [member.place for member in members],
            ORDER: rows[:-1] - batches[:-1] * blocks.batch_rows,
            TARGETS: targets - X,
            WEIGHTS: weights - X,
        }
        positions = np.zeros((len(members), LENGTH), np.int64)
        for column, values in columns.items():
            positions[:, column] = values
        return positions[None]


class Epoch:
    """What one network hands in for an epoch, and what it gets back: the run of a member."""

    def __init__(self):
        self.batches = 0

    def begin(self, order, steps, first_batch, first_step, seed):
        """Keep the data of the next run."""
        self.order, self.steps, self.first_batch = order, steps, first_batch
        self.first_step, self.seed = first_step, seed
        self.rows, self.batches = len(order), len(steps)

    def launched(self):
        """Do nothing: the run has ended."""

    def batch_losses(self):
        """Return each batch's summed loss with its penalty, in float64."""
        self.batches = 0
        return self.totals.astype(np.float64).sum(axis=1)


class Member:
    """One network of a group: for its device the regime, and the rows that it sends.

    Parameters
    ----------
    group : Group
        The group.
    lane : Lane
        The lane of its fit.
    """

    def __init__(self, group, lane):
        self._group, self._lane = group, lane
        self.place, self.run = lane.number, Epoch()
        self.runs = [self.run]
        self.weighted, self.firsts = False, None
        self._arrays = self._numbers = None

    def move(self, memory, regularization):
        """Move the parameters, moments and constants of a device to the group."""

        def moved(own, shared):
            there = shared[self.place]
            there.copy_to_device(own, stream=memory.stream)
            return there

        group, shared = self._group, self._group.memory
        for own, table in zip(group.blocks.tables(regularization), group.tables, strict=True):
            moved(own, table)
        before = memory.parameters, memory.constants, memory.moments
        memory.parameters = moved(memory.parameters, shared.parameters)
        memory.constants = moved(memory.constants, shared.constants)
        memory.moments = list(map(moved, memory.moments, shared.moments))
        memory.stream.synchronize()  # the group trains in a stream of its own
        del before  # its room may be freed now

    @property
    def batches(self):
        """The batches of an epoch, all of which are one run."""
        return -(-len(self._arrays.targets) // self._group.blocks.batch_rows)

    def take(self, rows):
        """Take these rows for the next epochs; return whether the GPU has room for them."""
        if self._arrays is not None and all(map(operator.is_, rows, self._arrays)):
            return True
        X, targets, weights = rows
        fold = self._lane.fold
        self._numbers = None
        if fold is not None and fold.X is X and type(fold.whole) is np.ndarray:
            X, self._numbers = fold.whole, fold.numbers
            targets, weights = (_spread(part, fold) for part in (targets, weights))
        self._arrays, self.weighted = rows, weights is not None
        self.firsts = self._group.place_rows(X, targets, weights)
        return self.firsts is not None

    def send(self, run, order):
        """Return the numbers of the rows among those of the group."""
        numbers = order if self._numbers is None else self._numbers[order]
        return numbers + self.firsts[0]

    def launch(self, run):
        """Wait for all members of the group, one of which trains all of them."""
        self._lane.meet(self._group.launch)


def _spread(array, fold):
    """Return a fold's targets or weights at the rows of the whole; other rows are not visited."""
    if array is None:
        return None
    spread = np.zeros((len(fold.whole), *array.shape[1:]), array.dtype)
    spread[fold.numbers] = array
    return spread
