"""The register tile: the innermost loop of every product, and all that knows the CPU's vectors.

A tile of the product C = X Y is a few rows by a few vectors of accumulators that stay in
registers while the shared dimension runs by::

    C[i, :width] (+)= sum over k of X[i, k] * Y[k, :width]

X is read one number at a time and may have any strides; Y and C are read and written in whole
vectors along their rows. Loops over arrays do not keep the accumulators in registers, hence LLVM
vector instructions, written here once for every dtype and vector width.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.core.errors import RequireLiteralValue

from ..._jit import intrinsic

#: Numba compiles a function anew for a literal argument: a 0 that is not one.
ZERO = np.int64(0)


def _same(array):
    return array


@intrinsic(_same)
def pointer(typingctx, array):
    """The address of an array's first number, indexed like the array.

    Inside compiled code an array counts its references, atomically, wherever it is passed on, and
    tests each index for wraparound, which stops loops from vectorising. A pointer does neither.
    """

    def codegen(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic(lambda array: array.itemsize)
def itemsize(typingctx, data):
    """Bytes of one number behind a pointer."""

    def codegen(context, builder, signature, args):
        return context.get_constant(types.intp, data.dtype.bitwidth // 8)

    return types.intp(data), codegen


class Matrix(NamedTuple):
    """A matrix inside a flat buffer: element (i, j) is ``data[start + i*row + j*column]``.

    In compiled code ``data`` is a `pointer`.
    """

    data: np.ndarray
    start: int
    rows: int
    columns: int
    row: int
    column: int


def _host_features() -> set[str]:
    """The CPU features that Numba compiles for, which the user may have set below the host's."""
    if config.CPU_FEATURES is not None:
        return {f[1:] for f in config.CPU_FEATURES.split(",") if f.startswith("+")}
    if config.CPU_NAME is not None and config.CPU_NAME != "host":
        return set()  # what another CPU has is not told: the narrowest vectors run everywhere
    return {name for name, present in binding.get_host_cpu_features().items() if present}


def _registers() -> tuple[int, int]:
    """Bytes of a vector register, and how many there are."""
    features = _host_features()
    if "avx512f" in features:
        return 64, 32
    if "avx2" in features:
        return 32, 16
    return 16, 32 if "neon" in features else 16


VECTOR_BYTES, _REGISTERS = _registers()
# Accumulators fill the register file but for a vector of Y each and one broadcast of X. More rows
# mean fewer loads a multiplication; a short last block of rows wastes more of them.
VECTORS = 2
ROWS = 12 if _REGISTERS == 32 else 6
#: Rows of the tile for products of a few rows: just enough sums to hide an addition's latency.
FEW_ROWS = 4
UNROLL = 4


