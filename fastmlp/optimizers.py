"""Optimisers as small frozen objects: how a parameter is updated from its gradient.

An optimiser declares its hyperparameters, how many moments it keeps for each parameter, and the
numbers that its formula takes. The formula itself is in `fastmlp.formulas.optimizers`, and in NumPy
in `fastmlp.devices.reference`.

The estimators' parameter `solver` takes a name or an object::

    MLPClassifier(solver="sgd", momentum=0.5)
    GridSearchCV(MLPClassifier(), {"solver": ["adam", SGD(momentum=0.5), SGD(nesterov=False)]})
"""

import math
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar


@dataclass(frozen=True)
class Optimizer:
    """Base class of all optimisers; see the subclasses.

    Attributes
    ----------
    name : str
        The string that selects it, which is also the name of its formula.
    moments : int
        How many numbers it keeps for each parameter from step to step: 1 or 2.
    follows_schedule : bool
        Whether the estimators' parameter `learning_rate` applies to it, as in scikit-learn.
    parameters : dict
        For each field, the estimators' parameter that sets it if the optimiser is given by name.
    """

    name = ""
    moments = 2
    follows_schedule = True
    parameters: ClassVar[dict[str, str]] = {}

    @property
    def decays(self) -> tuple[float, float]:
        """(β₁, β₂), for the correction of moments that start at 0.

        In step t = 1, 2, ... the learning rate is multiplied by √(1 - β₂^t) / (1 - β₁^t), which is
        1 if both are 0.
        """
        return 0.0, 0.0

    @property
    def numbers(self) -> tuple[float, ...]:
        """Numbers that its formula takes besides the learning rate, in the formula's order."""
        raise NotImplementedError


def _check(optimizer, field, least, most, closed=False):
    """Check that a field is a number in [least, most), or in [least, most] if closed.

    Raises
    ------
    ValueError
        If it is not.
    """
    value = getattr(optimizer, field)
    if isinstance(value, Real) and (least <= value < most or (closed and value == most)):
        return
    bound = f"[{least}, {most}{']' if closed else ')'}"
    raise ValueError(f"{optimizer!r}: {field} must be a number in {bound}.")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep
    learning", 2013.

    Parameters
    ----------
    momentum : float, default=0.9
        μ, the fraction of the previous velocity that is kept, in [0, 1].
    nesterov : bool, default=True
        Whether the step looks ahead along the new velocity (Nesterov's momentum).
    """

    momentum: float = 0.9
    nesterov: bool = True
    name, moments = "sgd", 1
    parameters: ClassVar = {"momentum": "momentum", "nesterov": "nesterovs_momentum"}

    def __post_init__(self):
        _check(self, "momentum", 0, 1, closed=True)

    @property
    def numbers(self) -> tuple[float, ...]:
        """μ, and 1 with Nesterov's look-ahead, else 0."""
        return float(self.momentum), float(self.nesterov)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adaptive moments: each parameter's step is scaled by the size of its gradients.

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015.

    Parameters
    ----------
    beta_1 : float, default=0.9
        β₁, the decay of the average of gradients, in [0, 1).
    beta_2 : float, default=0.999
        β₂, the decay of the average of squared gradients, in [0, 1).
    epsilon : float, default=1e-8
        ε, added to the root of that average, at least 0.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    name = "adam"
    follows_schedule = False
    parameters: ClassVar = {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"}

    def __post_init__(self):
        _check(self, "beta_1", 0, 1)
        _check(self, "beta_2", 0, 1)
        _check(self, "epsilon", 0, math.inf)

    @property
    def decays(self) -> tuple[float, float]:
        """(β₁, β₂)."""
        return float(self.beta_1), float(self.beta_2)

    @property
    def numbers(self) -> tuple[float, ...]:
        """β₁, 1 - β₁, β₂, 1 - β₂, ε.

        The differences are computed in float64: in float32, 1 - 0.999 loses three digits, and every
        second moment would have this relative error.
        """
        beta_1, beta_2 = self.decays
        return beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, float(self.epsilon)


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Each parameter's gradient is divided by the root of a running average of its squares.

    Tieleman and Hinton, "Lecture 6.5: rmsprop", Coursera: Neural networks for machine learning,
    2012.

    Parameters
    ----------
    rho : float, default=0.9
        ρ, the decay of the average of squared gradients, in [0, 1).
    epsilon : float, default=1e-8
        ε, added to the root of that average, at least 0.
    """

    rho: float = 0.9
    epsilon: float = 1e-8
    name, moments = "rmsprop", 1

    def __post_init__(self):
        _check(self, "rho", 0, 1)
        _check(self, "epsilon", 0, math.inf)

    @property
    def numbers(self) -> tuple[float, ...]:
        """ρ, 1 - ρ, ε."""
        return float(self.rho), 1.0 - float(self.rho), float(self.epsilon)


#: Optimiser classes by name.
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in (SGD, Adam, RMSprop)}
#: Number of places for an optimiser's numbers in the devices' tables.
MOST_NUMBERS = 5


def resolve(optimizer: str | Optimizer, **parameters: object) -> Optimizer:
    """Return the optimiser with this name; an optimiser object is returned as it is.

    Parameters
    ----------
    optimizer : str or Optimizer
        One of `OPTIMIZERS`, or an object of one of their classes.
    **parameters : dict
        Parameters of an estimator, which set the fields if `optimizer` is a name.

    Raises
    ------
    ValueError
        If there is no such optimiser.

    Examples
    --------
    >>> resolve("sgd", momentum=0.5)
    SGD(momentum=0.5, nesterov=True)
    """
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        kind = OPTIMIZERS[optimizer]
        given = {
            field: parameters[name] for field, name in kind.parameters.items() if name in parameters
        }
        return kind(**given)
    # Not of a subclass, whose number of moments may differ from what the loop of its name writes.
    if isinstance(optimizer, Optimizer) and type(optimizer) in OPTIMIZERS.values():
        return optimizer
    raise ValueError(
        f"Unknown optimizer: {optimizer!r}. Expected one of {sorted(OPTIMIZERS)}, or an object "
        "from fastmlp.optimizers."
    )
