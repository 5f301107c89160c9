"""The gradient of one output by one row's inputs, backward through the layers."""

import numpy as np

from ..._jit import entry, kernel
from ...formulas.results import output_weights, through_softmax
from .row import ONE, array_at, forward_row
from .vectors import ZERO, beyond, keep, pointer


@kernel
def rooms_of_both(plan):
    """Return the number of a row's values in all layers, of its z, and of the widest layer."""
    values, z, widest = plan[0]["fan_in"], ZERO, ZERO
    for index in range(plan.size):
        layer = plan[index]
        values, z = values + layer["outputs"], z + layer["fan_out"]
        widest = max(widest, layer["fan_in"], layer["fan_out"])
    return values, z, widest


@kernel
def room_for_both(plan):
    """Return how many numbers the walk forward and backward needs."""
    values, z, widest = rooms_of_both(plan)
    return values + z + 3 * widest


@kernel
def backward_layer(layer, delta, upstream):
    """Compute the derivatives by a layer's inputs from those by its z: W times delta."""
    fan_in, fan_out = layer["fan_in"], layer["fan_out"]
    weights = array_at(layer["weights"], fan_in * fan_out, delta[0])
    for i in range(fan_in):
        total, row = type(delta[0])(0), i * fan_out
        for k in range(fan_out):
            total += weights[row + k] * delta[k]
        upstream[i] = total


@kernel
def through_activation(layer, upstream, slopes, first, delta):
    """Compute the derivatives by a layer's z, whose slopes are from `first` on."""
    outputs = layer["outputs"]
    for piece in range(0, layer["pieces"] * outputs, outputs):
        for k in range(outputs):
            delta[piece + k] = upstream[k] * slopes[first + piece + k]


@kernel
def gradient_row(plan, scratch, form, output, gradient):
    """Write the derivatives of a row's result by its inputs, which lie in `scratch`.

    Return where the network's outputs lie in `scratch`.
    """
    size, total, widest = rooms_of_both(plan)
    slopes = beyond(scratch, size)
    delta = beyond(slopes, total)
    upstream = beyond(delta, widest)
    x = forward_row(plan, ZERO, scratch, ZERO, slopes, beyond(upstream, widest), ONE)
    index = plan.size - 1
    layer = plan[index]
    first = total - layer["fan_out"]
    output_weights(scratch, x, layer["outputs"], form, output, upstream)
    if layer["loop"]:
        through_activation(layer, upstream, slopes, first, delta)
    else:
        through_softmax(scratch, x, layer["outputs"], upstream, delta)
    while index > 0:
        backward_layer(layer, delta, upstream)
        index -= 1
        layer = plan[index]
        first -= layer["fan_out"]
        through_activation(layer, upstream, slopes, first, delta)
    backward_layer(layer, delta, gradient)
    return x


@kernel
def gradient_each(plan, X, rows, out, form, output, scratch):
    """Write the gradients of rows, which lie one after the other from `X` on, to `out`."""
    features = plan[0]["fan_in"]
    for r in range(rows):
        for j in range(features):
            scratch[j] = X[r * features + j]
        gradient_row(plan, scratch, form, output, beyond(out, r * features))


@entry
def gradient_rows(plan, X, out, form, output):
    """Write the gradients of one result of the rows of X to `out`; both are flat."""
    scratch = np.empty(room_for_both(plan), out.dtype)
    rows = X.size // plan[0]["fan_in"]
    gradient_each(plan, pointer(X), rows, pointer(out), form, output, pointer(scratch))
    keep(scratch)
