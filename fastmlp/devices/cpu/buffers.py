"""The flat buffers of one device, and how compiled code takes them; `layout` says what is where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..._jit import JIT_DISABLED, formula
from .vectors import placed, placed_doubles


class Buffers(NamedTuple):
    """The flat buffers of one device; the docstring of `layout` describes what is where.

    Several buffers are reused during a batch: each step overwrites the result of the previous one,
    in the order given below.
    """

    weights: np.ndarray  # [W; b] of each layer, and its activation's learned parameters
    transposed: np.ndarray  # copies of W, written whenever W is updated
    first: np.ndarray  # moments of the optimiser, each in the layout of the weights
    second: np.ndarray
    inputs: np.ndarray  # features, and each hidden layer's f(z) as inputs of the next layer
    deltas: np.ndarray  # z; then f'(z); then δ = w ∂loss/∂z. Last layer: z, then δ
    learning: np.ndarray  # like the deltas, if activations learn: ∂f/∂c, then w ∂loss/∂c
    upstream: np.ndarray  # w ∂loss/∂f(z) of a chunk's rows, not yet multiplied by f'(z)
    outputs: np.ndarray  # predictions p; then ∂loss/∂p, or p - t if canonical; then ∂loss/∂z
    targets: np.ndarray  # targets t; then each output's loss
    row_weights: np.ndarray  # w
    row_scales: np.ndarray  # softmax: a row's largest z; then 1 / the sum of its exponentials
    loss_constants: np.ndarray  # one for each output
    output_slopes: np.ndarray  # the last layer's z; then its f'(z). Softmax: z, then a copy of p
    gradient: np.ndarray  # one job's at a time; or of all layers, in the layout of the weights
    partial: np.ndarray  # float64: each job's penalty; each chunk's sums of loss and weight
    dropout: np.ndarray  # float64: the share of each layer's inputs that is left out
    rates: np.ndarray  # float64: the learning rate of each of an epoch's steps
    numbers: np.ndarray  # float64: the optimiser's other numbers, of each step or of all
    kept: np.ndarray  # the outputs of all rows, row by row, if they are wanted


class Memory(NamedTuple):
    """The buffers as compiled code takes them: twenty arrays would take longer to pass and compile.

    Whoever calls compiled code keeps the buffers until it returns.
    """

    addresses: np.ndarray | list  # int64, of each buffer; the buffers themselves if the JIT is off
    like: np.ndarray  # of the buffers' dtype

    def put(self, **arrays: np.ndarray) -> Memory:
        """Put other arrays into the places of some buffers; return the memory."""
        for name, array in arrays.items():
            self.addresses[_PLACES[name]] = array if JIT_DISABLED else array.ctypes.data
        return self

    def copy(self) -> Memory:
        """Return a copy, with the same buffers."""
        return Memory(self.addresses.copy(), self.like)


_PLACES = {name: place for place, name in enumerate(Buffers._fields)}


@formula
def pointers(memory):
    """Return the buffers as pointers, for compiled code."""
    addresses, like = memory.addresses, memory.like
    return Buffers(
        placed(addresses, 0, like),
        placed(addresses, 1, like),
        placed(addresses, 2, like),
        placed(addresses, 3, like),
        placed(addresses, 4, like),
        placed(addresses, 5, like),
        placed(addresses, 6, like),
        placed(addresses, 7, like),
        placed(addresses, 8, like),
        placed(addresses, 9, like),
        placed(addresses, 10, like),
        placed(addresses, 11, like),
        placed(addresses, 12, like),
        placed(addresses, 13, like),
        placed(addresses, 14, like),
        placed_doubles(addresses, 15, like),
        placed_doubles(addresses, 16, like),
        placed_doubles(addresses, 17, like),
        placed_doubles(addresses, 18, like),
        placed(addresses, 19, like),
    )
