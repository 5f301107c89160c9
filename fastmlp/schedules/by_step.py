"""Schedules by steps: the learning rate changes with each batch, over a planned number of steps."""

import math
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from ..optimizers.kinds import check_number
from .base import Schedule


@dataclass(frozen=True)
class ByStep(Schedule):
    """Base class: η is η₀ times a factor, a function of the step t = 0, 1, ... and of their number.

    Parameters
    ----------
    epochs : int, default=None
        Epochs until the end of the schedule; None stands for `max_iter`. Later steps keep the last
        rate. Fits of few epochs each, by warm starts or `partial_fit`, share one schedule: for
        these it is the number of epochs of all.
    """

    epochs: int | None = field(default=None, kw_only=True)
    initial: float = field(default=0.0, kw_only=True)
    #: T, the number of steps that are planned.
    total: int = field(default=1, kw_only=True, repr=False, compare=False)

    def __post_init__(self):
        super().__post_init__()
        if self.epochs is not None:
            check_number(self, "epochs", 1, math.inf)

    def planned(self, batches: int, epochs: int) -> Self:
        """Return the schedule with its number of steps."""
        return replace(self, total=max(1, round(batches * (self.epochs or epochs))))

    def rates(self, learning_rate: float, first_step: int, count: int) -> np.ndarray:
        """Return the learning rates of consecutive steps; see `Schedule`."""
        return self.initial * self.factors(np.arange(first_step, first_step + count))

    def factors(self, steps: np.ndarray) -> np.ndarray:
        """Return the factor of each step."""
        raise NotImplementedError


@dataclass(frozen=True)
class Cosine(ByStep):
    """η₀ falls along half a cosine: its factor is e + (1 - e) (1 + cos(π t / T)) / 2.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, equation 5,
    without restarts.

    Parameters
    ----------
    end : float, default=0.0
        e, the fraction of η₀ at the end, in [0, 1].
    epochs : int, default=None
        Epochs until then, `max_iter` by default; see `ByStep`.

    Examples
    --------
    >>> from fastmlp.schedules import Cosine
    >>> Cosine(initial=0.1).planned(batches=2, epochs=2).rates(0.1, first_step=0, count=3).round(3)
    array([0.1  , 0.085, 0.05 ])
    """

    end: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "end", 0, 1, closed=True)

    def factors(self, steps: np.ndarray) -> np.ndarray:
        """Return the factor of each step."""
        return _cosine(1.0, self.end, steps / self.total)


@dataclass(frozen=True)
class OneCycle(ByStep):
    """The factor rises along a cosine from 1 / d to 1, then falls to 1 / (d e).

    So η₀ is the largest η. The paper also lowers the momentum while η rises; here it stays as it
    is, as with PyTorch's ``cycle_momentum=False``. Smith and Topin, "Super-convergence: very fast
    training of neural networks using large learning rates", 2018, with cosines instead of lines as
    in PyTorch.

    Parameters
    ----------
    rise : float, default=0.3
        Fraction of the steps in which it rises, in [0, 1).
    start_divisor : float, default=25.0
        d, by which η₀ is divided at the start; at least 1.
    end_divisor : float, default=1e4
        e, by which that rate is divided at the end; at least 1.
    epochs : int, default=None
        Epochs of the cycle, `max_iter` by default; see `ByStep`.
    """

    rise: float = 0.3
    start_divisor: float = 25.0
    end_divisor: float = 1e4

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "rise", 0, 1)
        check_number(self, "start_divisor", 1, math.inf)
        check_number(self, "end_divisor", 1, math.inf)

    def factors(self, steps: np.ndarray) -> np.ndarray:
        """Return the factor of each step: PyTorch's phases end at steps r T - 1 and T - 1."""
        start = 1.0 / self.start_divisor
        top, last = self.rise * self.total - 1.0, max(1.0, self.total - 1.0)
        falling = _cosine(1.0, start / self.end_divisor, (steps - top) / (last - top))
        if top <= 0.0:  # there is no step before it
            return falling
        return np.where(steps <= top, _cosine(start, 1.0, steps / top), falling)


@dataclass(frozen=True)
class CosLog(ByStep):
    """Cycles that grow longer: the factor is (1 - cos(2π log₂(1 + (2^k - 1) t / T))) / 2.

    Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data", 2024. "coslog4" has k = 4.

    Parameters
    ----------
    cycles : int, default=4
        k, at least 1.
    epochs : int, default=None
        Epochs of all cycles, `max_iter` by default; see `ByStep`.
    """

    cycles: int = 4

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "cycles", 1, math.inf)

    def factors(self, steps: np.ndarray) -> np.ndarray:
        """Return the factor of each step."""
        done = np.minimum(steps / self.total, 1.0)
        return 0.5 - 0.5 * np.cos(2.0 * math.pi * np.log2(1.0 + (2.0**self.cycles - 1.0) * done))


def _cosine(start, end, done):
    """Return the way from start to end along half a cosine, where a share is `done`."""
    return end + (start - end) * (1.0 + np.cos(math.pi * np.clip(done, 0.0, 1.0))) / 2.0
