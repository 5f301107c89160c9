"""The compiled walks for training: epochs of updates, and the gradient over all rows.

A batch takes two phases, whatever the depth. *Rows*: each chunk of the batch's rows goes forward
and backward through all layers, and stays in the cache meanwhile. *Weights*: each panel of weights
gets its gradient over the whole batch and is updated at once; the gradient of a whole layer is
never stored.

*Plain* networks, nearly all, have their own code without what few need: sparse rows, dropout, what
activations learn. To compile it would take a sixth of the first fit's time. `general` is None
there, and so is `dropping`: Numba leaves out what follows ``if dropping is not None``. The code for
all networks is compiled when the first other one comes; see `Layout.general`.
"""

import numpy as np

from ..._jit import entry, formula, glue, kernel
from .block_sizes import CHUNK
from .buffers import pointers
from .dropout import Dropping, drop_inputs, drop_outputs
from .gradients import (
    add_job_gradient,
    apply_layer_gradient,
    constrain,
    squared_layer_gradient,
    update_job,
    write_transposed,
)
from .layers import backward, deltas_of, multiply, values_of
from .optimizer import next_step, with_scale
from .output_layer import output_backward, output_forward
from .panels import column_start, panel_width
from .sources import (
    ABSENT,
    FEATURES,
    ORDER,
    TARGETS,
    WEIGHTS,
    address_of,
    check_order,
    copy_vector,
    gather,
    holds_vectors,
    prefetch_rows,
    row_number,
    value,
)
from .team import meet, share
from .vectors import VECTORS, ZERO

#: The inputs and results of the walks. The order of the fields is only for readers: records are
#: built by field name.
SETTINGS = np.dtype(
    [
        # Constants of a device.
        ("loss", np.int64),  # address of the loss's loop
        ("canonical", np.int64),  # 1 if the loop returns the delta, 0 if it returns ∂L/∂p
        ("same_constants", np.int64),  # 1 if the loss has the same constant for all outputs
        ("mean_over_outputs", np.int64),
        ("clip", np.float64),  # machine epsilon: a log loss keeps p this far from 0 and 1
        ("dropping", np.int64),  # address of the dropout loop, or 0
        ("seed", np.int64),
        ("l2", np.float64),
        ("l1", np.float64),
        ("weight_decay", np.float64),  # of weights only
        ("decay", np.float64),  # the optimiser's own, of all parameters
        ("clip_norm", np.float64),
        ("max_norm", np.float64),
        ("update", np.int64),  # address of the optimiser's loop
        ("numbers_stride", np.int64),  # 0 if all steps have the same numbers
        ("beta_1", np.float64),  # decay rates for the bias correction of the learning rate
        ("beta_2", np.float64),
        # Of one call, or of its current position.
        ("batch_size", np.int64),  # if a batch is summed block by block: the size of a block
        ("backward", np.int64),  # 0 if only losses are summed, and no gradient
        ("keeps", np.int64),  # 1 if the outputs of all rows are kept
        ("batch_begin", np.int64),  # position in the order where the batch begins
        ("step", np.int64),  # the optimiser's step count; each update increments it
        # Results.
        ("loss_sum", np.float64),  # over the batches so far: loss times rows, or weight times loss
        ("weight_sum", np.float64),  # over the batches so far, if their gradients are added up
    ],
    align=True,
)


@kernel
def gather_features(X, order, position, A):
    """Fill A with the rows of a dense X, from `position` in the order on."""
    full, columns = panel_width(A.data), X["columns"]
    if holds_vectors(X, A.data):
        lanes = full // VECTORS
        for r in range(A.rows):
            row = row_number(order, position + r)
            for j in range(0, columns, lanes):
                start = column_start(A, j) + r * full
                copy_vector(address_of(X, row, j), min(lanes, columns - j), A.data, start)
        return
    for r in range(A.rows):
        row = row_number(order, position + r)
        for j in range(0, columns, full):
            start = column_start(A, j) + r * full
            gather(X, row, j, min(full, columns - j), A.data, start)


