"""The update of parameters and their limits: device functions, made from the formulas.

Like those of `elements`, none of them depends on threads.
"""

import math
from collections.abc import Callable

from ...formulas.optimizers import FORMULAS, penalty_slope, twice_penalty
from ...optimizers import MOST_NUMBERS, OPTIMIZERS
from .toolkit import device

#: Indices of the settings of one step, which are in the network's dtype.
LEARNING_RATE, SCALE, DECAY, FREE_DECAY, L2, L1, CLIP_NORM, NUMBERS = range(8)
#: Behind the optimiser's own settings: the bound of the weights.
MAX_NORM = NUMBERS + MOST_NUMBERS
#: The number of settings.
STEP_NUMBERS = MAX_NORM + 1


@device
def held(step):
    """Return the settings in registers: behind a store to memory, each would be loaded again."""
    return (
        step[0], step[1], step[2], step[3], step[4], step[5], step[6], *_numbers(step),
    )  # fmt: skip


@device
def slope_of(step, w, gradient, penalised):
    """Return ∂/∂w of the batch's mean loss with penalty, from the summed gradient."""
    zero = type(w)(0)
    l2 = step[L2] if penalised else zero
    l1 = step[L1] if penalised else zero
    return (gradient + penalty_slope(w, l2, l1)) * step[SCALE]


@device
def twice_penalty_of(step, w, penalised):
    """Return twice a parameter's part of the batch's summed penalty."""
    return twice_penalty(w, step[L2], step[L1]) if penalised else type(w)(0)


@device
def _numbers(step):
    return (
        step[NUMBERS], step[NUMBERS + 1], step[NUMBERS + 2], step[NUMBERS + 3], step[NUMBERS + 4],
        step[NUMBERS + 5], step[NUMBERS + 6],
    )  # fmt: skip


def _with_one_moment(formula):
    @device
    def change_of(step, slope, first, second, i):
        change, first[i] = formula(slope, first[i], step[LEARNING_RATE], _numbers(step))
        return change

    return change_of


def _with_two_moments(formula):
    @device
    def change_of(step, slope, first, second, i):
        change, m, v = formula(slope, first[i], second[i], step[LEARNING_RATE], _numbers(step))
        first[i], second[i] = m, v
        return change

    return change_of


def changer(optimizer: str) -> Callable:
    """Return the function for one parameter's next value, and twice its penalty before."""
    make = {1: _with_one_moment, 2: _with_two_moments}[OPTIMIZERS[optimizer].moments]
    change_of = make(FORMULAS[optimizer])

    @device
    def changed(step, w, first, second, i, gradient, penalised, scale):
        slope = slope_of(step, w, gradient, penalised) * scale
        decay = step[DECAY] if penalised else step[FREE_DECAY]
        after = w * decay + change_of(step, slope, first, second, i)
        return after, twice_penalty_of(step, w, penalised)

    return changed


def updater(optimizer: str) -> Callable:
    """Return the function that updates parameter i and returns twice its penalty before."""
    changed = changer(optimizer)

    @device
    def update(step, parameters, first, second, i, gradient, penalised, scale):
        w = parameters[i]
        parameters[i], penalty = changed(step, w, first, second, i, gradient, penalised, scale)
        return penalty

    return update


@device
def clip_scale(step, squares):
    """Return the factor that clips a gradient with this sum of squares."""
    most = step[CLIP_NORM]
    if squares > most * most:
        return most / type(most)(math.sqrt(squares))
    return type(most)(1)


@device
def shrunk(work, start, stride, count, most):
    """Scale a unit's weights down to the norm `most` if theirs is larger."""
    total = type(most)(0)
    for k in range(count):
        w = work[start + k * stride]
        total += w * w
    if total > most * most:
        scale = most / math.sqrt(total)
        for k in range(count):
            work[start + k * stride] *= scale
