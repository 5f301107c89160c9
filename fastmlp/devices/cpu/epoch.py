"""The compiled walks that train: epochs of updates, and the gradient over all rows.

A batch is two phases, whatever the depth. *Rows*: each chunk of the batch's rows goes through all
layers forward and backward, and stays in the cache meanwhile. *Weights*: each panel of weights gets
its gradient over the whole batch and its update at once; a layer's gradient is never stored.
"""

import numpy as np

from ..._jit import entry, glue, kernel
from ...formulas.losses import SQUARED_ERROR
from .blocks import CHUNK
from .head import output_backward, output_forward
from .layers import (
    activate,
    add_unit_gradient,
    apply_layer_gradient,
    backward,
    deltas_of,
    multiply,
    multiply_sparse,
    update_unit,
    values_of,
    write_transposed,
)
from .layout import pointers
from .microkernel import ZERO
from .optimizer import next_step
from .products import panel_of, panel_width
from .rows import ABSENT, FEATURES, ORDER, TARGETS, WEIGHTS, gather, row_number, value
from .team import meet, share

SETTINGS = np.dtype(
    [
        ("batch_size", np.int64),
        ("loss", np.int64),
        ("optimizer", np.int64),
        ("nesterov", np.int64),
        ("step", np.int64),
        ("alpha", np.float64),
        ("learning_rate", np.float64),
        ("momentum", np.float64),
        ("beta_1", np.float64),
        ("beta_2", np.float64),
        ("epsilon", np.float64),
        ("clip", np.float64),  # machine epsilon: how near to 0 and 1 a log loss sees probabilities
        ("loss_sum", np.float64),  # of loss times rows, over the batches done
    ],
    align=True,
)


@kernel
def gather_features(X, order, position, A):
    """A = the rows of a dense X from `position` of the order on."""
    full = panel_width(A.data)
    for r in range(A.rows):
        row = row_number(order, position + r)
        for j in range(0, X["columns"], full):
            count = min(full, X["columns"] - j)
            gather(X, row, j, count, A.data, panel_of(A, j).start + r * A.row)


@glue
def forward(layers, buffers, sources, loss, position, first, rows):
    """Gather `rows` rows from `position` of the order on, and run them through all layers.

    They become the batch's rows from `first` on. Hidden values are left in the inputs of the layers
    after, outputs in the compact output rows.
    """
    X, order = sources[FEATURES], sources[ORDER]
    if not layers[0]["sparse"]:
        gather_features(X, order, position, values_of(layers[0], buffers, first, rows))
    last = layers.size - 1
    for index in range(layers.size):
        layer = layers[index]
        if index < last:
            Z = values_of(layers[index + 1], buffers, first, rows)
        else:
            Z = deltas_of(layer, buffers, first, rows)
        if layer["sparse"]:
            multiply_sparse(layer, buffers, sources, position, Z)
        else:
            multiply(layer, buffers, first, Z)
        if index < last:
            activate(layer, Z)
        else:
            output_forward(loss, Z, buffers, first)


@kernel
def gather_targets(sources, buffers, position, first, rows, outputs):
    """Targets and weights of the batch's rows from `first` on; without weights, ones."""
    targets, weights, order = sources[TARGETS], sources[WEIGHTS], sources[ORDER]
    t, w = buffers.targets, buffers.row_weights
    one = type(w[0])(1)
    start = first * outputs
    for r in range(rows):
        row = row_number(order, position + r)
        for k in range(outputs):
            t[start + k * rows + r] = value(targets, row, k, one)
        w[first + r] = one if weights["kind"] == ABSENT else value(weights, row, 0, one)


