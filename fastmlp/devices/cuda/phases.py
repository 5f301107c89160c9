"""The kernels of the second regime that do not multiply: one for each phase of a batch.

Each thread takes one element after the other. They read their position in the run from `position`.
"""

import math
from functools import lru_cache
from typing import NamedTuple

from numba import from_dtype

from .elements import Kind, State, elements, weight_of
from .layout import layer_at
from .position import (
    BATCH,
    BATCH_ROWS,
    BLOCK_ROWS,
    CURRENT_BATCH,
    CURRENT_ROW,
    CURRENT_ROWS,
    END,
    FIRST_STEP,
    ROW,
    SEED,
    WEIGHTED,
)
from .sums import block_sum, sum_column
from .toolkit import LANES, SIMULATED, cuda, device, kernel
from .updates import CLIP_NORM, clip_scale, shrunk, slope_of, updater

#: Threads of blocks that process elements one by one.
THREADS = 4 if SIMULATED else 256
#: Features of a row that a warp gathers at a time, and how many of them each of its threads.
GATHERED = 4
SPAN = GATHERED * LANES


class Kernels(NamedTuple):
    """The kernels that do not multiply."""

    gather: object
    choose_pieces: object
    judge: object
    measure: object
    update: object
    limit_norms: object
    collect: object


@device
def begun(position):
    """Return the first row of the block that begins, its number of rows, and its batch.

    One thread also notes them, for the kernels that follow.
    """
    at, batch = position[ROW], position[BATCH]
    batch_end = min((batch + 1) * position[BATCH_ROWS], position[END])
    rows = min(position[BLOCK_ROWS], batch_end - at)
    if cuda.threadIdx.x == 0 and cuda.blockIdx.x == 0 and cuda.blockIdx.y == 0:
        position[CURRENT_ROW], position[CURRENT_ROWS], position[CURRENT_BATCH] = at, rows, batch
    return at, rows, batch


@device
def current(position):
    """Return the same of the block that has begun."""
    return position[CURRENT_ROW], position[CURRENT_ROWS], position[CURRENT_BATCH]


@device
def state_of(position, parameters, gradient, start, work, at, batch):
    """Return the data of the kernel's elements, for a block of rows that begins at row `at`."""
    step, row = position[FIRST_STEP] + batch, at - batch * position[BATCH_ROWS]
    return State(parameters, gradient, start, work, position[SEED], step, row)


@device
def _gradient_at(gradient, size, copies, i):
    """Sum the copies of the gradient for parameter i, in a fixed order."""
    return sum_column(gradient, i, size, 0, copies, 1)


def judgement(own):
    """Return the function that completes a row's outputs and, if it judges, finds its deltas."""

    @device
    def judge_row(
        state, layer, position, at, r, targets, weights, order, constants, epsilon, losses, judges
    ):  # fmt: skip
        own.finish_outputs(state, layer, r)
        if judges:
            row = order[at + r]
            weight = weight_of(weights, row, position[WEIGHTED])
            losses[at + r] = own.judge(state, layer, r, targets, row, weight, constants, epsilon)

    return judge_row


@lru_cache
def kernels(kind: Kind) -> Kernels:
    """Return the kernels that do not multiply, for one kind of network."""
    real = from_dtype(kind.dtype)
    own = elements(kind)
    update_parameter = updater(kind.optimizer)
    judge_row = judgement(own)

    def named(function):
        name = kind.name and f"cuda.{function.__name__}-{kind.name}"
        return kernel(THREADS, name)(function)

    def gather(position, layers, numbers, parameters, work, X, order):
        at, rows, batch = begun(position)
        state = state_of(position, parameters, parameters, 0, work, at, batch)
        layer = layer_at(layers, numbers, 0)
        x = cuda.local.array(GATHERED, real)
        spans = (layer.units + SPAN - 1) // SPAN
        for part in range(cuda.grid(1) // LANES, rows * spans, cuda.gridsize(1) // LANES):
            r, first = part // spans, part % spans * SPAN + cuda.threadIdx.x % LANES
            row = order[at + r]
            for q in range(GATHERED):
                if first + q * LANES < layer.units:
                    x[q] = real(X[row, first + q * LANES])
            for q in range(GATHERED):
                if first + q * LANES < layer.units:
                    own.gather(state, layer, r, first + q * LANES, x[q])

    def choose_pieces(position, layers, numbers, parameters, work, index):
        layer = layer_at(layers, numbers, index)
        at, rows, batch = current(position)
        state = state_of(position, parameters, parameters, 0, work, at, batch)
        for r in range(cuda.grid(1) // LANES, rows, cuda.gridsize(1) // LANES):
            for j in range(cuda.threadIdx.x % LANES, layer.units, LANES):
                own.choose_piece(state, layer, r, j)

    def judge(
        position, layers, numbers, parameters, work, targets, weights, order, constants, epsilon,
        losses, judges,
    ):  # fmt: skip
        layer = layer_at(layers, numbers, len(layers) - 1)
        at, rows, batch = current(position)
        state = state_of(position, parameters, parameters, 0, work, at, batch)
        for r in range(cuda.grid(1), rows, cuda.gridsize(1)):
            judge_row(
                state, layer, position, at, r, targets, weights, order, constants, epsilon,
                losses, judges,
            )  # fmt: skip

    def measure(position, parameters, gradient, steps, penalised, copies, squares):
        scratch = cuda.shared.array(THREADS, real)
        step, size = steps[position[CURRENT_BATCH]], len(parameters)
        total = real(0)
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            g = _gradient_at(gradient, size, copies, i)
            slope = slope_of(step, parameters[i], g, i < penalised)
            total += slope * slope
        total = block_sum(total, scratch)
        if cuda.threadIdx.x == 0:
            squares[cuda.blockIdx.x] = total

    def update(
        position, parameters, first, second, gradient, steps, penalised, copies, squares,
        losses, loss_share, totals,
    ):  # fmt: skip
        scratch = cuda.shared.array(THREADS, real)
        batch, size = position[CURRENT_BATCH], len(parameters)
        step, scale = steps[batch], real(1)
        if step[CLIP_NORM] < math.inf:
            total = real(0)
            for block in range(len(squares)):
                total += squares[block]
            scale = clip_scale(step, total)
        penalty = loss = real(0)
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            g = _gradient_at(gradient, size, copies, i)
            penalty += update_parameter(step, parameters, first, second, i, g, i < penalised, scale)
        begin = batch * position[BATCH_ROWS]
        end = min(begin + position[BATCH_ROWS], position[END])
        for r in range(begin + cuda.grid(1), end, cuda.gridsize(1)):
            loss += losses[r]
        total = block_sum(real(0.5) * penalty + loss_share * loss, scratch)
        if cuda.threadIdx.x == 0:
            totals[batch, cuda.blockIdx.x] = total
        if cuda.grid(1) == 0:
            position[BATCH] = batch + 1

    def limit_norms(layers, numbers, parameters, index, most):
        layer = layer_at(layers, numbers, index)
        for j in range(cuda.grid(1), layer.fan_out, cuda.gridsize(1)):
            shrunk(parameters, layer.weights + j, layer.fan_out, layer.fan_in, most)

    def collect(gradient, copies, size):
        for i in range(cuda.grid(1), size, cuda.gridsize(1)):
            gradient[i] = _gradient_at(gradient, size, copies, i)

    functions = gather, choose_pieces, judge, measure, update, limit_norms, collect
    return Kernels(*(named(function) for function in functions))
