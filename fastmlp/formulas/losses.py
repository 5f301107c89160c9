"""Losses of one output element, with the output activation that each is paired with.

Every pair is canonical: for all of them the derivative by the last layer's z is the same, see
`delta`. (Bishop, Pattern Recognition and Machine Learning, 2006, section 5.2.)

A batch's loss is the weighted mean over its rows of the sum over the outputs. Squared error takes
the mean over the outputs, though its delta stays that of the sum: scikit-learn's definition.
"""

from .._jit import formula
from . import elementary

SQUARED_ERROR, POISSON, LOG_LOSS, BINARY_LOG_LOSS = range(4)

LOSSES = {
    "squared_error": SQUARED_ERROR,
    "poisson": POISSON,
    "log_loss": LOG_LOSS,
    "binary_log_loss": BINARY_LOG_LOSS,
}

OUTPUT_ACTIVATIONS = {
    "squared_error": "identity",
    "poisson": "exp",
    "log_loss": "softmax",
    "binary_log_loss": "logistic",
}


@formula
def squared_error(p, t):
    """(p - t)² / 2."""
    return type(p)(0.5) * (p - t) * (p - t)


@formula
def poisson(p, t):
    """Half the Poisson deviance, t log(t / p) - t + p; t log(t / p) is 0 at t = 0."""
    zero = type(p)(0)
    ratio = type(p)(1) if t == zero else t / p
    return t * elementary.log(ratio) - t + p


@formula
def clipped(p, epsilon):
    """p moved into [ε, 1 - ε], where its logarithm is finite; NaN passes."""
    high = type(p)(1) - epsilon
    p = epsilon if p < epsilon else p
    return high if p > high else p


@formula
def log_loss(p, t, epsilon):
    """-t log p: one class's share of the cross-entropy."""
    return -t * elementary.log(clipped(p, epsilon))


@formula
def binary_log_loss(p, t, epsilon):
    """-t log p - (1 - t) log(1 - p)."""
    one = type(p)(1)
    q = clipped(p, epsilon)
    return -t * elementary.log(q) - (one - t) * elementary.log(one - q)


@formula
def delta(p, t):
    """∂loss/∂z = p - t, for a loss with its canonical output activation p(z)."""
    return p - t


@formula
def output_activation(code, z):
    """p(z) of the loss `code` where it acts on each output alone; softmax acts on whole rows."""
    if code == BINARY_LOG_LOSS:
        return elementary.logistic(z)
    if code == POISSON:
        return elementary.exp(z)
    return z
