"""The definition of a schedule, and scikit-learn's three."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from ..optimizers.kinds import check_number


@dataclass(frozen=True)
class Schedule:
    """The learning rate over time; this one is constant, η = η₀.

    Parameters
    ----------
    initial : float, default=0.0
        η₀, at least 0; 0 stands for the estimators' parameter `learning_rate_init`.

    Attributes
    ----------
    goes_on : bool
        Whether a warm start continues the schedule of the last fit. scikit-learn's begin again.
    """

    initial: float = 0.0
    goes_on: ClassVar[bool] = True

    def __post_init__(self):
        check_number(self, "initial", 0, math.inf, closed=True)

    @property
    def adapts(self) -> bool:
        """Whether the learning rate is reduced when training stalls."""
        return False

    def beginning_at(self, learning_rate: float) -> Self:
        """Return the schedule with this η₀, unless it has its own."""
        return self if self.initial else replace(self, initial=learning_rate)

    def planned(self, batches: int, epochs: int) -> Self:
        """Return the schedule for a fit of `epochs` epochs with `batches` batches each."""
        return self

    def advanced(self, loss: float) -> Self:
        """Return the schedule of the next epoch.

        Parameters
        ----------
        loss : float
            What the last epoch has reached, by which training also decides when to stop: the
            training loss, or the negative validation score.
        """
        return self

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
    initial : float, default=0.0
        η₀; 0 stands for `learning_rate_init`.
    power : float, default=0.5
        p, the exponent, at least 0.
    """

    power: float = 0.5
    goes_on: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "power", 0, math.inf, closed=True)

    def after_epoch(self, learning_rate: float, rows_seen: int) -> float:
        """Return the learning rate of the next epoch, which depends only on the rows seen."""
        return self.initial / (rows_seen + 1) ** self.power


@dataclass(frozen=True)
class Adaptive(Schedule):
    """η₀ while training improves; divided by `divisor` at each stall, down to `least`.

    Parameters
    ----------
    initial : float, default=0.0
        η₀; 0 stands for `learning_rate_init`.
    divisor : float, default=5.0
        Divisor of η at a stall, greater than 1.
    least : float, default=1e-6
        If η is not above this, a stall ends training; at least 0.
    """

    divisor: float = 5.0
    least: float = 1e-6
    goes_on: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "divisor", 1, math.inf, above=True)
        check_number(self, "least", 0, math.inf)

    @property
    def adapts(self) -> bool:
        """Whether the learning rate is reduced when training stalls."""
        return True

    def after_stall(self, learning_rate: float) -> float | None:
        """Return a smaller learning rate, or None if it is not above `least`."""
        return learning_rate / self.divisor if learning_rate > self.least else None
