"""scikit-learn both ways: taken over, made of ours, in each other's place, and saved by skops."""

import pickle

import numpy as np
import pytest
import sklearn.neural_network as sk
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tasks import TASKS, assert_same_fit, outputs

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, optimizers, schedules

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NUMPY = {"device": "reference", "random_state": 0}
SETTINGS = {
    "adam": {"beta_1": 0.8},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0.5},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "nesterovs_momentum": False},
}
SMALL = {"hidden_layer_sizes": (5,), "activation": "tanh", "random_state": 0, "batch_size": 16}


def stepped(estimator, X, y, times=1):
    known = {} if hasattr(estimator, "coefs_") or y.dtype == float else {"classes": classes_of(y)}
    for _ in range(times):
        estimator.partial_fit(X, y, **known)
        known = {}
    return estimator


def classes_of(y):
    return np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)


# ---- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SETTINGS)
def test_both_ways_go_on_as_scikit_learn_does(task, name):
    """Three epochs there, then three there, three here, and three there again after a visit."""
    X, y, _ = TASKS[task].data()
    theirs = stepped(TASKS[task].theirs(**SMALL | SETTINGS[name]), X, y, 3)
    before = pickle.dumps(theirs)
    ours = fastmlp.from_sklearn(theirs).set_params(device="reference")
    back = ours.to_sklearn()
    assert pickle.dumps(theirs) == before
    assert type(back) is type(theirs)
    assert set(vars(back)) >= set(vars(theirs)) - {"_random_state"}
    assert_same_fit(ours, theirs, X, rtol=1e-12, atol=1e-12)
    stepped(theirs, X, y, 3)
    for other in (ours, back):
        assert_same_fit(stepped(other, X, y, 3), theirs, X, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("task", ["binary", "squared_error"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_warm_starts_go_on(task, early_stopping):
    X, y, _ = TASKS[task].data()
    settings = SMALL | {"warm_start": True, "max_iter": 4, "early_stopping": early_stopping}
    theirs = TASKS[task].theirs(**settings).fit(X, y)
    ours = fastmlp.from_sklearn(theirs).set_params(device="reference")
    assert (ours.best_iteration_ is not None) == early_stopping
    back = ours.to_sklearn()
    theirs.fit(X, y)
    for other in (ours, back):
        assert_same_fit(other.fit(X, y), theirs, X, rtol=1e-8, atol=1e-10)


def test_lbfgs_and_float32():
    X, y, _ = TASKS["multiclass"].data(np.float32)
    single = stepped(sk.MLPClassifier((4,), random_state=0), X, y)
    assert fastmlp.from_sklearn(single).to_sklearn().coefs_[0].dtype == np.float32
    theirs = sk.MLPClassifier((4,), solver="lbfgs", max_iter=5, random_state=0).fit(X, y)
    ours = fastmlp.from_sklearn(theirs)
    assert [weights.dtype for weights in ours.coefs_] == [a.dtype for a in theirs.coefs_]
    for other in (ours.set_params(device="reference"), ours.to_sklearn()):
        assert_allclose(outputs(other, X), outputs(theirs, X), rtol=1e-5)
        assert not hasattr(other, "_optimizer")


def test_what_scikit_learn_does_not_record_is_unknown():
    X, y, _ = TASKS["binary"].data()
    theirs = sk.MLPClassifier((3,), solver="sgd", learning_rate="adaptive", max_iter=3)
    ours = fastmlp.from_sklearn(theirs.set_params(early_stopping=True).fit(X, y))
    assert np.isnan(ours.learning_rates_).tolist() == [True] * 3
    assert np.isnan(ours.validation_loss_curve_).tolist() == [True] * 3
    assert (
        fastmlp.from_sklearn(sk.MLPRegressor(max_iter=2).fit(X, X)).learning_rates_ == [0.001] * 2
    )


def test_solver_objects_become_scikit_learns_parameters():
    ours = MLPRegressor(solver=optimizers.SGD(momentum=0.3, nesterov=False), **NUMPY)
    theirs = ours.partial_fit([[0.0], [1.0]], [0.0, 1.0]).to_sklearn()
    assert (theirs.solver, theirs.momentum, theirs.nesterovs_momentum) == ("sgd", 0.3, False)
    assert theirs._optimizer.momentum == 0.3


def test_a_solver_that_was_set_later_does_not_change_the_one_in_use():
    X, y, _ = TASKS["binary"].data()
    theirs = stepped(sk.MLPClassifier(**SMALL), X, y).set_params(solver="sgd", beta_1=0.5)
    ours = fastmlp.from_sklearn(theirs).set_params(device="reference")
    assert ours._optimizer.rule == optimizers.Adam()
    assert type(ours.to_sklearn()._optimizer) is type(theirs._optimizer)


# ---- what scikit-learn lacks --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"activation": "swish"}, "activation="),
        ({"activation": ["tanh", "relu"], "hidden_layer_sizes": (2, 2)}, "activation="),
        ({"output_activation": "softplus"}, "output_activation=Softplus"),
    ],
)
def test_networks_that_scikit_learn_lacks(settings, named):
    ours = MLPRegressor(**NUMPY | settings).partial_fit([[0.0], [1.0]], [0.0, 1.0])
    for training in (True, False):
        with pytest.raises(ValueError, match=f"lacks what this network has: {named}"):
            ours.to_sklearn(training=training)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"solver": "lion"}, "solver='lion'; an optimiser that goes on with Lion"),
        ({"loss": "huber"}, r"loss=Huber\(delta=1.0\)"),
        ({"loss": "poisson", "output_activation": "logistic"}, "output_activation=Logistic"),
        ({"dropout": 0.1, "l1": 0.01}, "dropout=0.1; l1=0.01"),
        ({"weight_init": "he_normal"}, "weight_init='he_normal'"),
        ({"learning_rate": schedules.Cosine()}, "learning_rate=Cosine"),
        ({"averaging": "ema"}, "averaging='ema'; an average of weights"),
    ],
)
def test_training_that_scikit_learn_lacks(settings, named):
    X = np.array([[0.0], [1.0]])
    ours = MLPRegressor(**NUMPY | settings).partial_fit(X, [0.0, 1.0])
    with pytest.raises(ValueError, match=rf"lacks what .*{named}.*to_sklearn\(training=False\)"):
        ours.to_sklearn()
    theirs = ours.to_sklearn(training=False)
    assert_allclose(theirs.predict(X), ours.predict(X), rtol=1e-12)
    clone(theirs).fit(X, [0.0, 1.0])


