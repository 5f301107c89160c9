"""Averages of the weights over epochs: predictions use them, training does not."""

import pickle

import numpy as np
import pytest
from designs import covering
from sklearn.base import clone
from tasks import DEVICES, TASKS, outputs

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.displays import GradientFlowDisplay
from fastmlp.training import Averaging, Weights

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {"hidden_layer_sizes": (5,), "random_state": 0, "max_iter": 6, "batch_size": 20}
NUMPY = SETTINGS | {"device": "reference"}
DTYPES = [np.float64, np.float32]
EMA, SWA = {"averaging": "ema", "averaging_decay": 0.7}, {"averaging": "swa"}


def packed(estimator):
    return np.concatenate([part.ravel() for part in (*estimator.coefs_, *estimator.intercepts_)])


def after_each_epoch(estimator, X, y, epochs):
    """The weights of fits of 1, 2, ... epochs without averaging."""
    plain = clone(estimator).set_params(averaging=None, n_iter_no_change=99)
    return [packed(plain.set_params(max_iter=1 + epoch).fit(X, y)) for epoch in range(epochs)]


def ema(weights, decay):
    shares = decay ** np.arange(len(weights))[::-1]
    return shares @ np.array(weights, float) / shares.sum()


# ---- the formula ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("decay", "first"), [(0.7, 1), (0.0, 1), (1.0, 1), (1.0, 4), (1.0, 9)])
def test_average(decay, first, dtype):
    rng = np.random.default_rng(0)
    trained = list(rng.standard_normal((7, 5)).astype(dtype))
    start = Weights(np.zeros(5, dtype), np.zeros(5, dtype))
    averaging, states = Averaging(start, decay, first), []
    for epoch, weights in enumerate(trained, start=1):
        states.append(averaging.after_epoch(weights, epoch))
        averaged = trained[first - 1 : epoch] or [weights]
        tolerance = 1e-12 if dtype == np.float64 else 1e-5
        np.testing.assert_allclose(states[-1].averaged, ema(averaged, decay), tolerance, 1e-6)
        assert states[-1].averaged.dtype == dtype
        assert states[-1].trained is weights
    for state, weights in zip(states, trained, strict=True):
        assert state.trained is weights  # no state is changed by a later one


# ---- fits ----------------------------------------------------------------------------------------


@covering("task, solver, device, dtype", TASKS, ["adam", "sgd"], DEVICES, DTYPES)
def test_a_fit_predicts_with_the_average(dtype, device, task, solver):
    X, y, _ = TASKS[task].data(dtype)
    settings = SETTINGS | {"solver": solver, "device": device}
    plain = TASKS[task].ours(**settings)
    weights = after_each_epoch(plain, X, y, 6)
    tolerance = {"rtol": 1e-9} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-6}
    for averaging, expected in (
        (EMA, ema(weights, 0.7)),
        (SWA, np.mean(weights[4:], axis=0)),  # 0.75 of six epochs, rounded down, are left out
        (SWA | {"averaging_start": 2}, np.mean(weights[1:], axis=0)),
        (SWA | {"averaging_start": 0.0}, np.mean(weights, axis=0)),
        (SWA | {"averaging_start": 7}, weights[-1]),
        (EMA | {"averaging_decay": 0.0}, weights[-1]),
    ):
        fitted = clone(plain).set_params(**averaging).fit(X, y)
        np.testing.assert_allclose(packed(fitted), expected, **tolerance)
        assert packed(fitted).dtype == dtype
        assert fitted.loss_curve_ == plain.fit(X, y).loss_curve_
        row = fitted.compiled_predictor()(X[:1])
        np.testing.assert_allclose(np.ravel(row), np.ravel(outputs(fitted, X[:1])), rtol=1e-5)


