"""The walk of one row forward through the layers, on the weights in place.

A matrix-vector product reads each weight once in any case, and a weight matrix in C order has the
weights in the order of reading: row after row, along fan_out. For a sparse row, it reads only those
rows of the first matrix that belong to stored values.
"""

import ctypes

import numpy as np
from numba import from_dtype, types
from numba.np.arrayobj import populate_array

from ..._jit import intrinsic, kernel, never_inlined
from .calls import call_loop
from .loops import Units
from .output_layer import softmax
from .panels import panel_width
from .sources import stored, stored_column, stored_value
from .vectors import ZERO, beyond

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


def _plan_at_python(address, layers):
    raw = (ctypes.c_char * (int(layers) * PLAN.itemsize)).from_address(int(address))
    return np.frombuffer(raw, PLAN)


@intrinsic(_plan_at_python)
def plan_at(typingctx, address, layers):
    """Return the plan of so many layers at an address."""
    plan = types.Array(from_dtype(PLAN), 1, "C")

    def codegen(context, builder, signature, args):
        array = context.make_array(plan)(context, builder)
        itemsize = context.get_constant(types.intp, PLAN.itemsize)
        data = builder.inttoptr(args[0], array.data.type)
        parts = {"shape": [args[1]], "strides": [itemsize], "itemsize": itemsize, "meminfo": None}
        populate_array(array, data, **parts)
        return array._getvalue()

    return plan(types.int64, types.int64), codegen


@kernel
def affine(layer, values, x, z):
    """Compute z = x W + b; x lies in the values from `x` on.

    It takes four inputs at a time, so that z is read and written a quarter as often.
    """
    never_inlined()
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
def forward_row(plan, first, values, x, z, unread, apart):
    """Apply the layers from `first` on to the inputs at `x`; return where the outputs lie.

    `z` and `unread` have room for the widest layer. If `apart` is 1, not 0, every layer has its own
    place in `z`, in which its f'(z) stays.
    """
    for index in range(first, plan.size):
        layer = plan[index]
        affine(layer, values, x, z)
        x += layer["fan_in"]
        activate_row(layer, values, x, z, unread)
        z = beyond(z, apart * layer["fan_out"])
    return x


@kernel
def rooms(plan):
    """Return the number of a row's values in all layers, and of z in the widest layer."""
    values, longest = plan[0]["fan_in"], ZERO
    for index in range(plan.size):
        values += plan[index]["outputs"]
        longest = max(longest, plan[index]["fan_out"])
    return values, longest
