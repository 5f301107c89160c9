"""The optimisers; see the package's docstring."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np

#: Number of places for an optimiser's numbers in the devices' tables.
MOST_NUMBERS = 7


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
    by_step : bool
        Whether the numbers of its formula change from step to step.
    weight_decay : float
        λ ≥ 0: each step multiplies every parameter by 1 - ηλ, biases and parameters learned by
        activations included. The estimators' parameter `weight_decay`, for weights only, is added.
    parameters : dict
        For each field, the estimators' parameter that sets it if the optimiser is given by name.
    """

    name = ""
    moments = 2
    follows_schedule = True
    by_step = False
    weight_decay = 0.0
    parameters: ClassVar[dict[str, str]] = {}

    @property
    def decays(self) -> tuple[float, float]:
        """(β₁, β₂), for the correction of moments that start at 0.

        In step t = 1, 2, ... the learning rate is multiplied by √(1 - β₂^t) / (1 - β₁^t), which is
        1 if both are 0.
        """
        return 0.0, 0.0

    def numbers_at(self, steps: np.ndarray) -> tuple[Any, ...]:
        """Return the numbers that its formula takes besides the learning rate, in their order.

        Parameters
        ----------
        steps : ndarray of int, shape (n,)
            Consecutive steps, counted from 1.

        Returns
        -------
        numbers : tuple of float or of float64 arrays of shape (n,)
            Arrays only if `by_step`.
        """
        raise NotImplementedError

    def table(self, first_step: int, count: int) -> np.ndarray:
        """Return the numbers of consecutive steps, as devices read them.

        Parameters
        ----------
        first_step : int
            Number of steps done before the first of these.
        count : int
            Number of steps.

        Returns
        -------
        table : ndarray of shape (count, MOST_NUMBERS), or (1, MOST_NUMBERS) unless `by_step`
            In float64; unused places are 0.
        """
        steps = np.arange(first_step + 1, first_step + 1 + (count if self.by_step else 1))
        if not self.by_step:
            numbers = self.numbers_at(steps)
            return np.array([(*numbers, *[0.0] * (MOST_NUMBERS - len(numbers)))])
        table = np.zeros((count, MOST_NUMBERS))
        for column, number in enumerate(self.numbers_at(steps)):
            table[:, column] = number
        return table


def check_number(optimizer, field, least, most, closed=False, above=False):
    """Check that a field is a number in [least, most), or in [least, most] if closed.

    With `above`, it must not be `least` itself.

    Raises
    ------
    ValueError
        If it is not.
    """
    value = getattr(optimizer, field)
    if isinstance(value, Real):
        lower = value > least if above else value >= least
        if lower and (value < most or (closed and value == most)):
            return
    bound = f"{'(' if above else '['}{least}, {most}{']' if closed else ')'}"
    raise ValueError(f"{optimizer!r}: {field} must be a number in {bound}.")


