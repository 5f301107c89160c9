"""A fit between two epochs, complete: what a later process needs to go on with the same bits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse

from ..devices import on_host
from ..devices.device import Device
from ..devices.functions import contents
from ..training import Averaging, EpochState, OptimizerState, Rows
from .parameters import defaults

if TYPE_CHECKING:
    from .base import BaseMLP

#: Parameters that change no bit of the result, or are described by something else.
_FREE = {"random_state", "n_jobs", "verbose", "device", "client"}
#: The parameter in which the rest of a fit may differ.
_LENGTH = "parameter max_iter"
#: Most bytes of X that are copied at once.
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Snapshot:
    """A fit between two epochs.

    Attributes
    ----------
    of : dict of str
        What is fitted, to be compared: see `description`.
    first_draws, draws : dict
        State of the random generator before the fit drew anything, and now.
    parameters : ndarray of shape (network.size,)
        Packed parameters after the last step.
    optimizer : OptimizerState
        Moments, number of steps, and the schedule's state.
    state : EpochState
        Order of the rows, progress, average, and the best weights.
    dropout_seed : int
        Key of the dropout masks.
    planned : dict of str
        What `max_iter` has decided from the start: see `planned`.
    """

    of: Mapping[str, str]
    first_draws: dict[str, Any]
    draws: dict[str, Any]
    parameters: np.ndarray
    optimizer: OptimizerState
    state: EpochState
    dropout_seed: int
    planned: Mapping[str, str]

    def check(
        self,
        of: Mapping[str, str],
        defaults: Mapping[str, str],
        planned: Mapping[str, str],
        max_iter: int,
    ) -> None:
        """Check that it is of this same fit, or of its first epochs.

        Parameters
        ----------
        of : dict of str
            What is fitted now.
        defaults : dict of str
            What stands for a parameter that there was not yet when the snapshot was taken.
        planned : dict of str
            What `max_iter` decides from the start.
        max_iter : int
            It may be another one, if it decides nothing but the end, which is still to come.

        Raises
        ------
        ValueError
            If a parameter or the data differ: the result would be that of neither fit.
        """
        before = {**defaults, **self.of}
        names = {name for name in {*before, *of} if before.get(name) != of.get(name)}
        reason = self._other_length(planned, max_iter) if names == {_LENGTH} else ""
        if names == {_LENGTH} and not reason:
            return
        if names:
            changes = "; ".join(
                f"{name}: {before.get(name)}, now {of.get(name)}" for name in sorted(names)
            )
            raise ValueError(
                f"The checkpoint is of another fit. {changes}. {reason}Fit with what it was made "
                "with, or delete it to begin from the start. For several fits, as in a search, let "
                "the path of the Checkpoint be a folder: each fit then has a file of its own."
            )

    def _other_length(self, planned, max_iter):
        """Return why the fit cannot go on with this `max_iter`, as a sentence, or nothing."""
        names = [name for name in planned if planned[name] != self.planned.get(name)]
        if names:
            return (
                f"Here max_iter decides not only the end, but also {' and '.join(names)} from the "
                "first epoch on. "
            )
        if max_iter < self.state.progress.epochs:
            return f"It has {self.state.progress.epochs} epochs already. "
        return ""


@dataclass
class Snapshots:
    """Takes the snapshots of a fit by epochs.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    device : Device
        The device that trains.
    state : EpochState
        Where training stands.
    rows : Rows
        The training rows.
    fresh : bool
        Whether the fit begins with new weights.
    random_state : RandomState
        The random generator of the fit.
    first_draws : dict
        Its state before the fit drew anything.
    planned : dict of str
        What `max_iter` decides from the start.
    """

    estimator: BaseMLP
    device: Device
    state: EpochState
    rows: Rows
    fresh: bool
    random_state: np.random.RandomState
    first_draws: dict[str, Any]
    planned: Mapping[str, str]

    def __call__(self) -> Snapshot | None:
        """Return a snapshot, or None after an interrupt: its parts are of different times.

        Some parts are those of the fit itself, which go on changing: use it at once.
        """
        if self.state.interrupted:
            return None
        return Snapshot(
            self._description,
            self.first_draws,
            self.random_state.get_state(legacy=False),
            self.device.parameters(),
            with_moments(self.device),
            self.state,
            self.device.dropout_seed,
            self.planned,
        )

    @cached_property
    def _description(self):
        return description(self.estimator, self.device.name, self.rows, self.fresh)


def planned(
    optimizer: OptimizerState, averaging: Averaging | None, batches: int, max_iter: int
) -> dict[str, str]:
    """Return what `max_iter` decides of a fit from the start, besides its end.

    Parameters
    ----------
    optimizer : OptimizerState
        The optimiser that the fit begins with.
    averaging : Averaging or None
        The average that it begins with.
    batches : int
        Number of batches of an epoch.
    max_iter : int
        The most epochs.

    Returns
    -------
    planned : dict of str
        By the names of the parameters, whatever they are: a schedule's plan, for instance.
    """
    plan = asdict(optimizer.schedule.planned(batches, max_iter))
    first = None if averaging is None else averaging.first
    return {"learning_rate": _without_addresses(repr(plan)), "averaging_start": str(first)}


def with_moments(device: Device) -> OptimizerState:
    """Return a copy of the optimiser's state with its moments, which the device has."""
    optimizer = device.optimizer.copied()
    optimizer.moments = device.moments()
    return optimizer


