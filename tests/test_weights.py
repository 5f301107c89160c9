"""Rows without weight: a batch or a validation share of them changes nothing and counts nothing."""

import numpy as np
import pytest
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
)
from tasks import DEVICES, TASKS

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.estimators import holdout

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
SETTINGS = {"hidden_layer_sizes": (5,), "random_state": 0, "shuffle": False, "batch_size": 10}
ROWS = [1, 2, 3, 9, 10, 11, 19, 20, 21, 199, 200, 201, 401]


@pytest.mark.compiled
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(
    "ensemble", [BaggingRegressor, AdaBoostRegressor, BaggingClassifier, AdaBoostClassifier]
)
def test_ensembles_work_on_any_number_of_rows(ensemble, rows):
    rng = np.random.default_rng(rows)
    X = rng.standard_normal((rows, 4))
    regression = ensemble.__name__.endswith("Regressor")
    y = X[:, 0] if regression else X[:, 0] > np.median(X[:, 0])
    if not regression and rows == 1:
        pytest.skip("these classifiers want two classes")
    # AdaBoost gives up where a classifier is worse than guessing.
    settings = {"max_iter": 30, "learning_rate_init": 0.05}
    estimator = (MLPRegressor if regression else MLPClassifier)(
        hidden_layer_sizes=(20,), **settings
    )
    fitted = ensemble(estimator, n_estimators=5, random_state=0).fit(X, y)
    assert np.isfinite(fitted.predict(X)).all()


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("limit", [{}, {"clip_norm": 0.1}, {"max_norm": 0.5}, {"dropout": 0.5}])
@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_without_weight_is_as_if_it_were_not_there(device, limit, solver):
    X, y, weights = TASKS["squared_error"].data(rows=37)
    weights[10:20] = weights[30:] = 0
    settings = SETTINGS | limit | {"solver": solver, "max_iter": 3, "device": device, "alpha": 0.1}
    fitted = MLPRegressor(**settings).fit(X, y, weights)
    kept = [*range(10), *range(20, 30)]
    expected = MLPRegressor(**settings).fit(X[kept], y[kept], weights[kept])
    for own, other in zip(fitted.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(own, other)
    assert fitted.loss_curve_ == expected.loss_curve_
    assert fitted._optimizer.step == expected._optimizer.step == 6


@pytest.mark.parametrize("device", DEVICES)
def test_weights_that_cancel_out_are_an_error(device):
    """They have a sum of zero, but not each of them: the mean is not defined."""
    X, y, weights = TASKS["squared_error"].data(rows=20)
    weights[:10] = [1, -1] * 5
    with pytest.raises(ZeroDivisionError, match="Weights sum to zero, can't be normalized"):
        MLPRegressor(**SETTINGS, device=device).fit(X, y, weights)


@pytest.fixture
def held_out(monkeypatch):
    """The rows that fits have held out, one array for each fit."""
    noted, split = [], holdout.held_out

    def note(estimator, rows, random_state):
        parts = split(estimator, rows, random_state)
        noted.append(parts[1])
        return parts

    monkeypatch.setattr(holdout, "held_out", note)
    return noted


@pytest.mark.parametrize("task", ["binary", "multiclass", "squared_error"])
@pytest.mark.parametrize("device", DEVICES)
def test_a_validation_share_without_weight(device, task, held_out):
    """There is no score to stop by: all epochs are trained, and the last weights are kept."""
    X, y, _ = TASKS[task].data(rows=60)
    settings = {"hidden_layer_sizes": (5,), "random_state": 0, "early_stopping": True}
    settings |= {"n_iter_no_change": 2, "tol": 1.0, "device": device}
    stopped = TASKS[task].ours(**settings, max_iter=15).fit(X, y)
    assert stopped.n_iter_ < 15
    weights = np.ones(60)
    weights[held_out[0]] = 0
    fitted = TASKS[task].ours(**settings, max_iter=15).fit(X, y, weights)
    assert fitted.n_iter_ == len(fitted.loss_curve_) == 15
    assert np.isnan(fitted.validation_scores_).all()
    assert np.isnan(fitted.validation_loss_curve_).all()
    assert fitted.best_iteration_ is None
    first = TASKS[task].ours(**settings, max_iter=1, learning_rate_init=1e-300).fit(X, y)
    assert np.abs(fitted.coefs_[0] - first.coefs_[0]).min() > 0


@pytest.mark.parametrize("device", DEVICES)
def test_only_rows_without_weight_to_train_on(device, held_out):
    X, y, _ = TASKS["squared_error"].data(rows=20)
    settings = SETTINGS | {"early_stopping": True, "max_iter": 2, "device": device}
    MLPRegressor(**settings).fit(X, y)
    weights = np.zeros(20)
    weights[held_out[0]] = 1
    estimator = MLPRegressor(**settings)
    with pytest.raises(ValueError, match="All rows that are left to train on have weight 0"):
        estimator.fit(X, y, weights)
    assert not hasattr(estimator, "coefs_")
