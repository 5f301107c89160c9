"""The disk cache: in this process, and in processes of their own with a small package, `tiny`."""

import ctypes
import errno
import io
import itertools
import logging
import os
import shutil
import stat
import sys
import tempfile
import threading
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from numba.core import codegen, compiler, dispatcher, event
from numba.core.caching import NullCache
from numba.core.errors import TypingError
from tiny import FULL, LIMIT, OWNER, ROOT, STRANGER, THIEF, Installation, outcome, public_folder

from fastmlp import _cache, _jit, _linking
from fastmlp._cache import DiskCache, folder, installation, keep, lock, stopwatch, telling
from fastmlp._cache.folder import Folder
from fastmlp._cache.installation import PRIVATE, SHARED, Place
from fastmlp._jit import called

if os.name == "posix":
    import fcntl
    import resource

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and limits as POSIX has them")
as_root = pytest.mark.skipif(not ROOT, reason="only root can act for other users")
pytestmark = pytest.mark.compiled


@pytest.fixture
def fresh():
    with public_folder() as base:
        yield Installation(base).write(factor=2)


@pytest.fixture(scope="module")
def warmed_once():
    with public_folder() as base:
        tiny = Installation(base).write(factor=2)
        assert tiny.run() == (16, 0, 1, str(*tiny.beside.iterdir()))
        yield tiny


@pytest.fixture
def warm(warmed_once):
    """An installation with a filled cache, as it comes in a container image: in another place."""
    with public_folder() as base:
        yield warmed_once.copy(base)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache for what this process compiles."""
    monkeypatch.setenv("FASTMLP_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_cache, "CACHE", _cache.CacheFolders())
    return _cache.CACHE


VERSION = "0123456789abcdef"


@pytest.fixture
def code(tmp_path):
    """A folder of ours, with a file."""
    made = Folder(Place(tmp_path / "root", SHARED), VERSION)
    made.make()
    made.write("file", b"ours")
    return made


def total(x):
    result = x[0] - x[0]
    for value in x:
        result += value
    return result


def largest(x):
    result = x[0]
    for value in x:
        result = max(result, value)
    return result


X = np.arange(5.0)


def kept(function=total):
    """A function as a process sees it that has not compiled it yet."""
    compiling = called(function)
    keep(compiling, DiskCache, function.__name__)
    return compiling


def hits_and_misses(compiling):
    return sum(compiling.stats.cache_hits.values()), sum(compiling.stats.cache_misses.values())


def file_of(cache, function):
    (file,) = (path for name, path in cache.files().items() if name.startswith(function.__name__))
    return file


# When it serves


def test_a_second_process_takes_the_first_ones_code(warm):
    assert warm.run()[:3] == (16, 1, 0)


def test_an_edit_in_another_file_is_seen(warm):
    before = warm.run()
    warm.edit(factor=3)
    after = warm.run()
    assert after[:3] == (24, 0, 1)
    assert before.path != after.path


def test_an_edit_of_what_is_not_compiled_keeps_the_code(warm):
    for name in ("__init__.py", "displays.py"):
        file = warm.package / name
        text = file.read_text() if file.exists() else ""
        file.write_text(text + '"""Another docstring."""\n')
    assert warm.run()[:3] == (16, 1, 0)


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
def test_code_that_holds_an_address_is_not_kept(cache):
    """Numba's own cache warns of it; taken from the disk, it would jump to where nothing is."""
    absolute = ctypes.CDLL(None).labs
    absolute.argtypes, absolute.restype = [ctypes.c_long], ctypes.c_long

    def by_address(x):
        return absolute(x)

    for _ in range(2):
        function = kept(by_address)
        assert function(-5) == 5
        assert hits_and_misses(function) == (0, 1)
    assert not cache.files()


def test_recompiling_writes_the_file_anew(cache):
    function, other = kept(), kept(largest)
    function(X), other(X)
    for each in (total, largest):
        os.utime(file_of(cache, each), (0, 0))
    function.recompile()
    assert hits_and_misses(function) == (0, 2)
    assert file_of(cache, total).stat().st_mtime > 0
    assert file_of(cache, largest).stat().st_mtime == 0


def test_without_the_jit_the_plain_python_runs(fresh):
    after = "assert type(kernels.total) is type(kernels.weigh) is type(lambda: 0)"
    run = fresh.run(after=after, NUMBA_DISABLE_JIT=1)
    assert run[:3] == (16, None, None)
    assert fresh.files() == [Path(run.path)]


# What a file is for


def under_another_functions_name(cache, monkeypatch):
    kept(largest)(X)
    return file_of(cache, largest).read_bytes()


def under_another_signatures_name(cache, monkeypatch):
    before = set(cache.files())
    kept()(X.astype(np.float32))
    (new,) = set(cache.files()) - before
    content = cache.files()[new].read_bytes()
    cache.files()[new].unlink()
    return content


def under_another_versions_name(cache, monkeypatch):
    other = _cache.CacheFolders()
    other.version = "0" * 16
    with monkeypatch.context() as patch:
        patch.setattr(_cache, "CACHE", other)
        kept()(X)
    return file_of(other, total).read_bytes()


