"""The verbs of one layer: forward and backward over rows of the batch, gradient unit by unit.

Rows [first, first + rows) of the batch, or one unit of the gradient, are what one call works on:
calls on different rows, or on different units, write to different memory.
"""

from ..._jit import glue, kernel
from ...formulas.activations import activation, slope
from .layout import GROUP
from .microkernel import ROWS, ZERO, Matrix
from .narrow import apply_narrow, multiply_narrow, narrow_gradient, narrow_start
from .optimizer import update
from .products import panel_product, panel_width, product
from .rows import FEATURES, ORDER, row_number, stored, stored_column, stored_value


@kernel
def inputs_of(layer, buffers, first, rows):
    """[1, A]: what comes into a layer, (rows, 1 + fan_in)."""
    row = layer["inputs_row"]
    return Matrix(buffers.inputs, layer["inputs"] + first * row, rows, 1 + layer["fan_in"], row, 1)


@kernel
def values_of(layer, buffers, first, rows):
    """A: what comes into a layer, without the constant, (rows, fan_in)."""
    row = layer["inputs_row"]
    return Matrix(buffers.inputs, layer["inputs"] + 1 + first * row, rows, layer["fan_in"], row, 1)


@kernel
def deltas_of(layer, buffers, first, rows):
    """δ: a layer's deltas, (rows, fan_out)."""
    row = layer["deltas_row"]
    return Matrix(buffers.deltas, layer["deltas"] + first * row, rows, layer["fan_out"], row, 1)


@kernel
def weights_of(layer, buffers):
    """[b; W]: the biases as the first row, (1 + fan_in, fan_out) in panels."""
    return Matrix(buffers.weights, layer["weights"], 1 + layer["fan_in"], layer["width"], 0, 0)


@kernel
def transposed_weights_of(layer, buffers):
    """Wᵀ, (fan_out, fan_in): in panels, or of a narrow layer in plain rows."""
    width = layer["back_width"]
    if layer["narrow"]:
        start = narrow_start(layer, buffers)
        return Matrix(buffers.weights, start, layer["fan_out"], width, width, 1)
    return Matrix(buffers.transposed, layer["transposed"], layer["fan_out"], width, 0, 0)


@glue
def multiply(layer, buffers, first, Z):
    """Z = [1, A] [b; W]."""
    if layer["narrow"]:
        multiply_narrow(layer, buffers, values_of(layer, buffers, first, Z.rows), Z)
    else:
        product(Z, inputs_of(layer, buffers, first, Z.rows), weights_of(layer, buffers))


@kernel
def multiply_sparse(layer, buffers, sources, position, Z):
    """Z = [1, X] W for the rows of a sparse X from `position` of the order on, read in place."""
    X, order = sources[FEATURES], sources[ORDER]
    weights, z = buffers.weights, Z.data
    like = weights[0]
    full = panel_width(weights)
    for column in range(0, layer["width"], full):
        width = min(full, layer["width"] - column)
        panel = layer["weights"] + (1 + layer["fan_in"]) * column
        for r in range(Z.rows):
            target = Z.start + r * Z.row + column
            for j in range(width):
                z[target + j] = weights[panel + j]
            begin, end = stored(X, row_number(order, position + r))
            for entry in range(begin, end):
                x = stored_value(X, entry, like)
                row = panel + (1 + stored_column(X, entry)) * width
                for j in range(width):
                    z[target + j] += x * weights[row + j]


@kernel
def activate(code, Z):
    """A = f(Z), in place."""
    data = Z.data
    for r in range(Z.rows):
        start = Z.start + r * Z.row
        for j in range(start, start + Z.columns):
            data[j] = activation(code, data[j])


@kernel
def backward(layer, before, buffers, first, rows):
    """δ' = δ Wᵀ ⊙ f'(a): the deltas of the layer before, from this layer's."""
    D = deltas_of(layer, buffers, first, rows)
    D_before = deltas_of(before, buffers, first, rows)
    A = values_of(layer, buffers, first, rows)
    product(D_before, D, transposed_weights_of(layer, buffers))
    code, deltas, values = before["activation"], D_before.data, A.data
    for r in range(rows):
        d, a = D_before.start + r * D_before.row, A.start + r * A.row
        for j in range(A.columns):
            deltas[d + j] *= slope(code, values[a + j])


@kernel
def panel_gradient(layer, buffers, column, rows, start, i, count, accumulate):
    """[1, A]ᵀ δ over the batch's rows: weight rows i, ..., i + count - 1 of one panel.

    Written to the gradient buffer from `start` on.
    """
    width = min(panel_width(buffers.weights), layer["width"] - column)
    D = Matrix(buffers.deltas, layer["deltas"] + column, rows, width, layer["deltas_row"], 1)
    AT = Matrix(buffers.inputs, layer["inputs"] + i, count, rows, 1, layer["inputs_row"])
    G = Matrix(buffers.gradient, start, count, width, width, 1)
    panel_product(G, AT, D, accumulate)


