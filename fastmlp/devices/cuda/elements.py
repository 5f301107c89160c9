"""The computations for one element of a batch: one number, or one row of outputs.

These are device functions, composed from the formulas for one kind of network. None of them depends
on threads: each is called by the thread that has the element, in a kernel of `single_block` or
`phases`.
"""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import uint64

from ..._jit import plain
from ...formulas import dropout
from ...formulas.activations import LEARNING, PAIRS
from ...formulas.elementary import exp
from ...formulas.losses import FORMULAS, canonical_delta
from ..functions import Own
from .layout import NOWHERE
from .toolkit import device


class Kind(NamedTuple):
    """A kind of network: networks of one kind share kernels, whatever their widths.

    Activations are pairs (name, whether units learn), or custom objects. The table of layers refers
    to them by their index. `precision` is that of factors where tensor cores multiply them.
    """

    dtype: np.dtype
    activations: tuple
    softmax: bool
    loss: Any
    canonical: bool
    dropping: bool
    optimizer: str
    precision: str = "float32"

    @property
    def learns(self) -> bool:
        """Whether any layer's activation has learned parameters."""
        return any(isinstance(a, tuple) and a[1] for a in self.activations)

    @property
    def name(self) -> str | None:
        """A name for the disk cache; None if there are custom functions."""
        parts = *self.activations, self.loss
        if any(isinstance(part, Own) for part in parts):
            return None
        digest = hashlib.sha256(repr(self).encode()).hexdigest()
        return f"{self.dtype}-{digest[:16]}"


class State(NamedTuple):
    """The data of a kernel: parameters, and intermediate results of the batch."""

    parameters: Any
    gradient: Any  # summed over rows...
    start: Any  # ... from this index on, in the layout of the parameters
    work: Any
    seed: Any  # of dropout
    step: Any  # the optimiser's step count
    row: Any  # index in the batch of the first row in `work`


# ---- formulas of a kind --------------------------------------------------------------------------


def _choice(functions: list) -> Callable:
    """Return a function of (code, z, c) that calls the function with index `code`."""
    first, *rest = functions
    if not rest:

        @device
        def only(code, z, c):
            return first(z, c)

        return only
    others = _choice(rest)

    @device
    def either(code, z, c):
        if code == 0:
            return first(z, c)
        return others(code - 1, z, c)

    return either


def _users(own):
    """Return a user's two functions for the GPU, even if already compiled for the CPU."""
    return device(plain(own.custom.function)), device(plain(own.custom.derivative))


def _custom_pair(own):
    function, derivative = _users(own)

    @device
    def pair(z, c):
        return type(z)(function(z)), type(z)(derivative(z))

    return pair


@device
def _not_learning(z, c):
    return type(z)(0)


def _pairs(kind):
    """Return a function for f(z) and f'(z), by the table's code."""
    # Maxout and softmax need more than one z: `choose_piece` and `finish_outputs` complete them.
    first = PAIRS["identity"]
    return _choice(
        [
            PAIRS.get(a[0], first) if isinstance(a, tuple) else _custom_pair(a)
            for a in kind.activations
        ]
    )


def _learning(kind):
    functions = []
    for activation in kind.activations:
        learns = isinstance(activation, tuple) and activation[1]
        functions.append(LEARNING[activation[0]] if learns else _not_learning)
    return _choice(functions)


def _loss(kind):
    """Return a function for L(p, t) and ∂L/∂p, or p - t for a canonical pair."""
    if isinstance(kind.loss, str):
        loss = FORMULAS[kind.loss]
    else:
        function, derivative = _users(kind.loss)

        @device
        def loss(p, t, c, epsilon):
            return type(p)(function(p, t)), type(p)(derivative(p, t))

    if not kind.canonical:
        return loss

    @device
    def canonical(p, t, c, epsilon):
        return loss(p, t, c, epsilon)[0], canonical_delta(p, t)

    return canonical


# ---- elements ------------------------------------------------------------------------------------


class Elements(NamedTuple):
    """The functions of one kind of network."""

    gather: Callable
    activated: Callable
    leave: Callable
    choose_piece: Callable
    finish_outputs: Callable
    judge: Callable
    slope: Callable
    pass_back: Callable


