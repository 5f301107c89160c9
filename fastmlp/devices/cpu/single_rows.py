"""Prediction of one row at a time, on the weights in place: nothing is rearranged or copied.

A matrix-vector product reads each weight once in any case, and a weight matrix in C order has the
weights in the order of reading: row after row, along fan_out. For a sparse row, it reads only those
rows of the first matrix that belong to stored values.
"""

import numpy as np
from numba import types

from ..._jit import entry, intrinsic, kernel
from .calls import call_loop
from .ending import PRESENCE, present
from .loops import Units, layer_loops
from .output_layer import softmax
from .panels import panel_width
from .sources import FEATURES, Sources, gather, stored, stored_column, stored_value
from .vectors import ZERO, pointer

#: The form of a row's outputs: as they are, [1 - p, p] for a single output p, or shares of the sum.
PLAIN, PAIR, SHARES = range(3)
#: Up to this many rows, or parameters times rows, copying the weights takes longer than it saves.
FEW_ROWS, FEW_ROWS_WORK = 16, 300_000
ONE = np.int64(1)  # not a literal: kernels would be compiled again for it
#: The data of each layer for the walk of a row.
PLAN = np.dtype(
    [
        ("fan_in", np.int64),
        ("fan_out", np.int64),  # number of z
        ("outputs", np.int64),  # number of f(z)
        ("loop", np.int64),  # address of the activation's loop, 0 for softmax
        ("pieces", np.int64),
        ("learns", np.int64),
        ("weights", np.int64),  # the addresses of the layer's arrays
        ("biases", np.int64),
        ("learned", np.int64),
        ("constant", np.float64),
    ],
    align=True,
)


def _array_at_python(address, size, like):
    c_type = np.ctypeslib.as_ctypes_type(np.asarray(like).dtype)
    return np.ctypeslib.as_array((c_type * int(size)).from_address(int(address)))


@intrinsic(_array_at_python)
def array_at(typingctx, address, size, like):
    """Return a pointer to the `size` numbers of `like`'s type at an address."""
    signature = types.CPointer(like)(types.int64, types.int64, like)

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return signature, codegen


@kernel
def affine(layer, values, x, z):
    """Compute z = x W + b; x lies in the values from `x` on.

    It takes four inputs at a time, so that z is read and written a quarter as often.
    """
    fan_in, fan_out = layer["fan_in"], layer["fan_out"]
    weights = array_at(layer["weights"], fan_in * fan_out, z[0])
    biases = array_at(layer["biases"], fan_out, z[0])
    for k in range(fan_out):
        z[k] = biases[k]
    fours = fan_in - fan_in % 4
    for i in range(0, fours, 4):
        x_0, x_1, x_2, x_3 = values[x + i], values[x + i + 1], values[x + i + 2], values[x + i + 3]
        w_0 = i * fan_out
        w_1, w_2, w_3 = w_0 + fan_out, w_0 + 2 * fan_out, w_0 + 3 * fan_out
        for k in range(fan_out):
            pair = x_0 * weights[w_0 + k] + x_1 * weights[w_1 + k]
            z[k] += pair + (x_2 * weights[w_2 + k] + x_3 * weights[w_3 + k])
    for i in range(fours, fan_in):
        factor, row = values[x + i], i * fan_out
        for k in range(fan_out):
            z[k] += factor * weights[row + k]


@kernel
def affine_sparse(layer, source, row, z):
    """Compute z = x W + b for one row x of a sparse source."""
    fan_in, fan_out = layer["fan_in"], layer["fan_out"]
    weights = array_at(layer["weights"], fan_in * fan_out, z[0])
    biases = array_at(layer["biases"], fan_out, z[0])
    for k in range(fan_out):
        z[k] = biases[k]
    begin, end = stored(source, row)
    for place in range(begin, end):
        factor = stored_value(source, place, z[0])
        start = stored_column(source, place) * fan_out
        for k in range(fan_out):
            z[k] += factor * weights[start + k]


@kernel
def activate_row(layer, values, a, z, unread):
    """Write f(z) of one row's numbers z to the values from `a` on."""
    outputs = layer["outputs"]
    if not layer["loop"]:
        for k in range(outputs):
            values[a + k] = z[k]
        softmax(values, values, a, ONE, outputs, unread, ZERO)
        return
    learned = array_at(layer["learned"], outputs, z[0])
    step = panel_width(values) if layer["learns"] else outputs
    for j in range(0, outputs, step):
        work = Units(
            values,
            z,
            unread,
            learned,
            a + j,
            j,
            j,
            min(step, outputs - j),
            min(step, outputs - j),
            layer["pieces"],
            outputs,
            type(values[0])(layer["constant"]),
        )
        call_loop(layer["loop"], work)


