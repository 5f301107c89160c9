"""Learning rate over time: at each step, after each epoch, and when training stalls."""

from dataclasses import dataclass

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
    farewell = "Stopping."  # what is said when training stops at a stall

    def rates(self, learning_rate: float, first_step: int, count: int) -> np.ndarray:
        """The learning rates of steps.

        Parameters
        ----------
        learning_rate : float
            As the end of the last epoch, or its stall, left it.
        first_step : int
            Steps done before the first of them.
        count : int
            Number of steps.

        Returns
        -------
        rates : ndarray of shape (count,), float64
        """
        return np.full(count, learning_rate, np.float64)

    def after_epoch(self, learning_rate: float, rows_seen: int) -> float:
        """Learning rate of the next epoch."""
        return learning_rate

    def after_stall(self, learning_rate: float) -> float | None:
        """A smaller learning rate to go on with, or None to stop."""
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
        p.
    """

    power: float

    def after_epoch(self, learning_rate: float, rows_seen: int) -> float:
        """Learning rate of the next epoch, which depends on the rows seen alone."""
        return self.initial / (rows_seen + 1) ** self.power


@dataclass(frozen=True)
class Adaptive(Schedule):
    """η₀ as long as training improves; at each stall it is divided by `divisor`, down to `least`.

    Parameters
    ----------
    initial : float
        η₀.
    divisor : float, default=5.0
        What η is divided by.
    least : float, default=1e-6
        η at which a stall ends training.
    """

    divisor: float = 5.0
    least: float = 1e-6
    farewell = "Learning rate too small. Stopping."

    def after_stall(self, learning_rate: float) -> float | None:
        """A smaller learning rate, or None at the least."""
        return learning_rate / self.divisor if learning_rate > self.least else None


def schedule(name: str, initial: float, power: float) -> Schedule:
    """The schedule called `name`: "constant", "invscaling" or "adaptive"."""
    if name == "invscaling":
        return InverseScaling(initial, power)
    if name == "adaptive":
        return Adaptive(initial)
    return Constant(initial)
