"""The parts of training: products, elementary functions, updates and gathers, one thread each."""

from itertools import product

import numpy as np
from grid import LIBRARIES, OURS, PYTORCH
from kernels import ELEMENTARY, Gather, Products, Update
from machine import burn, burn_flops
from report import number, percent, spread, table
from scipy.special import expit
from timing import alternate_loops, looped, medians, ratio

BLAS = "BLAS"
BATCHES = (32, 256, 4096)
#: (fan_in, fan_out) of a layer.
WIDTHS = (
    (2, 2), (8, 8), (32, 32), (100, 1), (100, 100), (256, 10), (256, 256), (784, 256),
    (1024, 1024), (2048, 2), (2048, 2048),
)  # fmt: skip
DTYPES = (np.float32, np.float64)
#: Numbers that fit into the second-level cache, and such as do not fit into any.
SIZES = (16_384, 4_194_304)
#: How long each side of each part is repeated in a turn.
SECONDS = 0.01
NUMPY = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "logistic": expit}


def measure(options) -> list[dict]:
    """A row for each part, shape and dtype."""
    rows = []
    for batch, widths, dtype in options.chosen(list(product(BATCHES, WIDTHS, DTYPES))):
        rows += _measure_products(batch, *widths, dtype, options.rounds)
    if options.case is None:
        for dtype in DTYPES:
            rows += [_measure_elementary(name, dtype, options.rounds) for name in ELEMENTARY]
            for size in SIZES:
                rows += [_measure_update(name, size, dtype, options.rounds) for name in UPDATES]
            rows += [_measure_gather(width, dtype, options.rounds) for width in (20, 784)]
    return [options.show(row) for row in rows]


def _measure_products(batch, fan_in, fan_out, dtype, rounds):
    ours = Products(batch, fan_in, fan_out, dtype)
    check_products(ours)
    A, W, D = ours.A, ours.W, ours.D
    # BLAS writes into memory that is there already, and does the bare product.
    Z, B, G = np.empty_like(D), np.empty_like(A), np.empty_like(W)
    pairs = {
        "forward": (ours.forward, lambda: np.matmul(A, W, out=Z)),
        "delta": (ours.delta, lambda: np.matmul(D, W.T, out=B)),
        "gradient": (ours.gradient, lambda: np.matmul(A.T, D, out=G)),
    }
    flops = 2.0 * batch * fan_in * fan_out
    rows = []
    for name, (own, blas) in pairs.items():
        loops = {OURS: own, BLAS: looped(blas), "peak": looped(lambda: burn(dtype))}
        times = alternate_loops(loops, rounds, SECONDS)
        floor = [seconds * flops / burn_flops(dtype) for seconds in times.pop("peak")]
        rows.append(
            {
                "part": name,
                "batch": batch,
                "fan_in": fan_in,
                "fan_out": fan_out,
                "dtype": dtype.__name__,
                "gflops": {side: 1e-9 * flops / t for side, t in medians(times).items()},
                "share_of_peak": ratio(floor, times[OURS]),
                "times_as_fast": ratio(times[BLAS], times[OURS]),
            }
        )
    return rows


def check_products(ours):
    """Hold the three products to NumPy's, computed in float64.

    Raises
    ------
    AssertionError
        If they differ by more than rounding.
    """
    A, W, D = (np.asarray(matrix, np.float64) for matrix in (ours.A, ours.W, ours.D))
    tolerance = 8 * np.finfo(ours.A.dtype).eps * max(*A.shape, *W.shape)
    ours.forward()
    np.testing.assert_allclose(ours.output(), A @ W + ours.bias, atol=tolerance, rtol=0)
    ours.set_deltas()
    ours.delta()
    np.testing.assert_allclose(ours.deltas_before(), D @ W.T * (A > 0), atol=tolerance, rtol=0)
    ours.take_gradient()
    ours.gradient()
    np.testing.assert_allclose(ours.take_gradient(), A.T @ D, atol=tolerance, rtol=0)


def _elementwise_row(part, size, dtype, times, numbers_moved):
    """A row of a loop that reads and writes `numbers_moved` numbers an element."""
    ns = {side: 1e9 * t / size for side, t in medians(times).items()}
    other = next((side for side in times if side != OURS), None)
    return {
        "part": part,
        "size": size,
        "dtype": dtype.__name__,
        "ns": ns,
        "gb_per_s": numbers_moved * np.dtype(dtype).itemsize / ns[OURS],
        "other": other,
        "times_as_fast": ratio(times[other], times[OURS]) if other else None,
    }


