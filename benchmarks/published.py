"""Cases that others have published, measured here beside what they have written.

Their figures come from their machines: they say what order of time is good, not who is faster.
"""

import os
import time
import warnings

import numpy as np
from grid import LIBRARIES, OURS, PYTORCH, Case, fit, verify
from kernels import LossAndGradient
from report import number, table
from sklearn.exceptions import ConvergenceWarning
from timing import alternate, alternate_loops, looped, medians

from fastmlp import MLPRegressor
from fastmlp.devices.cpu import CpuDevice
from fastmlp.devices.reference import ReferenceDevice
from fastmlp.initializers import first_parameters
from fastmlp.network import Network
from fastmlp.training import Rows, loss_and_gradient


def measure(options) -> list[dict]:
    """A row for each figure."""
    rows = []
    for study in options.chosen([_loss_and_gradient, _full_batch_fit, _thread_cliff]):
        rows += [options.show(row) for row in study(options.rounds)]
    return rows


def _row(what, us, how, published, source):
    return {"what": what, "us": us, "how": how, "published": published, "source": source}


def _loss_and_gradient(rounds):
    """24-8-2 of SimpleChains.jl's README; theirs has no biases in the last layer, but dropout."""
    random = np.random.RandomState(0)
    network = Network((24, 8, 2), "tanh", "squared_error")
    parameters = first_parameters(network, "glorot", random, np.float64)
    X, Y = random.uniform(size=(200, 24)), 10 * random.standard_normal((200, 2))
    reference = ReferenceDevice(network, parameters)
    device = CpuDevice(network, parameters, batch_size=200, n_jobs=1)
    compiled = LossAndGradient(network, parameters, X, Y)
    expected, gradient = loss_and_gradient(reference, parameters, Rows(X, Y, None))
    for loss, slope in (loss_and_gradient(device, parameters, Rows(X, Y, None)), compiled()):
        np.testing.assert_allclose(loss, expected, rtol=1e-12)
        np.testing.assert_allclose(slope, gradient, atol=1e-12)
    times = medians(
        alternate_loops(
            {
                "compiled": compiled,
                "python": looped(lambda: loss_and_gradient(device, parameters, Rows(X, Y, None))),
            },
            rounds,
            seconds=0.02,
        ),
        1e6,
    )
    what = "24-8-2, tanh, 200 rows, float64: loss and gradient"
    source = "[SimpleChains.jl](https://github.com/PumasAI/SimpleChains.jl), an AVX-512 machine"
    return [
        _row(what, times["compiled"], "one thread, in compiled code", "5.66 us", source),
        _row(what, times["python"], "one thread, a call from Python", "5.66 us", source),
    ]


def _full_batch_fit(rounds):
    """4-32-16-4 of SimpleChains.jl's authors: 10000 steps of Adam on all rows at once."""
    steps = 100
    X = np.random.default_rng(0).standard_normal((10_000, 4)).astype(np.float32)
    a, b, c, d = X.T
    Y = np.stack([a * d, b * c, a + d, b - c], axis=1)  # any smooth function takes as long

    def train(n_jobs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            MLPRegressor(
                hidden_layer_sizes=(32, 16), activation="tanh", alpha=0, batch_size=len(X),
                max_iter=steps, shuffle=False, n_iter_no_change=steps, random_state=0,
                device="cpu", n_jobs=n_jobs,
            ).fit(X, Y)  # fmt: skip

    train(1)
    wall = alternate(
        {n: lambda n=n: train(n) for n in sorted({1, os.cpu_count()})}, rounds, time.perf_counter
    )
    what = "4-32-16-4, tanh, 10000 rows at once, float32: 10000 steps of Adam"
    source = (
        "[its authors](https://www.julialang.org/blog/2022/04/simple-chains/), a laptop of 4 cores"
    )
    return [
        _row(
            what, us * 10_000 / steps, f"threads: {n}, a fit of {steps} steps scaled up",
            "1.64 s", source,
        )
        for n, us in medians(wall, 1e6).items()
    ]  # fmt: skip


def _thread_cliff(rounds):
    """10-w-w-10 in batches of 128, where PyTorch takes to threads between w = 45 and 46."""
    return _of_width(45, "about 1 s on 1 core", rounds) + _of_width(46, "9 s on 16 cores", rounds)


def _of_width(width, published, rounds):
    case = Case(12_800, 10, (width, width), 10, 128, epochs=2)
    X, y = case.data(np.float32)
    libraries = [name for name in (OURS, PYTORCH) if name in LIBRARIES]
    for dtype in (np.float64, np.float32):  # the first proves it, the second warms up as well
        verify(case, dtype, libraries)
    works = {name: lambda name=name: fit(name, case, X, y, n_jobs=None) for name in libraries}
    times = medians(alternate(works, rounds, time.perf_counter), 1e6 / case.epochs)
    what = f"10-{width}-{width}-10, batches of 128, float32: an epoch of 12800 rows, 10 classes"
    issue = "[pytorch#144633](https://github.com/pytorch/pytorch/issues/144633)"
    source = f"{issue}, a Mac of 16 cores, more epochs"
    return [
        _row(what, us, f"{name}, its own choice of threads", published, source)
        for name, us in times.items()
    ]


def report(rows: list[dict]) -> list[str]:
    """One table."""
    cells = [
        [row["what"], _duration(row["us"]), row["how"], row["published"], row["source"]]
        for row in rows
    ]
    header = ["case", "here", "how", "published, elsewhere", "where"]
    note = (
        "The figures of others come from their machines: they say what order of time is good, not "
        "who is faster."
    )
    return [note, "", *table(header, cells)]


def _duration(us):
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if us >= size:
            return f"{number(us / size)} {unit}"
    return f"{number(us)} us"


def headline(rows: list[dict]) -> list[str]:
    """One sentence for the README."""
    return [
        f"Published cases: SimpleChains.jl's 24-8-2 takes {_duration(rows[0]['us'])} for loss and "
        f"gradient of 200 rows (its author's machine: {rows[0]['published']}); see "
        "[published](benchmarks/results/published.md)."
    ]
