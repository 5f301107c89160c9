"""Accuracy: what every activation reaches on real data, beside PyTorch and scikit-learn.

Five folds of scikit-learn's digits and breast cancer data. In each fold all sides begin with the
same weights and train on the same batches, in float64, so that what is apart is the mathematics.
Where a side does not have an activation, its cell is empty.
"""

import math
import statistics
import warnings

import numpy as np
from grid import LIBRARIES, OURS, PYTORCH, THEIRS
from report import table
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from fastmlp.activations import HIDDEN

DATA = {"digits": load_digits, "breast cancer": load_breast_cancer}
ACTIVATIONS = [name for name in HIDDEN if name != "silu"]
FOLDS = 5
SETTINGS = {
    "hidden_layer_sizes": (64, 32),
    "batch_size": 32,
    "max_iter": 30,
    "n_iter_no_change": 1000,
    "random_state": 0,
}


def measure(options) -> list[dict]:
    """A row for each data set and activation."""
    rows = [(data, activation) for data in DATA for activation in ACTIVATIONS]
    return [options.show(_measure(*row)) for row in options.chosen(rows)]


def sides(activation) -> list[str]:
    """The libraries that have an activation, ours first."""
    having = {OURS: ACTIVATIONS, THEIRS: ["identity", "logistic", "tanh", "relu"]}
    if PYTORCH in LIBRARIES:
        from torch_side import ACTIVATIONS as TORCHS

        having[PYTORCH] = TORCHS
    return [library for library, names in having.items() if activation in names]


def _measure(data, activation):
    X, y = DATA[data](return_X_y=True)
    accuracies = {library: [] for library in sides(activation)}
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(X, y):
        scaler = StandardScaler().fit(X[train])
        fold = scaler.transform(X[train]), y[train], scaler.transform(X[test]), y[test]
        for library, values in accuracies.items():
            values.append(_accuracy(library, activation, *fold))
    return {
        "data": data,
        "activation": activation,
        "accuracies": accuracies,
        "errors_apart": {
            library: _errors_apart(accuracies[OURS], values)
            for library, values in accuracies.items()
            if library != OURS
        },
    }


def _accuracy(library, activation, X_train, y_train, X_test, y_test):
    estimator = LIBRARIES[library](activation=activation, **SETTINGS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X_train, y_train)
    codes = estimator.predict_proba(X_test).argmax(axis=1)
    return float(np.mean(estimator.classes_[codes] == y_test))


def _error(accuracies):
    """Standard error of the mean over the folds."""
    return statistics.stdev(accuracies) / math.sqrt(len(accuracies))


def _errors_apart(ours, theirs):
    """How many of their standard errors our mean is above theirs."""
    apart = statistics.mean(ours) - statistics.mean(theirs)
    return apart / _error(theirs) if apart else 0.0


def report(rows: list[dict]) -> list[str]:
    """One table: percent right, with the standard error over the folds."""
    libraries = [name for name in (OURS, THEIRS, PYTORCH) if name in LIBRARIES]
    header = ["data, activation", *(f"{name}, % right" for name in libraries)]
    header += [f"standard errors above {name}" for name in libraries[1:]]
    cells = [
        [
            f"{row['data']}, {row['activation']}",
            *(_percent(row["accuracies"].get(name)) for name in libraries),
            *(_signed(row["errors_apart"].get(name)) for name in libraries[1:]),
        ]
        for row in rows
    ]
    hidden, batch, epochs = (
        SETTINGS[name] for name in ("hidden_layer_sizes", "batch_size", "max_iter")
    )
    how = (
        f"Hidden layers {hidden}, Adam with scikit-learn's defaults, batches of {batch}, {epochs} "
        f"epochs, standardised features; means over {FOLDS} folds ± their standard errors. In each "
        "fold all sides begin with the same weights, scikit-learn's, and train on the same batches "
        "in float64. An empty cell: that side does not have the activation."
    )
    return [how, "", *table(header, cells)]


def _percent(accuracies):
    if accuracies is None:
        return ""
    return f"{100 * statistics.mean(accuracies):.2f} ± {100 * _error(accuracies):.2f}"


def _signed(value):
    return "" if value is None else f"{value:+.2f}"


def headline(rows: list[dict]) -> list[str]:
    """One sentence for the README."""
    apart = [abs(value) for row in rows for value in row["errors_apart"].values()]
    within = sum(value <= 1 for value in apart)
    return [
        f"Accuracy: on digits and breast cancer, {len(ACTIVATIONS)} activations, five folds, "
        f"{within} of {len(apart)} comparisons with PyTorch and scikit-learn are within one "
        f"standard error, the furthest {max(apart):.2f} of them apart; see "
        "[accuracy](benchmarks/results/accuracy.md)."
    ]
