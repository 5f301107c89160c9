"""Single calls of fitted estimators: predictions and short fits, one thread each."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from c_side import InC
from grid import GRID, LIBRARIES, NUMPY, OURS, PYTORCH, THEIRS, Case, compare, fit
from numba import njit
from report import number, spread, table
from timing import alternate_loops, looped, medians, ratio

from fastmlp.export import to_c, to_onnx

ONNX = "onnxruntime"
OTHERS = (THEIRS, PYTORCH, NUMPY, ONNX)
#: A network that is asked for one row at a time.
SMALL = Case(2_000, 20, (64, 64), 2, 200, epochs=1)


def measure(options) -> list[dict]:
    """A row for each call."""
    calls = [predictions(case, 100_000) for case in GRID[:3]] + [predictions(GRID[3], 20_000)]
    calls += [predictions(SMALL, 1), compiled(SMALL), inside(SMALL), *in_c(SMALL)]
    calls += [partial_fit(20), short_fit(10)]
    return [options.show(_measure(options.rounds, *call)) for call in options.chosen(calls)]


def predictions(case, rows):
    """predict_proba of `rows` rows by the same float32 network in every library."""
    X, y = case.data(np.float32)
    estimators = {name: fit(name, case, X, y, max_iter=1) for name in LIBRARIES}
    X, _ = case.data(np.float32, rows)
    compare({name: e.predict_proba(X) for name, e in estimators.items()}, np.float32)
    return f"predict_proba, {_rows(rows)}, {_shape(case)}", {
        name: lambda estimator=estimator: estimator.predict_proba(X)
        for name, estimator in estimators.items()
    }


def compiled(case):
    """One row through our compiled predictor; scikit-learn has nothing but predict_proba."""
    name, works = predictions(case, 1)
    X, y = case.data(np.float32)
    estimator = fit(OURS, case, X, y, max_iter=1)
    predictor = estimator.compiled_predictor()
    row = case.data(np.float32, 1)[0]
    out = np.empty(2, np.float32)
    expected = works[THEIRS]()[0]
    np.testing.assert_allclose(predictor(row[0], out), expected, rtol=1e-4)
    if importlib.util.find_spec(ONNX):
        works[ONNX] = _by_onnxruntime(estimator, row)
        np.testing.assert_allclose(works[ONNX]()[0][0], expected, rtol=1e-4)
    return name.replace("predict_proba", "compiled_predictor"), works | {
        OURS: partial(predictor, row[0], out)
    }


def _by_onnxruntime(estimator, rows):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(estimator).SerializeToString(), options)
    return partial(session.run, ["probabilities"], {"X": rows})


@njit
def _repeated(predictor, row, out, times):
    for _ in range(times):
        predictor.predict(row, out)


class _Loop(NamedTuple):
    """A work that is repeated in compiled code."""

    loop: Callable


def inside(case):
    """One row in a compiled loop; the others can be called from Python only."""
    name, works = compiled(case)
    predictor, (row, out) = works[OURS].func, works[OURS].args
    return f"{name}, in njit", works | {OURS: _Loop(partial(_repeated, predictor, row, out))}


def in_c(case):
    """One row by the file that `to_c` writes, in a loop in C, for two choices of the compiler's."""
    if shutil.which("cc") is None:
        print("There is no C compiler, cc: to_c is left out.", file=sys.stderr)
        return
    name, works = compiled(case)
    row, out = works[OURS].args
    text = to_c(fit(OURS, case, *case.data(np.float32), max_iter=1))
    for flags in (["-O3"], ["-O3", "-march=native"]):
        expected, own = works[OURS]().copy(), np.zeros_like(out)
        loop = InC(text, flags, row, own)
        loop(1)
        np.testing.assert_allclose(own, expected, rtol=1e-4)
        call = name.replace("compiled_predictor", f"to_c, cc {' '.join(flags)}")
        sizes = {"text_bytes": len(text), "compiled_bytes": loop.compiled_bytes}
        yield call, works | {OURS: _Loop(loop)}, sizes


