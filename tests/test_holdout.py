"""Validation rows, given or held out: what is measured on them, and what it decides."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from designs import covering
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import (
    d2_pinball_score,
    get_scorer,
    log_loss,
    make_scorer,
    mean_poisson_deviance,
    mean_squared_error,
)
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from tasks import DEVICES, SPARSE_DEVICES, TASKS, outputs

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.losses import Quantile

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SETTINGS = {"hidden_layer_sizes": (5,), "random_state": 0, "max_iter": 4, "batch_size": 20}
NUMPY = SETTINGS | {"device": "reference"}
DTYPES = [np.float64, np.float32]


def halves(task, dtype=np.float64):
    """Arguments of fit: rows to train on, and as many to validate on, with weights."""
    X, y, weights = TASKS[task].data(dtype, rows=80)
    own = {"X_val": X[40:], "y_val": y[40:], "sample_weight_val": weights[40:]}
    return (X[:40], y[:40], weights[:40]), own


def assert_same_weights(one, other):
    for own, expected in zip(one.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(own, expected)


def mean_loss(task, fitted, X, y, weights):
    """The loss by scikit-learn's metrics."""
    predicted = outputs(fitted, X)
    if task == "multilabel":
        columns = zip(y.T, predicted.T, strict=True)
        return sum(log_loss(t, p, sample_weight=weights) for t, p in columns)
    if task in ("binary", "multiclass"):
        return log_loss(y, predicted, sample_weight=weights)
    if task == "poisson":
        return mean_poisson_deviance(y, predicted, sample_weight=weights) / 2
    return mean_squared_error(y, predicted, sample_weight=weights) / 2


# ---- what is measured ----------------------------------------------------------------------------


@covering("task, solver, device, dtype", TASKS, ["adam", "sgd", "lbfgs"], DEVICES, DTYPES)
def test_rows_are_only_recorded(dtype, device, task, solver):
    """Without early stopping they change nothing, and their last values are those of the fit."""
    train, own = halves(task, dtype)
    settings = SETTINGS | {"device": device, "solver": solver, "alpha": 0.1}
    fitted = TASKS[task].ours(**settings).fit(*train, **own)
    plain = TASKS[task].ours(**settings).fit(*train)
    assert_same_weights(fitted, plain)
    assert fitted.loss_ == plain.loss_
    rows = own["X_val"], own["y_val"], own["sample_weight_val"]
    epochs = fitted.n_iter_
    assert len(fitted.validation_loss_curve_) == len(fitted.validation_scores_) == epochs
    tolerance = {"rtol": 1e-4 if dtype == np.float32 else 1e-9}
    expected = mean_loss(task, fitted, *rows)
    np.testing.assert_allclose(fitted.validation_loss_curve_[-1], expected, **tolerance)
    np.testing.assert_allclose(fitted.validation_scores_[-1], fitted.score(*rows), **tolerance)
    assert fitted.best_iteration_ == 1 + np.argmax(fitted.validation_scores_)
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)
    assert plain.validation_loss_curve_ is plain.best_iteration_ is None
    assert getattr(plain, "validation_scores_", None) is None


