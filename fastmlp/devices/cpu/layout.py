"""The layout of the CPU device's flat buffers.

A layer's biases are the weights of a constant input 1: its weight matrix has fan_in + 1 rows, of
which the last holds the biases, and each row of inputs ends with a 1. One product then also adds
the bias, and one product gives the gradient of weights and biases together.

=============  ====================================================================================
weights        (fan_in + 1, fan_out), compact; the same for the moments and the whole gradient
transposed     (fan_out, fan_in), compact, without biases: the right factor of the delta product
inputs         (batch, fan_in + 1); the outputs of the previous layer
deltas         (batch, fan_out)
=============  ====================================================================================

All are stored in panels, see `panels`. A *narrow* layer, one with few units, would leave most lanes
of its panels empty. Its weights are stored transposed, in vectors along fan_in: the biases in one
vector, then plain rows (fan_out, fan_in). It needs no transposed copy.

In the place of the deltas, the forward pass first stores z, then f'(z), except where ReLU is part
of the product. The parameters that an activation learns follow its layer's weights, one number for
each unit. A maxout layer has its pieces one after the other, each in whole panels.

Padding columns of weights and deltas are 0 and stay 0. Those of inputs may hold any numbers.
"""

from functools import lru_cache

import numpy as np

from ..._jit import JIT_DISABLED, entry, kernel
from .block_sizes import CHUNK, DEPTH, GROUP
from .buffers import Buffers, Memory
from .loops import layer_loops, loss_loop
from .microkernel import ROWS
from .panels import padded, panel_count, panel_width
from .vectors import VECTORS, ZERO, lanes, pointer

# Rows of a panel of the upstream buffer: those of a chunk, and a few to avoid a power of two.
UPSTREAM_ROWS = CHUNK + 4
#: A narrow layer has at most so many units, or half a vector.
NARROW = 4
ONE = np.int64(1)  # not a literal: kernels would be compiled again for it

LAYER = np.dtype(
    [
        (name, np.int64)
        for name in (
            "fan_in",
            "fan_out",  # number of z; for maxout, with the padding between pieces
            "outputs",  # number of f(z)
            "pieces",
            "loop",  # address of the activation's loop, or 0 for softmax
            "learns",
            "rectifies",  # 1 for ReLU
            "width",  # fan_out padded to whole vectors
            "back_width",  # fan_in padded likewise
            "narrow",  # 1 if the weights are stored transposed
            "passes_on",  # 1 if deltas are propagated to a previous layer
            "sparse",  # 1 if the inputs are the user's sparse matrix
            "jobs",  # number of jobs that the gradient is split into, see `gradients.update_job`
            "first_job",
            "weights",  # this and the next: where the layer's part of each buffer begins, ...
            "transposed",
            "inputs",
            "inputs_panel",  # ... and how far apart its panels are
            "deltas",
            "deltas_panel",
            "learned",  # where the activation's learned parameters begin, among the weights
            "first_output",  # index of the first f(z), counting the features and all layers
        )
    ]
    + [
        ("constant", np.float64),  # of the activation
    ],
    align=True,
)


