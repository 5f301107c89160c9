"""One row at a time, on the packed parameters: nothing is laid out, gathered or kept.

A matrix-vector product reads each weight once, whatever it does, and the packed weights lie in the
order in which it does: row after row, along fan_out.
"""

import numpy as np

from ..._jit import entry, kernel
from .head import softmax
from .loops import Units, call_loop
from .microkernel import ZERO, pointer
from .products import panel_width

#: What is made of a row's outputs: nothing, [1 - p, p] of the single one p, or shares of their sum.
PLAIN, PAIR, SHARES = range(3)
ONE = np.int64(1)  # not a literal, for which kernels would be compiled anew
#: What `predict_rows` has to know of each layer.
PLAN = np.dtype(
    [
        ("fan_in", np.int64),
        ("fan_out", np.int64),  # numbers z
        ("outputs", np.int64),  # numbers f(z)
        ("loop", np.int64),  # address of the activation's loop, 0 for softmax
        ("pieces", np.int64),
        ("learns", np.int64),
        ("constant", np.float64),
    ],
    align=True,
)


@kernel
def affine(values, x, z, fan_in, fan_out, weights, w, b):
    """z = x W + b; x lies from `x` on in the values.

    Four inputs at a time, so that z is read and written a quarter as often.
    """
    for k in range(fan_out):
        z[k] = weights[b + k]
    fours = fan_in - fan_in % 4
    for i in range(0, fours, 4):
        x_0, x_1, x_2, x_3 = values[x + i], values[x + i + 1], values[x + i + 2], values[x + i + 3]
        w_0 = w + i * fan_out
        w_1, w_2, w_3 = w_0 + fan_out, w_0 + 2 * fan_out, w_0 + 3 * fan_out
        for k in range(fan_out):
            pair = x_0 * weights[w_0 + k] + x_1 * weights[w_1 + k]
            z[k] += pair + (x_2 * weights[w_2 + k] + x_3 * weights[w_3 + k])
    for i in range(fours, fan_in):
        factor, row = values[x + i], w + i * fan_out
        for k in range(fan_out):
            z[k] += factor * weights[row + k]


@kernel
def activate_row(layer, values, a, z, unread, weights, learned):
    """f(z) of one row's numbers z to the values from `a` on."""
    outputs = layer["outputs"]
    step = panel_width(values) if layer["learns"] else outputs
    for j in range(0, outputs, step):
        work = Units(
            values,
            z,
            unread,
            weights,
            a + j,
            j,
            learned + j,
            min(step, outputs - j),
            layer["pieces"],
            outputs,
            type(values[0])(layer["constant"]),
        )
        call_loop(layer["loop"], work)


@kernel
def forward_row(plan, weights, values, z, unread):
    """All layers for one row, which lies at the beginning of the values; returns where it ends.

    There is room for the longest layer in `z` and `unread`.
    """
    b = learned = 0
    for index in range(plan.size):
        b += plan[index]["fan_in"] * plan[index]["fan_out"]
        learned += (1 + plan[index]["fan_in"]) * plan[index]["fan_out"]
    w = x = 0
    for index in range(plan.size):
        layer = plan[index]
        fan_in, fan_out = layer["fan_in"], layer["fan_out"]
        affine(values, x, z, fan_in, fan_out, weights, w, b)
        x += fan_in
        w += fan_in * fan_out
        b += fan_out
        if layer["loop"]:
            activate_row(layer, values, x, z, unread, weights, learned)
        else:
            for k in range(fan_out):
                values[x + k] = z[k]
            softmax(values, values, x, ONE, fan_out, unread, ZERO)
        if layer["learns"]:
            learned += layer["outputs"]
    return x


def plan_of(network, loops) -> np.ndarray:
    """What `predict_rows` has to know of a network, whose activations' loops are these."""
    kinds = (*network.activation, network.output_activation)
    addresses = [0 if loop is None else loop.address for loop in loops]
    layers = zip(network.shapes, network.units[1:], addresses, kinds, strict=True)
    return np.array(
        [
            (*shape, outputs, address, kind.pieces, kind.learnable, kind.constant)
            for shape, outputs, address, kind in layers
        ],
        PLAN,
    )


@entry
def predict_rows(plan, packed, X, out, form):
    """out = the outputs of the rows of X, in one of the forms above; both are flat."""
    features, outputs = plan[0]["fan_in"], plan[plan.size - 1]["outputs"]
    size = features
    longest = 0
    for index in range(plan.size):
        size += plan[index]["outputs"]
        longest = max(longest, plan[index]["fan_out"])
    # Each call's own, so that calls may run at once.
    values, z = np.empty(size, packed.dtype), np.empty(longest, packed.dtype)
    unread = np.empty(longest, packed.dtype)
    for r in range(X.size // features):
        for j in range(features):
            values[j] = X[r * features + j]
        x = forward_row(plan, pointer(packed), pointer(values), pointer(z), pointer(unread))
        if form == PAIR:
            out[2 * r], out[2 * r + 1] = type(values[x])(1) - values[x], values[x]
            continue
        total = type(values[x])(0)
        for k in range(outputs):
            total += values[x + k]
        for k in range(outputs):
            share = values[x + k] / total if total else type(total)(1) / outputs
            out[r * outputs + k] = share if form == SHARES else values[x + k]
