"""How fastmlp compiles: every compiler option and the disk cache, each with its reason.

Three decorators say what a function is:

``formula``
    Scalar maths, inlined into every kernel that calls it.
``kernel``
    A loop nest over arrays, called from other compiled code.
``entry``
    A kernel that Python calls. Only entries are kept on disk: an entry's machine code holds
    everything it calls.

and ``intrinsic`` pairs an LLVM intrinsic with the plain Python function that it stands for.
"""

import hashlib
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba import njit
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

formula = njit(inline="always", **_OPTIONS)
kernel = njit(**_OPTIONS)


def entry(function: Callable) -> Callable:
    """Compile `function` as a kernel that Python calls, kept in the disk cache."""
    dispatcher = kernel(function)
    if not JIT_DISABLED:
        dispatcher._cache = DiskCache(function)
    return dispatcher


def intrinsic(python: Callable) -> Callable:
    """Pair an LLVM intrinsic with `python`, its plain meaning, which runs where the JIT is off."""

    def decorate(build: Callable) -> Callable:
        return python if JIT_DISABLED else _llvm_intrinsic(build)

    return decorate


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
        yield Path(chosen) / place
        return
    yield PACKAGE / "__pycache__" / "compiled"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):
        yield Path(home) / "fastmlp" / place
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    yield Path(tempfile.gettempdir()) / f"fastmlp-{user}" / place


def _writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, which is created; tried, since permissions can lie."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if hasattr(os, "getuid") and folder.stat().st_uid not in (os.getuid(), 0):
            return False  # another user's folder under /tmp: its pickles are not ours to run
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


class CacheFolder:
    """Where compiled code lies on disk: found at first use, keyed by the sources' fingerprint."""

    def __init__(self):
        self._known = None

    @property
    def path(self) -> Path | None:
        """The folder in use, or None where nothing can be written and nothing was kept."""
        if self._known is None:
            self._known = (self._find(),)
        return self._known[0]

    @staticmethod
    def _find() -> Path | None:
        name = fingerprint()
        for root in _cache_roots():
            folder = root / name
            # A read-only installation whose image was warmed up serves its readers as well.
            if _writable(folder) or (folder.is_dir() and any(folder.iterdir())):
                for stale in root.iterdir():
                    if stale.name != name:
                        shutil.rmtree(stale, ignore_errors=True)
                return folder
        return None


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

    def _file(self, signature, codegen) -> Path | None:
        if CACHE.path is None:
            return None
        key = repr((signature, codegen.magic_tuple()))
        return CACHE.path / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}"

    def load_overload(self, sig, target_context):
        """Return the compiled function for `sig`, or None."""
        target_context.refresh()
        file = self._file(sig, target_context.codegen())
        try:
            content = file.read_bytes()
            checksum, payload = content[:32], content[32:]
            if hashlib.sha256(payload).digest() == checksum:
                return compiler.CompileResult._rebuild(target_context, *pickle.loads(payload))
            file.unlink()
        except Exception:  # a missing, cut, foreign or unreadable file: compile
            pass
        return None

    def save_overload(self, sig, data):
        """Keep the compiled function `data` for `sig`, if a folder can take it."""
        file = self._file(sig, data.codegen)
        if file is None:
            return
        payload = pickle.dumps(data._reduce(), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
                part.write(hashlib.sha256(payload).digest() + payload)
            os.replace(part.name, file)
        except OSError:  # read-only, full, or removed by another process
            pass

    def flush(self):
        """Remove this function's files."""
        if CACHE.path is not None:
            for file in CACHE.path.glob(f"{self._name}-*"):
                file.unlink(missing_ok=True)