def _panel_distance(rows: int, row: int, dtype) -> int:
    """Return the distance between panels; it avoids powers of two, which cause cache conflicts."""
    size = -(-rows // ROWS) * ROWS * row
    crowded = size * np.dtype(dtype).itemsize % 4096 == 0
    return size + 4 * row if crowded else size


class Layout:
    """The layer table of a network, and the sizes of its buffers; immutable."""

    def __init__(self, network, dtype, batch_rows: int, sparse: bool):
        self.network, self.dtype = network, np.dtype(dtype)
        self.batch_rows, self.sparse = batch_rows, sparse
        self.layers = np.zeros(len(network.shapes), LAYER)
        self._sizes = dict.fromkeys(("weights", "transposed", "inputs", "deltas"), 0)
        self._scratch = GROUP * VECTORS * lanes(dtype)  # one job's gradient
        self._upstream = 0
        self._jobs = 0
        # The table has their addresses: they must live as long as it does.
        self._loops = layer_loops(network, self.dtype)
        self.loss_loop = loss_loop(network.loss, network.canonical, self.dtype)
        for index in range(len(network.shapes)):
            self._place(index)
        #: True for the code of all networks; None for that of plain ones, which is less to compile.
        self.general = None if self._is_plain() else True
        self._partial_sums = self._jobs + 2 * -(-batch_rows // CHUNK)
        self._places = [self._cut(moments) for moments in range(3)]
        starts = [[place.start for place in places] for places in self._places]
        self._offsets = np.array(starts) * self.dtype.itemsize
        self._no_dropout = (0.0,) * len(self.layers)
        self._loss_constants = network.loss.constants(network.units[-1])
        self._ones = [self._constant_input(layer) for layer in self.layers[sparse:]]

    def _is_plain(self):
        """Return whether rows are dense, activations learn nothing, and no deltas are spread."""
        before, after = self.layers[:-1], self.layers[1:]
        spread = (before["rectifies"] == 0) & (after["fan_out"] > DEPTH) | (before["pieces"] > 1)
        return not (self.sparse or any(self.network.learned) or spread.any())

    def _constant_input(self, layer):
        """Return where the inputs' column of ones lies."""
        full = VECTORS * lanes(self.dtype)
        panel, column = divmod(int(layer["fan_in"]), full)
        start = int(layer["inputs"]) + panel * int(layer["inputs_panel"]) + column
        return slice(start, start + self.batch_rows * full, full)

    def _place(self, index):
        """Fill in one row of the table."""
        network = self.network
        fan_in, outputs = network.units[index : index + 2]
        activation = (*network.activation, network.output_activation)[index]
        pieces = activation.pieces
        one_vector = lanes(self.dtype)
        full = VECTORS * one_vector
        fan_out = outputs if pieces == 1 else pieces * -(-outputs // full) * full
        width, back_width = padded(fan_out, self.dtype), padded(fan_in, self.dtype)
        if index and network.activation[index - 1].pieces > 1:  # maxout has whole panels of deltas
            back_width = -(-fan_in // full) * full
        sparse = self.sparse and index == 0
        few = min(max(NARROW, one_vector // 2), one_vector)  # their biases fit in one vector
        narrow = fan_out <= few and not sparse
        panel = _panel_distance(self.batch_rows, full, self.dtype)
        panels = -(-width // full)
        own = one_vector + fan_out * back_width if narrow else (fan_in + 1) * width
        sizes = {
            "weights": own + (panels * full if activation.learnable else 0),
            "transposed": fan_out * back_width if index and not narrow else 0,
            "inputs": 0 if sparse else -(-(fan_in + 1) // full) * panel,
            "deltas": panels * panel,
        }
        groups = 1 if sparse else -(-(fan_in + 1) // GROUP)
        jobs = (1 if narrow else panels * groups) + activation.learnable
        values = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "outputs": outputs,
            "pieces": pieces,
            "loop": 0 if self._loops[index] is None else self._loops[index].address,
            "learns": activation.learnable,
            "rectifies": activation.rectifies,
            "width": width,
            "back_width": back_width,
            "narrow": narrow,
            "passes_on": index > 0,
            "sparse": sparse,
            "jobs": jobs,
            "first_job": self._jobs,
            "inputs_panel": panel,
            "deltas_panel": panel,
            "learned": self._sizes["weights"] + own,
            "first_output": sum(network.units[: index + 1]),
            "constant": activation.constant,
        } | self._sizes
        self.layers[index] = tuple(values[name] for name in LAYER.names)
        self._jobs += jobs
        for name, size in sizes.items():
            self._sizes[name] += size
        if narrow:
            self._scratch = max(self._scratch, own)
        if activation.learnable:
            self._scratch = max(self._scratch, panels * full)
        if sparse:  # one panel at a time
            self._scratch = max(self._scratch, (fan_in + 1) * VECTORS * one_vector)
        self._upstream = max(self._upstream, -(-outputs // full) * UPSTREAM_ROWS * full)

    def buffers(self, moments: int, dropout=()) -> tuple[Buffers, Memory]:
        """Return buffers of zeros, with the constants filled in, and their memory.

        They have room for 0, 1 or 2 moments. Nearly all are parts of one array.
        """
        places = self._places[moments]
        whole = aligned_zeros(places[-1].stop, self.dtype)
        buffers = Buffers(
            *(whole[place] for place in places),
            partial=np.zeros(self._partial_sums),
            dropout=np.array(dropout or self._no_dropout),
            rates=np.empty(0),
            numbers=np.empty(0),
            kept=np.empty(0, self.dtype),
        )
        for column in self._ones:
            buffers.inputs[column] = 1
        buffers.loss_constants[:] = self._loss_constants
        if JIT_DISABLED:
            return buffers, Memory(list(buffers), whole)
        addresses = np.zeros(len(buffers), np.int64)  # what is empty has none
        np.add(self._offsets[moments], whole.ctypes.data, out=addresses[: len(places)])
        memory = Memory(addresses, whole)
        return buffers, memory.put(partial=buffers.partial, dropout=buffers.dropout)

    def _cut(self, moments: int) -> list[slice]:
        """Return where each buffer lies in the array that holds them all."""
        rows, weights = self.batch_rows, self._sizes["weights"]
        outputs = rows * self.network.units[-1]
        sizes = {
            "weights": weights,
            "transposed": self._sizes["transposed"],
            "first": weights if moments > 0 else 0,
            "second": weights if moments > 1 else 0,
            "inputs": self._sizes["inputs"],
            "deltas": self._sizes["deltas"],
            "learning": self._sizes["deltas"] if any(self.network.learned) else 0,
            "upstream": self._upstream,
            "outputs": outputs,
            "targets": outputs,
            "row_weights": rows,
            "row_scales": rows,
            "loss_constants": self.network.units[-1],
            "output_slopes": outputs,
            "gradient": self._scratch,
        }
        places, stop = [], 0
        for size in sizes.values():
            places.append(slice(stop, stop + size))
            stop += padded(size, self.dtype)
        return places

    def scratch(self) -> dict[str, np.ndarray]:
        """Return the private buffers of one more member, by name."""
        sizes = {"gradient": self._scratch, "upstream": self._upstream}
        return {name: aligned_zeros(size, self.dtype) for name, size in sizes.items()}

    def whole_gradient(self) -> np.ndarray:
        """Return a gradient buffer large enough for all layers."""
        return aligned_zeros(self._sizes["weights"], self.dtype)


#: Cached layouts, which are needed repeatedly, mostly by `partial_fit` and `predict`.
layout = lru_cache(maxsize=128)(Layout)


def aligned_zeros(size: int, dtype) -> np.ndarray:
    """Return zeros aligned to a cache line: a vector across two lines costs two loads."""
    line = 64
    raw = np.zeros(size * dtype.itemsize + line, np.uint8)
    start = -raw.__array_interface__["data"][0] % line
    return raw[start : start + size * dtype.itemsize].view(dtype)


@kernel
def _exchange(inside, start, outside, position, stride, count, outwards):
    """Copy `count` numbers from the packed vector into a buffer, or back if `outwards`."""
    if outwards:
        for j in range(count):
            outside[position + j * stride] = inside[start + j]
    else:
        for j in range(count):
            inside[start + j] = outside[position + j * stride]


@kernel
def _exchange_panels(layer, buffer, packed, w, b, outwards):
    """Do the same for a layer in panels, whose weights begin at w in the packed vector."""
    fan_in, units = layer["fan_in"], layer["outputs"]
    full, stride = panel_width(buffer), layer["outputs"] * layer["pieces"]
    panels = panel_count(units, buffer)  # of one piece
    for panel in range(panels * layer["pieces"]):
        piece, column = panel // panels, panel % panels * full
        width, used = min(full, layer["width"] - panel * full), min(full, units - column)
        row = layer["weights"] + (1 + fan_in) * panel * full
        outside = piece * units + column
        for i in range(fan_in):
            place = w + i * stride + outside
            _exchange(buffer, row + i * width, packed, place, ONE, used, outwards)
        _exchange(buffer, row + fan_in * width, packed, b + outside, ONE, used, outwards)


@kernel
def _exchange_narrow(layer, buffer, packed, w, b, outwards):
    """Do the same for a narrow layer."""
    fan_in, fan_out = layer["fan_in"], layer["fan_out"]
    row = layer["weights"] + panel_width(buffer) // VECTORS
    _exchange(buffer, layer["weights"], packed, b, ONE, fan_out, outwards)
    for k in range(fan_out):
        place = row + k * layer["back_width"]
        _exchange(buffer, place, packed, w + k, fan_out, fan_in, outwards)


@entry
def exchange(layers, buffer, packed, outwards):
    """Copy the packed vector into a buffer of weights, in its layout; or back, if `outwards`."""
    buffer, packed = pointer(buffer), pointer(packed)
    w = b = learned = ZERO
    for index in range(layers.size):
        columns = layers[index]["outputs"] * layers[index]["pieces"]
        b += layers[index]["fan_in"] * columns
        learned += (layers[index]["fan_in"] + 1) * columns
    for index in range(layers.size):
        layer = layers[index]
        columns = layer["outputs"] * layer["pieces"]
        if layer["narrow"]:
            _exchange_narrow(layer, buffer, packed, w, b, outwards)
        else:
            _exchange_panels(layer, buffer, packed, w, b, outwards)
        if layer["learns"]:
            count = layer["outputs"]
            _exchange(buffer, layer["learned"], packed, learned, ONE, count, outwards)
            learned += count
        w += layer["fan_in"] * columns
        b += columns
