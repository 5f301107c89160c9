"""Losses and their derivatives, in NumPy."""

import numpy as np
from scipy.special import xlogy


def _clipped(p):
    epsilon = np.finfo(p.dtype).eps
    return np.clip(p, epsilon, 1 - epsilon)


def _positive(p):
    return np.maximum(p, np.finfo(p.dtype).eps ** 4)


def _other(p):
    return np.maximum(1 - p, np.finfo(p.dtype).eps)


def _pinball(p, t, tau):
    return np.where(t >= p, tau * (t - p), (tau - 1) * (t - p))


def _huber(p, t, d):
    size = np.abs(p - t)
    return np.where(size <= d, 0.5 * size**2, d * (size - 0.5 * d))


def _tweedie(p, t, c):
    q = _positive(p)
    return t ** (2 - c) / ((1 - c) * (2 - c)) - t * q ** (1 - c) / (1 - c) + q ** (2 - c) / (2 - c)


def _focal(p, t, c):
    return -t * _other(p) ** c * np.log(_positive(p))


def _focal_slope(p, t, c):
    q, other = _positive(p), _other(p)
    return t * (c * other ** (c - 1) * np.log(q) - other**c / q)


def _binary_focal(p, t, c):
    q, other = _positive(p), _other(p)
    return -t * other**c * np.log(q) - (1 - t) * q**c * np.log(other)


def _binary_focal_slope(p, t, c):
    q, other = _positive(p), _other(p)
    return _focal_slope(p, t, c) - (1 - t) * (c * q ** (c - 1) * np.log(other) - q**c / other)


# The loss of each output and its derivative by p, for predictions p and targets t of shape
# (rows, outputs), and the loss's constants c of shape (outputs,).
LOSSES = {
    "squared_error": (lambda p, t, c: 0.5 * (p - t) ** 2, lambda p, t, c: p - t),
    "absolute_error": (lambda p, t, c: np.abs(p - t), lambda p, t, c: np.sign(p - t)),
    "huber": (_huber, lambda p, t, c: np.clip(p - t, -c, c)),
    "quantile": (_pinball, lambda p, t, c: np.where(t > p, -c, np.where(t < p, 1 - c, 0))),
    "poisson": (
        lambda p, t, c: xlogy(t, t / _positive(p)) - t + p,
        lambda p, t, c: 1 - t / _positive(p),
    ),
    "gamma": (
        lambda p, t, c: t / _positive(p) - np.log(t / _positive(p)) - 1,
        lambda p, t, c: (1 - t / _positive(p)) / _positive(p),
    ),
    "tweedie": (_tweedie, lambda p, t, c: _positive(p) ** (1 - c) - t * _positive(p) ** -c),
    "focal": (_focal, _focal_slope),
    "binary_focal": (_binary_focal, _binary_focal_slope),
    "log_loss": (lambda p, t, c: -xlogy(t, _clipped(p)), lambda p, t, c: -t / _clipped(p)),
    "binary_log_loss": (
        lambda p, t, c: -(xlogy(t, _clipped(p)) + xlogy(1 - t, 1 - _clipped(p))),
        lambda p, t, c: (p - t) / (_clipped(p) * (1 - _clipped(p))),
    ),
}


def output_loss(network, p, t):
    """Return the loss of each row, and its derivative by each prediction."""
    if network.loss.custom:
        own = network.loss.function, network.loss.derivative
        f, slope = (np.vectorize(g, otypes=[p.dtype]) for g in own)
        return f(p, t).sum(axis=1), slope(p, t)
    f, slope = LOSSES[network.loss.name]
    constants = np.array(network.loss.constants(network.units[-1]), p.dtype)
    losses = f(p, t, constants)
    over_outputs = losses.mean if network.loss.mean_over_outputs else losses.sum
    return over_outputs(axis=1), slope(p, t, constants).astype(p.dtype, copy=False)