def test_only_scikit_learns_networks_are_taken_over():
    for wrong in (MLPRegressor(), object()):
        with pytest.raises(TypeError, match=r"sklearn\.neural_network, got"):
            fastmlp.from_sklearn(wrong)
    theirs = sk.MLPRegressor().fit([[0.0], [1.0]], [0.0, 1.0])
    with pytest.raises(ValueError, match="'alpha' parameter"):
        fastmlp.from_sklearn(theirs.set_params(alpha=-1))


# ---- in scikit-learn's place --------------------------------------------------------------------


def test_the_patch_is_taken_back():
    theirs = sk.MLPClassifier, sk.MLPRegressor
    for _ in range(2):
        fastmlp.patch_sklearn()
        assert (sk.MLPClassifier, sk.MLPRegressor) == (MLPClassifier, MLPRegressor)
    for _ in range(2):
        fastmlp.unpatch_sklearn()
        assert (sk.MLPClassifier, sk.MLPRegressor) == theirs


def test_scikit_learns_own_go_on_while_they_are_replaced():
    X, y, _ = TASKS["binary"].data()
    theirs = sk.MLPClassifier((3,), max_iter=2).fit(X, y)
    content = pickle.dumps(theirs)
    fastmlp.patch_sklearn()
    try:
        assert type(pickle.loads(content)) is type(theirs)
        assert type(fastmlp.from_sklearn(theirs).to_sklearn()) is type(theirs)
    finally:
        fastmlp.unpatch_sklearn()


# ---- in other programs' files --------------------------------------------------------------------


@pytest.mark.slow  # skops takes seconds to import
@pytest.mark.parametrize("task", ["multiclass", "poisson"])
def test_skops_keeps_and_loads(task):
    skops = pytest.importorskip("skops.io", reason="skops saves estimators without pickle")
    X, y, _ = TASKS[task].data()
    estimator = stepped(TASKS[task].ours(**SMALL, device="reference"), X, y)
    content = skops.dumps(estimator)
    assert skops.get_untrusted_types(data=content)
    again = skops.loads(content, trusted=fastmlp.trusted_types())
    assert_array_equal(outputs(stepped(again, X, y), X), outputs(stepped(estimator, X, y), X))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # mlflow has its own
@pytest.mark.parametrize(
    "settings",
    [{"skops_trusted_types": fastmlp.trusted_types()}, {"serialization_format": "pickle"}],
)
def test_mlflow_logs_and_loads(settings, tmp_path, monkeypatch):
    pytest.importorskip("mlflow.sklearn", reason="mlflow's flavour of scikit-learn")
    import mlflow

    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    X, y, _ = TASKS["multiclass"].data()
    estimator = stepped(MLPClassifier(**SMALL, device="reference"), X, y)
    pipeline = make_pipeline(StandardScaler(), estimator).fit(X, y)
    with mlflow.start_run():
        # Requirements that are given need not be found out in a process of their own.
        uri = mlflow.sklearn.log_model(
            pipeline, name="network", pip_requirements=["fastmlp"], **settings
        ).model_uri
    again = mlflow.sklearn.load_model(uri)
    assert_array_equal(outputs(again, X), outputs(pipeline, X))
    assert_array_equal(mlflow.pyfunc.load_model(uri).predict(X), pipeline.predict(X))
    assert_array_equal(outputs(stepped(again[-1], X, y), X), outputs(stepped(estimator, X, y), X))
