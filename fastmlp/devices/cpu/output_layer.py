"""The output end of a network: output activation, loss, and the first deltas.

In panels, few outputs would waste most of a vector, so this module works on columns: for each chunk
of rows, ``outputs``, ``targets`` and ``output_slopes`` are (outputs, rows) without gaps, one output
after the other. Loops then run along the rows, however few outputs there are.
"""

import numpy as np

from ..._jit import kernel, whole_vectors
from ...formulas.elementary import exp
from .calls import call_loop
from .loops import Outputs, Units
from .panels import column_start
from .vectors import ZERO


@kernel
def softmax(z, p, start, rows, outputs, s, first):
    """Compute p_k = exp(z_k - max z) / sum of these, in each row; a NaN makes its whole row NaN.

    `s` holds one number per row, from `first` on: the largest z, then one over the sum.
    """
    whole_vectors()
    end = start + rows * outputs
    for r in range(rows):
        s[first + r] = z[start + r]
    for column in range(start + rows, end, rows):
        for r in range(rows):
            s[first + r] = z[column + r] if z[column + r] > s[first + r] else s[first + r]
    for column in range(start, end, rows):
        for r in range(rows):
            p[column + r] = exp(z[column + r] - s[first + r])
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
def activate_elements(loop, constant, values, slopes, start, count):
    """Store f(z) in `values` and f'(z) in `slopes`, for `count` z in `slopes` from `start` on."""
    work = Units(
        values, slopes, slopes, slopes, start, start, ZERO, count, count, ZERO + 1, ZERO, constant
    )
    call_loop(loop, work)


@kernel
def output_forward(layer, Z, buffers, first):
    """Compute p(z) of the rows Z, into the columns of ``outputs`` from row `first` on."""
    rows, outputs = Z.rows, Z.columns
    p, slopes, start = buffers.outputs, buffers.output_slopes, first * outputs
    for k in range(outputs):
        z, column = column_start(Z, k), start + k * rows
        for r in range(rows):
            slopes[column + r] = Z.data[z + r * Z.row_stride]
    if layer["loop"]:
        constant = type(p[0])(layer["constant"])
        activate_elements(layer["loop"], constant, p, slopes, start, rows * outputs)
    else:
        softmax(slopes, p, start, rows, outputs, buffers.row_scales, first)


@kernel
def _losses(settings, buffers, start, rows, outputs, epsilon):
    """Replace the targets by the losses, and the predictions by the losses' derivatives."""
    p, t, constants = buffers.outputs, buffers.targets, buffers.loss_constants
    loop = settings["loss"]
    if settings["same_constants"]:
        call_loop(loop, Outputs(p, t, start, rows * outputs, constants[0], epsilon))
    else:
        for k in range(outputs):
            call_loop(loop, Outputs(p, t, start + k * rows, rows, constants[k], epsilon))


@kernel
def _through_softmax(p, slopes, start, rows, outputs):
    """Replace ∂L/∂p_k by ∂L/∂z_k = p_k (∂L/∂p_k - Σ_j p_j ∂L/∂p_j)."""
    for r in range(rows):
        total = type(p[0])(0)
        for place in range(start + r, start + rows * outputs, rows):
            total += p[place] * slopes[place]
        for place in range(start + r, start + rows * outputs, rows):
            slopes[place] = p[place] * (slopes[place] - total)


@kernel
def output_backward(layer, settings, D, buffers, first, epsilon):
    """Store δ = w ∂loss/∂z of the rows from `first` on in D; return the sum of w times loss."""
    rows, outputs = D.rows, D.columns
    derivatives, losses, w = buffers.outputs, buffers.targets, buffers.row_weights
    slopes = buffers.output_slopes
    start = first * outputs
    end = start + rows * outputs
    if not layer["loop"]:  # the loss overwrites p, which softmax's derivative needs
        for e in range(start, end):
            slopes[e] = derivatives[e]
    _losses(settings, buffers, start, rows, outputs, epsilon)
    if not settings["canonical"]:
        if layer["loop"]:
            for e in range(start, end):
                derivatives[e] *= slopes[e]
        else:
            _through_softmax(slopes, derivatives, start, rows, outputs)
    for k in range(outputs):
        d, column = column_start(D, k), start + k * rows
        for r in range(rows):
            D.data[d + r * D.row_stride] = derivatives[column + r] * w[first + r]
    total = 0.0
    for k in range(outputs):
        column = start + k * rows
        for r in range(rows):
            total += np.float64(losses[column + r] * w[first + r])
    return total
