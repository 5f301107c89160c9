"""The compiler options, and the cache for real: a small package, run in processes of its own."""

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import numpy as np
import pytest

from fastmlp import _jit
from fastmlp._jit import FASTMATH, kernel

ROOT = hasattr(os, "getuid") and os.getuid() == 0
# Users of whom no machine knows a name or a home, as in a container that runs under any number.
STRANGER, THIEF = 65533, 65532
LIMIT = 60  # seconds a process may take: far more than it does, for a machine that is busy

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and limits as POSIX has them")
as_root = pytest.mark.skipif(not ROOT, reason="only root can act for other users")

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
    "kernels.py": """
        import ctypes, os
        from ._jit import entry
        from .formulas import weigh

        @entry
        def total(x, n):
            result = x[0] - x[0]
            for i in range(n):
                result += weigh(x[i])
            return result

        if os.name == "posix":
            absolute = ctypes.CDLL(None).labs
            absolute.argtypes, absolute.restype = [ctypes.c_long], ctypes.c_long

            @entry
            def by_address(x):
                return absolute(x)
        """,
}

# What each process runs: `before`, the package's import, `after`, a call, a report.
PROGRAM = """
import contextlib, json, os, pathlib, shutil, tempfile, numba, numpy as np
{before}
from tiny import _jit, kernels
x = np.ones(4)
count = lambda table: sum(table.values())
{after}
value = kernels.total(x, 4)
stats = getattr(kernels.total, "stats", None)
print(json.dumps(dict(
    value=float(value),
    hits=stats and count(stats.cache_hits),
    misses=stats and count(stats.cache_misses),
    path=_jit.CACHE.path and str(_jit.CACHE.path),
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
    """A package with the `_jit.py` under test, and the folders that its processes may know."""

    def __init__(self, base: Path):
        self.base = base
        self.package = base / "site packages" / "tiny"
        self.beside = self.package / "__pycache__" / "compiled"
        self.home, self.temporary = base / "home", base / "temporary"
        self.sealed = base / "a file" / "folder"  # for root too: below a file nothing can be made

    def write(self, factor):
        self.package.mkdir(parents=True)
        shutil.copy(_jit.__file__, self.package / "_jit.py")
        (self.package / "__init__.py").touch()
        for name, source in PACKAGE.items():
            self.package.joinpath(name).write_text(dedent(source).replace("FACTOR", str(factor)))
        self.sealed.parent.touch()
        for folder in (self.home, self.temporary):
            folder.mkdir()
            folder.chmod(0o1777)
        return self

    def edit(self, factor):
        file = self.package / "formulas.py"
        head, _, _ = file.read_text().rpartition("type(x)")
        file.write_text(f"{head}type(x)({factor})\n")

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
        paths = [str(self.package.parent), os.environ.get("PYTHONPATH", "")]
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
            cwd=self.package.parent,
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


@pytest.fixture
def fresh():
    with public_folder() as base:
        yield Installation(base).write(factor=2)


@pytest.fixture(scope="module")
def warmed_once():
    with public_folder() as base:
        installation = Installation(base).write(factor=2)
        assert installation.run() == (16, 0, 1, str(*installation.beside.iterdir()))
        yield installation


@pytest.fixture
def warm(warmed_once):
    """An installation with a filled cache, as it comes in a container image: in another place."""
    with public_folder() as base:
        yield warmed_once.copy(base)


@pytest.fixture
def cached_file(warm):
    (file,) = (each for each in warm.files() if each.is_file())
    return file


# What is compiled, and when


def test_importing_compiles_nothing_and_leaves_cuda_alone():
    program = """
import gc, sys
from numba.core import event
from numba.core.dispatcher import Dispatcher
with event.install_recorder("numba:compile") as recorder:
    import fastmlp, fastmlp.devices.cpu
assert not recorder.buffer
ours = [each for each in gc.get_objects() if isinstance(each, Dispatcher)
        and each.py_func.__module__.startswith("fastmlp")]
