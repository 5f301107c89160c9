"""An activation made of a user's functions."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType

from .kinds import Activation


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
