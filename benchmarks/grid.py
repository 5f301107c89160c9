"""The cases that are measured, and the proof that all sides compute the same."""

import importlib.util
import warnings
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import sklearn.neural_network
from sklearn.exceptions import ConvergenceWarning

import fastmlp


class Case(NamedTuple):
    """A classification task, and how to train on it."""

    rows: int
    features: int
    hidden: tuple
    classes: int
    batch: int
    epochs: int
    activation: str = "relu"
    solver: str = "adam"

    def __str__(self):
        hidden = "-".join(map(str, self.hidden))
        name = f"{self.rows} x {self.features}, {hidden}, {self.classes}, {self.batch}"
        extra = [v for v, usual in ((self.activation, "relu"), (self.solver, "adam")) if v != usual]
        return ", ".join([name, *extra])

    def data(self, dtype, rows=None):
        """Features with a signal in them, and labels."""
        rng = np.random.default_rng(0)
        rows = rows or self.rows
        X = rng.standard_normal((rows, self.features)).astype(dtype)
        signal = X[:, :8] @ rng.standard_normal((min(8, self.features), self.classes))
        return X, (signal + rng.standard_normal(signal.shape)).argmax(axis=1)

    @property
    def units(self) -> tuple:
        """Width of every layer; one output tells two classes apart."""
        return self.features, *self.hidden, self.classes if self.classes > 2 else 1

    def flops(self) -> float:
        """Floating-point operations of one epoch: products of forward, delta and gradient."""
        products = [a * b for a, b in pairwise(self.units)]
        return 2.0 * self.rows * (3 * sum(products) - products[0])


GRID = [
    Case(10_000, 20, (100,), 2, 200, epochs=20),
    Case(10_000, 50, (100,), 5, 200, epochs=20),
    Case(10_000, 64, (64, 64, 64), 2, 256, epochs=20),
    Case(10_000, 784, (256, 128), 10, 256, epochs=2),
    Case(4_000, 784, (1024, 1024), 10, 256, epochs=1),
    Case(2_000, 20, (32,), 2, 32, epochs=20),
]
VARIANTS = [
    Case(10_000, 20, (100,), 2, 200, epochs=20, activation="tanh"),
    Case(10_000, 20, (100,), 2, 200, epochs=20, activation="logistic"),
    Case(10_000, 20, (100,), 2, 200, epochs=20, solver="sgd"),
]

OURS, THEIRS, PYTORCH, NUMPY = "fastmlp", "scikit-learn", "PyTorch", "NumPy"


def _ours(*arguments, **settings):
    return fastmlp.MLPClassifier(*arguments, **{"device": "cpu", "n_jobs": 1} | settings)


def _numpy(*arguments, **settings):
    return fastmlp.MLPClassifier(*arguments, device="reference", **settings)


LIBRARIES = {OURS: _ours, THEIRS: sklearn.neural_network.MLPClassifier, NUMPY: _numpy}
if importlib.util.find_spec("torch"):
    from torch_side import TorchClassifier

    LIBRARIES[PYTORCH] = TorchClassifier


def make(library: str, case: Case, **settings):
    """An unfitted estimator of the library for the case, of one thread."""
    return LIBRARIES[library](
        case.hidden,
        case.activation,
        solver=case.solver,
        batch_size=case.batch,
        random_state=0,
        n_iter_no_change=1000,
        **{"max_iter": case.epochs} | settings,
    )


def fit(library: str, case: Case, X, y, **settings):
    """Fit; that the epochs run out is meant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make(library, case, **settings).fit(X, y)


#: How far two libraries' probabilities may be apart, root mean square. float64 proves that they
#: compute the same; in float32, Adam lets rounding grow on wide networks.
LIMITS = {np.float32: 1e-2, np.float64: 1e-10}


def compare(probabilities: dict, dtype) -> dict:
    """How far each library's probabilities are from scikit-learn's, root mean square.

    Raises
    ------
    AssertionError
        If it is more than rounding explains: then there is nothing to compare.
    """
    expected = probabilities[THEIRS]
    apart = {
        library: float(np.sqrt(np.mean((values - expected) ** 2)))
        for library, values in probabilities.items()
    }
    assert max(apart.values()) < LIMITS[dtype], f"not the same to rounding: {apart}"
    return apart


def verify(case: Case, dtype, libraries=tuple(LIBRARIES)) -> dict:
    """Train the libraries for two epochs, and `compare` their probabilities."""
    X, y = case.data(dtype)
    return compare(
        {
            library: fit(library, case, X, y, max_iter=2).predict_proba(X)
            for library in {THEIRS, *libraries}
        },
        dtype,
    )
