"""How fastmlp compiles: every compiler option, each with its reason.

Four decorators say what a function is:

``formula``
    Scalar maths, inlined into every kernel that calls it.
``kernel``
    A loop nest over arrays, called from other compiled code.
``glue``
    What calls kernels one after the other, inlined into its caller.
``entry``
    A kernel that Python calls. Only entries are kept on disk: an entry's machine code holds
    everything it calls.

and ``intrinsic`` pairs an LLVM intrinsic with the plain Python function that it stands for.
"""

import contextlib
import os
from collections.abc import Callable
from functools import partial
from importlib import import_module
from operator import attrgetter

from numba import njit, types
from numba.core import config
from numba.extending import intrinsic as _llvm_intrinsic

from ._cache import DiskCache, keep

JIT_DISABLED = bool(config.DISABLE_JIT)

# Left out on purpose: ``nnan`` and ``ninf`` delete the tests that notice a diverging fit; ``arcp``
# and ``afn`` allow 1/x and sqrt by a hardware estimate and a Newton step, which is NaN at infinity.
# ``reassoc`` lets sums run in vector lanes, ``contract`` lets a*b + c be one fused instruction.
FASTMATH = {"reassoc", "contract", "nsz"}

_OPTIONS = {
    # Python's division tests for zero before each quotient, and such a loop does not vectorise.
    "error_model": "numpy",
    # Other Python threads run on while a kernel works; a team of threads needs it too.
    "nogil": True,
    "fastmath": FASTMATH,
}

# LLVM inlines a formula, after it was compiled once. ``inline="always"`` would have Numba copy and
# type it at each call: that made compiling an epoch half as long again.
formula = njit(forceinline=True, **_OPTIONS)
kernel = njit(**_OPTIONS)
# LLVM optimises every function together with all that it calls, so that with each level of calls
# the same loops are optimised once more. Glue adds no level, which saves another third.
glue = njit(inline="always", **_OPTIONS)


def plain(function: Callable) -> Callable:
    """What was decorated, as Python runs it: for a few numbers, compiling would take longer."""
    return getattr(function, "py_func", function)


# Behind a guard, as it builds on what Numba does not promise to keep.
try:
    from ._binding import EntryCompiler
except (ImportError, AttributeError):
    _ENTRY_OPTIONS = _OPTIONS
else:
    _ENTRY_OPTIONS = _OPTIONS | {"pipeline_class": EntryCompiler}


def entry(function: Callable) -> Callable:
    """Compile `function` as a kernel that Python calls, kept in the disk cache."""
    dispatcher = njit(**_ENTRY_OPTIONS)(function)
    if not JIT_DISABLED:
        keep(dispatcher, DiskCache, f"{function.__module__}.{function.__qualname__}")
    return dispatcher


# For a user's functions and the loops over them. What compiling allocates stays until the process
# ends: 3.6 MB an activation, and a seventh of it without the code by which Python and C would call.
_UNCALLED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
own_formula = njit(forceinline=True, **_OPTIONS, **_UNCALLED)
own_entry = njit(**_ENTRY_OPTIONS, **_UNCALLED)


def intrinsic(python: Callable) -> Callable:
    """Pair an LLVM intrinsic with `python`, its plain meaning, which runs where the JIT is off."""

    def decorate(build: Callable) -> Callable:
        return python if JIT_DISABLED else _llvm_intrinsic(build)

    return decorate


@intrinsic(lambda: None)
def whole_vectors(typing):
    """Have the loops of the calling kernel fill the registers.

    On Intel's processors LLVM vectorises for half a register of AVX-512, as the wide units of the
    first of them slowed the clock. Products use them anyway, and loops with much arithmetic for
    each number (tanh: a third less time) gain by them; loops that mostly load and store do not.
    """

    def build(context, builder, sig, args):
        # An attribute with a value is none of those whose names llvmlite's `add` knows.
        builder.function.attributes.update({'"prefer-vector-width"="512"'})
        return context.get_dummy_value()

    return types.void(), build


#: The compilers' locks, in the order in which they are released after a fork. A compiling thread
#: takes Numba's first.
_COMPILER_LOCKS = {
    "llvmlite.binding.ffi": "lib._lock",
    "numba.core.compiler_lock": "global_compiler_lock",
}


def _have_forks_wait_for_compilers():
    """Have every fork wait until no other thread compiles.

    A child process inherits the locks as they are, but only the thread that forked. A lock that
    another thread held would never be released, and the child would hang when it compiles.
    """
    for module, name in _COMPILER_LOCKS.items():
        with contextlib.suppress(Exception):  # both are private, and Windows has no fork
            lock = attrgetter(name)(import_module(module))
            release = partial(lock.__exit__, None, None, None)
            os.register_at_fork(
                before=lock.__enter__, after_in_parent=release, after_in_child=release
            )


if not JIT_DISABLED:
    _have_forks_wait_for_compilers()
