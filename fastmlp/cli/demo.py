"""The demonstration: fastmlp compared with scikit-learn, on data included in scikit-learn.

First both are fitted with the same seed and must agree; only then are they timed.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import sklearn.neural_network
from sklearn.base import is_classifier
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.metrics import classification_report, confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from .. import devices, estimators
from .._jit import JIT_DISABLED
from .info import cache_files, cpu_name, cpus, vectors, versions
from .warmup import fit_or_interrupt


class Example(NamedTuple):
    """A data set, and a network for it."""

    name: str
    load: Callable
    estimator: str  # the class's name, which is the same in both libraries
    hidden_layer_sizes: tuple[int, ...]


# The predictions of the first example are shown in detail.
EXAMPLES = (
    Example("digits", load_digits, "MLPClassifier", (100,)),
    Example("breast cancer", load_breast_cancer, "MLPClassifier", (100,)),
    Example("diabetes", load_diabetes, "MLPRegressor", (32, 16)),
)

# Largest difference of two losses that is attributed to rounding, relative to the first loss.
# Rounding errors of float32 grow over hundreds of epochs; a wrong formula shows within a few.
TOLERANCE = {"float32": 5e-3, "float64": 1e-8}


class DemoError(RuntimeError):
    """The two libraries differ, or there is nothing to show."""


class Settings(NamedTuple):
    """The choices of the user."""

    device: str = "auto"
    dtype: str = "float64"
    epochs: int = 40
    seed: int = 0
    repeats: int = 5


class Data(NamedTuple):
    """Rows to train on and to test on."""

    X: np.ndarray
    X_test: np.ndarray
    y: np.ndarray
    y_test: np.ndarray


class Result(NamedTuple):
    """The outcome of one example; times are in seconds."""

    ours: sklearn.base.BaseEstimator
    compiling: float
    their_time: float
    our_time: float
    their_score: float
    our_score: float
    difference: float


def run(settings: Settings | None = None) -> None:
    """Fit all examples in both libraries, and print a table of times and scores.

    Raises
    ------
    DemoError
        If the two libraries do not give the same losses.
    """
    settings = Settings() if settings is None else settings
    if JIT_DISABLED and devices.choose(settings.device) == "cpu":
        raise DemoError("NUMBA_DISABLE_JIT is set: there is no compiled code to compare")
    start = time.perf_counter()
    print(_machine(), flush=True)
    kept_before = cache_files()
    if not kept_before and devices.choose(settings.device) == "cpu":
        print("Nothing is compiled yet: the first fit takes 5 to 15 seconds.\n", flush=True)
    # One thread each, otherwise the times would compare machines instead of code.
    with threadpool_limits(1):
        datas = [_data(example, settings) for example in EXAMPLES]
        results = []
        for example, data in zip(EXAMPLES, datas, strict=True):
            print(_description(example, data), flush=True)
            results.append(_compare(example, data, settings))
        print("", *_times(results), "", *_notes(settings, kept_before), "", sep="\n")
        print(*_predictions(EXAMPLES[0], results[0].ours, datas[0]), sep="\n")
    print(f"The demo took {time.perf_counter() - start:.1f} s.")


def _machine():
    names = ("fastmlp", "scikit-learn", "numba", "numpy", "python")
    found = versions()
    return (
        f"{cpu_name()}, CPUs: {cpus()}, vectors: {vectors()}\n"
        f"{', '.join(f'{name} {found[name]}' for name in names)}\n"
    )


# ---- the comparison -----------------------------------------------------------------------------


def _data(example: Example, settings: Settings) -> Data:
    """Return the example's rows, split, and standardised with the training rows' statistics."""
    X, y = example.load(return_X_y=True)
    classes = y if example.estimator == "MLPClassifier" else None
    X, X_test, y, y_test = train_test_split(X, y, stratify=classes, random_state=settings.seed)
    X, X_test = _standardised(X, X_test, settings.dtype)
    if classes is None:
        y, y_test = _standardised(y[:, np.newaxis], y_test[:, np.newaxis], settings.dtype)
        y, y_test = y.ravel(), y_test.ravel()
    return Data(X, X_test, y, y_test)


def _standardised(training, test, dtype):
    scaler = StandardScaler().fit(training)
    return scaler.transform(training).astype(dtype), scaler.transform(test).astype(dtype)


def _compare(example: Example, data: Data, settings: Settings) -> Result:
    """Check that both libraries give the same losses, then time them."""
    theirs, ours = _estimators(example, settings)
    compiling = _compile_time(ours, data)
    difference = _difference(
        fit_or_interrupt(theirs, data.X, data.y), fit_or_interrupt(ours, data.X, data.y)
    )
    allowed = TOLERANCE[settings.dtype] * abs(theirs.loss_curve_[0])
    if not difference <= allowed:  # a NaN is a difference, too
        raise DemoError(
            f"{example.name}: the losses of fastmlp and scikit-learn differ by {difference:.1e}, "
            f"more than rounding can explain ({allowed:.1e}); no times are shown"
        )
    their_time, our_time = _alternating_times((theirs, ours), data, settings.repeats)
    their_score, our_score = (e.score(data.X_test, data.y_test) for e in (theirs, ours))
    return Result(ours, compiling, their_time, our_time, their_score, our_score, difference)


def _estimators(example, settings):
    """Return scikit-learn's estimator and ours, with the same parameters."""
    parameters = {
        "hidden_layer_sizes": example.hidden_layer_sizes,
        "max_iter": settings.epochs,
        "n_iter_no_change": settings.epochs,  # both do all epochs, so that both do the same work
        "random_state": settings.seed,
    }
    theirs = getattr(sklearn.neural_network, example.estimator)(**parameters)
    ours = getattr(estimators, example.estimator)(**parameters, device=settings.device, n_jobs=1)
    return theirs, ours


def _compile_time(estimator, data):
    """Return how much longer a first fit and predict of a few rows takes than a second one."""
    few = sklearn.base.clone(estimator).set_params(max_iter=1)
    X, y = data.X[:32], data.y[:32]
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        fit_or_interrupt(few, X, y).predict(X)
        seconds.append(time.perf_counter() - start)
    return max(0.0, seconds[0] - seconds[1])


def _difference(theirs, ours):
    """Return the largest difference of the losses of two fits, epoch by epoch."""
    a, b = np.array(theirs.loss_curve_), np.array(ours.loss_curve_)
    return float(np.abs(a - b).max()) if len(a) == len(b) else np.inf


def _alternating_times(pair, data, repeats):
    """Return the median seconds of a fit of each; they alternate, so that other load hits both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for estimator, times in zip(pair, seconds, strict=True):
            start = time.perf_counter()
            fit_or_interrupt(estimator, data.X, data.y)
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


# ---- the output ---------------------------------------------------------------------------------


def _description(example, data):
    return (
        f"{example.name:13}  {example.estimator}(hidden_layer_sizes={example.hidden_layer_sizes}), "
        f"{len(data.X)} rows of {data.X.shape[1]} features, {len(data.X_test)} to test"
    )


def _times(results):
    headers = (
        ("", "data"),
        ("", "device"),
        ("compile", "s"),
        ("sklearn", "fit ms"),
        ("fastmlp", "fit ms"),
        ("", "speed-up"),
        ("score", "type"),
        ("sklearn", "score"),
        ("fastmlp", "score"),
        ("losses", "differ by"),
    )
    rows = [
        (
            example.name,
            result.ours.device_,
            f"{result.compiling:.2f}",
            f"{1e3 * result.their_time:.1f}",
            f"{1e3 * result.our_time:.1f}",
            f"{result.their_time / result.our_time:.1f} x",
            "accuracy" if is_classifier(result.ours) else "R2",
            f"{result.their_score:.4f}",
            f"{result.our_score:.4f}",
            f"{result.difference:.1e}",
        )
        for example, result in zip(EXAMPLES, results, strict=True)
    ]
    return table([*zip(*headers, strict=True), *rows])


def table(rows):
    """Yield the rows as lines of a table: the first column left-aligned, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()


def _notes(settings, kept_before):
    compiled = _compiled_state(settings, kept_before)
    yield f"compile      a first small fit and predict, minus a second one; {compiled}"
    yield (
        f"fit          {settings.epochs} epochs of adam in {settings.dtype}; wall time, median of "
        f"{settings.repeats} alternating fits; one thread each"
    )
    yield f"score        on the test rows, not used to train; random_state {settings.seed}"
    yield "losses       largest difference in any epoch, checked before the fits were timed"


def _compiled_state(settings, kept_before):
    if devices.choose(settings.device) == "reference":
        return "nothing to compile"
    if cache_files().keys() - kept_before.keys():
        return "saved to disk"
    return "loaded from disk" if kept_before else "not saved to disk"


def _predictions(example, estimator, data):
    """Yield the confusion matrix and classification report of the test rows."""
    predicted = estimator.predict(data.X_test)
    labels = [str(label) for label in estimator.classes_]
    counts = confusion_matrix(data.y_test, predicted, labels=estimator.classes_)
    yield f"fastmlp on the test rows of {example.name}: true classes in rows, predicted in columns"
    yield ""
    cells = [[label, *map(str, row)] for label, row in zip(labels, counts, strict=True)]
    yield from table([["", *labels], *cells])
    yield ""
    yield classification_report(data.y_test, predicted, zero_division=0)
