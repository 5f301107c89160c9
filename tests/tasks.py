"""What several test modules share about estimators: small data of every kind of target, and fits.

`laws.py` has the same for devices.
"""

import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import sklearn.neural_network as sk
from sklearn.exceptions import ConvergenceWarning

import fastmlp
from fastmlp import activations, losses, optimizers, schedules
from fastmlp._jit import JIT_DISABLED
from fastmlp.activations import Maxout

#: Where the compiled kernels would run as plain Python, the laws of devices alone try them.
DEVICES = ["reference"] if JIT_DISABLED else fastmlp.devices.present()
#: The same for long fits, which are slow in NumPy and show little about the reference.
DEVICES_FOR_LONG_FITS = [
    pytest.param(name, marks=pytest.mark.slow if name == "reference" else []) for name in DEVICES
]
#: Those that take a sparse X.
SPARSE_DEVICES = [name for name in DEVICES if name != "cuda"]


class Task(NamedTuple):
    """Which estimator, with which loss, on which targets."""

    estimator: str
    targets: str
    settings: dict

    def theirs(self, **settings):
        return getattr(sk, self.estimator)(**self.settings | settings)

    def ours(self, **settings):
        device = settings.pop("device", "cpu")
        return getattr(fastmlp, self.estimator)(**self.settings | settings, device=device)

    def data(self, dtype=np.float64, rows=60, features=7, seed=0):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((rows, features))
        X[rng.random(X.shape) < 0.3] = 0  # as sparse data are
        signal = X @ rng.standard_normal((features, 3)) + 0.3 * rng.standard_normal((rows, 3))
        y = {
            "binary": lambda: np.where(signal[:, 0] > 0, "yes", "no"),
            "multiclass": lambda: signal.argmax(axis=1) * 10,
            "multilabel": lambda: (signal > 0).astype(int),
            "single": lambda: signal[:, 0],
            "several": lambda: signal,
            "counts": lambda: rng.poisson(np.exp(signal[:, 0] / 3)).astype(float),
        }[self.targets]()
        weights = rng.random(rows) + 0.5
        return X.astype(dtype), y.astype(dtype) if y.dtype == float else y, weights.astype(dtype)


TASKS = {
    "binary": Task("MLPClassifier", "binary", {}),
    "multiclass": Task("MLPClassifier", "multiclass", {}),
    "multilabel": Task("MLPClassifier", "multilabel", {}),
    "squared_error": Task("MLPRegressor", "single", {}),
    "several_outputs": Task("MLPRegressor", "several", {}),
    "poisson": Task("MLPRegressor", "counts", {"loss": "poisson"}),
}


def outputs(estimator, X):
    """Probabilities or predictions."""
    return getattr(estimator, "predict_proba", estimator.predict)(X)


def assert_same_fit(ours, theirs, X, **tolerance):
    """Every fitted attribute that scikit-learn's estimator has, and the outputs, are the same."""
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in (
        "loss_",
        "loss_curve_",
        "best_loss_",
        "validation_scores_",
        "best_validation_score_",
    ):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        own, expected = getattr(ours, name, None), getattr(theirs, name, None)
        if expected is None:
            assert own is None, name
        else:
            np.testing.assert_allclose(own, expected, err_msg=name, **tolerance)
    for name in ("coefs_", "intercepts_"):
        for own, expected in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert own.dtype == expected.dtype
            np.testing.assert_allclose(own, expected, err_msg=name, **tolerance)
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    own, expected = outputs(ours, X), outputs(theirs, X)
    assert own.dtype == expected.dtype
    assert own.shape == expected.shape
    np.testing.assert_allclose(own, expected, **tolerance)


# ---- what is beyond scikit-learn ----------------------------------------------------------------

