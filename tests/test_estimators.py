"""The estimators beyond the trajectory: parameters, wrong input, interruption, persistence."""

import inspect
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.neural_network as sk
from designs import named
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tasks import DEVICES, TASKS, outputs

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.activations import Maxout, Softmax, Swish
from fastmlp.losses import BinaryLogLoss, LogLoss, Quantile

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Where the device makes no difference, the one that compiles nothing serves.
NUMPY = {"device": "reference", "random_state": 0, "max_iter": 3, "hidden_layer_sizes": 4}
PAIRS = [(MLPClassifier, sk.MLPClassifier), (MLPRegressor, sk.MLPRegressor)]


def state(estimator):
    return pickle.dumps(vars(estimator))


#: First weights with one that is no number.
HOLES = [np.array([[np.nan], [0.0]])], [np.zeros(1)]
#: Parameters that scikit-learn's classes do not have, and the classifier's besides.
OWN = {
    "output_activation": None,
    "weight_init": "glorot",
    "l1": 0.0,
    "weight_decay": 0.0,
    "clip_norm": None,
    "max_norm": None,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "scoring": None,
    "averaging": None,
    "averaging_decay": 0.9,
    "averaging_start": 0.75,
    "device": "auto",
    "precision": "float32",
    "n_jobs": None,
}
CLASSIFIERS_OWN = {"loss": "log_loss", "label_smoothing": 0.0, "class_weight": None}

#: Parameters that `fit` has besides, spelled as those of HistGradientBoosting.
VALIDATION = ("X_val", "y_val", "sample_weight_val")


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_same_face(ours, theirs):
    """Same parameters in the same order with the same defaults, and ours at the end by keyword."""

    def parameters(function):
        found = inspect.signature(function).parameters.values()
        return [(p.name, p.kind, p.default) for p in found]

    more = CLASSIFIERS_OWN | OWN if ours is MLPClassifier else OWN
    own, expected = parameters(ours), parameters(theirs)
    assert own[: -len(more)] == expected
    keyword = inspect.Parameter.KEYWORD_ONLY
    assert own[-len(more) :] == [(name, keyword, default) for name, default in more.items()]
    public = {name for name in dir(theirs) if not name.startswith("_")}
    assert public <= {name for name in dir(ours) if not name.startswith("_")}
    for name in public & {"fit", "partial_fit", "predict", "predict_proba", "score"}:
        expected = parameters(getattr(theirs, name))
        if name == "fit":
            expected += [(name, keyword, None) for name in VALIDATION]
        assert parameters(getattr(ours, name)) == expected
    assert clone(ours(alpha=3)).get_params() == theirs(alpha=3).get_params() | more
    assert repr(ours(alpha=3)) == repr(theirs(alpha=3))
    assert "alpha" in ours(alpha=3)._repr_html_()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_layer_sizes": 0},
        {"hidden_layer_sizes": (3, -1)},
        {"activation": "sine"},
        {"solver": "newton"},
        {"alpha": -1},
        {"alpha": "much"},
        {"batch_size": 0},
        {"learning_rate": "fast"},
        {"learning_rate_init": 0},
        {"power_t": -0.1},
        {"max_iter": 0},
        {"shuffle": 1},
        {"random_state": np.random.default_rng(0)},
        {"tol": -1},
        {"verbose": -1},
        {"warm_start": "yes"},
        {"momentum": 1.5},
        {"nesterovs_momentum": 0.5},
        {"early_stopping": None},
        {"early_stopping": True, "validation_fraction": 1.0},
        {"early_stopping": True, "validation_fraction": 0.01},
        {"beta_1": 1.0},
        {"beta_2": -0.1},
        {"epsilon": 0},
        {"n_iter_no_change": 0},
        {"max_fun": 0},
    ],
    ids=named,
)
def test_wrong_parameters(ours, theirs, wrong):
    X, y = np.ones((30, 2)), np.arange(30) % 3
    messages = []
    for make in (ours, theirs):
        estimator = make(**wrong)
        before = state(estimator)
        with pytest.raises((ValueError, TypeError)) as error:
            estimator.fit(X, y)
        messages.append(str(error.value))
        if make is ours:
            assert state(estimator) == before
            assert not hasattr(estimator, "n_features_in_")
    options = re.compile(r"\{.*\}")  # a set of options has no order
    assert options.sub("", messages[0]) == options.sub("", messages[1])


