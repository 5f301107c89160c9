"""Where everything lies in the CPU device's flat buffers.

A layer's biases are the weights of a constant input 1: its weight matrix has fan_in + 1 rows, the
first of them the biases, and each row of inputs begins with a 1. Then one product adds the bias,
and one product gives the gradient of weights and biases together.

=============  ====================================================================================
weights        (fan_in + 1, fan_out) in panels; the moments and the whole gradient lie likewise
transposed     (fan_out, fan_in) in panels, without biases: the right factor of the delta product
inputs         (batch, 1 + fan_in) rows; what the layer before has given out is its next inputs
deltas         (batch, fan_out) rows
=============  ====================================================================================

A *narrow* layer, of a few units, would leave most lanes of its panels empty. Its weights lie the
other way round, in vectors along fan_in: the biases in one vector, then (fan_out, fan_in) rows.
They are their own transposed copy.

Padding columns of weights, values and deltas hold 0 and stay 0.
"""

from typing import NamedTuple

import numpy as np

from ..._jit import formula
from ...formulas.activations import ACTIVATIONS, IDENTITY
from .microkernel import FEW_ROWS, ROWS, VECTORS, lanes, pointer
from .products import padded

LAYER = np.dtype(
    [
        (name, np.int64)
        for name in (
            "fan_in",
            "fan_out",
            "activation",
            "width",  # fan_out padded to whole vectors
            "back_width",  # fan_in padded likewise
            "narrow",  # 1 where the weights lie the other way round
            "passes_on",  # 1 where deltas go on to a layer before
            "sparse",  # 1 where the inputs are the user's sparse matrix
            "weights",  # the others: where the layer's part of a buffer begins, ...
            "transposed",
            "inputs",
            "inputs_row",  # ... and how far apart its rows are
            "deltas",
            "deltas_row",
        )
    ],
    align=True,
)


class Buffers(NamedTuple):
    """The flat buffers of one device; `layout` says what lies where."""

    weights: np.ndarray
    transposed: np.ndarray
    first: np.ndarray
    second: np.ndarray
    inputs: np.ndarray
    deltas: np.ndarray
    outputs: np.ndarray
    targets: np.ndarray
    row_weights: np.ndarray
    gradient: np.ndarray


@formula
def pointers(buffers):
    """The same buffers as pointers, for compiled code."""
    return Buffers(
        pointer(buffers.weights),
        pointer(buffers.transposed),
        pointer(buffers.first),
        pointer(buffers.second),
        pointer(buffers.inputs),
        pointer(buffers.deltas),
        pointer(buffers.outputs),
        pointer(buffers.targets),
        pointer(buffers.row_weights),
        pointer(buffers.gradient),
    )


def _row_stride(width: int, dtype) -> int:
    """Numbers between two rows, off the powers of two that make rows evict each other from L1."""
    crowded = width * np.dtype(dtype).itemsize % 2048 == 0
    return width + lanes(dtype) if crowded else width


