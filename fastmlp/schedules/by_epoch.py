"""Schedules by epochs: the learning rate is the same in all steps of an epoch."""

import math
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from ..optimizers.kinds import check_number
from .base import Schedule


@dataclass(frozen=True)
class ByEpoch(Schedule):
    """Base class: η is η₀ times a power of `factor`, whose exponent counts reductions.

    Parameters
    ----------
    factor : float
        Of each reduction, in [0, 1].
    """

    initial: float = field(default=0.0, kw_only=True)
    #: Epochs so far.
    done: int = field(default=0, kw_only=True, repr=False, compare=False)
    factor: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "factor", 0, 1, closed=True)

    @property
    def reductions(self) -> int:
        """How often η has been reduced so far."""
        raise NotImplementedError

    def rates(self, learning_rate: float, first_step: int, count: int) -> np.ndarray:
        """Return the learning rates of consecutive steps of an epoch; see `Schedule`."""
        return np.full(count, self.initial * float(self.factor) ** self.reductions)

    def advanced(self, loss: float) -> Self:
        """Return the schedule of the next epoch."""
        return replace(self, done=self.done + 1)


@dataclass(frozen=True)
class StepDecay(ByEpoch):
    """η₀ is multiplied by a factor every few epochs.

    Parameters
    ----------
    factor : float, default=0.1
        In [0, 1].
    every : int, default=30
        Epochs between two reductions, at least 1.
    """

    every: int = 30

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "every", 1, math.inf)

    @property
    def reductions(self) -> int:
        """How often η has been reduced so far."""
        return int(self.done // self.every)


@dataclass(frozen=True)
class Exponential(ByEpoch):
    """η₀ is multiplied by a factor after each epoch.

    Parameters
    ----------
    factor : float, default=0.95
        In [0, 1].
    """

    factor: float = 0.95

    @property
    def reductions(self) -> int:
        """How often η has been reduced so far."""
        return self.done


@dataclass(frozen=True)
class Plateau(ByEpoch):
    """η is multiplied by a factor when the loss has not improved for some epochs.

    The loss is the training loss or, with early stopping, the negative validation score. Training
    ends after `n_iter_no_change` such epochs as always: `patience` should be smaller.

    Parameters
    ----------
    factor : float, default=0.1
        In [0, 1].
    patience : int, default=4
        Epochs in a row without improvement that change nothing; the next one reduces η.
    threshold : float, default=1e-4
        Smallest decrease below the best loss that counts as an improvement, at least 0.
    least : float, default=0.0
        Fraction of η₀ below which η does not fall, in [0, 1].
    cooldown : int, default=0
        Epochs after a reduction that do not count as epochs without improvement.

    Examples
    --------
    >>> from fastmlp.schedules import Plateau
    >>> schedule = Plateau(patience=1, initial=0.5)
    >>> for loss in (1.0, 1.1, 1.2):  # the second epoch without improvement is one too many
    ...     schedule = schedule.advanced(loss)
    >>> schedule.rates(0.5, first_step=30, count=2)
    array([0.05, 0.05])
    """

    patience: int = 4
    threshold: float = 1e-4
    least: float = 0.0
    cooldown: int = 0
    #: The best loss so far, epochs in a row without improvement, reductions, and cooldown left.
    best: float = field(default=math.inf, kw_only=True, repr=False, compare=False)
    stalled: int = field(default=0, kw_only=True, repr=False, compare=False)
    reduced: int = field(default=0, kw_only=True, repr=False, compare=False)
    cooling: int = field(default=0, kw_only=True, repr=False, compare=False)

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "patience", 0, math.inf)
        check_number(self, "threshold", 0, math.inf)
        check_number(self, "least", 0, 1, closed=True)
        check_number(self, "cooldown", 0, math.inf)

    @property
    def reductions(self) -> int:
        """How often η has been reduced so far."""
        return self.reduced

    def rates(self, learning_rate: float, first_step: int, count: int) -> np.ndarray:
        """Return the learning rates of consecutive steps of an epoch; see `Schedule`."""
        rates = super().rates(learning_rate, first_step, count)
        return np.maximum(rates, self.initial * self.least)

    def advanced(self, loss: float) -> Self:
        """Return the schedule of the next epoch."""
        improved = loss < self.best - self.threshold
        stalled = 0 if improved or self.cooling > 0 else self.stalled + 1
        following = replace(
            self,
            best=loss if improved else self.best,
            stalled=stalled,
            cooling=max(0, self.cooling - 1),
        )
        if stalled <= self.patience:
            return following
        return replace(following, stalled=0, reduced=self.reduced + 1, cooling=self.cooldown)