def lanes(dtype) -> int:
    """How many numbers of `dtype` a vector holds: narrow columns are padded to this."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def _tile_python(C, X, Y, i, rows, vectors, accumulate):
    """What `tile` computes, in NumPy."""
    width = vectors * lanes(C.data.dtype)
    rows = min(rows, C.rows - i)
    depth = X.columns
    x = np.lib.stride_tricks.as_strided(
        X.data[X.start + i * X.row :],
        (rows, depth),
        (X.row * X.data.itemsize, X.column * X.data.itemsize),
    )
    y = np.lib.stride_tricks.as_strided(
        Y.data[Y.start :], (depth, width), (Y.row * Y.data.itemsize, Y.data.itemsize)
    )
    for r, product in enumerate(x @ y):
        start = C.start + (i + r) * C.row
        if accumulate:
            product += C.data[start : start + width]
        C.data[start : start + width] = product


class _Emitter:
    """The LLVM instructions of one tile."""

    def __init__(self, builder, dtype, vectors):
        self.builder, self.vectors = builder, vectors
        self.bytes = dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.bytes
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

    def outer_product(self, sums, x, y, row_offsets):
        """One step along the shared dimension: sums[i][v] + X[i, k] Y[k, v], for every i and v."""
        b = self.builder
        ys = [self.load(b.gep(y, [self.integer(v * self.lanes)])) for v in range(self.vectors)]
        result = []
        for offset, row in zip(row_offsets, sums, strict=True):
            xs = self.broadcast(b.gep(x, [offset]))
            result.append([b.call(self.fma, [xs, ys[v], row[v]]) for v in range(self.vectors)])
        return result

    def loop(self, start, stop, stride, sums, x, y, step):
        """Outer products for k in range(start, stop, stride), `stride` of them unrolled."""
        b = self.builder
        before = b.block
        head, after = b.append_basic_block("depth"), b.append_basic_block("depth.end")
        b.cbranch(b.icmp_signed("<", start, stop), head, after)

        b.position_at_end(head)
        first = [start, x, y, *(s for row in sums for s in row)]
        current = [b.phi(value.type) for value in first]
        for phi, value in zip(current, first, strict=True):
            phi.add_incoming(value, before)
        k, x, y, *flat = current
        sums = self._unflatten(flat)
        for _ in range(stride):
            sums = self.outer_product(sums, x, y, step.row_offsets)
            x, y = b.gep(x, [step.x]), b.gep(y, [step.y])
        k = b.add(k, self.integer(stride))
        last = [k, x, y, *(s for row in sums for s in row)]
        for phi, value in zip(current, last, strict=True):
            phi.add_incoming(value, head)
        b.cbranch(b.icmp_signed("<", k, stop), head, after)

        b.position_at_end(after)
        joined = [b.phi(value.type) for value in first]
        for phi, skipped, value in zip(joined, first, last, strict=True):
            phi.add_incoming(skipped, before)
            phi.add_incoming(value, head)
        _, x, y, *flat = joined
        return self._unflatten(flat), x, y

    def _unflatten(self, flat):
        n = self.vectors
        return [flat[i : i + n] for i in range(0, len(flat), n)]


class _Step(NamedTuple):
    """How far X and Y move when k grows by one, and where the tile's rows of X lie."""

    row_offsets: list
    x: ir.Value
    y: ir.Value


@intrinsic(_tile_python)
def tile(typingctx, C, X, Y, i, rows, vectors, accumulate):
    """Compute rows [i, i + rows) of C (+)= X Y, in the first `vectors` vectors of columns.

    `rows` and `vectors` are literals. Rows past the end of C re-read the last row of X and are not
    stored, so that one tile serves every number of rows. Columns are not guarded: Y and C are
    padded to whole vectors.
    """
    if not (isinstance(rows, types.IntegerLiteral) and isinstance(vectors, types.IntegerLiteral)):
        raise RequireLiteralValue("the tile's shape must be literal")
    height = rows.literal_value
    signature = types.void(C, X, Y, types.intp, rows, vectors, types.boolean)

    def codegen(context, builder, signature, args):
        b = builder
        emit = _Emitter(b, signature.args[0].types[0].dtype, vectors.literal_value)

        def fields(position):
            return cgutils.unpack_tuple(b, args[position])

        c_data, c_start, c_rows, _, c_row, _ = fields(0)
        x_data, x_start, _, depth, x_row, x_column = fields(1)
        y_data, y_start, _, _, y_row, _ = fields(2)
        i, accumulate = args[3], args[6]

        c = b.gep(c_data, [b.add(c_start, b.mul(i, c_row))])
        x = b.gep(x_data, [b.add(x_start, b.mul(i, x_row))])
        y = b.gep(y_data, [y_start])
        present = b.sub(c_rows, i)
        last = b.sub(present, emit.integer(1))
        offsets = []
        for r in range(height):
            inside = b.icmp_signed("<", emit.integer(r), present)
            offsets.append(b.mul(b.select(inside, emit.integer(r), last), x_row))
        step = _Step(offsets, x_column, y_row)

        sums = [[emit.zero] * emit.vectors for _ in range(height)]
        whole = b.sub(depth, b.urem(depth, emit.integer(UNROLL)))
        sums, x, y = emit.loop(emit.integer(0), whole, UNROLL, sums, x, y, step)
        sums, x, y = emit.loop(whole, depth, 1, sums, x, y, step)

        for r in range(height):
            with b.if_then(b.icmp_signed("<", emit.integer(r), present)):
                for v in range(emit.vectors):
                    offset = b.add(b.mul(c_row, emit.integer(r)), emit.integer(v * emit.lanes))
                    target = b.gep(c, [offset])
                    old = b.select(accumulate, emit.load(target), emit.zero)
                    emit.store(b.fadd(sums[r][v], old), target)
        return context.get_dummy_value()

    return signature, codegen
