"""The same trajectory as scikit-learn's, for the same random_state: one table of settings."""

import contextlib
import io
import itertools
import warnings

import numpy as np
import pytest
from designs import covering, pairwise
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from tasks import TASKS, assert_same_fit

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

SOLVERS = {
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "sgd_plain": {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
    "sgd_invscaling": {
        "solver": "sgd",
        "learning_rate_init": 0.06,
        "learning_rate": "invscaling",
        "power_t": 0.3,
    },
    "sgd_adaptive": {
        "solver": "sgd",
        "learning_rate_init": 0.05,
        "learning_rate": "adaptive",
        "n_iter_no_change": 1,
        "tol": 0.02,
    },
    "lbfgs": {"solver": "lbfgs"},
}
ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]
CALLS = ["fit", "warm_start", "partial_fit"]
FORMATS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_array}
# L-BFGS near its minimum follows rounding errors: fewer iterations where it is called again.
LBFGS_ITERATIONS = {"fit": 20, "warm_start": 10, "partial_fit": 3}
#: Ways to train, in which all three settings have a say. Early stopping is an error in partial_fit,
#: and ignored by L-BFGS, in scikit-learn.
WAYS = [
    (solver, calls, early_stopping)
    for solver in SOLVERS
    for calls in CALLS
    for early_stopping in (False, True)
    if not (early_stopping and (calls == "partial_fit" or solver == "lbfgs"))
]


def train(estimator, calls, X, y, weights):
    if calls == "partial_fit":
        first = {"classes": np.unique(y)} if hasattr(estimator, "predict_proba") else {}
        if first and y.ndim == 2:
            first = {"classes": np.arange(y.shape[1])}
        estimator.partial_fit(X, y, weights, **first)
        for _ in range(5):
            estimator.partial_fit(X[::2], y[::2], None if weights is None else weights[::2])
        return estimator.partial_fit(X, y, weights)
    if calls == "warm_start":
        estimator.set_params(warm_start=True).fit(X, y, weights)
        if not sparse.issparse(X):
            X = np.asfortranarray(X)
    return estimator.fit(X, y, weights)


def cases():
    """A covering design; of every way to train, the case of one task in turn is quick."""
    quick = dict(zip(WAYS, itertools.cycle(TASKS), strict=False))
    regressions = itertools.cycle(["squared_error", "several_outputs"])
    for way, task, activation, form, weighted in pairwise(
        WAYS, TASKS, ACTIVATIONS, FORMATS, [False, True]
    ):
        marks = [] if quick[way] == task else pytest.mark.slow
        if way == ("lbfgs", "partial_fit", False) and TASKS[task].estimator == "MLPClassifier":
            task = next(regressions)  # scikit-learn's classifier has none
        names = [task, *way[:2], activation, form]
        names += ["early_stopping"] * way[2] + ["weighted"] * weighted
        yield pytest.param(task, *way, activation, form, weighted, id="-".join(names), marks=marks)


@pytest.mark.parametrize(
    ("task", "solver", "calls", "early_stopping", "activation", "form", "weighted"), list(cases())
)
def test_same_trajectory(task, solver, calls, early_stopping, activation, form, weighted):
    X, y, weights = TASKS[task].data()
    settings = SOLVERS[solver] | {
        "hidden_layer_sizes": (9, 5),
        "activation": activation,
        "batch_size": 16,
        "max_iter": 20,
        "random_state": 3,
    }
    if solver == "lbfgs":
        settings["max_iter"] = LBFGS_ITERATIONS[calls]
    if early_stopping:
        settings |= {"early_stopping": True, "validation_fraction": 0.2}
    X, weights = FORMATS[form](X), weights if weighted else None
    ours, theirs = (
        train(make(**settings), calls, X, y, weights)
        for make in (TASKS[task].ours, TASKS[task].theirs)
    )
    assert_same_fit(ours, theirs, X, rtol=1e-6, atol=1e-9)


@covering("task, solver, device", TASKS, ["adam", "sgd", "lbfgs"], ["cpu", "reference"])
def test_float32_within_its_rounding(task, solver, device):
    X, y, weights = TASKS[task].data(np.float32)
    settings = SOLVERS[solver] | {"hidden_layer_sizes": (9, 5), "max_iter": 20, "random_state": 3}
    if solver == "lbfgs":
        settings["max_iter"] = 5  # its line search amplifies rounding
    ours = TASKS[task].ours(**settings, device=device).fit(X, y, weights)
    theirs = TASKS[task].theirs(**settings).fit(X, y, weights)
    # Adam divides by the size of a gradient: near 0, rounding decides on the direction of a step.
    assert_same_fit(ours, theirs, X, rtol=5e-3, atol=2e-3)