def test_validation_can_be_skipped():
    with sklearn.config_context(skip_parameter_validation=True):
        fitted = MLPRegressor(**NUMPY, tol=-1).fit(np.eye(6), np.arange(6.0))
    assert fitted.n_iter_ == 3


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_precision_is_a_permission_for_auto_alone():
    """A device chosen by name is never replaced, nor is what it was asked for."""
    X, y = np.arange(10, dtype=np.float32).reshape(5, 2), np.arange(5, dtype=np.float32)
    for name in ("cpu", "reference"):
        with pytest.raises(ValueError, match="precision='tf32' here: that needs"):
            MLPRegressor(device=name, precision="tf32").fit(X, y)
    settings = {"max_iter": 1, "random_state": 0}
    plain, permitted = (
        MLPRegressor(precision=precision, **settings).fit(X, y) for precision in ("float32", "bf16")
    )
    np.testing.assert_array_equal(plain.coefs_[0], permitted.coefs_[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"device": "tpu"}, "'device' parameter of MLPRegressor must be a str among"),
        ({"device": 3}, "'device' parameter of MLPRegressor must be"),
        ({"precision": "fp8"}, "'precision' parameter of MLPRegressor must be a str among"),
        ({"precision": "tf32"}, "is for float32, and X is float64: pass X.astype"),
        ({"n_jobs": 0}, "'n_jobs' parameter of MLPRegressor must be"),
        ({"n_jobs": 1.5}, "'n_jobs' parameter of MLPRegressor must be"),
        ({"activation": 3}, "'activation' parameter of MLPRegressor must be"),
        ({"activation": ["relu", "tanh"]}, "activation has 2 entries, expected one for each of 1"),
        ({"activation": ["sine"]}, "Unknown activation of hidden layers: 'sine'"),
        ({"activation": Softmax()}, "Unknown activation of hidden layers: Softmax"),
        ({"output_activation": "sine"}, "'output_activation' parameter .* must be a str among"),
        ({"output_activation": "maxout"}, "'output_activation' parameter .* must be a str among"),
        ({"output_activation": Maxout()}, "Unknown activation of outputs: Maxout"),
        ({"output_activation": 1}, "'output_activation' parameter of MLPRegressor must be"),
        ({"output_activation": "softmax"}, "Softmax needs several outputs"),
        ({"loss": "sum"}, "'loss' parameter of MLPRegressor must be a str among"),
        ({"loss": "log_loss"}, "'loss' parameter of MLPRegressor must be a str among"),
        ({"loss": LogLoss()}, "Unknown loss: LogLoss"),
        ({"loss": None}, "'loss' parameter of MLPRegressor must be"),
        (
            {"loss": "poisson", "output_activation": "identity"},
            "does not fit the output activation",
        ),
        ({"loss": "gamma"}, "must be greater than 0, got 0"),
        ({"weight_init": "he"}, "'weight_init' parameter of MLPRegressor must be a str among"),
        ({"weight_init": 0}, "'weight_init' parameter of MLPRegressor must be"),
        ({"weight_init": ([],)}, "weight_init has 1 entries, expected a pair"),
        ({"weight_init": ([np.ones((2, 4))], [np.ones(4)])}, r"expected \[\(2, 100\), \(100, 1"),
        ({"weight_init": HOLES, "hidden_layer_sizes": ()}, "weights that are not finite"),
        ({"l1": -1}, "'l1' parameter of MLPRegressor must be a float in the range"),
        ({"l1": np.nan}, "'l1' parameter of MLPRegressor must be a float in the range"),
        ({"weight_decay": -0.1}, "'weight_decay' parameter of MLPRegressor must be"),
        ({"clip_norm": 0}, "'clip_norm' parameter of MLPRegressor must be"),
        ({"max_norm": 0}, "'max_norm' parameter of MLPRegressor must be"),
        ({"dropout": 1.0}, "'dropout' parameter of MLPRegressor must be"),
        ({"dropout": -0.1}, "'dropout' parameter of MLPRegressor must be"),
        ({"dropout": [0.1, 0.1]}, "dropout has 2 entries, expected one for each of 1 hidden"),
        ({"dropout": [1.0]}, "dropout must be at least 0 and less than 1, got 1.0"),
        ({"dropout": ["half"]}, "dropout must be at least 0 and less than 1, got 'half'"),
        ({"input_dropout": 1}, "'input_dropout' parameter of MLPRegressor must be"),
        ({"averaging": "mean"}, "'averaging' parameter of MLPRegressor must be a str among"),
        ({"averaging": 1}, "'averaging' parameter of MLPRegressor must be"),
        ({"averaging_decay": 1.0}, "'averaging_decay' parameter of MLPRegressor must be"),
        ({"averaging_start": 1.0}, "'averaging_start' parameter of MLPRegressor must be"),
        ({"averaging_start": -1}, "'averaging_start' parameter of MLPRegressor must be"),
        ({"solver": "lbfgs", "averaging": "ema"}, "solver='lbfgs' does not go by epochs"),
        ({"solver": "lbfgs", "dropout": 0.1}, "solver='lbfgs' minimises one function"),
        ({"solver": "lbfgs", "input_dropout": 0.1}, "solver='lbfgs' minimises one function"),
        ({"solver": "lbfgs", "weight_decay": 0.1}, "solver='lbfgs' minimises one function"),
        ({"solver": "lbfgs", "clip_norm": 1.0}, "solver='lbfgs' minimises one function"),
        ({"solver": "lbfgs", "max_norm": 1.0}, "solver='lbfgs' minimises one function"),
    ],
    ids=str,
)
@pytest.mark.parametrize("fitted", [False, True])
def test_wrong_own_parameters(wrong, message, fitted):
    """A clear error before any training, and the estimator as it was before."""
    X, y = np.ones((5, 2)), np.arange(5.0)
    estimator = MLPRegressor(device="reference", max_iter=1)
    if fitted:
        estimator.fit(X, y)
    estimator.set_params(**wrong)
    before = state(estimator)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y)
    assert state(estimator) == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "poisson"}, "'loss' parameter of MLPClassifier must be a str among"),
        ({"loss": Quantile()}, "Unknown loss: Quantile"),
        ({"loss": BinaryLogLoss()}, "Unknown loss: BinaryLogLoss"),
        ({"output_activation": "hard_tanh"}, "outputs lie between 0 and 1"),
        ({"loss": "huber", "output_activation": "identity"}, "outputs lie between 0 and 1"),
        ({"loss": "huber", "output_activation": "softmax"}, "Softmax is for one class of several"),
        ({"label_smoothing": 1.0}, "'label_smoothing' parameter of MLPClassifier must be"),
        ({"label_smoothing": -0.1}, "'label_smoothing' parameter of MLPClassifier must be"),
    ],
    ids=str,
)
def test_wrong_parameters_of_the_classifier(wrong, message):
    estimator = MLPClassifier(**NUMPY, **wrong)
    before = state(estimator)
    with pytest.raises(ValueError, match=message):
        estimator.fit(np.ones((6, 2)), np.arange(6) % 2)
    assert state(estimator) == before


