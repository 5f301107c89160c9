"""Instructions of tensor cores, and copies to shared memory that do not wait for their numbers.

In Numba's simulator, plain Python stands for them: the lanes of a warp show one another what they
hold, and copies land only when they are waited for, so that a missing wait is seen.
"""

from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import boolean, float32, int64, uint32, void
from numba.core import cgutils
from numba.types import UniTuple

from ..._jit import intrinsic
from .simulated_warp import Arriving, of_all_lanes

_FLOAT, _WORD, _NOTHING = ir.FloatType(), ir.IntType(32), ir.VoidType()
_ARRIVING = Arriving()


def _assembly(builder, text, constraints, result, arguments):
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    code = ir.InlineAsm(kind, text, constraints, side_effect=True)
    return builder.call(code, arguments)


# ---- numbers -------------------------------------------------------------------------------------


def _rounded(x, bits):
    """Round a float32 to fewer bits, the last of them off; ties as the GPU's conversion does."""
    word = int(np.float32(x).view(np.uint32))
    if word & 0x7F800000 == 0x7F800000:
        return word >> bits << bits
    tie = (1 << bits - 1) - 1 + (word >> bits & 1) if bits == 16 else 1 << bits - 1
    return (word + tie & 0xFFFFFFFF) >> bits << bits


def _real(word):
    return np.uint32(word).view(np.float32)


@intrinsic(lambda x: np.uint32(_rounded(x, 13)))
def tf32(typing, x):
    """Round to 11 significant bits, the nearest, ties away from zero; return the bits."""

    def build(context, builder, sig, args):
        return _assembly(builder, "cvt.rna.tf32.f32 $0, $1;", "=r,f", _WORD, args)

    return uint32(float32), build


@intrinsic(lambda low, high: np.uint32(_rounded(low, 16) >> 16 | _rounded(high, 16)))
def two_bf16(typing, low, high):
    """Round two numbers to 8 significant bits, the nearest, ties to even; return all bits."""

    def build(context, builder, sig, args):
        text = "cvt.rn.bf16x2.f32 $0, $2, $1;"
        return _assembly(builder, text, "=r,f,f", _WORD, args)

    return uint32(float32, float32), build


@intrinsic(_real)
def real_of(typing, bits):
    """Return the float32 with these bits."""

    def build(context, builder, sig, args):
        return builder.bitcast(args[0], _FLOAT)

    return float32(uint32), build


@intrinsic(lambda x: np.float32(x).view(np.uint32))
def bits_of(typing, x):
    """Return the bits of a float32."""

    def build(context, builder, sig, args):
        return builder.bitcast(args[0], _WORD)

    return uint32(float32), build


# ---- products ------------------------------------------------------------------------------------


def _products(of_word):
    """Return a stand-in for `mma`; `of_word` gives the one or two numbers in 32 bits."""

    def mma(c, a, b):
        lane, lanes = of_all_lanes((a, b))
        group, turn = divmod(lane, 4)
        total = list(c)
        for half in range(2):
            rows = [lanes[4 * group + q][0][half + 2 * h] for h in range(2) for q in range(4)]
            for side in range(2):
                other = 4 * (2 * turn + side)
                columns = [lanes[other + q][1][h] for h in range(2) for q in range(4)]
                pairs = zip(map(of_word, rows), map(of_word, columns), strict=True)
                both = sum(float(np.dot(row, column)) for row, column in pairs)
                place = 2 * half + side
                total[place] = np.float32(float(total[place]) + both)
        return tuple(total)

    return mma


def _mma(shape, numbers, of_word):
    text = f"mma.sync.aligned.{shape}.row.col.f32.{numbers}.{numbers}.f32 "
    text += "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
    constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)
    four = ir.LiteralStructType([_FLOAT] * 4)

    @intrinsic(_products(of_word))
    def mma(typing, c, a, b):
        """Return c + a b of a warp's tile, 16 rows and 8 columns, shared among its 32 lanes.

        Lane 4 g + t has, of c, rows g and g + 8 in columns 2 t and 2 t + 1: four numbers; of a,
        words t and t + 4 of rows g and g + 8: four words, by columns; of b, words t and t + 4 of
        column g. A word is one number of the depth, or two.
        """

        def build(context, builder, sig, args):
            c, a, b = (cgutils.unpack_tuple(builder, each) for each in args)
            sums = _assembly(builder, text, constraints, four, [*a, *b, *c])
            numbers = [builder.extract_value(sums, i) for i in range(4)]
            return context.make_tuple(builder, sig.return_type, numbers)

        sums = UniTuple(float32, 4)
        return sums(sums, UniTuple(uint32, 4), UniTuple(uint32, 2)), build

    return mma


#: With depths of 8 numbers, and of 16.
mma_tf32 = _mma("m16n8k8", "tf32", lambda word: [float(_real(int(word) >> 13 << 13))])
mma_bf16 = _mma(
    "m16n8k16", "bf16", lambda word: [float(_real(int(word) << s & 0xFFFF0000)) for s in (16, 0)]
)


# ---- copies to shared memory ---------------------------------------------------------------------


@lru_cache
def copy(width):
    """Return a function that begins to copy `width` numbers, 1 or 4, all of them aligned."""
    kind = {1: "ca", 4: "cg"}[width]
    text = f"cp.async.{kind}.shared.global [$0], [$1], {4 * width}, none;"
    text = f"{{.reg .pred none; setp.eq.u32 none, $2, 0; {text}}}"

    def stand_in(to, place, source, at, there):
        numbers = np.zeros(width, np.float32)
        if there:
            numbers[:] = np.ravel(source)[int(at) : int(at) + width]
        _ARRIVING.begin(to, slice(int(place), int(place) + width), numbers)

    @intrinsic(stand_in)
    def begin(typing, to, place, source, at, there):
        """Copy from `source` at `at` to `to` at `place`, or zeros if they are not `there`."""

        def build(context, builder, sig, args):
            def address(array, index):
                data = context.make_array(sig.args[array])(context, builder, args[array]).data
                return builder.gep(data, [args[index]])

            shared = ir.PointerType(_FLOAT, 3)
            to = builder.addrspacecast(address(0, 1), shared)
            there = builder.zext(args[4], _WORD)
            arguments = [builder.ptrtoint(to, _WORD), address(2, 3), there]
            _assembly(builder, text, "r,l,r,~{memory}", _NOTHING, arguments)
            return context.get_dummy_value()

        return void(to, int64, source, int64, boolean), build

    return begin


@intrinsic(_ARRIVING.commit)
def commit(typing):
    """Make one group of the copies begun since the last one."""

    def build(context, builder, sig, args):
        _assembly(builder, "cp.async.commit_group;", "~{memory}", _NOTHING, [])
        return context.get_dummy_value()

    return void(), build


@lru_cache
def wait(groups):
    """Return a function that waits until at most so many groups are on their way."""

    @intrinsic(lambda: _ARRIVING.wait(groups))
    def wait(typing):
        def build(context, builder, sig, args):
            text = f"cp.async.wait_group {groups};"
            _assembly(builder, text, "~{memory}", _NOTHING, [])
            return context.get_dummy_value()

        return void(), build

    return wait