class Layout:
    """The layers' table for a network, and conversion to and from the packed vector."""

    def __init__(self, network, dtype, batch_rows: int, sparse: bool):
        self.network, self.dtype = network, np.dtype(dtype)
        self.batch_rows, self.sparse = batch_rows, sparse
        self.layers = np.zeros(len(network.shapes), LAYER)
        self._sizes = dict.fromkeys(("weights", "transposed", "inputs", "deltas"), 0)
        for index, layer in enumerate(self.layers):
            self._place(index, layer)

    def _place(self, index, layer):
        fan_in, fan_out = self.network.shapes[index]
        last = index == len(self.layers) - 1
        one_vector = lanes(self.dtype)
        layer["fan_in"], layer["fan_out"] = fan_in, fan_out
        layer["activation"] = IDENTITY if last else ACTIVATIONS[self.network.activation]
        layer["width"] = padded(fan_out, self.dtype)
        layer["back_width"] = padded(fan_in, self.dtype)
        layer["passes_on"] = index > 0
        layer["sparse"] = self.sparse and not index
        layer["narrow"] = fan_out <= FEW_ROWS and not layer["sparse"]
        # The 1 stands in the last number of a vector, so that the values after it are aligned.
        layer["inputs_row"] = _row_stride(one_vector + padded(fan_in, self.dtype), self.dtype)
        layer["deltas_row"] = _row_stride(layer["width"], self.dtype)
        if layer["narrow"]:
            weights, transposed = one_vector + fan_out * layer["back_width"], 0
        else:
            weights = (fan_in + 1) * layer["width"]
            transposed = fan_out * layer["back_width"] if layer["passes_on"] else 0
        for name, start, size in (
            ("weights", 0, weights),
            ("transposed", 0, transposed),
            ("inputs", one_vector - 1, self.batch_rows * layer["inputs_row"]),
            ("deltas", 0, self.batch_rows * layer["deltas_row"]),
        ):
            if name == "inputs" and layer["sparse"]:
                size = 0
            layer[name] = self._sizes[name] + start
            self._sizes[name] += int(size)

    def buffers(self, moments: bool, gradient: bool = False) -> Buffers:
        """Buffers of zeros, but for the constant inputs."""
        rows, outputs = self.batch_rows, self.network.units[-1]
        vectors = VECTORS * lanes(self.dtype)
        scratch = ROWS * vectors
        for layer in self.layers:
            if layer["sparse"]:  # its gradient, one panel at a time
                scratch = max(scratch, (layer["fan_in"] + 1) * vectors)
            if layer["narrow"]:
                scratch = max(scratch, lanes(self.dtype) + layer["fan_out"] * layer["back_width"])

        def zeros(size):
            return _aligned_zeros(size, self.dtype)

        sizes = self._sizes
        buffers = Buffers(
            weights=zeros(sizes["weights"]),
            transposed=zeros(sizes["transposed"]),
            first=zeros(sizes["weights"] if moments else 0),
            second=zeros(sizes["weights"] if moments else 0),
            inputs=zeros(sizes["inputs"]),
            deltas=zeros(sizes["deltas"]),
            outputs=zeros(rows * outputs),
            targets=zeros(rows * outputs),
            row_weights=zeros(rows),
            gradient=zeros(sizes["weights"] if gradient else scratch),
        )
        for layer in self.layers:
            if not layer["sparse"]:
                start, step = layer["inputs"], layer["inputs_row"]
                buffers.inputs[start : start + rows * step : step] = 1
        return buffers

    def _panels(self, buffer, start, rows, columns):
        """(first column, view of shape (rows, used columns)) of each panel of a matrix."""
        full = VECTORS * lanes(self.dtype)
        for column in range(0, columns, full):
            width = min(full, padded(columns, self.dtype) - column)
            begin = start + rows * column
            view = buffer[begin : begin + rows * width].reshape(rows, width)
            yield column, view[:, : min(width, columns - column)]

    def _parts(self, buffer, packed):
        """Pairs of views of the same numbers, in a buffer of weights and in the packed vector."""
        for layer, weights, biases in zip(self.layers, *self.network.views(packed), strict=True):
            start = layer["weights"]
            if layer["narrow"]:
                yield buffer[start : start + layer["fan_out"]], biases
                start += lanes(self.dtype)
                stop = start + layer["fan_out"] * layer["back_width"]
                matrix = buffer[start:stop].reshape(layer["fan_out"], layer["back_width"])
                yield matrix[:, : layer["fan_in"]], weights.T
                continue
            for column, view in self._panels(buffer, start, layer["fan_in"] + 1, layer["fan_out"]):
                stop = column + view.shape[1]
                yield view[0], biases[column:stop]
                yield view[1:], weights[:, column:stop]

    def write(self, buffer: np.ndarray, packed: np.ndarray) -> None:
        """Lay the packed vector out in `buffer`."""
        for inside, outside in self._parts(buffer, packed):
            inside[...] = outside

    def read(self, buffer: np.ndarray, packed: np.ndarray) -> np.ndarray:
        """Collect the packed vector from `buffer`; what `write` has laid out."""
        for inside, outside in self._parts(buffer, packed):
            outside[...] = inside
        return packed

    def write_transposed(self, buffer: np.ndarray, packed: np.ndarray) -> None:
        """Lay out the transposed weights of all layers that need such a copy."""
        for layer, matrix in zip(self.layers, self.network.views(packed)[0], strict=True):
            if layer["passes_on"] and not layer["narrow"]:
                panels = self._panels(
                    buffer, layer["transposed"], layer["fan_out"], layer["fan_in"]
                )
                for column, view in panels:
                    view[...] = matrix.T[:, column : column + view.shape[1]]


def _aligned_zeros(size: int, dtype, alignment: int = 64) -> np.ndarray:
    """Zeros that begin on a cache line: a vector across two lines costs two loads."""
    raw = np.zeros(int(size) * dtype.itemsize + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + int(size) * dtype.itemsize].view(dtype)
