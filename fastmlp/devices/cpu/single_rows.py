"""One row at a time, on the packed parameters: nothing is laid out, gathered or kept.

A matrix-vector product reads each weight once, whatever it does, and the packed weights lie in the
order in which it does: row after row, along fan_out.
"""

import numpy as np

from ..._jit import entry, kernel
from ...formulas.activations import ACTIVATIONS, activation
from ...formulas.losses import LOSSES
from .head import activate_outputs
from .microkernel import pointer

#: Places in a plan: codes of activation and loss, whether one probability p gives [1 - p, p], and
#: from the last place on the units of each layer.
ACTIVATION, LOSS, PAIR, UNITS = range(4)
ONE = np.int64(1)  # not a literal, for which kernels would be compiled anew


@kernel
def affine(values, x, fan_in, fan_out, weights, w, b):
    """z = x W + b; x lies from `x` on in the values, z right after it.

    Four inputs at a time, so that z is read and written a quarter as often.
    """
    z = x + fan_in
    for k in range(fan_out):
        values[z + k] = weights[b + k]
    fours = fan_in - fan_in % 4
    for i in range(0, fours, 4):
        x_0, x_1, x_2, x_3 = values[x + i], values[x + i + 1], values[x + i + 2], values[x + i + 3]
        w_0 = w + i * fan_out
        w_1, w_2, w_3 = w_0 + fan_out, w_0 + 2 * fan_out, w_0 + 3 * fan_out
        for k in range(fan_out):
            pair = x_0 * weights[w_0 + k] + x_1 * weights[w_1 + k]
            values[z + k] += pair + (x_2 * weights[w_2 + k] + x_3 * weights[w_3 + k])
    for i in range(fours, fan_in):
        factor, row = values[x + i], w + i * fan_out
        for k in range(fan_out):
            values[z + k] += factor * weights[row + k]


@kernel
def forward_row(plan, weights, values):
    """All layers for one row, which lies at the beginning of the values; returns where it ends."""
    layers = plan.size - UNITS - 1
    b = 0
    for layer in range(layers):
        b += plan[UNITS + layer] * plan[UNITS + layer + 1]
    w = x = 0
    for layer in range(layers):
        fan_in, fan_out = plan[UNITS + layer], plan[UNITS + layer + 1]
        affine(values, x, fan_in, fan_out, weights, w, b)
        x += fan_in
        w += fan_in * fan_out
        b += fan_out
        if layer < layers - 1:
            for k in range(x, x + fan_out):
                values[k] = activation(plan[ACTIVATION], values[k])
    outputs = plan[plan.size - 1]
    activate_outputs(plan[LOSS], values, x, ONE, outputs, values, x + outputs)
    return x


def plan_of(network, pair: bool) -> np.ndarray:
    """What `predict_rows` has to know of a network."""
    hidden = [ACTIVATIONS[activation.name] for activation in network.activation] or [0]
    return np.array([hidden[0], LOSSES[network.loss.name], pair, *network.units])


@entry
def predict_rows(plan, packed, X, out):
    """out = the outputs of the rows of X; both are flat."""
    features, outputs = plan[UNITS], plan[plan.size - 1]
    size = 1  # after the last layer, one number for the output activation
    for layer in range(UNITS, plan.size):
        size += plan[layer]
    values = np.empty(size, packed.dtype)  # each call's own, so that calls may run at once
    for r in range(X.size // features):
        for j in range(features):
            values[j] = X[r * features + j]
        z = forward_row(plan, pointer(packed), pointer(values))
        if plan[PAIR]:
            out[2 * r], out[2 * r + 1] = type(values[z])(1) - values[z], values[z]
        else:
            for k in range(outputs):
                out[r * outputs + k] = values[z + k]