@covering("task, device, dtype", TASKS, DEVICES, DTYPES)
def test_early_stopping_on_rows_of_its_own(dtype, device, task):
    """All rows are trained on, no share is drawn, and the weights are those of the best epoch."""
    train, own = halves(task, dtype)
    settings = SETTINGS | {"device": device, "max_iter": 12, "n_iter_no_change": 3}
    settings |= {"learning_rate_init": 0.1}
    stopped = TASKS[task].ours(**settings, early_stopping=True).fit(*train, **own)
    assert stopped.t_ == 40 * stopped.n_iter_
    short = TASKS[task].ours(**settings | {"max_iter": stopped.best_iteration_}).fit(*train)
    assert stopped.loss_curve_[: short.n_iter_] == short.loss_curve_
    assert_same_weights(stopped, short)
    assert stopped.best_loss_ is None
    assert stopped.best_validation_score_ == max(stopped.validation_scores_)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_random_share_has_a_loss_too(dtype, device):
    X, y, weights = TASKS["binary"].data(dtype)
    settings = SETTINGS | {"device": device, "early_stopping": True, "validation_fraction": 0.3}
    seen = []

    def scorer(estimator, X, y, sample_weight):
        seen.append((X, y, sample_weight, estimator.predict_proba(X)))
        return estimator.score(X, y, sample_weight)

    fitted = MLPClassifier(**settings).fit(X, y, weights)
    own = MLPClassifier(**settings, scoring=scorer).fit(X, y, weights)
    assert_same_weights(fitted, own)
    np.testing.assert_allclose(own.validation_scores_, fitted.validation_scores_, rtol=1e-6)
    assert own.validation_loss_curve_ == fitted.validation_loss_curve_
    assert len(seen) == fitted.n_iter_
    losses = [log_loss(y, p, sample_weight=w) for _, y, w, p in seen]
    np.testing.assert_allclose(fitted.validation_loss_curve_, losses, rtol=1e-5)
    assert seen[0][0].shape == (18, 7)
    assert seen[0][0].dtype == dtype


def test_class_weights_are_not_for_given_rows():
    train, own = halves("binary")
    plain = MLPClassifier(**NUMPY, early_stopping=True)
    weighted = clone(plain).set_params(class_weight={"yes": 1e-9}, learning_rate_init=1e-12)
    one, other = plain.set_params(learning_rate_init=1e-12).fit(*train, **own), None
    other = weighted.fit(*train, **own)
    np.testing.assert_allclose(one.validation_loss_curve_, other.validation_loss_curve_)
    np.testing.assert_allclose(one.validation_scores_, other.validation_scores_)


# ---- how it is scored ----------------------------------------------------------------------------

SCORERS = {
    "roc_auc": "binary",
    "neg_log_loss": "multiclass",
    "average_precision": "multilabel",
    "neg_mean_absolute_error": "several_outputs",
    "neg_mean_poisson_deviance": "poisson",
}


@covering("scoring, weighted, device, dtype", SCORERS, [False, True], DEVICES, DTYPES)
def test_any_scorer(dtype, device, scoring, weighted):
    (X, y, weights), own = halves(SCORERS[scoring], dtype)
    if not weighted:
        del own["sample_weight_val"]
    settings = SETTINGS | {"device": device, "learning_rate_init": 0.1, "max_iter": 8}
    settings |= {"early_stopping": True, "scoring": scoring}
    fitted = TASKS[SCORERS[scoring]].ours(**settings).fit(X, y, weights, **own)
    kept = {"sample_weight": own["sample_weight_val"]} if weighted else {}
    expected = get_scorer(scoring)(fitted, own["X_val"], own["y_val"], **kept)
    assert fitted.best_validation_score_ == pytest.approx(expected, rel=1e-5)
    assert fitted.best_validation_score_ == max(fitted.validation_scores_)


def test_a_scorer_sees_a_fitted_estimator():
    """It shares everything but its weights; the one that is fitted has none yet."""
    train, own = halves("binary")
    estimator, seen = MLPClassifier(**NUMPY, early_stopping=True), []

    def scorer(fitted, X, y, sample_weight):
        assert not hasattr(estimator, "coefs_")
        assert fitted.classes_ is estimator.classes_
        assert set(y) <= set(fitted.predict(X)) | set(fitted.classes_)
        seen.append(fitted.coefs_[0].copy())
        return len(seen)

    estimator.set_params(scoring=scorer).fit(*train, **own)
    assert len(seen) == estimator.n_iter_ == estimator.best_iteration_
    np.testing.assert_array_equal(seen[-1], estimator.coefs_[0])
    assert np.abs(seen[0] - seen[1]).max() > 0