@pytest.mark.parametrize("hidden", [(), [3], 4, np.array([2, 3]), (1, 1, 1, 1), (70, 33)])
@pytest.mark.parametrize("batch_size", [1, 7, "auto"])
def test_any_depth_and_width(hidden, batch_size):
    task = TASKS["multiclass"]
    X, y, _ = task.data()
    settings = {
        "hidden_layer_sizes": hidden,
        "batch_size": batch_size,
        "max_iter": 3,
        "random_state": 0,
    }
    ours, theirs = task.ours(**settings).fit(X, y), task.theirs(**settings).fit(X, y)
    assert_same_fit(ours, theirs, X, rtol=1e-9)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("make_state", [lambda: 5, lambda: np.random.RandomState(5)])
def test_random_draws(shuffle, make_state):
    task = TASKS["squared_error"]
    X, y, _ = task.data()
    ours_state, theirs_state = make_state(), make_state()
    settings = {"hidden_layer_sizes": 4, "batch_size": 9, "max_iter": 4, "shuffle": shuffle}
    ours = task.ours(random_state=ours_state, **settings).fit(X, y).fit(X, y)
    theirs = task.theirs(random_state=theirs_state, **settings).fit(X, y).fit(X, y)
    assert_same_fit(ours, theirs, X, rtol=1e-9)
    if isinstance(ours_state, np.random.RandomState):  # continued and left advanced
        assert ours_state.randint(1 << 30) == theirs_state.randint(1 << 30)


@pytest.mark.parametrize("solver", ["adam", "sgd", "sgd_adaptive"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_same_words(solver, early_stopping):
    """Verbose output and warnings are scikit-learn's, to the letter."""
    task = TASKS["binary"]
    X, y, _ = task.data()
    settings = SOLVERS[solver] | {
        "tol": 0.01,
        "n_iter_no_change": 2,
        "max_iter": 150,
        "verbose": True,
        "random_state": 0,
        "early_stopping": early_stopping,
    }
    said = []
    for make in (task.ours, task.theirs):
        with contextlib.redirect_stdout(io.StringIO()) as out, warnings.catch_warnings():
            make(**settings).fit(X, y)
        said.append(out.getvalue())
    assert said[0] == said[1]
    assert "did not improve more than tol" in said[0]


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("settings", [{"max_iter": 2}, {"solver": "lbfgs", "max_iter": 2}])
def test_same_convergence_warning(settings):
    task = TASKS["binary"]
    X, y, _ = task.data()
    texts = []
    for make in (task.ours, task.theirs):
        with pytest.warns(ConvergenceWarning) as record:
            make(random_state=0, **settings).fit(X, y)
        texts.append([str(w.message) for w in record])
        if make == task.ours:  # it points to the user's line
            assert record[0].filename == __file__
    assert texts[0] == texts[1]
    assert len(texts[0]) == 1


def test_converged_warm_start_stops_at_once():
    task = TASKS["binary"]
    X, y, _ = task.data()
    settings = {"warm_start": True, "tol": 0.1, "n_iter_no_change": 2, "random_state": 0}
    ours, theirs = task.ours(**settings), task.theirs(**settings)
    for _ in range(3):
        assert_same_fit(ours.fit(X, y), theirs.fit(X, y), X, rtol=1e-9)
    assert ours.n_iter_ == 1


def test_settings_may_change_between_warm_starts():
    """Where scikit-learn stumbles over its own attributes, training goes on."""
    task = TASKS["binary"]
    X, y, _ = task.data()
    ours = task.ours(warm_start=True, max_iter=3, random_state=0).fit(X, y)
    ours.set_params(early_stopping=True).fit(X, y)
    assert len(ours.validation_scores_) == 3
    assert ours.best_loss_ is None
    ours.set_params(early_stopping=False).fit(X, y)
    assert ours.validation_scores_ is None
    assert ours.best_loss_ == min(ours.loss_curve_[-3:])
    ours = task.ours(warm_start=True, max_iter=3, random_state=0, solver="lbfgs").fit(X, y)
    ours.set_params(solver="adam").fit(X, y)
    assert len(ours.loss_curve_) == 3


def test_weights_set_by_hand_are_where_training_goes_on():
    task = TASKS["squared_error"]
    X, y, _ = task.data()
    settings = {"hidden_layer_sizes": 4, "max_iter": 3, "random_state": 0}
    ours, theirs = task.ours(**settings).fit(X, y), task.theirs(**settings).fit(X, y)
    for estimator in (ours, theirs):
        estimator.coefs_[0][:] = 0.5
        estimator.intercepts_ = [np.ones(4), np.zeros(1)]
        estimator.partial_fit(X, y)
    assert_same_fit(ours, theirs, X, rtol=1e-9)
