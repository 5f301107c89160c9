"""The CUDA device: an NVIDIA GPU, by kernels of our own."""

import numpy as np

from ...regularization import Regularization
from .. import lanes
from ..cpu.loops import layer_loops, loss_loop
from ..device import PRECISIONS, ZERO_WEIGHT, Configured, Sums, check_finite
from ..functions import Own
from ..lanes import Meeting
from ..presence import is_on_gpu
from .block import block_rows
from .blocks import SingleBlock
from .cluster import BLOCKS, Cluster
from .elements import Kind
from .group import Group, Member, Pool
from .layered import LONGEST_BLOCK, Layered
from .layout import kind_of, loss_share
from .memory import Memory, in_place
from .runs import Resident, Run, batch_weights, rows_on, step_numbers
from .toolkit import SIMULATED, clusters, cuda, describe, has_tensor_cores, synchronize

__all__ = ["CudaDevice", "describe"]

#: The most parameters times batch rows for one block of threads. On an H100, one block and many
#: take as long for 8-16-2 and batches of 32 rows (6,000), and many are three times as fast for
#: 32-100-2 and batches of 200 (700,000): benchmarks/results/gpu.md.
SINGLE_BLOCK_WORK = 10_000
#: The most of that for a cluster of blocks: none, as no GPU has timed one yet. `benchmarks/gpu.py`
#: times all regimes for both of these networks, under "regimes". If a cluster is the fastest for
#: 32-100-2, this should be 1_000_000; if also for 8-16-2, `regime` should ask for it first.
CLUSTER_WORK = 0
#: The fewest rows of a batch in shared memory at a time that keep one block busy.
LEAST_ROWS = 32


def regime(kind, network, batch_rows):
    """Choose how a network is trained; the only place where that is decided."""
    work = network.size * batch_rows
    if work <= SINGLE_BLOCK_WORK and _fits(kind, network, batch_rows, 1):
        return SingleBlock
    if work <= CLUSTER_WORK and clusters() and _fits(kind, network, batch_rows, BLOCKS):
        return Cluster
    return Layered


