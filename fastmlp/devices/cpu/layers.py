"""The operations of one layer, forward and backward, and the matrices that they work on.

One call works on rows [first, first + rows) of the batch: calls on different rows write to
different memory.
"""

from ..._jit import formula, kernel
from .block_sizes import DEPTH
from .calls import call_loop
from .dropout import drops, kept
from .layout import UPSTREAM_ROWS
from .loops import Units
from .microkernel import GATE, MULTIPLY, RECTIFY, STORE
from .narrow import multiply_narrow, narrow_start, rows_of
from .panels import Panels, panel_count, panel_of, panel_width
from .products import panel_product, product
from .sources import FEATURES, ORDER, row_number, stored, stored_column, stored_value
from .vectors import ZERO


@kernel
def inputs_of(layer, buffers, first, rows):
    """Return [A, 1]: a layer's inputs with a constant column of ones, (rows, fan_in + 1)."""
    full = panel_width(buffers.inputs)
    start = layer["inputs"] + first * full
    return Panels(buffers.inputs, start, rows, layer["fan_in"] + 1, full, layer["inputs_panel"])


@kernel
def values_of(layer, buffers, first, rows):
    """Return A: a layer's inputs without the constant, (rows, fan_in) padded to whole vectors."""
    full = panel_width(buffers.inputs)
    start = layer["inputs"] + first * full
    return Panels(buffers.inputs, start, rows, layer["back_width"], full, layer["inputs_panel"])


@kernel
def deltas_of(layer, buffers, first, rows):
    """Return δ: a layer's deltas, (rows, fan_out)."""
    full = panel_width(buffers.deltas)
    start = layer["deltas"] + first * full
    return Panels(buffers.deltas, start, rows, layer["fan_out"], full, layer["deltas_panel"])


@kernel
def upstream_of(layer, buffers, rows):
    """Return ∂loss/∂f(z) of a chunk's rows, (rows, outputs); each thread has its own."""
    full = panel_width(buffers.upstream)
    panel = UPSTREAM_ROWS * full
    return Panels(buffers.upstream, ZERO, rows, layer["outputs"], full, panel)


@kernel
def compact(data, start, rows, columns):
    """Return a matrix in compact panels, with its columns padded to whole vectors."""
    return Panels(data, start, rows, columns, ZERO, rows * panel_width(data))


@kernel
def weights_of(layer, buffers):
    """Return [W; b]: the weights, with the biases as the last row, (fan_in + 1, fan_out)."""
    return compact(buffers.weights, layer["weights"], layer["fan_in"] + 1, layer["width"])


@kernel
def transposed_weights_of(layer, buffers):
    """Return Wᵀ, (fan_out, fan_in): compact, or in plain rows for a narrow layer."""
    if layer["narrow"]:
        return rows_of(layer, buffers.weights, narrow_start(layer, buffers))
    start = layer["transposed"]
    return compact(buffers.transposed, start, layer["fan_out"], layer["back_width"])


@kernel
def multiply_sparse(layer, buffers, sources, position, dropping, Z):
    """Compute Z = [X, 1] W for rows of a sparse X, from `position` in the order, read in place."""
    share = buffers.dropout[0] if dropping.loop else 0.0
    X, order = sources[FEATURES], sources[ORDER]
    weights, z = buffers.weights, Z.data
    like = weights[0]
    W = weights_of(layer, buffers)
    for column in range(0, W.columns, panel_width(weights)):
        panel = panel_of(W, column)
        width, biases = panel.columns, panel.start + layer["fan_in"] * panel.row_stride
        for r in range(Z.rows):
            target = panel_of(Z, column).start + r * Z.row_stride
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
    """Store A = f(Z) and Z = f'(Z), for one panel of A and all pieces of Z that belong to it."""
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
            A.start + panel * A.panel_stride,
            Z.start + panel * Z.panel_stride,
            layer["learned"] + panel * full,
            A.rows * full,
            min(full, layer["outputs"] - panel * full),
            layer["pieces"],
            panels * Z.panel_stride,
            type(data[0])(layer["constant"]),
        ),
    )


@formula
def multiply(layer, buffers, sources, position, dropping, first, Z, A, activates):
    """Compute Z = [A', 1] [W; b] from the inputs A'; if `activates`, A = f(Z) and Z = f'(Z).

    A panel's f directly follows its product, while the panel is in L1, unless f also needs other
    panels. ReLU is part of the product, and Z then stays as it is: see `backward`.
    """
    full, count = panel_width(A.data), layer["outputs"]
    fused = activates and layer["pieces"] == 1
    if dropping is not None and layer["sparse"]:
        multiply_sparse(layer, buffers, sources, position, dropping, Z)
        fused = False
    elif layer["narrow"]:
        multiply_narrow(layer, buffers, values_of(layer, buffers, first, Z.rows), Z)
        fused = False
    else:
        X, W = inputs_of(layer, buffers, first, Z.rows), weights_of(layer, buffers)
        rectifies = activates and layer["rectifies"] and not drops(dropping)
        C, how = (A, RECTIFY) if rectifies else (Z, STORE)
        for column in range(0, W.columns, full):
            place = panel_of(C, column)
            panel_product(place, X, panel_of(W, column), how, place)
            if fused and not rectifies:
                activate_panel(layer, buffers, Z, A, column // full)
    if activates and not fused:
        for panel in range(panel_count(count, A.data)):
            activate_panel(layer, buffers, Z, A, panel)
    if activates and count % full:  # the constant input after A, which f has overwritten
        start = panel_of(A, count // full * full).start + count % full
        for r in range(A.rows):
            A.data[start + r * full] = 1


@kernel
def backward(layer, before, buffers, first, rows, dropping):
    """Compute the previous layer's deltas from this layer's: δ' = δ Wᵀ ⊙ f'(z).

    ReLU's f'(z) is seen from f(z), the inputs of this layer, unless dropout has changed both.
    """
    D = deltas_of(layer, buffers, first, rows)
    D_before = deltas_of(before, buffers, first, rows)
    WT = transposed_weights_of(layer, buffers)
    if before["rectifies"] and not drops(dropping):
        product(D_before, D, WT, GATE, values_of(layer, buffers, first, rows))
    elif layer["fan_out"] <= DEPTH and before["pieces"] == 1 and not before["learns"]:
        product(D_before, D, WT, MULTIPLY, D_before)  # D_before holds f'(z)
    elif dropping is not None:
        U = upstream_of(before, buffers, rows)
        product(U, D, WT, STORE, U)
        spread(before, buffers, U, D_before)


@kernel
def spread(layer, buffers, U, D):
    """Compute δ = ∂loss/∂f(z) ⊙ f'(z) of all pieces, and the same for the learned parameters."""
    upstream, deltas, learning = U.data, D.data, buffers.learning
    full = panel_width(upstream)
    panels = panel_count(layer["outputs"], upstream)
    for panel in range(panels):
        u, d = U.start + panel * U.panel_stride, D.start + panel * D.panel_stride
        for piece in range(layer["pieces"]):
            place = d + piece * panels * D.panel_stride
            for i in range(U.rows * full):
                deltas[place + i] *= upstream[u + i]
        if layer["learns"]:
            for i in range(U.rows * full):
                learning[d + i] *= upstream[u + i]