def _with_shares(*decays):
    """Return each decay β, and 1 - β.

    The differences are computed in float64: in float32, 1 - 0.999 loses three digits, and every
    second moment would have this relative error.
    """
    return tuple(number for beta in decays for number in (float(beta), 1.0 - float(beta)))


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
        check_number(self, "momentum", 0, 1, closed=True)

    def numbers_at(self, steps: np.ndarray) -> tuple[Any, ...]:
        """Return μ, and 1 with Nesterov's look-ahead, else 0."""
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
        ε, added to the root of that average, greater than 0.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    name = "adam"
    follows_schedule = False
    parameters: ClassVar = {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"}

    def __post_init__(self):
        check_number(self, "beta_1", 0, 1)
        check_number(self, "beta_2", 0, 1)
        check_number(self, "epsilon", 0, math.inf, above=True)

    @property
    def decays(self) -> tuple[float, float]:
        """(β₁, β₂)."""
        return float(self.beta_1), float(self.beta_2)

    def numbers_at(self, steps: np.ndarray) -> tuple[Any, ...]:
        """Return β₁, 1 - β₁, β₂, 1 - β₂, ε."""
        return *_with_shares(self.beta_1, self.beta_2), float(self.epsilon)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decay of the parameters that is not part of the gradient, as in PyTorch.

    The decay applies to every parameter: weights, biases, and parameters that activations learn.
    The estimators' parameter `weight_decay`, which is for weights only, is added to it. Other than
    in `Adam`, whose correction of the moments is part of the learning rate as in scikit-learn, ε is
    added to the corrected root. Loshchilov and Hutter, "Decoupled weight decay regularization",
    2019, algorithm 2.

    Parameters
    ----------
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        As for `Adam`.
    weight_decay : float, default=0.01
        λ: each step multiplies every parameter by 1 - ηλ, at least 0.

    Examples
    --------
    >>> AdamW(weight_decay=0.1)
    AdamW(beta_1=0.9, beta_2=0.999, epsilon=1e-08, weight_decay=0.1)
    """

    weight_decay: float = 0.01
    name, by_step = "adamw", True
    follows_schedule = True

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "weight_decay", 0, math.inf)

    def numbers_at(self, steps: np.ndarray) -> tuple[Any, ...]:
        """Return β₁, 1 - β₁, β₂, 1 - β₂, ε √(1 - β₂^t).

        With r = √(1 - β₂^t), √v / r + ε is (√v + ε r) / r, and 1 / r is part of the learning rate.
        """
        epsilon = self.epsilon * np.sqrt(1.0 - self.beta_2**steps)
        return *_with_shares(self.beta_1, self.beta_2), epsilon


@dataclass(frozen=True)
class NAdam(Adam):
    """Adam with Nesterov's momentum, which grows over the steps, as in PyTorch.

    In step t the momentum is μ_t = β₁ (1 - 0.96^(tψ) / 2). Dozat, "Incorporating Nesterov momentum
    into Adam", 2016.

    Parameters
    ----------
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        As for `Adam`.
    momentum_decay : float, default=0.004
        ψ, how fast μ_t grows from β₁ / 2 to β₁, at least 0.
    """

    momentum_decay: float = 0.004
    name, by_step = "nadam", True
    follows_schedule = True

    def __post_init__(self):
        super().__post_init__()
        check_number(self, "momentum_decay", 0, math.inf)

    @property
    def decays(self) -> tuple[float, float]:
        """(0, β₂): the correction of the first moment is part of the numbers."""
        return 0.0, float(self.beta_2)

    def numbers_at(self, steps: np.ndarray) -> tuple[Any, ...]:
        """Return β₁, 1 - β₁, β₂, 1 - β₂, ε √(1 - β₂^t), and the shares of gradient and momentum.

        The shares are (1 - μ_t) / (1 - Π_t) and μ_(t+1) / (1 - Π_(t+1)), with Π_t = μ_1 ... μ_t.
        """
        epsilon = self.epsilon * np.sqrt(1.0 - self.beta_2**steps)
        # Π_t ≤ β₁^t: when this is below 2^-60, 1 - Π_t is 1, and needs no more factors.
        enough = 1 + (int(-60 * math.log(2) / math.log(self.beta_1)) if self.beta_1 > 0 else 0)
        products = np.cumprod(self._momentum(np.arange(1, min(steps[-1], enough) + 1)))
        product = products[np.minimum(steps, len(products)) - 1]
        now, following = self._momentum(steps), self._momentum(steps + 1)
        shares = (1.0 - now) / (1.0 - product), following / (1.0 - product * following)
        return *_with_shares(self.beta_1, self.beta_2), epsilon, *shares

    def _momentum(self, steps):
        """Return μ_t."""
        return self.beta_1 * (1.0 - 0.5 * 0.96 ** (steps * float(self.momentum_decay)))


@dataclass(frozen=True)
class RAdam(Adam):
    """Adam that is not adaptive until it knows the second moments well enough, as in PyTorch.

    In step t the average of squared gradients is worth that of ρ_t = ρ_∞ - 2t β₂^t / (1 - β₂^t)
    steps, with ρ_∞ = 2 / (1 - β₂) - 1. If ρ_t ≤ 5, a step is momentum alone; otherwise it is Adam's
    times r_t = √((ρ_t - 4)(ρ_t - 2) ρ_∞ / ((ρ_∞ - 4)(ρ_∞ - 2) ρ_t)). Liu et al., "On the variance
    of the adaptive learning rate and beyond", 2020.

    Parameters
    ----------
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        As for `Adam`.
    """

    name, by_step = "radam", True
    follows_schedule = True

    @property
    def decays(self) -> tuple[float, float]:
        """(β₁, 0): the correction of the second moment is part of the numbers."""
        return float(self.beta_1), 0.0

    def numbers_at(self, steps: np.ndarray) -> tuple[Any, ...]:
        """Return β₁, 1 - β₁, β₂, 1 - β₂, ε, and r_t √(1 - β₂^t), or 0 if ρ_t ≤ 5."""
        power = self.beta_2**steps
        most = 2.0 / (1.0 - self.beta_2) - 1.0
        known = most - 2.0 * steps * power / (1.0 - power)
        adaptive = known > 5.0
        rho, factor = known[adaptive], np.zeros(len(steps))
        squares = (rho - 4.0) * (rho - 2.0) * most / ((most - 4.0) * (most - 2.0) * rho)
        factor[adaptive] = np.sqrt(squares * (1.0 - power[adaptive]))
        return *_with_shares(self.beta_1, self.beta_2), float(self.epsilon), factor


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
        ε, added to the root of that average, greater than 0.
    """

    rho: float = 0.9
    epsilon: float = 1e-8
    name, moments = "rmsprop", 1

    def __post_init__(self):
        check_number(self, "rho", 0, 1)
        check_number(self, "epsilon", 0, math.inf, above=True)

    def numbers_at(self, steps: np.ndarray) -> tuple[Any, ...]:
        """Return ρ, 1 - ρ, ε."""
        return *_with_shares(self.rho), float(self.epsilon)


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Each parameter's gradient is divided by the root of the sum of all its squares so far.

    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011.

    Parameters
    ----------
    epsilon : float, default=1e-10
        ε, added to the root of that sum, greater than 0.
    """

    epsilon: float = 1e-10
    name, moments = "adagrad", 1

    def __post_init__(self):
        check_number(self, "epsilon", 0, math.inf, above=True)

    def numbers_at(self, steps: np.ndarray) -> tuple[Any, ...]:
        """Return ε."""
        return (float(self.epsilon),)


@dataclass(frozen=True)
class Lion(Optimizer):
    """Every parameter moves by the learning rate, in the direction that its momentum's sign gives.

    It needs a learning rate 3 to 10 times smaller than Adam's, and a decay as many times larger.
    Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.

    Parameters
    ----------
    beta_1 : float, default=0.9
        β₁, the share of the momentum in the direction of a step, in [0, 1).
    beta_2 : float, default=0.99
        β₂, the decay of the momentum, an average of gradients, in [0, 1).
    weight_decay : float, default=0.0
        λ: each step multiplies every parameter by 1 - ηλ, at least 0. As for `AdamW`.
    """

    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: float = 0.0
    name, moments = "lion", 1

    def __post_init__(self):
        check_number(self, "beta_1", 0, 1)
        check_number(self, "beta_2", 0, 1)
        check_number(self, "weight_decay", 0, math.inf)

    def numbers_at(self, steps: np.ndarray) -> tuple[Any, ...]:
        """Return β₁, 1 - β₁, β₂, 1 - β₂."""
        return _with_shares(self.beta_1, self.beta_2)
