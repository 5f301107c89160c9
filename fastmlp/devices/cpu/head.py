"""The output end of a network: output activation, loss, and the first deltas.

Few outputs would waste most of a vector in panels, so this end works on columns: of each chunk of
rows, ``outputs`` and ``targets`` hold one output after the other, (outputs, rows) without gaps.
Loops then run along the rows, however few outputs there are.
"""

import numpy as np

from ..._jit import kernel, whole_vectors
from ...formulas.elementary import exp
from ...formulas.losses import (
    LOG_LOSS,
    POISSON,
    SQUARED_ERROR,
    binary_log_loss,
    delta,
    log_loss,
    output_activation,
    poisson,
    squared_error,
)
from .products import column_start


@kernel
def _softmax(p, start, rows, outputs, s, first):
    """p_k = exp(z_k - max z) / sum of these, in each row; a NaN makes its whole row NaN.

    `s` holds one number a row, from `first` on: the largest z, then one over the sum.
    """
    whole_vectors()
    end = start + rows * outputs
    for r in range(rows):
        s[first + r] = p[start + r]
    for column in range(start + rows, end, rows):
        for r in range(rows):
            s[first + r] = p[column + r] if p[column + r] > s[first + r] else s[first + r]
    for column in range(start, end, rows):
        for r in range(rows):
            p[column + r] = exp(p[column + r] - s[first + r])
    for r in range(rows):
        s[first + r] = p[start + r]
    for column in range(start + rows, end, rows):
        for r in range(rows):
            s[first + r] += p[column + r]
    for r in range(rows):
        s[first + r] = type(s[first + r])(1) / s[first + r]
    for column in range(start, end, rows):
        for r in range(rows):
            p[column + r] *= s[first + r]


@kernel
def activate_outputs(code, p, start, rows, outputs, scales, first):
    """p(z), in place, of the columns that lie from `start` on; scales have room for each row."""
    whole_vectors()
    if code == LOG_LOSS:
        _softmax(p, start, rows, outputs, scales, first)
    else:
        for e in range(start, start + rows * outputs):
            p[e] = output_activation(code, p[e])


@kernel
def output_forward(code, Z, buffers, first):
    """p(z) of the rows Z, into the columns of ``outputs`` from row `first` on."""
    rows, outputs = Z.rows, Z.columns
    p, start = buffers.outputs, first * outputs
    for k in range(outputs):
        z, column = column_start(Z, k), start + k * rows
        for r in range(rows):
            p[column + r] = Z.data[z + r * Z.row]
    activate_outputs(code, p, start, rows, outputs, buffers.row_scales, first)


@kernel
def _losses(code, p, t, start, end, epsilon):
    """The loss of each prediction p, in place of its target; a loop of its own for each loss."""
    whole_vectors()
    if code == SQUARED_ERROR:
        for e in range(start, end):
            t[e] = squared_error(p[e], t[e])
    elif code == POISSON:
        for e in range(start, end):
            t[e] = poisson(p[e], t[e])
    elif code == LOG_LOSS:
        for e in range(start, end):
            t[e] = log_loss(p[e], t[e], epsilon)
    else:
        for e in range(start, end):
            t[e] = binary_log_loss(p[e], t[e], epsilon)


@kernel
def output_backward(code, D, buffers, first, epsilon):
    """δ = w ∂loss/∂z of the rows from `first` on, into D; returns the sum of w times loss."""
    rows, outputs = D.rows, D.columns
    p, t, w = buffers.outputs, buffers.targets, buffers.row_weights
    start = first * outputs
    for k in range(outputs):
        d, column = column_start(D, k), start + k * rows
        for r in range(rows):
            D.data[d + r * D.row] = delta(p[column + r], t[column + r]) * w[first + r]
    _losses(code, p, t, start, start + rows * outputs, epsilon)  # the targets have served
    total = 0.0
    for k in range(outputs):
        column = start + k * rows
        for r in range(rows):
            total += np.float64(t[column + r] * w[first + r])
    return total
