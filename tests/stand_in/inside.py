"""The stand-in in the process that uses it: how kernels come to the driver, and in which order."""

import ctypes
import sys
import traceback
from contextlib import contextmanager
from typing import NamedTuple

from . import compiler, translation


class Orders(NamedTuple):
    """How what CUDA leaves open is decided; see the enumerations in stand_in.h."""

    threads: int = 0
    streams: int = 0
    seed: int = 0


ASCENDING, DESCENDING, SHUFFLED = range(3)
AT_ONCE, LATE, ANY_TIME = range(3)
#: The first is what comes to mind; the others are as far from it as can be, and random ones.
ADVERSARIAL = [
    Orders(ASCENDING, AT_ONCE),
    Orders(DESCENDING, LATE),
    *(Orders(SHUFFLED, ANY_TIME, seed) for seed in range(3)),
]
#: What numba-cuda knows of each kernel that this process has compiled.
compiled: list = []
_LOAD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)


@_LOAD
def _load(library, image):
    try:
        for kernel in compiler.kernels_in(image.decode()):
            compiler.driver().standin_add_kernel(ctypes.c_void_p(library), ctypes.byref(kernel))
    except BaseException:  # it cannot pass through the driver, which returns an error
        traceback.print_exc(file=sys.stderr)
        return 1
    return 0


def install() -> None:
    """Make numba-cuda compile for the stand-in, in a process whose driver it is."""
    from fastmlp.devices.cuda.toolkit import cuda  # numba-cuda, under any NumPy

    compiler.driver().standin_on_load(_load)
    cuda.codegen.CUDACodeLibrary.get_cubin = _get_cubin


def _get_cubin(library, cc=None):
    from cuda.core import ObjectCode

    if None not in library._cubin_cache:  # nor comes it from a disk
        image = translation.image_of(_modules(library))
        library._cubin_cache[None] = ObjectCode.from_cubin(image)
        compiled.append(library)
    return library._cubin_cache[None]


def _modules(library):
    return sorted(set(library.llvm_strs))  # in no order, and some of them twice


def orders(threads: int = ASCENDING, streams: int = AT_ONCE, seed: int = 0) -> None:
    """Choose the order of threads and blocks, and that of streams, from now on."""
    compiler.driver().standin_set_orders(threads, streams, ctypes.c_uint64(seed))


def count() -> tuple[int, int]:
    """Return how many kernels have run, and how many graphs."""
    counts = (ctypes.c_long * 2)()
    compiler.driver().standin_count(counts)
    return tuple(counts)


def barriers_of(library) -> list[str]:
    """Return the functions that a kernel's barriers are in; see `translation.barriers_in`."""
    return translation.barriers_in(_modules(library))


@contextmanager
def without_barrier(library, number: int):
    """Leave a barrier out of a kernel inside of the context: its index in `barriers_of`.

    The driver passes it over: the kernel is not compiled again.
    """
    (name,) = translation.kernels_of(_modules(library))
    compiler.driver().standin_leave_out(name.encode(), number)
    try:
        yield
    finally:
        compiler.driver().standin_leave_out(None, 0)
