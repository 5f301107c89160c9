"""The members of a cluster as one device: `fastmlp.training` trains on it as on any other."""

from __future__ import annotations

import time
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..devices import ReferenceDevice
from ..devices.device import Sums
from ..estimators.base import BaseMLP
from ..network import Network
from ..regularization import Regularization
from ..training import UNOBSERVED
from .member import Setup
from .parts import Parts
from .windows import Held, batches_of, shares

#: The fraction of the time that synchronisations are to take with sync_every="auto": half of the
#: tenth that is promised, since both times vary.
SYNC_SHARE = 0.05


@dataclass
class Remote:
    """Stands for an array whose rows are on a cluster.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    digests : list of str
        Of the rows of each block, to be compared in place of them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    digests: list[str]

    def __len__(self):
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        return np.array(self.digests)


class Cluster:
    """One network on all members; see `fastmlp.devices.device.Device`.

    The client keeps parameters and moments as of the last synchronisation, and the members nothing
    but rows. It has no `forward`: the plain estimator predicts, block by block.

    Parameters
    ----------
    parts : Parts
        The rows.
    encoder : MLPClassifier or MLPRegressor
        Encodes them.
    network : Network
    parameters : ndarray of shape (network.size,)
        Packed initial parameters.
    sync_every : int, "epoch" or "auto"
        How many batches members train by themselves.
    shuffle_seed : int or None
    held : list of Held or None
        What each block holds out; None for nothing.
    optimizer, regularization, dropout_seed, batch_size, epochs
        As those of a device.

    Attributes
    ----------
    sync_every : int
        How many batches it is.
    observer : Observer
        Learns of each synchronisation within an epoch, as of a part of it.
    """

    def __init__(
        self, parts: Parts, encoder: BaseMLP, network: Network, parameters: np.ndarray, *,
        sync_every: int | str = 1, shuffle_seed: int | None = None, held: Any = None,
        **settings: Any,
    ):  # fmt: skip
        self._parts, self.network, self.dtype = parts, network, parameters.dtype
        self.optimizer: Any = settings.get("optimizer")  # an OptimizerState, or None
        self.regularization: Regularization = settings["regularization"]
        self.dropout_seed: int = settings.get("dropout_seed", 0)
        self.batch_size: int = settings["batch_size"]
        moments = () if self.optimizer is None else self.optimizer.moments
        self._state = np.stack([parameters, *moments])
        self._plan(held or [[Held(0, 0)] * len(part) for part in parts.summaries])
        parts.begin(self._setups(encoder, shuffle_seed, settings.get("epochs", 0)))
        self.name: str = parts.ask_all("name")[0]
        self._stepper: Any = None
        self.observer = UNOBSERVED
        self._together, self.sync_every = sync_every == 1, 1
        if self.optimizer is not None:
            self.sync_every = self._chosen(sync_every)

    def _plan(self, held):
        """Plan the batches of an epoch."""
        self._held_of = held
        counts = [
            np.array([s.rows - h.rows for s, h in zip(part, own, strict=True)])
            for part, own in zip(self._parts.summaries, held, strict=True)
        ]
        self._counts = counts if self._parts.streamed else [c.sum(keepdims=True) for c in counts]
        self._rows = [int(own.sum()) for own in counts]
        self.rows = sum(self._rows)
        self._batches = -(-self.rows // self.batch_size)
        self._own_size = [max(1, round(self.batch_size * n / self.rows)) for n in self._rows]
        self._own_batches = [
            batches_of(own, size) for own, size in zip(self._counts, self._own_size, strict=True)
        ]

    def _setups(self, encoder, shuffle_seed, epochs):
        """Return what each member is made from.

        A penalty is a constant beside the sum over a batch's rows. Where a batch is a share, so is
        the penalty.
        """
        for part, summaries in enumerate(self._parts.summaries):
            share = self._own_size[part] / self.batch_size
            regularization = replace(
                self.regularization,
                l2=self.regularization.l2 * share,
                l1=self.regularization.l1 * share,
            )
            yield Setup(
                part, encoder, self.dtype, self._parts.whole.sparse, self.network,
                copy(self.optimizer), regularization, (self.dropout_seed + part) % 2**32,
                self._own_size[part], epochs, shuffle_seed, self._held_of[part],
                [summary.rows for summary in summaries], self._parts.streamed,
            )  # fmt: skip

    # ---- training --------------------------------------------------------------------------------

    @property
    def synchronisations(self) -> int:
        """How many there are in an epoch."""
        return -(-self._batches // self.sync_every)

    def train(self, rows: Any, order: Any) -> float:
        """Train for an epoch over all rows that are not held out; see `Device`."""
        train = self._train_together if self._together else self._train_apart
        loss, visited = train(self.optimizer.step)
        return loss * self.rows / visited if visited else 0.0

    def _train_together(self, epoch):
        """Do every step with the sums over all members' shares of a batch.

        Returns the sum over rows of their batch's mean loss, and the number of rows.
        """
        if self._stepper is None:
            self._share = shares(self._rows, self.batch_size)
            self._stepper = ReferenceDevice(
                self.network,
                self._state[0],
                optimizer=self._with_moments(),
                regularization=replace(self.regularization, dropout=()),
            )
        optimizer, stepper = self.optimizer, self._stepper
        stepper.optimizer = optimizer
        stepper.resume(self._state[0], self._state[1:])
        rates = iter(optimizer.rates(self._batches).tolist())
        ends = np.cumsum(self._share, axis=0)
        total, visited = 0.0, 0
        for share, end in zip(self._share, ends, strict=True):
            self.observer.part_begins()
            asked = {
                part: (epoch, int(end[part] - share[part]), int(end[part]), self._state[0])
                for part in np.flatnonzero(share).tolist()
            }
            sums = added(self._parts.ask("share", asked).values())
            if sums.weight != 0:  # as `batches_with_weight` leaves it out
                count = int(share.sum())
                total += stepper.step(sums, next(rates)) * count
                visited += count
                self._state = np.stack([stepper.parameters(), *stepper.moments()])
            if self.observer.part_ended(self.parameters):
                break
        return total, visited

    def _train_apart(self, epoch):
        """Let members train by themselves, and average their parameters and moments in between."""
        total, visited = 0.0, 0
        for first in range(0, self._batches, self.sync_every):
            last = min(first + self.sync_every, self._batches)
            self.observer.part_begins()
            trained = self._round(epoch, first, last)
            self.optimizer.rates(last - first)  # notes the last one
            self.optimizer.step += last - first
            total += sum(each.loss for each in trained)
            visited += sum(each.rows for each in trained)
            self._state = _averaged(self._state, trained)
            if self.observer.part_ended(self.parameters):
                break
        return total, visited

    def _round(self, epoch, first, last):
        """Return what members reach from the current state, each in its share of these batches."""
        at = copy(self.optimizer)
        del at.moments  # they are in the state
        asked = {}
        for part, own in enumerate(self._own_batches):
            begin, end = (round(batch * own / self._batches) for batch in (first, last))
            if begin < end:
                asked[part] = epoch, begin, end, at, self._state
        return list(self._parts.ask("train", asked).values())

    def _with_moments(self):
        """Return a copy of the optimiser's state with the moments of now."""
        optimizer = copy(self.optimizer)
        optimizer.moments = self._state[1:]
        return optimizer

    def _chosen(self, sync_every):
        """Return the number of batches that "epoch" and "auto" stand for.

        For "auto", members train on a few batches, and what they reach is thrown away. With the
        time t of a batch and s of a synchronisation, s / (s + k t) is to be SYNC_SHARE.
        """
        if sync_every == "epoch" or (sync_every == "auto" and len(self._rows) == 1):
            return self._batches
        if sync_every != "auto":
            return min(int(sync_every), self._batches)
        self._round(0, 0, min(2, self._batches))  # compiles, and loads code
        batch, sync = [], []
        for count in (min(4, self._batches),) * 3:
            started = time.perf_counter()
            trained = self._round(0, 0, count)
            _averaged(self._state, trained)
            longest = max(each.seconds for each in trained)
            sync.append(time.perf_counter() - started - longest)
            batch.append(longest / count)
        needed = np.median(sync) / np.median(batch) * (1 / SYNC_SHARE - 1)
        return int(np.clip(np.ceil(needed), 2, max(2, self._batches)))

    # ---- sums and parameters ---------------------------------------------------------------------

    def sums(self, rows: Any, parameters: np.ndarray | None = None, gradient: bool = True) -> Sums:
        """Return the sums over all rows to train on; see `Device`."""
        if parameters is not None:
            self._state[0] = self.network.checked(parameters, self.dtype)
        return added(self._parts.ask_all("sums", self._state[0].copy(), gradient))

    def resume(self, parameters: np.ndarray, moments: np.ndarray) -> None:
        """Go on from other parameters and moments; see `Device`."""
        self._state = np.stack([parameters, *moments])

    def parameters(self) -> np.ndarray:
        """Return the parameters of the last synchronisation, packed."""
        return self._state[0].copy()

    def moments(self) -> np.ndarray:
        """Return the optimiser's moments of the last synchronisation."""
        return self._state[1:].copy()


def added(answers: Iterable[tuple]) -> Sums:
    """Return the members' sums, added in the order of the parts."""
    loss = weight = 0.0
    total = None
    for own_loss, own_weight, gradient in answers:
        loss, weight = loss + own_loss, weight + own_weight
        if gradient is not None:
            total = gradient.copy() if total is None else total + gradient
    return Sums(loss, weight, total)


def _averaged(state, trained):
    """Return the mean of what members reached, weighted by the rows that each has trained on."""
    rows = sum(each.rows for each in trained)
    if not rows:
        return state
    mean = np.zeros(state.shape)
    for each in trained:
        mean += each.rows / rows * each.state
    return mean.astype(state.dtype)
