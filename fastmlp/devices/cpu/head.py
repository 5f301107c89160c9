"""The output end of a network: output activation, loss, and the first deltas.

Few outputs would waste most of a vector in panels, so this end works on compact rows: ``outputs``
and ``targets`` are (batch, outputs) without gaps, and loops run over all their numbers.
"""

import numpy as np

from ..._jit import kernel
from ...formulas.elementary import exp
from ...formulas.losses import LOG_LOSS, delta, loss, output_activation
from .products import panel_of, panel_width


@kernel
def _softmax(p, start, rows, outputs):
    """p_k = exp(z_k - max z) / sum of these, in each row; a NaN makes its whole row NaN."""
    for r in range(start, start + rows * outputs, outputs):
        largest = p[r]
        for k in range(r + 1, r + outputs):
            largest = p[k] if p[k] > largest else largest
        for k in range(r, r + outputs):
            p[k] -= largest
    for k in range(start, start + rows * outputs):  # over all rows at once, for whole vectors
        p[k] = exp(p[k])
    for r in range(start, start + rows * outputs, outputs):
        total = type(p[r])(0)
        for k in range(r, r + outputs):
            total += p[k]
        scale = type(total)(1) / total
        for k in range(r, r + outputs):
            p[k] *= scale


@kernel
def output_forward(code, Z, p, first):
    """p(z) of the rows Z, into the compact rows of `p` from row `first` on."""
    outputs = Z.columns
    start = first * outputs
    for j in range(0, outputs, panel_width(p)):
        part = panel_of(Z, j)
        for r in range(Z.rows):
            for k in range(part.columns):
                p[start + r * outputs + j + k] = Z.data[part.start + r * Z.row + k]
    if code == LOG_LOSS:
        _softmax(p, start, Z.rows, outputs)
    else:
        for k in range(start, start + Z.rows * outputs):
            p[k] = output_activation(code, p[k])


@kernel
def output_backward(code, D, buffers, first, epsilon):
    """δ = w ∂loss/∂z of the rows from `first` on, into D; returns the sum of w times loss."""
    outputs = D.columns
    start = first * outputs
    p, t, w = buffers.outputs, buffers.targets, buffers.row_weights
    for j in range(0, outputs, panel_width(p)):
        part = panel_of(D, j)
        for r in range(D.rows):
            for k in range(part.columns):
                e = start + r * outputs + j + k
                D.data[part.start + r * D.row + k] = delta(p[e], t[e]) * w[first + r]
    for e in range(start, start + D.rows * outputs):
        t[e] = loss(code, p[e], t[e], epsilon)  # the target has served
    total = 0.0
    for r in range(D.rows):
        row = 0.0
        for k in range(outputs):
            row += np.float64(t[start + r * outputs + k])
        total += np.float64(w[first + r]) * row
    return total
