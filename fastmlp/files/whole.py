"""Files that are written whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a file for writing that is complete whenever it can be seen, also after a power cut.

    It is written under a temporary name in the same folder, which may remain if the process is
    killed meanwhile, and takes its name when the block ends; if the block fails, it is deleted.

    Parameters
    ----------
    path : str or Path
        The file; one that exists is replaced.
    mode : int, default=0o666
        Permissions of the file, of which the process's umask is taken away.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} for the file {path.name}.")
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    handle = os.open(part, _NEW, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(handle)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