STOPS = {"early_stopping": True, "n_iter_no_change": 1, "max_iter": 12, "learning_rate_init": 0.05}
#: By name: the task, settings beyond scikit-learn's, and others that go along with them.
OPTIONS = {
    **{
        f"solver={name}": ("multiclass", {"solver": name}, {})
        for name in optimizers.OPTIMIZERS
        if name != "adam"
    },
    **{
        f"learning_rate={name}": ("squared_error", {"learning_rate": name}, {"max_iter": 4})
        for name in schedules.SCHEDULES
        if name not in (*schedules.SCIKIT_LEARNS, "step", "plateau")
    },
    "learning_rate=step": ("binary", {"learning_rate": schedules.StepDecay(every=1)}, {}),
    "learning_rate=plateau": (
        "binary",
        {"learning_rate": schedules.Plateau(patience=0, threshold=10.0)},
        {"max_iter": 4},
    ),
    "loss=focal": ("multiclass", {"loss": "focal"}, {}),
    "loss=tweedie": ("poisson", {"loss": "tweedie"}, {}),
    "loss=Tweedie(1.2)": ("poisson", {"loss": losses.Tweedie(1.2)}, {}),
    "class_weight=dict": ("multiclass", {"class_weight": {10: 3.0}}, {}),
    "class_weight=balanced": ("multiclass", {"class_weight": "balanced"}, {}),
    "averaging=ema": ("binary", {"averaging": "ema"}, {}),
    "averaging=swa": ("binary", {"averaging": "swa", "averaging_start": 1}, {}),
    "averaging_decay": ("binary", {"averaging_decay": 0.5}, {"averaging": "ema"}),
    "averaging_start": ("binary", {"averaging_start": 2}, {"averaging": "swa"}),
    "scoring=loss": ("binary", {"scoring": "loss"}, STOPS),
    "scoring=name": ("multiclass", {"scoring": "neg_log_loss"}, STOPS),
    "activation": ("binary", {"activation": Maxout(2)}, {}),
    "output_activation": ("binary", {"output_activation": "hard_sigmoid"}, {}),
    "label_smoothing": ("multiclass", {"label_smoothing": 0.1}, {}),
    "weight_init": ("squared_error", {"weight_init": "he_normal"}, {}),
    "l1": ("squared_error", {"l1": 0.1}, {}),
    "weight_decay": ("squared_error", {"weight_decay": 0.1}, {}),
    "clip_norm": ("squared_error", {"clip_norm": 0.01}, {"solver": "sgd"}),
    "max_norm": ("squared_error", {"max_norm": 0.1}, {}),
    "dropout": ("squared_error", {"dropout": 0.3}, {}),
    "input_dropout": ("squared_error", {"input_dropout": 0.3}, {}),
}


def left_behind(task, dtype=np.float64, fit=None, rows=60, **settings):
    """Everything that a fit leaves behind: weights, curves, and the state of the generator."""
    task = TASKS[task]
    X, y, _ = task.data(dtype, rows)
    random_state = np.random.RandomState(0)
    settings = {"hidden_layer_sizes": (5,), "max_iter": 3, "batch_size": 16} | settings
    estimator = task.ours(random_state=random_state, **settings).fit(X, y, **fit or {})
    arrays = [*estimator.coefs_, *estimator.intercepts_, estimator.loss_curve_]
    return [np.asarray(array) for array in arrays], random_state.get_state()[1:]


# ---- random networks -----------------------------------------------------------------------------

_HIDDEN = (*activations.HIDDEN.values(), partial(activations.Maxout, 3))
_HIDDEN += tuple(partial(activations.Swish, 1.5, learnable) for learnable in (False, True))
#: Output activations that fit a task's loss; None is the loss's own.
_OUTPUTS = {
    "multiclass": (None, ("squared_error", "logistic"), ("huber", "hard_sigmoid"), ("focal", None)),
    "binary": (None, ("log_loss", "hard_sigmoid"), ("absolute_error", "logistic")),
    "squared_error": (None, *(("squared_error", name) for name in activations.OUTPUT)),
    "poisson": (None, ("poisson", "softplus")),
}


def random_network(seed):
    """A fitted estimator of any task, depth, dtype and activations, and rows to predict."""
    rng = np.random.default_rng(seed)
    task = list(TASKS)[seed % len(TASKS)]
    dtype = (np.float32, np.float64)[seed // len(TASKS) % 2]
    X, y, _ = TASKS[task].data(dtype, seed=seed)
    kinds = [_HIDDEN[(seed + 7 * i) % len(_HIDDEN)]() for i in range(rng.integers(4))]
    choices = _OUTPUTS.get(task, (None,))
    choice = choices[rng.integers(len(choices))]
    chosen = {} if choice is None else dict(zip(("loss", "output_activation"), choice, strict=True))
    if chosen.get("output_activation") == "softmax":
        chosen = {}  # of a single output it is 1
    sizes = tuple(int(units) for units in rng.integers(1, 12, len(kinds)))
    settings = {"max_iter": 2, "device": "reference", "random_state": seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network = TASKS[task].ours(hidden_layer_sizes=sizes, activation=kinds, **chosen, **settings)
        return network.fit(X, y), X


# ---- fits that a test repeats in another process -------------------------------------------------


def outputs_of_a_gpu(seed):
    """Probabilities after a fit on the GPU, with every other seed in the other of its regimes."""
    X = np.random.default_rng(0).standard_normal((2000, 20))
    hidden = (10 * seed,) if seed % 2 else (200, 100)
    settings = {"max_iter": 5, "n_iter_no_change": 5, "random_state": seed, "device": "cuda"}
    return fastmlp.MLPClassifier(hidden, **settings).fit(X, X[:, 0] > 0).predict_proba(X)
