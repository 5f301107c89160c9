"""How the time of a fit grows: with rows, width, depth and batch, and with threads."""

import os
import time

import numpy as np
from fit import measure_case
from grid import GRID, OURS, THEIRS, Case, fit, verify
from report import number, percent, spread, table
from timing import medians

SIDES = (OURS, THEIRS)
#: One quantity grows, the others stay. scikit-learn's long fits are measured on fewer epochs.
SWEEPS = {
    "rows": [
        (Case(rows, 32, (100,), 2, 200, epochs=5), 1 if rows > 10_000 else 5)
        for rows in (1_000, 10_000, 100_000, 1_000_000)
    ],
    "width": [
        (Case(2_000, 32, (width, width), 2, 200, epochs=1 + 255 // width), 1 + 63 // width)
        for width in (8, 32, 128, 512, 2048)
    ],
    "depth": [(Case(4_000, 64, (64,) * depth, 2, 200, epochs=5), 2) for depth in (1, 2, 4, 8)],
    "batch": [
        (Case(8_192, 64, (64, 64), 2, batch, epochs=5), 2) for batch in (16, 64, 256, 1024, 4096)
    ],
}
#: Seconds of a fit on several threads: more than one are only tried after a while.
LONG = 4.0


def measure(options) -> list[dict]:
    """A row for each case of each sweep, then one for each number of threads."""
    cases = [(sweep, *entry) for sweep, entries in SWEEPS.items() for entry in entries]
    rounds = min(options.rounds, 3)
    rows = []
    for sweep, case, their_epochs in options.chosen(cases):
        for dtype in (np.float64, np.float32):  # the first proves it, the second warms up as well
            verify(case._replace(rows=min(case.rows, max(2_000, case.batch))), dtype, SIDES)
        epochs = {OURS: case.epochs, THEIRS: their_epochs}
        rows.append({"sweep": sweep} | measure_case(case, np.float32, epochs, rounds))
        rows[-1]["rows"] = case.rows
        options.show(rows[-1])
    if options.case is None:
        rows += [options.show(_measure_threads(case, rounds)) for case in GRID[2:5]]
    return rows


def _measure_threads(case, rounds):
    """Wall time an epoch by the number of threads; the same bits from each."""
    X, y = case.data(np.float32)
    numbers = sorted({1, 2, os.cpu_count()} & set(range(1, os.cpu_count() + 1)))
    epochs = max(2, int(LONG / _wall(lambda: fit(OURS, case, X, y, max_iter=1))))
    times = {number: [] for number in numbers}
    curves = []
    for _ in range(rounds):
        for n in numbers:
            took = _wall(
                lambda n=n: curves.append(
                    fit(OURS, case, X, y, n_jobs=n, max_iter=epochs).loss_curve_
                )
            )
            times[n].append(took / epochs)
    assert all(curve == curves[0] for curve in curves), "threads changed the result"
    return {"sweep": "threads", "case": str(case), "ms_per_epoch": medians(times, 1e3)}


def _wall(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def report(rows: list[dict]) -> list[str]:
    """A table for each sweep."""
    lines = [
        "float32, one thread, ms an epoch of a whole fit; of several epochs where it is short."
    ]
    for sweep in SWEEPS:
        chosen = [row for row in rows if row["sweep"] == sweep]
        header = [f"{sweep}: rows x features, hidden, classes, batch", "fastmlp", "scikit-learn"]
        header += ["times scikit-learn", "of peak", "fastmlp, ms for 10000 rows"]
        cells = [
            [
                _short(row["case"]),
                *(number(row["ms_per_epoch"][side]) for side in SIDES),
                spread(row["times_as_fast_as"][THEIRS]),
                percent(row["share_of_peak"]),
                number(_per_10000_rows(row)),
            ]
            for row in chosen
        ]
        lines += ["", *table(header, cells)]
    threads = [row for row in rows if row["sweep"] == "threads"]
    numbers = list(threads[0]["ms_per_epoch"])
    header = ["threads: ms an epoch, wall time", *map(str, numbers)]
    cells = [[row["case"], *(number(row["ms_per_epoch"][n]) for n in numbers)] for row in threads]
    return [*lines, "", *table(header, cells), "", "The results are the same, bit for bit."]


def _per_10000_rows(row):
    return row["ms_per_epoch"][OURS] / row["rows"] * 10_000


def _short(case):
    """Equal hidden layers as a power."""
    return case.replace("-".join(["64"] * 8), "64 (8 times)")


def headline(rows: list[dict]) -> list[str]:
    """Sentences for the README."""
    long = [_per_10000_rows(r) for r in rows if r["sweep"] == "rows" and r["rows"] >= 10_000]
    threads = [r["ms_per_epoch"] for r in rows if r["sweep"] == "threads"]
    gains = ", ".join(number(ms["1"] / ms["2"]) for ms in threads if "2" in ms)
    lines = [
        f"Rows: from 10 thousand to a million, 10000 rows take {number(min(long))} to "
        f"{number(max(long))} ms."
    ]
    if gains:
        lines.append(
            f"Two threads are {gains} times as fast as one on the third, fourth and fifth case."
        )
    return [" ".join(lines) + " More on rows, width, depth and batch is in "
            "[scaling](benchmarks/results/scaling.md)."]  # fmt: skip
