"""Optimisers: one parameter's step, and its penalty.

A parameter w with gradient g has up to two moments; sgd keeps its velocity in the first.
"""

import math

from .._jit import formula

SGD, ADAM = range(2)

OPTIMIZERS = {"sgd": SGD, "adam": ADAM}


@formula
def sgd_velocity(velocity, g, learning_rate, momentum):
    """v ← μ v - η g."""
    return momentum * velocity - learning_rate * g


@formula
def sgd_step(velocity, g, learning_rate, momentum, nesterov):
    """The change of w, from the new velocity v: v, or with Nesterov's look-ahead μ v - η g.

    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """
    if nesterov:
        return sgd_velocity(velocity, g, learning_rate, momentum)
    return velocity


@formula
def moving_average(average, value, decay, share):
    """β a + (1 - β) x, of which 1 - β is the `share`.

    It is subtracted in float64: in float32, 1 - 0.999 has lost three digits, and every second
    moment would be too large by as much.
    """
    return decay * average + share * value


@formula
def adam_step(first, second, learning_rate, epsilon):
    """The change of w, -η_t m / (√v + ε), from the new moments m and v.

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1 in the order of
    the remark at the end of section 2: the bias correction is part of η_t, ε is outside of it.
    """
    return -learning_rate * first / (math.sqrt(second) + epsilon)


@formula
def adam_learning_rate(learning_rate, beta_1, beta_2, step):
    """η_t = η √(1 - β₂^t) / (1 - β₁^t), for step t = 1, 2, ..."""
    return learning_rate * math.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)


@formula
def penalty_slope(w, l2, l1):
    """∂/∂w of λ₂ w² / 2 + λ₁ |w|: λ₂ w + λ₁ sign(w), with sign(0) = 0."""
    zero = type(w)(0)
    below = -l1 if w < zero else zero
    return l2 * w + (l1 if w > zero else below)


@formula
def twice_penalty(w, l2, l1):
    """λ₂ w² + 2 λ₁ |w|."""
    return abs(w) * (l2 * abs(w) + (l1 + l1))