@pytest.mark.parametrize(
    "wrong",
    [{"activation": [Maxout()] * 2}, {"dropout": [0.1, 0.2]}, {"loss": "gamma"}],
    ids=str,
)
def test_wrong_parameters_where_validation_is_skipped(wrong):
    with sklearn.config_context(skip_parameter_validation=True), pytest.raises(ValueError):  # noqa: PT011
        MLPRegressor(**NUMPY, **wrong).fit(np.eye(6), np.arange(6.0))


def wrong_inputs():
    X, y = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2
    nan = X.copy()
    nan[3, 1] = np.nan
    infinite = X.copy()
    infinite[0, 0] = np.inf
    weights = np.ones(20)
    return {
        "nan": (nan, y, None),
        "infinity": (infinite, y, None),
        "sparse_nan": (sparse.csr_matrix(nan), y, None),
        "one_dimension": (X[:, 0], y, None),
        "three_dimensions": (X[:, :, None], y, None),
        "no_rows": (X[:0], y[:0], None),
        "no_features": (X[:, :0], y, None),
        "lengths": (X, y[:-1], None),
        "complex": (X + 1j, y, None),
        "text": (X.astype(str).astype(object) + "x", y, None),
        "no_y": (X, None, None),
        "nan_y": (X, np.where(y, np.nan, 1.0), None),
        "cube_y": (X, np.ones((20, 2, 2)), None),
        "weights_length": (X, y, weights[:-1]),
        "weights_shape": (X, y, weights[:, None]),
        "weights_nan": (X, y, weights * np.nan),
        "weights_zero": (X, y, 0 * weights),
    }


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("case", wrong_inputs())
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_wrong_input(ours, theirs, case, fitted):
    """scikit-learn's errors, perhaps with advice, and the estimator as it was before."""
    X, y, weights = wrong_inputs()[case]
    messages = []
    for make in (ours, theirs):
        settings = NUMPY.copy()
        if make is theirs:
            del settings["device"]
        estimator = make(**settings)
        if fitted:
            estimator.fit(np.eye(7, 5), np.arange(7) % 3)
        before = state(estimator)
        with pytest.raises((ValueError, TypeError)) as error:
            estimator.fit(X, y, weights)
        messages.append(str(error.value))
        if make is ours:
            assert state(estimator) == before
    said, advice, _ = messages[0].partition("\nColumns with NaN: 1.")
    assert said == messages[1]
    assert bool(advice) == (case in ("nan", "sparse_nan"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("rows", "bad_row"), [(5, 0), (2000, 0), (2000, 1999)])
def test_rows_to_predict_are_finite(device, bad, rows, bad_row):
    """Found by the device while it reads them, in few rows and many, and in every chunk."""
    X = np.ones((rows, 3), np.float32)
    y = np.arange(rows) % 2
    settings = {"hidden_layer_sizes": 40, "max_iter": 1, "solver": "lbfgs", "random_state": 0}
    ours, theirs = MLPClassifier(**settings, device=device), sk.MLPClassifier(**settings)
    for estimator in (ours, theirs):
        estimator.fit(X[:10], y[:10])
    expected = ours.predict_proba(X)
    X[bad_row, 1] = bad
    messages = []
    for estimator in (ours, theirs):
        with pytest.raises(ValueError, match="contains") as error:
            estimator.predict_proba(X)
        messages.append(str(error.value).partition("\nColumns with NaN")[0])
    assert messages[0] == messages[1]
    with pytest.raises(ValueError, match="contains"):
        ours.score(X, y)
    X[bad_row, 1] = 1
    np.testing.assert_array_equal(ours.predict_proba(X), expected)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_one_class(method):
    X = np.random.default_rng(0).standard_normal((12, 3))
    classes = {"classes": ["only"]} if method == "partial_fit" else {}
    ours, theirs = MLPClassifier(**NUMPY), sk.MLPClassifier(4, max_iter=3, random_state=0)
    for estimator in (ours, theirs):
        getattr(estimator, method)(X, ["only"] * 12, **classes)
        assert estimator.predict(X).tolist() == ["only"] * 12
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0])
    # A column for each class, as `classes_` has it; scikit-learn gives a second one.
    assert ours.predict_proba(X).tolist() == [[1.0]] * 12
    assert ours.compiled_predictor()(X).tolist() == [[1.0]] * 12
    assert (ours.predict_log_proba(X) == 0).all()