def usual(estimator: BaseMLP) -> dict[str, str]:
    """Return what `description` has of an estimator's parameters if all have their defaults."""
    return _texts(defaults(type(estimator)))


def _texts(parameters):
    return {
        f"parameter {name}": _text(value) for name, value in parameters.items() if name not in _FREE
    }


def description(estimator: BaseMLP, device: str, rows: Rows, fresh: bool) -> dict[str, str]:
    """Return what determines the bits of a fit that is going on, as text.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Its parameters are compared by their text, custom functions by what they compute. A random
        generator is not compared.
    device : str
        The name of the device that trains.
    rows : Rows
        The training rows. All of them are read, which takes a second or two per gigabyte.
    fresh : bool
        Whether the fit begins with new weights.
    """
    parameters = _texts(estimator.get_params(deep=False))
    if isinstance(estimator.random_state, Integral):  # the state of a generator is in the snapshot
        parameters["parameter random_state"] = str(estimator.random_state)
    X, begins_with = on_host(rows.X), "new weights"
    if not fresh:
        begins_with = f"those of an earlier fit, {_short(_text(estimator._running.start))}"
    return parameters | {
        "estimator": type(estimator).__name__,
        "device": device,
        "X": f"{X.dtype} {X.shape} {_digest_of_rows(X)}",
        "targets": digest(rows.targets),
        "weights of the rows": "none" if rows.weights is None else digest(rows.weights),
        "begins with": begins_with,
    }


def identifier(estimator: BaseMLP, rows: Rows, fresh: bool) -> str:
    """Return a name for a fit that is going on, for files: the same if the fit is.

    Other than in `description`, the state of a random generator is part of it, except that of
    ``random_state=None``, which is another one in every process.
    """
    parts = description(estimator, estimator.device, rows, fresh)
    if isinstance(estimator.random_state, np.random.RandomState):
        _, keys, *place = estimator.random_state.get_state()
        parts["random state"] = f"{digest(keys)} {place}"
    return _short(repr(sorted(parts.items())))


def _text(value):
    """Return the text of a parameter's value, with digests of arrays and functions."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return f"array {value.dtype} {value.shape} {digest(value)}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(_text, value))})"
    text = _without_addresses(repr(value))
    if getattr(value, "custom", False):
        text += f" {_short(repr((contents(value.function), contents(value.derivative))))}"
    return text


def _without_addresses(text):
    return re.sub(r" at 0x\w+", "", text)


def _short(text):
    return sha256(_without_addresses(text).encode()).hexdigest()[:16]


def _digest_of_rows(X):
    """Return a digest of all rows, of which few are copied at a time."""
    if issparse(X):
        return " ".join(map(digest, (X.indptr, X.indices, X.data)))
    X = np.asarray(X)  # of rows on a cluster, the digests of their blocks
    whole = sha256()
    few = max(1, _BLOCK_BYTES // max(1, X[:1].nbytes))
    for first in range(0, len(X), few):
        whole.update(np.ascontiguousarray(X[first : first + few]).data)
    return whole.hexdigest()[:16]


def digest(array: Any) -> str:
    """Return a short digest of an array's bytes."""
    return sha256(np.ascontiguousarray(array).data).hexdigest()[:16]
