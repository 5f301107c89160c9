"""A small package with fastmlp's compiler options and cache, run in processes of its own."""

import compileall
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from fastmlp import _jit, _linking

ROOT = hasattr(os, "getuid") and os.getuid() == 0
# Users of whom no machine knows a name or a home, as in a container that runs under any number.
STRANGER, THIEF, OWNER = 65533, 65532, 65531
LIMIT = 60  # seconds a process may take: far more than it does, for a machine that is busy

PACKAGE = {
    "formulas.py": """
        from llvmlite import ir
        from numba import types
        from ._jit import formula, intrinsic

        @intrinsic(lambda x: x + x)
        def twice(context, x):
            def build(context, builder, signature, args):
                return builder.fadd(args[0], args[0])
            return x(x), build

        @formula
        def weigh(x):
            return twice(x) * type(x)(FACTOR)
        """,
    "devices.py": """
        from ._jit import entry
        from .formulas import weigh

        @entry
        def total(x, n):
            result = x[0] - x[0]
            for i in range(n):
                result += weigh(x[i])
            return result

        @entry
        def largest(x, n):
            result = x[0]
            for i in range(n):
                result = max(result, x[i])
            return result
        """,
}

# What each process runs: `before`, the package's import, `after`, a call, a report.
PROGRAM = """
import contextlib, json, os, pathlib, shutil, sys, tempfile, numba, numpy as np
{before}
from tiny import _cache, _jit, devices as kernels
_cache.stopwatch.PATIENCE = float("inf")  # on a busy machine too, stderr stays empty
x = np.ones(4)
count = lambda table: sum(table.values())
{after}
value = kernels.total(x, 4)
stats = getattr(kernels.total, "stats", None)
print(json.dumps(dict(
    value=float(value),
    hits=stats and count(stats.cache_hits),
    misses=stats and count(stats.cache_misses),
    path=_cache.CACHE.path and str(_cache.CACHE.path),
)))
"""

# The interpreter may lie where that user cannot read: first all that compiling imports.
BECOME = """
numba.njit(lambda x: x[0])(np.ones(1))
os.setgroups([]), os.setgid({user}), os.setuid({user})
"""

# No file may grow beyond so many bytes: a full disk, as far as a process can tell.
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"


class Outcome(NamedTuple):
    value: float
    hits: int | None
    misses: int | None
    path: str | None


class Installation:
    """The package, and the folders that its processes may know."""

    def __init__(self, base: Path):
        self.base = base
        self.package = base / "site packages" / "tiny"
        self.beside = self.package / "__pycache__" / "compiled"
        self.archive = base / "tiny.zip"
        self.home, self.temporary = base / "home", base / "temporary"
        self.sealed = base / "a file" / "folder"  # for root too: below a file nothing can be made

    def write(self, factor):
        """Write the sources, and nothing else that could be imported."""
        shutil.rmtree(self.package, ignore_errors=True)
        self.package.mkdir(parents=True)
        for module in (_jit, _linking):
            shutil.copy(module.__file__, self.package)
        ours, theirs = Path(_jit.__file__).with_name("_cache"), self.package / "_cache"
        shutil.copytree(ours, theirs, ignore=shutil.ignore_patterns("__pycache__"))
        (self.package / "__init__.py").touch()
        for name, source in PACKAGE.items():
            self.package.joinpath(name).write_text(dedent(source).replace("FACTOR", str(factor)))
        self.sealed.parent.touch()
        for folder in (self.home, self.temporary):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o1777)
        return self

    def edit(self, factor):
        file = self.package / "formulas.py"
        head, _, _ = file.read_text().rpartition("type(x)")
        file.write_text(f"{head}type(x)({factor})\n")

    def compile_and_remove_sources(self):
        assert compileall.compile_dir(self.package, quiet=1, legacy=True)
        for source in self.package.rglob("*.py"):
            source.unlink()

    def zip(self):
        """Have the package in a zip file, and nowhere else."""
        self.compile_and_remove_sources()
        with zipfile.ZipFile(self.archive, "w") as archive:
            for file in self.package.rglob("*.pyc"):
                archive.write(file, file.relative_to(self.package.parent))
        shutil.rmtree(self.package)

    def copy(self, base):
        shutil.copytree(self.base, base, dirs_exist_ok=True)
        return Installation(base)

    @contextlib.contextmanager
    def read_only(self):
        """Read-only for whoever owns it and is not root; as root, run as a stranger instead."""
        folders = [self.package, *(each for each in self.package.rglob("*") if each.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            yield
        finally:
            for folder in folders:
                folder.chmod(0o755)

    def start(self, before="", after="", user=None, **environment):
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("NUMBA_", "FASTMLP_", "XDG_", "COV_"))
        }
        paths = [str(self.archive), str(self.package.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **kept,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",  # Python itself sees no edit within one second
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            **environment,
        }
        if user is not None:
            before += BECOME.format(user=user)
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PROGRAM.format(before=before, after=after)],
            env={name: str(value) for name, value in environment.items() if value is not None},
            cwd=self.base,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *args, **kwargs) -> Outcome:
        return outcome(self.start(*args, **kwargs))

    def read(self, *args, **kwargs) -> Outcome:
        """Run where the installation is read-only."""
        with self.read_only():
            return self.run(*args, user=STRANGER if ROOT else None, **kwargs)

    def files(self):
        return sorted(self.beside.rglob("*"))


def outcome(process) -> Outcome:
    try:
        out, errors = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert errors == ""
    return Outcome(**json.loads(out))


@contextlib.contextmanager
def public_folder():
    """A folder that strangers can walk to, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