@pytest.mark.parametrize("device", DEVICES)
def test_by_the_loss(device):
    """Less of it is better, by `tol` at least, and its best weights are kept."""
    train, own = halves("squared_error")
    settings = SETTINGS | {"device": device, "learning_rate_init": 0.3, "max_iter": 60}
    settings |= {"early_stopping": True, "scoring": "loss", "n_iter_no_change": 3}
    fitted = MLPRegressor(**settings).fit(*train, **own)
    losses = fitted.validation_loss_curve_
    assert fitted.validation_scores_ == [-loss for loss in losses]
    assert fitted.best_iteration_ == 1 + np.argmin(losses)
    assert fitted.best_iteration_ < fitted.n_iter_ < 60
    expected = mean_loss("squared_error", fitted, *own.values())
    assert min(losses) == pytest.approx(expected)
    hasty = MLPRegressor(**settings, tol=1e9).fit(*train, **own)
    assert hasty.n_iter_ == 5  # the first loss beats none at all, and three others are let pass
    by_score = MLPRegressor(**settings | {"scoring": None}).fit(*train, **own)
    assert by_score.validation_loss_curve_[: fitted.n_iter_] == losses[: by_score.n_iter_]


def test_quantiles():
    train, own = halves("squared_error")
    loss = Quantile((0.1, 0.9))

    def score(y, predicted, sample_weight):
        return d2_pinball_score(y, predicted[:, 1], alpha=0.9, sample_weight=sample_weight)

    fitted = MLPRegressor(loss, **NUMPY, early_stopping=True, scoring=make_scorer(score))
    fitted.fit(*train, **own)
    assert fitted.best_validation_score_ == score(
        own["y_val"], fitted.predict(own["X_val"]), own["sample_weight_val"]
    )


@pytest.mark.parametrize("scoring", [None, "loss", "r2"])
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_a_loss_that_is_not_finite_is_no_score(scoring):
    """And no metric that fails on such predictions is asked."""
    train, own = halves("squared_error")
    own["y_val"] = own["y_val"] + 1e200
    fitted = MLPRegressor(**NUMPY, early_stopping=True, scoring=scoring)
    fitted.set_params(learning_rate_init=1e-300).fit(*train, **own)
    assert np.isinf(fitted.validation_loss_curve_).all()
    if scoring == "r2":
        assert np.isnan(fitted.validation_scores_).all()


@pytest.mark.parametrize("scoring", [None, "r2"])
def test_scores_that_are_undefined_choose_no_weights(scoring):
    """R² of one row is not a number: the last weights are kept, not the initial ones."""
    train, own = halves("squared_error")
    one = {name: rows[:1] for name, rows in own.items()}
    fitted = MLPRegressor(**NUMPY, early_stopping=True, scoring=scoring)
    with pytest.warns(UserWarning, match=r"last weights are kept|not well-defined"):
        fitted.fit(*train, **one)
    assert_same_weights(fitted, MLPRegressor(**NUMPY).fit(*train))
    assert fitted.best_iteration_ is None


def test_what_fails_in_a_scorer_is_said_to_be_of_scoring():
    train, own = halves("multiclass")
    one = {name: rows[:1] for name, rows in own.items()}
    fitted = MLPClassifier(**NUMPY, early_stopping=True, scoring="neg_log_loss")
    with pytest.raises(ValueError, match="y_true contains only one label") as error:
        fitted.fit(*train, **one)
    assert "scoring='neg_log_loss'" in error.value.__notes__[0]


# ---- going on ------------------------------------------------------------------------------------


def test_warm_starts():
    train, own = halves("binary")
    estimator = MLPClassifier(**NUMPY, warm_start=True, early_stopping=True, tol=0)
    estimator.set_params(n_iter_no_change=99)
    for calls in (1, 2):
        estimator.fit(*train, **own)
        assert len(estimator.validation_loss_curve_) == len(estimator.loss_curve_) == 4 * calls
    assert estimator.best_iteration_ == 1 + np.argmax(estimator.validation_scores_)
    again = pickle.loads(pickle.dumps(estimator))
    assert again.best_iteration_ == estimator.best_iteration_
    estimator.set_params(scoring="loss").fit(*train, **own)  # scores of another kind
    assert estimator.validation_scores_ == [-loss for loss in estimator.validation_loss_curve_]
    assert len(estimator.validation_scores_) == 4
    assert 9 <= estimator.best_iteration_ <= 12
    estimator.set_params(early_stopping=False).fit(*train)
    assert estimator.validation_loss_curve_ is estimator.validation_scores_ is None
    assert estimator.best_iteration_ is None
    assert len(estimator.loss_curve_) == 16