@formula
def forward(layers, buffers, sources, position, dropping, first, rows):
    """Gather `rows` rows from `position` in the order on, and run them through all layers.

    They become the batch's rows from `first` on. Hidden activations are stored in the inputs of the
    next layers, their derivatives f'(z) in the deltas, and the outputs in the compact output rows.
    """
    X, order = sources[FEATURES], sources[ORDER]
    if not layers[0]["sparse"]:
        A = values_of(layers[0], buffers, first, rows)
        gather_features(X, order, position, A)
        prefetch_rows(X, order, position + rows, CHUNK)
        if dropping is not None and dropping.loop and buffers.dropout[0] > 0:
            drop_inputs(layers[0], buffers.dropout[0], dropping, A)
    last = layers.size - 1
    for index in range(layers.size):
        layer = layers[index]
        Z = deltas_of(layer, buffers, first, rows)
        hidden = index < last
        A = values_of(layers[index + 1], buffers, first, rows) if hidden else Z
        multiply(layer, buffers, sources, position, dropping, first, Z, A, hidden)
        if not hidden:
            output_forward(layer, Z, buffers, first)
        elif dropping is not None and dropping.loop and buffers.dropout[index + 1] > 0:
            drop_outputs(layer, buffers, buffers.dropout[index + 1], dropping, Z, A)


@kernel
def gather_targets(sources, buffers, position, first, rows, outputs):
    """Gather targets and weights of the batch's rows from `first` on; ones if without weights."""
    targets, weights, order = sources[TARGETS], sources[WEIGHTS], sources[ORDER]
    t, w = buffers.targets, buffers.row_weights
    one = type(w[0])(1)
    start = first * outputs
    for r in range(rows):
        row = row_number(order, position + r)
        for k in range(outputs):
            t[start + k * rows + r] = value(targets, row, k, one)
        w[first + r] = one if weights["kind"] == ABSENT else value(weights, row, 0, one)


@kernel
def keep_outputs(buffers, first, place, rows, outputs):
    """Keep the outputs of the batch's rows from `first` on, from position `place` on."""
    p, kept, start = buffers.outputs, buffers.kept, first * outputs
    for r in range(rows):
        for k in range(outputs):
            kept[(place + r) * outputs + k] = p[start + k * rows + r]


