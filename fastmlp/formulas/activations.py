"""Activations a = f(z), and their slopes f'(z) written in terms of a.

As the slope needs nothing but the value, z is overwritten by a and no second buffer is kept.
Kernels choose by integer code: a function passed as an argument would never be cached on disk.
"""

from .._jit import formula
from . import elementary

IDENTITY, LOGISTIC, TANH, RELU = range(4)

ACTIVATIONS = {"identity": IDENTITY, "logistic": LOGISTIC, "tanh": TANH, "relu": RELU}


@formula
def relu(z):
    """max(0, z); NaN passes, so that a diverged fit is noticed."""
    zero = type(z)(0)
    return zero if z < zero else z


@formula
def logistic_slope(a):
    """σ' = σ (1 - σ)."""
    return a * (type(a)(1) - a)


@formula
def tanh_slope(a):
    """tanh' = 1 - tanh²."""
    return type(a)(1) - a * a


@formula
def relu_slope(a):
    """1 where the unit is active, else 0; 0 at the kink."""
    return type(a)(0) if a == type(a)(0) else type(a)(1)


@formula
def activation(code, z):
    """f(z) of the activation `code`."""
    if code == RELU:
        return relu(z)
    if code == TANH:
        return elementary.tanh(z)
    if code == LOGISTIC:
        return elementary.logistic(z)
    return z


@formula
def slope(code, a):
    """f'(z) of the activation `code`, at the value a = f(z)."""
    if code == RELU:
        return relu_slope(a)
    if code == TANH:
        return tanh_slope(a)
    if code == LOGISTIC:
        return logistic_slope(a)
    return type(a)(1)
