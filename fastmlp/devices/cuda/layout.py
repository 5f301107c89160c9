"""The layout of a network on the GPU: a table of its layers for kernels, and one flat work buffer.

Parameters on the GPU have the layout of the public packed vector: all weights, then all biases,
then the activations' learned parameters; the same for moments and gradients. Only shared memory has
a layout of its own, see `shared`. Intermediate results of a batch are in the work buffer, row by
row. Row strides are multiples of four, as four neighbours can be copied at once; the network's
outputs alone lie close together, for the host.

``outputs``
    f(z) of every layer; the features are the outputs of layer 0,
``slopes``
    f'(z), later overwritten by the deltas,
``learning``
    ∂f/∂c for an activation's learned parameters c.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..._jit import plain
from ...formulas.dropout import kept_scale, threshold
from ..functions import Own
from .toolkit import device

#: The index that stands for "not there".
NOWHERE = -1


class Layer(NamedTuple):
    """One layer in a kernel, read from its row of the tables. Positions are in flat buffers.

    Layer 0 stands for the features; only its outputs have a meaning.
    """

    fan_in: Any
    fan_out: Any  # columns of z, of all pieces
    pieces: Any
    units: Any
    weights: Any
    weights_stride: Any
    biases: Any
    learned: Any
    activation: Any  # its index among the kind's activations
    inputs: Any
    inputs_stride: Any
    outputs: Any
    outputs_stride: Any
    slopes: Any
    stride: Any  # of `slopes` and `learning`
    learning: Any
    first_unit: Any  # its index in the network, for dropout
    threshold: Any  # dropout keeps an output if its random word is at least this
    constant: Any  # the activation's
    scale: Any  # factor of outputs that dropout keeps


_FIELDS = Layer._fields[:-2]


@device
def layer_at(layers, numbers, index):
    """Read one row of the tables."""
    a = layers[index]
    return Layer(
        a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13],
        a[14], a[15], a[16], a[17], numbers[index, 0], numbers[index, 1],
    )  # fmt: skip


class Layout(NamedTuple):
    """The tables of one network, and the length of the work buffer."""

    layers: np.ndarray  # (layers + 1, 18), integers
    numbers: np.ndarray  # (layers + 1, 2), in the network's dtype
    work_size: int


def layout(network, activations, dtype, rows, regularization):
    """Lay out the work buffer for `rows` rows.

    Parameters
    ----------
    network : Network
        The network to lay out.
    activations : sequence
        Activations as kernels distinguish them, see `kind_of`: the table holds their indices.
    dtype : dtype
        Of parameters and work buffer.
    rows : int
        Rows processed at a time.
    regularization : Regularization
        The shares that dropout leaves out.
    """
    biases = sum(fan_in * fan_out for fan_in, fan_out in network.shapes)
    learned = biases + sum(fan_out for _, fan_out in network.shapes)
    weights, lines, end = 0, [], 0

    def place(width, close=False):
        nonlocal end
        at, stride = end, width if close else _to_four(width)
        end += _to_four(rows * stride)
        return at, stride

    for index, units in enumerate(network.units):
        line = Positions(outputs=place(units, close=index == len(network.shapes)))
        if index > 0:
            fan_in, fan_out = network.shapes[index - 1]
            line.weights, line.biases, line.slopes = (weights, fan_out), biases, place(fan_out)
            weights += fan_in * fan_out
            biases += fan_out
            if learns(network, index):
                line.learned, line.learning = learned, place(units)[0]
                learned += units
        lines.append(line)
    return Layout(*tables(network, activations, dtype, regularization, lines, np.int64), end)


@dataclass
class Positions:
    """The positions of a layer: where its vectors begin, and its matrices, with row strides."""

    outputs: tuple
    weights: tuple = (0, 0)
    biases: int = 0
    slopes: tuple = (0, 0)
    learned: int = NOWHERE
    learning: int = NOWHERE


def learns(network, index):
    """Return whether the units of a layer have learned parameters."""
    return index < len(network.shapes) and network.activation[index - 1].learnable


def tables(network, activations, dtype, regularization, lines, integer):
    """Return the tables of layers and numbers, from the positions of each layer."""
    table, numbers, first_unit = [], [], 0
    for index, (units, at) in enumerate(zip(network.units, lines, strict=True)):
        share = regularization.dropped(index) if index < len(network.shapes) else 0.0
        line = dict.fromkeys(_FIELDS, 0)
        line |= {
            "units": units,
            "learned": at.learned,
            "learning": at.learning,
            "outputs": at.outputs[0],
            "outputs_stride": at.outputs[1],
            "first_unit": first_unit,
            "threshold": plain(threshold)(share),
        }
        first_unit += units
        constant = 0.0
        if index > 0:
            activation = (*network.activation, network.output_activation)[index - 1]
            constant = activation.constant
            fan_in, fan_out = network.shapes[index - 1]
            inputs = lines[index - 1].outputs
            line |= {
                "fan_in": fan_in,
                "fan_out": fan_out,
                "pieces": activation.pieces,
                "weights": at.weights[0],
                "weights_stride": at.weights[1],
                "biases": at.biases,
                "activation": activations.index(kind_of(activation)),
                "inputs": inputs[0],
                "inputs_stride": inputs[1],
                "slopes": at.slopes[0],
                "stride": at.slopes[1],
            }
        table.append(tuple(line.values()))
        numbers.append((constant, plain(kept_scale)(share, 0.0)))
    # A threshold needs 32 unsigned bits: as a signed number, it keeps these bits.
    return np.array(table, np.int64).astype(integer), np.array(numbers, dtype)


def _to_four(count):
    return -(-count // 4) * 4


def loss_share(network) -> float:
    """Return the factor of a row's summed loss: squared error is a mean over the outputs."""
    return 1 / network.units[-1] if network.loss.mean_over_outputs else 1.0


def kind_of(activation):
    """Return how kernels distinguish an activation: constants are not part of their code."""
    if activation.custom:
        return Own.of(activation)
    return activation.name, activation.learnable
