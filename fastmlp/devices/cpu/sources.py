"""Access to the user's rows: the only code that sees arrays which are not the device's own.

Compiling for each dtype, memory order, writeable flag and index type of every input would make
hundreds of variants of the same epoch. So an array is passed as an address, two strides and a kind,
and one compiled function reads them all, and converts the values to the device's dtype.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from scipy import sparse

from ..._jit import intrinsic, kernel
from ..compressed import check_indices
from .vectors import VECTOR_BYTES, ZERO, itemsize, lanes

ABSENT, FLOAT32, FLOAT64, BOOL, INT64 = range(5)
FEATURES, TARGETS, WEIGHTS, ORDER = range(4)

#: Bytes of a source that stays in the second-level cache; and of a line of any cache.
SMALL, LINE = 2**20, 64
#: Column numbers of sparse rows have 32 bits.
MOST_COLUMNS = 2**31 - 1
_KINDS = {np.dtype(np.float32): FLOAT32, np.dtype(np.float64): FLOAT64, np.dtype(bool): BOOL}

SOURCE = np.dtype(
    [
        (name, np.int64)
        for name in ("kind", "address", "row", "column", "rows", "columns", "indices", "starts")
    ],
    align=True,
)


class Sources:
    """Descriptions of the user's arrays for compiled code; keeps the arrays alive.

    Compiled code does not check its addresses. So shapes, strides and indices are checked here,
    even if they have been checked before.

    Parameters
    ----------
    network : Network
        The network that gets the features and targets.
    X : ndarray of shape (n, features) or CSR matrix
    targets : ndarray of shape (n, outputs), optional
    weights : ndarray of shape (n,), optional
    order : ndarray of int64, optional
        The rows to visit, one after the other; without it all rows, from the first to the last.

    Raises
    ------
    ValueError
        If an array has the wrong shape, or X is an invalid sparse matrix.
    """

    def __init__(self, network, X, targets=None, weights=None, order=None):
        self.table = np.zeros(4, SOURCE)
        rows = X.shape[0]
        self.sparse = sparse.issparse(X)
        self._alive = []
        shapes = (rows, network.units[0]), (rows, network.units[-1]), (rows,)
        for place, array in enumerate((X, targets, weights)):
            if array is None:
                continue
            if array.shape != shapes[place]:
                what = ("X", "The targets", "The weights")[place]
                raise ValueError(f"{what} must have shape {shapes[place]}, got {array.shape}.")
            describe = self._describe_sparse if sparse.issparse(array) else self._describe
            self.table[place] = describe(array)
        if order is not None:
            self.follow(order)

    def follow(self, order):
        """Visit the rows in this order from now on; compiled code checks that X has them."""
        self._order = np.ascontiguousarray(order, np.int64)
        self.table[ORDER] = INT64, self._order.ctypes.data, 0, 0, len(self._order), 0, 0, 0

    def _describe(self, array):
        if array.dtype not in _KINDS or not array.flags.aligned:
            array = np.asarray(array, np.float64).copy()
        if array.ndim < 2:
            array = array.reshape(len(array), -1)
        self._alive.append(array)
        row, column = array.strides
        return _KINDS[array.dtype], array.ctypes.data, row, column, *array.shape, 0, 0

    def _describe_sparse(self, matrix):
        check_indices(matrix)
        columns = matrix.shape[1]
        if columns > MOST_COLUMNS:
            raise ValueError(f"X has {columns} columns, more than {MOST_COLUMNS}.")
        dtype = matrix.dtype if matrix.dtype in (np.float32, np.float64) else np.float64
        data = np.ascontiguousarray(matrix.data, dtype)
        # The number of values may need 64 bits.
        indices = np.ascontiguousarray(matrix.indices, np.int32)
        starts = np.ascontiguousarray(matrix.indptr, np.int64)
        self._alive += [data, indices, starts]
        at, at_indices, at_starts = (part.ctypes.data for part in (data, indices, starts))
        return _KINDS[data.dtype], at, 0, 0, *matrix.shape, at_indices, at_starts


def _peek_python(address, index, like):
    """Return number `index` of the array of `like`'s type at `address`."""
    dtype = np.asarray(like).dtype
    c_type = np.ctypeslib.as_ctypes_type(dtype)
    return dtype.type(c_type.from_address(int(address + index * dtype.itemsize)).value)


@intrinsic(_peek_python)
def peek(typingctx, address, index, like):
    """Read number `index` of the array of `like`'s type at `address`."""
    signature = like(types.int64, types.int64, like)

    def codegen(context, builder, signature, args):
        base = builder.inttoptr(args[0], context.get_data_type(like).as_pointer())
        return context.unpack_value(builder, like, builder.gep(base, [args[1]]))

    return signature, codegen


@kernel
def row_number(order, position):
    """Return the row at `position` in the order."""
    if order["kind"] == ABSENT:
        return position
    return peek(order["address"], position, np.int64(0))


@kernel
def check_order(sources, begin, end):
    """Raise an IndexError if the order ends before `end`, or names rows that X does not have."""
    order, rows = sources[ORDER], np.uint64(sources[FEATURES]["rows"])
    wrong = False
    if order["kind"] == ABSENT:
        wrong = np.uint64(end) > rows
    elif end > order["rows"]:
        wrong = True
    else:
        for position in range(begin, end):  # as unsigned, a negative number is too large
            wrong |= np.uint64(peek(order["address"], position, np.int64(0))) >= rows
    if wrong:
        raise IndexError("the order names rows that X does not have")