@glue
def rows_phase(layers, buffers, sources, settings, position, rows, member):
    """Values and deltas of all layers for the `rows` rows from `position` of the order on.

    Each member takes its share of the chunks, and leaves each chunk's sums of weight times loss and
    of weights: what is added up in which order does not depend on how many members there are.
    """
    last = layers[layers.size - 1]
    outputs = last["fan_out"]
    code = settings["loss"]
    clip = type(buffers.outputs[0])(settings["clip"])
    sums = last["first_unit"] + last["units"]
    begin, end = share(member, (rows + CHUNK - 1) // CHUNK)
    for chunk in range(begin, end):
        first = chunk * CHUNK
        count = min(CHUNK, rows - first)
        forward(layers, buffers, sources, code, position + first, first, count)
        gather_targets(sources, buffers, position + first, first, count, outputs)
        D = deltas_of(last, buffers, first, count)
        buffers.partial[sums + 2 * chunk] = output_backward(code, D, buffers, first, clip)
        for index in range(layers.size - 1, 0, -1):
            backward(layers[index], layers[index - 1], buffers, first, count)
        weight = 0.0
        for r in range(first, first + count):
            weight += np.float64(buffers.row_weights[r])
        buffers.partial[sums + 2 * chunk + 1] = weight


@kernel
def batch_sums(layers, buffers, settings, rows):
    """The batch's sums of weight times loss and of weights, from those of its chunks."""
    last = layers[layers.size - 1]
    sums = last["first_unit"] + last["units"]
    loss = weight = 0.0
    for chunk in range((rows + CHUNK - 1) // CHUNK):
        loss += buffers.partial[sums + 2 * chunk]
        weight += buffers.partial[sums + 2 * chunk + 1]
    if settings["loss"] == SQUARED_ERROR:
        loss /= last["fan_out"]
    return loss, weight


@kernel
def is_mine(member, layer, unit):
    """Whether a unit of the gradient is this member's: they go round, the same way each time."""
    return (layer["first_unit"] + unit) % member.members == member.rank


@entry
def transpose(layers, buffers):
    """Copy the weights into the transposed weights."""
    buffers = pointers(buffers)
    for index in range(layers.size):
        layer = layers[index]
        if layer["passes_on"] and not layer["narrow"]:
            for column in range(0, layer["width"], panel_width(buffers.weights)):
                write_transposed(layer, buffers, column, ZERO, 1 + layer["fan_in"])


@entry
def train(layers, buffers, sources, settings, member, begin, end):
    """Train on the rows at [begin, end) of the order, batch by batch.

    Returns False where it stopped before a batch whose weights sum to zero. Settings are a member's
    own: all members count the same steps.
    """
    buffers = pointers(buffers)
    settings = settings[0]
    for position in range(begin, end, settings["batch_size"]):
        rows = min(settings["batch_size"], end - position)
        rows_phase(layers, buffers, sources, settings, position, rows, member)
        if not meet(member):
            return False
        loss, weight = batch_sums(layers, buffers, settings, rows)
        if weight == 0.0:
            return False
        step = next_step(settings, weight, buffers.weights[0])
        for index in range(layers.size):
            layer = layers[index]
            for unit in range(layer["units"]):
                if is_mine(member, layer, unit):
                    buffers.partial[layer["first_unit"] + unit] = update_unit(
                        layer, buffers, sources, step, position, rows, unit
                    )
        if not meet(member):
            return False
        squares = 0.0
        for unit in range(layers[layers.size - 1]["first_unit"] + layers[layers.size - 1]["units"]):
            squares += buffers.partial[unit]
        penalty = 0.5 * settings["alpha"] * squares
        settings["loss_sum"] += (loss + penalty) / weight * rows
    return True


@entry
def add_gradient(layers, buffers, sources, settings, member, begin, end):
    """Add up loss and gradient, both without penalty, over the rows at [begin, end) of the order.

    The gradient goes to its buffer, in the layout of the weights. Returns the sum of weight times
    loss, and the sum of weights.
    """
    buffers = pointers(buffers)
    settings = settings[0]
    total = total_weight = 0.0
    for position in range(begin, end, settings["batch_size"]):
        rows = min(settings["batch_size"], end - position)
        rows_phase(layers, buffers, sources, settings, position, rows, member)
        if not meet(member):
            break
        loss, weight = batch_sums(layers, buffers, settings, rows)
        total += loss
        total_weight += weight
        for index in range(layers.size):
            layer = layers[index]
            for unit in range(layer["units"]):
                if is_mine(member, layer, unit):
                    add_unit_gradient(layer, buffers, sources, position, rows, unit)
        if not meet(member):
            break
    return total, total_weight


@entry
def apply_gradient(layers, buffers, settings, weight):
    """One update from the stored gradient; returns the sum of squared weights before it."""
    buffers = pointers(buffers)
    step = next_step(settings[0], weight, buffers.weights[0])
    squares = 0.0
    for index in range(layers.size):
        squares += apply_layer_gradient(layers[index], buffers, step)
    return squares
