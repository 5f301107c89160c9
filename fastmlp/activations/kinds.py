"""The kinds of activations, each with its parameters and properties."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar

import numpy as np


def _check(fits: bool, activation: "Activation", requirement: str) -> None:
    if not fits:
        raise ValueError(f"{activation!r}: {requirement}.")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


@dataclass(frozen=True)
class Activation:
    """Base class of all activations; see the subclasses.

    Attributes
    ----------
    name : str
        The string that selects it.
    constant : float
        The number that its formula needs besides z; if it is learned, its initial value.
    learnable : bool
        Whether each unit learns its own value of the constant.
    pieces : int
        Number of z values of each unit.
    whole_row : bool
        Whether an output value depends on all z of the row, not only on its own.
    custom : bool
        Whether it consists of user-defined functions.
    rectifies : bool
        Whether it is max(0, z), which a product can do, and whose slope its value tells.
    least, most : float
        Bounds of the values of f.
    kinks : tuple of float
        The z at which f or f' jumps, ascending: a difference quotient across such a point does not
        approximate the derivative.
    straight_through : bool
        Whether training uses a different slope than the true one.
    best_init : str
        The rule of `fastmlp.initializers` that the literature derives for it.
    slope_below : float
        Slope for z < 0 if f is a straight line there, which that rule uses; otherwise 0.
    glorot_factor : float
        scikit-learn's f in the bound √(f / (fan_in + fan_out)) of the initial weights.
    """

    # Without annotations: as fields they would come first in the signature of every subclass.
    name = ""
    learnable = False
    pieces = 1
    whole_row = custom = rectifies = False
    least, most = -math.inf, math.inf
    kinks: ClassVar[tuple[float, ...]] = ()
    straight_through = False
    best_init = "glorot_uniform"
    glorot_factor = 6.0

    @property
    def constant(self) -> float:
        """0, which a formula without a constant ignores."""
        return 0.0

    @property
    def slope_below(self) -> float:
        """0: f is not a straight line for z < 0."""
        return 0.0

    @property
    def settings(self) -> str:
        """Its parameters, as text for a title."""
        return repr(self).partition("(")[2].removesuffix(")")


@dataclass(frozen=True)
class Identity(Activation):
    """f(z) = z."""

    name = "identity"


@dataclass(frozen=True)
class Logistic(Activation):
    """f(z) = 1 / (1 + e^-z)."""

    name = "logistic"
    glorot_factor = 2.0
    least, most = 0.0, 1.0


@dataclass(frozen=True)
class Tanh(Activation):
    """f(z) = tanh z."""

    name = "tanh"
    least, most = -1.0, 1.0


@dataclass(frozen=True)
class HardSigmoid(Activation):
    """f(z) = z / 6 + 1/2, clipped to [0, 1]: the logistic function as three straight lines."""

    name = "hard_sigmoid"
    kinks = (-3.0, 3.0)
    least, most = 0.0, 1.0


@dataclass(frozen=True)
class HardTanh(Activation):
    """f(z) = z, clipped to [-1, 1]."""

    name = "hard_tanh"
    kinks = (-1.0, 1.0)
    least, most = -1.0, 1.0


@dataclass(frozen=True)
class ReLU(Activation):
    """f(z) = max(0, z).

    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """

    name = "relu"
    rectifies = True
    kinks = (0.0,)
    best_init = "he_normal"
    least = 0.0


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """f(z) = z for z > 0, else αz.

    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.

    Parameters
    ----------
    negative_slope : float, default=0.01
        α, at least 0.
    """

    negative_slope: float = 0.01
    name = "leaky_relu"
    kinks = (0.0,)
    best_init = "he_normal"

    def __post_init__(self):
        fits = _is_number(self.negative_slope) and self.negative_slope >= 0
        _check(fits, self, "negative_slope must be a number of at least 0")

    @property
    def constant(self) -> float:
        """α."""
        return float(self.negative_slope)

    @property
    def slope_below(self) -> float:
        """α."""
        return self.constant


@dataclass(frozen=True)
class PReLU(Activation):
    """f(z) = z for z > 0, else αz, where each unit learns its α.

    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015.

    Parameters
    ----------
    initial_slope : float, default=0.25
        Initial value of α.
    """

    initial_slope: float = 0.25
    name, learnable = "prelu", True
    kinks = (0.0,)
    best_init = "he_normal"

    def __post_init__(self):
        _check(_is_number(self.initial_slope), self, "initial_slope must be a finite number")

    @property
    def constant(self) -> float:
        """The initial value of α."""
        return float(self.initial_slope)

    @property
    def slope_below(self) -> float:
        """The initial value of α."""
        return self.constant


@dataclass(frozen=True)
class ELU(Activation):
    """f(z) = z for z > 0, else α (e^z - 1).

    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential
    linear units", 2016.

    Parameters
    ----------
    alpha : float, default=1.0
        α, at least 0.
    """

    alpha: float = 1.0
    name = "elu"
    kinks = (0.0,)
    best_init = "he_normal"

    def __post_init__(self):
        _check(
            _is_number(self.alpha) and self.alpha >= 0, self, "alpha must be a number of at least 0"
        )

    @property
    def constant(self) -> float:
        """α."""
        return float(self.alpha)


@dataclass(frozen=True)
class SELU(Activation):
    """f(z) = λz for z > 0, else λα (e^z - 1), with λ = 1.0507..., α = 1.6732....

    With these constants, activations keep mean 0 and variance 1 from layer to layer, if the weights
    are drawn by ``weight_init="lecun_normal"``. Klambauer, Unterthiner, Mayr and Hochreiter,
    "Self-normalizing neural networks", 2017.
    """

    name = "selu"
    kinks = (0.0,)
    best_init = "lecun_normal"


@dataclass(frozen=True)
class Softplus(Activation):
    """f(z) = log(1 + e^z).

    Dugas et al., "Incorporating second-order functional knowledge for better option pricing", 2001.
    """

    name = "softplus"
    best_init = "he_normal"
    least = 0.0


@dataclass(frozen=True)
class Swish(Activation):
    """f(z) = z / (1 + e^-βz); with β = 1 also called SiLU.

    Ramachandran, Zoph and Le, "Searching for activation functions", 2017.

    Parameters
    ----------
    beta : float, default=1.0
        β, or its initial value if it is learned.
    learnable : bool, default=False
        Whether each unit learns its own β.
    """

    beta: float = 1.0
    learnable: bool = False
    name = "swish"
    best_init = "he_normal"

    def __post_init__(self):
        _check(_is_number(self.beta), self, "beta must be a finite number")
        _check(isinstance(self.learnable, bool | np.bool_), self, "learnable must be True or False")
        object.__setattr__(self, "learnable", bool(self.learnable))

    @property
    def constant(self) -> float:
        """β, or its initial value if it is learned."""
        return float(self.beta)


@dataclass(frozen=True)
class GELU(Activation):
    """f(z) = z Φ(z), with Φ the distribution function of the standard normal; not approximated.

    Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", 2016.
    """

    name = "gelu"
    best_init = "he_normal"


@dataclass(frozen=True)
class Maxout(Activation):
    """f(z_1, ..., z_k) = max(z_1, ..., z_k): the largest of k linear pieces.

    A layer of n units computes k n values z: its ``coefs_`` have the shape (fan_in, k n), where
    column p n + j belongs to piece p of unit j. Goodfellow, Warde-Farley, Mirza, Courville and
    Bengio, "Maxout networks", 2013.

    Parameters
    ----------
    pieces : int, default=2
        k, at least 2.
    """

    pieces: int = 2
    name = "maxout"
    best_init = "he_normal"

    def __post_init__(self):
        _check(
            isinstance(self.pieces, Integral) and self.pieces >= 2,
            self,
            "pieces must be an integer of at least 2; one piece is Identity()",
        )
        # A NumPy integer could overflow when multiplied by a layer's width.
        object.__setattr__(self, "pieces", int(self.pieces))


@dataclass(frozen=True)
class Step(Activation):
    """f(z) = 1 for z ≥ 0, else 0: the perceptron's threshold.

    Its derivative is 0 wherever it exists, so nothing could be learned from it: training uses 1 for
    |z| ≤ 1, else 0 ("straight-through"). Bengio, Léonard and Courville, "Estimating or propagating
    gradients through stochastic neurons for conditional computation", 2013; saturated as in
    Hubara, Courbariaux, Soudry, El-Yaniv and Bengio, "Binarized neural networks", 2016.
    """

    name = "step"
    least, most = 0.0, 1.0
    kinks = (0.0,)
    straight_through = True

    @property
    def settings(self) -> str:
        """The kind of slope that training uses."""
        return "slope: straight-through"


@dataclass(frozen=True)
class Exp(Activation):
    """f(z) = e^z, for outputs that are positive rates."""

    name = "exp"
    least = 0.0


@dataclass(frozen=True)
class Softmax(Activation):
    """f(z)_k = e^z_k / Σ_j e^z_j, for outputs that are the probabilities of classes."""

    name = "softmax"
    whole_row = True
    least, most = 0.0, 1.0


#: Activations for hidden layers, which act on each unit separately, by name.
HIDDEN: dict[str, type[Activation]] = {
    kind.name: kind
    for kind in (
        Identity, Logistic, Tanh, HardSigmoid, HardTanh, ReLU, LeakyReLU, PReLU, ELU, SELU,
        Softplus, Swish, GELU, Maxout, Step,
    )
}  # fmt: skip
HIDDEN["silu"] = Swish

#: Activations for the output layer, by name.
OUTPUT: dict[str, type[Activation]] = {
    name: kind
    for name, kind in (HIDDEN | {"exp": Exp, "softmax": Softmax}).items()
    if kind not in (Maxout, PReLU, Step)
}
