"""Training steps and predictions on a GPU, against PyTorch on the same.

What `gpu.py` measured, as tables and as a paragraph.
"""

from grid import OURS
from report import number, spread, table

TITLE = __doc__.splitlines()[0]
#: Most seconds that the first fit may take, compiled from nothing, and a second process.
FIRST_FIT, SECOND_PROCESS = 20, 3


def report(results: dict) -> list[str]:
    """All tables; a run that was cut short has fewer parts."""
    lines = ceilings_line(results["ceilings"])
    for part, lines_of in PARTS.items():
        if results.get(part):
            lines += ["", *lines_of(results)]
    if results.get("left_out"):
        lines += ["", f"Left out, as time was up: {', '.join(results['left_out'])}."]
    return lines


def ceilings_line(ceilings) -> list[str]:
    """What the GPU can do."""
    rates = " and ".join(
        f"{number(rate * 1e-12)} TFLOP/s in {dtype}"
        for dtype, rate in ceilings["flops_per_s"].items()
    )
    node = "not measured" if ceilings["node_us"] is None else f"{number(ceilings['node_us'])} us"
    return [
        f"Measured beside: copies {number(ceilings['bytes_per_s'] * 1e-12)} TB/s; PyTorch's "
        f"products {rates}, without TF32; the smallest kernel {number(ceilings['launch_us'])} us "
        f"launched alone, as a node of a graph {node}. A floor is what a step's arithmetic takes "
        "at that rate, or its bytes, each moved once: rows, parameters and moments."
    ]


def floor_us(row, ceilings) -> float:
    """The least that a step's arithmetic takes, or its bytes."""
    rate = ceilings["flops_per_s"][row["dtype"]]
    return 1e6 * max(row["flops"] / rate, row["bytes"] / ceilings["bytes_per_s"])


def steps_table(results) -> list[str]:
    """Every side's time, then how many times as fast ours is."""
    rows = results["steps"]
    others = list(dict.fromkeys(name for row in rows for name in row["us"] if name != OURS))
    header = ["one step: rows x features, hidden, classes, batch", "fastmlp, us", *others, "floor"]
    header += ["TFLOP/s", "TB/s", *(f"times {name}" for name in others), "times the fastest"]
    header += ["aims"]
    cells = [
        [
            f"{row['case']}, {row['dtype']}",
            *(_cell(row["us"], name, number) for name in (OURS, *others)),
            number(floor_us(row, results["ceilings"])),
            number(row["flops"] / row["us"][OURS] * 1e-6),
            number(row["bytes"] / row["us"][OURS] * 1e-6),
            *(_cell(row["times_as_fast_as"], name, spread) for name in others),
            number(_times_the_fastest(row)),
            _aims(row),
        ]
        for row in rows
    ]
    left_out = sorted({f"{name} ({why})" for row in rows for name, why in row["left_out"].items()})
    lines = table(header, cells)
    return [*lines, "", f"Left out: {', '.join(left_out)}."] if left_out else lines


def _cell(values, name, text):
    return text(values[name]) if name in values else "left out"


def _times_the_fastest(row):
    return min(ratio["median"] for ratio in row["times_as_fast_as"].values())


def _aims(row):
    return "; ".join(
        f"{aim:g} times {name} {_verdict(row['times_as_fast_as'].get(name), aim)}"
        for name, aim in row["aims"].items()
    )


def _verdict(ratio, aim):
    if ratio is None:
        return "not measured"
    return "reached" if ratio["median"] >= aim else "missed"


def startup_table(results) -> list[str]:
    """Seconds of import and first fit in both processes."""
    header = ["start-up, wall clock", "import, s", f"first fit, s (aim: {FIRST_FIT})"]
    header += ["second process: import, s", f"first fit, s (aim: {SECOND_PROCESS})"]
    cells = [
        [row["net"], *(number(row[p][s]) for p in ("first", "second") for s in ("import", "fit"))]
        for row in results["startup"]
    ]
    return table(header, cells)


def predictions_table(results) -> list[str]:
    """Both sides' times, results on the host."""
    cells = [
        [row["call"], *map(number, row["us"].values()), spread(row["times_as_fast_as"])]
        for row in results["predictions"]
    ]
    return table(
        ["one call", *(f"{n}, us" for n in results["predictions"][0]["us"]), "times"], cells
    )


def regimes_table(results) -> list[str]:
    """Time of a step in each of the CUDA device's regimes."""
    names = list(dict.fromkeys(name for row in results["regimes"] for name in row["us"]))
    cells = [
        [row["case"], *(_cell(row["us"], name, number) for name in names)]
        for row in results["regimes"]
    ]
    return table(["one step in each regime", *(f"{name}, us" for name in names)], cells)


def cost_table(results) -> list[str]:
    """Time by work on both devices, and the constants that fit it."""
    names = list(results["cost"]["fits"])
    cells = [
        [f"{row['case']}", str(row["work"]), *(number(row["us"][name]) for name in names)]
        for row in results["cost"]["sizes"]
    ]
    header = ["a step", "parameters x rows", *(f"{name}, us" for name in names)]
    return [*table(header, cells), "", *(_fit(*fit) for fit in results["cost"]["fits"].items())]


def _fit(name, fit):
    return (
        f"Fitted, {name}: {fit['overhead_us']:.3g} us + parameters x rows / "
        f"({fit['work_per_us']:.3g} a us)."
    )


def together_line(results) -> list[str]:
    """Many small networks in one call beside one of them."""
    row = results["together"]
    return [
        f"fit_many, {row['case']}, {row['epochs']} epochs: one network {number(row['ms']['one'])} "
        f"ms, {row['count']} networks {number(row['ms']['many'])} ms, {spread(row['times'])} times "
        "as fast as one after the other."
    ]


PARTS = {"steps": steps_table, "startup": startup_table, "predictions": predictions_table,
         "together": together_line, "regimes": regimes_table, "cost": cost_table}  # fmt: skip


def headline(results: dict) -> list[str]:
    """The README's table of training steps."""
    rows = [row for row in results["steps"] if row["aims"]]
    names = list(dict.fromkeys(name for row in rows for name in row["aims"]))
    cells = [
        [
            row["case"],
            number(row["us"][OURS]),
            *(_ratio(row, name) for name in names),
            number(_times_the_fastest(row)),
        ]
        for row in rows
    ]
    header = ["one step on a GPU", "fastmlp, us", *(f"times {name}" for name in names)]
    note = (
        f"{results['machine']}, float32, the rows on the device on both sides; see "
        "[gpu](benchmarks/results/gpu.md)."
    )
    return [*table([*header, "times PyTorch's fastest way"], cells), "", note]


def _ratio(row, name):
    ratio = row["times_as_fast_as"].get(name)
    return "" if ratio is None else number(ratio["median"])
