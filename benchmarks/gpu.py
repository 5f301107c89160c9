"""Training steps and predictions on an NVIDIA GPU, against PyTorch on the same.

``python benchmarks/gpu.py`` checks for every case that all sides compute the same, measures, and
writes ``gpu.json`` and ``gpu.md`` into ``benchmarks/results/`` or the folder that ``--out`` names;
after it, ``run.py --report`` takes them into the README. It takes less than 8 minutes. ``--quick``
takes less than 2.5: it has the two steps that we have aims for, without torch.compile, one start-up
and one prediction, and writes nothing unless ``--out`` says where. What there is no time for is
left out, and said; ``--budget`` changes the time. Without a GPU, it says what is missing and exits
with 2.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from itertools import cycle
from pathlib import Path
from unittest import mock

import gpu_report
import machine
import numpy as np
from grid import OURS, fit, make
from report import RESULTS, caption, save, write_page
from sklearn.exceptions import ConvergenceWarning
from timing import alternate_loops, looped, medians, ratio

import fastmlp
from fastmlp import devices, fit_many

#: From here on, the time counts: the imports above take seconds, those of PyTorch many.
BEGAN = time.perf_counter()
if importlib.util.find_spec("torch"):
    import torch
    from gpu_sides import EAGER, GRAPH, TORCH_SIDES, OurSide, Task, build, check, torch_network

#: Most numbers that the features of a case may have: the epochs of long batches have fewer steps.
MOST_FEATURES = 2**27
#: Seconds that a run takes at most, and one with --quick: a few less than what is promised.
BUDGET, QUICK_BUDGET = 460, 140
#: Seconds that each measurement takes on an H100 with 16 cores, compiling included, rather too
#: many: it is begun if that much time is left. torch.compile adds to those of a step.
STEP, COMPILED_STEP, START_UP, PREDICTION, TOGETHER = 25, 40, 30, 30, 30
REGIMES, COST = 30, 60


class Budget:
    """The seconds of a run; what they do not suffice for."""

    def __init__(self, seconds):
        self.end = BEGAN + seconds
        self.left_out = []

    def left(self) -> float:
        """Seconds until its end."""
        return self.end - time.perf_counter()

    def suffices(self, what: str, seconds: float) -> bool:
        """Whether there is time for a measurement of so many seconds; says so if there is not."""
        if seconds <= self.left():
            return True
        self.leave_out(what)
        return False

    def leave_out(self, what: str) -> None:
        """Remember and say that a measurement is left out."""
        self.left_out.append(what)
        print(f"{what}: left out, {max(0, self.left()):.0f} s are left", file=sys.stderr)


class Options(argparse.Namespace):
    """What the command line says, and which devices are compared; the smoke test takes the CPU."""

    quick, out = False, None
    ours, where = "cuda", "cuda"
    rounds, seconds = 5, 0.25
    budget = None

    def times(self, works) -> dict:
        """Seconds of wall clock that each of the works takes, in turns, a list for each."""
        loops = {name: self._awaited(looped(work)) for name, work in works.items()}
        return alternate_loops(loops, self.rounds, self.seconds, time.perf_counter)

    def _awaited(self, loop):
        """The loop with one wait for the GPU at its end."""

        def awaited(times):
            loop(times)
            self.wait()

        return awaited

    def wait(self):
        """Wait until the GPU has done all it was told."""
        if self.where == "cuda":
            torch.cuda.synchronize()


def missing() -> str | None:
    """What this machine lacks, in one line."""
    if not importlib.util.find_spec("torch"):
        return "Nothing to compare with: PyTorch is not installed; the extra 'bench' has it."
    if not torch.cuda.is_available():
        return f"No GPU: PyTorch {torch.__version__} finds no usable NVIDIA GPU on this machine."
    try:
        devices.load("cuda")
    except Exception as error:  # whatever a driver or a package lacks is what is to be said
        reason = " ".join(str(error).split())
        return f"fastmlp's device 'cuda' is not usable: {type(error).__name__}: {reason}"
    return None


def task(units, batch):
    """A task of as many steps an epoch as is long enough to measure and fits in memory."""
    features, *hidden, classes = units
    steps = min(100, max(4, MOST_FEATURES // (batch * features)))
    return Task(steps * batch, features, tuple(hidden), classes, batch, epochs=1)


TINY, SMALL, WIDE, NARROW = (8, 16, 2), (32, 100, 2), (784, 256, 128, 10), (64, 64, 64, 64, 64, 10)


def cases(options) -> list:
    """Units, batch, dtype and how many times as fast as PyTorch we mean to be."""
    aims = {EAGER: 5, GRAPH: 1.5}
    wanted = [
        (SMALL, 200, np.float32, aims),
        (WIDE, 256, np.float32, aims),
        (NARROW, 65536, np.float32, {EAGER: 1}),
        (WIDE, 65536, np.float32, {EAGER: 1}),
        (NARROW, 4096, np.float32, {}),
        (WIDE, 4096, np.float32, {}),
        (SMALL, 200, np.float64, {}),
    ]
    return wanted[:2] if options.quick else wanted


def steps(options) -> list[dict]:
    """Time of a training step on every case, of whole epochs with a wait at their end."""
    rows = []
    names = [EAGER, GRAPH] if options.quick else list(TORCH_SIDES)
    for units, batch, dtype, aims in cases(options):
        case = task(units, batch)
        if options.budget.suffices(f"a step of {case}", STEP if options.quick else COMPILED_STEP):
            rows.append(show(step(options, case, dtype, names) | {"aims": aims}))
    return rows


def step(options, case, dtype, names) -> dict:
    """Time of a training step of all sides, once they agree."""
    X, labels = case.data(dtype)
    sides, left_out = build(case, X, labels, options.ours, options.where, names)
    apart = check(case, X, labels, sides)
    times = epochs(options, case, sides)
    torch.compiler.reset()  # it compiles a function for so many networks only
    us = medians(times, 1e6)
    return {
        "case": str(case),
        "dtype": np.dtype(dtype).name,
        "apart": apart,
        "left_out": left_out,
        "us": us,
        "times_as_fast_as": {
            name: ratio(values, times[OURS]) for name, values in times.items() if name != OURS
        },
        "flops": case._replace(rows=case.batch).flops(),
        "bytes": least_bytes(case, dtype),
    }


def epochs(options, case, sides) -> dict:
    """Seconds of a step in whole epochs of every side, a list for each."""
    rng = np.random.default_rng(2)
    orders = cycle([rng.permutation(case.rows) for _ in range(3)])
    times = options.times(
        {name: lambda side=side: side.train_epoch(next(orders)) for name, side in sides.items()}
    )
    count = case.rows // case.batch
    return {name: [seconds / count for seconds in values] for name, values in times.items()}


def least_bytes(case, dtype) -> int:
    """What a step must move: rows and labels in, parameters and two moments in and out."""
    itemsize = np.dtype(dtype).itemsize
    return itemsize * (case.batch * case.features + 6 * case.network().size) + 8 * case.batch


def ceilings(options, elements=2**28, width=8192, nodes=200) -> dict:
    """What the GPU can do: copies, products, and the smallest kernel, launched and in a graph.

    Copies are larger than its cache, and products occupy all of it, of a quarter of the size too.
    """
    if options.quick:
        elements, width = elements // 4, width // 2
    x = torch.rand(elements, device=options.where)
    one = torch.zeros(1, device=options.where)
    works = {"copy": partial(torch.empty_like(x).copy_, x), "launch": partial(one.add_, 1)}
    for dtype in (torch.float32, torch.float64):
        a = torch.rand(width, width, device=options.where, dtype=dtype)
        works[str(dtype)] = partial(torch.mm, a, a)
    if options.where == "cuda":
        one.add_(1)  # loads the kernel, which no capture may do
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(nodes):
                one.add_(1)
        works["graph"] = graph.replay
    seconds = medians(options.times(works))
    return {
        "bytes_per_s": 2 * x.nbytes / seconds["copy"],
        "flops_per_s": {d: 2 * width**3 / seconds[f"torch.{d}"] for d in ("float32", "float64")},
        "launch_us": 1e6 * seconds["launch"],
        "node_us": 1e6 * seconds["graph"] / nodes if "graph" in seconds else None,
    }


def predictions(options, count=100_000) -> list[dict]:
    """Predictions of many rows from host and from device memory; the result is on the host."""
    if not options.budget.suffices("predictions", PREDICTION):
        return []
    case = task(WIDE, 256)._replace(rows=1000)
    estimator = fit(OURS, case, *case.data(np.float32), max_iter=1, device=options.ours)
    packed = case.network().pack(estimator.coefs_, estimator.intercepts_, np.float32)
    device = devices.load(options.ours)(case.network(), packed)
    network = torch_network(case, packed.astype(np.float64)).to(options.where, torch.float32)
    X, _ = case.data(np.float32, count)
    host, there = torch.from_numpy(X), torch.from_numpy(X).to(options.where)
    resident = there if options.where == "cuda" else X  # our other devices want NumPy's arrays
    out = np.empty((count, case.classes), np.float32)
    options.wait()  # our device's queue would not wait for PyTorch's copy

    @torch.inference_mode()
    def theirs(rows):
        return network(rows.to(options.where)).softmax(dim=1).cpu().numpy()

    calls = {
        "predict_proba of host rows": (partial(estimator.predict_proba, X), partial(theirs, host)),
        "the device alone, host rows": (partial(device.forward, X, out), partial(theirs, host)),
        "the device alone, its rows": (partial(device.forward, resident, out),
                                       partial(theirs, there)),
    }  # fmt: skip
    chosen = list(calls.items())[: 1 if options.quick else None]
    return [show(_prediction(options, f"{call}, {count}", *works)) for call, works in chosen]


def _prediction(options, call, ours, theirs):
    apart = float(np.abs(ours() - theirs()).max())
    if not apart < 1e-4:
        raise SystemExit(f"{call}: probabilities are {apart} apart")
    times = options.times({OURS: ours, EAGER: theirs})
    faster = ratio(times[EAGER], times[OURS])
    return {"call": call, "apart": apart, "us": medians(times, 1e6), "times_as_fast_as": faster}


#: Prints the seconds that importing takes, and the first fit.
FIRST_FIT = """
import time; start = time.perf_counter()
import warnings; import numpy as np; from fastmlp import MLPClassifier
warnings.simplefilter("ignore")
X, y = np.random.default_rng(0).random((2000, {}), "f"), np.arange(2000) % {}
imported = time.perf_counter()
MLPClassifier({}, max_iter=2, device="{}").fit(X, y).predict(X)
print(imported - start, time.perf_counter() - imported)
"""


def startup(options) -> list[dict]:
    """Import and first fit, wall clock: compiled from nothing, then in a second process."""
    rows = []
    for features, *hidden, classes in [SMALL] if options.quick else [SMALL, WIDE]:
        program = FIRST_FIT.format(features, classes, tuple(hidden), options.ours)
        net = "-".join(map(str, (features, *hidden, classes)))
        if not options.budget.suffices(f"start-up of {net}", START_UP):
            continue
        with tempfile.TemporaryDirectory() as folder:
            # The driver keeps what it compiles, too.
            caches = {"FASTMLP_CACHE_DIR": folder, "CUDA_CACHE_PATH": f"{folder}/driver"}
            try:
                first, second = (process(program, caches, options.budget.left()) for _ in range(2))
            except subprocess.TimeoutExpired:
                options.budget.leave_out(f"start-up of {net}")
                continue
        rows.append(show({"net": net, "first": first, "second": second}))
    return rows


def process(program, environment, most=None) -> dict:
    """What the program prints, run in a new process that ends after `most` seconds."""
    command = [sys.executable, "-c", program]
    output = subprocess.check_output(command, env=os.environ | environment, text=True, timeout=most)
    return dict(zip(("import", "fit"), map(float, output.split()), strict=True))


def together(options, count=132) -> dict:
    """Fits of as many small networks as an H100 has multiprocessors, in one call, and of one."""
    if not options.budget.suffices(f"{count} networks in one launch", TOGETHER):
        return {}
    features, *hidden, classes = TINY
    case = Task(100 * 32, features, tuple(hidden), classes, 32, epochs=5)
    X, labels = case.data(np.float32)

    def fit_some(some):
        networks = [make(OURS, case, device=options.ours) for _ in range(some)]
        for seed, network in enumerate(networks):
            network.set_params(random_state=seed)
        return fit_many(networks, X, labels)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for own, other in zip(fit_some(2), [fit_some(count)[i] for i in range(2)], strict=True):
            assert all(map(np.array_equal, own.coefs_, other.coefs_)), "not the same bits"
        times = options.times({"one": partial(fit_some, 1), "many": partial(fit_some, count)})
    ms = medians(times, 1e3)
    per_network = ratio([count * seconds for seconds in times["one"]], times["many"])
    return show(
        {"case": str(case), "epochs": case.epochs, "count": count, "ms": ms, "times": per_network}
    )


#: Units and batch of steps from the least work to much.
SIZES = [(TINY, 32), (SMALL, 200), (NARROW, 256), (WIDE, 256), (WIDE, 4096)]


def regimes(options) -> list[dict]:
    """Time of a step of the two smallest sizes in each regime of the CUDA device.

    By these, the constants are set by which it chooses one.
    """
    wanted = SIZES[:2] if options.ours == "cuda" else []
    return [
        show(in_each_regime(options, task(units, batch)))
        for units, batch in wanted
        if options.budget.suffices(f"regimes of {task(units, batch)}", REGIMES)
    ]


def in_each_regime(options, case) -> dict:
    """Time of a step in each regime, once they agree with the reference."""
    from fastmlp.devices import cuda

    X, labels = case.data(np.float32)
    most = {cuda.SingleBlock: (np.inf, 0), cuda.Layered: (0, 0)}
    if cuda.clusters():
        most[cuda.Cluster] = (0, np.inf)
    sides, apart = {}, {}
    for regime, (one_block, cluster) in most.items():
        sides[regime.__name__] = OurSide(options.ours, case, X, labels)
        own = {regime.__name__: sides[regime.__name__]}
        with (  # it is chosen at the first step
            mock.patch.object(cuda, "SINGLE_BLOCK_WORK", one_block),
            mock.patch.object(cuda, "CLUSTER_WORK", cluster),
        ):
            apart |= check(case, X, labels, own)
    return {"case": str(case), "apart": apart, "us": medians(epochs(options, case, sides), 1e6)}


def cost(options) -> dict:
    """Time of a step by its work, parameters times rows, and a + work / rate fitted to it.

    `device="auto"` decides by this. The relative errors are what is least in square: otherwise
    the longest step alone would count.
    """
    if not options.budget.suffices("the cost of a step", COST):
        return {}
    rows = []
    for units, batch in SIZES:
        case = task(units, batch)
        # About as many rows as tables have: what an epoch costs beside its steps counts, too.
        case = case._replace(rows=max(10, min(100, 10_000 // batch)) * batch)
        X, labels = case.data(np.float32)
        names = dict.fromkeys((options.ours, "cpu"))
        sides = {name: OurSide(name, case, X, labels) for name in names}
        us = medians(epochs(options, case, sides), 1e6)
        rows.append({"case": str(case), "work": batch * case.network().size, "us": us})
    work = np.array([row["work"] for row in rows])
    return show({"sizes": rows, "fits": {
        name: fitted(work, np.array([row["us"][name] for row in rows])) for name in names
    }})  # fmt: skip


def fitted(work, us) -> dict:
    """The a and rate of us = a + work / rate."""
    (overhead, slope), *_ = np.linalg.lstsq(np.stack([1 / us, work / us], 1), np.ones(len(us)))
    return {"overhead_us": float(overhead), "work_per_us": float(1 / slope)}


def show(row: dict) -> dict:
    """Print a row as soon as it is known; returns it."""
    print(json.dumps(row), flush=True)
    return row


#: In this order: what matters most is written first.
PARTS = {
    "steps": steps,
    "startup": startup,
    "predictions": predictions,
    "together": together,
    "regimes": regimes,
    "cost": cost,
}
#: Parts that a quick run does not have.
SLOW_PARTS = "regimes", "cost"


def measure(options) -> str:
    """Measure all parts, and write what is known after each; returns the page."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    record = machine.record() | graphics(options.where)
    results = {
        "machine": f"{record['gpu']}, {record['date']}",
        "ceilings": ceilings(options),
    }
    for name, part in PARTS.items():
        if name in SLOW_PARTS and options.quick:
            continue
        results[name] = part(options)
        results["left_out"] = options.budget.left_out
        page = [*gpu_report.report(results), "", caption(record)]
        if options.out:
            save("gpu", record, results, options.out)
            write_page("gpu", gpu_report.TITLE, page, options.out)
    return "\n".join(page)


