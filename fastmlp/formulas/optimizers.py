"""Optimisers: one parameter's step, and its penalty.

The formula of an optimiser takes a parameter's gradient g, its moments, the learning rate and the
numbers of `fastmlp.optimizers`; it returns the change of the parameter and the new moments.
"""

import math

from .._jit import formula


@formula
def sgd(g, velocity, learning_rate, numbers):
    """v ← μ v - η g; w ← w + v, or with Nesterov's look-ahead w ← w + μ v - η g, with the new v.

    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """
    momentum, nesterov = numbers[0], numbers[1]
    velocity = momentum * velocity - learning_rate * g
    change = momentum * velocity - learning_rate * g if nesterov != 0 else velocity
    return change, velocity


@formula
def adam(g, m, v, learning_rate, numbers):
    """m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; w ← w - η_t m / (√v + ε).

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1, computed in the
    order given at the end of section 2: the bias correction is part of η_t and does not affect ε.
    """
    beta_1, share_1, beta_2, share_2, epsilon = numbers
    m = beta_1 * m + share_1 * g
    v = beta_2 * v + share_2 * (g * g)
    return -learning_rate * m / (math.sqrt(v) + epsilon), m, v


@formula
def rmsprop(g, v, learning_rate, numbers):
    """v ← ρ v + (1 - ρ) g²; w ← w - η g / (√v + ε).

    Tieleman and Hinton, "Lecture 6.5: rmsprop", Coursera: Neural networks for machine learning,
    2012.
    """
    rho, share, epsilon = numbers[0], numbers[1], numbers[2]
    v = rho * v + share * (g * g)
    return -learning_rate * g / (math.sqrt(v) + epsilon), v


@formula
def corrected(learning_rate, beta_1, beta_2, step):
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


#: By the names of `fastmlp.optimizers`.
FORMULAS = {"sgd": sgd, "adam": adam, "rmsprop": rmsprop}