@pytest.mark.parametrize("averaging", [EMA, SWA | {"averaging_start": 1}], ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_early_stopping_scores_the_average(device, averaging):
    """And keeps it as it was in the best epoch."""
    X, y, _ = TASKS["squared_error"].data(rows=80)
    settings = SETTINGS | averaging | {"device": device, "learning_rate_init": 0.3}
    settings |= {"scoring": "loss", "early_stopping": True, "max_iter": 40, "n_iter_no_change": 3}
    own = {"X_val": X[40:], "y_val": y[40:]}
    fitted = MLPRegressor(**settings).fit(X[:40], y[:40], **own)
    assert fitted.best_iteration_ < fitted.n_iter_
    weights = after_each_epoch(
        fitted.set_params(early_stopping=False), X[:40], y[:40], fitted.n_iter_
    )
    decay = 0.7 if averaging is EMA else 1.0
    np.testing.assert_allclose(packed(fitted), ema(weights[: fitted.best_iteration_], decay))
    loss = np.mean((fitted.predict(X[40:]) - y[40:]) ** 2) / 2
    assert min(fitted.validation_loss_curve_) == pytest.approx(loss)
    again = pickle.loads(pickle.dumps(fitted)).set_params(warm_start=True, averaging=None)
    again.set_params(max_iter=1, learning_rate_init=1e-12, solver="sgd").fit(X[:40], y[:40])
    np.testing.assert_allclose(packed(again), weights[fitted.best_iteration_ - 1], rtol=1e-6)


@pytest.mark.parametrize("averaging", [EMA, SWA | {"averaging_start": 3}], ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_partial_fits_average_as_one_fit(device, averaging):
    """Training goes on from the weights, not from their average; also after pickling."""
    X, y, _ = TASKS["multiclass"].data()
    settings = SETTINGS | averaging | {"device": device, "shuffle": False}
    one = MLPClassifier(**settings).fit(X, y)
    several = MLPClassifier(**settings)
    for _ in range(6):
        several = pickle.loads(pickle.dumps(several.partial_fit(X, y, classes=[0, 10, 20])))
        several.predict(X)
    np.testing.assert_array_equal(packed(several), packed(one))
    assert several.loss_curve_ == one.loss_curve_


def test_warm_starts_go_on_from_the_weights():
    X, y, _ = TASKS["binary"].data()
    averaged = MLPClassifier(**NUMPY, **EMA, warm_start=True)
    plain = MLPClassifier(**NUMPY, warm_start=True)
    for _ in range(2):
        averaged.fit(X, y)
        plain.fit(X, y)
        assert averaged.loss_curve_ == plain.loss_curve_
        assert np.abs(packed(averaged) - packed(plain)).max() > 0
    averaged.set_params(averaging=None).fit(X, y)  # ends it
    np.testing.assert_array_equal(packed(averaged), packed(plain.fit(X, y)))
    assert averaged._last_weights is None


@pytest.mark.parametrize("in_place", [False, True])
def test_weights_set_by_hand_are_gone_on_from(in_place):
    X, y, _ = TASKS["binary"].data()
    estimator = MLPClassifier(**NUMPY, **EMA).fit(X, y)
    other = pickle.loads(pickle.dumps(estimator))
    if in_place:
        estimator.coefs_[0][:] = 0
    else:
        estimator.coefs_ = [np.zeros_like(estimator.coefs_[0]), estimator.coefs_[1]]
    estimator.set_params(solver="sgd", learning_rate_init=1e-12, warm_start=True).fit(X, y)
    assert np.abs(estimator.coefs_[0]).max() < 1e-6
    other.fit(X, y)
    assert np.abs(other.coefs_[0]).max() > 1e-3


def test_without_an_epoch_the_average_stays(monkeypatch):
    from fastmlp.devices.reference import ReferenceDevice

    def interrupted(self, *data):
        raise KeyboardInterrupt

    X, y, _ = TASKS["binary"].data()
    estimator = MLPClassifier(**NUMPY, **EMA, warm_start=True).fit(X, y)
    before, trained = packed(estimator), estimator._last_weights.trained
    monkeypatch.setattr(ReferenceDevice, "train", interrupted)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        estimator.fit(X, y)
    np.testing.assert_array_equal(packed(estimator), before)
    np.testing.assert_array_equal(estimator._last_weights.trained, trained)


@pytest.mark.parametrize("own", [{"averaging_decay": 0.1}, {"averaging_start": 1}])
def test_left_alone_it_changes_nothing(own):
    X, y, _ = TASKS["binary"].data()
    one, other = MLPClassifier(**NUMPY, **own).fit(X, y), MLPClassifier(**NUMPY).fit(X, y)
    np.testing.assert_array_equal(packed(one), packed(other))
    assert one._last_weights is None


def test_gradients_flow_at_the_weights():
    pytest.importorskip("matplotlib", reason="displays need matplotlib").use("Agg")
    X, y, _ = TASKS["binary"].data()
    draw = GradientFlowDisplay.from_estimator
    flows = [draw(MLPClassifier(**NUMPY, **own), X, y, epochs=3).norms for own in ({}, EMA)]
    np.testing.assert_array_equal(*flows)
