"""Losses: what they measure, what minimises them, and how labels and quantiles reach them."""

import itertools
import math
import pickle
import re
from functools import partial

import numpy as np
import pytest
from designs import covering, named
from sklearn.base import clone
from sklearn.metrics import (
    d2_pinball_score,
    log_loss,
    mean_absolute_error,
    mean_gamma_deviance,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_squared_error,
    mean_tweedie_deviance,
)
from sklearn.model_selection import cross_val_score
from tasks import DEVICES, DEVICES_FOR_LONG_FITS, TASKS

from fastmlp import MLPClassifier, MLPRegressor, devices
from fastmlp.losses import (
    CLASSIFICATION,
    LOSSES,
    REGRESSION,
    AbsoluteError,
    BinaryFocal,
    Custom,
    Focal,
    Huber,
    Quantile,
    SquaredError,
    Tweedie,
    resolve,
)
from fastmlp.network import Network
from fastmlp.training import Rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUANTILES = Quantile((0.1, 0.5, 0.9))
#: A linear model of constant features: one number for all rows, which minimises the loss.
CONSTANT = {"hidden_layer_sizes": (), "alpha": 0.0, "weight_init": "zeros", "tol": 1e-9}
NOTHING = np.zeros((400, 1))


def half_square(p, t):
    return 0.5 * (p - t) ** 2


def difference(p, t):
    return p - t


# ---- objects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [*LOSSES, QUANTILES, Custom(half_square, difference)], ids=named)
def test_objects_are_values(loss):
    one = resolve(loss)
    assert one == resolve(one) == clone(one, safe=False) == pickle.loads(pickle.dumps(one))
    assert hash(one) == hash(clone(one, safe=False))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Huber(0), "delta must be a number greater than 0"),
        (lambda: Huber(math.inf), "delta must be a number greater than 0"),
        (lambda: Tweedie(1.0), "power must be a number between 1 and 2"),
        (lambda: Tweedie("1.5"), "power must be a number between 1 and 2"),
        (lambda: Focal(-1), "gamma must be a number of at least 0"),
        (lambda: BinaryFocal(math.inf), "gamma must be a number of at least 0"),
        (lambda: Quantile(1.0), "quantiles must be numbers between 0 and 1"),
        (lambda: Quantile(()), "quantiles must be numbers between 0 and 1"),
        (lambda: Quantile((0.5, 0.0)), "quantiles must be numbers between 0 and 1"),
        (lambda: Quantile("half"), "quantiles must be numbers between 0 and 1"),
        (lambda: Custom(half_square, None), "must be a Python function of p, t"),
        (lambda: resolve("hinge"), "Unknown loss: 'hinge'"),
        (lambda: resolve(QUANTILES, CLASSIFICATION), "Unknown loss: Quantile"),
    ],
)
def test_wrong_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("loss", "wrong", "message"),
    [
        ("poisson", -1.0, "loss 'poisson': they must be at least 0, got -1"),
        ("gamma", 0.0, "loss 'gamma': they must be greater than 0, got 0"),
        ("tweedie", -0.5, "loss 'tweedie': they must be at least 0, got -0.5"),
    ],
)
def test_targets_out_of_range(loss, wrong, message, device):
    X, y = np.ones((5, 2)), np.array([1, 2, 3, 4, wrong])
    with pytest.raises(ValueError, match=message):
        MLPRegressor(loss, device=device).fit(X, y)
    assert MLPRegressor(loss, max_iter=1, device=device).fit(X[:4], y[:4]).loss_ >= 0


# ---- what they measure --------------------------------------------------------------------------


#: Each loss of targets t and predictions p, of two outputs, by scikit-learn's metrics.
METRICS = {
    "squared_error": lambda t, p: 0.5 * mean_squared_error(t, p),
    "absolute_error": lambda t, p: 2 * mean_absolute_error(t, p),
    "huber": lambda t, p: np.where(abs(p - t) <= 1, (p - t) ** 2, 2 * abs(p - t) - 1).mean(),
    "quantile": lambda t, p: 2 * mean_pinball_loss(t, p, alpha=0.5),
    "poisson": lambda t, p: 0.5 * sum(map(mean_poisson_deviance, t.T, p.T)),
    "gamma": lambda t, p: 0.5 * sum(map(mean_gamma_deviance, t.T, p.T)),
    "tweedie": lambda t, p: 0.5 * sum(map(partial(mean_tweedie_deviance, power=1.5), t.T, p.T)),
}


