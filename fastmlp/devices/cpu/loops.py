"""Loops over activations, losses and masks, each compiled separately.

A loop is compiled, or loaded from the disk cache, when a network first needs it: users do not wait
for loops that they do not use, and custom functions are treated like built-in ones. The code of an
epoch contains none of these loops, and is the same for all networks.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import jit, types
from numba.core.errors import NumbaTypeError

from ... import activations, losses
from ..._jit import (
    JIT_DISABLED,
    addressed,
    entry,
    formula,
    intrinsic,
    own_formula,
    plain,
    whole_vectors,
)
from ...formulas.activations import LEARNING, PAIRS
from ...formulas.losses import FORMULAS, canonical_delta
from ...formulas.random import at_least
from ..functions import Own
from .calls import Loop, kept_as
from .panels import panel_width


class Units(NamedTuple):
    """The data of an activation's loop: `count` numbers z, in `slopes` from `s` on.

    f(z) is written to `values`, from `a` on, and f'(z) replaces z. Learned parameters are in
    `constants`, from `c` on, one for each column of a panel; ∂f/∂c is written to `learning`, from
    `s` on. For maxout, the z of successive pieces are `distance` apart. The z either fill whole
    rows of a panel, in which `columns` columns belong to units and the others are padding; or they
    have no gaps, and `columns` equals `count`.
    """

    values: np.ndarray
    slopes: np.ndarray
    learning: np.ndarray
    constants: np.ndarray
    a: int
    s: int
    c: int
    count: int
    columns: int
    pieces: int
    distance: int
    constant: float


class Outputs(NamedTuple):
    """The data of a loss's loop: `count` predictions and targets, both from `start` on.

    The loss overwrites the target. ∂L/∂p overwrites the prediction, or ∂L/∂z if the output
    activation is the canonical one.
    """

    predictions: np.ndarray
    targets: np.ndarray
    start: int
    count: int
    constant: float
    epsilon: float


class Masked(NamedTuple):
    """The data of the dropout loop: rows of one panel, in `data` from `start` on.

    `row` is the index of the first row in the batch, `unit` that of the first unit in the network.
    `threshold` is the share that is left out, times 2^32; `scale` is one over the share that is
    kept.
    """

    data: np.ndarray
    start: int
    rows: int
    count: int
    seed: int
    step: int
    row: int
    unit: int
    threshold: int
    scale: float


# ---- activations ---------------------------------------------------------------------------------


def elementwise(pair, compiler):
    """Return the loop over a formula for f(z) and f'(z), compiled by `compiler`."""

    def loop(work):
        whole_vectors()
        values, slopes, a, s, constant = work.values, work.slopes, work.a, work.s, work.constant
        for i in range(work.count):
            values[a + i], slopes[s + i] = pair(slopes[s + i], constant)

    return compiler(loop)


def _learning(pair, constant_slope, compiler):
    def loop(work):
        whole_vectors()
        values, slopes, learning = work.values, work.slopes, work.learning
        width = min(panel_width(values), work.count)
        for row in range(0, work.count, width):
            for j in range(width):
                z, constant = slopes[work.s + row + j], work.constants[work.c + j]
                values[work.a + row + j], slopes[work.s + row + j] = pair(z, constant)
                learning[work.s + row + j] = constant_slope(z, constant)

    return compiler(loop)


def _maxout(work):
    """Compute the largest z; the slope is 1 for the first piece that has it, else 0."""
    whole_vectors()
    values, slopes, a = work.values, work.slopes, work.a
    zero, one = type(work.constant)(0), type(work.constant)(1)
    for i in range(work.count):
        values[a + i] = slopes[work.s + i]
    for piece in range(1, work.pieces):
        start = work.s + piece * work.distance
        for i in range(work.count):  # a NaN propagates, whichever piece it is in
            z, largest = slopes[start + i], values[a + i]
            larger = z if z > largest else largest
            values[a + i] = z if z != z else larger
    for piece in range(work.pieces):
        start = work.s + piece * work.distance
        for i in range(work.count):
            slopes[start + i] = one if slopes[start + i] == values[a + i] else zero
        for before in range(work.s, start, work.distance):
            for i in range(work.count):
                slopes[start + i] = zero if slopes[before + i] == one else slopes[start + i]


_FUNCTIONS = {
    **{name: elementwise(pair, kept_as(f"activation_{name}")) for name, pair in PAIRS.items()},
    "maxout": entry(_maxout, addressed),
}
_LEARNING = {
    name: _learning(PAIRS[name], slope, kept_as(f"activation_{name}_learning"))
    for name, slope in LEARNING.items()
}


# ---- a user's own --------------------------------------------------------------------------------


def _users(function):
    """Return a user's function, compiled on its first call, with the user's own jit options."""
    if JIT_DISABLED:
        return plain(function)
    if hasattr(function, "targetoptions"):  # again, as its globals may have changed since
        return jit(**function.targetoptions)(plain(function))
    return own_formula(function)


@intrinsic(lambda result: result)
def _number(typingctx, result):
    """Return the result of a user's function after checking that it is a number."""
    if not isinstance(result, types.Number | types.Boolean):
        raise NumbaTypeError(f"a function returned {result}, expected a number")
    return result(result), lambda context, builder, signature, arguments: arguments[0]


