"""Activations, as the estimators' parameters name them: a string, or a small frozen object.

A string stands for the object with the literature's defaults: ``"elu"`` for ``ELU(alpha=1.0)``.
Objects are immutable and compare by value, so that they can be cloned, pickled and searched over::

    MLPClassifier((64, 64), activation=[LeakyReLU(negative_slope=0.1), "tanh"])
    GridSearchCV(MLPClassifier(), {"activation": ["relu", Swish(learnable=True), Maxout(pieces=3)]})

What they compute is in `fastmlp.formulas.activations`, and in NumPy in
`fastmlp.devices.reference`.
"""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from types import FunctionType
from typing import ClassVar

import numpy as np


def _check(fits: bool, activation: "Activation", requirement: str) -> None:
    if not fits:
        raise ValueError(f"{activation!r}: {requirement}.")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


@dataclass(frozen=True)
class Activation:
    """What all activations have; see the subclasses.

    Attributes
    ----------
    name : str
        The string that stands for it.
    constant : float
        The number that its formula needs besides z; of a learnable one, each unit's first value.
    learnable : bool
        Whether each unit learns a number of its own in the constant's place.
    pieces : int
        Number of z values of each unit.
    whole_row : bool
        Whether a value depends on all z of the row, not on its own alone.
    custom : bool
        Whether it is made of a user's functions.
    least, most : float
        Bounds of the values.
    kinks : tuple of float
        The z at which f or f' jumps, ascending: a difference quotient across one is no derivative.
    straight_through : bool
        Whether training uses another slope than the true one.
    best_init : str
        The rule of `fastmlp.initializers` that its literature derives.
    slope_below : float
        Slope for z < 0 where f is a straight line there, for that rule; else 0.
    glorot_factor : float
        scikit-learn's f in the first weights' bound √(f / (fan_in + fan_out)).
    """

    # Without annotations: as fields they would come first in the signature of every subclass.
    name = ""
    learnable = False
    pieces = 1
    whole_row = custom = False
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
        """0: f is no straight line there."""
        return 0.0

    @property
    def settings(self) -> str:
        """Its own parameters, as text for a title."""
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
    """f(z) = z / 6 + 1/2, moved into [0, 1]: the logistic function in three straight pieces."""

    name = "hard_sigmoid"
    kinks = (-3.0, 3.0)
    least, most = 0.0, 1.0


@dataclass(frozen=True)
class HardTanh(Activation):
    """f(z) = z, moved into [-1, 1]."""

    name = "hard_tanh"
    kinks = (-1.0, 1.0)
    least, most = -1.0, 1.0


@dataclass(frozen=True)
class ReLU(Activation):
    """f(z) = max(0, z).

    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """

    name = "relu"
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
        α at the beginning.
    """

    initial_slope: float = 0.25
    name, learnable = "prelu", True
    kinks = (0.0,)
    best_init = "he_normal"

    def __post_init__(self):
        _check(_is_number(self.initial_slope), self, "initial_slope must be a finite number")

    @property
    def constant(self) -> float:
        """α at the beginning."""
        return float(self.initial_slope)

    @property
    def slope_below(self) -> float:
        """α at the beginning."""
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

    With these two, mean 0 and variance 1 of the values keep themselves from layer to layer, given
    weights drawn by ``weight_init="lecun_normal"``. Klambauer, Unterthiner, Mayr and Hochreiter,
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
        β, or its first value.
    learnable : bool, default=False
        Whether each unit learns its β.
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
        """β, or its first value."""
        return float(self.beta)


@dataclass(frozen=True)
class GELU(Activation):
    """f(z) = z Φ(z), with the normal distribution's Φ, exact.

    Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", 2016.
    """

    name = "gelu"
    best_init = "he_normal"


@dataclass(frozen=True)
class Maxout(Activation):
    """f(z_1, ..., z_k) = the largest of k linear pieces.

    A layer of n units has weights for k n numbers z: ``coefs_`` of shape (fan_in, k n), where
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
        # An integer of NumPy's would overflow where it is multiplied with a layer's width.
        object.__setattr__(self, "pieces", int(self.pieces))


