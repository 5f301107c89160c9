"""Many fits in one call: each gives what its own `fit` gives, to the bit."""

import _thread
import signal
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import config_context, get_config
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tasks import DEVICES, TASKS

from fastmlp import MLPClassifier, devices, fit_many
from fastmlp.activations import Swish
from fastmlp.callbacks import Callback, Checkpoint
from fastmlp.estimators import many
from fastmlp.schedules import Cosine

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:lbfgs failed")

#: Estimators of both kinds that have nothing in common, by what is special about them.
SETTINGS = {
    "plain": {},
    "seed": {"random_state": 1},
    "rate": {"learning_rate_init": 0.1, "alpha": 0.1},
    "batch": {"batch_size": 7, "hidden_layer_sizes": (4, 3)},
    "stops early": {"early_stopping": True, "n_iter_no_change": 1, "learning_rate_init": 0.1},
    "converges": {"tol": 10.0, "n_iter_no_change": 2},
    "dropout": {"dropout": 0.3, "input_dropout": 0.1, "clip_norm": 0.5, "max_norm": 1.0},
    "learns": {"activation": Swish(learnable=True), "learning_rate": Cosine()},
    "averages": {"averaging": "ema", "solver": "sgd", "shuffle": False},
    "lbfgs": {"solver": "lbfgs"},
    "reference": {"device": "reference"},
}


@pytest.fixture(autouse=True)
def _in_threads(monkeypatch):
    """As larger networks are fitted: those of the tests would all be left to one thread."""
    monkeypatch.setattr(many, "BRIEF", 0)