@pytest.mark.parametrize(
    "foreign_file",
    [under_another_functions_name, under_another_signatures_name, under_another_versions_name],
)
def test_a_file_in_the_place_of_another_is_compiled_anew_and_replaced(
    cache, monkeypatch, foreign_file
):
    kept()(X)
    file = file_of(cache, total)
    foreign = foreign_file(cache, monkeypatch)
    file.write_bytes(foreign)
    function = kept()
    assert function(X) == 10
    assert hits_and_misses(function) == (0, 1)
    assert file.read_bytes() != foreign
    function = kept()
    assert function(X) == 10
    assert hits_and_misses(function) == (1, 0)


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


CORRUPTIONS = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[:-100],
    "garbage": lambda content: os.urandom(len(content)),
    "one bit": flipped,
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_corrupted_file_is_compiled_anew_and_replaced(cache, corrupt):
    kept()(X)
    file = file_of(cache, total)
    corrupted = corrupt(file.read_bytes())
    file.write_bytes(corrupted)
    function = kept()
    assert function(X) == 10
    assert hits_and_misses(function) == (0, 1)
    assert file.read_bytes() != corrupted
    function = kept()
    assert function(X) == 10
    assert hits_and_misses(function) == (1, 0)


@pytest.mark.parametrize("value", [{"not": "code"}, tuple(range(9))])
def test_a_file_that_is_intact_but_no_code_is_compiled_anew(cache, monkeypatch, value):
    with monkeypatch.context() as patch:
        patch.setattr(compiler.CompileResult, "_reduce", lambda self: value)
        kept()(X)
    size = file_of(cache, total).stat().st_size
    function = kept()
    assert function(X) == 10
    assert hits_and_misses(function) == (0, 1)
    assert file_of(cache, total).stat().st_size > size


# Where it lies


# Environments, and where below the test's folder, which is {base}, the cache is to lie, if it does.
SEALED = "{base}/a file/folder"
SETTINGS = {
    "XDG": ({"XDG_CACHE_HOME": "{base}/xdg"}, "xdg/fastmlp"),
    "home": ({}, "home/.cache/fastmlp"),
    "XDG sealed": ({"XDG_CACHE_HOME": SEALED}, "temporary"),
    "XDG relative": ({"XDG_CACHE_HOME": "relative"}, "temporary"),
    "home sealed": ({"HOME": SEALED}, "temporary"),
    "chosen": ({"FASTMLP_CACHE_DIR": "{base}/chosen"}, "chosen"),
    "chosen sealed": ({"FASTMLP_CACHE_DIR": SEALED}, None),
    "temporary sealed": ({"HOME": SEALED, "TMPDIR": SEALED}, None),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_where_the_installation_is_read_only_the_cache_lies_elsewhere(monkeypatch, tmp_path, name):
    """As nothing is read-only for root, nothing can be made: the folder above is a file."""
    environment, expected = SETTINGS[name]
    monkeypatch.setattr(installation, "PACKAGE", tmp_path / "a file" / "package")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("FASTMLP_CACHE_DIR", raising=False)
    for variable, value in {
        "HOME": "{base}/home", "USERPROFILE": "{base}/home", "TMPDIR": "{base}/temporary",
        **environment,
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value.format(base=tmp_path))
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [os.environ["TMPDIR"]])
    monkeypatch.setattr(tempfile, "tempdir", None)
    tmp_path.joinpath("a file").touch()
    tmp_path.joinpath("temporary").mkdir()
    monkeypatch.setattr(_cache, "CACHE", _cache.CacheFolders())
    assert kept()(X) == 10
    if expected is None:
        assert (_cache.CACHE.readable, _cache.CACHE.path) == ([], None)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["a file", "temporary"]
    else:
        assert (tmp_path / expected) in _cache.CACHE.path.parents
        assert len(_cache.CACHE.files()) == 1


@posix
def test_a_read_only_installation_leaves_nothing_where_it_lies(fresh):
    run = fresh.read()
    assert run[:3] == (16, 0, 1)
    assert fresh.home in Path(run.path).parents
    assert fresh.files() == []


@as_root
def test_a_user_without_a_home_has_a_cache(fresh):
    run = fresh.read(HOME=None)
    assert run[:3] == (16, 0, 1)
    assert fresh.temporary in Path(run.path).parents


def test_a_chosen_folder_is_used_and_nothing_else(fresh):
    after = f"kernels.total(x, 4); os.chdir({str(fresh.home)!r})"
    run = fresh.run(FASTMLP_CACHE_DIR="chosen", after=after)
    assert fresh.base / "chosen" in Path(run.path).parents
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


# Installations of other kinds


@posix
def test_code_in_a_zip_file_is_kept_and_never_that_of_an_older_version(fresh):
    fresh.zip()
    first = fresh.run()
    assert first[:3] == (16, 0, 1)
    assert fresh.home in Path(first.path).parents
    assert fresh.run() == (16, 1, 0, first.path)
    fresh.write(factor=3).zip()
    assert fresh.run()[:3] == (24, 0, 1)


