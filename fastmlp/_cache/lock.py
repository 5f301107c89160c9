"""A lock between processes: if several need the same code at the same time, only one compiles.

It is an advisory lock of the operating system on a separate file. The system releases it when its
process ends, in any way. It only saves work: if locks are not supported, as on some network file
systems, each process compiles.
"""

import contextlib
import os
import time
from collections.abc import Callable

from .telling import tell_once

try:
    import fcntl
except ImportError:
    fcntl = None
try:
    import msvcrt  # on Windows
except ImportError:
    msvcrt = None

#: Seconds after which a waiting process prints a message, and after which it stops waiting:
#: compiling takes seconds, so the other process is then probably suspended, or hangs.
PATIENCE, LIMIT = 2, 300
_PAUSE = 0.02


class Lock:
    """The right to compile one function.

    Parameters
    ----------
    descriptor : int
        The open file to lock. Closed when the lock is released or was not taken.
    remove : callable
        Removes the file.
    """

    def __init__(self, descriptor: int, remove: Callable[[], None]):
        self._descriptor = descriptor
        self._remove = remove
        self._process = os.getpid()

    def take(self, name: str) -> bool:
        """Wait for the lock; return whether it is held now.

        It is not held if files cannot be locked here, if the wait was too long, or if the previous
        holder has removed the file, as every holder does unless it is killed. In the last case its
        code is on disk now; or it could not be saved, for instance because the disk is full, and
        then processes should compile at the same time instead of one after the other.

        Parameters
        ----------
        name : str
            The function that is compiled, for the message to the user.
        """
        held = False
        try:
            if self._wait(name) and os.fstat(self._descriptor).st_nlink:
                if os.utime in os.supports_fd:
                    os.utime(self._descriptor)  # so that `Folder.tidy` keeps it
                held = True
        except OSError:  # files cannot be locked here, so that nobody holds this one
            self._remove_file()
        finally:
            if not held:
                self._close()
        return held

    def release(self):
        """Remove the file, and let waiting processes continue."""
        if os.getpid() == self._process:  # after a fork, the parent still holds the lock
            self._remove_file()
        self._close()

    def _remove_file(self):
        with contextlib.suppress(OSError):
            self._remove()

    def _wait(self, name):
        start = time.monotonic()
        while not _lock(self._descriptor):
            waited = time.monotonic() - start
            if waited >= LIMIT:
                return False
            if waited >= PATIENCE:
                _say(name)
            time.sleep(_PAUSE)
        return True

    def _close(self):
        # Closing alone would not unlock it while a forked process has a copy of the descriptor.
        if os.getpid() == self._process:
            with contextlib.suppress(OSError):
                _unlock(self._descriptor)
        os.close(self._descriptor)


def _say(name):
    """Tell the user why the program waits."""
    tell_once(
        "waiting",
        f"fastmlp: waiting for another process that is compiling {name}; continues when that is "
        "done, or when that process ends. To compile without waiting, set FASTMLP_CACHE_DIR to "
        "another folder.",
    )


def _lock(descriptor) -> bool:
    """Lock a file, unless another process has locked it.

    Raises
    ------
    OSError
        If files cannot be locked here.
    """
    if fcntl:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    elif msvcrt:
        with contextlib.suppress(PermissionError):
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
    else:
        raise OSError("there are no locks")
    return False


def _unlock(descriptor):
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    elif msvcrt:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