def elements(kind: Kind) -> Elements:
    """Return the element functions for one kind of network."""
    activate, learn, loss = _pairs(kind), _learning(kind), _loss(kind)
    learns, canonical, softmax = kind.learns, kind.canonical, kind.softmax
    scale_of = _kept if kind.dropping else _all_kept

    @device
    def gather(state, layer, r, j, x):
        """Store a feature as an output of layer 0."""
        kept = x * scale_of(state, layer, r, j)
        state.work[uint64(layer.outputs + r * layer.outputs_stride + j)] = kept

    @device
    def activated(state, layer, r, j, z):
        """Return f(z) and f'(z), and store ∂f/∂c if units learn."""
        c, scale = layer.constant, scale_of(state, layer, r, j)
        if learns and layer.learned != NOWHERE:
            c = state.parameters[layer.learned + j]
            learning = learn(layer.activation, z, c) * scale
            state.work[layer.learning + r * layer.stride + j] = learning
        a, slope = activate(layer.activation, z, c)
        return a * scale, slope * scale

    @device
    def leave(state, layer, r, j, z):
        """Store f(z) and f'(z); of maxout z, as `choose_piece` needs all pieces."""
        work, place = state.work, r * layer.stride + j
        if layer.pieces > 1:
            work[layer.slopes + place] = z
            return
        a, slope = activated(state, layer, r, j, z)
        work[uint64(layer.slopes + place)] = slope
        work[uint64(layer.outputs + r * layer.outputs_stride + j)] = a

    @device
    def choose_piece(state, layer, r, j):
        """Store a maxout unit's largest z as its value, with slope 1; the others have slope 0."""
        work, first = state.work, layer.slopes + r * layer.stride + j
        best, winner = work[first], 0
        for piece in range(1, layer.pieces):
            z = work[first + piece * layer.units]
            if best == best and not z <= best:  # a NaN stays
                best, winner = z, piece
        scale = scale_of(state, layer, r, j)
        work[layer.outputs + r * layer.outputs_stride + j] = best * scale
        for piece in range(layer.pieces):
            slope = scale if piece == winner else type(scale)(0)
            work[first + piece * layer.units] = slope

    @device
    def finish_outputs(state, layer, r):
        """Replace a row's z by its probabilities, if the output activation is softmax."""
        if softmax:
            _softmax(state.work, layer.outputs + r * layer.outputs_stride, layer.units)

    @device
    def judge(state, layer, r, targets, t, weight, constants, epsilon):
        """Compute a row's output deltas, and return its loss; both times the row's weight."""
        work = state.work
        p, d = layer.outputs + r * layer.outputs_stride, layer.slopes + r * layer.stride
        total = along = type(epsilon)(0)
        for k in range(layer.units):
            value, slope = loss(work[p + k], targets[t, k], constants[k], epsilon)
            total += value
            if canonical:
                work[d + k] = slope * weight
            elif softmax:
                along += work[p + k] * slope
                work[d + k] = slope
            else:
                work[d + k] *= slope * weight
        if softmax and not canonical:
            for k in range(layer.units):
                work[d + k] = work[p + k] * (work[d + k] - along) * weight
        return total * weight

    @device
    def slope(state, layer, r, j, piece):
        """Return f'(z) of one piece."""
        return state.work[uint64(layer.slopes + r * layer.stride + j + piece * layer.units)]

    @device
    def pass_back(state, layer, r, j, piece, slope, upstream):
        """Store δ = ∂loss/∂z of one piece, and ∂loss/∂c if units learn, from ∂loss/∂f(z)."""
        place = r * layer.stride + j
        state.work[uint64(layer.slopes + place + piece * layer.units)] = slope * upstream
        if learns and layer.learned != NOWHERE:
            state.work[layer.learning + place] *= upstream

    return Elements(
        gather, activated, leave, choose_piece, finish_outputs, judge, slope, pass_back
    )  # fmt: skip


@device
def _kept(state, layer, r, unit):
    """Return dropout's factor for one of a layer's outputs."""
    if layer.threshold == 0:
        return layer.scale
    unit = layer.first_unit + unit
    row = state.row + r
    kept = dropout.kept(layer.threshold, layer.scale, state.seed, state.step, row, unit)
    return type(layer.scale)(kept)


@device
def _all_kept(state, layer, r, unit):
    return type(layer.scale)(1)


@device
def _softmax(work, start, count):
    """Compute p_k = exp(z_k - max z) / sum of these, in place; a NaN makes its whole row NaN."""
    largest = work[start]
    for k in range(start + 1, start + count):
        if not work[k] <= largest:
            largest = work[k]
    total = type(largest)(0)
    for k in range(start, start + count):
        work[k] = exp(work[k] - largest)
        total += work[k]
    for k in range(start, start + count):
        work[k] /= total


@device
def weight_of(weights, row, weighted):
    """Return a row's weight, or 1."""
    return weights[row] if weighted else type(weights[0])(1)
