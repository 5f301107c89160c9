"""The folder of compiled code on disk, which no other user can have changed.

Compiled code is unpickled and run, and its checksum is not a signature. A folder or file is used
only if this user, root or the installation's owner owns it, and nobody else may write to it. The
check is made on an open descriptor, and whatever lies in a folder is opened relative to the
folder's descriptor, so that nothing can be swapped between check and use.

Windows has neither such owners nor descriptors of folders. There, paths are used and trusted.
"""

import contextlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from .installation import Place, trusted_owners
from .lock import Lock

POSIX = hasattr(os, "geteuid")

# Python adds O_CLOEXEC. Without O_NONBLOCK, opening a named pipe would wait for its writer.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_A_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _SAFELY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY

#: How many recently used versions are kept, and for how long after their last use.
KEPT_VERSIONS, KEPT_SECONDS = 10, 30 * 86400
#: Age from which the temporary files of a killed process are removed.
LEFTOVER_SECONDS = 86400

_VERSION = re.compile(r"[0-9a-f]{16}")
#: Files of compiled code have names that do not begin with a dot.
_PART, _LOCK = ".part-", ".lock-"


class Folder:
    """The compiled code of one version of the sources, at one place.

    Parameters
    ----------
    place : Place
        The folder that holds the folders of all versions.
    version : str
        The fingerprint of the sources.

    Raises
    ------
    OSError
        By every method, if the folder or file does not exist or cannot be accessed; and its
        subclass `PermissionError` if another user could have written to it.
    """

    def __init__(self, place: Place, version: str):
        self._place = place
        self._version = version
        self.path = place.root / version

    def make(self):
        """Make the folder, and its parents, so that only this user can write to them."""
        root, mode = self._place.root, self._place.mode
        # Not Path.mkdir(parents=True), which gives parents all permissions that the umask allows.
        for parent in reversed(root.parents):
            if not parent.is_dir():
                with contextlib.suppress(FileExistsError):
                    parent.mkdir(mode)
        _make(root, mode)
        with _opened(root) as opened_root:
            _make(self._version, mode, opened_root)

    def check(self):
        """Raise the errors that reading would raise."""
        with self._opened():
            pass

    def check_writable(self):
        """Raise the errors that writing would raise; it tries, since permissions can be wrong."""
        with self._opened() as folder:
            _remove(folder, self._new_part(folder, b""))

    def names(self) -> list[str]:
        """Return the names of the files of compiled code."""
        with self._opened() as folder:
            return [name for name in os.listdir(folder) if not name.startswith(".")]

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with self._opened() as folder:
            descriptor = os.open(**_at(folder, name), flags=os.O_RDONLY | _SAFELY)
            with open(descriptor, "rb") as file:
                _check(os.fstat(descriptor), stat.S_ISREG)
                return file.read()

    def write(self, name: str, content: bytes):
        """Write a file atomically: a reader sees the old content or the new one."""
        with self._opened() as folder:
            part = self._new_part(folder, content)
            try:
                _rename(folder, part, name)
            except OSError:
                _remove(folder, part)
                raise

    def remove(self, name: str):
        """Remove a file, if it exists."""
        with self._opened() as folder:
            _remove(folder, name)

    def lock(self, name: str) -> Lock:
        """Return the lock for a file, not yet taken. Other users cannot open it, so not hold it."""
        file = _LOCK + name
        with self._opened() as folder:
            flags = os.O_RDWR | os.O_CREAT | _SAFELY
            descriptor = os.open(**_at(folder, file), flags=flags, mode=0o600)
        return Lock(descriptor, lambda: self.remove(file))

    def tidy(self):
        """Mark this version as used now; remove old ones, and files left by killed processes."""
        now = time.time()
        with _opened(self._place.root) as root, _opened(self._version, root) as folder:
            os.utime(folder)
            # A process that still uses one of them compiles again, and saves nothing.
            for name in _outdated(root, self._version, now - KEPT_SECONDS):
                shutil.rmtree(**_at(root, name), ignore_errors=True)
            for name, status in _entries(folder):
                is_ours = name.startswith((_PART, _LOCK))
                if is_ours and status.st_mtime < now - LEFTOVER_SECONDS:
                    _remove(folder, name)

    @contextlib.contextmanager
    def _opened(self):
        with _opened(self._place.root) as root, _opened(self._version, root) as folder:
            yield folder

    def _new_part(self, folder, content):
        """Write a new temporary file; return its name."""
        part = _PART + secrets.token_hex(8)
        descriptor = os.open(**_at(folder, part), flags=_NEW, mode=0o644)
        try:
            with open(descriptor, "wb") as file:
                if POSIX:  # readable by all users of the installation, whatever the umask
                    os.fchmod(descriptor, 0o644)
                file.write(content)
        except OSError:
            _remove(folder, part)
            raise
        return part


# An open folder is represented by its descriptor; on Windows, by its path.


@contextlib.contextmanager
def _opened(name, parent=None) -> Iterator[int | Path]:
    """Open a folder, and check it."""
    if not POSIX:
        yield _at(parent, name)["path"]
        return
    descriptor = os.open(name, _A_FOLDER, dir_fd=parent)
    try:
        _check(os.fstat(descriptor), stat.S_ISDIR)
        yield descriptor
    finally:
        os.close(descriptor)


def _at(folder, name):
    """Return the arguments of `os` functions for a name in an open folder."""
    return {"path": name, "dir_fd": folder} if POSIX else {"path": Path(folder or "", name)}


def _check(status, is_right_kind):
    """Check the kind, the owner and the permissions of an open file or folder.

    Raises
    ------
    PermissionError
        If it is of the wrong kind, or if another user owns it or may write to it.
    """
    if not is_right_kind(status.st_mode):
        raise PermissionError("not of the expected kind")
    if POSIX and (status.st_uid not in trusted_owners() or status.st_mode & 0o022):
        raise PermissionError("another user could have written to it")


def _make(name, mode, parent=None):
    """Make a folder with these permissions, whatever the umask, unless it exists."""
    try:
        os.mkdir(**_at(parent, name), mode=mode)
    except OSError:  # it exists, or opening it will raise
        return
    if POSIX:
        with _opened(name, parent) as made:
            os.fchmod(made, mode)


def _remove(folder, name):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(**_at(folder, name))


def _rename(folder, old, new):
    if POSIX:
        os.replace(old, new, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        os.replace(folder / old, folder / new)


def _entries(folder):
    """Yield name and status of each entry of an open folder; for a link, the link's status."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                yield entry.name, entry.stat(follow_symlinks=False)


def _outdated(root, current, oldest):
    """Return the names of the folders of versions that are no longer used.

    Only folders that this user made, and nobody else can have written to, are considered.
    """
    used = []
    for name, status in _entries(root):
        with contextlib.suppress(PermissionError):
            _check(status, stat.S_ISDIR)
            is_own = not POSIX or status.st_uid == os.geteuid()
            if is_own and _VERSION.fullmatch(name) and name != current:
                used.append((status.st_mtime, name))
    used.sort(reverse=True)
    return [
        name
        for rank, (last_use, name) in enumerate(used, start=1)  # the current one is the first
        if rank >= KEPT_VERSIONS or last_use < oldest
    ]
