"""Layers of few units: weights in vectors along fan_in, (fan_out, fan_in) rows after the biases.

The forward product is a dot product for each unit; the gradient is a product with few rows. In
panels, both would leave most lanes empty.
"""

from ..._jit import glue, kernel
from .microkernel import ADD, ROWS, dots
from .optimizer import FREE, PENALISED, update
from .panels import Panels, panel_of, panel_width, transposed
from .products import exact_product
from .vectors import VECTOR_BYTES, ZERO, itemsize


@kernel
def narrow_start(layer, buffers):
    """Return where the weights begin: one vector after the biases."""
    return layer["weights"] + VECTOR_BYTES // itemsize(buffers.weights)


@kernel
def rows_of(layer, data, start):
    """Return the weights without biases, or their gradient, (fan_out, fan_in) in plain rows."""
    width = layer["back_width"]
    return Panels(data, start, layer["fan_out"], width, width, panel_width(data))


@kernel
def multiply_narrow(layer, buffers, A, Z):
    """Compute Z = A W + b in whole vectors; the padding of W is 0, that of A is read too.

    Rows come in whole tiles, also past the end of Z.
    """
    W = rows_of(layer, buffers.weights, narrow_start(layer, buffers))
    for k in range(W.rows):
        bias = buffers.weights[layer["weights"] + k]
        for r in range(0, Z.rows, ROWS):
            dots(Z, A, W, r, k, ROWS, bias)


@kernel
def narrow_gradient(layer, buffers, A, D, start, how):
    """Sum the gradient over the batch, in the layout of the weights, from `start` on.

    It is Dᵀ A for W, and the sums of D's columns for the biases.
    """
    gradient, deltas = buffers.gradient, D.data
    for k in range(layer["fan_out"]):
        total = type(gradient[0])(0)
        for r in range(D.rows):
            total += deltas[D.start + r * D.row_stride + k]
        gradient[start + k] = total + gradient[start + k] if how == ADD else total
    G = rows_of(layer, gradient, start + narrow_start(layer, buffers) - layer["weights"])
    for j in range(0, A.columns, panel_width(A.data)):
        exact_product(panel_of(G, j), transposed(D), panel_of(A, j), ZERO, how)
    for k in range(G.rows):  # no gradient for padding of weights, whatever the padding of inputs is
        for j in range(layer["fan_in"], G.columns):
            gradient[G.start + k * G.row_stride + j] = 0


@glue
def apply_narrow(layer, buffers, step, g):
    """Update from the gradient at `g`; return the penalty before."""
    biases, start = layer["weights"], narrow_start(layer, buffers)
    end = start + layer["fan_out"] * layer["back_width"]
    update(step, buffers, biases, biases + layer["fan_out"], g, FREE)
    return update(step, buffers, start, end, g + start - biases, PENALISED)