def _fits(kind, network, batch_rows, blocks):
    """Return whether so many blocks have enough rows of a batch in shared memory."""
    rows = block_rows(kind, network, batch_rows, blocks)
    return rows >= min(-(-batch_rows // blocks), LEAST_ROWS)


class CudaDevice(Configured):
    """One network on a GPU; see `Device`.

    X may also be an array on the GPU, from any library that supports
    ``__cuda_array_interface__``: it is used in place.

    Raises
    ------
    ValueError
        If X will be a sparse matrix, or for the same reasons as with every device.
    MemoryError
        If the GPU has too little memory to train or run the network.
    """

    name = "cuda"
    in_place = staticmethod(in_place)

    @staticmethod
    def to_host(array):
        """Copy an array from the GPU to the host."""
        on_gpu = cuda.as_cuda_array(array)
        synchronize()  # not every library reports the stream in which it writes the array
        host = on_gpu.copy_to_host()
        synchronize()
        return host

    @staticmethod
    def precisions():
        """Return the precisions that this GPU has; see `Configured`."""
        return PRECISIONS if has_tensor_cores() else PRECISIONS[:1]

    def _load(self, parameters, moments):
        if self.sparse:
            raise ValueError(
                "device='cuda' takes no sparse X: pass X.toarray(), or use device='cpu'."
            )
        network = self.network
        if network.custom and not SIMULATED:
            # Custom functions have the same rules on all devices: the CPU's code checks them.
            layer_loops(network, self.dtype)
            loss_loop(network.loss, network.canonical, self.dtype)
        self._kind = self._kind_of(network)
        constants = network.loss.constants(network.units[-1])
        self._memory = Memory(parameters, moments, constants)
        self._rows = self._arrays = self._regime = self._whole = self._ahead = None

    def _kind_of(self, network):
        activations = *network.activation, network.output_activation
        return Kind(
            dtype=self.dtype,
            activations=tuple(dict.fromkeys(map(kind_of, activations))),
            softmax=network.output_activation.whole_row,
            loss=Own.of(network.loss) if network.loss.custom else network.loss.name,
            canonical=network.canonical,
            dropping=any(self.regularization.dropout),
            optimizer="adam" if self.optimizer is None else self.optimizer.rule.name,
            precision=self.precision,
        )

    # ---- training --------------------------------------------------------------------------------

    def train(self, rows, order):
        """Do one update for each batch of the rows in `order`; see `Device`."""
        lanes.go_on()
        if self._regime is None:
            self._regime = self._regime_for(rows)
            self._arrays = None  # runs made earlier have no room for its sums
        totals = batch_weights(rows.weights, order, self.batch_size)
        if not totals.all():
            raise ZeroDivisionError(ZERO_WEIGHT)
        sent = self._rows_to_train_on(rows)
        loss_sum = 0.0
        numbers = step_numbers(self.optimizer, self.regularization, totals, self.dtype)
        for number, first in enumerate(range(0, len(totals), sent.batches)):
            run = sent.runs[number % len(sent.runs)]
            loss_sum += self._loss_of(run, totals)
            batches = slice(first, first + sent.batches)
            visited = order[first * self.batch_size : batches.stop * self.batch_size]
            visited = sent.send(run, visited)
            run.begin(visited, numbers[batches], first, self.optimizer.step, self.dropout_seed)
            self._regime.launch(run)
            run.launched()
            self.optimizer.step += run.batches
        for run in sent.runs:
            loss_sum += self._loss_of(run, totals)
        return loss_sum

    def _regime_for(self, rows):
        """Choose how the network is trained, and with which others."""
        make = regime(self._kind, self.network, self.batch_size)
        lane = lanes.current()
        if lane is not None and lane.undecided:
            is_short = self._most_batches(make) * self.batch_size >= len(rows.targets)
            joins = make is SingleBlock and is_short and not is_on_gpu(rows.X)
            if joins and (member := self._member(lane, rows)):
                return member
            lane.go_alone()
        return make(self._kind, self.network, self.regularization, self.batch_size, self._memory)

    def _member(self, lane, rows):
        """Join the group of such networks; return its member, or None if there is no room."""
        network, alike = self.network, (self._kind, self.network, self.batch_size)
        shared, features = lane.lanes.shared, network.units[0]
        X = shared((self.dtype, features), lambda: Pool(self._memory, (features,)))
        key = *alike[::2], network.units, tuple(network.shapes)
        places = len(lane.lanes.all)
        meeting = shared(key, lambda: Meeting(Group(*alike, places, X)))
        member = Member(meeting.data, lane)
        if not member.take(rows):
            return None
        member.move(self._memory, self.regularization)
        self._whole = self._ahead = None  # which have read the memory of before
        lane.join(meeting, member)
        return member

    def _most_batches(self, regime):
        """Return how many batches a run may have: it cannot react to Ctrl-C."""
        return max(1, int(regime.longest_run // (6 * self.batch_size * self.network.size)))

    def _rows_to_train_on(self, rows):
        if isinstance(self._regime, Member):
            if not self._regime.take(rows):
                raise MemoryError("The GPU has no room for other rows beside those of all fits.")
            return self._regime
        return self._rows_of(rows, self._most_batches(self._regime), self.batch_size)

    def _loss_of(self, run, totals):
        """Return the sum over a run's batches of mean loss, with penalty, times rows; only once."""
        if run.batches == 0:
            return 0.0
        rows = np.full(run.batches, self.batch_size)
        rows[-1] = run.rows - self.batch_size * (run.batches - 1)
        totals = totals[run.first_batch : run.first_batch + run.batches]
        return float(run.batch_losses() / totals @ rows)

    def _rows_of(self, rows, run_batches, batch_rows):
        """Return the rows on the GPU; reuse the last epoch's if the arrays are the same."""
        if self._arrays is None or any(
            own is not other for own, other in zip(rows, self._arrays, strict=True)
        ):
            parts = 1 if self._regime is None else self._regime.parts
            self._arrays, self._rows = rows, None  # free old rows before sending new ones
            self._rows = rows_on(
                self._memory, *rows,
                run_batches=run_batches, batch_rows=batch_rows, parts=parts,
            )  # fmt: skip
        return self._rows

    def sums(self, rows, parameters=None, gradient=True, out=None):
        """Return the sums over all rows; see `Device`."""
        lanes.go_on()
        lane = lanes.current()
        if lane is not None and lane.undecided:
            lane.go_alone()
        memory, n = self._memory, len(rows.targets)
        if parameters is not None:
            at = self.network.checked(parameters, self.dtype)
            memory.parameters.copy_to_device(at, stream=memory.stream)
        if self._whole is None:
            self._whole = Layered(self._kind, self.network, self.regularization, n, memory)
        sent = self._rows_of(rows, n, min(n, LONGEST_BLOCK))
        order = np.arange(n)
        (weight,) = batch_weights(rows.weights, order, n)
        most, total = len(sent.runs[0].losses), 0.0
        for number, first in enumerate(range(0, n, most)):
            run = sent.runs[number % len(sent.runs)]
            total += self._finished(run)
            visited = sent.send(run, order[first : first + most])
            run.begin(visited)
            if gradient:
                self._whole.add_gradient(run, adds=first > 0)
            else:
                self._whole.find_losses(run)
            run.launched()
        total += sum(self._finished(run) for run in sent.runs)
        summed = memory.download(self._whole.collect()) if gradient else None
        if out is not None:
            self.forward(rows.X, out)
        return Sums(float(total) * loss_share(self.network), float(weight), summed)

    def _finished(self, run):
        """Return the summed loss of a run without updates; only once."""
        return run.row_losses().sum() if run.batches else 0.0

    # ---- prediction ------------------------------------------------------------------------------

    def forward(self, X, out, order=None):
        """Write the network's outputs to `out`, for the rows in `order` or for all rows."""
        n, memory = len(out), self._memory
        if self._ahead is None or self._ahead[0] < n:
            layered = Layered(self._kind, self.network, Regularization(), n, memory)
            self._ahead = n, layered, Run(memory, layered.block_rows, 1, 1)
        _, layered, run = self._ahead
        block = layered.block_rows
        run.targets, run.weights = run.steps, run.losses  # placeholders, never read
        resident = isinstance(self._rows, Resident) and self._arrays[0] is X
        on_gpu = resident or is_on_gpu(X)
        if on_gpu:
            run.X = self._rows.runs[0].X if resident else in_place(X)
        numbers = np.arange(n) if order is None else order
        for begin in range(0, n, block):
            visited = numbers[begin : begin + block]
            if not on_gpu:
                rows = X[begin : begin + block] if order is None else X[visited]
                check_finite(rows)
                run.X, visited = memory.upload_rows(rows), np.arange(len(rows))
            run.begin(visited)
            out[begin : begin + block] = memory.download(layered.forward(run))
        return out

    # ---- what comes back, and what replaces it ---------------------------------------------------

    def _replace(self, parameters, moments):
        memory = self._memory
        places = memory.parameters, *memory.moments
        for place, packed in zip(places, (parameters, *moments), strict=True):
            place.copy_to_device(packed, stream=memory.stream)
        memory.stream.synchronize()  # a group trains in a stream of its own

    def parameters(self):
        """Return the current parameters, packed."""
        return self._memory.download(self._memory.parameters)

    def moments(self):
        """Return the optimiser's current moments, each packed."""
        return np.stack([self._memory.download(moment) for moment in self._memory.moments])
