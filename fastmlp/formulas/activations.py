"""Activations: each formula returns f(z) and f'(z) together, as they share most arithmetic.

``c`` is the activation's constant: a slope, a scale, or the number that a unit learns instead.
Training overwrites z with f'(z), and later f'(z) with the delta: z itself is not kept.

No formula has a branch, only selects, so that loops over them vectorise; and all of them propagate
NaN, so that a diverged fit is detected.
"""

import math

from .._jit import formula
from .elementary import clamp, exp, exp_below_zero, log1p_of_share, logistic, normal_cdf, tanh


@formula
def identity_pair(z, c):
    """z and 1."""
    return z, type(z)(1)


@formula
def logistic_pair(z, c):
    """σ(z) = 1 / (1 + e^-z), and σ (1 - σ)."""
    a = logistic(z)
    return a, a * (type(z)(1) - a)


@formula
def tanh_pair(z, c):
    """tanh z, and 1 - tanh² z."""
    a = tanh(z)
    return a, type(z)(1) - a * a


@formula
def hard_sigmoid_pair(z, c):
    """z / 6 + 1/2 clipped to [0, 1], and 1/6 inside (-3, 3), else 0."""
    sixth = type(z)(1 / 6)
    a = clamp(z * sixth + type(z)(0.5), type(z)(0), type(z)(1))
    return a, sixth if abs(z) < type(z)(3) else type(z)(0)


@formula
def hard_tanh_pair(z, c):
    """z clipped to [-1, 1], and 1 inside (-1, 1), else 0."""
    one = type(z)(1)
    return clamp(z, -one, one), one if abs(z) < one else type(z)(0)


@formula
def relu_pair(z, c):
    """max(0, z), and 1 for z > 0, else 0."""
    zero = type(z)(0)
    return zero if z < zero else z, type(z)(1) if z > zero else zero


@formula
def leaky_relu_pair(z, c):
    """z for z > 0, else c z; and 1 or c."""
    zero = type(z)(0)
    return z if z > zero else c * z, type(z)(1) if z > zero else c


@formula
def prelu_learning(z, c):
    """∂f/∂c of `leaky_relu_pair`: min(0, z)."""
    return z if z < type(z)(0) else type(z)(0)


@formula
def elu_pair(z, c):
    """z for z > 0, else c (e^z - 1); and 1 or c e^z."""
    decayed, decayed_less_1 = exp_below_zero(z)
    above = z > type(z)(0)
    return z if above else c * decayed_less_1, type(z)(1) if above else c * decayed


# Chosen so that, with weights of mean 0 and variance 1/fan_in, activations keep mean 0 and variance
# 1: Klambauer et al., "Self-normalizing neural networks", 2017, equation 14.
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


@formula
def selu_pair(z, c):
    """λ times `elu_pair` with α."""
    scale = type(z)(SELU_SCALE)
    a, slope = elu_pair(z, type(z)(SELU_ALPHA))
    return scale * a, scale * slope


@formula
def softplus_pair(z, c):
    """log(1 + e^z) = max(0, z) + log(1 + e^-|z|), and σ(z)."""
    zero, one = type(z)(0), type(z)(1)
    decayed = exp(-abs(z))
    slope = (decayed if z < zero else one) / (one + decayed)
    return (zero if z < zero else z) + log1p_of_share(decayed), slope


@formula
def swish_pair(z, c):
    """z σ, and σ (1 + c z (1 - σ)), with σ = σ(c z)."""
    one = type(z)(1)
    s = logistic(c * z)
    return z * s, s * (one + c * z * (one - s))


@formula
def swish_learning(z, c):
    """∂f/∂c of `swish_pair`: z² σ (1 - σ)."""
    s = logistic(c * z)
    return z * z * (s * (type(z)(1) - s))


@formula
def gelu_pair(z, c):
    """z Φ(z), and Φ(z) + z φ(z), with the normal distribution function Φ and its density φ."""
    below = normal_cdf(z)
    density = type(z)(1 / math.sqrt(2 * math.pi)) * exp(type(z)(-0.5) * z * z)
    return z * below, below + z * density


@formula
def step_pair(z, c):
    """1 for z ≥ 0, else 0; and the slope used in training: 1 for |z| ≤ 1, else 0."""
    zero, one = type(z)(0), type(z)(1)
    above = one if z >= zero else z
    return zero if z < zero else above, one if abs(z) <= one else zero


@formula
def exp_pair(z, c):
    """e^z, and e^z."""
    a = exp(z)
    return a, a


PAIRS = {
    "identity": identity_pair,
    "logistic": logistic_pair,
    "tanh": tanh_pair,
    "hard_sigmoid": hard_sigmoid_pair,
    "hard_tanh": hard_tanh_pair,
    "relu": relu_pair,
    "leaky_relu": leaky_relu_pair,
    "prelu": leaky_relu_pair,
    "elu": elu_pair,
    "selu": selu_pair,
    "softplus": softplus_pair,
    "swish": swish_pair,
    "gelu": gelu_pair,
    "step": step_pair,
    "exp": exp_pair,
}
#: ∂f/∂c of the activations whose units learn c.
LEARNING = {"prelu": prelu_learning, "swish": swish_learning}
