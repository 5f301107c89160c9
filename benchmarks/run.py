"""Measure fits and predictions against scikit-learn and plain NumPy; rewrite the README's table.

``python benchmarks/run.py`` verifies, measures, writes ``benchmarks/results/fit.json`` and the
table between the README's markers. ``--case 0`` measures one case alone and writes nothing.
"""

import argparse
import json
import os
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import numba
import numpy as np
import scipy
import sklearn
from grid import GRID, VARIANTS, fit, verify
from threadpoolctl import threadpool_limits

import fastmlp

HERE = Path(__file__).parent
MARKERS = "<!-- benchmark -->", "<!-- /benchmark -->"
OURS, THEIRS = "fastmlp", "scikit-learn"


def machine() -> dict:
    """What the figures depend on."""
    return {
        "date": date.today().isoformat(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": {m.__name__: m.__version__ for m in (fastmlp, numba, np, scipy, sklearn)},
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def seconds(work) -> float:
    """CPU time of one call; both sides run on one thread, so that it is the time it takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def alternate(works: dict, rounds: int) -> dict:
    """Median CPU time of each; the sides take turns, so that a busy spell falls on all of them."""
    times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: statistics.median(values) for name, values in times.items()}


def measure_fit(case, dtype, rounds) -> dict:
    """Milliseconds of an epoch's share of a whole fit, for each library."""
    difference = verify(case, dtype)
    X, y = case.data(dtype)
    works = {name: lambda name=name: fit(name, case, X, y) for name in (OURS, THEIRS)}
    # Plain NumPy is measured on fewer epochs: it is a baseline, not a contestant.
    works["reference"] = lambda: fit("reference", case, X, y, max_iter=2)
    times = alternate(works, rounds)
    per_epoch = {
        name: 1e3 * t / (2 if name == "reference" else case.epochs) for name, t in times.items()
    }
    return {
        "case": str(case),
        "dtype": dtype.__name__,
        "epochs": case.epochs,
        "ms_per_epoch": per_epoch,
        "speedup": times[THEIRS] / times[OURS],
        "gflops": case.flops() / per_epoch[OURS] * 1e-6,
        "loss_difference": difference,
    }


def measure_predict(case, rows, rounds) -> dict:
    """Microseconds of predict_proba."""
    X, y = case.data(np.float32)
    estimators = {name: fit(name, case, X, y, max_iter=1) for name in (OURS, THEIRS)}
    X, _ = case.data(np.float32, rows=rows)
    results = [e.predict_proba(X) for e in estimators.values()]
    np.testing.assert_allclose(*results, atol=1e-3)
    repeat = max(1, 20_000 // rows)
    works = {
        name: lambda e=e: [e.predict_proba(X) for _ in range(repeat)]
        for name, e in estimators.items()
    }
    times = alternate(works, rounds)
    return {
        "case": str(case),
        "rows": rows,
        "us": {name: 1e6 * t / repeat for name, t in times.items()},
        "speedup": times[THEIRS] / times[OURS],
    }


def measure_threads(case, ms_per_epoch, rounds) -> dict:
    """Milliseconds of wall time an epoch, by the number of threads; the same bits from each.

    Of fits of four seconds: more threads than one are only tried after a while.
    """
    X, y = case.data(np.float32)
    numbers = sorted({1, 2, os.cpu_count()} & set(range(1, os.cpu_count() + 1)))
    epochs = int(4000 / ms_per_epoch)
    times = {n: [] for n in numbers}
    for _ in range(rounds):
        curves = []
        for n in numbers:
            start = time.perf_counter()
            curves.append(fit(OURS, case, X, y, n_jobs=n, max_iter=epochs).loss_curve_)
            times[n].append(1e3 * (time.perf_counter() - start) / epochs)
        assert all(curve == curves[0] for curve in curves)
    return {"case": str(case), "ms_per_epoch": {n: statistics.median(t) for n, t in times.items()}}


def threads_table(threads: list) -> list[str]:
    """Times by number of threads."""
    numbers = list(threads[0]["ms_per_epoch"])
    lines = [
        "| threads, ms an epoch | " + " | ".join(map(str, numbers)) + " |",
        "|---|" + "---:|" * len(numbers),
    ]
    for row in threads:
        cells = " | ".join(f"{row['ms_per_epoch'][n]:.3g}" for n in numbers)
        lines.append(f"| {row['case']} | {cells} |")
    return lines


def table(fits: list, predictions: list, threads: list, record: dict) -> str:
    """The README's table."""
    lines = [
        "| rows x features, hidden, classes, batch | scikit-learn, ms an epoch | fastmlp | "
        "times as fast | in float64 |",
        "|---|---:|---:|---:|---:|",
    ]
    doubles = {f["case"]: f for f in fits if f["dtype"] == "float64"}
    for f in (f for f in fits if f["dtype"] == "float32"):
        own, theirs = f["ms_per_epoch"][OURS], f["ms_per_epoch"][THEIRS]
        lines.append(
            f"| {f['case']} | {theirs:.3g} | {own:.3g} | **{f['speedup']:.1f}** | "
            f"{doubles[f['case']]['speedup']:.1f} |"
        )
    lines += [
        "",
        "| predict_proba | scikit-learn, us | fastmlp | times as fast |",
        "|---|--:|--:|--:|",
    ]
    for p in predictions:
        lines.append(
            f"| {p['rows']} rows, {p['case']} | {p['us'][THEIRS]:.4g} | {p['us'][OURS]:.4g} | "
            f"**{p['speedup']:.1f}** |"
        )
    lines += ["", *threads_table(threads)]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines += [
        "",
        f"{record['date']}, {record['cpu']}, {record['cores']} cores, Python "
        f"{record['python']}, {versions}. Median CPU time of alternating runs, one thread"
        " each, but for the last table, whose times are wall time. Loading the compiled code "
        f"takes {record['load_seconds']:.1f} s in a new process, compiling it the first time "
        f"{record['compile_seconds']:.1f} s a dtype.",
    ]
    return "\n".join(lines)


def start_up() -> dict:
    """Seconds that a first small fit and prediction add: compiling, and loading what is kept."""
    import subprocess
    import sys
    import tempfile

    program = (
        "import time, numpy as np, warnings; warnings.simplefilter('ignore');"
        "from fastmlp import MLPClassifier;"
        "X, y = np.eye(8, dtype='f4'), np.arange(8) % 2; a = time.perf_counter();"
        "MLPClassifier((4,), max_iter=2).fit(X, y).predict(X); b = time.perf_counter();"
        "MLPClassifier((4,), max_iter=2).fit(X, y).predict(X); c = time.perf_counter();"
        "print(b - a - (c - b))"
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"FASTMLP_CACHE_DIR": folder}
        cold, *warm = (
            float(subprocess.check_output([sys.executable, "-c", program], env=environment))
            for _ in range(4)
        )
    return {"compile_seconds": cold, "load_seconds": statistics.median(warm)}


def main():
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, help="index of one case of the grid, to print alone")
    parser.add_argument("--rounds", type=int, default=7, help="alternations of each measurement")
    arguments = parser.parse_args()
    cases = GRID + VARIANTS if arguments.case is None else [GRID[arguments.case]]
    with threadpool_limits(1):
        fits = []
        for case in cases:
            for dtype in (np.float32, np.float64):
                fits.append(measure_fit(case, dtype, arguments.rounds))
                print(json.dumps(fits[-1]), flush=True)
        if arguments.case is not None:
            return
        predictions = [
            measure_predict(case, rows, arguments.rounds)
            for case in (GRID[0], GRID[2])
            for rows in (1, 100_000)
        ]
        alone = {f["case"]: f["ms_per_epoch"][OURS] for f in fits if f["dtype"] == "float32"}
        threads = [measure_threads(case, alone[str(case)], 3) for case in GRID[:5]]
    record = machine() | start_up()
    results = {"machine": record, "fit": fits, "predict": predictions, "threads": threads}
    (HERE / "results" / "fit.json").write_text(json.dumps(results, indent=1) + "\n")
    readme = HERE.parent / "README.md"
    before, rest = readme.read_text().split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    text = table(fits, predictions, threads, record)
    readme.write_text(f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}")


if __name__ == "__main__":
    main()
