"""The CPU's vector registers, and the pointers through which compiled code reads memory."""

import numpy as np
from llvmlite import binding
from numba import types
from numba.core import config

from ..._jit import intrinsic

#: A 0 that is not a literal: Numba compiles a function again for each literal argument.
ZERO = np.int64(0)


def _same(array):
    return array


@intrinsic(_same)
def pointer(typingctx, array):
    """Return the address of an array's first number, indexed like the array.

    In compiled code, passing an array on updates its reference count atomically, and each index is
    tested for wraparound, which prevents vectorisation. A pointer does neither.
    """

    def codegen(context, builder, signature, args):
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


def _placed(number):
    """Return a function that gives a pointer to numbers of this type; None for those of `like`."""

    @intrinsic(lambda addresses, index, like: addresses[index])
    def placed(typingctx, addresses, index, like):
        target = types.CPointer(number or like.dtype)

        def codegen(context, builder, signature, args):
            data = context.make_array(addresses)(context, builder, args[0]).data
            address = builder.load(builder.gep(data, [args[1]]))
            return builder.inttoptr(address, context.get_value_type(target))

        return target(addresses, index, like), codegen

    return placed


#: A pointer to the numbers at an address of an array of addresses. If the JIT is off, that is a
#: tuple of arrays.
placed, placed_doubles = _placed(None), _placed(types.float64)


@intrinsic(lambda data, count: data[count:])
def beyond(typingctx, data, count):
    """Return a pointer to the number that follows `count` others."""

    def codegen(context, builder, signature, args):
        return builder.gep(args[0], [args[1]])

    return data(data, types.int64), codegen


@intrinsic(lambda array: None)
def keep(typingctx, array):
    """Keep an array's memory until here: after its last use, Numba frees it.

    A pointer to it is no use. Memory that was freed too early may be another thread's by now.
    """
    return types.void(array), lambda context, *_: context.get_dummy_value()


@intrinsic(lambda array: array.itemsize)
def itemsize(typingctx, data):
    """Return the bytes of one number that a pointer points to."""

    def codegen(context, builder, signature, args):
        return context.get_constant(types.intp, data.dtype.bitwidth // 8)

    return types.intp(data), codegen


def _host_features() -> set[str]:
    """Return the CPU features that Numba compiles for; the user may have set fewer than the host's.

    Numba uses those of NUMBA_CPU_FEATURES; else none for NUMBA_CPU_NAME=generic; else the host's.
    """
    if config.CPU_FEATURES is not None:
        return {f[1:] for f in config.CPU_FEATURES.split(",") if f.startswith("+")}
    return {name for name, present in binding.get_host_cpu_features().items() if present}


def _registers() -> tuple[int, int]:
    """Return the bytes of a vector register, and the number of registers."""
    features = _host_features()
    if "avx512f" in features:
        return 64, 32
    if "avx2" in features:
        return 32, 16
    return 16, 32 if "neon" in features else 16


VECTOR_BYTES, REGISTERS = _registers()
#: Vectors in a row of a panel, and of a tile.
VECTORS = 2


def lanes(dtype) -> int:
    """Return how many numbers of `dtype` a vector holds: narrow columns are padded to this."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize
