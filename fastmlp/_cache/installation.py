"""The installation of the package: a digest of its code, its owner, and places for its cache."""

import contextlib
import hashlib
import os
import pkgutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import llvmlite
import numba
import numpy as np

_NAME = __package__.rpartition(".")[0]
PACKAGE = Path(__file__).parents[1]
FROZEN = bool(getattr(sys, "frozen", False))
#: The path that identifies the installation. A frozen program unpacks its modules at each start,
#: perhaps into another folder; its executable stays.
INSTALLED = Path(sys.executable) if FROZEN and sys.executable else PACKAGE


# The identity of the code


#: The modules and packages that determine the machine code, or the files of the cache. An edit of
#: any other one, say of a docstring of the estimators, does not invalidate the compiled code.
COMPILED = ("_linking", "_cache", "_jit", "devices", "formulas", "optimizers")


def fingerprint() -> str:
    """Return a digest of the code that is compiled, and of the compilers' versions.

    Numba's own cache checks only the file of the cached function: after an edit of a formula in
    another file it would continue to run the old one.

    Raises
    ------
    ImportError
        If neither source nor code of a module is available. Loaders may raise other errors.
    """
    digest = hashlib.sha256()
    for part in (sys.version, numba.__version__, llvmlite.__version__, np.__version__):
        digest.update(part.encode())
    package = sys.modules[_NAME].__spec__
    for spec in _submodules(package):
        _, room, *_ = spec.name.split(".")
        if room not in COMPILED:
            continue
        digest.update(spec.name.encode())
        digest.update(_content(spec))
    return digest.hexdigest()[:16]


def _submodules(package: ModuleSpec) -> Iterator[ModuleSpec]:
    """Yield all modules below a package without importing them: some import CUDA."""
    for module in pkgutil.iter_modules(package.submodule_search_locations):
        spec = module.module_finder.find_spec(f"{package.name}.{module.name}")
        yield spec
        if module.ispkg:
            yield from _submodules(spec)


def _content(spec: ModuleSpec) -> bytes:
    """Return a module's source, or its code if it has no file: in a zip file, frozen, compiled."""
    if isinstance(spec.loader, SourceFileLoader):  # quicker than to read and check its .pyc file
        return Path(spec.origin).read_bytes()
    code = spec.loader.get_code(spec.name)
    if code is None:
        raise ImportError(f"{spec.name} shows no code")
    return repr(_meaning(code)).encode()


#: The fields that define what a code object does. File names and line numbers are left out, as a
#: cache may be copied to other places together with its installation.
_MEANING = (
    "co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_code",
    "co_consts", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_exceptiontable",
)  # fmt: skip


def _meaning(value):
    """Return a code object as tuples of these fields, and recursively its constants."""
    if isinstance(value, CodeType):
        return tuple(_meaning(getattr(value, field)) for field in _MEANING)
    if isinstance(value, tuple):
        return tuple(map(_meaning, value))
    if isinstance(value, frozenset):  # its order differs between processes
        return sorted(map(repr, value))
    return value


# Its owner


def trusted_owners() -> set[int]:
    """Return the users whose code this process may run: its own, root, the installation's owner."""
    # In a zip file or a frozen program, the package is not a folder.
    there = next(path for path in (INSTALLED, *INSTALLED.parents) if path.exists())
    return {os.geteuid(), 0, there.stat().st_uid}


# Places for its cache


#: Permissions of new folders: for all users of an installation, and for one user only.
SHARED, PRIVATE = 0o755, 0o700


class Place(NamedTuple):
    """A folder that may hold this installation's cache."""

    root: Path
    mode: int
    #: Whether this user writes there. Other users' folders are only read, if they are trusted.
    ours: bool = True


def places() -> Iterator[Place]:
    """Yield the folders that may hold this installation's cache, the preferred one first.

    Next to the package, a cache is shared by the users of one installation and is part of a
    container image. The others are for installations that this user cannot write to; their names
    contain a hash of the installation's path, so that each installation has its own.
    """
    name = hashlib.sha256(str(INSTALLED).encode()).hexdigest()[:12]
    user = os.geteuid() if hasattr(os, "geteuid") else os.environ.get("USERNAME", "")
    if chosen := os.environ.get("FASTMLP_CACHE_DIR"):
        yield from _chosen_places(Path(chosen).absolute(), name, user)
        return
    if PACKAGE.is_dir() and not FROZEN:
        yield Place(PACKAGE / "__pycache__" / "compiled", SHARED)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):
        yield Place(Path(home, "fastmlp", name), PRIVATE)
    with contextlib.suppress(FileNotFoundError):  # no folder for temporary files either
        yield Place(Path(tempfile.gettempdir(), f"fastmlp-{user}-{name}"), PRIVATE)


def _chosen_places(folder, name, user):
    """Yield a folder for each user, by number: the chosen folder may be writable for all users."""
    others = trusted_owners() - {user} if hasattr(os, "geteuid") else ()
    for other in sorted(others):  # they may have compiled ahead for everyone
        yield Place(folder / f"{name}-{other}", SHARED, ours=False)
    yield Place(folder / f"{name}-{user}", SHARED)
