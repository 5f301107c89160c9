"""Losses of a regressor, some of which also suit a classifier."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from .base import Loss


@dataclass(frozen=True)
class SquaredError(Loss):
    """(p - t)² / 2."""

    name = "squared_error"
    canonical = True
    mean_over_outputs = True


@dataclass(frozen=True)
class AbsoluteError(Loss):
    """|p - t|: its minimum is the median."""

    name = "absolute_error"
    kinks = (0.0,)


@dataclass(frozen=True)
class Huber(Loss):
    """With e = p - t: e² / 2 for |e| ≤ δ, else δ (|e| - δ/2).

    Huber, "Robust estimation of a location parameter", 1964.

    Parameters
    ----------
    delta : float, default=1.0
        δ, greater than 0.
    """

    delta: float = 1.0
    name = "huber"

    def __post_init__(self):
        if not (isinstance(self.delta, Real) and 0 < self.delta < math.inf):
            raise ValueError(f"{self!r}: delta must be a number greater than 0.")

    @property
    def kinks(self) -> tuple[float, ...]:
        """-δ and δ, where the loss changes from quadratic to linear."""
        return -float(self.delta), float(self.delta)

    def constants(self, outputs: int) -> tuple[float, ...]:
        """Return δ for each output."""
        return (float(self.delta),) * outputs


@dataclass(frozen=True)
class Quantile(Loss):
    """With e = t - p: τe for e ≥ 0, else (τ - 1) e: its minimum is the quantile τ.

    With several quantiles, each target has one output for each quantile, in their order; `predict`
    returns them in that order, with shape (n, quantiles) for a vector of targets. Koenker and
    Bassett, "Regression quantiles", 1978.

    Parameters
    ----------
    quantiles : float or tuple of float, default=0.5
        Each in (0, 1).
    """

    quantiles: float | tuple[float, ...] = 0.5
    name = "quantile"
    kinks = (0.0,)
    score_name = "D²"

    def __post_init__(self):
        if isinstance(self.quantiles, Iterable):
            object.__setattr__(self, "quantiles", tuple(self.quantiles))
        fits = [isinstance(tau, Real) and 0 < tau < 1 for tau in self.levels]
        if not (fits and all(fits)):
            raise ValueError(f"{self!r}: quantiles must be numbers between 0 and 1.")

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles as a tuple, even if there is only one."""
        return self.quantiles if isinstance(self.quantiles, tuple) else (self.quantiles,)

    def constants(self, outputs: int) -> tuple[float, ...]:
        """Return τ for each output."""
        return tuple(float(tau) for tau in self.levels) * (outputs // len(self.levels))


@dataclass(frozen=True)
class Poisson(Loss):
    """t log(t / p) - t + p: half the Poisson deviance, for counts and rates t ≥ 0."""

    name = "poisson"
    output_activation = "exp"
    canonical = True
    outputs = frozenset({"exp", "softplus", "logistic"})
    lowest = 0.0


@dataclass(frozen=True)
class Gamma(Loss):
    """t / p - log(t / p) - 1: half the Gamma deviance, for amounts t > 0.

    McCullagh and Nelder, "Generalized linear models", 1989, section 2.3.
    """

    name = "gamma"
    output_activation = "exp"
    outputs = frozenset({"exp", "softplus", "logistic"})
    lowest, strict = 0.0, True


@dataclass(frozen=True)
class Tweedie(Loss):
    """Half the Tweedie deviance, for amounts t ≥ 0 many of which are 0, such as insured damages.

    With the power ρ, t^(2-ρ) / ((1-ρ)(2-ρ)) - t p^(1-ρ) / (1-ρ) + p^(2-ρ) / (2-ρ): the variance of
    t is proportional to p^ρ. Between Poisson (ρ = 1) and Gamma (ρ = 2). Jørgensen, "Exponential
    dispersion models", 1987.

    Parameters
    ----------
    power : float, default=1.5
        ρ, between 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.losses import Tweedie
    >>> X = np.linspace(0, 1, 200)[:, np.newaxis]
    >>> rng = np.random.default_rng(0)
    >>> damages = rng.poisson(X[:, 0]) * rng.gamma(2, size=200)
    >>> regressor = MLPRegressor(Tweedie(power=1.3), (), solver="lbfgs", random_state=0)
    >>> least, most = regressor.fit(X, damages).predict([[0.0], [1.0]])
    >>> bool(most > 3 * least)
    True
    """

    power: float = 1.5
    name = "tweedie"
    output_activation = "exp"
    outputs: ClassVar = frozenset({"exp", "softplus", "logistic"})
    lowest = 0.0

    def __post_init__(self):
        if not (isinstance(self.power, Real) and 1 < self.power < 2):
            raise ValueError(f"{self!r}: power must be a number between 1 and 2.")

    def constants(self, outputs: int) -> tuple[float, ...]:
        """Return ρ for each output."""
        return (float(self.power),) * outputs
