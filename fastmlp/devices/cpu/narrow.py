"""Layers of a few units: weights in vectors along fan_in, (fan_out, fan_in) rows after the biases.

The forward product is a dot product for each unit; the gradient is a product of a few rows. Both
would leave most lanes empty on panels.
"""

import numpy as np

from ..._jit import glue, kernel
from .microkernel import VECTOR_BYTES, Matrix, itemsize
from .optimizer import update
from .products import few_rows_product


@kernel
def narrow_start(layer, buffers):
    """Where the weights begin: one vector after the biases."""
    return layer["weights"] + VECTOR_BYTES // itemsize(buffers.weights)


@kernel
def multiply_narrow(layer, buffers, A, Z):
    """Z = A W + b; the padding of A and W holds zeros and takes part, for whole vectors."""
    w, values, z = buffers.weights, A.data, Z.data
    width, start = layer["back_width"], narrow_start(layer, buffers)
    for r in range(Z.rows):
        a = A.start + r * A.row
        for k in range(layer["fan_out"]):
            row = start + k * width
            total = type(w[0])(0)
            for i in range(width):
                total += values[a + i] * w[row + i]
            z[Z.start + r * Z.row + k] = total + w[layer["weights"] + k]


@kernel
def narrow_gradient(layer, buffers, A, D, start, accumulate):
    """The gradient's sum over the batch, laid out like the weights, from `start` on.

    W: Dᵀ A, and for the biases the sums of D's columns.
    """
    gradient, deltas = buffers.gradient, D.data
    fan_out, width = layer["fan_out"], layer["back_width"]
    for k in range(fan_out):
        total = type(gradient[0])(0)
        for r in range(D.rows):
            total += deltas[D.start + r * D.row + k]
        gradient[start + k] = total + gradient[start + k] if accumulate else total
    begin = start + narrow_start(layer, buffers) - layer["weights"]
    G = Matrix(gradient, begin, fan_out, width, width, 1)
    DT = Matrix(deltas, D.start, fan_out, D.rows, 1, D.row)
    few_rows_product(G, DT, Matrix(A.data, A.start, A.rows, width, A.row, 1), accumulate)


@glue
def apply_narrow(layer, buffers, step, g):
    """Update from the gradient that lies from `g` on; returns the squared weights' sum before."""
    biases, start = layer["weights"], narrow_start(layer, buffers)
    end = start + layer["fan_out"] * layer["back_width"]
    update(step, buffers, biases, biases + layer["fan_out"], g, type(step.alpha)(0))
    return np.float64(update(step, buffers, start, end, g + start - biases, step.alpha))
