"""The state of an optimiser during training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from numpy.typing import DTypeLike

from .. import optimizers
from ..network import Network
from ..schedules import Schedule


@dataclass
class OptimizerState:
    """State of an optimiser during training: its learning rate, moments and step count.

    Parameters
    ----------
    rule : Optimizer or str
        How parameters are updated from their gradient. Stored as an object.
    schedule : Schedule
        How the learning rate changes over time.
    learning_rate : float
        η in the current epoch.
    moments : ndarray of shape (rule.moments, network.size)
        Packed vectors, each in the layout of the parameters.
    step : int, default=0
        Number of steps done.
    earlier : int, default=0
        Steps that earlier fits have done of the same schedule, before a warm start.
    last_rate : float, default=0.0
        η in the last step for which `rates` was called.
    """

    rule: optimizers.Optimizer
    schedule: Schedule
    learning_rate: float
    moments: np.ndarray
    step: int = 0
    earlier: int = 0
    last_rate: float = 0.0

    def __post_init__(self):
        self.rule = optimizers.resolve(self.rule)

    def copied(self) -> OptimizerState:
        """Return a copy that later steps do not change; both have the same moments."""
        new = object.__new__(OptimizerState)
        vars(new).update(vars(self))
        return new

    def rates(self, count: int) -> np.ndarray:
        """Return the learning rates of the next `count` steps, as compiled code reads them.

        Raises
        ------
        ValueError
            If the schedule gives another number of rates: compiled code would read beyond them.
        """
        rates = np.asarray(self.schedule.rates(self.learning_rate, self.earlier + self.step, count))
        if np.shape(rates) != (count,):
            raise ValueError(
                f"{self.schedule!r} gives learning rates of shape {np.shape(rates)}, expected "
                f"{(count,)}: one for each step."
            )
        if rates.dtype != np.float64 or not rates.flags.carray:
            rates = np.require(rates, np.float64, ["C", "A", "W"])
        if count:
            self.last_rate = float(rates[-1])
        return rates

    def __setstate__(self, state):
        if "rule" not in state:  # pickled by version 0.1.0
            rule = optimizers.resolve(state["name"])
            fields = {name: state[name] for name in ("schedule", "learning_rate", "step")}
            own = {field: state[field] for field in rule.__dataclass_fields__}
            state = {"rule": replace(rule, **own), "moments": state["moments"][: rule.moments]}
            state |= fields
        self.__dict__.update(state)

    def packed_moments(self, network: Network, dtype: DTypeLike) -> list[np.ndarray]:
        """Return the moments as packed vectors for a device.

        Raises
        ------
        ValueError
            If the moments or the number of steps are not valid for this network's optimiser.
        """
        count = self.rule.moments
        if np.ndim(self.moments) != 2 or len(self.moments) != count:
            raise ValueError(
                f"The optimiser's moments have shape {np.shape(self.moments)}, expected "
                f"{(count, network.size)}."
            )
        if not (isinstance(self.step, Integral) and 0 <= self.step < 2**62):
            raise ValueError(
                f"The optimiser's step must be a number of steps done, got {self.step!r}."
            )
        return [network.checked(moment, dtype, "moments") for moment in self.moments]
