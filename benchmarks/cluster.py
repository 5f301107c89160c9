"""Training on a Dask cluster of this machine, and on paper on larger ones.

``python benchmarks/cluster.py`` compares two worker processes with one plain process, one thread
each; measures what a synchronisation costs; trains on more rows than memory has room for; and
writes ``dask.json`` and ``dask.md`` into ``benchmarks/results/`` or the folder that ``--out``
names. It takes about fifteen minutes on two cores, and 5 GB on the disk. ``--quick`` takes one, and
writes nothing unless ``--out`` says where. ``--only`` chooses parts, ``--rows`` and
``--stream-rows`` their sizes.

It is not called dask.py: that would stand in the way of ``import dask``.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
import warnings
from itertools import pairwise
from pathlib import Path

import dask
import dask.array as da
import dask.dataframe as dd
import machine
import numpy as np
import pandas as pd
import zarr
from distributed import Client, LocalCluster
from report import RESULTS, caption, number, save, saved, table, write_page
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier
from fastmlp.callbacks import Callback
from fastmlp.dask import DaskMLPClassifier
from fastmlp.dask.cluster import SYNC_SHARE

FEATURES, HIDDEN, BATCH = 50, (256, 128), 1024
TEST_ROWS = 100_000
#: Networks whose synchronisation is measured: hidden layers.
SIZES = ((32,), (256, 128), (1024, 512))
#: Numbers of members on which it is measured.
MEMBERS = (1, 2, 4, 8)
#: What each of a worker's 16 threads is assumed to reach of one alone.
THREADS, EFFICIENCY = 16, 0.5
WORKERS = (8, 64, 512)
PARTS = ("speed", "sync", "memory")


class Epochs(Callback):
    """Notes the time of each epoch or iteration."""

    def __init__(self):
        self.seconds = []

    def on_fit_task_begin(self, estimator, context, **data):
        """Note when the last task began."""
        self._started = time.perf_counter()

    def on_fit_task_end(self, estimator, context, **data):
        """Note how long an epoch took."""
        if context.task_name in ("epoch", "iteration"):
            self.seconds.append(time.perf_counter() - self._started)


def labelled(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their classes: signs of a smooth function, and every tenth one by chance."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, FEATURES), np.float32)
    directions = np.random.default_rng(0).standard_normal((FEATURES, 8)) / np.sqrt(FEATURES)
    y = np.sin(2 * X @ directions.astype(np.float32)).sum(axis=1) > 0
    return X, np.where(rng.random(rows) < 0.1, rng.random(rows) < 0.5, y).astype(np.int8)


def cluster(workers: int, **settings) -> LocalCluster:
    """Worker processes of one thread each."""
    return LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=50, **settings
    )


def collection(rows: int, blocks: int) -> tuple[da.Array, da.Array]:
    """The rows of `labelled`, a seed for each block, made on the workers."""
    size = rows // blocks
    pairs = [dask.delayed(labelled, nout=2)(size, seed + 1) for seed in range(blocks)]
    X = [da.from_delayed(X, (size, FEATURES), np.float32) for X, _ in pairs]
    y = [da.from_delayed(y, (size,), np.int8) for _, y in pairs]
    return da.concatenate(X), da.concatenate(y)


def show(row: dict) -> dict:
    """Print a row, and return it."""
    print(", ".join(f"{k} {number(v) if isinstance(v, float) else v}" for k, v in row.items()))
    return row


# ---- one process and two -------------------------------------------------------------------------


def speed(options) -> list[dict]:
    """Rows a second and the accuracy afterwards, of one process and of two."""
    pairs = [labelled(options.rows // 8, seed + 1) for seed in range(8)]
    here = tuple(np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    del pairs
    test = labelled(TEST_ROWS, seed=0)
    rows = []
    with cluster(2) as local, Client(local):
        there = collection(options.rows, blocks=8)
        for solver, epochs in (("adam", options.epochs), ("lbfgs", 2 * options.epochs)):
            settings = {
                "solver": solver, "max_iter": epochs, "hidden_layer_sizes": HIDDEN,
                "batch_size": BATCH, "random_state": 0, "n_jobs": 1,
            }  # fmt: skip
            MLPClassifier(**settings | {"max_iter": 1}).fit(*(array[:2000] for array in here))
            sides = {"one process": (MLPClassifier(**settings), here)}
            for k in ("auto", "epoch") if solver == "adam" else ("auto",):
                name = f"two processes, sync_every={k!r}" if solver == "adam" else "two processes"
                sides[name] = DaskMLPClassifier(**settings, sync_every=k), there
            seconds: dict = {name: [] for name in sides}
            for _ in range(options.turns):
                for name, (network, data) in sides.items():
                    watch = Epochs()
                    network.set_callbacks(watch).fit(*data)
                    seconds[name] += watch.seconds
            for name, (network, _) in sides.items():
                rows.append(show({
                    "solver": solver, "side": name,
                    "sync_every": getattr(network, "sync_every_", None),
                    "rows_a_second": options.rows / statistics.median(seconds[name]),
                    "at_best": options.rows / min(seconds[name]),
                    "accuracy": float(network.score(*test)),
                }))  # fmt: skip
    return rows


# ---- what a synchronisation costs ----------------------------------------------------------------


def sync(options) -> list[dict]:
    """Milliseconds of a synchronisation, by the number of members and the size of the network.

    Members train on two batches of two rows in between, which takes little time.
    """
    rows, batches = [], 40
    with cluster(max(options.members)) as local, Client(local):
        for hidden in SIZES:
            for members in options.members:
                X, y = collection(2 * batches * members, members)
                network = DaskMLPClassifier(
                    hidden, batch_size=2 * members, max_iter=5, random_state=0, n_jobs=1,
                    sync_every=2,
                )  # fmt: skip
                watch = Epochs()
                network.set_callbacks(watch).fit(X.astype(np.float32), y)
                size = sum(a.size for a in (*network.coefs_, *network.intercepts_))
                rows.append(show({
                    "members": members, "parameters": size, "buffer_mb": 3 * 4 * size / 1e6,
                    "ms": 1e3 * min(watch.seconds) / (batches / 2),
                }))  # fmt: skip
    return rows


def fitted_cost(rows: list[dict]) -> np.ndarray:
    """a, b, c of the milliseconds a + (b + c M) P for P members and buffers of M megabytes."""
    columns = [[1, row["members"], row["members"] * row["buffer_mb"]] for row in rows]
    times = np.array([row["ms"] for row in rows])
    scale = 1 / times  # errors count as fractions
    found, *_ = np.linalg.lstsq(np.array(columns) * scale[:, None], times * scale, rcond=None)
    return np.maximum(found, 0)


def on_paper(rate: float, cost: np.ndarray, buffer_mb: float) -> tuple[list, list]:
    """Rows a second of many workers, and the number of workers where it stops paying."""
    batch = 1e3 * BATCH / rate / (THREADS * EFFICIENCY)  # ms
    fixed, each = cost[0], cost[1] + cost[2] * buffer_mb
    rates = []
    for workers in WORKERS:
        once = fixed + each * workers
        auto = int(np.ceil(once / batch * (1 / SYNC_SHARE - 1)))
        row = {"workers": workers, "sync_ms": once, "auto": auto}
        for name, k in (("1", 1), ("10", 10), ("100", 100), ("auto", auto)):
            row[f"rate_{name}"] = 1e3 * workers * BATCH * k / (k * batch + once)
        rates.append(row)
    ends = []
    for k in (1, 10, 100, 1000):
        alone = k * batch + fixed
        ends.append((k, max(1, (np.sqrt(2 * k * batch * alone) - alone) / each)))
    return rates, ends


# ---- more than memory ----------------------------------------------------------------------------


class Watched:
    """The most anonymous memory of processes together inside a ``with`` block."""

    def __init__(self, pids):
        self._files = [Path(f"/proc/{pid}/status") for pid in pids]
        self._over = threading.Event()
        self.bytes = 0

    def __enter__(self):
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._start = time.perf_counter()
        return self

    def _watch(self):
        while not self._over.wait(0.02):
            try:
                lines = [line for file in self._files for line in file.read_text().splitlines()]
            except FileNotFoundError:  # a process was lost
                continue
            now = sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.bytes = max(self.bytes, now)

    def __exit__(self, *error):
        self.seconds = time.perf_counter() - self._start
        self._over.set()
        self._thread.join()


def blocks_of(rows: int) -> int:
    """How many blocks of files the rows make."""
    return max(4, rows // 250_000)


def npy(folder: Path, rows: int) -> tuple[da.Array, da.Array]:
    """The collection of rows that are in NumPy's files, two for each block."""
    blocks = blocks_of(rows)
    X, y = [], []
    for block in range(blocks):
        for name, array, parts in zip(
            "Xy", labelled(rows // blocks, block + 1), (X, y), strict=True
        ):
            file = folder / f"{name}{block}.npy"
            np.save(file, array)
            lazy = dask.delayed(np.load)(str(file))
            parts.append(da.from_delayed(lazy, array.shape, array.dtype))
    return da.concatenate(X), da.concatenate(y)


def parquet(folder: Path, rows: int) -> tuple[dd.DataFrame, dd.Series]:
    """The same in Parquet, where the numbers of rows are not known before they are read."""
    blocks = blocks_of(rows)
    names = [f"x{feature}" for feature in range(FEATURES)]
    for block in range(blocks):
        X, y = labelled(rows // blocks, block + 1)
        frame = pd.DataFrame(X, columns=names).assign(y=y)
        frame.to_parquet(folder / f"part.{block}.parquet", compression=None)
    frame = dd.read_parquet(folder / "*.parquet")
    return frame[names], frame["y"]


def in_zarr(folder: Path, rows: int) -> tuple[da.Array, da.Array]:
    """The same in Zarr, a chunk for each block."""
    blocks = blocks_of(rows)
    size = rows // blocks
    arrays = [
        zarr.create_array(folder / name, shape=(rows, *tail), chunks=(size, *tail), dtype=dtype)
        for name, tail, dtype in (("X", (FEATURES,), "float32"), ("y", (), "int8"))
    ]
    for block in range(blocks):
        for array, values in zip(arrays, labelled(size, block + 1), strict=True):
            array[block * size : (block + 1) * size] = values
    return tuple(da.from_zarr(str(folder / name)) for name in "Xy")


#: How the rows are stored, and whether workers are processes; otherwise threads of this one.
STORES = {
    "npy, two processes": (npy, True), "Parquet, two processes": (parquet, True),
    "Zarr, two processes": (in_zarr, True), "Parquet, two threads": (parquet, False),
}  # fmt: skip


def memory(options) -> list[dict]:
    """The peaks of fits on rows in files, of two workers with half of the limit each."""
    rows = []
    for name, (stored, processes) in STORES.items():
        with tempfile.TemporaryDirectory() as folder:
            if shutil.disk_usage(folder).free < 6 * FEATURES * options.stream_rows:
                print(f"Memory is not measured: {folder} lacks space.")
                return rows
            X, y = stored(Path(folder), options.stream_rows)
            rows.append(show({"store": name} | fit_of_files(X, y, processes, options)))
    return rows


def fit_of_files(X, y, processes, options) -> dict:
    """The peak and the time of one fit."""
    # Workers that are threads each hold the whole process to the limit.
    limit = options.limit_mb * 1_000_000 // (2 if processes else 1)
    with cluster(2, processes=processes, memory_limit=limit) as local, Client(local) as client:
        network = DaskMLPClassifier((32,), batch_size=BATCH, max_iter=2, random_state=0, n_jobs=1)
        with Watched(set(client.run(os.getpid).values())) as watched:
            network.fit(X, y)
        test, labels = labelled(TEST_ROWS, seed=0)
        local = network.to_local()
        if hasattr(local, "feature_names_in_"):
            test = pd.DataFrame(test, columns=local.feature_names_in_)
        return {
            "rows": options.stream_rows, "data_mb": 4 * FEATURES * options.stream_rows / 1e6,
            "limit_mb": float(options.limit_mb), "peak_mb": watched.bytes / 1e6,
            "in_memory": network.in_memory_, "seconds": watched.seconds,
            "accuracy": float(local.score(test, labels)),
        }  # fmt: skip


# ---- the page ------------------------------------------------------------------------------------


def report(results: dict) -> list[str]:
    """Lines of the page."""
    lines = []
    if results.get("speed"):
        lines += _speed_lines(results["speed"])
    if results.get("sync"):
        lines += _sync_lines(results["sync"])
    if results.get("speed") and results.get("sync"):
        lines += _paper_lines(results)
    if results.get("memory"):
        lines += _memory_lines(results["memory"])
    return lines


def _speed_lines(rows):
    cells = []
    for row in rows:
        (one,) = (r for r in rows if r["solver"] == row["solver"] and r["side"] == "one process")
        error = np.sqrt(one["accuracy"] * (1 - one["accuracy"]) / TEST_ROWS)
        cells.append([
            f"{row['solver']}, {row['side']}", str(row["sync_every"] or ""),
            number(row["rows_a_second"]), number(row["rows_a_second"] / one["rows_a_second"]),
            number(row["at_best"]), number(row["at_best"] / one["at_best"]),
            f"{row['accuracy']:.4f}", f"{(row['accuracy'] - one['accuracy']) / error:+.1f}",
        ])  # fmt: skip
    header = ["solver, side", "synchronised every", "rows a second", "times one process"]
    header += ["in the quickest epoch", "times one process", "accuracy", "standard errors from it"]
    note = (
        f"{FEATURES}-{'-'.join(map(str, HIDDEN))}-1, float32, batches of {BATCH}, one thread a "
        "process, all sides in turns: medians over epochs or iterations, and the quickest one, "
        f"which other load on the machine changes less. Accuracy on {TEST_ROWS} other rows."
    )
    return ["## One process and two", "", note, "", *table(header, cells), ""]


def _sync_lines(rows):
    cells = [
        [str(r["parameters"]), number(r["buffer_mb"]), str(r["members"]), number(r["ms"])]
        for r in rows
    ]
    a, b, c = fitted_cost(rows)
    note = (
        "Parameters and both moments go to every member and come back, through the scheduler; all "
        "processes share this machine's cores, so that these times are an upper bound. Fitted: "
        f"{number(a)} + ({number(b)} + {number(c)} M) P milliseconds for P members and buffers of "
        "M megabytes."
    )
    header = ["parameters", "buffer, MB", "members", "ms"]
    return ["## A synchronisation", "", note, "", *table(header, cells), ""]


def _paper_lines(results):
    rate = results["speed"][0]["rows_a_second"]
    (buffer,) = {r["buffer_mb"] for r in results["sync"] if _is_of_the_speed(r)}
    rates, ends = on_paper(rate, fitted_cost(results["sync"]), buffer)
    names = ["rate_1", "rate_10", "rate_100", "rate_auto"]
    cells = [
        [str(r["workers"]), number(r["sync_ms"]), *(f"{r[n] / 1e6:.1f}" for n in names),
         str(r["auto"])]
        for r in rates
    ]  # fmt: skip
    header = ["workers of 16 cores", "ms a synchronisation", "million rows a second: every batch"]
    header += ["every 10", "every 100", "auto", "which is every"]
    note = (
        f"From the measured cost and {number(rate)} rows a second on one thread. Assumed: one "
        f"member a worker, with {THREADS} threads at {100 * EFFICIENCY:.0f} % of one alone; "
        f"batch_size={BATCH} a worker, so that batches grow with the cluster; a network as fast as "
        "this machine's memory."
    )
    stops = "; ".join(f"{k}: {workers:.0f}" for k, workers in ends)
    rest = (
        "The client averages all members' buffers, one after the other, so a synchronisation takes "
        "time in proportion to the workers. It stops paying where one more worker adds less than "
        f"half of its rows. By the number of batches between synchronisations, that is from this "
        f"many workers on: {stops}. An epoch must have that many batches a worker, and so much "
        "local descent may need more epochs."
    )
    return ["## On paper", "", note, "", *table(header, cells), "", rest, ""]


def _is_of_the_speed(row):
    units = (FEATURES, *HIDDEN, 1)
    return row["parameters"] == sum((a + 1) * b for a, b in pairwise(units))


def _memory_lines(rows):
    cells = [
        [r["store"], f"{r['rows']} x {FEATURES}", number(r["data_mb"]), number(r["limit_mb"]),
         number(r["peak_mb"]), number(r["seconds"]), f"{r['accuracy']:.4f}"]
        for r in rows
    ]  # fmt: skip
    header = ["stored as, workers", "rows", "X, MB", "limit of both workers, MB", "their peak, MB"]
    header += ["seconds", "accuracy"]
    note = (
        "Blocks of 250000 rows in files; two epochs of 50-32-1, and one reading before them. The "
        "peak is that of anonymous memory, with the interpreters, of both processes together or of "
        "the client's, whose threads the workers are."
    )
    return ["## More than memory", "", note, "", *table(header, cells), ""]


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--turns", type=int, default=1, help="how often all sides take turns")
    parser.add_argument("--stream-rows", type=int, default=20_000_000)
    parser.add_argument("--limit-mb", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.members = MEMBERS
    if options.quick:
        options.rows, options.epochs, options.members = 100_000, 2, MEMBERS[:2]
        options.stream_rows, options.limit_mb = 3_000_000, 1600
    out = options.out or (None if options.quick else RESULTS)
    record = machine.record()
    warnings.simplefilter("ignore", ConvergenceWarning)
    measures = {"speed": speed, "sync": sync, "memory": memory}
    before = saved("dask") if out == RESULTS else None
    results = {} if before is None else before["results"]
    results |= {part: measures[part](options) for part in options.only}
    lines = [caption(record), "", *report(results)]
    print("\n".join(lines))
    if out is not None:
        save("dask", record, results, out)
        write_page("dask", "On a Dask cluster", lines, out)


if __name__ == "__main__":
    main()