@kernel
def forward_row(plan, first, values, x, z, unread):
    """Apply the layers from `first` on to the inputs at `x`; return where the outputs lie.

    `z` and `unread` have room for the widest layer.
    """
    for index in range(first, plan.size):
        layer = plan[index]
        affine(layer, values, x, z)
        x += layer["fan_in"]
        activate_row(layer, values, x, z, unread)
    return x


@kernel
def rooms(plan):
    """Return the number of a row's values in all layers, and of z in the widest layer."""
    values, longest = plan[0]["fan_in"], ZERO
    for index in range(plan.size):
        values += plan[index]["outputs"]
        longest = max(longest, plan[index]["fan_out"])
    return values, longest


@entry
def predict_rows(plan, X, out, form):
    """Predict the rows of X into `out`, in one of the forms above; both are flat."""
    features, outputs = plan[0]["fan_in"], plan[plan.size - 1]["outputs"]
    size, longest = rooms(plan)
    # Private to each call, so that calls may run at the same time.
    values, z = np.empty(size, out.dtype), np.empty(longest, out.dtype)
    unread = np.empty(longest, out.dtype)
    for r in range(X.size // features):
        for j in range(features):
            values[j] = X[r * features + j]
        x = forward_row(plan, ZERO, pointer(values), ZERO, pointer(z), pointer(unread))
        if form == PAIR:
            out[2 * r], out[2 * r + 1] = type(values[x])(1) - values[x], values[x]
            continue
        total = type(values[x])(0)
        for k in range(outputs):
            total += values[x + k]
        for k in range(outputs):
            share = values[x + k] / total if total else type(total)(1) / outputs
            out[r * outputs + k] = share if form == SHARES else values[x + k]


@entry
def predict_sources(plan, sources, out, sparse):
    """Predict all rows of the user's X into `out`, (rows, outputs)."""
    source = sources[FEATURES]
    size, longest = rooms(plan)
    values, z = np.empty(size, out.dtype), np.empty(longest, out.dtype)
    unread = np.empty(longest, out.dtype)
    a, z_at, unread_at = pointer(values), pointer(z), pointer(unread)
    outputs = out.shape[1]
    for r in range(out.shape[0]):
        if sparse:
            affine_sparse(plan[0], source, r, z_at)
            activate_row(plan[0], a, ZERO, z_at, unread_at)
            x = forward_row(plan, ONE, a, ZERO, z_at, unread_at)
        else:
            gather(source, r, ZERO, plan[0]["fan_in"], a, ZERO)
            x = forward_row(plan, ZERO, a, ZERO, z_at, unread_at)
        for k in range(outputs):
            out[r, k] = a[x + k]


def plan_of(network, arrays, loops) -> np.ndarray:
    """Return the data of a network for the walk of a row.

    Parameters
    ----------
    network : Network
        The network with these layers.
    arrays : list of ndarray
        In the order of the packed vector. The plan stores their addresses, but does not keep them
        alive.
    loops : list of Loop or None
        The loop of each layer's activation.
    """
    kinds = (*network.activation, network.output_activation)
    addresses = [array.ctypes.data for array in arrays]
    count = len(kinds)
    learned = iter(addresses[2 * count :])
    return np.array(
        [
            (
                *network.shapes[i],
                network.units[i + 1],
                loops[i].address if loops[i] else 0,
                kind.pieces,
                kind.learnable,
                addresses[i],
                addresses[count + i],
                next(learned) if kind.learnable else 0,
                kind.constant,
            )
            for i, kind in enumerate(kinds)
        ],
        PLAN,
    )


def pays(size: int, rows: int) -> bool:
    """Check whether so few rows are best predicted one by one."""
    return rows <= FEW_ROWS or rows * size <= FEW_ROWS_WORK


class SingleRows:
    """The walk of single rows, bound to weights in place.

    Parameters
    ----------
    network : Network
        Shape, activations and loss.
    arrays : list of ndarray
        All weights, all biases, and the activations' learned parameters: in C order, and of the
        dtype of all computations. Later changes of their values take effect.
    """

    def __init__(self, network, arrays):
        self._network, self._arrays = network, arrays
        self._loops = layer_loops(network, arrays[0].dtype)
        self._plan = plan_of(network, arrays, self._loops)

    @present
    def forward(self, X, out):
        """Predict the rows of X, an ndarray or CSR matrix, into `out`, one by one."""
        sources = Sources(self._network, X)
        predict_sources(self._plan, sources.table, out, bool(sources.sparse))

    def predict(self, X, out, form):
        """Predict contiguous rows, or a single one, into `out`, in one of the forms above.

        Nothing is checked, to save time: X and `out` are C-contiguous, of the dtype of the weights,
        and of matching shapes.
        """
        if X.ndim == 1:  # for so short a call, entering the context would cost too much
            predict_rows(self._plan, X, out, form)
        else:
            with PRESENCE:
                predict_rows(self._plan, X.reshape(-1), out.reshape(-1), form)