def _own_activation(custom):
    """Return the loop over a user's activation; it never sees padding, which becomes 0."""
    value, slope = _users(custom.function), _users(custom.derivative)

    def loop(work):
        whole_vectors()
        values, slopes, a, s = work.values, work.slopes, work.a, work.s
        width = work.count if work.columns == work.count else panel_width(values)
        for row in range(0, work.count, width):
            for j in range(row, row + work.columns):
                z = slopes[s + j]
                values[a + j] = type(z)(_number(value(z)))
                slopes[s + j] = type(z)(_number(slope(z)))
            for j in range(row + work.columns, row + width):
                values[a + j] = slopes[s + j] = 0

    return loop


def _own_loss(custom):
    value, slope = _users(custom.function), _users(custom.derivative)

    def loop(work):
        whole_vectors()
        predictions, targets = work.predictions, work.targets
        for i in range(work.start, work.start + work.count):
            p, t = predictions[i], targets[i]
            targets[i] = type(p)(_number(value(p, t)))
            predictions[i] = type(p)(_number(slope(p, t)))

    return loop


#: The loops of custom functions. The key is what they are made of: it does not keep them alive.
_OWN: dict[tuple, Loop] = {}


def _own_loop(custom, make, work, dtype) -> Loop:
    """Return the loop over a user's functions.

    Raises
    ------
    ValueError
        If they cannot be compiled, with Numba's message and what the functions may contain.
    """
    key = make, dtype, Own.of(custom)
    if key not in _OWN:
        try:
            loop = Loop(addressed(make(custom)), work, dtype)
        except Exception as error:  # of many types, most of them Numba's
            raise ValueError(
                f"{custom!r} could not be compiled. {custom.takes} and may use what Numba supports "
                f"in nopython mode. Numba says:\n{error}"
            ) from error
        _OWN[make, dtype, Own(None, key[2].made_of)] = loop
    return _OWN[key]


def activation_loop(activation: activations.Activation, dtype: np.dtype) -> Loop:
    """Return the loop of a hidden or output activation; not for softmax.

    Raises
    ------
    ValueError
        If a user's own function cannot be compiled.
    """
    if activation.custom:
        return _own_loop(activation, _own_activation, Units, dtype)
    return _activation_loop(activation, dtype)


@lru_cache(maxsize=256)
def _activation_loop(activation, dtype):
    table = _LEARNING if activation.learnable else _FUNCTIONS
    return Loop(table[activation.name], Units, dtype)


def layer_loops(network, dtype: np.dtype) -> list[Loop | None]:
    """Return each layer's loop; None for softmax, which acts on whole rows."""
    return [
        None if activation.whole_row else activation_loop(activation, np.dtype(dtype))
        for activation in (*network.activation, network.output_activation)
    ]


# ---- losses --------------------------------------------------------------------------------------


def _loss(formula_of, compiler):
    def loop(work):
        whole_vectors()
        p, t, constant, epsilon = work.predictions, work.targets, work.constant, work.epsilon
        for i in range(work.start, work.start + work.count):
            t[i], p[i] = formula_of(p[i], t[i], constant, epsilon)

    return compiler(loop)


def _canonical(formula_of):
    """Return the same loss with ∂L/∂z of the canonical pair instead of ∂L/∂p."""

    @formula
    def both(p, t, c, epsilon):
        return formula_of(p, t, c, epsilon)[0], canonical_delta(p, t)

    return both


_LOSSES = {name: _loss(formula, kept_as(f"loss_{name}")) for name, formula in FORMULAS.items()}
_CANONICAL = {
    name: _loss(_canonical(FORMULAS[name]), kept_as(f"loss_{name}_canonical"))
    for name, loss in losses.LOSSES.items()
    if loss.canonical
}


def loss_loop(loss: losses.Loss, canonical: bool, dtype: np.dtype) -> Loop:
    """Return the loop of a loss, with its canonical output activation or another one.

    Raises
    ------
    ValueError
        If a user's own function cannot be compiled.
    """
    if loss.custom:
        return _own_loop(loss, _own_loss, Outputs, dtype)
    return _loss_loop(loss.name, canonical, dtype)


@lru_cache
def _loss_loop(name, canonical, dtype):
    return Loop((_CANONICAL if canonical else _LOSSES)[name], Outputs, dtype)


# ---- dropout -------------------------------------------------------------------------------------


def _drop(work):
    """Multiply values by their masks: 0, or one over the share that is kept."""
    whole_vectors()
    data, zero = work.data, type(work.scale)(0)
    full = panel_width(data)
    for r in range(work.rows):
        row = work.start + r * full
        for j in range(work.count):
            kept = at_least(work.threshold, work.seed, work.step, work.row + r, work.unit + j)
            data[row + j] = data[row + j] * work.scale if kept else zero


_DROP = entry(_drop, addressed)


@lru_cache
def drop_loop(dtype: np.dtype) -> Loop:
    """Return the loop of dropout."""
    return Loop(_DROP, Masked, dtype)


#: Every loop that may be compiled ahead.
ENTRIES = (
    *_FUNCTIONS.values(), *_LEARNING.values(), *_LOSSES.values(), *_CANONICAL.values(), _DROP,
)  # fmt: skip


def compile_all(dtype: np.dtype) -> None:
    """Compile every built-in loop."""
    for kind in {**activations.HIDDEN, **activations.OUTPUT}.values():
        if not kind.whole_row:
            activation_loop(kind(), dtype)
    activation_loop(activations.Swish(learnable=True), dtype)
    drop_loop(dtype)
    for kind in losses.LOSSES.values():
        for canonical in {False, kind.canonical}:
            loss_loop(kind(), canonical, dtype)