def partial_fit(rows):
    """partial_fit of `rows` rows."""
    case = GRID[0]._replace(batch=rows)
    X, y = case.data(np.float64, rows)
    estimators = {name: fit(name, case, X, y, max_iter=1) for name in LIBRARIES}
    compare(
        {name: e.partial_fit(X, y).predict_proba(X) for name, e in estimators.items()}, np.float64
    )
    return f"partial_fit, {_rows(rows)}, {_shape(case)}", {
        name: lambda estimator=estimator: estimator.partial_fit(X, y)
        for name, estimator in estimators.items()
    }


def short_fit(rows):
    """A fit of one epoch on `rows` rows."""
    case = Case(rows, 3, (100,), 2, rows, epochs=1)
    X, y = case.data(np.float64)
    compare({name: fit(name, case, X, y).predict_proba(X) for name in LIBRARIES}, np.float64)
    return f"fit of one epoch, {_rows(rows)}, {_shape(case)}", {
        name: lambda name=name: fit(name, case, X, y) for name in LIBRARIES
    }


def _rows(count):
    return "1 row" if count == 1 else f"{count} rows"


def _shape(case):
    outputs = 1 if case.classes == 2 else case.classes
    return "-".join(map(str, (case.features, *case.hidden, outputs)))


def _measure(rounds, name, works, sizes=None):
    loops = {
        library: work.loop if isinstance(work, _Loop) else looped(work)
        for library, work in works.items()
    }
    a_call = alternate_loops(loops, rounds, seconds=0.05)
    return {
        "call": name,
        "us": medians(a_call, 1e6),
        "times_as_fast_as": {
            library: ratio(a_call[library], a_call[OURS]) for library in a_call if library != OURS
        },
        **(sizes or {}),
    }


def headline(rows: list[dict]) -> list[str]:
    """Sentences for the README: about many rows, and about one row."""
    many = [row for row in rows if row["call"].startswith("predict_proba, 100000 rows")]
    ratios = [number(row["times_as_fast_as"][THEIRS]["median"]) for row in many]
    shapes = [row["call"].rpartition(" ")[2] for row in many]
    what = f", 1 row, {_shape(SMALL)}"
    one = {row["call"].replace(what, ""): row["us"] for row in rows if what in row["call"]}
    theirs = one["compiled_predictor"]  # which all libraries were beside
    us = [f"{call} {number(row[OURS])}" for call, row in one.items()]
    us += [f"{name} {number(theirs[name])}" for name in OTHERS if name in theirs]
    return [
        f"Predictions: predict_proba of 100000 rows is {', '.join(ratios)} times as fast as "
        f"scikit-learn's, for {', '.join(shapes)}. One row, {_shape(SMALL)}, in microseconds: "
        f"{'; '.join(us)}; see [predict](benchmarks/results/predict.md)."
    ]


def report(rows: list[dict]) -> list[str]:
    """The same with the spread of the ratios."""
    return [*_table(rows, spread), *_sizes(rows)]


def _sizes(rows):
    texts = [
        f"{row['call']}: {row['text_bytes'] / 1000:.0f} KB of text, "
        f"{row['compiled_bytes'] / 1000:.0f} KB compiled."
        for row in rows
        if "text_bytes" in row
    ]
    return ["", " ".join(texts)] if texts else []


def _table(rows, ratio_cell):
    others = [name for name in OTHERS if any(name in row["us"] for row in rows)]
    header = ["one call", "fastmlp, us", *others, *(f"times {name}" for name in others[:2])]
    cells = [
        [
            row["call"],
            *(number(row["us"][name]) if name in row["us"] else "" for name in (OURS, *others)),
            *(ratio_cell(row["times_as_fast_as"][name]) for name in others[:2]),
        ]
        for row in rows
    ]
    return table(header, cells)