def test_code_without_sources_is_kept_and_never_that_of_an_older_version(fresh):
    fresh.compile_and_remove_sources()
    assert fresh.run()[:3] == (16, 0, 1)
    with public_folder() as base:
        moved = fresh.copy(base)
        assert moved.run()[:3] == (16, 1, 0)
        shutil.copytree(moved.beside, moved.base / "kept")
        moved.write(factor=3).compile_and_remove_sources()
        shutil.copytree(moved.base / "kept", moved.beside)
        assert moved.run()[:3] == (24, 0, 1)


@posix
def test_a_frozen_program_finds_its_cache_wherever_it_unpacks_itself(fresh):
    frozen = f"sys.frozen, sys.executable = True, {str(fresh.base / 'program')!r}"
    first = fresh.run(before=frozen)
    assert first[:3] == (16, 0, 1)
    assert fresh.home in Path(first.path).parents
    with public_folder() as base:
        unpacked = fresh.copy(base)
        assert unpacked.run(before=frozen, HOME=fresh.home) == (16, 1, 0, first.path)


def code_of(source, file="a.py"):
    return installation._meaning(compile(source, file, "exec"))


def test_code_is_the_same_in_another_place_and_differs_in_what_it_does():
    source = "def f(x, y=(1, 2.0)):\n    return x.real in {'a', 'b'} and [y for y in x]\n"
    same = code_of(source)
    assert code_of(source, "b.py") == code_of("\n\n" + source) == same
    for old, new in {"2.0": "2", "real": "imag", "'b'": "'c'", "[y for": "[x for"}.items():
        assert repr(code_of(source.replace(old, new))) != repr(same)


def test_code_that_a_loader_does_not_show_means_no_cache(cache, monkeypatch):
    hidden = ModuleSpec("fastmlp.devices.hidden", SimpleNamespace(get_code=lambda name: None))
    with pytest.raises(ImportError):
        installation._content(hidden)
    monkeypatch.setattr(installation, "_submodules", lambda package: [hidden])
    monkeypatch.setattr(_cache, "CACHE", _cache.CacheFolders())
    assert (_cache.CACHE.readable, _cache.CACHE.path) == ([], None)
    assert kept()(X) == 10


# Whatever happens to it


def test_a_file_in_the_folders_place_harms_nobody(fresh):
    fresh.beside.parent.mkdir()
    fresh.beside.touch()
    assert fresh.home in Path(fresh.run().path).parents


def test_a_folder_removed_between_two_calls_is_done_without(cache):
    function = kept()
    assert function(X) == 10
    shutil.rmtree(cache.path)
    assert function(X.astype(np.float32)) == 10
    assert kept()(X) == 10
    assert not cache.path.exists()


def fill_disk(size):
    """Let no file grow beyond this size: a full disk, as far as a process can tell."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def refuse_renames():
    def refuse(*args, **kwargs):
        raise OSError("refused")

    patch = pytest.MonkeyPatch()
    patch.setattr(os, "replace", refuse)
    return patch.undo


FAILURES = {
    "full at once": lambda: fill_disk(0),
    "full halfway": lambda: fill_disk(1000),
    "cannot rename": refuse_renames,
}


@posix
@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
def test_a_failed_write_leaves_nothing_behind(cache, fail):
    cache.path.iterdir()
    mend = fail()
    try:
        value = kept()(X)
    finally:
        mend()
    assert value == 10
    assert list(cache.path.iterdir()) == []
    assert kept()(X) == 10
    assert len(cache.files()) == 1


def gone(*args, **kwargs):
    raise AttributeError("another Numba")


PRIVATE_NAMES = {
    "_reduce": compiler.CompileResult,
    "_rebuild": compiler.CompileResult,
    "magic_tuple": codegen.CPUCodegen,
    "has_dynamic_globals": codegen.CodeLibrary,
}


@pytest.mark.parametrize("raises", [False, True], ids=["missing", "raising"])
@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_a_numba_that_has_changed_inside_compiles_without_the_cache(
    cache, monkeypatch, name, raises
):
    owner = PRIVATE_NAMES[name]
    if raises:
        monkeypatch.setattr(owner, name, property(gone))
    else:
        monkeypatch.delattr(owner, name)
    for _ in range(2):
        function = kept()
        assert function(X) == 10
        assert hits_and_misses(function) == (0, 1)
    # Code that may hold addresses is not kept.
    assert len(cache.files()) == (name == "_rebuild")
    assert not leftovers(cache)


@pytest.mark.parametrize("name", ["Linkage", "_Part", "_Whole"])
def test_a_numba_that_links_otherwise_compiles(monkeypatch, name):
    monkeypatch.setattr(_linking, name, property(gone))  # neither called, nor has attributes
    assert _jit.entry(largest)(X) == 4


def test_a_dispatcher_that_takes_no_cache_compiles_without_it(cache, monkeypatch):
    def take(self, cache):
        if not isinstance(cache, NullCache):
            raise AttributeError("another Numba")

    private = property(lambda self: NullCache(), take)
    monkeypatch.setattr(dispatcher.Dispatcher, "_cache", private, raising=False)
    assert kept()(X) == 10
    assert not cache.files()


CACHES = {
    "missing": "import numba.core.caching; del numba.core.caching._Cache",
    "asks for more": """