def test_partial_fit_has_no_validation():
    train, own = halves("binary")
    estimator = MLPClassifier(**NUMPY, scoring="roc_auc").fit(*train, **own)
    estimator.partial_fit(*train)
    assert estimator.validation_loss_curve_ is estimator.best_iteration_ is None


# ---- forms of the rows ---------------------------------------------------------------------------


@covering(
    "form, form_val, scoring, device",
    [np.asarray, sparse.csr_matrix, sparse.csc_array],
    [np.asfortranarray, sparse.csr_array, sparse.coo_matrix],
    [None, "r2"],
    SPARSE_DEVICES,
)
def test_sparse_and_dense(device, scoring, form_val, form):
    (X, y, _), own = halves("several_outputs")
    settings = SETTINGS | {"device": device, "early_stopping": True, "scoring": scoring}
    expected = MLPRegressor(**settings).fit(X, y, X_val=own["X_val"], y_val=own["y_val"])
    X_val = form_val(own["X_val"].astype(np.float32 if form_val is sparse.coo_matrix else float))
    fitted = MLPRegressor(**settings).fit(form(X), y, X_val=X_val, y_val=own["y_val"].tolist())
    np.testing.assert_allclose(fitted.validation_loss_curve_, expected.validation_loss_curve_, 1e-6)
    np.testing.assert_allclose(fitted.validation_scores_, expected.validation_scores_, 1e-5)


@pytest.mark.parametrize("scoring", [None, "roc_auc"])
def test_names_of_features(scoring):
    (X, y, _), own = halves("binary")
    names = list("abcdefg")
    frames = [pd.DataFrame(rows, columns=names) for rows in (X, own["X_val"])]
    estimator = MLPClassifier(**NUMPY, early_stopping=True, scoring=scoring)
    estimator.fit(frames[0], pd.Series(y), X_val=frames[1], y_val=pd.Series(own["y_val"]))
    assert estimator.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.fit(frames[0], y, X_val=frames[1][names[::-1]], y_val=own["y_val"])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        estimator.fit(frames[0], y, X_val=own["X_val"], y_val=own["y_val"])


def test_sparse_labels():
    (X, y, _), own = halves("multilabel")
    settings = NUMPY | {"early_stopping": True, "scoring": "f1_macro"}
    dense = MLPClassifier(**settings).fit(X, y, X_val=own["X_val"], y_val=own["y_val"])
    y_val = sparse.csc_matrix(own["y_val"])
    fitted = MLPClassifier(**settings).fit(X, sparse.csr_matrix(y), X_val=own["X_val"], y_val=y_val)
    assert fitted.validation_scores_ == dense.validation_scores_
    shared = MLPClassifier(**settings).fit(X, sparse.csr_matrix(y))
    assert shared.validation_scores_ == MLPClassifier(**settings).fit(X, y).validation_scores_


# ---- what is wrong -------------------------------------------------------------------------------

WRONG = [
    ("binary", {"y_val": None}, "X_val is provided, but y_val was not provided."),
    ("binary", {"X_val": None}, "y_val is provided, but X_val was not provided."),
    (
        "binary",
        {"X_val": None, "y_val": None},
        "sample_weight_val is provided, but X_val and y_val",
    ),
    ("binary", {"X_val": np.ones((40, 3))}, "X has 3 features, but MLPClassifier is expecting 7"),
    ("binary", {"X_val": np.full((40, 7), np.nan)}, "Input X contains NaN"),
    ("binary", {"X_val": np.ones(40)}, "Expected 2D array, got 1D array"),
    ("binary", {"X_val": np.ones((39, 7))}, "inconsistent numbers of samples"),
    ("binary", {"y_val": ["maybe"] * 40}, "`y_val` has classes not in `self.classes_`"),
    ("binary", {"y_val": np.arange(40)}, "`y_val` has classes not in `self.classes_`|Mix of"),
    ("binary", {"sample_weight_val": np.ones(39)}, r"sample_weight.shape == \(39,\), expected"),
    ("binary", {"sample_weight_val": np.full(40, np.nan)}, "sample_weight contains NaN"),
    ("binary", {"sample_weight_val": np.zeros(40)}, "must contain at least one non-zero"),
    ("multilabel", {"y_val": np.ones(40, int)}, "expected an indicator matrix of labels"),
    ("multilabel", {"y_val": np.ones((40, 2), int)}, "invalid"),
    ("multiclass", {"y_val": np.ones((40, 2), int)}, "invalid"),
    ("squared_error", {"y_val": np.ones((40, 2))}, r"y_val has 2 output\(s\), but y has 1"),
    ("squared_error", {"y_val": np.full(40, np.nan)}, "Input y contains NaN"),
    ("poisson", {"y_val": -np.ones(40)}, "must be at least 0, got -1"),
]


