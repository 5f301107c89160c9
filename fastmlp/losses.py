"""Losses for the estimators' parameter `loss`: small frozen objects, or their names.

The loss of a batch is the weighted mean over its rows of the sum over the outputs. Only squared
error takes the mean over the outputs, while its gradient is still that of the sum: this is
scikit-learn's definition. The formulas are in `fastmlp.formulas.losses`, and in NumPy in
`fastmlp.devices.reference`.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np

from .activations import Activation
from .activations.custom import check_function


@dataclass(frozen=True)
class Loss:
    """Base class of all losses; see the subclasses.

    Attributes
    ----------
    name : str
        The string that selects it.
    output_activation : str
        Default output activation.
    canonical : bool
        Whether, with that activation, ∂L/∂z of the last layer is the prediction minus the target.
    outputs : frozenset of str
        Names of the output activations that it accepts; empty if it accepts all.
    lowest : float
        Lower bound of the targets for which it is defined.
    strict : bool
        Whether targets must be greater than that bound, not equal to it.
    custom : bool
        Whether it consists of user-defined functions.
    mean_over_outputs : bool
        Whether a row's loss is the mean over its outputs, not the sum. The gradient is always that
        of the sum.
    cross_entropy : bool
        Whether it is the cross-entropy of classes or labels.
    levels : tuple of float
        Quantiles predicted for each target; empty if the target itself is predicted.
    kinks : tuple of float
        Errors p - t at which L or ∂L/∂p jumps, ascending.
    score_name : str
        Symbol of the score of a regressor with this loss.
    """

    name = ""
    output_activation = "identity"
    canonical = False
    outputs: ClassVar[frozenset[str]] = frozenset()
    lowest, strict = -math.inf, False
    custom = mean_over_outputs = cross_entropy = False
    score_name = "R²"

    @property
    def levels(self) -> tuple[float, ...]:
        """Empty: the target itself is predicted."""
        return ()

    @property
    def kinks(self) -> tuple[float, ...]:
        """Empty: L and ∂L/∂p have no jumps."""
        return ()

    @property
    def outputs_per_target(self) -> int:
        """Number of network outputs for each target: one for each quantile, otherwise one."""
        return max(1, len(self.levels))

    @property
    def for_labels(self) -> "Loss":
        """The corresponding loss for binary labels, if this one is for exclusive classes."""
        return self

    @property
    def parameter(self) -> "Loss":
        """The loss as a value for the estimators' parameter `loss`."""
        return self

    def constants(self, outputs: int) -> tuple[float, ...]:
        """Return the number that the formula needs besides p and t, for each output."""
        return (0.0,) * outputs

    def check_targets(self, targets: np.ndarray) -> None:
        """Raise a ValueError if the loss is not defined for a target."""
        if self.lowest == -math.inf:
            return
        wrong = targets <= self.lowest if self.strict else targets < self.lowest
        if wrong.any():
            bound = "greater than" if self.strict else "at least"
            raise ValueError(
                f"Some value(s) of y are out of the valid range of the loss {self.name!r}: they "
                f"must be {bound} {self.lowest:g}, got {np.min(targets):g}."
            )

    def fits(self, activation: Activation) -> bool:
        """Return whether the loss is defined for the values of this output activation."""
        return activation.custom or not self.outputs or activation.name in self.outputs

    def check_output(self, activation: Activation, outputs: int) -> None:
        """Raise a ValueError if this output activation cannot be used with the loss."""
        if activation.whole_row and outputs == 1:
            raise ValueError("Softmax needs several outputs: of a single one it is always 1.")
        if not self.fits(activation):
            raise ValueError(
                f"The loss {self.name!r} does not fit the output activation {activation.name!r}, "
                f"expected one of {sorted(self.outputs)}."
            )


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
class LogLoss(Loss):
    """-t log p, summed over the classes: the cross-entropy of mutually exclusive classes."""

    name = "log_loss"
    output_activation = "softmax"
    canonical = True
    cross_entropy = True
    outputs = frozenset({"softmax"})

    @property
    def for_labels(self) -> Loss:
        """The log loss for binary labels."""
        return BinaryLogLoss()


@dataclass(frozen=True)
class BinaryLogLoss(Loss):
    """-t log p - (1 - t) log(1 - p): the cross-entropy of a binary label."""

    name = "binary_log_loss"
    output_activation = "logistic"
    canonical = True
    cross_entropy = True
    outputs = frozenset({"logistic", "hard_sigmoid"})

    @property
    def parameter(self) -> Loss:
        """The log loss; the classifier chooses its binary form if the labels require it."""
        return LogLoss()


@dataclass(frozen=True)
class Custom(Loss):
    """A user-defined loss: two functions of a prediction and its target.

    They are compiled like those of `fastmlp.activations.Custom`.

    Parameters
    ----------
    function : function
        L(p, t).
    derivative : function
        ∂L/∂p, also as a function of p and t.

    Raises
    ------
    ValueError
        If one of them is not a Python function, or does not take two arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.losses import Custom
    >>> def log_cosh(p, t):
    ...     return np.log(np.cosh(p - t))
    >>> def slope(p, t):
    ...     return np.tanh(p - t)
    >>> X = np.linspace(-1, 1, 100)[:, np.newaxis]
    >>> robust = MLPRegressor(Custom(log_cosh, slope), (10,), solver="lbfgs", tol=1e-3)
    >>> robust = robust.set_params(random_state=0).fit(X, X[:, 0] ** 2)
    >>> robust.score(X, X[:, 0] ** 2) > 0.9
    True
    """

    function: Callable
    derivative: Callable
    name = "custom"
    custom = True
    #: Part of the error message for functions that cannot be compiled.
    takes = "Its functions take two numbers, a prediction and its target, and return one each"

    def __post_init__(self):
        for name in ("function", "derivative"):
            check_function(self, name, "p, t")


_KINDS = (
    SquaredError, AbsoluteError, Huber, Quantile, Poisson, Gamma, LogLoss, BinaryLogLoss,
)  # fmt: skip
LOSSES = {kind.name: kind for kind in _KINDS}

#: Names of the regressor's losses and of the classifier's.
REGRESSION = ("squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma")
CLASSIFICATION = ("log_loss", "squared_error", "absolute_error", "huber")


def resolve(loss: str | Loss, among: Iterable[str] = tuple(LOSSES)) -> Loss:
    """Return the loss with this name; a loss object is returned as it is.

    Raises
    ------
    ValueError
        If it is neither a name in `among` nor a loss object of one of their kinds.
    """
    if isinstance(loss, str) and loss in among:
        return LOSSES[loss]()
    if isinstance(loss, Custom) or (isinstance(loss, Loss) and loss.name in among):
        return loss
    raise ValueError(
        f"Unknown loss: {loss!r}. Expected one of {sorted(among)}, or an object from "
        "fastmlp.losses."
    )