from numba.core.caching import _Cache
from abc import abstractmethod
_Cache.__abstractmethods__ |= {"more"}
_Cache.more = abstractmethod(lambda self: None)""",
}


@pytest.mark.parametrize("before", CACHES.values(), ids=CACHES)
def test_a_numba_with_other_caches_compiles_without_ours(warm, before):
    assert warm.run(before=before)[:3] == (16, 0, 1)


def test_compilers_with_other_locks_are_left_alone(monkeypatch):
    registered = []
    monkeypatch.setattr(os, "register_at_fork", registered.append, raising=False)
    other = {"numba.core.nowhere": "lock", "numba": "core.nothing"}
    monkeypatch.setattr(_jit, "_COMPILER_LOCKS", other)
    _jit._have_forks_wait_for_compilers()
    assert not registered


def test_without_owners_descriptors_and_locks_paths_will_do(fresh):
    """As on Windows, as far as another system can tell."""
    windows = "del os.getuid, os.geteuid; sys.modules['fcntl'] = None"
    assert fresh.run(before=windows)[:3] == (16, 0, 1)
    assert fresh.run(before=windows)[:3] == (16, 1, 0)


# What is said


@pytest.fixture
def untold(monkeypatch):
    """A process that has said nothing yet, and whose logging nobody has configured."""
    monkeypatch.setattr(telling, "_told", set())
    monkeypatch.setattr(logging.getLogger("fastmlp"), "propagate", False)  # pytest has handlers
    monkeypatch.setattr(stopwatch.Stopwatch, "spent", 0.0)


def seconds_of_patience(monkeypatch, seconds):
    monkeypatch.setattr(stopwatch, "PATIENCE", seconds)


def test_compiling_that_takes_long_is_announced_once(cache, untold, monkeypatch, capsys):
    seconds_of_patience(monkeypatch, 0)
    kept()(X), kept(largest)(X)
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    for part in ("5 to 15 seconds", "once on this machine", "python -m fastmlp warmup"):
        assert part in line


def test_what_is_quick_or_compiled_already_is_not_announced(cache, untold, monkeypatch, capsys):
    seconds_of_patience(monkeypatch, np.inf)
    kept()(X)
    seconds_of_patience(monkeypatch, 0)
    function = kept()
    function(X)
    assert hits_and_misses(function) == (1, 0)
    assert capsys.readouterr().err == ""


def test_the_seconds_of_all_functions_are_added(cache, untold, monkeypatch, capsys):
    """By a clock that advances by one second a function, and stands still outside of them."""
    seconds_of_patience(monkeypatch, 3)
    clock = SimpleNamespace(now=0)
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(monotonic=lambda: clock.now))
    reached = []
    for function in (total, largest, lambda x: x[0], lambda x: x[1]):
        compiling = called(function)
        keep(compiling, DiskCache, f"function{len(reached)}")
        compile_all = compiling._compiler.compile

        def slowly(*args, compile_all=compile_all):
            clock.now += 1
            return compile_all(*args)

        monkeypatch.setattr(compiling._compiler, "compile", slowly)
        compiling(X)
        reached.append(bool(capsys.readouterr().err))
    assert reached == [False, False, True, False]


def test_where_nothing_is_kept_the_line_says_so(untold, monkeypatch, capsys):
    monkeypatch.setattr(_cache, "places", list)
    monkeypatch.setattr(_cache, "CACHE", _cache.CacheFolders())
    seconds_of_patience(monkeypatch, 0)
    kept()(X)
    line = capsys.readouterr().err
    assert "again in every process" in line
    assert "FASTMLP_CACHE_DIR" in line


def test_nothing_is_announced_of_the_functions_of_a_gpu(cache, untold, monkeypatch, capsys):
    seconds_of_patience(monkeypatch, 0)
    monkeypatch.setattr(DiskCache, "is_announced", False)
    kept()(X)
    assert capsys.readouterr().err == ""


def test_threads_announce_once_and_leave_nothing_behind(cache, untold, monkeypatch, capsys):
    seconds_of_patience(monkeypatch, 0)
    functions = [kept(), kept(), kept(largest)]
    threads = [threading.Thread(target=function, args=(X,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not event._registered["numba:run_pass"]


def test_a_function_that_fails_to_compile_is_not_measured_for_ever(cache, untold):
    with pytest.raises(TypingError):
        kept(lambda x: x.nonsense)(X)
    assert not event._registered["numba:run_pass"]


def test_a_numba_that_does_not_tell_its_passes_compiles_in_silence(
    cache, untold, monkeypatch, capsys
):
    seconds_of_patience(monkeypatch, 0)
    monkeypatch.setattr(stopwatch, "event", None)
    for hits in (0, 1):
        function = kept()
        assert function(X) == 10
        assert hits_and_misses(function) == (hits, 1 - hits)
    assert capsys.readouterr().err == ""


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stderr", [None, closed()], ids=["none", "closed"])
def test_without_stderr_nothing_is_said(untold, monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    telling.tell_once("a subject", "a message")


@pytest.mark.parametrize(
    ("level", "expected"), [("INFO", "log: a message\n"), ("WARNING", "a message\n")]
)
def test_who_shows_the_log_gets_the_message_there(untold, monkeypatch, level, expected):
    """Not a second time on stderr, where the log may be shown."""
    stderr, logger = io.StringIO(), logging.getLogger("fastmlp")
    monkeypatch.setattr(sys, "stderr", stderr)
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(logging.Formatter("log: %(message)s"))
    monkeypatch.setattr(logger, "handlers", [handler])
    before = logger.level
    logger.setLevel(level)
    try:
        for _ in range(2):
            telling.tell_once("a subject", "a message")
    finally:
        logger.setLevel(before)
    assert stderr.getvalue() == expected


def test_a_subject_can_be_silenced(untold, capsys):
    telling.silence("a subject")
    telling.tell_once("a subject", "a message")
    telling.tell_once("another", "another message")
    assert capsys.readouterr().err == "another message\n"


# Who compiles, and who waits

# The first function that is compiled waits for a line; what that says may also be to fail.
HOLD = """
from numba.core.dispatcher import _FunctionCompiler
compile = _FunctionCompiler.compile
def compile_when_told(self, *args):
    _FunctionCompiler.compile = compile
    print("compiling", flush=True)
    if sys.stdin.readline() == "fail\\n":
        raise RuntimeError("told to fail")
    return compile(self, *args)