@dataclass(frozen=True)
class Step(Activation):
    """f(z) = 1 for z ≥ 0, else 0: the perceptron's threshold.

    Its slope is 0 wherever it has one, which would teach nothing: training takes it to be 1 for
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
        """What its slope is."""
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


def check_function(custom: object, name: str, arguments: str) -> None:
    """Raise a ValueError if a function of a `Custom` cannot be compiled and called as it will be.

    Parameters
    ----------
    custom : activations.Custom or losses.Custom
        Whose function it is.
    name : str
        The field that it is in.
    arguments : str
        What it is called with, as in a function's head.
    """
    function = getattr(custom, name)
    python = getattr(function, "py_func", function)  # of one that Numba has compiled
    head = f"lambda {arguments}"
    if not isinstance(python, FunctionType):
        raise ValueError(
            f"Custom's {name} must be a Python function of {arguments}, made by def or lambda and "
            f"perhaps compiled by Numba, got {function!r}. Call it in one: {head}: ..."
        )
    try:
        inspect.signature(python).bind(*arguments.split(","))
    except TypeError as error:
        raise ValueError(
            f"Custom's {name} must take ({arguments}), as {head}: ... does, but "
            f"{python.__name__!r} cannot be called so: {error}."
        ) from None


@dataclass(frozen=True)
class Custom(Activation):
    """An activation of your own: two functions of one number.

    On the CPU device Numba compiles them, in nopython mode: a second or so in every process, as
    functions from outside this package are not kept in its cache on disk. From then on they run as
    fast as what they compute allows. The reference device calls them number by number.

    Compiled functions hold what their globals, and the variables of functions around them, were
    when a fit or a prediction began: after a change, the next one compiles them again. A function
    that Numba has compiled before keeps those of the functions that it calls. What they raise ends
    the fit, but on a GPU, where nothing can be raised. They are called with the numbers z of the
    network's units and no others.

    Parameters
    ----------
    function : function
        f(z), made by ``def`` or ``lambda``, and perhaps compiled by Numba.
    derivative : function
        f'(z), as a function of z, too.

    Raises
    ------
    ValueError
        If one of them is no such function, or takes another number of arguments.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.activations import Custom
    >>> def sine(z):
    ...     return np.sin(z)
    >>> def cosine(z):
    ...     return np.cos(z)
    >>> X = np.linspace(-6, 6, 100)[:, np.newaxis]
    >>> wave = MLPRegressor(activation=Custom(sine, cosine), solver="lbfgs", tol=0.01)
    >>> wave = wave.set_params(random_state=0).fit(X, np.sin(X[:, 0]))
    >>> wave.score(X, np.sin(X[:, 0])) > 0.9
    True
    """

    function: Callable
    derivative: Callable
    name = "custom"
    custom = True
    #: What an error says of functions that cannot be compiled.
    takes = "Its functions take and return one number each"

    def __post_init__(self):
        for name in ("function", "derivative"):
            check_function(self, name, "z")

    @property
    def settings(self) -> str:
        """The name of the function."""
        return self.function.__name__


#: What acts on each unit alone, in hidden layers: by name.
HIDDEN: dict[str, type[Activation]] = {
    kind.name: kind
    for kind in (
        Identity, Logistic, Tanh, HardSigmoid, HardTanh, ReLU, LeakyReLU, PReLU, ELU, SELU,
        Softplus, Swish, GELU, Maxout, Step,
    )
}  # fmt: skip
HIDDEN["silu"] = Swish

#: What may act on the outputs.
OUTPUT: dict[str, type[Activation]] = {
    name: kind
    for name, kind in (HIDDEN | {"exp": Exp, "softmax": Softmax}).items()
    if kind not in (Maxout, PReLU, Step)
}


def resolve(
    activation: str | Activation, among: dict[str, type[Activation]] = HIDDEN
) -> Activation:
    """The object that a name stands for, or the object itself.

    Raises
    ------
    ValueError
        If it is neither a name in `among` nor an object of one of its kinds.
    """
    if isinstance(activation, str) and activation in among:
        return among[activation]()
    kinds: tuple[type[Activation], ...] = (*among.values(), Custom)
    if isinstance(activation, kinds):
        return activation
    where = "of hidden layers" if among is HIDDEN else "of outputs"
    raise ValueError(
        f"Unknown activation {where}: {activation!r}. Expected one of {sorted(among)}, or an "
        f"object from fastmlp.activations. {hint(activation)}".rstrip()
    )


def hint(activation: object) -> str:
    """What was probably meant by something that is no activation, or nothing."""
    if isinstance(activation, type) and issubclass(activation, Activation):
        return f"That is a class: write {activation.__name__}()."
    if callable(activation):
        return "Functions of your own are given as fastmlp.activations.Custom(f, derivative)."
    return ""


def resolve_layers(
    activation: str | Activation | Iterable[str | Activation], layers: int
) -> tuple[Activation, ...]:
    """One activation for each of so many hidden layers, from one for all or a list of them.

    Raises
    ------
    ValueError
        If one is unknown, or a list has another length.
    """
    if isinstance(activation, str | Activation) or not isinstance(activation, Iterable):
        return (resolve(activation),) * layers
    chosen = tuple(resolve(one) for one in activation)
    if len(chosen) != layers:
        raise ValueError(
            f"activation has {len(chosen)} entries, expected one for each of {layers} hidden "
            "layer(s), or a single one for all of them."
        )
    return chosen