@kernel
def address_of(source, row, column):
    """Return the address of one number of a dense source."""
    return source["address"] + row * source["row"] + column * source["column"]


@kernel
def value(source, row, column, like):
    """Return one number of a dense source, in `like`'s dtype."""
    address = address_of(source, row, column)
    if source["kind"] == FLOAT32:
        return type(like)(peek(address, 0, np.float32(0)))
    if source["kind"] == FLOAT64:
        return type(like)(peek(address, 0, np.float64(0)))
    return type(like)(peek(address, 0, np.uint8(0)))


@kernel
def holds_vectors(source, data):
    """Check whether `copy_vector` may copy a dense source's rows to `data`, and soon.

    Processors with vectors of 16 bytes have no masks: each number would be a branch.
    """
    kind = FLOAT32 if itemsize(data) == 4 else FLOAT64
    alike = source["kind"] == kind and source["column"] == itemsize(data)
    return alike and VECTOR_BYTES > 16


def _copy_vector_python(address, count, out, start):
    for j in range(count):
        out[start + j] = _peek_python(address, j, out[0])


@intrinsic(_copy_vector_python)
def copy_vector(typingctx, address, count, out, start):
    """Copy `count` numbers, at most a vector, from an address to `out`, from `start` on.

    The rest of a vector there is written, too, as it was. A row rarely ends where a vector does:
    the compiler's own loop would do its last numbers one by one.
    """
    signature = types.void(types.int64, types.int64, out, types.int64)

    def codegen(context, builder, signature, args):
        b, bits, width = builder, out.dtype.bitwidth, lanes(out.dtype.name)
        vector = ir.VectorType(context.get_value_type(out.dtype), width)
        flags, integers = ir.VectorType(ir.IntType(1), width), ir.VectorType(ir.IntType(32), width)
        load = cgutils.get_or_insert_function(
            b.module,
            ir.FunctionType(vector, [vector.as_pointer(), ir.IntType(32), flags, vector]),
            f"llvm.masked.load.v{width}f{bits}.p0",
        )
        address, count, data, start = args
        first = ir.Constant(integers, [0] * width)
        one = b.insert_element(first, b.trunc(count, ir.IntType(32)), ir.IntType(32)(0))
        counts = b.shuffle_vector(one, one, first)
        wanted = b.icmp_signed("<", ir.Constant(integers, list(range(width))), counts)
        place = b.bitcast(b.gep(data, [start]), vector.as_pointer())
        align = bits // 8
        old = b.load(place, align=align)
        source = b.inttoptr(address, vector.as_pointer())
        b.store(b.call(load, [source, ir.IntType(32)(align), wanted, old]), place, align=align)
        return context.get_dummy_value()

    return signature, codegen


@kernel
def gather(source, row, first, count, out, start):
    """Copy `count` columns, from `first` on, of a dense source's row to `out`, from `start` on."""
    like = out[0]
    kind, step = source["kind"], source["column"]
    address = address_of(source, row, first)
    # A stride equal to the item size lets the loop vectorise.
    if kind == FLOAT32 and step == 4:
        for j in range(count):
            out[start + j] = type(like)(peek(address, j, np.float32(0)))
    elif kind == FLOAT64 and step == 8:
        for j in range(count):
            out[start + j] = type(like)(peek(address, j, np.float64(0)))
    else:
        for j in range(count):
            out[start + j] = value(source, row, first + j, like)


@intrinsic(lambda address: None)
def prefetch(typingctx, address):
    """Load the cache line at an address into the second-level cache, if it can be read."""

    def codegen(context, builder, signature, args):
        place, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        load = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [place, number, number, number]),
            "llvm.prefetch.p0",
        )
        read, second_level, data = number(0), number(2), number(1)
        builder.call(load, [builder.inttoptr(args[0], place), read, second_level, data])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@kernel
def prefetch_rows(source, order, position, count):
    """Prefetch `count` rows of a dense source, from `position` in the order on.

    A small source is in the cache anyway, and a row whose numbers are not side by side would be a
    cache line for each.
    """
    step = source["column"]
    size = source["columns"] * step
    if not 0 < step <= 8 or source["rows"] * size < SMALL:
        return
    end = source["rows"] if order["kind"] == ABSENT else order["rows"]
    for place in range(position, min(position + count, end)):
        address = address_of(source, row_number(order, place), ZERO)
        for line in range(address, address + size + LINE - 1, LINE):
            prefetch(line)


@kernel
def stored(source, row):
    """Return the first and last (excluded) position of a sparse row's stored values."""
    starts = source["starts"]
    return peek(starts, row, np.int64(0)), peek(starts, row + 1, np.int64(0))


@kernel
def stored_column(source, position):
    """Return the column of the value stored at `position`."""
    return np.int64(peek(source["indices"], position, np.int32(0)))


@kernel
def stored_value(source, position, like):
    """Return the value stored at `position`, in `like`'s dtype."""
    if source["kind"] == FLOAT32:
        return type(like)(peek(source["address"], position, np.float32(0)))
    return type(like)(peek(source["address"], position, np.float64(0)))
