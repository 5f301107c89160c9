"""The update of a run of parameters, from their gradient's sum over the batch."""

from typing import NamedTuple

import numpy as np

from ..._jit import kernel
from ...formulas.optimizers import (
    ADAM,
    adam_learning_rate,
    adam_step,
    moving_average,
    penalty_slope,
    sgd_step,
    sgd_velocity,
    twice_penalty,
)

#: Whether penalties act on parameters; no literals, for each of which kernels would be compiled.
PENALISED, FREE = np.arange(2, dtype=np.int64)


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
    l2: float
    l1: float
    decay: float  # what a weight is multiplied by
    scale: float  # 1 / the batch's total weight, less where the gradient is clipped


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
        type(like)(settings["l2"]),
        type(like)(settings["l1"]),
        type(like)(1.0 - settings["learning_rate"] * settings["weight_decay"]),
        type(like)(1.0 / weight),
    )


@kernel
def with_scale(step, scale):
    """The same step for gradients scaled otherwise."""
    return Step(
        step.optimizer,
        step.nesterov,
        step.learning_rate,
        step.momentum,
        step.beta_1,
        step.share_1,
        step.beta_2,
        step.share_2,
        step.epsilon,
        step.l2,
        step.l1,
        step.decay,
        scale,
    )


@kernel
def update(step, buffers, begin, end, g, free):
    """Update the parameters [begin, end); their gradient's sum over the batch lies from `g` on.

    Neither penalty nor decay acts on parameters that are `free`: biases, and what activations
    learn. Returns their share of the penalty before the update.
    """
    w, gradient = buffers.weights, buffers.gradient
    first, second = buffers.first, buffers.second
    shift = g - begin
    scale = step.scale
    zero = type(scale)(0)
    l2, l1, decay = step.l2, step.l1, step.decay
    if free:
        l2, l1, decay = zero, zero, type(scale)(1)
    penalty = zero
    if step.optimizer == ADAM:
        learning_rate, epsilon = step.learning_rate, step.epsilon
        beta_1, share_1 = step.beta_1, step.share_1
        beta_2, share_2 = step.beta_2, step.share_2
        for i in range(begin, end):
            old = w[i]
            slope = (gradient[shift + i] + penalty_slope(old, l2, l1)) * scale
            m = moving_average(first[i], slope, beta_1, share_1)
            v = moving_average(second[i], slope * slope, beta_2, share_2)
            first[i] = m
            second[i] = v
            w[i] = old * decay + adam_step(m, v, learning_rate, epsilon)
            penalty += twice_penalty(old, l2, l1)
    else:
        learning_rate, momentum, nesterov = step.learning_rate, step.momentum, step.nesterov
        for i in range(begin, end):
            old = w[i]
            slope = (gradient[shift + i] + penalty_slope(old, l2, l1)) * scale
            velocity = sgd_velocity(first[i], slope, learning_rate, momentum)
            first[i] = velocity
            w[i] = old * decay + sgd_step(velocity, slope, learning_rate, momentum, nesterov)
            penalty += twice_penalty(old, l2, l1)
    return 0.5 * np.float64(penalty)


@kernel
def squared_slopes(step, buffers, begin, end, free):
    """The squared gradient's sum, penalties included, of parameters [begin, end).

    The gradient is the stored one of all layers, which is laid out like the parameters.
    """
    w, gradient = buffers.weights, buffers.gradient
    zero = type(step.scale)(0)
    l2, l1 = (zero, zero) if free else (step.l2, step.l1)
    total = 0.0
    for i in range(begin, end):
        slope = (gradient[i] + penalty_slope(w[i], l2, l1)) * step.scale
        total += np.float64(slope * slope)
    return total
