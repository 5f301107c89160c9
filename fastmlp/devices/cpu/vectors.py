"""The CPU's vector registers, and the pointers through which compiled code reads memory."""

import numpy as np
from llvmlite import binding
from numba import types
from numba.core import config

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


def _host_features() -> set[str]:
    """The CPU features that Numba compiles for, which the user may have set below the host's.

    Numba takes those of NUMBA_CPU_FEATURES; else none for NUMBA_CPU_NAME=generic; else the host's.
    """
    if config.CPU_FEATURES is not None:
        return {f[1:] for f in config.CPU_FEATURES.split(",") if f.startswith("+")}
    return {name for name, present in binding.get_host_cpu_features().items() if present}


def _registers() -> tuple[int, int]:
    """Bytes of a vector register, and how many there are."""
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
    """How many numbers of `dtype` a vector holds: narrow columns are padded to this."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize
