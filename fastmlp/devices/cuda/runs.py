"""Runs of batches: the data that the host sends for them and gets back."""

import numpy as np

from ..._jit import plain
from ...formulas.optimizers import corrected
from ..presence import is_on_gpu
from . import position
from .memory import BLOCK_BYTES, SHARE, in_place
from .toolkit import cuda, free_memory, new_stream, release_memory, viewed
from .updates import (
    CLIP_NORM,
    DECAY,
    FREE_DECAY,
    L1,
    L2,
    LEARNING_RATE,
    MAX_NORM,
    NUMBERS,
    SCALE,
    STEP_NUMBERS,
)


def batch_weights(weights, order, batch_rows) -> np.ndarray:
    """Return the sum of the weights of each batch's rows, in float64."""
    starts = np.arange(0, len(order), batch_rows)
    if weights is None:
        return np.diff(np.append(starts, len(order))).astype(np.float64)
    return np.add.reduceat(weights[order].astype(np.float64), starts)


def step_numbers(optimizer, regularization, totals, dtype) -> np.ndarray:
    """Return the settings of each batch's update, (batches, numbers), computed in float64."""
    rates, rule = optimizer.rates(len(totals)), optimizer.rule
    steps = np.arange(optimizer.step + 1, optimizer.step + 1 + len(totals))
    numbers = np.zeros((len(totals), STEP_NUMBERS), dtype)
    numbers[:, LEARNING_RATE] = plain(corrected)(rates, *rule.decays, steps)
    numbers[:, SCALE] = 1.0 / totals
    numbers[:, DECAY] = 1.0 - rates * (rule.weight_decay + regularization.weight_decay)
    numbers[:, FREE_DECAY] = 1.0 - rates * rule.weight_decay
    numbers[:, L2] = regularization.l2
    numbers[:, L1] = regularization.l1
    numbers[:, CLIP_NORM] = regularization.clip_norm
    numbers[:, MAX_NORM] = regularization.max_norm
    numbers[:, NUMBERS:MAX_NORM] = rule.table(optimizer.step, len(totals))
    return numbers


class Run:
    """Memory on the GPU for a run up to a maximal size; `rows` and `batches` are in use.

    It visits those rows of `X`, `targets` and `weights` that `order` lists.
    """

    def __init__(self, memory, rows, batches, parts):
        self.memory = memory
        # All that the host sends for a run is in one piece of memory, and one copy: each copy takes
        # the host about as long as the GPU takes for a small batch.
        lengths = position.LENGTH, batches * STEP_NUMBERS, rows
        dtypes = np.dtype(np.int64), memory.dtype, np.dtype(np.int64)
        sizes = [n * dtype.itemsize for n, dtype in zip(lengths, dtypes, strict=True)]
        starts = np.cumsum([0, *sizes]).tolist()
        self._host, self._sent = np.zeros(starts[-1], np.uint8), memory.empty(starts[-1], np.uint8)
        places = list(zip(map(slice, starts, starts[1:]), dtypes, strict=False))
        self._values, self._steps, self._order = (self._host[at].view(to) for at, to in places)
        self._position, steps, self.order = (viewed(self._sent[at], to) for at, to in places)
        self.steps = steps.reshape(batches, STEP_NUMBERS)
        self.losses = memory.empty(rows)
        self.totals = memory.empty((batches, parts))
        self.X = self.targets = self.weights = None
        self.weighted = False
        self.rows = self.batches = self.first_batch = self.first_step = self.seed = 0
        self._done = cuda.event()

    def begin(self, order, steps=None, first_batch=0, first_step=0, seed=0):
        """Take the data of the next run, except its rows; without steps, nothing is updated."""
        self.rows, self.first_batch = len(order), first_batch
        self.first_step, self.seed = first_step, seed
        self._order[: self.rows] = order
        self.batches = 1
        if steps is not None:
            self.batches = len(steps)
            self._steps[: steps.size] = steps.ravel()

    def beginning(self, batch_rows, block_rows):
        """Send the data of the run, with the position at its beginning, and return the position."""
        self._values[:] = position.at_start(
            self.rows, batch_rows, block_rows,
            seed=self.seed, first_step=self.first_step, weighted=self.weighted,
        )  # fmt: skip
        end = self._host.size - (len(self._order) - self.rows) * self._order.itemsize
        # The host's memory is written again only for the next run, when this one has ended.
        self._sent[:end].copy_to_device(self._host[:end], stream=self.memory.stream)
        return self._position

    def launched(self):
        """Record that all of the run's work is in the stream."""
        self._done.record(self.memory.stream)

    def row_losses(self):
        """Wait for the run, and return each row's loss, in float64."""
        return self._finish(self.losses[: self.rows])

    def batch_losses(self):
        """Wait for the run, and return each batch's summed loss with its penalty, in float64."""
        return self._finish(self.totals[: self.batches]).sum(axis=1)

    def _finish(self, on_gpu):
        self._done.wait(self.memory.downloads)
        host = on_gpu.copy_to_host(stream=self.memory.downloads)
        self.memory.downloads.synchronize()
        self.batches = 0
        return host.astype(np.float64)


class Resident:
    """Rows that are all on the GPU."""

    def __init__(self, memory, X, targets, weights, run_batches, batch_rows, parts):
        rows = len(targets)
        batches = min(run_batches, -(-rows // batch_rows))
        run = Run(memory, min(rows, batches * batch_rows), batches, parts)
        run.X = in_place(X) if is_on_gpu(X) else memory.upload_rows(X)
        run.targets = memory.upload_rows(targets)
        run.weighted = weights is not None
        run.weights = memory.upload_rows(weights if run.weighted else np.ones(1))
        self.runs, self.batches = [run], batches

    def send(self, run, order):
        """Do nothing: the rows are already there."""
        return order


class Streamed:
    """Rows that are streamed to the GPU, a block of batches at a time, in the order of visits.

    There are two blocks: the GPU works on one while the host fills and sends the other.
    """

    def __init__(self, memory, X, targets, weights, run_batches, batch_rows, parts):
        self._arrays = X, targets, weights
        itemsize = memory.dtype.itemsize
        per_batch = batch_rows * (X.shape[1] + targets.shape[1] + 1) * itemsize
        self.batches = max(1, min(run_batches, BLOCK_BYTES // per_batch))
        rows = min(len(targets), self.batches * batch_rows)
        self.runs = [Run(memory, rows, self.batches, parts) for _ in range(2)]
        self._stream, self._sent = new_stream(), cuda.event()
        self._places = np.arange(rows)
        self._pinned = {}
        for run in self.runs:
            run.X = memory.empty((rows, X.shape[1]))
            run.targets = memory.empty((rows, targets.shape[1]))
            run.weighted = weights is not None
            run.weights = memory.empty(rows if run.weighted else 1)
            self._pinned[run] = [
                cuda.pinned_array(room.shape, memory.dtype)
                for room in (run.X, run.targets, run.weights)
            ]

    def send(self, run, order):
        """Collect the rows of `order` and send them; there, their indices are 0, 1, ..."""
        rows = len(order)
        rooms = run.X, run.targets, run.weights
        for array, pinned, room in zip(self._arrays, self._pinned[run], rooms, strict=True):
            if array is not None:
                pinned[:rows] = array[order]
                room[:rows].copy_to_device(pinned[:rows], stream=self._stream)
        self._sent.record(self._stream)
        self._sent.wait(run.memory.stream)
        return self._places[:rows]


def rows_on(memory, X, targets, weights, **sizes):
    """Return `Resident` rows if the GPU has room for them, else `Streamed` rows."""
    release_memory()
    numbers = X.shape[0] * X.shape[1] + targets.size + 3 * len(targets)
    fits = is_on_gpu(X) or numbers * memory.dtype.itemsize <= SHARE * free_memory()
    return (Resident if fits else Streamed)(memory, X, targets, weights, **sizes)
