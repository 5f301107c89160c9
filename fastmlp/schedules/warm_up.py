"""A schedule that goes before another one."""

import math
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from ..optimizers.kinds import check_number
from .base import Constant, Schedule


@dataclass(frozen=True)
class WarmUp(Schedule):
    """η rises along a line from a fraction of η₀, with each step; then another schedule begins.

    In step t of W, η = (s + (1 - s) t / W) η₀. Goyal et al., "Accurate, large minibatch SGD:
    training ImageNet in 1 hour", 2017, section 2.2.

    Parameters
    ----------
    then : Schedule, default=Constant()
        The schedule that follows; it plans with the epochs that are left.
    epochs : float, default=5
        Epochs of the warm-up, at least 0.
    start : float, default=0.01
        s, the fraction of η₀ in the first step, in [0, 1].

    Examples
    --------
    >>> from fastmlp.schedules import Cosine, WarmUp
    >>> schedule = WarmUp(Cosine(), epochs=1, start=0.5, initial=0.1).planned(batches=2, epochs=3)
    >>> schedule.rates(0.1, first_step=0, count=4).round(3)
    array([0.05 , 0.075, 0.1  , 0.085])
    """

    then: Schedule = field(default_factory=Constant)
    epochs: float = 5
    start: float = 0.01
    initial: float = field(default=0.0, kw_only=True)
    #: W, steps of the warm-up, and epochs so far.
    steps: int = field(default=0, kw_only=True, repr=False, compare=False)
    done: int = field(default=0, kw_only=True, repr=False, compare=False)

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.then, Schedule):
            raise ValueError(f"{self!r}: then must be an object from fastmlp.schedules.")
        if self.initial:
            object.__setattr__(self, "then", self.then.beginning_at(self.initial))
        check_number(self, "epochs", 0, math.inf)
        check_number(self, "start", 0, 1, closed=True)

    @property
    def adapts(self) -> bool:
        """Whether the learning rate is reduced when training stalls."""
        return self.then.adapts

    def planned(self, batches: int, epochs: int) -> Self:
        """Return the schedule with its number of steps."""
        left = max(1, round(epochs - self.epochs))
        then = self.then.planned(batches, left)
        return replace(self, steps=round(batches * self.epochs), then=then)

    def rates(self, learning_rate: float, first_step: int, count: int) -> np.ndarray:
        """Return the learning rates of consecutive steps; see `Schedule`."""
        before = min(max(self.steps - first_step, 0), count)
        share = np.arange(first_step, first_step + before) / max(1, self.steps)
        rising = self.initial * (self.start + (1.0 - self.start) * share)
        after = self.then.rates(learning_rate, max(first_step - self.steps, 0), count - before)
        return np.concatenate([rising, after])

    def advanced(self, loss: float) -> Self:
        """Return the schedule of the next epoch; the one that follows counts after the warm-up."""
        then = self.then.advanced(loss) if self.done >= self.epochs else self.then
        return replace(self, done=self.done + 1, then=then)

    def after_epoch(self, learning_rate: float, rows_seen: int) -> float:
        """Return the learning rate of the next epoch."""
        return self.then.after_epoch(learning_rate, rows_seen)

    def after_stall(self, learning_rate: float) -> float | None:
        """Return a smaller learning rate to continue with, or None to stop."""
        return self.then.after_stall(learning_rate)
