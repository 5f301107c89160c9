"""The verbs of one layer: forward and backward over rows of the batch, gradient unit by unit.

Rows [first, first + rows) of the batch, or one unit of the gradient, are what one call works on:
calls on different rows, or on different units, write to different memory.
"""

import numpy as np

from ..._jit import glue, kernel
from .block_sizes import DEPTH, GROUP
from .calls import call_loop
from .dropout import kept
from .layout import UPSTREAM_ROWS
from .loops import Units
from .microkernel import ADD, MULTIPLY, STORE, ZERO, Panels
from .narrow import apply_narrow, multiply_narrow, narrow_gradient, narrow_start, rows_of
from .optimizer import FREE, PENALISED, squared_slopes, update
from .products import panel_count, panel_of, panel_product, panel_width, product, transposed
from .sources import FEATURES, ORDER, row_number, stored, stored_column, stored_value


@kernel
def inputs_of(layer, buffers, first, rows):
    """[A, 1]: what comes into a layer, (rows, fan_in + 1)."""
    full = panel_width(buffers.inputs)
    start = layer["inputs"] + first * full
    return Panels(buffers.inputs, start, rows, layer["fan_in"] + 1, full, layer["inputs_panel"])


@kernel
def values_of(layer, buffers, first, rows):
    """A: what comes into a layer, without the constant, (rows, fan_in) padded to whole vectors."""
    full = panel_width(buffers.inputs)
    start = layer["inputs"] + first * full
    return Panels(buffers.inputs, start, rows, layer["back_width"], full, layer["inputs_panel"])


@kernel
def deltas_of(layer, buffers, first, rows):
    """δ: a layer's deltas, (rows, fan_out)."""
    full = panel_width(buffers.deltas)
    start = layer["deltas"] + first * full
    return Panels(buffers.deltas, start, rows, layer["fan_out"], full, layer["deltas_panel"])


@kernel
def upstream_of(layer, buffers, rows):
    """∂loss/∂f(z) of a chunk's rows, (rows, outputs); each thread has its own."""
    full = panel_width(buffers.upstream)
    panel = UPSTREAM_ROWS * full
    return Panels(buffers.upstream, ZERO, rows, layer["outputs"], full, panel)


@kernel
def compact(data, start, rows, columns):
    """A matrix in compact panels, its columns padded to whole vectors."""
    return Panels(data, start, rows, columns, ZERO, rows * panel_width(data))


@kernel
def weights_of(layer, buffers):
    """[W; b]: the biases as the last row, (fan_in + 1, fan_out)."""
    return compact(buffers.weights, layer["weights"], layer["fan_in"] + 1, layer["width"])


@kernel
def transposed_weights_of(layer, buffers):
    """Wᵀ, (fan_out, fan_in): compact, or of a narrow layer in plain rows."""
    if layer["narrow"]:
        return rows_of(layer, buffers.weights, narrow_start(layer, buffers))
    start = layer["transposed"]
    return compact(buffers.transposed, start, layer["fan_out"], layer["back_width"])


@kernel
def multiply_sparse(layer, buffers, sources, position, dropping, Z):
    """Z = [X, 1] W for the rows of a sparse X from `position` of the order on, read in place."""
    share = buffers.dropout[0] if dropping.loop else 0.0
    X, order = sources[FEATURES], sources[ORDER]
    weights, z = buffers.weights, Z.data
    like = weights[0]
    W = weights_of(layer, buffers)
    for column in range(0, W.columns, panel_width(weights)):
        panel = panel_of(W, column)
        width, biases = panel.columns, panel.start + layer["fan_in"] * panel.row
        for r in range(Z.rows):
            target = panel_of(Z, column).start + r * Z.row
            for j in range(width):
                z[target + j] = weights[biases + j]
            begin, end = stored(X, row_number(order, position + r))
            for entry in range(begin, end):
                unit = stored_column(X, entry)
                x = stored_value(X, entry, like) * kept(dropping, share, r, unit, like)
                row = panel.start + unit * width
                for j in range(width):
                    z[target + j] += x * weights[row + j]


@kernel
def activate_panel(layer, buffers, Z, A, panel):
    """A = f(Z) and Z = f'(Z), of one panel of A and all pieces of Z that belong to it."""
    data = A.data
    full = panel_width(data)
    panels = panel_count(layer["outputs"], data)
    call_loop(
        layer["loop"],
        Units(
            data,
            Z.data,
            buffers.learning,
            buffers.weights,
            A.start + panel * A.panel,
            Z.start + panel * Z.panel,
            layer["learned"] + panel * full,
            A.rows * full,
            min(full, layer["outputs"] - panel * full),
            layer["pieces"],
            panels * Z.panel,
            type(data[0])(layer["constant"]),
        ),
    )