_FunctionCompiler.compile = compile_when_told
"""
SAY_AT_ONCE = "_cache.lock.PATIENCE = 0\n"


class Race(NamedTuple):
    """A process that compiles, and one that waits for it, which has said so."""

    holder: object
    waiter: object
    said: str

    def tell(self, line):
        self.holder.stdin.write(line + "\n")
        self.holder.stdin.flush()


@pytest.fixture
def race(fresh):
    started = []

    def start(before="", after="", waiter=""):
        holder = fresh.start(before=before + HOLD, after=after)
        started.append(holder)
        assert holder.stdout.readline() == "compiling\n"
        waiter = fresh.start(after=SAY_AT_ONCE + waiter)
        started.append(waiter)
        return Race(holder, waiter, waiter.stderr.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def leftovers(cache):
    return [path for path in cache.path.iterdir() if path.name.startswith(".")]


@posix
def test_who_waits_says_so_and_takes_the_others_code(race, fresh):
    log = """
import logging
logging.basicConfig(level="INFO", format="log: %(message)s")
"""
    processes = race(waiter=log)
    expected = "log: fastmlp: waiting for another process that is compiling tiny.devices.total"
    assert processes.said.startswith(expected)
    assert "FASTMLP_CACHE_DIR" in processes.said
    processes.tell("go")
    assert outcome(processes.holder)[:3] == (16, 0, 1)
    assert outcome(processes.waiter)[:3] == (16, 1, 0)
    folder, file = fresh.files()
    assert file.parent == folder


@posix
def test_a_killed_holder_is_replaced(race, fresh):
    processes = race()
    processes.holder.kill()
    assert outcome(processes.waiter)[:3] == (16, 0, 1)
    folder, file = fresh.files()
    assert file.parent == folder


@posix
def test_a_holder_that_fails_to_compile_lets_others_go_on(race):
    fail = """