def focal(t, p, gamma):
    """The focal loss of one output, where the log loss is of its target 1."""
    return -t * (1 - p) ** gamma * np.log(p)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", REGRESSION)
def test_value(loss, dtype, device):
    """The loss of an epoch that changes nothing."""
    X, y, _ = TASKS["several_outputs"].data(dtype)
    t = np.abs(y[:, :2]) + dtype(0.1)
    estimator = MLPRegressor(
        loss, (5,), solver="sgd", learning_rate_init=1e-30, alpha=0.0, max_iter=1, random_state=0,
        device=device,
    ).fit(X, t)  # fmt: skip
    expected = METRICS[loss](t.astype(float), estimator.predict(X).astype(float))
    assert estimator.loss_ == pytest.approx(expected, rel=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("loss", CLASSIFICATION)
def test_value_of_a_classifiers_loss(loss, task, device):
    X, y, _ = TASKS[task].data()
    estimator = MLPClassifier(
        (5,), loss=loss, solver="sgd", learning_rate_init=1e-30, alpha=0.0, max_iter=1,
        random_state=0, device=device,
    ).fit(X, y)  # fmt: skip
    regressor = MLPRegressor(hidden_layer_sizes=(5,), output_activation=estimator.out_activation_)
    nothing = np.zeros((len(X), estimator.n_outputs_)).squeeze()
    regressor.set_params(max_iter=1, device=device).fit(X, nothing)
    regressor.coefs_, regressor.intercepts_ = estimator.coefs_, estimator.intercepts_
    p = regressor.predict(X).reshape(len(X), -1)
    if task == "multilabel":
        t = y
    else:
        t = (y[:, None] == estimator.classes_).astype(int)[:, -p.shape[1] :]
    if loss == "focal":
        expected = focal(t, p, 2).sum(axis=1).mean()
        if task != "multiclass":
            expected += focal(1 - t, 1 - p, 2).sum(axis=1).mean()
    elif loss != "log_loss":
        expected = {
            "squared_error": 0.5 * np.mean((p - t) ** 2),
            "absolute_error": np.abs(p - t).sum(axis=1).mean(),
            "huber": 0.5 * ((p - t) ** 2).sum(axis=1).mean(),
        }[loss]
    elif task == "multiclass":
        expected = log_loss(y, p)
    else:
        expected = sum(log_loss(t[:, k], p[:, k]) for k in range(p.shape[1]))
    assert estimator.loss_ == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("device", DEVICES_FOR_LONG_FITS)
@pytest.mark.parametrize(
    ("loss", "statistic"),
    [
        ("squared_error", np.mean),
        ("poisson", np.mean),
        ("gamma", np.mean),
        ("tweedie", np.mean),
        ("absolute_error", np.median),
        ("quantile", np.median),
        (Quantile(0.8), lambda t: np.quantile(t, 0.8)),
        (Huber(1e-3), np.median),
        (Huber(1e3), np.mean),
    ],
    ids=named,
)
def test_minimum(loss, statistic, device):
    """The best constant is the mean, the median, or the quantile."""
    t = np.random.default_rng(0).gamma(2.0, size=len(NOTHING))
    estimator = MLPRegressor(
        loss, solver="adam", learning_rate_init=0.01, max_iter=400, n_iter_no_change=50,
        random_state=0, device=device, **CONSTANT,
    ).fit(NOTHING, t)  # fmt: skip
    assert estimator.predict(NOTHING[:1])[0] == pytest.approx(statistic(t), rel=0.05)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", [Custom(half_square, difference)], ids=["custom"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_custom(loss, solver, device):
    """A user's squared error trains like the one that is built in."""
    X, y, weights = TASKS["squared_error"].data()
    settings = {"solver": solver, "max_iter": 5, "random_state": 0, "device": device}
    own = MLPRegressor(loss, **settings).fit(X, y, weights)
    built_in = MLPRegressor(**settings).fit(X, y, weights)
    np.testing.assert_allclose(own.predict(X), built_in.predict(X), rtol=1e-7, atol=1e-9)
    assert own.loss_ == pytest.approx(built_in.loss_, rel=1e-9)
    X, y, _ = TASKS["multiclass"].data()
    own = MLPClassifier(loss=loss, **settings).fit(X, y)
    assert own.out_activation_ == "logistic"
    built_in = MLPClassifier(loss=SquaredError(), **settings).fit(X, y)
    np.testing.assert_allclose(own.predict_proba(X), built_in.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_focal_loss_without_focus_is_the_log_loss(task, device):
    X, y, weights = TASKS[task].data()
    settings = {"max_iter": 5, "random_state": 0, "device": device}
    focal, log = (
        MLPClassifier((5,), loss=loss, **settings).fit(X, y, weights)
        for loss in (Focal(gamma=0.0), "log_loss")
    )
    assert focal.out_activation_ == log.out_activation_
    np.testing.assert_allclose(focal.loss_curve_, log.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(focal.predict_proba(X), log.predict_proba(X), rtol=1e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_focal_loss_of_a_row_that_is_badly_wrong(dtype, device):
    """Its probability is e^-40, less than any epsilon; the loss's slope by z is that of -log p."""
    for loss, outputs, biases in (("focal", 2, [-40.0, 0.0]), ("binary_focal", 1, [-40.0])):
        network = Network((1, outputs), (), loss)
        parameters = np.array([0.0] * outputs + biases, dtype)
        target = np.array([[1, 0][:outputs]], bool)
        made = devices.load(device)(network, parameters, batch_size=1)
        sums = made.sums(Rows(np.ones((1, 1), dtype), target, None))
        assert sums.loss == pytest.approx(40, rel=1e-6)
        np.testing.assert_allclose(sums.gradient[outputs:], [-1, 1][:outputs], rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_focal_loss_trains(task, device):
    X, y, weights = TASKS[task].data(rows=200)
    settings = {"learning_rate_init": 0.01, "max_iter": 60, "random_state": 0, "device": device}
    fitted = MLPClassifier((20,), loss="focal", label_smoothing=0.1, **settings).fit(X, y, weights)
    assert fitted.score(X, y) > 0.7
    assert not np.array_equal(fitted.partial_fit(X, y).loss_curve_[-1], fitted.loss_curve_[-2])


# ---- quantiles ----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES_FOR_LONG_FITS)
@pytest.mark.parametrize("task", ["squared_error", "several_outputs"])
def test_several_quantiles(task, device):
    """Of each target all quantiles, one after the other, and as many rows below as they say."""
    X, y, _ = TASKS[task].data(rows=300)
    estimator = MLPRegressor(
        QUANTILES, (20,), learning_rate_init=0.01, max_iter=300, random_state=0, device=device
    ).fit(X, y)
    targets = y.reshape(len(y), -1)
    p = estimator.predict(X)
    assert p.shape == (300, 3 * targets.shape[1])
    assert estimator.n_outputs_ == p.shape[1]
    below = (targets[:, :, None] < p.reshape(300, -1, 3)).mean(axis=0)
    np.testing.assert_allclose(below, np.tile(QUANTILES.levels, (targets.shape[1], 1)), atol=0.06)
    d2 = [
        d2_pinball_score(t, p[:, 3 * k + j], alpha=tau)
        for k, t in enumerate(targets.T)
        for j, tau in enumerate(QUANTILES.levels)
    ]
    assert estimator.score(X, y) == pytest.approx(np.mean(d2))
    assert estimator.score(X, y) > 0.4


def test_targets_of_another_shape_have_no_score():
    """Not even those of all rows in one vector, whose number fits."""
    X, y, _ = TASKS["several_outputs"].data(rows=12)
    estimator = MLPRegressor(QUANTILES, max_iter=1, device="reference").fit(X, y)
    for wrong, says in (
        (y[:, :1], "y has 1 target(s), but the network was fitted with 3."),
        (y.ravel(), "inconsistent numbers of samples: [12, 36]"),
        (y[:-1], "inconsistent numbers of samples: [12, 11]"),
    ):
        with pytest.raises(ValueError, match=re.escape(says)):
            estimator.score(X, wrong)


@pytest.mark.parametrize("device", DEVICES_FOR_LONG_FITS)
@pytest.mark.parametrize("loss", [Quantile(0.9), QUANTILES], ids=str)
def test_scores_of_quantiles(loss, device):
    """Early stopping and cross-validation go by D²."""
    X, y, weights = TASKS["squared_error"].data(rows=100)
    estimator = MLPRegressor(
        loss, (20,), learning_rate_init=0.01, early_stopping=True, validation_fraction=0.5,
        max_iter=50, random_state=0, device=device,
    ).fit(X, y, weights)  # fmt: skip
    assert estimator.best_validation_score_ == max(estimator.validation_scores_) > 0
    assert estimator.score(X, y) != estimator.score(X, y, weights)
    scores = cross_val_score(MLPRegressor(loss, max_iter=3, device=device), X, y, cv=2)
    assert np.isfinite(scores).all()


# ---- classifiers --------------------------------------------------------------------------------


@covering(
    "loss, task output, device",
    ["squared_error", AbsoluteError(), Huber(0.5)],
    [
        *itertools.product(
            ["binary", "multiclass", "multilabel"], [None, "hard_sigmoid", "logistic"]
        ),
        ("multiclass", "softmax"),
    ],
    DEVICES,
)
def test_classifier(loss, task, output, device):
    X, y, weights = TASKS[task].data(np.float32, rows=200)
    estimator = MLPClassifier(
        (20,), "tanh", loss=loss, output_activation=output, learning_rate_init=0.01,
        batch_size=20, max_iter=60, random_state=0, device=device,
    ).fit(X, y, weights)  # fmt: skip
    assert estimator.out_activation_ == (output or "logistic")
    assert estimator.score(X, y) > 0.7
    p = estimator.predict_proba(X)
    assert p.dtype == np.float32
    assert p.min() >= 0
    assert p.max() <= 1
    if task != "multilabel":
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(estimator.classes_[p.argmax(axis=1)], estimator.predict(X))
    else:
        np.testing.assert_array_equal(p > 0.5, estimator.predict(X))
    assert not np.array_equal(estimator.partial_fit(X, y).predict_proba(X), p)


@pytest.mark.parametrize("device", DEVICES)
def test_outputs_that_are_all_zero_say_nothing(device):
    X, y, _ = TASKS["multiclass"].data()
    settings = {"output_activation": "hard_sigmoid", "max_iter": 1, "device": device}
    estimator = MLPClassifier(loss="squared_error", **settings).fit(X, y)
    estimator.intercepts_[-1][:] = -1e3
    np.testing.assert_array_equal(estimator.predict_proba(X), np.full((60, 3), 1 / 3))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing(loss, smoothing, device):
    """The best constant is the mean target: t (1 - ε) + ε / K, of two classes ε / 2."""
    rng = np.random.default_rng(0)
    settings = {"loss": loss, "label_smoothing": smoothing, "solver": "lbfgs", "device": device}
    for y, evenly in (
        (rng.choice(4, len(NOTHING), p=[0.4, 0.3, 0.2, 0.1]), 1 / 4),
        (rng.choice(2, len(NOTHING), p=[0.8, 0.2]), 1 / 2),
        ((rng.random((len(NOTHING), 3)) < [0.1, 0.5, 0.7]).astype(int), 1 / 2),
    ):
        frequencies = y.mean(axis=0) if y.ndim == 2 else np.bincount(y) / len(y)
        estimator = MLPClassifier(**settings, **CONSTANT, random_state=0).fit(NOTHING, y)
        expected = frequencies * (1 - smoothing) + smoothing * evenly
        np.testing.assert_allclose(estimator.predict_proba(NOTHING[:1])[0], expected, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_label_smoothing_and_early_stopping(task, device):
    """Validation counts the rows whose labels are right, smoothed or not."""
    X, y, _ = TASKS[task].data()
    settings = {"early_stopping": True, "random_state": 0, "max_iter": 2, "device": device}
    hard = MLPClassifier(**settings).fit(X, y)
    smooth = MLPClassifier(**settings, label_smoothing=1e-9).fit(X, y)
    assert smooth.validation_scores_ == hard.validation_scores_
    assert smooth.loss_ != hard.loss_
