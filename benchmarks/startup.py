"""Start-up: importing, compiling for the first time, loading what is kept.

Seconds of CPU time, a process each.
"""

import os
import statistics
import subprocess
import sys
import tempfile

from report import number, table

IMPORT = """
import time
start = time.process_time()
from {} import MLPClassifier
print(time.process_time() - start)
"""
#: Seconds that a first small fit and prediction take longer than a second one.
FIRST_FIT = """
import time, warnings
import numpy as np
from {} import MLPClassifier
warnings.simplefilter("ignore")
X, y = np.eye(8, dtype="{}"), np.arange(8) % 2
times = []
for _ in range(2):
    start = time.process_time()
    MLPClassifier((4,), max_iter=2).fit(X, y).predict(X)
    times.append(time.process_time() - start)
print(times[0] - times[1])
"""
PACKAGES = {"fastmlp": "fastmlp", "scikit-learn": "sklearn.neural_network"}


def measure(options) -> list[dict]:
    """A row for each kind of start."""
    imports = {name: [] for name in PACKAGES}
    for _ in range(options.rounds):
        for name, module in PACKAGES.items():
            imports[name].append(_seconds(IMPORT.format(module)))
    rows = [
        _row(f"from {PACKAGES[name]} import MLPClassifier", times)
        for name, times in imports.items()
    ]
    for dtype in ("float32", "float64"):
        with tempfile.TemporaryDirectory() as folder:
            program = FIRST_FIT.format("fastmlp", dtype)
            cold = _seconds(program, FASTMLP_CACHE_DIR=folder)
            warm = [_seconds(program, FASTMLP_CACHE_DIR=folder) for _ in range(options.rounds)]
        rows += [
            _row(f"compile, the first time on a machine, {dtype}", [cold]),
            _row(f"load the compiled code, {dtype}", warm),
        ]
    return [options.show(row) for row in options.chosen(rows)]


def _seconds(program, **environment):
    command = [sys.executable, "-c", program]
    return float(subprocess.check_output(command, env=os.environ | environment))


def _row(what, times):
    return {"what": what, "seconds": statistics.median(times), "times": times}


def report(rows: list[dict]) -> list[str]:
    """One table."""
    cells = [
        [
            row["what"],
            number(row["seconds"]),
            f"{number(min(row['times']))} to {number(max(row['times']))}",
            str(len(row["times"])),
        ]
        for row in rows
    ]
    return table(["each in a new process, CPU time", "seconds", "from to", "processes"], cells)


def headline(rows: list[dict]) -> list[str]:
    """One sentence for the README."""
    ours, theirs, compiling, loading = (row["seconds"] for row in rows[:4])
    return [
        f"Start-up: importing takes {number(ours)} s (sklearn.neural_network {number(theirs)}), "
        f"loading the compiled code {number(loading)} s in a new process, compiling it the first "
        f"time {number(compiling)} s a dtype; see [startup](benchmarks/results/startup.md)."
    ]
