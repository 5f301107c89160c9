"""The disk cache: one process compiles, later ones load the code.

`DiskCache` is the interface to Numba; `installation` identifies the version of the code and the
places for a cache, `folder` reads and writes there, `lock` makes processes wait for each other, and
`stopwatch` tells the user why the first fit takes long.

A cache must never cause a crash. Numba's interface is private, files may contain anything, and
disks may fail in any way: any error while reading is a cache miss, and after any error while
writing, the code is only in memory.
"""

import contextlib
import hashlib
import pickle
import threading
from functools import wraps
from pathlib import Path

from numba.core import compiler, config

from .folder import Folder
from .installation import fingerprint, places
from .stopwatch import Stopwatch

try:
    from numba.core.caching import _Cache
except ImportError:  # this Numba has caches of another kind
    _Cache = None


class CacheFolders:
    """The folders of this version's compiled code on disk, found at first use."""

    def __init__(self):
        self.version = None
        # At import: this process does not run code that is edited later.
        with contextlib.suppress(Exception):
            self.version = fingerprint()
        self._found = None

    @property
    def readable(self) -> list[Folder]:
        """The folders to look in; a read-only installation that was warmed up is one of them."""
        return self._find()[0]

    @property
    def writable(self) -> Folder | None:
        """The folder for new code, or None if nothing can be written."""
        return self._find()[1]

    @property
    def path(self) -> Path | None:
        """The path of the folder for new code."""
        return self.writable and self.writable.path

    def files(self) -> dict[str, Path]:
        """Return the files of compiled code for this version, by name."""
        found = {}
        for folder in reversed(self.readable):  # for equal names, the first folder wins
            with contextlib.suppress(OSError):
                found |= {name: folder.path / name for name in folder.names()}
        return found

    def _find(self):
        # Two threads may search at the same time: they find the same.
        if self._found is None:
            self._found = self._look() if self.version else ([], None)
        return self._found

    def _look(self):
        readable = []
        for place in places():
            folder = Folder(place, self.version)
            with contextlib.suppress(OSError):
                if place.ours:
                    folder.make()
                folder.check()
                readable.append(folder)
                if place.ours:
                    folder.check_writable()
                    with contextlib.suppress(OSError):
                        folder.tidy()
                    return readable, folder
        return readable, None


CACHE = CacheFolders()


class Turn(threading.local):
    """The turn of a thread to compile a function, while other processes wait."""

    _lock = None
    _stopwatch = None

    def begin(self, folder: Folder, file: str, name: str):
        """Wait while another process compiles the same function, then make others wait."""
        if self._lock is None:
            lock = folder.lock(file)
            self._lock = lock if lock.take(name) else None

    def measure(self, is_kept: bool):
        """Measure how long the turn takes from now on."""
        self._stopwatch = Stopwatch(is_kept)

    def end(self):
        """Let the others continue."""
        lock, self._lock = self._lock, None
        stopwatch, self._stopwatch = self._stopwatch, None
        if lock is not None:
            lock.release()
        if stopwatch is not None:
            stopwatch.stop()


class DiskCache(_Cache or object):
    """One function's compiled overloads on disk: one file each, with checksum, replaced atomically.

    Numba calls `load_overload` before it compiles, and `save_overload` afterwards, unless compiling
    raises. In between it is this thread's turn, and `keep` makes sure that it ends.

    Parameters
    ----------
    name : str
        The function's name, unique in the package.
    """

    #: Whether users are told that compiling takes long.
    is_announced = True

    def __init__(self, name: str):
        self._name = name
        self.turn = Turn()

    @property
    def cache_path(self) -> str:
        return str(CACHE.path)

    def enable(self):
        """Do nothing: the cache is on whenever a folder is found."""

    def disable(self):
        """Do nothing, see `enable`."""

    def load_overload(self, sig, target_context):
        """Return the compiled function for `sig`, or None."""
        with contextlib.suppress(Exception):
            target_context.refresh()
            purpose = self._purpose(sig, target_context.codegen())
            found = self._load(purpose, target_context)
            if found is None and CACHE.writable:
                with contextlib.suppress(OSError):  # without a lock file, nobody waits
                    self.turn.begin(CACHE.writable, self._file(purpose), self._name)
                found = self._load(purpose, target_context)
                if found is not None:
                    self.turn.end()
            if found is None and self.is_announced:
                self.turn.measure(is_kept=CACHE.writable is not None)
            return found
        return None

    def save_overload(self, sig, data):
        """Save the compiled function `data` for `sig`, if a folder can be written."""
        with contextlib.suppress(Exception):
            # Dynamic globals are addresses in this process.
            if CACHE.writable and not data.library.has_dynamic_globals:
                purpose, payload = self._purpose(sig, data.codegen), self._reduce(data)
                content = _checksum(purpose, payload) + payload
                CACHE.writable.write(self._file(purpose), content)

    def flush(self):
        """Remove this function's files."""
        with contextlib.suppress(OSError):
            for file in CACHE.writable.names() if CACHE.writable else ():
                if file.startswith(f"{self._name}-"):
                    CACHE.writable.remove(file)

    def _key(self, signature, codegen) -> tuple:
        """Return everything that the machine code depends on, besides the sources."""
        # Numba's own key leaves out the switch for bounds checks, which are part of the code.
        return signature, codegen.magic_tuple(), config.BOUNDSCHECK

    def _reduce(self, data) -> bytes:
        """Serialise compiled code."""
        return pickle.dumps(data._reduce(), protocol=pickle.HIGHEST_PROTOCOL)

    def _rebuild(self, target_context, content: bytes):
        """Restore compiled code from the result of `_reduce`."""
        return compiler.CompileResult._rebuild(target_context, *pickle.loads(content))

    def _purpose(self, signature, codegen) -> bytes:
        """Return the complete identity of the machine code; each file has a different one."""
        return repr((CACHE.version, self._name, self._key(signature, codegen))).encode()

    def _file(self, purpose) -> str:
        return f"{self._name}-{hashlib.sha256(purpose).hexdigest()[:20]}"

    def _load(self, purpose, target_context):
        for folder in CACHE.readable:
            # If a file is missing, truncated, foreign or unreadable: try the next, then compile.
            with contextlib.suppress(Exception):
                content = folder.read(self._file(purpose))
                checksum, payload = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
                if checksum == _checksum(purpose, payload):
                    return self._rebuild(target_context, payload)
        return None


_CHECKSUM_BYTES = 32


def _checksum(purpose: bytes, payload: bytes) -> bytes:
    """Return the checksum of code and purpose, so that a file with another's name is a miss."""
    digest = hashlib.sha256(hashlib.sha256(purpose).digest())
    digest.update(payload)
    return digest.digest()


def keep(dispatcher, kind: type[DiskCache], name: str):
    """Make a dispatcher keep its compiled code on disk, if this Numba version supports it."""
    if _Cache is None:
        return
    with contextlib.suppress(Exception):
        cache, compile_anyway = kind(name), dispatcher.compile

        @wraps(compile_anyway)
        def compile_in_turn(*args, **kwargs):
            try:
                return compile_anyway(*args, **kwargs)
            finally:
                cache.turn.end()  # here, since compiling may raise

        dispatcher.compile = compile_in_turn
        dispatcher._cache = cache