@glue
def multiply(layer, buffers, sources, position, dropping, first, Z, A, activates):
    """Z = [A', 1] [W; b] from the inputs A'; then, if it `activates`, A = f(Z) and Z = f'(Z).

    A panel's f follows its product, while the panel is in L1, unless f needs other panels too.
    """
    full, count = panel_width(A.data), layer["outputs"]
    fused = activates and layer["pieces"] == 1
    if layer["sparse"]:
        multiply_sparse(layer, buffers, sources, position, dropping, Z)
        fused = False
    elif layer["narrow"]:
        multiply_narrow(layer, buffers, values_of(layer, buffers, first, Z.rows), Z)
        fused = False
    else:
        X, W = inputs_of(layer, buffers, first, Z.rows), weights_of(layer, buffers)
        for column in range(0, W.columns, full):
            panel_product(panel_of(Z, column), X, panel_of(W, column), ZERO, STORE)
            if fused:
                activate_panel(layer, buffers, Z, A, column // full)
    if activates and not fused:
        for panel in range(panel_count(count, A.data)):
            activate_panel(layer, buffers, Z, A, panel)
    if activates and count % full:  # the constant input after A, which f has overwritten
        start = panel_of(A, count // full * full).start + count % full
        for r in range(A.rows):
            A.data[start + r * full] = 1


@kernel
def backward(layer, before, buffers, first, rows):
    """δ' = δ Wᵀ ⊙ f'(z): the deltas of the layer before, from this layer's."""
    D = deltas_of(layer, buffers, first, rows)
    D_before = deltas_of(before, buffers, first, rows)
    WT = transposed_weights_of(layer, buffers)
    if layer["fan_out"] <= DEPTH and before["pieces"] == 1 and not before["learns"]:
        product(D_before, D, WT, MULTIPLY)  # the slopes lie there
    else:
        U = upstream_of(before, buffers, rows)
        product(U, D, WT, STORE)
        spread(before, buffers, U, D_before)


@kernel
def spread(layer, buffers, U, D):
    """δ = ∂loss/∂f(z) ⊙ f'(z), of all pieces, and likewise what the activation learns by."""
    upstream, deltas, learning = U.data, D.data, buffers.learning
    full = panel_width(upstream)
    panels = panel_count(layer["outputs"], upstream)
    for panel in range(panels):
        u, d = U.start + panel * U.panel, D.start + panel * D.panel
        for piece in range(layer["pieces"]):
            place = d + piece * panels * D.panel
            for i in range(U.rows * full):
                deltas[place + i] *= upstream[u + i]
        if layer["learns"]:
            for i in range(U.rows * full):
                learning[d + i] *= upstream[u + i]


@kernel
def panel_gradient(layer, buffers, column, rows, start, first, stop, how):
    """[A, 1]ᵀ δ over the batch's rows: weight rows first, ..., stop - 1 of one panel.

    Written to the gradient buffer from `start` on.
    """
    D = panel_of(deltas_of(layer, buffers, ZERO, rows), column)
    width = min(panel_width(buffers.weights), layer["width"] - column)
    D = Panels(D.data, D.start, rows, width, D.row, ZERO)
    AT = transposed(inputs_of(layer, buffers, ZERO, rows))
    G = Panels(buffers.gradient, start - first * width, stop, width, width, ZERO)
    panel_product(G, AT, D, first, how)


@kernel
def panel_gradient_sparse(layer, buffers, sources, position, dropping, column, rows, start):
    """[X, 1]ᵀ δ for one whole panel, added to the gradient buffer from `start` on."""
    share = buffers.dropout[0] if dropping.loop else 0.0
    X, order = sources[FEATURES], sources[ORDER]
    gradient, deltas = buffers.gradient, buffers.deltas
    like = gradient[0]
    D = panel_of(deltas_of(layer, buffers, ZERO, rows), column)
    width = min(panel_width(gradient), layer["width"] - column)
    biases = start + layer["fan_in"] * width
    for r in range(rows):
        delta = D.start + r * D.row
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
    for row in range(i, min(i + count, layer["fan_in"])):  # the row after these holds the biases
        panel = row // full * full
        back = min(full, layer["back_width"] - panel)
        start = layer["transposed"] + layer["fan_out"] * panel + column * back + row - panel
        if used == full and back == full:  # constants, for which the loop unrolls
            for j in range(full):
                target[start + j * full] = weights[source + row * full + j]
        else:
            for j in range(used):
                target[start + j * back] = weights[source + row * width + j]


@kernel
def learned_gradient(layer, buffers, rows, start, how):
    """What an activation learns by, summed over the batch, to the gradient buffer from `start`."""
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
    """Update what an activation learns; its gradient lies from `g` on. There is no penalty."""
    start = layer["learned"]
    return update(step, buffers, start, start + layer["outputs"], g, FREE)


@kernel
def is_learned(layer, unit):
    """Whether a unit of a layer's gradient is that of what its activation learns: the last one."""
    return layer["learns"] and unit == layer["units"] - 1


@kernel
def unit_place(layer, buffers, unit):
    """Where one unit of a layer's gradient lies: its panel's first column, its rows [i, stop).

    A unit is a group of rows of a panel; those of one group follow each other, as they share
    columns of the inputs. A narrow layer is one unit, and so is each panel on sparse inputs.
    """
    height, full = 1 + layer["fan_in"], panel_width(buffers.weights)
    panels = panel_count(layer["width"], buffers.weights)
    i = unit // panels * GROUP
    stop = height if layer["sparse"] else min(height, i + GROUP)
    return unit % panels * full, i, stop


@kernel
def update_rows(layer, buffers, step, column, first, stop, g):
    """Update weight rows first, ..., stop - 1 of one panel; their gradient lies from `g` on.

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


@glue
def update_unit(layer, buffers, sources, step, position, dropping, rows, unit):
    """One unit's gradient over the batch, and its update while both lie in L1.

    Returns its share of the penalty before the update.
    """
    if is_learned(layer, unit):
        learned_gradient(layer, buffers, rows, ZERO, STORE)
        return update_learned(layer, buffers, step, ZERO)
    if layer["narrow"]:
        A, D = values_of(layer, buffers, ZERO, rows), deltas_of(layer, buffers, ZERO, rows)
        narrow_gradient(layer, buffers, A, D, ZERO, STORE)
        return apply_narrow(layer, buffers, step, ZERO)
    column, first, stop = unit_place(layer, buffers, unit)
    if layer["sparse"]:
        gradient = buffers.gradient
        for j in range(stop * min(panel_width(gradient), layer["width"] - column)):
            gradient[j] = type(gradient[0])(0)
        panel_gradient_sparse(layer, buffers, sources, position, dropping, column, rows, ZERO)
    else:
        panel_gradient(layer, buffers, column, rows, ZERO, first, stop, STORE)
    return update_rows(layer, buffers, step, column, first, stop, ZERO)


@glue
def add_unit_gradient(layer, buffers, sources, position, dropping, rows, unit):
    """Add one unit's gradient over the batch to the gradient buffer, laid out like the weights."""
    if is_learned(layer, unit):
        learned_gradient(layer, buffers, rows, layer["learned"], ADD)
        return
    if layer["narrow"]:
        A, D = values_of(layer, buffers, ZERO, rows), deltas_of(layer, buffers, ZERO, rows)
        narrow_gradient(layer, buffers, A, D, layer["weights"], ADD)
        return
    column, i, stop = unit_place(layer, buffers, unit)
    width = min(panel_width(buffers.weights), layer["width"] - column)
    start = layer["weights"] + (1 + layer["fan_in"]) * column
    if layer["sparse"]:
        panel_gradient_sparse(layer, buffers, sources, position, dropping, column, rows, start)
    else:
        panel_gradient(layer, buffers, column, rows, start + i * width, i, stop, ADD)


@glue
def apply_layer_gradient(layer, buffers, step):
    """Update one layer from its stored gradient; returns its share of the penalty before."""
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
    """The sum of the squares of one layer's stored gradient, penalties included."""
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
    """Scale `count` weights, `stride` apart, down to the norm `most` where theirs is larger."""
    squares = 0.0
    for i in range(count):
        squares += np.float64(weights[start + i * stride]) ** 2
    if squares > most * most:
        scale = type(weights[0])(most / np.sqrt(squares))
        for i in range(count):
            weights[start + i * stride] *= scale


@kernel
def constrain(layer, buffers, most):
    """Scale the weights into each of a layer's units down to the norm `most`."""
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
