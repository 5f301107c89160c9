"""Activations and their derivatives, in NumPy."""

from typing import NamedTuple

import numpy as np
from scipy.special import erf, expit

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _normal_density(z):
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def _normal_cdf(z):
    return 0.5 * (1 + erf(z / np.sqrt(2)))


def _elu(z, alpha):
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _elu_slope(z, alpha):
    return np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0)))


def softmax(z):
    """Return exp(z_k) over their sum, row by row; shifting z by its maximum changes nothing."""
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


# f(z) and f'(z), with the activation's constant c: a number, or one for each unit.
ACTIVATIONS = {
    "identity": (lambda z, c: z, lambda z, c: np.ones_like(z)),
    "logistic": (lambda z, c: expit(z), lambda z, c: expit(z) * expit(-z)),
    "tanh": (lambda z, c: np.tanh(z), lambda z, c: 1 - np.tanh(z) ** 2),
    "hard_sigmoid": (lambda z, c: np.clip(z / 6 + 0.5, 0, 1), lambda z, c: (np.abs(z) < 3) / 6),
    "hard_tanh": (lambda z, c: np.clip(z, -1, 1), lambda z, c: np.abs(z) < 1),
    "relu": (lambda z, c: np.maximum(z, 0), lambda z, c: z > 0),
    "leaky_relu": (lambda z, c: np.where(z > 0, z, c * z), lambda z, c: np.where(z > 0, 1, c)),
    "elu": (_elu, _elu_slope),
    "selu": (
        lambda z, c: SELU_SCALE * _elu(z, SELU_ALPHA),
        lambda z, c: SELU_SCALE * _elu_slope(z, SELU_ALPHA),
    ),
    "softplus": (lambda z, c: np.logaddexp(0, z), lambda z, c: expit(z)),
    "swish": (
        lambda z, c: z * expit(c * z),
        lambda z, c: expit(c * z) + c * z * expit(c * z) * expit(-c * z),
    ),
    "gelu": (
        lambda z, c: z * _normal_cdf(z),
        lambda z, c: _normal_cdf(z) + z * _normal_density(z),
    ),
    "step": (lambda z, c: z >= 0, lambda z, c: np.abs(z) <= 1),
    "exp": (lambda z, c: np.exp(z), lambda z, c: np.exp(z)),
}
ACTIVATIONS["prelu"] = ACTIVATIONS["leaky_relu"]

# ∂f/∂c of the activations that learn c.
CONSTANT_SLOPES = {
    "prelu": lambda z, c: np.minimum(z, 0),
    "swish": lambda z, c: z**2 * expit(c * z) * expit(-c * z),
}


class Value(NamedTuple):
    """A layer's activations of z: the values, and their derivatives by z and by c."""

    values: np.ndarray
    slopes: np.ndarray
    constant_slopes: np.ndarray | None


def activate(activation, z, constants=None):
    """Return f(z) of one layer, with its derivatives; for maxout, z and slopes have all pieces.

    A NaN in z gives a NaN in the values.
    """
    dtype = z.dtype
    name, c = activation.name, activation.constant if constants is None else constants
    if activation.pieces > 1:
        pieces = z.reshape(len(z), activation.pieces, -1)
        winner = pieces.argmax(axis=1)[:, np.newaxis]
        slopes = np.zeros_like(pieces)
        np.put_along_axis(slopes, winner, 1, axis=1)
        return Value(pieces.max(axis=1), slopes.reshape(z.shape), None)
    if activation.custom:
        own = activation.function, activation.derivative
        f, slope = (np.vectorize(g, otypes=[dtype]) for g in own)
        return Value(f(z), slope(z), None)
    f, slope = ACTIVATIONS[name]
    values = np.where(np.isnan(z), z, f(z, c)).astype(dtype, copy=False)
    learned = None
    if activation.learnable:
        learned = CONSTANT_SLOPES[name](z, c).astype(dtype, copy=False)
    return Value(values, slope(z, c).astype(dtype, copy=False), learned)
