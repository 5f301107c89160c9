"""Work memory of fit and predict_proba on a read-only memory map of float32 rows.

Each measurement is a process of its own: ``python benchmarks/memory.py fastmlp FILE ROWS`` is one.
What counts is anonymous memory, in which an array or a copy would lie; pages of the map itself are
the kernel's to drop. Its growth over a small fit's, which has loaded and compiled all there is, is
looked up every few milliseconds.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from grid import OURS, THEIRS, Case, fit
from report import number, table

FEATURES = 64
ROWS = (100_000, 1_000_000, 10_000_000)
STATUS = Path("/proc/self/status")
#: Have the C library give back at once what is freed: it would serve the next array unseen.
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def measure(options) -> list[dict]:
    """A row for each number of rows and library."""
    if not STATUS.exists():
        print("Memory is only measured where there is /proc/self/status.", file=sys.stderr)
        return []
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        size = 4 * FEATURES * max(ROWS)
        if shutil.disk_usage(folder).free < 2 * size:
            print(f"Memory is not measured: {folder} lacks space.", file=sys.stderr)
            return []
        file = Path(folder, "rows")
        with file.open("wb") as out:
            out.truncate(size)  # zeros that take no space on the disk
        for count in options.chosen(list(ROWS)):
            for library in (OURS, THEIRS):
                command = [sys.executable, __file__, library, file, str(count)]
                output = subprocess.check_output(command, env=os.environ | GIVE_BACK)
                rows.append(options.show(json.loads(output)))
    return rows


def _anonymous() -> int:
    """Bytes of this process's anonymous memory in RAM."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


class Peak:
    """The most anonymous memory inside a ``with`` block, above what there was before."""

    def __enter__(self):
        self.bytes, self._before = 0, _anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._start = time.perf_counter()
        return self

    def _watch(self):
        while not self._over.wait(0.003):
            self._look()

    def _look(self):
        self.bytes = max(self.bytes, _anonymous() - self._before)

    def __exit__(self, *error):
        self.seconds = time.perf_counter() - self._start
        self._over.set()
        self._thread.join()
        self._look()


def _measure_here(library, file, rows):
    """Peaks of a fit of one epoch and of a prediction in this process."""
    case = Case(rows, FEATURES, (32,), 2, 1000, epochs=1)
    X = np.memmap(file, np.float32, "r", shape=(rows, FEATURES))
    y = np.arange(rows) % 2
    small = X[:5_000]
    fit(library, case, small, y[:5_000]).predict_proba(small)
    with Peak() as fitting:
        estimator = fit(library, case, X, y)
    with Peak() as predicting:
        probabilities = estimator.predict_proba(X)
    return {
        "library": library,
        "rows": rows,
        "data_mb": X.nbytes / 1e6,
        "fit_mb": fitting.bytes / 1e6,
        "fit_seconds": fitting.seconds,
        "predict_mb": predicting.bytes / 1e6,
        "predictions_mb": probabilities.nbytes / 1e6,
        "predict_seconds": predicting.seconds,
    }


def report(rows: list[dict]) -> list[str]:
    """One table."""
    header = ["rows, library", "X, MB", "fit: MB more", "bytes a row", "seconds"]
    header += ["predict_proba: MB more", "of it the result", "seconds"]
    cells = [
        [
            f"{row['rows']}, {row['library']}",
            number(row["data_mb"]),
            number(row["fit_mb"]),
            number(1e6 * row["fit_mb"] / row["rows"]),
            number(row["fit_seconds"]),
            number(row["predict_mb"]),
            number(row["predictions_mb"]),
            number(row["predict_seconds"]),
        ]
        for row in rows
    ]
    note = (
        f"One epoch of {FEATURES}-32-1 in batches of 1000 on a read-only memory map; the growth of "
        "anonymous memory over that of a small fit before. What grows in fastmlp belongs to a row "
        "and not to its features: labels, targets, order, probabilities."
    )
    return [note, "", *table(header, cells)]


def headline(rows: list[dict]) -> list[str]:
    """One sentence for the README."""
    row = [row for row in rows if row["library"] == OURS][-1]
    return [
        f"Memory: a fit on a read-only memory map of {row['rows']} rows, "
        f"{number(row['data_mb'] / 1e3)} GB, takes {number(row['fit_mb'])} MB beside it, "
        f"{number(1e6 * row['fit_mb'] / row['rows'])} bytes a row; see "
        "[memory](benchmarks/results/memory.md)."
    ]


if __name__ == "__main__":
    print(json.dumps(_measure_here(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
