"""A fit between two epochs, complete: what a later process needs to go on with the same bits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from ..devices.device import Device
from ..training import EpochState, OptimizerState, Rows

if TYPE_CHECKING:
    from .base import BaseMLP

#: Parameters that change no bit of the result. The random generator's state is in the snapshot.
_FREE = {"random_state", "n_jobs", "verbose", "device", "client"}


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
    """

    of: Mapping[str, str]
    first_draws: dict[str, Any]
    draws: dict[str, Any]
    parameters: np.ndarray
    optimizer: OptimizerState
    state: EpochState
    dropout_seed: int

    def check(self, of: Mapping[str, str]) -> None:
        """Check that it is of this same fit.

        Raises
        ------
        ValueError
            If a parameter or the data differ: the result would be that of neither fit.
        """
        names = sorted(name for name in {*self.of, *of} if self.of.get(name) != of.get(name))
        if names:
            changes = "; ".join(
                f"{name}: {self.of.get(name)}, now {of.get(name)}" for name in names
            )
            raise ValueError(
                f"The checkpoint is of another fit. {changes}. Fit with what it was made with, or "
                "delete it to begin from the start."
            )


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
    """

    estimator: BaseMLP
    device: Device
    state: EpochState
    rows: Rows
    fresh: bool
    random_state: np.random.RandomState
    first_draws: dict[str, Any]

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
        )

    @cached_property
    def _description(self):
        return description(self.estimator, self.device.name, self.rows, self.fresh)


def with_moments(device: Device) -> OptimizerState:
    """Return a copy of the optimiser's state with its moments, which the device has."""
    optimizer = copy(device.optimizer)
    optimizer.moments = device.moments()
    return optimizer


def description(estimator: BaseMLP, device: str, rows: Rows, fresh: bool) -> dict[str, str]:
    """Return what determines the bits of a fit, as text.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Its parameters are compared by their text, functions by name.
    device : str
        The name of the device that trains.
    rows : Rows
        The training rows. Of X only shape and dtype count: reading it may take longer than an
        epoch.
    fresh : bool
        Whether the fit begins with new weights.
    """
    parameters = {
        f"parameter {name}": re.sub(r" at 0x\w+", "", repr(value))
        for name, value in estimator.get_params(deep=False).items()
        if name not in _FREE
    }
    return parameters | {
        "estimator": type(estimator).__name__,
        "device": device,
        "X": f"{rows.X.dtype} {rows.X.shape}",
        "targets": digest(rows.targets),
        "weights of the rows": "none" if rows.weights is None else digest(rows.weights),
        "begins with": "new weights" if fresh else "those of an earlier fit",
    }


def digest(array: Any) -> str:
    """Return a short digest of an array's bytes."""
    return blake2b(np.ascontiguousarray(array).data, digest_size=8).hexdigest()
