"""Whole `fit` calls of all libraries on the grid, one thread each."""

import numpy as np
from grid import GRID, LIBRARIES, NUMPY, OURS, PYTORCH, THEIRS, VARIANTS, fit, verify
from machine import burn, burn_flops
from report import number, percent, spread, table
from timing import alternate, medians, ratio

#: Plain NumPy is measured on fewer epochs: it is a baseline, not a contestant.
FEW_EPOCHS = 2
OTHERS = (THEIRS, PYTORCH, NUMPY)


def measure(options) -> list[dict]:
    """A row for each case and dtype."""
    return [
        options.show(_measure(case, dtype, options.rounds))
        for case in options.chosen(GRID + VARIANTS)
        for dtype in (np.float32, np.float64)
    ]


def _measure(case, dtype, rounds):
    apart = verify(case, dtype)
    epochs = dict.fromkeys(LIBRARIES, case.epochs)
    epochs[NUMPY] = min(FEW_EPOCHS, case.epochs)
    return measure_case(case, dtype, epochs, rounds) | {"apart": apart}


def measure_case(case, dtype, epochs, rounds) -> dict:
    """Time whole fits of the libraries in `epochs`, of as many epochs as it says."""
    X, y = case.data(dtype)
    works = {
        name: lambda name=name: fit(name, case, X, y, max_iter=epochs[name]) for name in epochs
    }
    # The peak takes its turns too: the clock's frequency changes, a share of the peak should not.
    works["peak"] = lambda: burn(dtype)
    times = alternate(works, rounds)
    # The least that an epoch's arithmetic takes, at the speed of that moment.
    floor = [seconds * case.flops() / burn_flops(dtype) for seconds in times.pop("peak")]
    an_epoch = {name: [t / epochs[name] for t in values] for name, values in times.items()}
    return {
        "case": str(case),
        "dtype": dtype.__name__,
        "epochs": epochs,
        "ms_per_epoch": medians(an_epoch | {"floor": floor}, 1e3),
        "times_as_fast_as": {
            name: ratio(an_epoch[name], an_epoch[OURS]) for name in an_epoch if name != OURS
        },
        "share_of_peak": ratio(floor, an_epoch[OURS]),
    }


def headline(rows: list[dict]) -> list[str]:
    """The README's table: float32 in full, of float64 the ratios."""
    doubles = {row["case"]: row for row in rows if row["dtype"] == "float64"}
    singles = [row for row in rows if row["dtype"] == "float32"]
    others = [name for name in (THEIRS, PYTORCH) if name in singles[0]["ms_per_epoch"]]
    header = ["rows x features, hidden, classes, batch", "of peak", "fastmlp, ms an epoch", *others]
    header += [f"times {name}" for name in others]
    header += [f"float64: times {name}" for name in others]
    cells = [
        [
            row["case"],
            percent(row["share_of_peak"]),
            *(number(row["ms_per_epoch"][name]) for name in (OURS, *others)),
            *(f"**{_times(row, name)}**" for name in others),
            *(_times(doubles[row["case"]], name) for name in others),
        ]
        for row in singles
    ]
    return table(header, cells)


def shares(contents: list[dict]) -> list[str]:
    """The share of the peak on every CPU: it compares between machines, as times do not."""
    dtypes = ("float32", "float64")
    by_cpu = [
        {(row["case"], row["dtype"]): percent(row["share_of_peak"]) for row in content["results"]}
        for content in contents
    ]
    header = ["of the peak: rows x features, hidden, classes, batch"]
    header += [
        f"{_target(c)}, {dtype}, {c['machine']['date']}" for c in contents for dtype in dtypes
    ]
    cases = dict.fromkeys(row["case"] for content in contents for row in content["results"])
    cells = [
        [case, *(found.get((case, dtype), "") for found in by_cpu for dtype in dtypes)]
        for case in cases
    ]
    return table(header, cells)


def _target(content):
    """The compiler's name of the CPU, which the older files have at the end of its name."""
    machine = content["machine"]
    return machine.get("target", machine["cpu"].rpartition("(")[2].rstrip(")"))


def _times(row, name):
    return number(row["times_as_fast_as"][name]["median"])


def report(rows: list[dict]) -> list[str]:
    """A full table for each dtype, with the spread of the ratios."""
    lines = []
    for dtype in ("float32", "float64"):
        chosen = [row for row in rows if row["dtype"] == dtype]
        others = [name for name in OTHERS if name in chosen[0]["ms_per_epoch"]]
        header = [f"{dtype}: rows x features, hidden, classes, batch", "of peak"]
        header += ["fastmlp, ms an epoch", *others, "floor", *(f"times {name}" for name in others)]
        lines += ["", *table(header, [_cells(row, others) for row in chosen])]
    return lines


def _cells(row, others):
    return [
        row["case"],
        percent(row["share_of_peak"]),
        *(number(row["ms_per_epoch"][name]) for name in (OURS, *others, "floor")),
        *(spread(row["times_as_fast_as"][name]) for name in others),
    ]
