"""The steps of the optimisers, in NumPy."""

import math

import numpy as np


def sgd(g, moments, rate, rule, t):
    """Return the parameters' change, and the new velocity."""
    velocity = rule.momentum * moments[0] - rate * g
    change = rule.momentum * velocity - rate * g if rule.nesterov else velocity
    return change, velocity[np.newaxis]


def _averages(g, moments, rule):
    """Return the new averages of gradients and of their squares."""
    m = rule.beta_1 * moments[0] + (1 - rule.beta_1) * g
    v = rule.beta_2 * moments[1] + (1 - rule.beta_2) * g**2
    return np.stack([m, v])


def adam(g, moments, rate, rule, t):
    """Return the parameters' change, and the new averages."""
    m, v = after = _averages(g, moments, rule)
    rate *= math.sqrt(1 - rule.beta_2**t) / (1 - rule.beta_1**t)
    return -rate * m / (np.sqrt(v) + rule.epsilon), after


def adamw(g, moments, rate, rule, t):
    """Return the parameters' change without their decay, and the new averages."""
    m, v = after = _averages(g, moments, rule)
    root = np.sqrt(v / (1 - rule.beta_2**t))
    return -rate / (1 - rule.beta_1**t) * m / (root + rule.epsilon), after


def nadam(g, moments, rate, rule, t):
    """Return the parameters' change, and the new averages."""
    m, v = after = _averages(g, moments, rule)
    momentum = rule.beta_1 * (1 - 0.96 ** (np.arange(1, t + 2) * rule.momentum_decay) / 2)
    by_gradient = float((1 - momentum[-2]) / (1 - momentum[:-1].prod()))
    by_momentum = float(momentum[-1] / (1 - momentum.prod()))
    root = np.sqrt(v / (1 - rule.beta_2**t))
    return -rate * (by_gradient * g + by_momentum * m) / (root + rule.epsilon), after


def radam(g, moments, rate, rule, t):
    """Return the parameters' change, and the new averages."""
    m, v = after = _averages(g, moments, rule)
    power, most = rule.beta_2**t, 2 / (1 - rule.beta_2) - 1
    rho = most - 2 * t * power / (1 - power)
    rate /= 1 - rule.beta_1**t
    if rho <= 5:
        return -rate * m, after
    rate *= math.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    return -rate * math.sqrt(1 - power) * m / (np.sqrt(v) + rule.epsilon), after


def rmsprop(g, moments, rate, rule, t):
    """Return the parameters' change, and the new average of the squared gradients."""
    v = rule.rho * moments[0] + (1 - rule.rho) * g**2
    return -rate * g / (np.sqrt(v) + rule.epsilon), v[np.newaxis]


def adagrad(g, moments, rate, rule, t):
    """Return the parameters' change, and the new sum of the squared gradients."""
    total = moments[0] + g**2
    return -rate * g / (np.sqrt(total) + rule.epsilon), total[np.newaxis]


def lion(g, moments, rate, rule, t):
    """Return the parameters' change without their decay, and the new average of the gradients."""
    direction = np.sign(rule.beta_1 * moments[0] + (1 - rule.beta_1) * g)
    average = rule.beta_2 * moments[0] + (1 - rule.beta_2) * g
    return -rate * direction, average[np.newaxis]


# Step t = 1, 2, ... from the gradient g, the moments of shape (moments, size), the learning rate,
# and the optimiser with its hyperparameters.
OPTIMIZERS = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "nadam": nadam,
    "radam": radam,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "lion": lion,
}