def test_partial_fit_classes():
    X, y = np.random.default_rng(0).standard_normal((12, 3)), np.arange(12) % 3
    estimator = MLPClassifier(**NUMPY)
    before = state(estimator)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        estimator.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"`y` has classes not in `self\.classes_`"):
        estimator.partial_fit(X, y, classes=[0, 1])
    assert state(estimator) == before
    estimator.partial_fit(X, y, classes=[2, 0, 1, 5])
    before = state(estimator)
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        estimator.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self\.classes_`"):
        estimator.partial_fit(X, y + 1)
    assert state(estimator) == before
    estimator.partial_fit(X[:4], y[:4], classes=[0, 1, 2, 5]).partial_fit(X, y % 2)
    assert estimator.predict_proba(X).shape == (12, 4)
    np.testing.assert_array_equal(
        estimator.predict_log_proba(X), np.log(estimator.predict_proba(X))
    )
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        estimator.set_params(early_stopping=True).partial_fit(X, y % 2)


def test_partial_fit_of_lbfgs():
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    X, y = np.eye(6), np.arange(6.0)
    ours = MLPRegressor(solver="lbfgs", **NUMPY).partial_fit(X, y)  # as in scikit-learn
    assert ours.n_iter_ == 3


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.compiled
def test_divergence_is_an_error(device):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 3)), rng.standard_normal(40)
    estimator = MLPRegressor(**NUMPY | {"device": device}).fit(X, y)
    before = state(estimator)
    estimator.set_params(solver="sgd", learning_rate_init=1e300)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        estimator.fit(1e10 * X, y)
    estimator.set_params(solver="adam", learning_rate_init=0.001)
    assert state(estimator) == before


@pytest.mark.slow
@pytest.mark.compiled
def test_ctrl_c_is_heard_within_an_epoch():
    """An epoch of minutes ends with a warning, and the estimator can be used."""
    program = """
        import signal, warnings
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
        import numpy as np
        from fastmlp import MLPClassifier
        rng = np.random.default_rng(0)
        rows = 5_000_000
        X, y = rng.standard_normal((rows, 4), np.float32), rng.integers(0, 2, rows)
        model = MLPClassifier((200, 200), batch_size=1, max_iter=2, random_state=0, device="cpu")
        model.partial_fit(X[:10], y[:10], classes=[0, 1])  # compiles
        print("go", flush=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, y)
        print([str(w.message) for w in caught], model.n_iter_, flush=True)
        assert np.isfinite(model.predict_proba(X[:5])).all()
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "go\n"
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        try:
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert said == "['Training interrupted by user.'] 0\n"
    assert process.returncode == 0


def test_interruption_between_epochs_keeps_attributes(monkeypatch):
    from fastmlp.devices.reference import ReferenceDevice

    train = ReferenceDevice.train

    def interrupted(self, *data):
        if self.optimizer.step >= 2:
            raise KeyboardInterrupt
        return train(self, *data)

    monkeypatch.setattr(ReferenceDevice, "train", interrupted)
    X, y = np.eye(6), np.arange(6.0)
    estimator = MLPRegressor(**NUMPY)
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        estimator.fit(X, y)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 2
    assert estimator.predict(X).shape == (6,)


@pytest.mark.parametrize("task", TASKS)
def test_pickle_clone_and_go_on(task):
    X, y, weights = TASKS[task].data()
    estimator = TASKS[task].ours(**NUMPY).fit(X, y, weights)
    other = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(outputs(other, X), outputs(estimator, X))
    estimator.partial_fit(X, y)
    other.partial_fit(X, y)
    np.testing.assert_array_equal(outputs(other, X), outputs(estimator, X))
    with pytest.raises(NotFittedError):
        clone(estimator).predict(X)
    assert clone(estimator).get_params() == estimator.get_params()


def test_names_of_features():
    X = pd.DataFrame(np.random.default_rng(0).standard_normal((20, 2)), columns=["a", "b"])
    estimator = MLPRegressor(**NUMPY).fit(X, X["a"])
    assert estimator.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(X[["b", "a"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        estimator.predict(X.to_numpy())


def test_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        X, y, weights = TASKS["binary"].data()
        estimator = MLPClassifier(**NUMPY).set_fit_request(sample_weight=True)
        requests = estimator.get_metadata_routing().fit.requests
        assert requests == {"sample_weight": True} | dict.fromkeys(VALIDATION)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        make_pipeline(scaler, estimator).fit(X, y, sample_weight=weights)
        requests = estimator.set_partial_fit_request(classes=True).get_metadata_routing()
        assert set(requests.partial_fit.requests) == {"classes", "sample_weight"}


def test_in_a_grid_search():
    X, y, _ = TASKS["multiclass"].data()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MLPClassifier(**NUMPY)),
        {"mlpclassifier__alpha": [0.0, 1.0]},
        cv=2,
    ).fit(X, y)
    assert search.best_estimator_[-1].device_ == "reference"


def test_activations_in_a_grid_search():
    X, y, _ = TASKS["multiclass"].data()
    candidates = ["relu", Swish(learnable=True), Maxout(pieces=3), ["tanh"], (Maxout(),)]
    search = GridSearchCV(MLPClassifier(**NUMPY), {"activation": candidates}, cv=2).fit(X, y)
    assert list(search.cv_results_["param_activation"]) == candidates
    assert search.best_estimator_.activation in candidates


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("sizes", [(True,), True, [3, True], (2.0,)], ids=str)
def test_numbers_of_units_that_are_no_integers(ours, theirs, sizes):
    for make in (ours, theirs):
        with pytest.raises(TypeError, match="integer"):
            make(hidden_layer_sizes=sizes).fit(np.ones((30, 2)), np.arange(30) % 3)


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float16, np.longdouble, object])
def test_any_dtype(device, dtype):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 2, (30, 4)).astype(dtype), rng.integers(0, 2, 30)
    settings = NUMPY | {"device": device}
    ours = MLPClassifier(**settings).fit(X, y)
    theirs = sk.MLPClassifier(4, random_state=0, max_iter=3).fit(X, y)
    own, expected = ours.predict_proba(X), theirs.predict_proba(X)
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype == np.float64
    np.testing.assert_allclose(own, expected.astype(float), rtol=1e-9)
    narrow = MLPClassifier(**settings).fit(X.astype(np.float32), y)
    assert narrow.coefs_[0].dtype == np.float32
    wide = X.astype(np.float64)
    assert narrow.predict_proba(wide).dtype == np.float64  # as NumPy promotes


def mapped(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


#: Forms of X, and whether they are used where they lie.
FORMS = {
    "array": (lambda X, folder: X, True),
    "Fortran order": (lambda X, folder: np.asfortranarray(X), True),
    "every other row": (lambda X, folder: np.repeat(X, 2, axis=0)[::2], True),
    "memory map": (mapped, True),
    "sparse": (lambda X, folder: sparse.csr_matrix(X), True),
    "integers": (lambda X, folder: X.astype(np.int32), False),
}


@pytest.mark.compiled
@pytest.mark.parametrize("form", FORMS)
def test_rows_are_read_in_place(form, tmp_path):
    """Neither a fit nor a prediction takes as much memory as a copy of them would."""
    make, in_place = FORMS[form]
    X = make(np.random.default_rng(0).integers(-9, 9, (20_000, 60)).astype(np.float32), tmp_path)
    y = np.arange(20_000, dtype=np.float32) % 7
    estimator = MLPRegressor(**NUMPY | {"device": "cpu", "max_iter": 1}, batch_size=500)
    estimator.fit(X, y).predict(X)  # compiles
    for action in (lambda: estimator.fit(X, y), lambda: estimator.predict(X)):
        tracemalloc.start()
        try:
            action()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (most < 20_000 * 60 * 4 / 2) is in_place


def test_batch_larger_than_the_data():
    with pytest.warns(UserWarning, match="Got `batch_size` less than 1 or larger"):
        MLPRegressor(**NUMPY, batch_size=99).fit(np.eye(6), np.arange(6.0))


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_widths_that_do_not_fit_the_weights(device):
    """Compiled code would read and write beyond its buffers."""
    X, y = np.random.default_rng(0).standard_normal((9, 3)), np.arange(9.0)
    estimator = MLPRegressor(**NUMPY | {"device": device}, warm_start=True).fit(X, y)
    before = state(estimator)
    for fit in (estimator.fit, estimator.partial_fit):
        with pytest.raises(ValueError, match="3 features and 1 outputs, but the data have 3"):
            fit(X, np.column_stack([y, y]))
        assert state(estimator) == before
    estimator.coefs_[0] = estimator.coefs_[0][:2]
    with pytest.raises(ValueError, match="2 features and 1 outputs, but the data have 3"):
        estimator.predict(X)


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", fastmlp.__version__)
