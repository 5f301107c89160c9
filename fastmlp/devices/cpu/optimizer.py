"""The update of a run of parameters, from their gradient's sum over the batch."""

from typing import NamedTuple

from ..._jit import kernel
from ...formulas.optimizers import (
    ADAM,
    adam_learning_rate,
    adam_step,
    moving_average,
    sgd_step,
    sgd_velocity,
)


class Step(NamedTuple):
    """What one step's updates have in common; the numbers have the parameters' dtype."""

    optimizer: int
    nesterov: bool
    learning_rate: float
    momentum: float
    beta_1: float
    share_1: float  # 1 - beta_1
    beta_2: float
    share_2: float
    epsilon: float
    alpha: float
    scale: float  # 1 / the batch's total weight


@kernel
def next_step(settings, weight, like):
    """Count one step, and gather what its updates need in the dtype of `like`."""
    settings["step"] += 1
    learning_rate = settings["learning_rate"]
    if settings["optimizer"] == ADAM:
        learning_rate = adam_learning_rate(
            learning_rate, settings["beta_1"], settings["beta_2"], settings["step"]
        )
    return Step(
        settings["optimizer"],
        settings["nesterov"] != 0,
        type(like)(learning_rate),
        type(like)(settings["momentum"]),
        type(like)(settings["beta_1"]),
        type(like)(1.0 - settings["beta_1"]),
        type(like)(settings["beta_2"]),
        type(like)(1.0 - settings["beta_2"]),
        type(like)(settings["epsilon"]),
        type(like)(settings["alpha"]),
        type(like)(1.0 / weight),
    )


@kernel
def update(step, buffers, begin, end, g, alpha):
    """Update the parameters [begin, end) with L2 penalty α; their gradient's sum lies from `g` on.

    Returns the sum of their squares before the update.
    """
    w, gradient = buffers.weights, buffers.gradient
    first, second = buffers.first, buffers.second
    shift = g - begin
    scale = step.scale
    squares = type(alpha)(0)
    if step.optimizer == ADAM:
        learning_rate, epsilon = step.learning_rate, step.epsilon
        beta_1, share_1 = step.beta_1, step.share_1
        beta_2, share_2 = step.beta_2, step.share_2
        for i in range(begin, end):
            old = w[i]
            slope = (gradient[shift + i] + alpha * old) * scale
            m = moving_average(first[i], slope, beta_1, share_1)
            v = moving_average(second[i], slope * slope, beta_2, share_2)
            first[i] = m
            second[i] = v
            w[i] = old + adam_step(m, v, learning_rate, epsilon)
            squares += old * old
    else:
        learning_rate, momentum, nesterov = step.learning_rate, step.momentum, step.nesterov
        for i in range(begin, end):
            old = w[i]
            slope = (gradient[shift + i] + alpha * old) * scale
            velocity = sgd_velocity(first[i], slope, learning_rate, momentum)
            first[i] = velocity
            w[i] = old + sgd_step(velocity, slope, learning_rate, momentum, nesterov)
            squares += old * old
    return squares
