"""The register tile: the innermost loop of every product.

A tile of the product C = X Y is a few rows by a few vectors of accumulators that stay in
registers during the loop over the shared dimension::

    C[i, :width] = sum over k of X[i, k] * Y[k, :width]

The sums may be combined with other numbers before they are stored, which saves further passes over
them: with the old ones, or with the slopes of an activation.

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
from .panels import Panels, Transposed
from .vectors import REGISTERS, VECTOR_BYTES, VECTORS, lanes

# Enough accumulators to hide an addition's latency on two units, few enough to stay in registers
# together with the factors. A panel, also of float64, is a whole number of tiles wide, so that a
# tile's rows of a transposed matrix lie in one panel.
ROWS = min(8 if REGISTERS == 32 else 4, VECTORS * VECTOR_BYTES // 8)
UNROLL = 4
#: Additions that must be on their way to keep two units busy, of a latency of 4 cycles.
LATENCY = 8
#: What is done with a product, in this order; sums of these do several things. Not literals:
#: kernels would be compiled for each.
STORE, ADD, MULTIPLY, RECTIFY, GATE = np.array([0, 1, 2, 4, 8])


def _tile_python(C, X, Y, i, k, rows, how, G):
    """Compute the same as `tile`, in NumPy."""
    panel, width = VECTORS * lanes(C.data.dtype), Y.columns
    is_transposed = isinstance(X, Transposed)
    height, depth = np.arange(i, i + rows), np.arange(k, k + Y.rows)
    across, along = (height, depth) if is_transposed else (depth, height)
    places = np.add.outer(along * panel, across // panel * X.panel_stride + across % panel)
    x = X.data[X.start + places]
    y = Y.data[Y.start + np.add.outer((depth - k) * Y.row_stride, np.arange(width))]
    target = C.start + np.add.outer(height * C.row_stride, np.arange(width))
    product = (x.T if is_transposed else x) @ y
    if how & ADD:
        product += C.data[target]
    if how & MULTIPLY:
        product *= C.data[target]
    if how & RECTIFY:
        product[product < 0] = 0
    if how & GATE:
        gate = G.start + np.add.outer(height * G.row_stride, np.arange(width))
        product[~(G.data[gate] > 0)] = 0
    C.data[target] = product


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

    def lane(self, value):
        return ir.Constant(ir.IntType(32), value)

    def load(self, pointer):
        address = self.builder.bitcast(pointer, self.vector.as_pointer())
        return self.builder.load(address, align=self.bytes)

    def store(self, value, pointer):
        address = self.builder.bitcast(pointer, self.vector.as_pointer())
        self.builder.store(value, address, align=self.bytes)

    def broadcast(self, number):
        one = self.builder.insert_element(self.undefined, number, self.lane(0))
        return self.builder.shuffle_vector(one, self.undefined, self.first_lane)

    def totals(self, vectors):
        """Sum the numbers of each of 2^n vectors: add halves until one number is left.

        Two vectors are halved together, and their sums then lie side by side in one vector. So the
        result is one vector or a few, with the sums in the order of the vectors.
        """
        b, half = self.builder, self.lanes
        while half > 1:
            half //= 2
            starts = range(0, 2 * self.lanes, 2 * half)
            low = [start + lane for start in starts for lane in range(half)]
            halves = [
                ir.Constant(self.first_lane.type, [lane + offset for lane in low])
                for offset in (0, half)
            ]
            pairs = zip(vectors[::2], vectors[1::2] or vectors, strict=True)
            vectors = [b.fadd(*(b.shuffle_vector(u, v, mask) for mask in halves)) for u, v in pairs]
        return vectors

    def outer_product(self, sums, x, y, row_offsets):
        """Do one step along the shared dimension: sums[i, v] + X[i, k] Y[k, v] for all i and v."""
        b = self.builder
        ys = [self.load(b.gep(y, [self.integer(v * self.lanes)])) for v in range(self.vectors)]
        result = []
        for r, offset in enumerate(row_offsets):
            xs = self.broadcast(b.load(b.gep(x, [offset])))
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

    def depth(self, X, Y, i, first, height):
        """Sum the outer products of X, rows from i and columns from `first` on, with Y's rows.

        A tile of few sums has several sets of them, to hide an addition's latency.
        """
        b = self.builder
        x, row, step, jump = X.walk(self, i, first)
        offsets = [self.integer(r * row) for r in range(height)]
        size = height * self.vectors
        sets = max(1, min(UNROLL, LATENCY // size))

        def steps(count):
            def body(k, x, y, *sums):
                sums = list(sums)
                for n in range(count):
                    own = slice(n % sets * size, (n % sets + 1) * size)
                    sums[own] = self.outer_product(sums[own], x, y, offsets)
                    x, y = b.gep(x, [self.integer(step)]), b.gep(y, [Y.row_stride])
                inside = b.and_(b.add(k, self.integer(count)), self.integer(self.panel - 1))
                ended = b.icmp_signed("==", inside, self.integer(0))
                return [b.gep(x, [b.select(ended, jump, self.integer(0))]), y, *sums]

            return body

        whole = b.and_(Y.rows, self.integer(-UNROLL))
        carried = [x, Y.address(self), *[self.zero] * (sets * size)]
        carried = self.loop(self.integer(0), whole, UNROLL, carried, steps(UNROLL))
        sums = self.loop(whole, Y.rows, 1, carried, steps(1))[2:]
        while len(sums) > size:
            half = len(sums) // 2
            sums = [b.fadd(*pair) for pair in zip(sums[:half], sums[half:], strict=True)]
        return sums

    def row_products(self, A, B, i, j, height):
        """Return a vector for each of `height` rows of A from i on: its sum is A[r] B[j]."""
        b = self.builder

        def steps(vectors):
            def body(k, a, row, *sums):
                sums = list(sums)
                for v in range(vectors):
                    y = self.load(b.gep(row, [self.integer(v * self.lanes)]))
                    for r in range(height):
                        x = self.load(b.gep(a, [self.integer(r * self.panel + v * self.lanes)]))
                        sums[r + v * height] = b.call(self.fma, [x, y, sums[r + v * height]])
                jumps = A.panel_stride, B.panel_stride
                if vectors < VECTORS:
                    jumps = self.integer(self.lanes), self.integer(self.lanes)
                return [b.gep(a, [jumps[0]]), b.gep(row, [jumps[1]]), *sums]

            return body

        whole = b.and_(A.columns, self.integer(-self.panel))
        starts = b.mul(i, self.integer(self.panel)), b.mul(j, B.row_stride)
        carried = [M.address(self, start) for M, start in zip((A, B), starts, strict=True)]
        carried += [self.zero] * (VECTORS * height)
        carried = self.loop(self.integer(0), whole, self.panel, carried, steps(VECTORS))
        sums = self.loop(whole, A.columns, self.lanes, carried, steps(1))[2:]
        return [b.fadd(*pair) for pair in zip(sums[:height], sums[height:], strict=True)]

    def places(self, M, i, height):
        """Return the addresses of the vectors of rows i, ..., i + height - 1 of one panel."""
        b = self.builder
        rows = [b.mul(M.row_stride, b.add(i, self.integer(r))) for r in range(height)]
        vectors = [self.integer(v * self.lanes) for v in range(self.vectors)]
        return [M.address(self, b.add(row, vector)) for row in rows for vector in vectors]

    def changed(self, wanted, change, values, *others):
        """Return ``change(value, other)`` of all values, if `wanted` at run time, else the values.

        The others are read from memory only if wanted.
        """
        b, before = self.builder, self.builder.block
        with b.if_then(wanted):
            pairs = zip(values, *([self.load(place) for place in o] for o in others), strict=True)
            new = [change(*pair) for pair in pairs]
            inside = b.block
        joined = [b.phi(self.vector) for _ in values]
        for phi, *pair in zip(joined, values, new, strict=True):
            for value, block in zip(pair, (before, inside), strict=True):
                phi.add_incoming(value, block)
        return joined

    def tile(self, C, X, Y, i, k, height, how, G):
        """Compute rows [i, i + height) of C = X Y; see `tile`."""
        b = self.builder

        def wanted(what):
            return b.icmp_signed("!=", b.and_(how, self.integer(what)), self.integer(0))

        def rectified(z):
            return b.select(b.fcmp_ordered("<", z, self.zero), self.zero, z)

        def gated(x, gate):
            return b.select(b.fcmp_ordered(">", gate, self.zero), x, self.zero)

        sums, target = self.depth(X, Y, i, k, height), self.places(C, i, height)
        sums = self.changed(wanted(ADD), b.fadd, sums, target)
        if G is not None:
            sums = self.changed(wanted(MULTIPLY), b.fmul, sums, target)
            sums = self.changed(wanted(RECTIFY), rectified, sums)
            sums = self.changed(wanted(GATE), gated, sums, self.places(G, i, height))
        for value, place in zip(sums, target, strict=True):
            self.store(value, place)


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


_KINDS = {Panels: _Panels, Transposed: _Transposed}


@intrinsic(_tile_python)
def tile(typingctx, C, X, Y, i, k, rows, how, G):
    """Compute rows [i, i + rows) of C = X Y.

    `how` says what happens to the product, in this order: C is added to it (`ADD`); it is
    multiplied with C element by element (`MULTIPLY`); it becomes 0 if negative (`RECTIFY`), or
    unless the element of G is positive (`GATE`). Then it is stored. G is read only if it is needed;
    without G, which is then None, nothing but `ADD` is possible, and the code is shorter.

    The columns of X from k on, where a panel begins, are multiplied with the rows of Y. `rows` is a
    literal. X is `Panels` or `Transposed`, with a row stride of one panel width. Nothing is
    checked: C and X must have room for all rows, and Y, C and G are one panel each, of one or
    `VECTORS` vectors.
    """
    if not isinstance(rows, types.IntegerLiteral):
        raise RequireLiteralValue("the tile's height must be literal")
    signature = types.void(C, X, Y, types.intp, types.intp, rows, types.intp, G)

    def codegen(context, builder, signature, args):
        b = builder
        dtype = signature.args[0].types[0].dtype
        C, X, Y, G = (
            None if kind == types.none else _KINDS[kind.instance_class](*cgutils.unpack_tuple(b, M))
            for kind, M in ((signature.args[place], args[place]) for place in (0, 1, 2, 7))
        )
        narrow = b.icmp_signed("==", Y.columns, ir.IntType(64)(lanes(dtype.name)))
        with b.if_else(narrow) as branches:
            for branch, vectors in zip(branches, (1, VECTORS), strict=True):
                with branch:
                    emit = _Emitter(b, dtype, vectors)
                    emit.tile(C, X, Y, args[3], args[4], rows.literal_value, args[6], G)
        return context.get_dummy_value()

    return signature, codegen


def _dots_python(C, A, B, i, j, rows, term):
    """Compute the same as `dots`, in NumPy."""
    panel = VECTORS * lanes(A.data.dtype)
    columns = np.arange(A.columns)
    across, along = columns // panel, columns % panel
    row = B.data[B.start + j * B.row_stride + across * B.panel_stride + along]
    for r in range(i, i + rows):
        a = A.data[A.start + r * A.row_stride + across * A.panel_stride + along]
        C.data[C.start + r * C.row_stride + j] = a @ row + term


@intrinsic(_dots_python)
def dots(typingctx, C, A, B, i, j, rows, term):
    """Compute C[r, j] = `term` plus the sum over k of A[r, k] B[j, k], for `rows` rows r from i on.

    `rows` is a literal, a power of two. The rows of A and B are whole numbers of vectors.
    """
    if not isinstance(rows, types.IntegerLiteral):
        raise RequireLiteralValue("the number of rows must be literal")
    height = rows.literal_value
    signature = types.void(C, A, B, types.intp, types.intp, rows, A.types[0].dtype)

    def codegen(context, builder, signature, args):
        b = builder
        emit = _Emitter(b, signature.args[6], VECTORS)
        C, A, B = (_Panels(*cgutils.unpack_tuple(b, args[position])) for position in range(3))
        i, j, term = args[3], args[4], emit.broadcast(args[6])
        vectors = emit.totals(emit.row_products(A, B, i, j, height))
        results = [b.fadd(vector, term) for vector in vectors]
        for r in range(height):
            number = b.extract_element(results[r // emit.lanes], emit.lane(r % emit.lanes))
            row = b.mul(C.row_stride, b.add(i, emit.integer(r)))
            b.store(number, C.address(emit, b.add(row, j)))
        return context.get_dummy_value()

    return signature, codegen