@pytest.mark.parametrize(("task", "wrong", "message"), WRONG)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_wrong_rows(solver, task, wrong, message):
    train, own = halves(task)
    estimator = TASKS[task].ours(**NUMPY, early_stopping=True, solver=solver)
    before = pickle.dumps(vars(estimator))
    with pytest.raises(ValueError, match=message):
        estimator.fit(*train, **own | wrong)
    assert pickle.dumps(vars(estimator)) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("accurate", "'scoring' parameter of MLPClassifier must be a str among"),
        (3, "'scoring' parameter of MLPClassifier must be"),
        (lambda estimator, X, y, sample_weight: "much", "could not convert string to float"),
    ],
)
def test_wrong_scoring(wrong, message):
    train, own = halves("binary")
    estimator = MLPClassifier(**NUMPY, early_stopping=True, scoring=wrong)
    with pytest.raises(ValueError, match=message):
        estimator.fit(*train, **own)
    assert not hasattr(estimator, "coefs_")


# ---- in scikit-learn's tools ---------------------------------------------------------------------


def test_in_a_pipeline():
    train, own = halves("binary")
    scaler = StandardScaler()
    alone = MLPClassifier(**NUMPY, early_stopping=True)
    X = scaler.fit_transform(train[0])
    alone.fit(X, train[1], X_val=scaler.transform(own["X_val"]), y_val=own["y_val"])
    with sklearn.config_context(enable_metadata_routing=True):
        network = clone(alone).set_fit_request(X_val=True, y_val=True)
        model = Pipeline([("scale", scaler), ("fit", network)], transform_input=["X_val"])
        model.fit(*train[:2], X_val=own["X_val"], y_val=own["y_val"])
    assert_same_weights(model[-1], alone)
    assert model[-1].validation_loss_curve_ == alone.validation_loss_curve_


def test_groups_can_be_kept_together():
    X, y, _ = TASKS["squared_error"].data()
    groups = np.arange(60) // 6
    train, validation = next(GroupKFold(5).split(X, y, groups))
    estimator = MLPRegressor(**NUMPY, early_stopping=True, scoring="loss")
    estimator.fit(X[train], y[train], X_val=X[validation], y_val=y[validation])
    assert estimator.t_ == len(train) * estimator.n_iter_


# ---- left alone ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scoring", ["loss", "roc_auc"])
def test_without_validation_a_scorer_changes_nothing(scoring):
    train, _ = halves("binary")
    one = MLPClassifier(**NUMPY, scoring=scoring).fit(*train)
    assert_same_weights(one, MLPClassifier(**NUMPY).fit(*train))
    assert one.validation_scores_ is None


def test_pickles_of_versions_without_these_parameters():
    train, _ = halves("binary")
    estimator = MLPClassifier(**NUMPY).fit(*train)
    state = estimator.__getstate__()
    assert state is not vars(estimator)
    own = "class_weight", "scoring", "averaging", "averaging_decay", "averaging_start"
    for name in (*own, "validation_loss_curve_", "best_iteration_", "_last_weights", "_scored_by"):
        del state[name]
    other = MLPClassifier.__new__(MLPClassifier)
    other.__setstate__(state)
    assert other.get_params() == estimator.get_params()
    assert_same_weights(other.partial_fit(*train), estimator.partial_fit(*train))