assert len(ours) > 20
assert not any(each.overloads for each in ours)
print([name for name in sys.modules if name.startswith(("numba.cuda", "numba_cuda", "cuda"))])
"""
    environment = {name: value for name, value in os.environ.items() if name[:6] != "NUMBA_"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=Path(_jit.__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_the_jit_the_plain_python_runs(fresh):
    after = "assert type(kernels.total) is type(kernels.weigh) is type(lambda: 0)"
    run = fresh.run(after=after, NUMBA_DISABLE_JIT=1)
    assert run[:3] == (16, None, None)
    assert fresh.files() == [Path(run.path)]


# What the compiler may assume


def test_fastmath_leaves_out_what_would_harm():
    assert FASTMATH.isdisjoint({"fast", "nnan", "ninf", "arcp", "afn"})


@kernel
def has_nan(x):
    found = False
    for i in range(x.size):
        found |= x[i] != x[i]
    return found


@kernel
def quotients(x, y, z):
    for i in range(x.size):
        z[i] = x[i] / y[i]


@kernel
def inverse_roots(x, y, z):
    for i in range(x.size):
        z[i] = x[i] / np.sqrt(y[i])


every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@every_dtype
def test_nan_is_noticed(dtype):
    x = np.ones(67, dtype)
    assert not has_nan(x)
    x[65] = np.nan
    assert has_nan(x)


@every_dtype
@pytest.mark.parametrize("function", [quotients, inverse_roots])
def test_division_and_root_are_right_at_infinity(dtype, function):
    largest, tiny = np.finfo(dtype).max, np.finfo(dtype).tiny
    y = np.resize(np.array([np.inf, 0, largest, tiny, 3, 1], dtype), 67)
    x, z = np.ones_like(y), np.empty_like(y)
    with np.errstate(divide="ignore"):
        function(x, y, z)
        expected = x / (y if function is quotients else np.sqrt(y))
    np.testing.assert_array_max_ulp(z, expected, 1)


# The cache: when it serves


def test_a_second_process_takes_the_first_ones_code(warm):
    assert warm.run()[:3] == (16, 1, 0)


def test_an_edit_in_another_file_is_seen_and_the_old_code_removed(warm):
    before = warm.run()
    warm.edit(factor=3)
    after = warm.run()
    assert after[:3] == (24, 0, 1)
    assert before.path != after.path
    assert [str(each) for each in warm.beside.iterdir()] == [after.path]


def test_code_from_before_an_edit_is_not_kept_as_the_new_codes(fresh):
    formulas = fresh.package / "formulas.py"
    edit = f"file = pathlib.Path({str(formulas)!r})\n"
    edit += "file.write_text(file.read_text().replace('type(x)(2)', 'type(x)(3)'))"
    assert fresh.run(after=edit).value == 16
    assert fresh.run().value == 24


def test_code_with_and_without_bounds_checks_is_kept_apart(warm):
    beyond = (
        "try: kernels.total(x, 5)\nexcept IndexError: pass\nelse: raise AssertionError('unchecked')"
    )
    assert warm.run(after=beyond, NUMBA_BOUNDSCHECK=1)[1:3] == (0, 1)
    assert warm.run()[:3] == (16, 1, 0)


@posix
def test_code_that_holds_an_address_is_not_kept(warm):
    """Numba's own cache warns of it; taken from the disk, it would jump to where nothing is."""
    for _ in range(2):
        after = "assert kernels.by_address(-5) == 5\n"
        after += "assert count(kernels.by_address.stats.cache_misses) == 1"
        assert warm.run(after=after).value == 16


def test_recompiling_writes_the_file_anew(warm, cached_file):
    os.utime(cached_file, (0, 0))
    after = "kernels.total(x, 4); kernels.total.recompile()"
    assert warm.run(after=after)[:2] == (16, 1)
    assert [each for each in warm.files() if each.is_file()] == [cached_file]
    assert cached_file.stat().st_mtime > 0