def graphics(where) -> dict:
    """The GPU, its driver, and versions of what computes on it."""
    packages = (*machine.PACKAGES, "numba-cuda", "cuda-core", "cuda-bindings", "triton")
    versions = {name: machine.version(name) for name in packages}
    versions["fastmlp"] = fastmlp.__version__  # run from a checkout, it is not installed
    name = torch.cuda.get_device_name() if where == "cuda" else "no GPU"
    return {"gpu": name, "driver": driver(), "versions": versions}


def driver() -> str:
    """Version of NVIDIA's driver."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.check_output(query, text=True).split()[0]
    except (OSError, subprocess.SubprocessError):  # no part of every driver's installation
        return "unknown"


def main() -> int:
    """Measure and write, or say what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="fewer cases and sides")
    parser.add_argument("--budget", type=float, help="seconds that it takes at most")
    options = parser.parse_args(namespace=Options())
    if lacking := missing():
        print(lacking, file=sys.stderr)
        return 2
    seconds = options.budget or (QUICK_BUDGET if options.quick else BUDGET)
    options.budget = Budget(seconds)
    print(f"It takes {seconds:g} seconds at most.", flush=True)
    if options.quick:
        options.seconds = 0.1
    elif options.out is None:
        options.out = RESULTS
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    print(f"\n{measure(options)}")
    print(f"\nIt took {time.perf_counter() - BEGAN:.0f} seconds of {seconds:g}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