@kernel
def panel_gradient_sparse(layer, buffers, sources, position, column, rows, start):
    """[1, X]ᵀ δ for one whole panel, added to the gradient buffer from `start` on."""
    X, order = sources[FEATURES], sources[ORDER]
    gradient, deltas = buffers.gradient, buffers.deltas
    like = gradient[0]
    width = min(panel_width(gradient), layer["width"] - column)
    for r in range(rows):
        delta = layer["deltas"] + r * layer["deltas_row"] + column
        for j in range(width):
            gradient[start + j] += deltas[delta + j]
        begin, end = stored(X, row_number(order, position + r))
        for entry in range(begin, end):
            x = stored_value(X, entry, like)
            row = start + (1 + stored_column(X, entry)) * width
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
    for row in range(max(i, 1), i + count):
        unit = row - 1  # row 0 holds the biases
        panel = unit // full * full
        back = min(full, layer["back_width"] - panel)
        start = layer["transposed"] + layer["fan_out"] * panel + column * back + unit - panel
        if used == full and back == full:  # constants, for which the loop unrolls
            for j in range(full):
                target[start + j * full] = weights[source + row * full + j]
        else:
            for j in range(used):
                target[start + j * back] = weights[source + row * width + j]


@kernel
def unit_place(layer, buffers, unit):
    """Where one unit of a layer's gradient lies: its panel's first column, its rows [i, stop).

    A unit is a panel's group of rows. Of a narrow layer, and of a panel on sparse inputs, the whole
    is one unit.
    """
    height = 1 + layer["fan_in"]
    groups = 1 if layer["sparse"] else (height + GROUP - 1) // GROUP
    i = unit % groups * GROUP
    stop = height if layer["sparse"] else min(height, i + GROUP)
    return unit // groups * panel_width(buffers.weights), i, stop


@glue
def update_unit(layer, buffers, sources, step, position, rows, unit):
    """One unit's gradient over the batch, and its update while both lie in L1.

    Returns the sum of the squared weights, biases left out, before the update.
    """
    if layer["narrow"]:
        A, D = values_of(layer, buffers, ZERO, rows), deltas_of(layer, buffers, ZERO, rows)
        narrow_gradient(layer, buffers, A, D, ZERO, False)
        return apply_narrow(layer, buffers, step, ZERO)
    gradient = buffers.gradient
    column, start, stop = unit_place(layer, buffers, unit)
    width = min(panel_width(gradient), layer["width"] - column)
    panel = layer["weights"] + (1 + layer["fan_in"]) * column
    if layer["sparse"]:
        for j in range(stop * width):
            gradient[j] = type(gradient[0])(0)
        panel_gradient_sparse(layer, buffers, sources, position, column, rows, ZERO)
    squares = 0.0
    for i in range(start, stop, ROWS):
        count = min(ROWS, stop - i)
        g = ZERO
        if layer["sparse"]:
            g = i * width
        else:
            panel_gradient(layer, buffers, column, rows, ZERO, i, count, False)
        begin, end = panel + i * width, panel + (i + count) * width
        if i == 0:  # biases are not penalised
            update(step, buffers, begin, begin + width, g, type(step.alpha)(0))
            begin, g = begin + width, g + width
        squares += update(step, buffers, begin, end, g, step.alpha)
        if layer["passes_on"]:
            write_transposed(layer, buffers, column, i, count)
    return squares


@glue
def add_unit_gradient(layer, buffers, sources, position, rows, unit):
    """Add one unit's gradient over the batch to the gradient buffer, laid out like the weights."""
    if layer["narrow"]:
        A, D = values_of(layer, buffers, ZERO, rows), deltas_of(layer, buffers, ZERO, rows)
        narrow_gradient(layer, buffers, A, D, layer["weights"], True)
        return
    column, i, stop = unit_place(layer, buffers, unit)
    width = min(panel_width(buffers.weights), layer["width"] - column)
    start = layer["weights"] + (1 + layer["fan_in"]) * column
    if layer["sparse"]:
        panel_gradient_sparse(layer, buffers, sources, position, column, rows, start)
    else:
        panel_gradient(layer, buffers, column, rows, start + i * width, i, stop - i, True)


@glue
def apply_layer_gradient(layer, buffers, step):
    """Update one layer from its stored gradient; returns its squared weights' sum before."""
    if layer["narrow"]:
        return apply_narrow(layer, buffers, step, layer["weights"])
    squares = 0.0
    full, height = panel_width(buffers.weights), 1 + layer["fan_in"]
    for column in range(0, layer["width"], full):
        width = min(full, layer["width"] - column)
        begin = layer["weights"] + height * column
        matrix, end = begin + width, begin + height * width
        update(step, buffers, begin, matrix, begin, type(step.alpha)(0))
        squares += update(step, buffers, matrix, end, matrix, step.alpha)
        if layer["passes_on"]:
            write_transposed(layer, buffers, column, ZERO, height)
    return squares
