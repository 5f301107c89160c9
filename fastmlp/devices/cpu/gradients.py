"""A layer's gradient over the batch and its uses: updates, norms and limits.

One call works on one job of the gradient: calls on different jobs write to different memory.
"""

import numpy as np

from ..._jit import formula, glue, kernel
from .block_sizes import GROUP
from .dropout import kept
from .layers import deltas_of, inputs_of, values_of
from .microkernel import ADD, STORE
from .narrow import apply_narrow, narrow_gradient, narrow_start
from .optimizer import FREE, PENALISED, squared_slopes, update
from .panels import Panels, panel_count, panel_of, panel_width, transposed
from .products import exact_product
from .sources import FEATURES, ORDER, row_number, stored, stored_column, stored_value
from .vectors import ZERO


@kernel
def panel_gradient(layer, buffers, column, rows, start, first, stop, how):
    """Compute [A, 1]ᵀ δ over the batch's rows: weight rows first, ..., stop - 1 of one panel.

    The result is written to the gradient buffer from `start` on.
    """
    D = panel_of(deltas_of(layer, buffers, ZERO, rows), column)
    width = min(panel_width(buffers.weights), layer["width"] - column)
    D = Panels(D.data, D.start, rows, width, D.row_stride, ZERO)
    AT = transposed(inputs_of(layer, buffers, ZERO, rows))
    G = Panels(buffers.gradient, start - first * width, stop, width, width, ZERO)
    exact_product(G, AT, D, first, how)


@kernel
def panel_gradient_sparse(layer, buffers, sources, position, dropping, column, rows, start):
    """Add [X, 1]ᵀ δ of one whole panel to the gradient buffer, from `start` on."""
    share = buffers.dropout[0] if dropping.loop else 0.0
    X, order = sources[FEATURES], sources[ORDER]
    gradient, deltas = buffers.gradient, buffers.deltas
    like = gradient[0]
    D = panel_of(deltas_of(layer, buffers, ZERO, rows), column)
    width = min(panel_width(gradient), layer["width"] - column)
    biases = start + layer["fan_in"] * width
    for r in range(rows):
        delta = D.start + r * D.row_stride
        for j in range(width):
            gradient[biases + j] += deltas[delta + j]
        begin, end = stored(X, row_number(order, position + r))
        for entry in range(begin, end):
            unit = stored_column(X, entry)
            x = stored_value(X, entry, like) * kept(dropping, share, r, unit, like)
            row = start + unit * width
            for j in range(width):
                gradient[row + j] += x * deltas[delta + j]


@kernel
def write_transposed(layer, buffers, column, i, count):
    """Copy weight rows i, ..., i + count - 1 of one panel into the transposed weights."""
    weights, target = buffers.weights, buffers.transposed
    full = panel_width(weights)
    width = min(full, layer["width"] - column)
    used = min(width, layer["fan_out"] - column)
    source = layer["weights"] + (1 + layer["fan_in"]) * column
    for row in range(i, min(i + count, layer["fan_in"])):  # the next row holds the biases
        panel = row // full * full
        back = min(full, layer["back_width"] - panel)
        start = layer["transposed"] + layer["fan_out"] * panel + column * back + row - panel
        if used == full and back == full:  # constants, so that the loop is unrolled
            for j in range(full):
                target[start + j * full] = weights[source + row * full + j]
        else:
            for j in range(used):
                target[start + j * back] = weights[source + row * width + j]


@kernel
def learned_gradient(layer, buffers, rows, start, how):
    """Sum the gradient of an activation's learned parameters into the gradient buffer."""
    learning, gradient = buffers.learning, buffers.gradient
    full = panel_width(gradient)
    for panel in range(panel_count(layer["outputs"], gradient)):
        place, g = layer["deltas"] + panel * layer["deltas_panel"], start + panel * full
        if how == STORE:
            for j in range(full):
                gradient[g + j] = 0
        for r in range(rows):
            for j in range(full):
                gradient[g + j] += learning[place + r * full + j]


@kernel
def update_learned(layer, buffers, step, g):
    """Update an activation's learned parameters from the gradient at `g`, without penalty."""
    start = layer["learned"]
    return update(step, buffers, start, start + layer["outputs"], g, FREE)


@kernel
def is_learned(layer, job):
    """Check whether a job is that of the activation's learned parameters: the layer's last one."""
    return layer["learns"] and job == layer["jobs"] - 1


@kernel
def job_place(layer, buffers, job):
    """Return the place of one gradient job: its panel's first column, and its rows [i, stop).

    A job is a group of rows of a panel. The jobs of the same rows follow each other, as they share
    columns of the inputs. A narrow layer is one job, and so is each panel on sparse inputs.
    """
    height, full = 1 + layer["fan_in"], panel_width(buffers.weights)
    panels = panel_count(layer["width"], buffers.weights)
    i = job // panels * GROUP
    stop = height if layer["sparse"] else min(height, i + GROUP)
    return job % panels * full, i, stop


