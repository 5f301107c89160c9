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
#: The path that stands for the installation. A frozen program unpacks its modules anew at each
#: start, perhaps into another folder; its executable stays.
INSTALLED = Path(sys.executable) if FROZEN and sys.executable else PACKAGE


# What the code is


#: The modules and packages that end in machine code, or in the files of the cache. An edit of any
#: other one, of a docstring of the estimators say, costs nobody the compiled code.
COMPILED = ("_binding", "_cache", "_jit", "devices", "formulas", "optimizers")


def fingerprint() -> str:
    """Digest of the code that is compiled, and of the compilers' versions.

    Numba's own cache looks at the file of the cached function alone: after an edit of a formula in
    another file it would continue to run the old one.

    Raises
    ------
    ImportError
        If a module shows neither its source nor its code. Loaders may raise errors of their own.
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
    """All modules below a package, found and not imported: some of them import CUDA."""
    for module in pkgutil.iter_modules(package.submodule_search_locations):
        spec = module.module_finder.find_spec(f"{package.name}.{module.name}")
        yield spec
        if module.ispkg:
            yield from _submodules(spec)


def _content(spec: ModuleSpec) -> bytes:
    """The source of a module, or its code where it has no file: in a zip file, frozen, compiled."""
    if isinstance(spec.loader, SourceFileLoader):  # quicker than to read and check its .pyc file
        return Path(spec.origin).read_bytes()
    code = spec.loader.get_code(spec.name)
    if code is None:
        raise ImportError(f"{spec.name} shows no code")
    return repr(_meaning(code)).encode()


#: What a code object does. File names and line numbers are left out, as a cache is copied to other
#: places together with its installation.
_MEANING = (
    "co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_code",
    "co_consts", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_exceptiontable",
)  # fmt: skip


def _meaning(value):
    """A code object as tuples of all that it does; and so its constants, and the code in them."""
    if isinstance(value, CodeType):
        return tuple(_meaning(getattr(value, field)) for field in _MEANING)
    if isinstance(value, tuple):
        return tuple(map(_meaning, value))
    if isinstance(value, frozenset):  # in another order in each process
        return sorted(map(repr, value))
    return value


# Whose it is


def trusted_owners() -> set[int]:
    """The users whose code this process may run: itself, root, and the installation's owner."""
    # In a zip file or a frozen program, the package is not a folder.
    there = next(path for path in (INSTALLED, *INSTALLED.parents) if path.exists())
    return {os.geteuid(), 0, there.stat().st_uid}


# Where its cache may lie


#: Permissions of the folders that are made: for all users of an installation, and for one alone.
SHARED, PRIVATE = 0o755, 0o700


class Place(NamedTuple):
    """A folder that may hold this installation's cache."""

    root: Path
    mode: int
    #: Whether this user writes there. Other users' folders are read, if they are to be trusted.
    ours: bool = True


def places() -> Iterator[Place]:
    """Folders that may hold this installation's cache, the preferred one first.

    Beside the package, a cache is shared by the users of one installation and travels with a
    container image. The others are for installations that this user cannot write to; they carry
    the installation's path, so that each installation has its own.
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
    """A folder for each user, by number: it may be one for all users, in which all can write."""
    others = trusted_owners() - {user} if hasattr(os, "geteuid") else ()
    for other in sorted(others):  # who may have compiled ahead for everyone
        yield Place(folder / f"{name}-{other}", SHARED, ours=False)
    yield Place(folder / f"{name}-{user}", SHARED)
