"""How fastmlp compiles: every compiler option and the disk cache, each with its reason.

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
import hashlib
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba import njit, types
from numba.core import compiler, config
from numba.core.caching import _Cache
from numba.extending import intrinsic as _llvm_intrinsic

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
        dispatcher._cache = DiskCache(function)
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


PACKAGE = Path(__file__).parent


def fingerprint() -> str:
    """Digest of the package's sources and of the compilers' versions.

    Numba's own cache looks at the file of the cached function alone: after an edit of a formula in
    another file it would go on to run the old one.
    """
    digest = hashlib.sha256()
    for part in (sys.version, numba.__version__, llvmlite.__version__, np.__version__):
        digest.update(part.encode())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_roots():
    """Folders that may hold this installation's cache, the preferred one first.

    Beside the package, a cache is shared by the users of one installation and travels with a
    container image. The others are for installations that this user cannot write to; they carry
    the installation's path, so that two environments do not clear each other's files.
    """
    place = hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:12]
    if chosen := os.environ.get("FASTMLP_CACHE_DIR"):
        yield Path(chosen).absolute() / place
        return
    yield PACKAGE / "__pycache__" / "compiled"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):
        yield Path(home) / "fastmlp" / place
    with contextlib.suppress(FileNotFoundError):  # no folder for temporary files either
        user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
        yield Path(tempfile.gettempdir()) / f"fastmlp-{user}-{place}"


def _trusted(root: Path) -> bool:
    """Whether code from `root` may be run: it is ours, the system's or the installation's owner's.

    Under /tmp anyone can take our name first, for a folder of theirs or for a link to one of ours.
    """
    if not hasattr(os, "getuid"):
        return True
    return root.lstat().st_uid in (os.getuid(), 0, PACKAGE.stat().st_uid)


class CacheFolder:
    """Where compiled code lies on disk: named by the sources' fingerprint, found at first use."""

    def __init__(self):
        # Of the sources as they are imported: this process does not run what is edited later.
        self._name = fingerprint()

    @property
    def readable(self) -> list[Path]:
        """The folders to look in; a read-only installation that was warmed up is one of them."""
        return self._found[0]

    @property
    def path(self) -> Path | None:
        """The folder that takes new code, or None where nothing can be written."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[list[Path], Path | None]:
        readable = []
        for root in _cache_roots():
            folder = root / self._name
            with contextlib.suppress(OSError):
                root.mkdir(mode=0o755, parents=True, exist_ok=True)
                if not _trusted(root):
                    continue
                folder.mkdir(mode=0o755, exist_ok=True)
                readable.append(folder)
                with tempfile.TemporaryFile(dir=folder):  # tried, since permissions can lie
                    pass
                for stale in root.iterdir():
                    if stale != folder:
                        shutil.rmtree(stale, ignore_errors=True)
                return readable, folder
        return readable, None


CACHE = CacheFolder()


class DiskCache(_Cache):
    """One function's compiled overloads on disk: a file each, checksummed, replaced whole.

    A cache must never be the reason for a crash: whatever goes wrong while reading is a miss, and
    whatever goes wrong while writing leaves the code in memory alone.
    """

    def __init__(self, function: Callable):
        self._name = f"{function.__module__}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        return str(CACHE.path)

    def enable(self):
        """Nothing to do: the cache is on for as long as a folder is found."""

    def disable(self):
        """Nothing to do, see `enable`."""

    def _key(self, signature, codegen) -> tuple:
        """What the machine code depends on, besides the sources."""
        # Numba's own key leaves out the switch for bounds checks, which are part of the code.
        return signature, codegen.magic_tuple(), config.BOUNDSCHECK

    def _reduce(self, data) -> bytes:
        """What to keep of compiled code."""
        return pickle.dumps(data._reduce(), protocol=pickle.HIGHEST_PROTOCOL)

    def _rebuild(self, target_context, content: bytes):
        """The compiled code of which this was kept."""
        return compiler.CompileResult._rebuild(target_context, *pickle.loads(content))

    def _file(self, signature, codegen) -> str:
        key = repr(self._key(signature, codegen))
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}"

    def load_overload(self, sig, target_context):
        """Return the compiled function for `sig`, or None."""
        target_context.refresh()
        file = self._file(sig, target_context.codegen())
        for folder in CACHE.readable:
            # A file that is missing, cut, foreign or unreadable: look further, then compile.
            with contextlib.suppress(Exception):
                content = (folder / file).read_bytes()
                checksum, payload = content[:32], content[32:]
                if hashlib.sha256(payload).digest() == checksum:
                    return self._rebuild(target_context, payload)
        return None

    def save_overload(self, sig, data):
        """Keep the compiled function `data` for `sig`, if a folder can take it."""
        # Dynamic globals are addresses in this process.
        if CACHE.path is None or getattr(data.library, "has_dynamic_globals", False):
            return
        payload = self._reduce(data)
        # The folder may be full, or removed by another process.
        with (
            contextlib.suppress(OSError),
            tempfile.TemporaryDirectory(dir=CACHE.path, ignore_cleanup_errors=True) as desk,
        ):
            part = Path(desk, "part")
            part.write_bytes(hashlib.sha256(payload).digest() + payload)
            part.chmod(0o644)  # all users of the installation read it, none but its owner writes
            part.replace(CACHE.path / self._file(sig, data.codegen))

    def flush(self):
        """Remove this function's files."""
        if CACHE.path is not None:
            for file in CACHE.path.glob(f"{self._name}-*"):
                file.unlink(missing_ok=True)