@kernel
def update_rows(layer, buffers, step, column, first, stop, g):
    """Update weight rows first, ..., stop - 1 of one panel from the gradient at `g`.

    Returns their share of the penalty before the update.
    """
    width = min(panel_width(buffers.weights), layer["width"] - column)
    panel = layer["weights"] + (1 + layer["fan_in"]) * column
    biases = panel + layer["fan_in"] * width
    begin, end = panel + first * width, panel + stop * width
    penalty = update(step, buffers, begin, min(end, biases), g, PENALISED)
    if end > biases:
        update(step, buffers, biases, end, g + biases - begin, FREE)
    if layer["passes_on"]:
        write_transposed(layer, buffers, column, first, stop - first)
    return penalty


@formula
def update_job(layer, buffers, sources, step, position, dropping, rows, job):
    """Compute one job's gradient over the batch, and update while both lie in L1.

    Returns its share of the penalty before the update.
    """
    if dropping is not None and is_learned(layer, job):
        learned_gradient(layer, buffers, rows, ZERO, STORE)
        return update_learned(layer, buffers, step, ZERO)
    if layer["narrow"]:
        A, D = values_of(layer, buffers, ZERO, rows), deltas_of(layer, buffers, ZERO, rows)
        narrow_gradient(layer, buffers, A, D, ZERO, STORE)
        return apply_narrow(layer, buffers, step, ZERO)
    column, first, stop = job_place(layer, buffers, job)
    if dropping is not None and layer["sparse"]:
        gradient = buffers.gradient
        for j in range(stop * min(panel_width(gradient), layer["width"] - column)):
            gradient[j] = type(gradient[0])(0)
        panel_gradient_sparse(layer, buffers, sources, position, dropping, column, rows, ZERO)
    else:
        panel_gradient(layer, buffers, column, rows, ZERO, first, stop, STORE)
    return update_rows(layer, buffers, step, column, first, stop, ZERO)


@formula
def add_job_gradient(layer, buffers, sources, position, dropping, rows, job):
    """Add one job's gradient over the batch to the gradient buffer, laid out like the weights."""
    if dropping is not None and is_learned(layer, job):
        learned_gradient(layer, buffers, rows, layer["learned"], ADD)
        return
    if layer["narrow"]:
        A, D = values_of(layer, buffers, ZERO, rows), deltas_of(layer, buffers, ZERO, rows)
        narrow_gradient(layer, buffers, A, D, layer["weights"], ADD)
        return
    column, i, stop = job_place(layer, buffers, job)
    width = min(panel_width(buffers.weights), layer["width"] - column)
    start = layer["weights"] + (1 + layer["fan_in"]) * column
    if dropping is not None and layer["sparse"]:
        panel_gradient_sparse(layer, buffers, sources, position, dropping, column, rows, start)
    else:
        panel_gradient(layer, buffers, column, rows, start + i * width, i, stop, ADD)


@glue
def apply_layer_gradient(layer, buffers, step):
    """Update one layer from its stored gradient; return its share of the penalty before."""
    if layer["learns"]:
        update_learned(layer, buffers, step, layer["learned"])
    if layer["narrow"]:
        return apply_narrow(layer, buffers, step, layer["weights"])
    penalty = 0.0
    full, height = panel_width(buffers.weights), 1 + layer["fan_in"]
    for column in range(0, layer["width"], full):
        start = layer["weights"] + height * column
        penalty += update_rows(layer, buffers, step, column, ZERO, height, start)
    return penalty


@glue
def squared_layer_gradient(layer, buffers, step):
    """Return the sum of squares of one layer's stored gradient, penalties included."""
    total = 0.0
    if layer["learns"]:
        start = layer["learned"]
        total += squared_slopes(step, buffers, start, start + layer["outputs"], FREE)
    start = layer["weights"]
    if layer["narrow"]:
        weights = narrow_start(layer, buffers)
        end = weights + layer["fan_out"] * layer["back_width"]
        total += squared_slopes(step, buffers, start, start + layer["fan_out"], FREE)
        return total + squared_slopes(step, buffers, weights, end, PENALISED)
    full, height = panel_width(buffers.weights), 1 + layer["fan_in"]
    for column in range(0, layer["width"], full):
        width = min(full, layer["width"] - column)
        panel = start + height * column
        biases = panel + layer["fan_in"] * width
        total += squared_slopes(step, buffers, panel, biases, PENALISED)
        total += squared_slopes(step, buffers, biases, biases + width, FREE)
    return total


@kernel
def shrink(weights, start, stride, count, most):
    """Scale `count` weights, `stride` apart, down to the norm `most` if theirs is larger."""
    squares = 0.0
    for i in range(count):
        squares += np.float64(weights[start + i * stride]) ** 2
    if squares > most * most:
        scale = type(weights[0])(most / np.sqrt(squares))
        for i in range(count):
            weights[start + i * stride] *= scale


@kernel
def constrain(layer, buffers, most):
    """Limit the norm of the incoming weights of each unit of a layer to `most`."""
    weights, fan_in = buffers.weights, layer["fan_in"]
    if layer["narrow"]:
        start = narrow_start(layer, buffers)
        for k in range(layer["fan_out"]):
            shrink(weights, start + k * layer["back_width"], 1, fan_in, most)
        return
    full = panel_width(weights)
    for column in range(0, layer["width"], full):
        width = min(full, layer["width"] - column)
        panel = layer["weights"] + (1 + fan_in) * column
        for j in range(width):
            shrink(weights, panel + j, width, fan_in, most)
        if layer["passes_on"]:
            write_transposed(layer, buffers, column, ZERO, 1 + fan_in)
