"""Losses of two functions of the user's own."""

from collections.abc import Callable
from dataclasses import dataclass

from ..activations.custom import MAY_CALL, check_function
from .base import Loss


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
    takes = (
        "Its functions take two numbers, a prediction and its target, and return one each, "
        f"{MAY_CALL}"
    )

    def __post_init__(self):
        for name in ("function", "derivative"):
            check_function(self, name, "p, t")
