"""What all tests share: marks that follow from others, and the devices at hand."""

import gc
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from designs import spanning
from numba.core import config

from fastmlp._jit import JIT_DISABLED

if config.ENABLE_CUDASIM:
    # The simulator's threads are Python's, and meet at every turn: at once, rather than when the
    # five milliseconds of whoever runs are over.
    sys.setswitchinterval(2e-5)


#: Programs for processes of their own.
collect_ignore = ["stand_in"]
#: Fixtures that take seconds: processes that compile a package of their own, and PyTorch.
SLOW = {"fresh", "warmed_once", "torch"}
#: Fixtures of tests that need compiled kernels: processes would take minutes without.
COMPILED = {"connected"}
#: Of every law in the first files, `-m gpu` has rows with each value of each parameter; of those in
#: the other one, it has one row: test_cuda.py has most of them, too.
OF_A_GPU, OF_ALL_DEVICES = ("test_gpu.py", "test_cuda.py"), "test_devices.py"


def pytest_collection_finish(session):
    gc.freeze()  # the tests themselves are no garbage, and need not be looked at each time


def pytest_collection_modifyitems(items):
    compiled = pytest.mark.skip(reason="needs compiled kernels, and NUMBA_DISABLE_JIT is set")
    same = pytest.mark.skip(reason="the reference has no kernels, and NUMBA_DISABLE_JIT is set")
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if parameters.get("device") == "cuda":
            item.add_marker("cuda")
        if not SLOW.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        if not COMPILED.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("compiled")
        if JIT_DISABLED and item.get_closest_marker("compiled"):
            item.add_marker(compiled)
        elif JIT_DISABLED and parameters.get("device") == "reference":
            item.add_marker(same)
        # pytest-cov doubles the time of compiling; what runs as plain Python is measured there.
        if not JIT_DISABLED and not item.get_closest_marker("compiled"):
            item.add_marker("no_cover")

    choose_for_a_gpu([item for item in items if item.get_closest_marker("cuda")])
    # The longest come first, lest the last of several processes ends long after the others.
    items.sort(key=lambda item: item.path.name != OF_A_GPU[0])


def choose_for_a_gpu(items):
    """Mark as `gpu` what -m gpu runs, of all tests of the CUDA device."""
    laws = defaultdict(list)
    for item in items:
        if item.path.name in (*OF_A_GPU, OF_ALL_DEVICES):
            laws[item.path, item.originalname].append(item)
    for (path, _), tests in laws.items():
        rows = [getattr(test, "callspec", None) for test in tests]
        rows = [{} if row is None or path.name == OF_ALL_DEVICES else row.params for row in rows]
        if by := tests[0].get_closest_marker("spanned"):
            rows = [{name: row[name] for name in by.args} for row in rows]
        for chosen in spanning(rows):
            tests[chosen].add_marker("gpu")


def pytest_terminal_summary(terminalreporter):
    """Tell how many tests of the CUDA device were skipped, and what they lack."""
    reasons = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        name = Path(report.nodeid.partition("::")[0]).name
        if name.startswith(("test_cuda", "test_gpu", "test_stand_in")) and isinstance(
            report.longrepr, tuple
        ):
            reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    for reason, count in reasons.items():
        what = "test of the CUDA device" if count == 1 else "tests of the CUDA device"
        terminalreporter.write_line(f"{count} {what} skipped, or files of them: {reason}")
