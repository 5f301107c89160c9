"""How fastmlp compiles: every compiler option, each with its reason.

Four decorators mark the kinds of compiled functions:

``formula``
    Scalar maths, or another short function, inlined into every kernel that calls it.
``kernel``
    A loop nest over arrays, called from other compiled code. Python cannot call it. It allocates
    nothing and returns no array, since references are not counted in it.
``glue``
    A sequence of calls to kernels, copied into its caller before types are known. It cannot leave
    code out by the type of an argument, as the other kinds can: ``if dropping is not None``.
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

# Left out on purpose: ``nnan`` and ``ninf`` would remove the checks that detect a diverging fit;
# ``arcp`` and ``afn`` allow 1/x and sqrt by a hardware estimate and a Newton step, which gives NaN
# at infinity. ``reassoc`` lets sums use vector lanes, ``contract`` lets a*b + c become one fused
# instruction.
FASTMATH = {"reassoc", "contract", "nsz"}

_OPTIONS = {
    # Python's division checks every divisor for zero; a loop with that check does not vectorise.
    "error_model": "numpy",
    # Other Python threads can run during a kernel; our own teams of threads need this too.
    "nogil": True,
    "fastmath": FASTMATH,
}

# Wrappers for calls from Python and C take time to compile, and memory that is not freed until the
# process ends: 3 MB of the 3.6 MB of an activation's loop.
_UNCALLED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

# Guarded, because it relies on Numba internals that may change.
try:
    from ._linking import UNCOUNTED, EntryCompiler, PartCompiler, UsersPartCompiler
except (ImportError, AttributeError):
    _ENTRY_OPTIONS = _PART_OPTIONS = _USERS_OPTIONS = _OPTIONS
    UNCOUNTED = {}
else:
    _ENTRY_OPTIONS = _OPTIONS | {"pipeline_class": EntryCompiler, "no_cfunc_wrapper": True}
    _PART_OPTIONS = _OPTIONS | _UNCALLED | UNCOUNTED | {"pipeline_class": PartCompiler}
    _USERS_OPTIONS = _OPTIONS | _UNCALLED | {"pipeline_class": UsersPartCompiler}
    if config.ENABLE_CUDASIM:  # whose kernels are Python's, and call formulas
        _PART_OPTIONS = _USERS_OPTIONS = _OPTIONS

kernel = njit(**_PART_OPTIONS)
glue = njit(inline="always", **_OPTIONS)


def plain(function: Callable) -> Callable:
    """Return the undecorated Python function: for a few numbers, compiling would take longer."""
    return getattr(function, "py_func", function)


def formula(function: Callable) -> Callable:
    """Compile `function` to be inlined into the kernels that call it, on the CPU or a GPU."""
    # A formula is typed once, then LLVM inlines it. With ``inline="always"``, Numba would copy and
    # type it at each call, which increased the compile time of an epoch by half.
    dispatcher = njit(forceinline=True, **_PART_OPTIONS)(function)
    if not JIT_DISABLED:
        # The CPU's compiler has its options; numba-cuda copies this attribute. It takes any
        # fastmath as leave to estimate quotients, which are 0 for divisors of 2^126 and more.
        options, left_out = dispatcher.targetoptions.items(), {"fastmath", *UNCOUNTED}
        dispatcher.targetoptions = {name: of for name, of in options if name not in left_out}
    return dispatcher


# Like an entry, but not kept: for tests and benchmarks.
called = njit(**_ENTRY_OPTIONS)
#: Like an entry, but called only by its address, and not kept.
addressed = njit(**_ENTRY_OPTIONS | _UNCALLED)
own_formula = njit(forceinline=True, **_USERS_OPTIONS | _UNCALLED)  # for user-defined functions


def entry(function: Callable, compiler: Callable = called) -> Callable:
    """Compile `function` as a kernel that Python calls, kept in the disk cache."""
    dispatcher = compiler(function)
    if not JIT_DISABLED:
        keep(dispatcher, DiskCache, f"{function.__module__}.{function.__qualname__}")
    return dispatcher


def intrinsic(python: Callable) -> Callable:
    """Pair an LLVM intrinsic with `python`, its Python equivalent, used when the JIT is off."""

    def decorate(build: Callable) -> Callable:
        return python if JIT_DISABLED else _llvm_intrinsic(build)

    return decorate


@intrinsic(lambda: None)
def whole_vectors(typing):
    """Make the loops of the calling kernel use the full width of the vector registers.

    On Intel processors LLVM vectorises for half of an AVX-512 register, because the full-width
    units of the first such processors lowered the clock rate. Products use the full width anyway,
    and loops with much arithmetic per element gain from it (tanh: a third less time); loops that
    mostly load and store do not.
    """

    def build(context, builder, sig, args):
        # llvmlite's `add` accepts only the names it knows, none of which is one with a value.
        builder.function.attributes.update({'"prefer-vector-width"="512"'})
        return context.get_dummy_value()

    return types.void(), build


@intrinsic(lambda: None)
def never_inlined(typing):
    """Have LLVM call the calling kernel: for a large one, of which one copy is enough."""

    def build(context, builder, sig, args):
        # Which Numba adds if a formula is the first caller: its options are handed on.
        builder.function.attributes.discard("alwaysinline")
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), build


#: The compilers' locks, in the order in which they are released after a fork. A compiling thread
#: takes Numba's first.
_COMPILER_LOCKS = {
    "llvmlite.binding.ffi": "lib._lock",
    "numba.core.compiler_lock": "global_compiler_lock",
}


def _have_forks_wait_for_compilers():
    """Make every fork wait until no other thread is compiling.

    A child process inherits the locks in their current state, but only the thread that forked. A
    lock held by another thread would never be released, and the child would hang when it compiles.
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