try: kernels.total(x, 4)
except RuntimeError: sys.stdin.readline()
"""
    processes = race(after=fail)
    processes.tell("fail")
    assert outcome(processes.waiter)[:3] == (16, 0, 1)
    processes.tell("")
    assert outcome(processes.holder)[:3] == (16, 1, 1)


@posix
def test_a_holder_whose_disk_is_full_lets_others_go_on(race):
    processes = race(before=FULL.format(size=0))
    processes.tell("go")
    assert outcome(processes.holder)[:3] == (16, 0, 1)
    assert outcome(processes.waiter)[:3] == (16, 0, 1)


@posix
def test_nobody_waits_for_ever(race):
    processes = race(waiter="_cache.lock.LIMIT = 0")
    assert outcome(processes.waiter)[:3] == (16, 0, 1)
    assert processes.holder.poll() is None


@pytest.mark.parametrize("removed", [False, True], ids=["kept", "removed meanwhile"])
def test_processes_at_once_on_an_empty_cache(fresh, removed):
    processes = [fresh.start(after=f"_cache.lock.PATIENCE = {LIMIT}") for _ in range(3)]
    while removed and any(process.poll() is None for process in processes):
        shutil.rmtree(fresh.beside, ignore_errors=True)
        time.sleep(0.001)
    outcomes = [outcome(process) for process in processes]
    assert {each.value for each in outcomes} == {16}
    if not removed:
        folder, file = fresh.files()
        assert file.parent == folder
        if os.name == "posix":
            assert sorted(each.misses for each in outcomes) == [0, 0, 1]


def test_threads_of_one_process_compile_once_and_do_not_wait_for_each_other(cache):
    functions = [kept(), kept(), kept(largest)]
    results = {}

    def call(number):
        function = functions[number % 3]
        results[number] = function(X.astype("fd"[number % 2]))

    threads = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert results == {number: (10, 10, 4)[number % 3] for number in range(12)}
    hits, misses = np.sum([hits_and_misses(function) for function in functions], axis=0)
    assert (hits, misses) == (2, 4)
    assert not leftovers(cache)


def test_a_compilation_that_raises_ends_its_turn(cache):
    function = kept()
    with pytest.raises(TypingError):
        function("text")
    assert not leftovers(cache)
    assert function(X) == 10


def be_windows(monkeypatch):
    """Locks as Windows has them, made of those that are here."""

    def locking(descriptor, mode, size):
        try:
            fcntl.flock(descriptor, mode)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "locked") from None

    modes = {"LK_NBLCK": fcntl.LOCK_EX | fcntl.LOCK_NB, "LK_UNLCK": fcntl.LOCK_UN}
    monkeypatch.setattr(lock, "msvcrt", SimpleNamespace(locking=locking, **modes))
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(os, "supports_fd", set())


@posix
@pytest.mark.parametrize("system", [lambda monkeypatch: None, be_windows], ids=["here", "windows"])
def test_one_at_a_time_holds_the_lock(code, monkeypatch, system):
    system(monkeypatch)
    monkeypatch.setattr(lock, "LIMIT", 0)
    first, second = code.lock("file"), code.lock("file")
    assert first.take("this")
    assert not second.take("this")
    assert stat.S_IMODE((code.path / ".lock-file").stat().st_mode) == 0o600
    first.release()
    third = code.lock("file")
    assert third.take("this")
    third.release()
    assert os.listdir(code.path) == ["file"]


@posix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_that_was_forked_meanwhile_does_not_keep_the_lock(code):
    """It has a copy of the descriptor, and until that is closed too, closing does not unlock."""
    held, awaited = code.lock("file"), code.lock("file")
    assert held.take("this")
    end, begin = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(begin)
        os.read(end, 1)
        os._exit(0)
    with pytest.raises(BlockingIOError):
        fcntl.flock(awaited._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    held.release()
    fcntl.flock(awaited._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not awaited.take("this")  # as its file is no more
    os.close(end), os.close(begin)
    assert os.waitpid(child, 0)[1] == 0


def refuse_lock_files(monkeypatch):
    opened = os.open

    def open_others(path, flags, *args, **kwargs):
        if str(path).startswith(".lock-"):
            raise PermissionError(errno.EACCES, "refused")
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_others)


def refuse_locks(monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "a network file system without locks")

    monkeypatch.setattr("fcntl.flock", flock)


def have_no_locks(monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)


@posix
@pytest.mark.parametrize("hinder", [refuse_lock_files, refuse_locks, have_no_locks])
def test_where_locks_do_not_work_it_goes_on_without(cache, monkeypatch, hinder):
    hinder(monkeypatch)
    assert kept()(X) == 10
    assert not leftovers(cache)
    function = kept()
    assert function(X) == 10
    assert hits_and_misses(function) == (1, 0)


# Whom it believes


def part(code, name):
    return {"root": code.path.parent, "version": code.path, "file": code.path / "file"}[name]


def open_to(mode):
    return lambda path: path.chmod(path.stat().st_mode | mode)


def give_away(path):
    os.chown(path, THIEF, THIEF)


def replace_by_link(path):
    path.rename(path.with_name("aside"))
    path.symlink_to("aside")


TAMPERINGS = {"a group's": open_to(0o020), "everybody's": open_to(0o002), "link": replace_by_link}
if ROOT:
    TAMPERINGS["another's"] = give_away


@posix
@pytest.mark.parametrize("name", ["root", "version", "file"])
@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
def test_what_others_may_have_written_is_not_read(code, name, tamper):
    assert code.read("file") == b"ours"
    tamper(part(code, name))
    with pytest.raises(OSError):  # noqa: PT011
        code.read("file")


@posix
@pytest.mark.parametrize("name", ["root", "version"])
@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_folder_that_others_may_write_to_is_not_used(code, name, tamper):
    tamper(part(code, name))
    for use in (code.check, code.check_writable, lambda: code.write("new", b""), code.tidy):
        with pytest.raises(OSError):  # noqa: PT011
            use()
    assert [path.name for path in code.path.iterdir()] == ["file"]


@posix
def test_a_named_pipe_is_not_waited_for(code):
    (code.path / "file").unlink()
    os.mkfifo(code.path / "file", 0o600)
    with pytest.raises(PermissionError):
        code.read("file")


@posix
@pytest.mark.parametrize("name", ["root", "version", "file"])
def test_what_is_swapped_after_the_check_is_not_used(code, monkeypatch, tmp_path, name):
    target, aside = part(code, name), tmp_path / "aside"
    theirs = tmp_path / "theirs"
    shutil.copytree(tmp_path / "root", theirs / "root")
    theirs.joinpath("root", VERSION, "file").write_bytes(b"theirs")
    number = ["root", "version", "file"].index(name)
    fstat, checks = os.fstat, itertools.count()

    def check_and_swap(descriptor):
        status = fstat(descriptor)
        if next(checks) == number:
            target.rename(aside)
            theirs.joinpath(target.relative_to(tmp_path)).rename(target)
        return status

    monkeypatch.setattr(os, "fstat", check_and_swap)
    assert code.read("file") == b"ours"
    assert part(code, "file").read_bytes() == b"theirs"


@posix
@pytest.mark.parametrize("name", ["root", "version"])
def test_nothing_is_written_into_what_is_swapped_in(code, monkeypatch, tmp_path, name):
    target, aside = part(code, name), tmp_path / "aside"
    check = folder._check

    def check_and_swap(status, kind):
        check(status, kind)
        if os.path.samestat(status, target.stat()):
            target.rename(aside)
            target.symlink_to(tmp_path / "treasure")

    (tmp_path / "treasure" / VERSION).mkdir(parents=True)
    monkeypatch.setattr(folder, "_check", check_and_swap)
    code.write("new", b"ours")
    assert [path.name for path in (tmp_path / "treasure").rglob("*")] == [VERSION]
    assert (aside / "new").exists() or (aside / VERSION / "new").exists()


@posix
@pytest.mark.parametrize("umask", [0, 0o077], ids=["generous", "strict"])
@pytest.mark.parametrize("mode", [SHARED, PRIVATE], ids=["shared", "private"])
def test_permissions_do_not_depend_on_the_umask(tmp_path, umask, mode):
    made = Folder(Place(tmp_path / "above" / "parent" / "root", mode), VERSION)
    before = os.umask(umask)
    try:
        made.make()
        made.write("file", b"ours")
    finally:
        os.umask(before)
    root = made.path.parent

    def permissions(path):
        return stat.S_IMODE(path.stat().st_mode)

    assert permissions(root) == permissions(made.path) == mode
    assert permissions(made.path / "file") == 0o644
    for parent in (root.parent, root.parent.parent):
        assert permissions(parent) == mode & ~umask
    assert made.read("file") == b"ours"


BOMB = """
import pickle
class Bomb:
    def __reduce__(self):
        return os.mkdir, ({mark!r},)
