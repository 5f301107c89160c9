"""An activation made of user-defined functions."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType

from .kinds import Activation

#: What `takes` says of functions that are called, for which Numba's own error has no advice.
MAY_CALL = "may call other functions of yours only if these are decorated with Numba's njit,"


def check_function(custom: object, name: str, arguments: str) -> None:
    """Raise a ValueError if a function of a `Custom` cannot be compiled, or called as needed.

    Parameters
    ----------
    custom : activations.Custom or losses.Custom
        The object that holds the function.
    name : str
        The field that holds the function.
    arguments : str
        Its arguments, as in a function definition.
    """
    function = getattr(custom, name)
    python = getattr(function, "py_func", function)  # if Numba has compiled it
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
    """A user-defined activation: two functions of one number.

    On the CPU device, Numba compiles them in nopython mode. This takes about a second in every
    process, because the disk cache does not keep functions from outside this package. After that,
    they run at the speed of compiled code. The reference device calls them for one number at a
    time.

    Compiled functions use the values that their global variables, and the variables of enclosing
    functions, had when a fit or a prediction began. After a change, the next fit or prediction
    compiles them again. A function that Numba had already compiled keeps the values in the
    functions that it calls. Other Python functions can be called if they are decorated with
    Numba's ``njit``. An exception in a function ends the fit, except on a GPU, where nothing can be
    raised. The functions are called only with the values z of the network's units.

    Parameters
    ----------
    function : function
        f(z), made by ``def`` or ``lambda``, and perhaps compiled by Numba.
    derivative : function
        f'(z), also as a function of z.

    Raises
    ------
    ValueError
        If one of them is not a Python function, or does not take one argument.

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
    #: Part of the error message for functions that cannot be compiled.
    takes = f"Its functions take and return one number each, {MAY_CALL}"

    def __post_init__(self):
        for name in ("function", "derivative"):
            check_function(self, name, "z")

    @property
    def settings(self) -> str:
        """The name of the function."""
        return self.function.__name__
