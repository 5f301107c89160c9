"""The update of a range of parameters, from their gradient summed over the batch.

Each optimiser's loop over parameters is compiled separately and called by its address.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import types

from ..._jit import kernel
from ...formulas.optimizers import FORMULAS, corrected, penalty_slope, twice_penalty
from ...optimizers import OPTIMIZERS, Optimizer
from .calls import Loop, call_sum, kept_as

#: Whether penalties act on parameters; not literals: kernels would be compiled for each.
PENALISED, FREE = np.arange(2, dtype=np.int64)


class Step(NamedTuple):
    """The settings that all updates of one step share, in the parameters' dtype."""

    update: int  # address of the optimiser's loop
    learning_rate: float
    numbers: tuple  # the optimiser's constants
    l2: float
    l1: float
    decay: float  # factor of each weight
    free_decay: float  # factor of parameters without penalty
    scale: float  # 1 / the batch's total weight, smaller if the gradient is clipped


class Update(NamedTuple):
    """The data of an optimiser's loop: the parameters [begin, end).

    Their gradient, summed over the batch, is in `gradient`, shifted by `shift` numbers. The loop
    returns twice the penalty before the update.
    """

    weights: np.ndarray
    gradient: np.ndarray
    first: np.ndarray
    second: np.ndarray
    begin: int
    end: int
    shift: int
    learning_rate: float
    numbers: tuple
    l2: float
    l1: float
    decay: float
    scale: float


def _with_one_moment(formula, compiler):
    def loop(work):
        w, gradient, first, shift = work.weights, work.gradient, work.first, work.shift
        learning_rate, numbers = work.learning_rate, work.numbers
        l2, l1, decay, scale = work.l2, work.l1, work.decay, work.scale
        penalty = type(scale)(0)
        for i in range(work.begin, work.end):
            old = w[i]
            slope = (gradient[shift + i] + penalty_slope(old, l2, l1)) * scale
            change, first[i] = formula(slope, first[i], learning_rate, numbers)
            w[i] = old * decay + change
            penalty += twice_penalty(old, l2, l1)
        return np.float64(penalty)

    return compiler(loop)


def _with_two_moments(formula, compiler):
    def loop(work):
        w, gradient, shift = work.weights, work.gradient, work.shift
        first, second = work.first, work.second
        learning_rate, numbers = work.learning_rate, work.numbers
        l2, l1, decay, scale = work.l2, work.l1, work.decay, work.scale
        penalty = type(scale)(0)
        for i in range(work.begin, work.end):
            old = w[i]
            slope = (gradient[shift + i] + penalty_slope(old, l2, l1)) * scale
            change, m, v = formula(slope, first[i], second[i], learning_rate, numbers)
            first[i] = m
            second[i] = v
            w[i] = old * decay + change
            penalty += twice_penalty(old, l2, l1)
        return np.float64(penalty)

    return compiler(loop)


def updating(name, compiler):
    """Return the loop over an optimiser's formula, compiled by `compiler`."""
    make = {1: _with_one_moment, 2: _with_two_moments}[OPTIMIZERS[name].moments]
    return make(FORMULAS[name], compiler)


_UPDATES = {name: updating(name, kept_as(f"optimizer_{name}")) for name in OPTIMIZERS}
#: Every loop that may be compiled ahead.
ENTRIES = tuple(_UPDATES.values())


def update_loop(optimizer: Optimizer, dtype: np.dtype) -> Loop:
    """Return the loop of an optimiser."""
    return _update_loop(optimizer.name, dtype)


@lru_cache
def _update_loop(name, dtype):
    return Loop(_UPDATES[name], Update, dtype, returns=types.float64)


def compile_all(dtype: np.dtype) -> None:
    """Compile every optimiser's loop."""
    for kind in OPTIMIZERS.values():
        update_loop(kind(), dtype)


@kernel
def next_step(settings, buffers, batch, weight):
    """Count one step, and return the settings of this batch's updates in the parameters' dtype."""
    settings["step"] += 1
    learning_rate, like = buffers.rates[batch], buffers.weights[0]
    corrected_rate = corrected(
        learning_rate, settings["beta_1"], settings["beta_2"], settings["step"]
    )
    row = batch * settings["numbers_stride"]
    decay = learning_rate * settings["decay"]
    return Step(
        settings["update"],
        type(like)(corrected_rate),
        (
            type(like)(buffers.numbers[row]),
            type(like)(buffers.numbers[row + 1]),
            type(like)(buffers.numbers[row + 2]),
            type(like)(buffers.numbers[row + 3]),
            type(like)(buffers.numbers[row + 4]),
            type(like)(buffers.numbers[row + 5]),
            type(like)(buffers.numbers[row + 6]),
        ),
        type(like)(settings["l2"]),
        type(like)(settings["l1"]),
        type(like)(1.0 - (decay + learning_rate * settings["weight_decay"])),
        type(like)(1.0 - decay),
        type(like)(1.0 / weight),
    )


@kernel
def with_scale(step, scale):
    """Return the same step with another gradient scale."""
    return Step(
        step.update, step.learning_rate, step.numbers, step.l2, step.l1, step.decay,
        step.free_decay, scale,
    )  # fmt: skip


@kernel
def update(step, buffers, begin, end, g, free):
    """Update the parameters [begin, end) from their gradient, summed over the batch, at `g`.

    Parameters that are `free`, which are biases and the learned parameters of activations, have no
    penalty, and only the optimiser's own decay. Returns the share of the penalty before the update.
    """
    l2, l1, decay = step.l2, step.l1, step.decay
    if free:
        l2 = l1 = type(step.scale)(0)
        decay = step.free_decay
    work = Update(
        buffers.weights,
        buffers.gradient,
        buffers.first,
        buffers.second,
        np.int64(begin),
        np.int64(end),
        np.int64(g - begin),
        step.learning_rate,
        step.numbers,
        l2,
        l1,
        decay,
        step.scale,
    )
    return 0.5 * call_sum(step.update, work)


@kernel
def squared_slopes(step, buffers, begin, end, free):
    """Return the sum of squares of the gradient, penalties included, of parameters [begin, end).

    The gradient is the stored one of all layers, which has the layout of the parameters.
    """
    w, gradient = buffers.weights, buffers.gradient
    zero = type(step.scale)(0)
    l2, l1 = (zero, zero) if free else (step.l2, step.l1)
    total = 0.0
    for i in range(begin, end):
        slope = (gradient[i] + penalty_slope(w[i], l2, l1)) * step.scale
        total += np.float64(slope * slope)
    return total
