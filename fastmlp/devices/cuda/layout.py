"""The layout of a network on the GPU: a table of its layers for kernels, and one flat work buffer.

Parameters on the GPU have the layout of the public packed vector: all weights, then all biases,
then the activations' learned parameters; the same for moments and gradients. Only shared memory has
a layout of its own, see `shared_layout`. Intermediate results of a batch are in the work buffer,
row by row:

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
#: Bytes that a thread loads at once.
VECTOR = 16
#: Rows, and columns, of a product that a thread computes.
SIDE = 4


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

    def place(width):
        nonlocal end
        end += rows * width
        return end - rows * width, width

    for index, units in enumerate(network.units):
        line = _Line(outputs=place(units))
        if index > 0:
            fan_in, fan_out = network.shapes[index - 1]
            line.weights, line.biases, line.slopes = (weights, fan_out), biases, place(fan_out)
            weights += fan_in * fan_out
            biases += fan_out
            if _learns(network, index):
                line.learned, line.learning = learned, place(units)[0]
                learned += units
        lines.append(line)
    return Layout(*_tables(network, activations, dtype, regularization, lines, np.int64), end)


class SharedLayout(NamedTuple):
    """The tables of one network in shared memory, and how much of it they describe."""

    layers: np.ndarray  # as in `Layout`, of 32 bits
    numbers: np.ndarray
    places: np.ndarray  # (size,), where each parameter of the packed vector is
    parameters_size: int
    size: int  # of parameters, gradient and work buffer


def shared_layout(network, activations, dtype, rows, regularization):
    """Lay out parameters, gradient and work buffer for `rows` rows, one after the other.

    In shared memory, products read 16 bytes at once, so rows begin at multiples of 16 bytes, and
    are as long as an odd number of these: successive rows begin in different banks. Matrices have
    room for whole tiles of a product. Behind its units, every layer has an output of 1, and behind
    the weights from its units, every layer has its biases: they are one more row of weights, in
    products and gradients. What is behind the last column of a matrix, or below its last row, is 0.
    Below the last row of a batch, only slopes are: what multiplies them may be anything.

    The arguments are those of `layout`.
    """
    vector = VECTOR // np.dtype(dtype).itemsize
    end, lines, places = 0, [], {"weights": [], "biases": [], "learned": []}

    def place(rows, width):
        nonlocal end
        rows, width = -(-rows // SIDE) * SIDE, -(-width // SIDE) * SIDE
        stride = vector * (width // vector | 1)
        end += rows * stride
        return end - rows * stride, stride

    for index, units in enumerate(network.units):
        line = _Line(outputs=(0, 0))
        if index > 0:
            fan_in, fan_out = network.shapes[index - 1]
            line.weights = start, stride = place(fan_in + 1, fan_out)
            line.biases = start + fan_in * stride
            rows_of = start + stride * np.arange(fan_in)[:, None]
            places["weights"].append((rows_of + np.arange(fan_out)).ravel())
            places["biases"].append(line.biases + np.arange(fan_out))
            if _learns(network, index):
                line.learned = place(1, units)[0]
                places["learned"].append(line.learned + np.arange(units))
        lines.append(line)
    parameters_size = end
    end = 2 * parameters_size
    for index, (units, line) in enumerate(zip(network.units, lines, strict=True)):
        line.outputs = place(rows, units + 1)
        if index > 0:
            line.slopes = place(rows, network.shapes[index - 1][1])
        if line.learned != NOWHERE:
            line.learning = place(rows, network.shapes[index - 1][1])[0]
    tables = _tables(network, activations, dtype, regularization, lines, np.int32)
    packed = np.concatenate([*places["weights"], *places["biases"], *places["learned"]])
    return SharedLayout(*tables, packed.astype(np.int32), parameters_size, end)


@dataclass
class _Line:
    """The positions of a layer: where each of its matrices begins, or also its row stride."""

    outputs: tuple
    weights: tuple = (0, 0)
    biases: int = 0
    slopes: tuple = (0, 0)
    learned: int = NOWHERE
    learning: int = NOWHERE


def _learns(network, index):
    return index < len(network.shapes) and network.activation[index - 1].learnable


def _tables(network, activations, dtype, regularization, lines, integer):
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


def loss_share(network) -> float:
    """Return the factor of a row's summed loss: squared error is a mean over the outputs."""
    return 1 / network.units[-1] if network.loss.mean_over_outputs else 1.0


def kind_of(activation):
    """Return how kernels distinguish an activation: constants are not part of their code."""
    if activation.custom:
        return Own.of(activation)
    return activation.name, activation.learnable
