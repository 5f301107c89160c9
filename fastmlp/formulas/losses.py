"""Losses of one output element: each formula returns L(p, t) and ∂L/∂p together.

With the output activation p(z), the last layer's delta is ∂L/∂p p'(z). For a canonical pair of loss
and activation, this is p - t (Bishop, "Pattern recognition and machine learning", 2006, section
5.2), which `canonical_delta` computes directly: without a division, and correctly where p(z) is
saturated.

``c`` is the loss's constant. A log loss clips probabilities to [epsilon, 1 - epsilon], with
``epsilon`` the machine epsilon. Where ∂L/∂p has to be multiplied by a small p'(z), only what would
make it infinite is clipped, so that the gradient of a row that is badly wrong remains.
"""

from .._jit import formula
from .elementary import clamp, exp, log


@formula
def squared_error(p, t, c, epsilon):
    """(p - t)² / 2, and p - t."""
    e = p - t
    return type(p)(0.5) * e * e, e


@formula
def absolute_error(p, t, c, epsilon):
    """|p - t|, and the sign of p - t."""
    one = type(p)(1)
    e = p - t
    below = -one if e < type(p)(0) else e
    return abs(e), one if e > type(p)(0) else below


@formula
def huber(p, t, c, epsilon):
    """e² / 2 for |e| ≤ c, else c (|e| - c/2), with e = p - t; and e clipped to [-c, c]."""
    half = type(p)(0.5)
    e = p - t
    size = abs(e)
    return half * e * e if size <= c else c * (size - half * c), clamp(e, -c, c)


@formula
def quantile(p, t, c, epsilon):
    """c (t - p) for t ≥ p, else (c - 1) (t - p); and -c, 1 - c, or 0 at t = p."""
    one = type(p)(1)
    e = t - p
    slope = -c if e > type(p)(0) else one - c
    return (c if e >= type(p)(0) else c - one) * e, type(p)(0) if e == type(p)(0) else slope


@formula
def _positive(p, epsilon):
    """Return p, or ε⁴ if that is greater, so that division by it stays finite."""
    least = epsilon * epsilon * epsilon * epsilon
    return least if p < least else p


@formula
def poisson(p, t, c, epsilon):
    """t log(t / p) - t + p, half the Poisson deviance, and 1 - t / p; 0 log 0 is 0."""
    ratio = t / _positive(p, epsilon)
    return t * log(type(p)(1) if t == type(p)(0) else ratio) - t + p, type(p)(1) - ratio


@formula
def gamma(p, t, c, epsilon):
    """t / p - log(t / p) - 1, half the Gamma deviance, and (1 - t / p) / p."""
    one = type(p)(1)
    rate = _positive(p, epsilon)
    ratio = t / rate
    return ratio - log(ratio) - one, (one - ratio) / rate


@formula
def tweedie(p, t, c, epsilon):
    """Half the Tweedie deviance of power c in (1, 2), and p^(1-c) - t p^(-c); 0 log 0 is 0.

    With r = t / p and e = 2 - c, it is p^e (r^e / ((1 - c) e) - r / (1 - c) + 1 / e).
    """
    zero, one = type(p)(0), type(p)(1)
    rate, rest = _positive(p, epsilon), type(p)(2) - c
    ratio, scale = t / rate, exp(rest * log(rate))
    power = exp(rest * log(one if t == zero else ratio))
    power = zero if t == zero else power
    loss = scale * ((power / rest - ratio) / (one - c) + one / rest)
    return loss, scale * (one - ratio) / rate


@formula
def log_loss(p, t, c, epsilon):
    """-t log p, the term of one class in the cross-entropy, and -t / p."""
    q = clamp(p, epsilon, type(p)(1) - epsilon)
    return -t * log(q), -t / q


@formula
def binary_log_loss(p, t, c, epsilon):
    """-t log p - (1 - t) log(1 - p), and (p - t) / (p (1 - p))."""
    one = type(p)(1)
    q = clamp(p, epsilon, one - epsilon)
    return -t * log(q) - (one - t) * log(one - q), (p - t) / (q * (one - q))


@formula
def _other(p, epsilon):
    """Return 1 - p, or ε if that is greater: less than this, p cannot tell from 1."""
    other = type(p)(1) - p
    return epsilon if other < epsilon else other


@formula
def focal(p, t, c, epsilon):
    """-t (1 - p)^c log p, the term of one class, and t (c (1 - p)^(c-1) log p - (1 - p)^c / p)."""
    q, other = _positive(p, epsilon), _other(p, epsilon)
    weight, log_q = exp(c * log(other)), log(q)
    return -t * weight * log_q, t * weight * (c * log_q / other - type(p)(1) / q)


@formula
def binary_focal(p, t, c, epsilon):
    """The focal terms of p for t and of 1 - p for 1 - t, and their derivative."""
    one = type(p)(1)
    q, other = _positive(p, epsilon), _other(p, epsilon)
    log_q, log_other = log(q), log(other)
    weight, weight_of_other = exp(c * log_other), exp(c * log_q)
    loss = -t * weight * log_q - (one - t) * weight_of_other * log_other
    slope = t * weight * (c * log_q / other - one / q)
    return loss, slope - (one - t) * weight_of_other * (c * log_other / q - one / other)


@formula
def canonical_delta(p, t):
    """∂L/∂z = p - t, for a loss with its canonical output activation p(z)."""
    return p - t


FORMULAS = {
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
    "quantile": quantile,
    "poisson": poisson,
    "gamma": gamma,
    "tweedie": tweedie,
    "log_loss": log_loss,
    "binary_log_loss": binary_log_loss,
    "focal": focal,
    "binary_focal": binary_focal,
}