def _measure_elementary(name, dtype, rounds):
    x = np.random.default_rng(0).uniform(0.1, 4, SIZES[0]).astype(dtype)
    y, expected = np.empty_like(x), NUMPY[name](x)
    ELEMENTARY[name](x, y, 1)
    np.testing.assert_allclose(y, expected, rtol=8 * np.finfo(dtype).eps)
    loops = {
        OURS: lambda times: ELEMENTARY[name](x, y, times),
        "NumPy": looped(lambda: NUMPY[name](x, out=y)),
    }
    times = alternate_loops(loops, rounds, SECONDS)
    return _elementwise_row(name, x.size, dtype, times, 2)


#: Numbers read and written a parameter: weight, moments and gradient; weight and moments.
UPDATES = {"adam": 7, "sgd": 5}


def _measure_update(name, size, dtype, rounds):
    loops = {OURS: Update(name, size, dtype)}
    if PYTORCH in LIBRARIES:
        loops[PYTORCH] = looped(_torch_update(name, size, dtype))
    times = alternate_loops(loops, rounds, SECONDS)
    return _elementwise_row(name, size, dtype, times, UPDATES[name])


def _torch_update(name, size, dtype):
    """PyTorch's fused step on one vector of parameters."""
    import torch

    start, gradient = np.random.default_rng(0).uniform(-1, 1, (2, size)).astype(dtype)
    parameter = torch.nn.Parameter(torch.from_numpy(start))
    parameter.grad = torch.from_numpy(gradient)
    if name == "adam":
        return torch.optim.Adam([parameter], lr=0.001, weight_decay=1e-6, fused=True).step
    return torch.optim.SGD(
        [parameter], lr=0.001, momentum=0.9, nesterov=True, weight_decay=1e-6, fused=True
    ).step


def _measure_gather(width, dtype, rounds):
    random = np.random.default_rng(0)
    X = random.standard_normal((10_000, width)).astype(dtype)
    order = random.permutation(len(X))[:200]
    ours, out = Gather(X, order), np.empty((len(order), width), dtype)
    ours()
    np.testing.assert_array_equal(ours.out, X[order])
    loops = {OURS: ours, "NumPy": looped(lambda: np.take(X, order, axis=0, out=out))}
    times = alternate_loops(loops, rounds, SECONDS)
    return _elementwise_row(f"gather rows of {width}", out.size, dtype, times, 2)


def report(rows: list[dict]) -> list[str]:
    """Tables of the products by dtype, then of the rest."""
    lines = [
        "GFLOP/s of the functions that training calls, with the bias, the activation's slope and "
        "the bias gradient that belong to them, over chunks of the batch's rows; beside the bare "
        "product of NumPy's BLAS into memory that is there.",
    ]
    products = [row for row in rows if "gflops" in row]
    for dtype in dict.fromkeys(row["dtype"] for row in products):
        header = [f"{dtype}: fan_in x fan_out, batch"]
        for name in ("forward", "delta", "gradient"):
            header += [name, "of peak", "times BLAS"]
        chosen = [row for row in products if row["dtype"] == dtype]
        cells = [
            [
                f"{a['fan_in']} x {a['fan_out']}, {a['batch']}",
                *(cell for row in (a, b, c) for cell in _product_cells(row)),
            ]
            for a, b, c in zip(*[iter(chosen)] * 3, strict=True)
        ]
        lines += ["", *table(header, cells)]
    header = ["loop", "numbers", "dtype", "ns a number", "GB/s", "other", "ns", "times as fast"]
    cells = [
        [
            row["part"], str(row["size"]), row["dtype"], number(row["ns"][OURS]),
            number(row["gb_per_s"]), row["other"] or "", number(row["ns"].get(row["other"], 0)),
            spread(row["times_as_fast"]) if row["other"] else "",
        ]
        for row in rows if "ns" in row
    ]  # fmt: skip
    note = (
        "The other side of an update is PyTorch's fused step on one vector, called from Python as "
        "its users call it: what a call costs shows in the shorter vectors."
    )
    return [*lines, "", *table(header, cells), "", note]


def _product_cells(row):
    return [
        number(row["gflops"][OURS]),
        percent(row["share_of_peak"]),
        f"**{number(row['times_as_fast']['median'])}**",
    ]


def headline(rows: list[dict]) -> list[str]:
    """One sentence for the README."""
    products = [row["times_as_fast"]["median"] for row in rows if "gflops" in row]
    ahead = sum(value >= 1 for value in products)
    return [
        f"Products: at or above BLAS at {ahead} of {len(products)} combinations of product, shape "
        "and dtype; see [parts](benchmarks/results/parts.md)."
    ]
