"""Optimisers: one parameter's step, and its penalty.

The formula of an optimiser takes a parameter's gradient g, its moments, the learning rate and the
numbers of `fastmlp.optimizers`; it returns the change of the parameter and the new moments.
"""

import math

import numpy as np

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
def _averages(g, m, v, numbers):
    """m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²."""
    return numbers[0] * m + numbers[1] * g, numbers[2] * v + numbers[3] * (g * g)


@formula
def adam(g, m, v, learning_rate, numbers):
    """m ← β₁ m + (1 - β₁) g; v ← β₂ v + (1 - β₂) g²; w ← w - η_t m / (√v + ε).

    Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1, computed in the
    order given at the end of section 2: the bias correction is part of η_t and does not affect ε.
    """
    m, v = _averages(g, m, v, numbers)
    return -learning_rate * m / (math.sqrt(v) + numbers[4]), m, v


@formula
def nadam(g, m, v, learning_rate, numbers):
    """m, v as in Adam; w ← w - η_t (a_t g + b_t m) / (√v + ε_t), with η_t corrected for β₂ only.

    Dozat, "Incorporating Nesterov momentum into Adam", 2016: a_t and b_t weigh the gradient and the
    momentum of the next step, see `fastmlp.optimizers.NAdam`.
    """
    m, v = _averages(g, m, v, numbers)
    direction = numbers[5] * g + numbers[6] * m
    return -learning_rate * direction / (math.sqrt(v) + numbers[4]), m, v


@formula
def radam(g, m, v, learning_rate, numbers):
    """m, v as in Adam; w ← w - η_t m r_t / (√v + ε), or w - η_t m if r_t is 0.

    Liu et al., "On the variance of the adaptive learning rate and beyond", 2020; r_t contains the
    correction for β₂, η_t that for β₁ only.
    """
    m, v = _averages(g, m, v, numbers)
    factor = numbers[5]
    adaptive = factor / (math.sqrt(v) + numbers[4])
    return -learning_rate * m * (adaptive if factor > 0 else type(g)(1)), m, v


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
def adagrad(g, total, learning_rate, numbers):
    """s ← s + g²; w ← w - η g / (√s + ε).

    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011.
    """
    total += g * g
    return -learning_rate * g / (math.sqrt(total) + numbers[0]), total


@formula
def lion(g, m, learning_rate, numbers):
    """w ← w - η sign(β₁ m + (1 - β₁) g), with the old m; m ← β₂ m + (1 - β₂) g; sign(0) = 0.

    Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.
    """
    zero = type(g)(0)
    direction = numbers[0] * m + numbers[1] * g
    # A NaN in the gradient stays one, so that the fit fails instead of going on.
    below = learning_rate if direction < zero else direction
    change = -learning_rate if direction > zero else below
    return change, numbers[2] * m + numbers[3] * g


@formula
def corrected(learning_rate, beta_1, beta_2, step):
    """η_t = η √(1 - β₂^t) / (1 - β₁^t), for step t = 1, 2, ...; in plain Python also for arrays."""
    return learning_rate * np.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)


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
FORMULAS = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adam,  # with another ε in each step; the decay is part of every optimiser's update
    "nadam": nadam,
    "radam": radam,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "lion": lion,
}
