"""The layout of a network in the shared memory of a block, made for products in it."""

from typing import NamedTuple

import numpy as np

from .layout import NOWHERE, Positions, learns, tables

#: Bytes that a thread loads at once.
VECTOR = 16
#: Rows, and columns, of a product that a thread computes.
SIDE = 4


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

    The arguments are those of `layout.layout`.
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
        line = Positions(outputs=(0, 0))
        if index > 0:
            fan_in, fan_out = network.shapes[index - 1]
            line.weights = start, stride = place(fan_in + 1, fan_out)
            line.biases = start + fan_in * stride
            rows_of = start + stride * np.arange(fan_in)[:, None]
            places["weights"].append((rows_of + np.arange(fan_out)).ravel())
            places["biases"].append(line.biases + np.arange(fan_out))
            if learns(network, index):
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
    layers, numbers = tables(network, activations, dtype, regularization, lines, np.int32)
    packed = np.concatenate([*places["weights"], *places["biases"], *places["learned"]])
    return SharedLayout(layers, numbers, packed.astype(np.int32), parameters_size, end)