# The cache: where it lies


class Place(NamedTuple):
    """What a process knows of folders, and where below the base its cache is to lie, if it does.

    In the environment, `{base}` is the test's folder, and None stands for an unset variable.
    """

    environment: dict[str, str | None]
    expected: str | None
    before: str = ""


SEALED = "{base}/a file/folder"
PLACES = {
    "XDG": Place({"XDG_CACHE_HOME": "{base}/home/xdg"}, "home/xdg/fastmlp"),
    "home": Place({}, "home/.cache/fastmlp"),
    "XDG sealed": Place({"XDG_CACHE_HOME": SEALED}, "temporary"),
    "home sealed": Place({"HOME": SEALED}, "temporary"),
    "no home": Place({"HOME": None}, "temporary"),
    "chosen": Place({"FASTMLP_CACHE_DIR": "{base}/home/chosen"}, "home/chosen"),
    "chosen sealed": Place({"FASTMLP_CACHE_DIR": SEALED}, None),
    # No byte can be written to any file, or Python would find a temporary folder by itself.
    "nothing": Place({"HOME": SEALED, "TMPDIR": SEALED}, None, FULL.format(size=0)),
}


@posix
@pytest.mark.parametrize("name", PLACES)
def test_a_read_only_installation_keeps_its_cache_elsewhere(fresh, name):
    if name == "no home" and not ROOT:
        pytest.skip("this user has a home, whatever the environment says")
    environment, expected, before = PLACES[name]
    environment = {
        key: value and value.format(base=fresh.base) for key, value in environment.items()
    }
    run = fresh.read(before, **environment)
    assert run[:3] == (16, 0, 1)
    assert fresh.files() == []
    if expected is None:
        assert run.path is None
        assert list(fresh.home.iterdir()) == list(fresh.temporary.iterdir()) == []
    else:
        assert (fresh.base / expected) in Path(run.path).parents


def test_a_chosen_folder_is_used_and_nothing_else(fresh):
    after = f"kernels.total(x, 4); os.chdir({str(fresh.base)!r})"
    run = fresh.run(FASTMLP_CACHE_DIR="chosen", after=after)
    assert fresh.package.parent / "chosen" in Path(run.path).parents
    assert fresh.files() == list(fresh.home.iterdir()) == list(fresh.temporary.iterdir()) == []


@posix
def test_a_read_only_installation_that_was_warmed_up_serves_its_readers(warm):
    kept = warm.files()
    sealed = {"HOME": warm.sealed, "TMPDIR": warm.sealed}
    assert warm.read(FULL.format(size=0), **sealed) == (16, 1, 0, None)
    assert warm.files() == kept


@posix
def test_a_reader_keeps_at_home_what_the_installation_lacks(warm):
    """An image warmed up on one processor runs on another, whose code is not in it."""
    other = "kernels.total(x.astype('f'), 4)"
    first = warm.read(after=other)
    assert first[:3] == (16, 1, 1)
    assert warm.home in Path(first.path).parents
    assert warm.read(after=other) == (16, 2, 0, first.path)


@as_root
def test_a_cache_that_a_reader_may_not_even_list_is_passed_over(warm):
    warm.beside.chmod(0)
    try:
        outcome = warm.run(user=STRANGER)
    finally:
        warm.beside.chmod(0o755)
    assert outcome[:3] == (16, 0, 1)
    assert warm.home in Path(outcome.path).parents


# The cache: whatever happens to it