_cache.DiskCache._reduce = lambda self, data: pickle.dumps(Bomb())
"""


@as_root
def test_anothers_folder_is_not_believed(fresh):
    """A thief takes the known name under /tmp first, and waits."""
    mark, planted = fresh.temporary / "mark", fresh.base / "planted"
    root = Path(fresh.read(after=BOMB.format(mark=str(mark)), HOME=fresh.sealed).path).parent
    shutil.copytree(root, planted)
    assert fresh.read(HOME=fresh.sealed)[:3] == (16, 0, 1)
    mark.rmdir()  # the bomb works
    shutil.rmtree(root)
    shutil.copytree(planted, root)
    for path in (root, *root.rglob("*")):
        os.chown(path, THIEF, THIEF)
        if path.is_dir():
            path.chmod(0o777)
    assert fresh.read(HOME=fresh.sealed) == (16, 0, 1, None)
    assert not mark.exists()


@as_root
def test_a_thiefs_link_does_not_have_a_folder_of_ours_cleared(fresh):
    root = Path(fresh.read(HOME=fresh.sealed).path).parent
    shutil.rmtree(root)
    treasure = fresh.home / "treasure"
    treasure.joinpath(VERSION).mkdir(parents=True)
    for path in (treasure / VERSION, treasure):
        os.chown(path, STRANGER, STRANGER)
        os.utime(path, (0, 0))
    fresh.temporary.chmod(0o777)  # unsticky, where Linux follows such links
    root.symlink_to(treasure)
    os.chown(root, THIEF, THIEF, follow_symlinks=False)
    assert fresh.read(HOME=fresh.sealed)[:3] == (16, 0, 1)
    assert [each.name for each in treasure.iterdir()] == [VERSION]


@as_root
def test_a_folder_for_all_users_has_a_folder_for_each(fresh):
    """As an administrator sets it up; what one user does there keeps no other from using it."""
    chosen = fresh.home / "chosen"
    chosen.mkdir()
    chosen.chmod(0o1777)
    first, second = (fresh.run(user=user, FASTMLP_CACHE_DIR=chosen) for user in (THIEF, STRANGER))
    assert first[:3] == second[:3] == (16, 0, 1)
    assert first.path != second.path
    for run, user in ((first, THIEF), (second, STRANGER)):
        assert chosen in Path(run.path).parents
        assert Path(run.path).stat().st_uid == user
    assert len(list(chosen.iterdir())) == 2
    assert fresh.run(user=STRANGER, FASTMLP_CACHE_DIR=chosen) == (16, 1, 0, second.path)


@as_root
def test_what_an_administrator_compiles_ahead_serves_all(fresh):
    chosen = fresh.home / "chosen"
    ahead = fresh.run(FASTMLP_CACHE_DIR=chosen)
    assert ahead[:3] == (16, 0, 1)
    assert fresh.run(user=STRANGER, FASTMLP_CACHE_DIR=chosen) == (16, 1, 0, None)


@as_root
def test_the_owner_of_an_installation_is_trusted(warm):
    for path in (warm.package, *warm.package.rglob("*")):
        os.chown(path, OWNER, OWNER)
    assert warm.run(user=STRANGER)[:3] == (16, 1, 0)


# Which versions are kept

DAY = 86400


def other_version(code, number, days=0):
    """A folder with code of another version, last used so many days ago."""
    other = code.path.with_name(f"{number:016x}")
    other.mkdir(0o755)  # for whatever the umask would let others write to is left
    other.joinpath("code").touch()
    os.utime(other, (time.time() - days * DAY,) * 2)
    return other


def test_versions_that_share_a_folder_keep_their_code(warm):
    """Two versions of Numba on one checkout, say, or of Python."""
    other = warm.run(before="numba.__version__ += '.1'")
    assert other[:3] == (16, 0, 1)
    assert warm.run()[:3] == (16, 1, 0)
    assert Path(other.path).exists()


def test_a_version_that_is_long_unused_is_removed(code):
    unused, used = other_version(code, 1, days=31), other_version(code, 2, days=29)
    code.tidy()
    assert not unused.exists()
    assert used.joinpath("code").exists()
    assert code.read("file") == b"ours"


def test_the_ten_versions_that_were_used_last_are_kept(code):
    others = [other_version(code, number, days=number) for number in range(15)]
    os.utime(code.path, (0, 0))
    code.tidy()
    assert [other.exists() for other in others] == [True] * 9 + [False] * 6
    assert time.time() - code.path.stat().st_mtime < DAY


def test_what_is_not_ours_to_remove_is_left(code, monkeypatch, tmp_path):
    others = [code.path.with_name("of the user"), code.path.with_name(f"{'0' * 15}g")]
    for other in others:
        other.mkdir()
    file = code.path.with_name("1" * 16)
    file.touch()
    others.append(file)
    if os.name == "posix":
        treasure = tmp_path / "treasure"
        treasure.mkdir()
        treasure.joinpath("of years").touch()
        link = code.path.with_name("2" * 16)
        link.symlink_to(treasure)
        shared = other_version(code, 3)
        shared.chmod(0o777)
        others += [link, shared, treasure]
    if ROOT:  # of one whose code would be run, and of one whose would not
        monkeypatch.setattr(folder, "trusted_owners", lambda: {os.geteuid(), OWNER})
        for number, user in {4: OWNER, 5: STRANGER}.items():
            others.append(other_version(code, number))
            os.chown(others[-1], user, user)
    for other in others:
        os.utime(other, (0, 0), follow_symlinks=os.utime not in os.supports_follow_symlinks)
    code.tidy()
    assert all(os.path.lexists(other) for other in others)
    if os.name == "posix":
        assert treasure.joinpath("of years").exists()
        assert shared.joinpath("code").exists()


def test_what_killed_processes_left_is_removed_after_a_day(code):
    old, new = (
        [code.path / f".{kind}-{age}" for kind in ("part", "lock")] for age in ("old", "new")
    )
    for file in (*old, *new):
        file.touch()
    for file in (*old, code.path / "file"):
        os.utime(file, (time.time() - 1.1 * DAY,) * 2)
    code.tidy()
    assert not any(file.exists() for file in old)
    assert all(file.exists() for file in new)
    assert code.names() == ["file"]


# Forks

# A thread compiles from before a fork begins until it has waited for the thread.
FORKS = """
import signal, threading, warnings
from numba.core.dispatcher import _FunctionCompiler
warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
compile = _FunctionCompiler.compile
compiling, forking = threading.Event(), threading.Event()
def compile_during_the_fork(self, *args):
    compiling.set()
    forking.wait()
    return compile(self, *args)
