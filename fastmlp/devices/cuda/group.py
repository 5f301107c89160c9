"""Small networks that train together: each epoch is one launch, with a block of threads for each.

Their fits go on in lanes, threads of their own. Each hands in the order of its epoch and the
settings of its steps, and waits; when all do, one of them sends all of this, launches, and fetches
the losses. What a network has for the whole fit is at its place in arrays of all. Rows of all fits
are in one array, in which equal ones are once.
"""

import operator
import threading

import numpy as np

from ...optimizers import OPTIMIZERS
from ...regularization import Regularization
from . import position
from .memory import SHARE, Memory
from .single_block import Blocks
from .toolkit import free_memory
from .updates import STEP_NUMBERS


class Pool:
    """Rows of several fits in one array on the GPU, in which those that are equal are once."""

    def __init__(self, memory, shape):
        self._memory, self._shape = memory, shape  # the shape of a row
        self._found = {}  # the first rows of the arrays, by the identity of these
        self._arrays = []
        self._sent, self.on_gpu = 0, memory.empty((1, *shape))
        self.rows = 0

    def lacks(self, array):
        """Return how many numbers are still to be sent with this array among the rows."""
        known = array is None or self._first(array) is not None
        return (self.rows - self._sent) * int(np.prod(self._shape)) + (0 if known else array.size)

    def place(self, array):
        """Return the first of the array's rows, which are added if they are not there."""
        if array is None:
            return 0
        first = self._first(array)
        if first is None:
            first, self.rows = self.rows, self.rows + len(array)
            self._arrays.append((first, array))
            self._found[id(array)] = first
        return first

    def _first(self, array):
        if id(array) in self._found:  # of the arrays that are kept
            return self._found[id(array)]
        equal = (first for first, other in self._arrays if _are_equal(array, other))
        return next(equal, None)

    def send(self):
        """Send what has been added since the last time."""
        if self.rows == self._sent:
            return
        memory, before = self._memory, self.on_gpu
        self.on_gpu = memory.empty((self.rows, *self._shape))
        if self._sent:
            old = self.on_gpu[: self._sent]
            old.copy_to_device(before[: self._sent], stream=memory.stream)
            memory.stream.synchronize()  # the room of before is freed
        for first, array in self._arrays:
            if first >= self._sent:
                memory.send_rows(array, self.on_gpu[first : first + len(array)])
        self._sent = self.rows


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
    """

    def __init__(self, kind, network, batch_rows, places):
        self.blocks = Blocks(kind, network, batch_rows)
        vectors = np.zeros((places, network.size), kind.dtype)
        moments = [vectors] * OPTIMIZERS[kind.optimizer].moments
        constants = np.zeros((places, network.units[-1]))
        self.memory = memory = Memory(vectors, moments, constants)
        tables = self.blocks.tables(Regularization())  # those of members replace them
        self.tables = [memory.upload(np.stack([table] * places)) for table in tables]
        self.X = Pool(memory, (network.units[0],))
        self.targets, self.weights = Pool(memory, (network.units[-1],)), Pool(memory, ())
        self._pools = self.X, self.targets, self.weights
        self._lock = threading.Lock()
        self._positions = memory.empty((places, position.LENGTH), np.int64)
        self._order, self._steps = memory.empty(1, np.int64), memory.empty((1, STEP_NUMBERS))
        self._totals = memory.empty((1, 1))
        memory.stream.synchronize()  # members write to their places in streams of their own

    def places_of(self, X, targets, weights):
        """Return the first of these rows in each pool, or None if the GPU has no room for them."""
        parts = X, targets, weights
        with self._lock:
            wanted = sum(pool.lacks(part) for pool, part in zip(self._pools, parts, strict=True))
            if wanted * self.memory.dtype.itemsize > SHARE * free_memory():
                return None
            return [pool.place(part) for pool, part in zip(self._pools, parts, strict=True)]

    def launch(self, party):
        """Train the networks of these lanes for the runs that they have handed in."""
        memory, runs = self.memory, [lane.member.run for lane in party]
        with self._lock:
            for pool in self._pools:
                pool.send()
        batches = np.cumsum([0, *(run.batches for run in runs)]).tolist()
        rows = np.cumsum([0, *(run.rows for run in runs)]).tolist()
        positions = [
            self._position(lane.member, at_batch, at_row)
            for lane, at_batch, at_row in zip(party, batches, rows, strict=False)
        ]
        if batches[-1] > len(self._totals):
            self._steps = memory.empty((batches[-1], STEP_NUMBERS))
            self._totals = memory.empty((batches[-1], 1))
        if rows[-1] > len(self._order):
            self._order = memory.empty(rows[-1], np.int64)
        for place, parts in (
            (self._positions[: len(party)].ravel(), positions),
            (self._order[: rows[-1]], [run.order for run in runs]),
            (self._steps[: batches[-1]], [run.steps for run in runs]),
        ):
            place.copy_to_device(np.concatenate(parts), stream=memory.stream)
        self.blocks.launch(
            len(party), memory.stream, self._positions, *self.tables,
            memory.parameters, *memory.first_and_second, self._steps, self.X.on_gpu,
            self.targets.on_gpu, self.weights.on_gpu, self._order, memory.constants, self._totals,
        )  # fmt: skip
        totals = memory.download(self._totals[: batches[-1]])
        for run, first in zip(runs, batches, strict=False):
            run.totals = totals[first : first + run.batches]

    def _position(self, member, first_batch, first_row):
        """Return the position of one network, whose first batch and row have these numbers."""
        run, blocks = member.run, self.blocks
        values = position.at_start(
            run.rows, blocks.batch_rows, blocks.block_rows,
            seed=run.seed, first_step=run.first_step - first_batch, weighted=member.weighted,
        )  # fmt: skip
        values[position.BATCH] += first_batch
        values[position.BATCHES] += first_batch
        values[position.END] += first_row
        values[position.ORDER] = first_row - first_batch * blocks.batch_rows
        values[position.PLACE] = member.place
        X, targets, weights = member.firsts
        values[position.TARGETS], values[position.WEIGHTS] = targets - X, weights - X
        return values


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
        self._memory = self._arrays = self._numbers = None

    def move(self, memory, regularization):
        """Move the parameters, moments and constants of a device to the group."""
        self._memory, group = memory, self._group
        for table, own in zip(group.tables, group.blocks.tables(regularization), strict=True):
            table[self.place].copy_to_device(own, stream=memory.stream)
        shared = group.memory
        memory.parameters = self._moved(memory.parameters, shared.parameters)
        moments = zip(memory.moments, shared.moments, strict=True)
        memory.moments = [self._moved(own, moment) for own, moment in moments]
        memory.constants = self._moved(memory.constants, shared.constants)

    def _moved(self, own, shared):
        """Copy a vector to the place in that of all, and return it there."""
        there = shared[self.place]
        there.copy_to_device(own, stream=self._memory.stream)
        return there

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
        self.firsts = self._group.places_of(X, targets, weights)
        return self.firsts is not None

    def send(self, run, order):
        """Return the numbers of the rows among those of the group."""
        numbers = order if self._numbers is None else self._numbers[order]
        return numbers + self.firsts[0]

    def launch(self, run):
        """Wait for all members of the group, one of which trains all of them."""
        self._memory.stream.synchronize()  # what was copied to this network's place is there
        self._lane.meet(self._group.launch)


def _spread(array, fold):
    """Return a fold's targets or weights at the rows of the whole; other rows are not visited."""
    if array is None:
        return None
    spread = np.zeros((len(fold.whole), *array.shape[1:]), array.dtype)
    spread[fold.numbers] = array
    return spread