class Bomb:
    """Pickled by a thief: makes a folder where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def signed(value):
    payload = pickle.dumps(value)
    return hashlib.sha256(payload).digest() + payload


def intact(content):
    return hashlib.sha256(content[32:]).digest() == content[:32]


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


CORRUPTIONS = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-100],
    "garbage": lambda content: os.urandom(len(content)),
    "one bit": flipped,
    "foreign": lambda content: signed({"not": "code"}),
    "foreign parts": lambda content: signed(tuple(range(9))),
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_corrupted_file_is_compiled_anew_and_replaced(warm, cached_file, corrupt):
    content = cached_file.read_bytes()
    assert intact(content)
    cached_file.write_bytes(corrupt(content))
    assert warm.run()[:3] == (16, 0, 1)
    repaired = cached_file.read_bytes()
    assert intact(repaired)
    assert abs(len(repaired) - len(content)) < 1000  # code again, not what was put there
    assert [each for each in warm.files() if each.is_file()] == [cached_file]


def test_a_file_in_the_folders_place_harms_nobody(fresh):
    fresh.beside.parent.mkdir()
    fresh.beside.touch()
    assert fresh.home in Path(fresh.run().path).parents


@pytest.mark.parametrize("removed", [False, True], ids=["kept", "removed meanwhile"])
def test_processes_at_once_on_an_empty_cache(fresh, removed):
    stale = fresh.beside / "of an earlier version"
    stale.mkdir(parents=True)
    stale.joinpath("code").touch()
    processes = [fresh.start() for _ in range(4)]
    while removed and any(process.poll() is None for process in processes):
        shutil.rmtree(fresh.beside, ignore_errors=True)
        time.sleep(0.001)
    for process in processes:
        assert outcome(process).value == 16
    if not removed:
        folder, file = fresh.files()
        assert file.parent == folder
        assert intact(file.read_bytes())


def test_a_folder_removed_between_two_calls_is_done_without(warm):
    after = "kernels.total(x, 4); shutil.rmtree(_jit.CACHE.path); kernels.total(x.astype('f'), 4)"
    assert warm.run(after=after)[:3] == (16, 1, 1)
    assert warm.files() == []


FAILURES = {
    "full at once": FULL.format(size=0),
    "full halfway": FULL.format(size=1000),
    "cannot rename": """
def refuse(*args, **kwargs):
    raise OSError("refused")
os.replace = os.rename = refuse""",
}


@posix
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failed_write_leaves_nothing_behind(fresh, failure):
    run = fresh.run(before=failure)
    assert run[:3] == (16, 0, 1)
    assert fresh.files() == [Path(run.path)]


# The cache: whom it believes


@as_root
def test_anothers_folder_is_not_believed(fresh):
    """A thief takes the known name under /tmp first, and waits."""
    root = Path(fresh.read(HOME=fresh.sealed).path).parent
    mark = fresh.temporary / "mark"
    for path in (root, *root.rglob("*")):
        os.chown(path, THIEF, THIEF)
        if path.is_file():
            path.write_bytes(signed(Bomb(mark)))
        else:
            path.chmod(0o777)
    assert fresh.read(HOME=fresh.sealed) == (16, 0, 1, None)
    assert not mark.exists()


@as_root
def test_a_thiefs_link_does_not_have_a_folder_of_ours_cleared(fresh):
    root = Path(fresh.read(HOME=fresh.sealed).path).parent
    shutil.rmtree(root)
    treasure = fresh.home / "treasure"
    treasure.joinpath("of years").mkdir(parents=True)
    for folder in (treasure, treasure / "of years"):
        os.chown(folder, STRANGER, STRANGER)
    fresh.temporary.chmod(0o777)  # unsticky, where Linux follows such links
    root.symlink_to(treasure)
    os.chown(root, THIEF, THIEF, follow_symlinks=False)
    assert fresh.read(HOME=fresh.sealed)[:3] == (16, 0, 1)
    assert [each.name for each in treasure.iterdir()] == ["of years"]


@posix
def test_a_generous_umask_opens_no_folder_to_others(fresh):
    run = fresh.run(before="os.umask(0)", HOME=fresh.sealed)
    assert run.value == 16
    folder = Path(run.path)
    for path in (folder.parent, *fresh.files()):
        assert path.stat().st_mode & 0o022 == 0