_FunctionCompiler.compile = compile_during_the_fork
os.register_at_fork(before=forking.set)
for mine, childs in ("df", "fd", "iq"):
    compiling.clear(), forking.clear()
    function = kernels.total if mine in "df" else kernels.largest
    thread = threading.Thread(target=function, args=(x.astype(mine), 4))
    thread.start()
    compiling.wait()
    child = os.fork()
    if child == 0:
        signal.alarm({limit})
        os._exit(int(kernels.largest(x.astype(childs), 4)))
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
"""


@posix
def test_a_fork_while_another_thread_compiles_does_not_hang_the_child(fresh):
    run = fresh.run(after=FORKS.format(limit=LIMIT // 2))
    assert run.value == 16


@posix
def test_a_fork_in_the_midst_of_a_compilation_leaves_the_lock_to_the_parent(fresh):
    """By what the compiler itself calls: both processes hold Numba's lock then."""
    fork = """
from numba.core.dispatcher import _FunctionCompiler
compile = _FunctionCompiler.compile
def fork_and_compile(self, *args):
    _FunctionCompiler.compile = compile
    child = os.fork()
    if child == 0:
        compile(self, *args)
        kernels.total._cache.turn.end()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    (lock,) = _cache.CACHE.path.glob(".lock-*")
    return compile(self, *args)
_FunctionCompiler.compile = fork_and_compile
"""
    assert fresh.run(after=fork)[:3] == (16, 0, 1)
