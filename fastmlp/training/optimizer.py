"""An optimiser at work."""

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from numpy.typing import DTypeLike

from .. import optimizers
from ..network import Network
from ..schedules import Schedule


@dataclass
class OptimizerState:
    """An optimiser at work: what it carries from step to step, and its learning rate.

    Parameters
    ----------
    rule : Optimizer or str
        How parameters follow their gradient. Afterwards an object.
    schedule : Schedule
        What the learning rate does over time.
    learning_rate : float
        η as of this epoch.
    moments : ndarray of shape (rule.moments, network.size)
        Packed, each like the parameters.
    step : int, default=0
        Steps done.
    """

    rule: optimizers.Optimizer
    schedule: Schedule
    learning_rate: float
    moments: np.ndarray
    step: int = 0

    def __post_init__(self):
        self.rule = optimizers.resolve(self.rule)

    def rates(self, count: int) -> np.ndarray:
        """The learning rates of the next `count` steps."""
        return self.schedule.rates(self.learning_rate, self.step, count)

    def __setstate__(self, state):
        if "rule" not in state:  # as version 0.1.0 pickled it
            rule = optimizers.resolve(state["name"])
            fields = {name: state[name] for name in ("schedule", "learning_rate", "step")}
            own = {field: state[field] for field in rule.__dataclass_fields__}
            state = {"rule": replace(rule, **own), "moments": state["moments"][: rule.moments]}
            state |= fields
        self.__dict__.update(state)

    def packed_moments(self, network: Network, dtype: DTypeLike) -> list[np.ndarray]:
        """The moments as packed vectors, as a device takes them over.

        Raises
        ------
        ValueError
            If they, or the number of steps, cannot be those of this network's optimiser.
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