def made(name, task="multiclass", **settings):
    few = {"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0, "batch_size": 16}
    return TASKS[task].ours(**few | SETTINGS[name] | settings)


def assert_same(own, other, path="", seen=None):
    """All attributes, and what they consist of, are the same to the bit."""
    seen = set() if seen is None else seen
    assert type(own) is type(other), path
    if isinstance(own, np.ndarray):
        assert own.dtype == other.dtype, path
        np.testing.assert_array_equal(own, other, err_msg=path)
    elif isinstance(own, np.random.RandomState):
        assert_same(own.get_state(legacy=False), other.get_state(legacy=False), path)
    elif isinstance(own, dict):
        assert own.keys() == other.keys(), path
        for key in own:
            assert_same(own[key], other[key], f"{path}.{key}", seen)
    elif isinstance(own, list | tuple):
        assert len(own) == len(other), path
        for place, (a, b) in enumerate(zip(own, other, strict=True)):
            assert_same(a, b, f"{path}[{place}]", seen)
    elif hasattr(own, "__dict__") and not isinstance(own, type) and not callable(own):
        if id(own) not in seen:
            seen.add(id(own))
            assert_same(vars(own), vars(other), path, seen)
    else:
        assert own == other or own != own, path


def alone(estimators, X, y, rows=None, **weights):
    """What own fits of clones give, one after the other."""
    chosen = rows or [slice(None)] * len(estimators)
    return [
        clone(estimator).fit(X[at], y[at], **{name: w[at] for name, w in weights.items()})
        for estimator, at in zip(estimators, chosen, strict=True)
    ]


# ---- the same as own fits ------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bits_as_own_fits(dtype, name):
    X, y, weights = TASKS["multiclass"].data(dtype, rows=50)
    fits = [made(special, **{"device": name} | SETTINGS[special]) for special in SETTINGS]
    rows = [None, *KFold(5).split(X), *KFold(5, shuffle=True, random_state=0).split(X)]
    rows = [np.arange(50) if at is None else at[0] for at in rows]
    expected = alone(fits, X, y, rows, sample_weight=weights)
    ours = fit_many(iter(fits), X, y, rows, sample_weight=weights)
    assert all(own is fit for own, fit in zip(ours, fits, strict=True))
    for special, own, other in zip(SETTINGS, ours, expected, strict=True):
        assert_same(own, other, special)


def test_forms_of_rows():
    """Whatever chooses the rows, and whatever they are rows of."""
    X, y, weights = TASKS["multiclass"].data(rows=40)
    sample = np.array([3, -1, 3, *range(20)])
    mask = np.arange(40) % 3 > 0
    rows = [None, sample, list(sample), mask, mask.tolist(), pd.Series(mask), range(5, 30)]
    fits = [made("plain", max_iter=2) for _ in rows]
    at = [slice(None), sample, sample, mask, mask, mask, np.arange(5, 30)]
    expected = alone(fits, X, y, at, sample_weight=weights)
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    for form, labels, weight in (
        (X, y, weights), (np.asfortranarray(X), y, weights), (sparse.csc_array(X), y, weights),
        (X.tolist(), y.tolist(), weights.tolist()), (frame, pd.Series(y), pd.Series(weights)),
    ):  # fmt: skip
        ours = fit_many([clone(fit) for fit in fits], form, labels, rows, sample_weight=weight)
        for own, other in zip(ours, expected, strict=True):
            if form is frame:
                assert list(own.feature_names_in_) == list("abcdefg")
            if not sparse.issparse(form):
                assert_same(own.coefs_, other.coefs_)
            np.testing.assert_allclose(own.coefs_[0], other.coefs_[0], rtol=1e-9)
    for own, other in zip(
        fit_many([clone(fit) for fit in fits], X, y, rows, sample_weight=2.0),
        alone(fits, X, y, at, sample_weight=np.full(40, 2.0)), strict=True,
    ):  # fmt: skip
        assert_same(own.coefs_, other.coefs_)


def test_classifiers_beside_regressors_and_several_outputs():
    X, y, _ = TASKS["multilabel"].data(rows=30)
    fits = [made("plain", task, max_iter=3) for task in ("multilabel", "several_outputs")]
    for own, other in zip(fit_many(fits, X, y), alone(fits, X, y), strict=True):
        assert_same(own, other)


def test_warm_starts_go_on():
    X, y, _ = TASKS["multiclass"].data(rows=40)
    ours, expected = (
        [made(name, warm_start=True, max_iter=2) for name in ("plain", "dropout", "averages")]
        for _ in range(2)
    )
    for _ in range(3):
        fit_many(ours, X, y)
        for own, other in zip(ours, expected, strict=True):
            assert_same(own, other.fit(X, y))


def test_a_generator_is_drawn_from_in_turn():
    X, y, _ = TASKS["multiclass"].data(rows=30)

    def fits():
        shared, other = np.random.RandomState(0), np.random.RandomState(1)
        states = shared, other, 3, shared, None, other, None, shared
        return [made("dropout", max_iter=2, random_state=state) for state in states]

    np.random.seed(5)  # noqa: NPY002
    expected = [fit.fit(X, y) for fit in fits()]
    for _ in range(3):
        np.random.seed(5)  # noqa: NPY002
        for own, other in zip(fit_many(fits(), X, y), expected, strict=True):
            assert_same({**vars(own), "random_state": 0}, {**vars(other), "random_state": 0})


def test_nothing_to_do():
    assert fit_many([], np.ones((3, 2)), np.arange(3)) == []


# ---- what is around a fit ------------------------------------------------------------------------


class Followed(Callback):
    """Notes threads and scikit-learn's configuration; stops after some epochs."""

    def __init__(self, epochs=2):
        self.epochs, self.threads, self.configs = epochs, set(), []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.threads.add(threading.get_ident())
        self.configs.append(get_config()["working_memory"])
        return context.task_id == self.epochs - 1


def test_callbacks_end_each_fit_by_itself(tmp_path):
    X, y, _ = TASKS["multiclass"].data(rows=30)
    fits = [made("plain", random_state=seed) for seed in range(4)]
    followed = [Followed(epochs) for epochs in (1, 2, 3, 4)]
    kept = Checkpoint(tmp_path, resume=False)
    for fit, callback in zip(fits, followed, strict=True):
        fit.set_callbacks(callback, kept)
    with config_context(working_memory=77):
        fit_many(fits, X, y)
    assert [fit.n_iter_ for fit in fits] == [1, 2, 3, 4]
    assert {config for callback in followed for config in callback.configs} == {77}
    for fit, epochs in zip(fits, (1, 2, 3, 4), strict=True):
        assert_same(fit.coefs_, clone(fit).set_callbacks(Followed(epochs)).fit(X, y).coefs_)


def test_warnings_point_to_the_line_of_the_call():
    X, y, _ = TASKS["multiclass"].data(rows=30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_many([made("plain"), made("seed"), made("lbfgs", max_iter=1)], X, y)
    assert [warning.category for warning in caught] == [ConvergenceWarning] * 3
    assert {warning.filename for warning in caught} == {__file__}


def test_cores_are_shared(monkeypatch):
    """As many threads as there are cores, each with its share of them, and n_jobs within it."""
    X, y, _ = TASKS["multiclass"].data(rows=30)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(6), raising=False)
    monkeypatch.setattr("numba.core.config.NUMBA_NUM_THREADS", 6)
    seen = []

    class Asked(MLPClassifier):
        def fit(self, X, y):
            seen.append([devices.usable_threads(n) for n in (None, 1, 2, 9, -1, -5)])
            return super().fit(X, y)

    for count, share in ((1, 6), (2, 3), (4, 1), (7, 1)):
        seen.clear()
        fits = [Asked((3,), max_iter=1, random_state=i, n_jobs=2) for i in range(count)]
        assert {fit.n_jobs for fit in fit_many(fits, X, y)} == {2}
        wanted = [6, 1, 2, 9, 6, 2]
        assert seen == [[min(share, threads) for threads in wanted]] * count
    assert devices.usable_threads(None) == 6


def test_small_networks_are_left_to_one_thread(monkeypatch):
    X, y, _ = TASKS["multiclass"].data(rows=30)
    weights = (X.shape[1] + 1) * 5 + (5 + 1)
    monkeypatch.setattr(many, "BRIEF", 20 * weights + 1)
    monkeypatch.setattr(devices, "usable_threads", lambda n_jobs: 3)
    threads = {}

    class Noted(MLPClassifier):
        def fit(self, X, y):
            threads.setdefault(threading.get_ident(), []).append(self.random_state)
            return super().fit(X, y)

    fits = [Noted((5,), max_iter=1, random_state=seed) for seed in range(6)]
    fit_many(fits, X, y, rows=[range(20)] * 6)
    assert list(threads.values()) == [list(range(6))]
    threads.clear()
    fit_many([*fits, Noted((6,), max_iter=1, random_state=6)], X, y, rows=[range(20)] * 6 + [None])
    assert sorted(threads.values()) in ([list(range(6)), [6]], [[6, *range(6)]])
    for wrong in ("5", (0,)):
        with pytest.raises((TypeError, ValueError), match="hidden_layer_sizes"):
            fit_many([Noted(wrong)], X, y)


# ---- errors --------------------------------------------------------------------------------------


def test_the_first_error_is_raised_after_all_others_are_fitted():
    X, y, _ = TASKS["multiclass"].data(rows=30)
    fits = [made("plain"), made("plain", alpha=-1), made("seed"), made("plain", max_iter=0)]
    before = vars(fits[1]).copy()
    with pytest.raises(ValueError, match="'alpha' parameter") as caught:
        fit_many(fits, X, y)
    notes = caught.value.__notes__
    assert notes[0].startswith("This is of the fit of estimators[1], MLPClassifier(alpha=-1,")
    assert notes[1:] == ["The fits of estimators 3 failed as well."]
    assert vars(fits[1]) == before
    for own, other in zip(fits[::2], alone(fits[::2], X, y), strict=True):
        assert_same(own, other)


@pytest.mark.parametrize(
    ("estimators", "settings", "kind", "message"),
    [
        (lambda a, b: [a, b, a], {}, ValueError, r"\[0\] and estimators\[2\] are the same"),
        (lambda a, b: [a, make_pipeline(StandardScaler(), b)], {}, TypeError,
         "got Pipeline. Of a pipeline, give the last step"),
        (lambda a, b: [MLPClassifier], {}, TypeError, r"a class: write MLPClassifier\(\)\."),
        (lambda a, b: a, {}, TypeError, r"got one MLPClassifier: write fit_many\(\[est"),
        (lambda a, b: make_pipeline(a), {}, TypeError, "a list of estimators, got one Pipeline"),
        (lambda a, b: MLPClassifier, {}, TypeError, "a list of estimators, got a class"),
        (lambda a, b: [a, b], {"rows": [None]}, ValueError, "1 entries for 2 estimators"),
        (lambda a, b: [a, b], {"rows": [None, [30]]}, ValueError, r"rows\[1\] must be .*below 30"),
        (lambda a, b: [a], {"rows": [[True, False]]}, ValueError, r"mask of shape \(30,\)"),
        (lambda a, b: [a], {"rows": [[0.5]]}, ValueError, "integer"),
        (lambda a, b: [a], {"rows": [3]}, ValueError, "got 0 dimensions"),
        (lambda a, b: [a], {"rows": [None], "sample_weight": [1, 2]}, ValueError, "inconsistent"),
    ],
)  # fmt: skip
def test_wrong_arguments(estimators, settings, kind, message):
    X, y, _ = TASKS["multiclass"].data(rows=30)
    own = made("plain"), made("seed")
    with pytest.raises(kind, match=message):
        fit_many(estimators(*own), X, y, **settings)
    assert not any(hasattr(fit, "coefs_") for fit in own)


@pytest.mark.parametrize("none", [np.zeros(30, bool), [], pd.Index([])], ids=type)
def test_no_rows(none):
    X, y, _ = TASKS["multiclass"].data(rows=30)
    with pytest.raises(ValueError, match=r"0 sample\(s\)") as caught:
        fit_many([made("plain"), made("seed")], X, y, rows=[None, none])
    assert "estimators[1]" in caught.value.__notes__[0]


def test_threads_that_cannot_start(monkeypatch):
    X, y, _ = TASKS["multiclass"].data(rows=30)
    monkeypatch.setattr(devices, "usable_threads", lambda n_jobs: 3)
    start, started = threading.Thread.start, []

    def few(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", few)
    fits = [made("plain", random_state=seed, max_iter=2) for seed in range(4)]
    for own, other in zip(fit_many(fits, X, y), alone(fits, X, y), strict=True):
        assert_same(own, other)
    assert len(started) == 1
    with pytest.raises(RuntimeError, match="new thread"):
        fit_many(fits, X, y)


# ---- Ctrl-C --------------------------------------------------------------------------------------


class Interrupts(Callback):
    """Presses Ctrl-C in the main thread after the first epoch, and waits until it has arrived."""

    def __init__(self, lanes):
        self.lanes = lanes

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_id == 1:
            _thread.interrupt_main()
            assert self.lanes[-1].arrived.wait(30)


@pytest.fixture
def lanes(monkeypatch):
    """All `Lanes` that are made, which tell when an interrupt has arrived."""
    # A shell's background job is born to ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    made_so_far = []

    class Watched(devices.Lanes):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            self.arrived = threading.Event()
            made_so_far.append(self)

        def interrupt(self):
            super().interrupt()
            self.arrived.set()

    monkeypatch.setattr(devices, "Lanes", Watched)
    yield made_so_far
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", DEVICES)
def test_ctrl_c_ends_what_goes_on_and_begins_nothing(lanes, monkeypatch, name):
    monkeypatch.setattr(devices, "usable_threads", lambda n_jobs: 1)
    X, y, _ = TASKS["multiclass"].data(rows=30)
    first, second = (made("plain", device=name, random_state=seed, max_iter=50) for seed in (0, 1))
    first.set_callbacks(Interrupts(lanes))
    second.random_state = first.random_state = np.random.RandomState(0)
    with (
        pytest.warns(match="Training interrupted by user"),
        pytest.raises(KeyboardInterrupt, match="1 of 2 estimators of fit_many are not fitted"),
    ):
        fit_many([first, second], X, y)
    assert first.n_iter_ == 2
    assert not hasattr(second, "coefs_")


def test_ctrl_c_in_the_last_fits_leaves_all_fitted(lanes):
    X, y, _ = TASKS["multiclass"].data(rows=30)
    fit = made("plain", max_iter=50).set_callbacks(Interrupts(lanes))
    with pytest.warns(match="Training interrupted by user"):
        assert fit_many([fit], X, y) == [fit]
    assert fit.n_iter_ == 2