@glue
def rows_phase(layers, buffers, sources, settings, position, rows, member, general):
    """Compute activations and deltas of all layers for `rows` rows from `position` on.

    Each member takes its share of the chunks, and stores for each chunk the sums of weight times
    loss and of weights: the order of the additions does not depend on the number of members.
    """
    last = layers[layers.size - 1]
    outputs = last["fan_out"]
    clip = type(buffers.outputs[0])(settings["clip"])
    sums = last["first_job"] + last["jobs"]
    begin, end = share(member, (rows + CHUNK - 1) // CHUNK)
    for chunk in range(begin, end):
        first = chunk * CHUNK
        count = min(CHUNK, rows - first)
        dropping = dropping_at(settings, position + first, general)
        forward(layers, buffers, sources, position + first, dropping, first, count)
        gather_targets(sources, buffers, position + first, first, count, outputs)
        if settings["keeps"]:
            keep_outputs(buffers, first, position + first, count, outputs)
        D = deltas_of(last, buffers, first, count)
        buffers.partial[sums + 2 * chunk] = output_backward(last, settings, D, buffers, first, clip)
        for index in range(layers.size - 1 if settings["backward"] else 0, 0, -1):
            backward(layers[index], layers[index - 1], buffers, first, count, dropping)
        weight = 0.0
        for r in range(first, first + count):
            weight += np.float64(buffers.row_weights[r])
        buffers.partial[sums + 2 * chunk + 1] = weight


@kernel
def dropping_at(settings, position, general):
    """Return the common settings of the masks for the rows from `position` in the order on."""
    if general is None:
        return None
    row = position - settings["batch_begin"]
    return Dropping(settings["dropping"], settings["seed"], settings["step"], row)


@kernel
def batch_sums(layers, buffers, settings, rows):
    """Return the batch's sums of weight times loss and of weights, from those of its chunks."""
    last = layers[layers.size - 1]
    sums = last["first_job"] + last["jobs"]
    loss = weight = 0.0
    for chunk in range((rows + CHUNK - 1) // CHUNK):
        loss += buffers.partial[sums + 2 * chunk]
        weight += buffers.partial[sums + 2 * chunk + 1]
    if settings["mean_over_outputs"]:
        loss /= last["fan_out"]
    return loss, weight


@kernel
def is_mine(member, layer, job):
    """Check whether a gradient job is this member's: jobs are assigned in a fixed rotation."""
    return (layer["first_job"] + job) % member.members == member.rank


@entry
def transpose(layers, memory):
    """Copy the weights into the transposed weights."""
    buffers = pointers(memory)
    for index in range(layers.size):
        layer = layers[index]
        if layer["passes_on"] and not layer["narrow"]:
            for column in range(0, layer["width"], panel_width(buffers.weights)):
                write_transposed(layer, buffers, column, ZERO, 1 + layer["fan_in"])


@entry
def train(layers, memory, sources, settings, member, begin, end, general):
    """Train on the rows at positions [begin, end) of the order, batch by batch.

    Returns False if it stopped before a batch whose weights sum to zero. Each member has its own
    settings: all members count the same steps.
    """
    buffers = pointers(memory)
    settings = settings[0]
    check_order(sources, begin, end)
    for position in range(begin, end, settings["batch_size"]):
        rows = min(settings["batch_size"], end - position)
        settings["batch_begin"] = position
        dropping = dropping_at(settings, position, general)
        rows_phase(layers, buffers, sources, settings, position, rows, member, general)
        if not meet(member):
            return False
        loss, weight = batch_sums(layers, buffers, settings, rows)
        if weight == 0.0:
            return False
        step = next_step(settings, buffers, position // settings["batch_size"], weight)
        for index in range(layers.size):
            layer = layers[index]
            for job in range(layer["jobs"]):
                if is_mine(member, layer, job):
                    buffers.partial[layer["first_job"] + job] = update_job(
                        layer, buffers, sources, step, position, dropping, rows, job
                    )
        if not meet(member):
            return False
        penalty = 0.0
        for job in range(layers[layers.size - 1]["first_job"] + layers[layers.size - 1]["jobs"]):
            penalty += buffers.partial[job]
        settings["loss_sum"] += (loss + penalty) / weight * rows
    return True


@entry
def add_gradient(layers, memory, sources, settings, member, begin, end, general):
    """Sum loss and gradient, without penalty, over the rows at positions [begin, end) of the order.

    The gradient is added to its buffer, in the layout of the weights; the sums of weight times loss
    and of weights are added to the settings. The order of the additions depends only on the rows,
    however many calls share them.
    """
    buffers = pointers(memory)
    settings = settings[0]
    check_order(sources, begin, end)
    for position in range(begin, end, settings["batch_size"]):
        rows = min(settings["batch_size"], end - position)
        rows_phase(layers, buffers, sources, settings, position, rows, member, general)
        if not meet(member):
            break
        loss, weight = batch_sums(layers, buffers, settings, rows)
        settings["loss_sum"] += loss
        settings["weight_sum"] += weight
        dropping = dropping_at(settings, position, general)
        for index in range(layers.size if settings["backward"] else 0):
            layer = layers[index]
            for job in range(layer["jobs"]):
                if is_mine(member, layer, job):
                    add_job_gradient(layer, buffers, sources, position, dropping, rows, job)
        if not meet(member):
            break


@entry
def apply_gradient(layers, memory, settings, weight):
    """Do one update from the stored gradient; return the penalty before it."""
    buffers = pointers(memory)
    settings = settings[0]
    batch = settings["batch_begin"] // settings["batch_size"]
    step = next_step(settings, buffers, batch, weight)
    if settings["clip_norm"] < np.inf:
        squares = 0.0
        for index in range(layers.size):
            squares += squared_layer_gradient(layers[index], buffers, step)
        if squares > settings["clip_norm"] ** 2:
            scale = type(step.scale)(settings["clip_norm"] / np.sqrt(squares))
            step = with_scale(step, step.scale * scale)
    penalty = 0.0
    for index in range(layers.size):
        penalty += apply_layer_gradient(layers[index], buffers, step)
    if settings["max_norm"] < np.inf:
        for index in range(layers.size):
            constrain(layers[index], buffers, settings["max_norm"])
    return penalty
