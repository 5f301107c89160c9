"""Learning rate over time: at each step, after each epoch, and when training stalls."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Schedule:
    """The learning rate over time; this one is constant, η = η₀.

    Parameters
    ----------
    initial : float
        η₀.
    """

    initial: float
    adapts: ClassVar[bool] = False  # whether the learning rate is reduced when training stalls

    def rates(self, learning_rate: float, first_step: int, count: int) -> np.ndarray:
        """Return the learning rates of consecutive steps.

        Parameters
        ----------
        learning_rate : float
            The learning rate after the last epoch, reduced if training stalled.
        first_step : int
            Number of steps done before the first of these.
        count : int
            Number of steps.

        Returns
        -------
        rates : ndarray of shape (count,), float64
        """
        return np.full(count, learning_rate, np.float64)

    def after_epoch(self, learning_rate: float, rows_seen: int) -> float:
        """Return the learning rate of the next epoch."""
        return learning_rate

    def after_stall(self, learning_rate: float) -> float | None:
        """Return a smaller learning rate to continue with, or None to stop."""
        return None


@dataclass(frozen=True)
class Constant(Schedule):
    """η = η₀."""


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """η = η₀ / (t + 1)^p, with t the number of rows seen before this epoch.

    Parameters
    ----------
    initial : float
        η₀.
    power : float
        p, the exponent.
    """

    power: float

    def after_epoch(self, learning_rate: float, rows_seen: int) -> float:
        """Return the learning rate of the next epoch, which depends only on the rows seen."""
        return self.initial / (rows_seen + 1) ** self.power


@dataclass(frozen=True)
class Adaptive(Schedule):
    """η₀ while training improves; divided by `divisor` at each stall, down to `least`.

    Parameters
    ----------
    initial : float
        η₀.
    divisor : float, default=5.0
        Divisor of η at a stall.
    least : float, default=1e-6
        If η is not above this, a stall ends training.
    """

    divisor: float = 5.0
    least: float = 1e-6
    adapts: ClassVar[bool] = True

    def after_stall(self, learning_rate: float) -> float | None:
        """Return a smaller learning rate, or None if it is not above `least`."""
        return learning_rate / self.divisor if learning_rate > self.least else None


def schedule(name: str, initial: float, power: float) -> Schedule:
    """Return the schedule called `name`: "constant", "invscaling" or "adaptive"."""
    if name == "invscaling":
        return InverseScaling(initial, power)
    if name == "adaptive":
        return Adaptive(initial)
    return Constant(initial)
