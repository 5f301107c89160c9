"""The register tile: the innermost loop of every product.

A tile of the product C = X Y is a few rows by a few vectors of accumulators that stay in
registers during the loop over the shared dimension::

    C[i, :width] (+)= sum over k of X[i, k] * Y[k, :width]

X is read one number at a time, in panels along both of its dimensions, so that it may be the
transpose of a matrix; Y and C are read and written in whole vectors along their rows. Numba's loops
over arrays do not keep the accumulators in registers, so the tile is written in LLVM vector
instructions, once for every dtype and vector width.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue

from ..._jit import intrinsic
from .panels import Transposed
from .vectors import REGISTERS, VECTOR_BYTES, VECTORS, lanes

# Enough accumulators to hide an addition's latency on two units, few enough to stay in registers
# together with the factors. A panel, also of float64, is a whole number of tiles wide, so that a
# tile's rows of a transposed matrix lie in one panel.
ROWS = min(8 if REGISTERS == 32 else 4, VECTORS * VECTOR_BYTES // 8)
#: Rows of the tile for products with few rows.
FEW_ROWS = 4
UNROLL = 4
#: How a product is combined with the old values; not literals: kernels would be compiled for each.
STORE, ADD, MULTIPLY = np.arange(3, dtype=np.int64)


def _tile_python(C, X, Y, i, k, rows, vectors, how):
    """Compute the same as `tile`, in NumPy."""
    one_vector = lanes(C.data.dtype)
    panel, width = VECTORS * one_vector, vectors * one_vector
    is_transposed = isinstance(X, Transposed)
    height, depth = np.arange(i, min(i + rows, C.rows)), np.arange(k, k + Y.rows)
    across, along = (height, depth) if is_transposed else (depth, height)
    places = np.add.outer(along * panel, across // panel * X.panel_stride + across % panel)
    x = X.data[X.start + places]
    y = Y.data[Y.start + np.add.outer((depth - k) * Y.row_stride, np.arange(width))]
    target = C.start + np.add.outer(height * C.row_stride, np.arange(width))
    product = (x.T if is_transposed else x) @ y
    old = C.data[target]
    C.data[target] = (product, product + old, product * old)[how]


class _Emitter:
    """The LLVM instructions of one tile."""

    def __init__(self, builder, dtype, vectors):
        self.builder, self.vectors = builder, vectors
        self.bytes = dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.panel = VECTORS * self.lanes
        scalar = ir.FloatType() if self.bytes == 4 else ir.DoubleType()
        self.vector = ir.VectorType(scalar, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.undefined = ir.Constant(self.vector, ir.Undefined)
        self.first_lane = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        self.fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fma.v{self.lanes}f{8 * self.bytes}",
        )

    def integer(self, value):
        return ir.Constant(ir.IntType(64), value)

    def load(self, pointer):
        address = self.builder.bitcast(pointer, self.vector.as_pointer())
        return self.builder.load(address, align=self.bytes)

    def store(self, value, pointer):
        address = self.builder.bitcast(pointer, self.vector.as_pointer())
        self.builder.store(value, address, align=self.bytes)

    def broadcast(self, pointer):
        b = self.builder
        one = b.insert_element(self.undefined, b.load(pointer), ir.Constant(ir.IntType(32), 0))
        return b.shuffle_vector(one, self.undefined, self.first_lane)

    def sum(self, vector):
        """Sum a vector's numbers: add its halves until one number is left."""
        b, count = self.builder, self.lanes
        while count > 1:
            count //= 2
            half = ir.VectorType(ir.IntType(32), count)
            low = ir.Constant(half, list(range(count)))
            high = ir.Constant(half, list(range(count, 2 * count)))
            vector = b.fadd(*(b.shuffle_vector(vector, vector, part) for part in (low, high)))
        return b.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def outer_product(self, sums, x, y, row_offsets):
        """Do one step along the shared dimension: sums[i, v] + X[i, k] Y[k, v] for all i and v."""
        b = self.builder
        ys = [self.load(b.gep(y, [self.integer(v * self.lanes)])) for v in range(self.vectors)]
        result = []
        for r, offset in enumerate(row_offsets):
            xs = self.broadcast(b.gep(x, [offset]))
            for v, y_vector in enumerate(ys):
                result.append(b.call(self.fma, [xs, y_vector, sums[r * self.vectors + v]]))
        return result

    def loop(self, start, stop, stride, carried, body):
        """Loop ``carried = body(k, *carried)`` over range(start, stop, stride); return the last."""
        b = self.builder
        before = b.block
        head, after = b.append_basic_block("depth"), b.append_basic_block("depth.end")
        b.cbranch(b.icmp_signed("<", start, stop), head, after)

        b.position_at_end(head)
        k = b.phi(start.type)
        current = [b.phi(value.type) for value in carried]
        following = body(k, *current)
        end = b.block  # the body may have blocks of its own
        next_k = b.add(k, self.integer(stride))
        for phi, first, value in zip(
            [k, *current], [start, *carried], [next_k, *following], strict=True
        ):
            phi.add_incoming(first, before)
            phi.add_incoming(value, end)
        b.cbranch(b.icmp_signed("<", next_k, stop), head, after)

        b.position_at_end(after)
        joined = [b.phi(value.type) for value in carried]
        for phi, first, value in zip(joined, carried, following, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(value, end)
        return joined

    def depth(self, X, Y, i, first, sums):
        """Sum the outer products of X, rows from i and columns from `first` on, with Y's rows."""
        b = self.builder
        x, row, step, jump = X.walk(self, i, first)
        offsets = [self.integer(r * row) for r in range(len(sums) // self.vectors)]

        def steps(count):
            def body(k, x, y, *sums):
                for _ in range(count):
                    sums = self.outer_product(sums, x, y, offsets)
                    x, y = b.gep(x, [self.integer(step)]), b.gep(y, [Y.row_stride])
                inside = b.and_(b.add(k, self.integer(count)), self.integer(self.panel - 1))
                ended = b.icmp_signed("==", inside, self.integer(0))
                return [b.gep(x, [b.select(ended, jump, self.integer(0))]), y, *sums]

            return body

        whole = b.and_(Y.rows, self.integer(-UNROLL))
        carried = [x, Y.address(self), *sums]
        carried = self.loop(self.integer(0), whole, UNROLL, carried, steps(UNROLL))
        return self.loop(whole, Y.rows, 1, carried, steps(1))[2:]


class _Panels(NamedTuple):
    """`Panels` as LLVM values."""

    data: ir.Value
    start: ir.Value
    rows: ir.Value
    columns: ir.Value
    row_stride: ir.Value
    panel_stride: ir.Value

    def address(self, emit, offset=None):
        start = self.start if offset is None else emit.builder.add(self.start, offset)
        return emit.builder.gep(self.data, [start])

    def walk(self, emit, i, k):
        """Return the address of element (i, k), and the steps to the next row, column and panel."""
        b, width = emit.builder, emit.integer(emit.panel)
        offset = b.add(b.mul(i, width), b.mul(b.udiv(k, width), self.panel_stride))
        return self.address(emit, offset), emit.panel, 1, b.sub(self.panel_stride, width)


class _Transposed(_Panels):
    """`Transposed` as LLVM values."""

    def walk(self, emit, i, k):
        b, width = emit.builder, emit.integer(emit.panel)
        column = b.add(b.mul(b.udiv(i, width), self.panel_stride), b.urem(i, width))
        offset = b.add(column, b.mul(k, width))
        return self.address(emit, offset), 1, emit.panel, emit.integer(0)


@intrinsic(_tile_python)
def tile(typingctx, C, X, Y, i, k, rows, vectors, how):
    """Compute rows [i, i + rows) of C = X Y, in the first `vectors` vectors of columns.

    `how` says what happens to C: the product replaces it (`STORE`), is added to it (`ADD`), or is
    multiplied with it element by element (`MULTIPLY`).

    The columns of X from k on, where a panel begins, are multiplied with the rows of Y. `rows` and
    `vectors` are literals. X is `Panels` or `Transposed`, with a row stride of one panel width.
    Rows past the end of C are read from X, whose buffer has room for them, but not stored: one tile
    serves every number of rows. Columns are not checked: Y and C are one panel each, padded to
    whole vectors.
    """
    if not (isinstance(rows, types.IntegerLiteral) and isinstance(vectors, types.IntegerLiteral)):
        raise RequireLiteralValue("the tile's shape must be literal")
    height = rows.literal_value
    signature = types.void(C, X, Y, types.intp, types.intp, rows, vectors, types.intp)

    def codegen(context, builder, signature, args):
        b = builder
        emit = _Emitter(b, signature.args[0].types[0].dtype, vectors.literal_value)
        C, X, Y = (cgutils.unpack_tuple(b, args[position]) for position in range(3))
        transposed = signature.args[1].instance_class is Transposed
        C, X, Y = _Panels(*C), (_Transposed if transposed else _Panels)(*X), _Panels(*Y)
        i, k, how = args[3], args[4], args[7]

        sums = emit.depth(X, Y, i, k, [emit.zero] * (height * emit.vectors))

        one = ir.Constant(emit.vector, [1.0] * emit.lanes)
        adds = b.icmp_signed("==", how, emit.integer(ADD))
        multiplies = b.icmp_signed("==", how, emit.integer(MULTIPLY))
        c, present = C.address(emit, b.mul(i, C.row_stride)), b.sub(C.rows, i)
        for r in range(height):
            with b.if_then(b.icmp_signed("<", emit.integer(r), present)):
                for v in range(emit.vectors):
                    row = b.mul(C.row_stride, emit.integer(r))
                    offset = b.add(row, emit.integer(v * emit.lanes))
                    target = b.gep(c, [offset])
                    old = emit.load(target)
                    factor = b.select(multiplies, old, one)
                    term = b.select(adds, old, emit.zero)
                    total = b.call(emit.fma, [sums[r * emit.vectors + v], factor, term])
                    emit.store(total, target)
        return context.get_dummy_value()

    return signature, codegen


def _dot_python(A, B, i, j):
    """Compute the same as `dot`, in NumPy."""
    panel = VECTORS * lanes(A.data.dtype)
    columns = np.arange(A.columns)
    across, along = columns // panel, columns % panel
    a = A.data[A.start + i * A.row_stride + across * A.panel_stride + along]
    return a @ B.data[B.start + j * B.row_stride + across * B.panel_stride + along]


@intrinsic(_dot_python)
def dot(typingctx, A, B, i, j):
    """Return the sum over k of A[i, k] B[j, k]; both rows are whole numbers of vectors."""
    signature = A.types[0].dtype(A, B, types.intp, types.intp)

    def codegen(context, builder, signature, args):
        b = builder
        emit = _Emitter(b, signature.return_type, VECTORS)
        A, B = (_Panels(*cgutils.unpack_tuple(b, args[position])) for position in range(2))
        a = A.address(emit, b.mul(args[2], A.row_stride))
        b_row = B.address(emit, b.mul(args[3], B.row_stride))

        def steps(vectors):
            def body(k, a, b_row, *sums):
                offsets = [[emit.integer(v * emit.lanes)] for v in range(vectors)]
                pairs = [(emit.load(b.gep(a, o)), emit.load(b.gep(b_row, o))) for o in offsets]
                added = [b.call(emit.fma, [*p, s]) for p, s in zip(pairs, sums, strict=False)]
                jumps = [A.panel_stride], [B.panel_stride]
                if vectors < VECTORS:
                    jumps = ([emit.integer(emit.lanes)],) * 2
                return [b.gep(a, jumps[0]), b.gep(b_row, jumps[1]), *added, *sums[vectors:]]

            return body

        whole = b.and_(A.columns, emit.integer(-emit.panel))
        carried = [a, b_row, *[emit.zero] * VECTORS]
        carried = emit.loop(emit.integer(0), whole, emit.panel, carried, steps(VECTORS))
        sums = emit.loop(whole, A.columns, emit.lanes, carried, steps(1))[2:]
        total = sums[0]
        for other in sums[1:]:
            total = b.fadd(total, other)
        return emit.sum(total)

    return signature, codegen
