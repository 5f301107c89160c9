"""One part of the rows, and a device that trains on them: an actor on a worker of the cluster.

A member keeps no state of training but its rows. Every request says where training stands, so that
another member, made from the same blocks, gives the same answer: this is how a fit survives the
loss of a worker.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pickle import loads
from typing import Any, NamedTuple

import dask
import numpy as np
from distributed import get_worker
from scipy import sparse

from .. import devices
from ..devices.device import Device
from ..estimators.base import BaseMLP
from ..estimators.labels import class_weights
from ..network import Network
from ..regularization import Regularization
from ..training import OptimizerState, Rows, batches_with_weight
from .blocks import Block, validated_block
from .windows import Held, Labelled, Order, Windows, joined, selected


@dataclass(frozen=True)
class Setup:
    """What a member is made from, besides its rows.

    Attributes
    ----------
    part : int
        The number of the part.
    encoder : MLPClassifier or MLPRegressor
        Knows features and labels of all rows, and encodes them.
    dtype : dtype
        Of X.
    sparse : bool
        Whether X is sparse.
    network : Network
    optimizer : OptimizerState or None
    regularization : Regularization
        For batches of this part.
    dropout_seed : int
    batch_size : int
        Rows of a batch of this part.
    epochs : int
        How many there may be, for device="auto".
    shuffle_seed : int or None
        None leaves the rows in their order.
    held : list of Held
        Of each block.
    counts : list of int
        Rows of each block.
    streamed : bool
        Whether a window is a block, read from where it is stored each time.
    """

    part: int
    encoder: BaseMLP
    dtype: np.dtype
    sparse: bool
    network: Network
    optimizer: OptimizerState | None
    regularization: Regularization
    dropout_seed: int
    batch_size: int
    epochs: int
    shuffle_seed: int | None
    held: list[Held]
    counts: list[int]
    streamed: bool


class Trained(NamedTuple):
    """What a member returns of a run of batches.

    Attributes
    ----------
    loss : float
        Sum over the rows of their batch's mean loss.
    rows : int
        How many rows were trained on.
    seconds : float
        How long it took, without what comes before and after.
    state : ndarray of shape (1 + moments, network.size)
        Parameters and moments afterwards.
    """

    loss: float
    rows: int
    seconds: float
    state: np.ndarray


class Member:
    """The rows of one part, and a device.

    Parameters
    ----------
    setup : Setup
    blocks : list
        Validated blocks; or, if they are streamed, pickled delayed ones.
    """

    def __init__(self, setup: Setup, blocks: list[Any]):
        self.setup = setup
        if setup.streamed:
            delayed = [loads(block) for block in blocks]
            training, held = (self._streamed(delayed, which) for which in (0, 1))
        else:
            training, held = self._in_memory(blocks)
        self._training, self._held = training, held
        self._device = self._loaded()
        self._order: tuple[Any, Order] | None = None

    # ---- rows ------------------------------------------------------------------------------------

    def _in_memory(self, blocks):
        divided: tuple[list[Labelled], list[Labelled]] = [], []
        for block, held in zip(blocks, self.setup.held, strict=True):
            window = self._encoded(block)
            for which, chosen in enumerate(held.of(block.rows)):
                if len(chosen):
                    divided[which].append(selected(window, chosen))
        return [_one_window(windows) for windows in divided]

    def _streamed(self, blocks, which):
        def load(number):
            X, y, weights = dask.compute(*blocks[number], scheduler="synchronous")
            block, _ = validated_block(self.setup.encoder, X, y, weights)
            expected = self.setup.counts[number]
            if block.rows != expected:
                raise ValueError(
                    f"A block had {expected} rows when it was first read, and {block.rows} later: "
                    "expected the same whenever it is computed."
                )
            chosen = self.setup.held[number].of(block.rows)[which]
            return selected(self._encoded(block), chosen)

        counts = [
            held.rows if which else rows - held.rows
            for held, rows in zip(self.setup.held, self.setup.counts, strict=True)
        ]
        return Windows(counts, load)

    def _encoded(self, block: Block) -> Labelled:
        """Return the rows of a validated block as the device takes them."""
        setup, (X, y, weights, rows) = self.setup, block
        X = X.astype(setup.dtype, copy=False)
        if setup.sparse and not sparse.issparse(X):
            X = sparse.csr_array(X)
        if not rows:
            empty = np.empty((0, setup.network.units[-1]), setup.dtype)
            return Labelled(Rows(X, empty, None if weights is None else np.zeros(0)), y)
        targets = setup.encoder._targets(y, setup.dtype)
        if getattr(setup.encoder, "class_weight", None) is not None:
            product = class_weights(setup.encoder, y)
            weights = product if weights is None else product * weights
        return Labelled(Rows(X, targets, weights), y)

    def _loaded(self) -> Device:
        setup = self.setup
        rows = int(self._training.counts.sum() + self._held.counts.sum())
        work = devices.Work(
            setup.network.size, rows, setup.network.units[0], setup.batch_size, setup.epochs,
            setup.dtype.itemsize,
        )  # fmt: skip
        by_choice = setup.sparse or setup.network.custom
        name = devices.choose(setup.encoder.device, None if by_choice else work)
        encoder = setup.encoder
        precision = devices.precision_on(name, encoder.device, encoder.precision, setup.dtype)
        threads = encoder.n_jobs
        return devices.load(name)(
            setup.network,
            np.zeros(setup.network.size, setup.dtype),
            optimizer=setup.optimizer,
            regularization=setup.regularization,
            dropout_seed=setup.dropout_seed,
            batch_size=setup.batch_size,
            sparse=setup.sparse,
            n_jobs=get_worker().state.nthreads if threads is None else threads,
            precision=precision,
        )

    # ---- requests --------------------------------------------------------------------------------

    def answer(self, request: str, *arguments: Any) -> tuple[bool, Any]:
        """Return whether a request succeeded, and what it returned or raised.

        An exception that comes instead of an answer is then one of the connection.
        """
        try:
            return True, getattr(self, request)(*arguments)
        except Exception as error:
            return False, error

    def name(self) -> str:
        """Return the name of the device."""
        return self._device.name

    def train(self, epoch: int, first: int, last: int, at: Any, state: np.ndarray) -> Trained:
        """Train on batches of an epoch by themselves.

        Parameters
        ----------
        epoch : int
            Seeds the shuffle.
        first, last : int
            Numbers of the batches of this part, from the first one up to but without the last one.
        at : OptimizerState
            Its step count and learning rate.
        state : ndarray of shape (1 + moments, network.size)
            Parameters and moments to begin with.
        """
        device, batch_size = self._device, self.setup.batch_size
        vars(device.optimizer).update(vars(at))
        device.resume(state[0], state[1:])
        order = self._order_of(epoch)
        begin, end = (order.batch_start(batch, batch_size) for batch in (first, last))
        loss, count, seconds = 0.0, 0, 0.0
        for number, visited, following in order.between(begin, end):
            rows = self._training.window(number, following).rows
            started = time.perf_counter()
            if rows.weights is not None:
                visited = batches_with_weight(visited, rows.weights, batch_size)
            if len(visited):
                loss += device.train(rows, visited)
                count += len(visited)
            seconds += time.perf_counter() - started
        return Trained(loss, count, seconds, np.stack([device.parameters(), *device.moments()]))

    def share(self, epoch: int, first: int, last: int, parameters: np.ndarray) -> tuple:
        """Return the sums over this part's share of a batch, from one place of an epoch to another.

        Returns
        -------
        loss, weight : float
        gradient : ndarray of shape (network.size,)
        """
        pieces = (
            selected(self._training.window(number, following), chosen).rows
            for number, chosen, following in self._order_of(epoch).between(first, last)
        )
        return self._added(pieces, parameters, True)

    def sums(self, parameters: np.ndarray, gradient: bool) -> tuple:
        """Return the sums over all rows to train on, as `share` does."""
        return self._added(self._all(self._training), parameters, gradient)

    def measure(self, parameters: np.ndarray, outputs: bool) -> tuple:
        """Return the sums over the rows held out, as `share` does; in place of gradients, outputs.

        Returns
        -------
        loss, weight : float
        outputs : ndarray of shape (n, outputs), or None
        """
        columns = self.setup.network.units[-1]
        loss = weight = 0.0
        found = [np.empty((0, columns), self.setup.dtype)]
        for rows in self._all(self._held):
            out = np.empty((len(rows.targets), columns), self.setup.dtype) if outputs else None
            sums = self._device.sums(rows, parameters, False, out)
            loss, weight = loss + sums.loss, weight + sums.weight
            if out is not None:
                found.append(out)
        return loss, weight, np.concatenate(found) if outputs else None

    def held(self, features: bool) -> Labelled | None:
        """Return the rows held out, with their features if asked for; None if there are none."""
        windows = []
        for number in np.flatnonzero(self._held.counts).tolist():
            rows, y = self._held.window(number)
            windows.append(Labelled(rows if features else rows._replace(X=rows.X[:, :0]), y))
        return joined(windows) if windows else None

    def _order_of(self, epoch):
        seed = self.setup.shuffle_seed
        key = None if seed is None else (seed, epoch, self.setup.part)
        if self._order is None or self._order[0] != key:
            self._order = key, Order(self._training.counts, key)
        return self._order[1]

    def _all(self, windows):
        """Iterate over the rows of all windows that have some."""
        order = Order(windows.counts, None)
        for number, _, following in order.between(0, int(windows.counts.sum())):
            yield windows.window(number, following).rows

    def _added(self, pieces, parameters, gradient):
        loss = weight = 0.0
        total = np.zeros(self.setup.network.size, self.setup.dtype)
        for rows in pieces:
            sums = self._device.sums(rows, parameters, gradient)
            loss, weight = loss + sums.loss, weight + sums.weight
            if sums.gradient is not None:
                total += sums.gradient
        return loss, weight, total if gradient else None


def _one_window(blocks):
    """Return all rows in one window, or no window of no rows."""
    if not blocks:
        return Windows([], lambda number: None)
    window = joined(blocks)
    return Windows([len(window.rows.targets)], lambda number: window)
