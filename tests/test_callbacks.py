"""Callbacks: scikit-learn's own, checkpoints, and lines in a log file."""

import logging
import pickle
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from joblib import parallel_config
from scipy import sparse
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.callback.tests._utils import (
    FailingCallback,
    HeterogeneousMetaEstimator,
    MetaEstimator,
    NotRequiredKwargsCallback,
    NotValidCallback,
    NotValidHookCallback,
    RecordingAutoPropagatedCallback,
    RecordingCallback,
    StopFitCallback,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from tasks import DEVICES, TASKS, outputs

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.activations import Custom
from fastmlp.callbacks import Callback, Checkpoint, EpochLog, checkpoint, epoch_log
from fastmlp.estimators import snapshots
from fastmlp.schedules import Cosine, OneCycle, WarmUp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y, WEIGHTS = TASKS["squared_error"].data()
LABELS = np.where(Y > 0, "yes", "no")
DEVICE = DEVICES[0]
GLOBAL = check_random_state(None)  # the generator of random_state=None
EPOCHS = 6
each_device = pytest.mark.parametrize("device", DEVICES)
each_solver = pytest.mark.parametrize("solver", ["adam", "lbfgs"])


def regressor(**settings):
    defaults = {"hidden_layer_sizes": (5,), "max_iter": EPOCHS, "random_state": 0, "device": DEVICE}
    return MLPRegressor(**defaults | settings)


def assert_same_bits(one, other):
    """Everything that a fit leaves behind, what later calls go on from included."""
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        if name not in ("random_state", "_skl_callbacks", "_latest", "_fitted_as"):
            assert plain(value) == plain(getattr(other, name)), name


def plain(value):
    """Arrays as bytes, and objects by their attributes."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if type(value).__name__ in ("OptimizerState", "LabelBinarizer"):
        return {name: plain(part) for name, part in vars(value).items()}
    return value


class InterruptAt(Callback):
    """Ends a fit in one of its hooks, by an exception."""

    def __init__(self, hook, epoch=3, error=KeyboardInterrupt):
        self.hook, self.epoch, self.error, self.count = hook, epoch, error, 0

    def on_fit_task_begin(self, estimator, context):
        self._end("begin", context)

    def on_fit_task_end(self, estimator, context):
        self._end("end", context)

    def _end(self, hook, context):
        task = hook if context.max_subtasks == 0 else f"{hook} of fit"
        self.count += task == self.hook
        if self.count == self.epoch:
            raise self.error


# ---- scikit-learn's own callbacks ----------------------------------------------------------------


@each_device
@each_solver
def test_scores_are_those_of_fits_that_end_there(device, solver):
    monitor = ScoringMonitor(scoring=("r2", "neg_mean_absolute_error"))
    fitted = regressor(solver=solver, device=device).set_callbacks(monitor)
    fitted.fit(X, Y, WEIGHTS)
    log = monitor.get_logs().data
    name = "iteration" if solver == "lbfgs" else "epoch"
    assert [row["task_name"] for row in log] == ["fit"] + [name] * EPOCHS
    assert log[0]["r2"] == log[-1]["r2"] == fitted.score(X, Y, WEIGHTS)
    for epochs in range(1, EPOCHS + 1):
        shorter = regressor(solver=solver, device=device, max_iter=epochs).fit(X, Y, WEIGHTS)
        assert log[epochs]["r2"] == pytest.approx(shorter.score(X, Y, WEIGHTS), abs=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"early_stopping": True, "dropout": 0.2},
        {"averaging": "ema"},
        {"averaging": "swa", "averaging_start": 3, "early_stopping": True},
        {"solver": "lbfgs"},
        {"solver": "sgd", "learning_rate": "adaptive", "activation": "prelu"},
    ],
    ids=str,
)
def test_a_fitted_estimator_is_one_that_stopped_there(settings):
    """With every attribute, and later epochs do not change it."""
    recorder = RecordingCallback()
    regressor(**settings).set_callbacks(recorder).fit(X, Y)
    ends = [r["kwargs"]["fitted_estimator"] for r in recorder.record if r["name"] == HOOKS[2]]
    for epochs, reached in enumerate(ends[:-1], 1):
        shorter = regressor(**settings, max_iter=epochs).fit(X, Y)
        assert reached.loss_ == shorter.loss_
        assert reached.n_iter_ == epochs
        for name in set(vars(shorter)) - {"max_iter", "_latest", "_fitted_as"}:
            assert plain(getattr(reached, name)) == plain(getattr(shorter, name)), name
        np.testing.assert_array_equal(reached.predict(X), shorter.predict(X))
        pickle.loads(pickle.dumps(reached.set_callbacks()))


HOOKS = ["setup", "on_fit_task_begin", "on_fit_task_end", "teardown"]


def counts(callback):
    return [callback.count_hooks(name) for name in HOOKS]


@each_solver
def test_every_task_begins_and_ends(solver):
    callback = RecordingCallback()
    regressor(solver=solver).set_callbacks(callback).fit(X, Y, WEIGHTS)
    assert counts(callback) == [1, 1 + EPOCHS, 1 + EPOCHS, 1]
    for record in callback.record[1:-1]:
        given = record["kwargs"]
        assert given["X"] is X
        assert given["y"] is Y
        assert given["metadata"]["sample_weight"] is WEIGHTS


def test_lbfgs_that_ends_before_its_limit_has_a_task_for_each_iteration():
    callback = RecordingCallback()
    fitted = regressor(solver="lbfgs", max_iter=1000, alpha=1.0, tol=0.1).set_callbacks(callback)
    fitted.fit(X, Y)
    assert fitted.n_iter_ < 1000
    assert counts(callback) == [1, 1 + fitted.n_iter_, 1 + fitted.n_iter_, 1]


@each_solver
def test_a_callback_that_returns_true_stops_the_fit(solver):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as if it had converged
        stopped = regressor(solver=solver).set_callbacks(RecordingCallback(), StopFitCallback())
        stopped.fit(X, Y)
    shorter = regressor(solver=solver, max_iter=1).fit(X, Y)
    assert stopped.n_iter_ == 1
    np.testing.assert_array_equal(stopped.predict(X), shorter.predict(X))


def test_an_iterator_that_ends_in_a_callback_stops_no_lbfgs():
    """SciPy takes a StopIteration for a wish to stop."""
    ended = regressor(solver="lbfgs").set_callbacks(InterruptAt("end", 2, StopIteration))
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        ended.fit(X, Y)


def test_callbacks_that_want_less_and_those_that_are_none():
    regressor().set_callbacks(NotRequiredKwargsCallback()).fit(X, Y)
    with pytest.raises(TypeError, match="FitCallback protocol"):
        regressor().set_callbacks(NotValidCallback())
    with pytest.raises(TypeError, match="parameters that are not valid"):
        regressor().set_callbacks(NotValidHookCallback()).fit(X, Y)


@each_solver
@pytest.mark.parametrize("hook", HOOKS)
def test_an_error_in_a_callback_leaves_the_estimator_unchanged(hook, solver):
    fitted = regressor(solver=solver).fit(X, Y)
    callback = FailingCallback(fail_at=hook)
    before = dict(vars(fitted.set_callbacks(callback)))
    with pytest.raises(ValueError, match=f"failed at {hook}"):
        fitted.fit(X, -Y)
    assert counts(callback)[::3] == [1, 1]  # setup and teardown
    assert vars(fitted).keys() == before.keys()
    assert all(value is before[name] for name, value in vars(fitted).items())


@each_solver
@pytest.mark.parametrize(("hook", "kept"), [("begin", 2), ("end", 3), ("end of fit", EPOCHS)])
def test_an_interrupt_in_a_callback_keeps_what_was_reached(hook, kept, solver):
    at = InterruptAt(hook, epoch=1 if hook == "end of fit" else 3)
    fitted = regressor(solver=solver).set_callbacks(at)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        fitted.fit(X, Y)
    shorter = regressor(solver=solver, max_iter=kept).fit(X, Y)
    assert fitted.n_iter_ == kept
    np.testing.assert_allclose(fitted.predict(X), shorter.predict(X), rtol=1e-6)
    assert not hasattr(fitted, "_running")


def test_a_task_that_is_interrupted_also_ends(monkeypatch):
    recorder, train, epochs = RecordingCallback(), fastmlp.devices.load(DEVICE).train, []

    def interrupted(device, *rows):
        epochs.append(1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return train(device, *rows)

    monkeypatch.setattr(fastmlp.devices.load(DEVICE), "train", interrupted)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        regressor().set_callbacks(recorder, EpochLog(write=str)).fit(X, Y)
    assert counts(recorder) == [1, 4, 4, 1]
    assert recorder.record[-3]["kwargs"]["fitted_estimator"] is None


def test_partial_fit_calls_no_callbacks():
    callback = RecordingCallback()
    regressor().set_callbacks(callback).partial_fit(X, Y)
    assert not callback.record


def test_other_estimators_pass_their_callbacks_on():
    network = MLPClassifier((3,), max_iter=2, device=DEVICE)
    callback = RecordingAutoPropagatedCallback()
    pipeline = make_pipeline(StandardScaler(), network).set_callbacks(callback).fit(X, LABELS)
    assert counts(callback) == [1, 5, 5, 1]  # the pipeline, its two steps, and two epochs
    assert not hasattr(pipeline[-1], "_skl_callbacks")
    callback = RecordingAutoPropagatedCallback()
    MetaEstimator(regressor(max_iter=2), n_outer=2, n_inner=3).set_callbacks(callback).fit(X, Y)
    tasks = 1 + 2 + 2 * 3 + 2 * 3 * 2
    assert counts(callback) == [1, tasks, tasks, 1]
    callback = RecordingAutoPropagatedCallback()
    both = HeterogeneousMetaEstimator([StandardScaler(), None, regressor(max_iter=2)])
    both.set_callbacks(callback).fit(X, Y)
    assert counts(callback) == [1, 6, 6, 1]


def test_a_search_scores_every_epoch_of_every_candidate():
    monitor = ScoringMonitor(scoring="accuracy")
    network = MLPClassifier((3,), max_iter=2, device=DEVICE).set_callbacks(monitor)
    GridSearchCV(network, {"alpha": [0.1, 1.0]}, cv=2).fit(X, LABELS)
    log = monitor.get_logs().data
    assert sum(row["task_name"] == "epoch" for row in log) == (2 * 2 + 1) * 2


def test_names_of_features_are_kept():
    """Scorers get the data as `fit` did: warnings, which are errors here, would tell of others."""
    pandas = pytest.importorskip("pandas", reason="makes a data frame")
    frame = pandas.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    monitor = ScoringMonitor(scoring="r2")
    fitted = regressor().set_callbacks(monitor).fit(frame, Y)
    assert monitor.get_logs().data[-1]["r2"] == fitted.score(frame, Y)


def test_progress_bars(capsys):
    pytest.importorskip("rich", reason="scikit-learn's ProgressBar needs rich")
    network = MLPClassifier((3,), max_iter=2, device=DEVICE)
    make_pipeline(StandardScaler(), network).set_callbacks(ProgressBar()).fit(X, LABELS)
    said = capsys.readouterr().out
    assert "MLPClassifier - fit" in said
    assert "100%" in said


def test_weights_that_are_not_finite_are_told_as_at_the_end():
    diverging = regressor(solver="sgd", learning_rate_init=1e300, batch_size=5)
    with pytest.raises(ValueError, match="non-finite parameter weights"), np.errstate(all="ignore"):
        diverging.set_callbacks(ScoringMonitor(scoring="r2")).fit(X, Y)


@pytest.mark.parametrize(
    ("callbacks", "copies"),
    [([], 1), ([EpochLog(write=str)], 1), ([RecordingCallback()], 1 + EPOCHS)],
)
def test_weights_are_copied_only_for_callbacks_that_ask(callbacks, copies, monkeypatch):
    kind, calls = fastmlp.devices.load(DEVICE), []
    parameters = kind.parameters
    monkeypatch.setattr(kind, "parameters", lambda device: calls.append(1) or parameters(device))
    regressor().set_callbacks(*callbacks).fit(X, Y)
    assert len(calls) == copies


# ---- checkpoints ---------------------------------------------------------------------------------

FITS = {
    "adam": {},
    "one_cycle": {"solver": "sgd", "learning_rate": "one_cycle"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1},
    "plateau": {"solver": "nadam", "learning_rate": "plateau"},
    "held out": {"early_stopping": True, "random_state": None},
    "dropout": {"dropout": 0.3, "input_dropout": 0.1, "batch_size": 7},
    "ema": {"averaging": "ema", "early_stopping": True},
    "swa": {"averaging": "swa", "averaging_start": 2, "weight_init": "he_normal"},
    "in order": {"shuffle": False, "solver": "rmsprop", "max_norm": 1.0, "l1": 0.01},
    "learned": {"activation": "prelu", "clip_norm": 0.1},
    "converged": {"tol": 10.0, "n_iter_no_change": 2},
}


def killed_and_resumed(path, epoch, make, data, every=1):
    """A fit that an error ends after an epoch, gone on with by another estimator."""
    error = InterruptAt("end", epoch, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        make().set_callbacks(Checkpoint(path, every=every), error).fit(*data)
    return make().set_callbacks(Checkpoint(path, resume=True)).fit(*data)


@each_device
@pytest.mark.parametrize("settings", FITS.values(), ids=FITS)
def test_a_resumed_fit_ends_with_the_same_bits(settings, device, tmp_path):
    def make():
        GLOBAL.seed(3)
        return regressor(**settings, device=device)

    data = X.astype(np.float32), Y.astype(np.float32), WEIGHTS.astype(np.float32)
    resumed = killed_and_resumed(tmp_path / "fit", 3, make, data)
    draw = GLOBAL.random_sample()
    expected = make().fit(*data)
    assert_same_bits(resumed.set_callbacks(), expected)
    if settings.get("random_state", 0) is None:
        assert draw == GLOBAL.random_sample()
    if not settings.get("early_stopping"):
        assert_same_bits(resumed.partial_fit(*data), expected.partial_fit(*data))


LONGER = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate": "adaptive", "random_state": None},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "early_stopping": True},
    "own length": {"learning_rate": WarmUp(Cosine(epochs=4), epochs=1), "dropout": 0.3},
    "swa": {"averaging": "swa", "averaging_start": 2},
    "converged": {"tol": 10.0, "n_iter_no_change": 4},
}


class FitsAnother(Callback):
    """Draws from generators of other seeds at the end of a fit."""

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "fit":
            regressor(random_state=9, max_iter=1).fit(X, Y)


@pytest.mark.parametrize("settings", LONGER.values(), ids=LONGER)
def test_a_larger_max_iter_prolongs_a_fit(settings, tmp_path):
    """Twice, and whatever else is fitted before the file is written."""
    callbacks = FitsAnother(), Checkpoint(tmp_path / "fit", every=4, resume=True)
    for epochs in (3, 5, 8, 8):
        GLOBAL.seed(3)
        longer = regressor(**settings, max_iter=epochs).set_callbacks(*callbacks).fit(X, Y)
    draw = GLOBAL.random_sample()
    GLOBAL.seed(3)
    expected = regressor(**settings, max_iter=8).fit(X, Y)
    assert_same_bits(longer.set_callbacks(), expected)
    assert draw == GLOBAL.random_sample()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"learning_rate": "cosine"}, "decides not only the end, but also learning_rate from the"),
        ({"learning_rate": WarmUp(OneCycle(), epochs=1)}, "also learning_rate from"),
        ({"averaging": "swa"}, "also averaging_start from"),
        ({"averaging": "swa", "learning_rate": "cosine"}, "also learning_rate and averaging_start"),
        ({"max_iter": 5}, "It has 6 epochs already"),
        ({"max_iter": 7, "alpha": 1.0}, "parameter alpha: 0.0001, now 1.0; parameter max_iter: 6"),
    ],
)
def test_where_max_iter_decides_more_than_the_end_a_fit_is_another_one(settings, says, tmp_path):
    changed = {"max_iter": 9, **settings}
    made_with = {name: settings[name] for name in settings if name not in ("max_iter", "alpha")}
    regressor(**made_with).set_callbacks(Checkpoint(tmp_path / "fit")).fit(X, Y)
    other = regressor(**changed).set_callbacks(Checkpoint(tmp_path / "fit", resume=True))
    with pytest.raises(ValueError, match=r"parameter max_iter: 6, now \d\.") as error:
        other.fit(X, Y)
    assert says in str(error.value)


def test_in_a_folder_another_max_iter_is_another_fit(tmp_path):
    for epochs in (3, 4):
        recorder = RecordingCallback()
        fitted = regressor(max_iter=epochs)
        fitted.set_callbacks(Checkpoint(tmp_path, resume=True), recorder).fit(X, Y)
    assert recorder.count_hooks("on_fit_task_begin") == 1 + 4
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_a_fit_goes_on_from_any_epoch(epoch, tmp_path):
    """From the last one that was written, whether before or after the end of training."""

    def make():
        return regressor(random_state=np.random.RandomState(5), early_stopping=True)

    resumed = killed_and_resumed(tmp_path / "fit", epoch, make, (X, Y), every=2)
    expected = make().fit(X, Y)
    assert_same_bits(resumed.set_callbacks(), expected)
    assert resumed.random_state.random_sample() == expected.random_state.random_sample()


def test_a_classifier_of_sparse_rows_goes_on(tmp_path):
    def make():
        device = "reference" if DEVICE == "cuda" else DEVICE
        return MLPClassifier((4,), max_iter=EPOCHS, random_state=1, device=device)

    data = sparse.csr_array(X), LABELS
    resumed = killed_and_resumed(tmp_path / "fit", 2, make, data)
    expected = make().fit(*data)
    assert_same_bits(resumed.set_callbacks(), expected)
    np.testing.assert_array_equal(outputs(resumed, X), outputs(expected, X))


def test_a_warm_start_goes_on(tmp_path):
    def make():
        return regressor(warm_start=True, dropout=0.1).fit(X, Y)

    resumed = killed_and_resumed(tmp_path / "fit", 2, make, (X, Y))
    assert_same_bits(resumed.set_callbacks(), make().fit(X, Y))
    fresh = regressor(warm_start=True, dropout=0.1)
    fresh.set_callbacks(Checkpoint(tmp_path / "fit", resume=True))
    with pytest.raises(ValueError, match=r"begins with: those of an earlier .*now new weights"):
        fresh.fit(X, Y)


def test_a_fit_that_had_ended_ends_at_once(tmp_path):
    """Converged, out of epochs, or stopped by a callback."""
    for number, (settings, callbacks) in enumerate(
        [({"tol": 10.0, "n_iter_no_change": 2}, []), ({}, []), ({}, [StopFitCallback()])]
    ):
        path, recorder = tmp_path / str(number), RecordingCallback()
        once = regressor(**settings).set_callbacks(Checkpoint(path, every=100), *callbacks)
        once.fit(X, Y)
        again = regressor(**settings).set_callbacks(Checkpoint(path, resume=True), recorder)
        again.fit(X, Y)
        assert recorder.count_hooks("on_fit_task_begin") == 1  # no epoch
        assert_same_bits(again.set_callbacks(), once.set_callbacks())


def test_an_interrupted_fit_can_go_on(tmp_path):
    callbacks = Checkpoint(tmp_path / "fit"), InterruptAt("begin")
    with pytest.warns(UserWarning, match="interrupted"):
        regressor().set_callbacks(*callbacks).fit(X, Y)
    resumed = regressor().set_callbacks(Checkpoint(tmp_path / "fit", resume=True)).fit(X, Y)
    assert_same_bits(resumed.set_callbacks(), regressor().fit(X, Y))


@pytest.mark.parametrize(
    ("settings", "data", "says"),
    [
        ({"alpha": 0.5}, (X, Y), "parameter alpha: 0.0001, now 0.5"),
        ({"hidden_layer_sizes": (6,)}, (X, Y), "hidden_layer_sizes"),
        ({"random_state": 1}, (X, Y), "parameter random_state: 0, now 1"),
        ({}, (X[:, :3], Y), "X: float64"),
        ({}, (np.vstack([X[:-1], X[:1]]), Y), "X: float64"),
        ({}, (X, Y + 1), "targets"),
        ({}, (X, Y, WEIGHTS), "weights of the rows: none, now"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused(settings, data, says, tmp_path):
    regressor().set_callbacks(Checkpoint(tmp_path / "fit")).fit(X, Y)
    other = regressor(**settings).set_callbacks(Checkpoint(tmp_path / "fit", resume=True))
    with pytest.raises(ValueError, match=says):
        other.fit(*data)
    assert not hasattr(other, "coefs_")
    again = regressor(n_jobs=2, verbose=False).set_callbacks(other._skl_callbacks[0])
    again.fit(X, Y)  # what changes no bits may differ


def test_a_parameter_that_is_new_since_a_checkpoint_has_had_its_default(tmp_path):
    """Of a checkpoint that an earlier version wrote."""
    with pytest.MonkeyPatch.context() as earlier:
        earlier.setattr(snapshots, "_FREE", snapshots._FREE | {"l1"})
        regressor().set_callbacks(Checkpoint(tmp_path / "fit")).fit(X, Y)
    resuming = Checkpoint(tmp_path / "fit", resume=True)
    resumed = regressor().set_callbacks(resuming).fit(X, Y)
    assert_same_bits(resumed.set_callbacks(), regressor().fit(X, Y))
    with pytest.raises(ValueError, match=r"another fit\. parameter l1: 0\.0, now 0\.5\. Fit"):
        regressor(l1=0.5).set_callbacks(resuming).fit(X, Y)


def different_weights(last):
    coefs = [np.zeros((7, 400)), np.zeros((400, 1))]
    coefs[0][3, 200] = last
    return coefs, [np.zeros(400), np.zeros(1)]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("activation", [Custom(lambda z, b=b: z + b, lambda z: 1.0) for b in (0.0, 1.0)]),
        ("weight_init", [different_weights(last) for last in (0.0, 1e-12)]),
    ],
    ids=["functions of one name", "arrays too long to print"],
)
def test_what_only_looks_the_same_is_another_fit(name, values, tmp_path):
    one, other = (regressor(hidden_layer_sizes=(400,), max_iter=1) for _ in range(2))
    one.set_params(**{name: values[0]}).set_callbacks(Checkpoint(tmp_path / "fit")).fit(X, Y)
    other.set_params(**{name: values[1]})
    with pytest.raises(ValueError, match=f"parameter {name}"):
        other.set_callbacks(Checkpoint(tmp_path / "fit", resume=True)).fit(X, Y)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "fit"
    regressor().set_callbacks(Checkpoint(path)).fit(X, Y)
    resuming = regressor().set_callbacks(Checkpoint(path, resume=True))
    for content in (pickle.dumps(np.ones(3)), path.read_bytes()[:-9], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a checkpoint of this version"):
            resuming.fit(X, Y)
    with pytest.raises(ValueError, match="every must be a number of epochs of at least 1, got 0"):
        Checkpoint(path, every=0)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        regressor().set_callbacks(Checkpoint(tmp_path / "none" / "fit")).fit(X, Y)
    with pytest.raises(FileNotFoundError, match="none/ for checkpoints: create it first"):
        Checkpoint(f"{tmp_path}/none/")
    with pytest.raises(ValueError, match="cannot keep a fit by 'lbfgs'"):
        regressor(solver="lbfgs").set_callbacks(Checkpoint(path)).fit(X, Y)
    with pytest.raises(TypeError, match=r"pipeline\[-1\].set_callbacks"):
        make_pipeline(regressor()).set_callbacks(Checkpoint(path)).fit(X, Y)


# ---- checkpoints of many fits --------------------------------------------------------------------

# Stratified folds in order have the same labels to train on, and differ in X alone.
ALTERNATELY = np.arange(len(X)) % 2
GRID = {"alpha": [0.1, 1.0], "random_state": [0, 1]}
FITS_OF_THE_SEARCH = 2 * 2 * 2 + 1


def search(*callbacks, **settings):
    network = MLPClassifier((4,), max_iter=3, device=DEVICE).set_callbacks(*callbacks)
    return GridSearchCV(network, GRID, cv=2, error_score="raise", **settings)


def test_a_search_that_was_killed_goes_on(tmp_path):
    """With a folder, and with the results of a search that was never killed."""
    checkpoint, killed = (
        Checkpoint(tmp_path, resume=True),
        InterruptAt("end", 11, ZeroDivisionError),
    )
    with pytest.raises(ZeroDivisionError):
        search(checkpoint, killed).fit(X, ALTERNATELY)
    assert len(list(tmp_path.iterdir())) == 4
    recorders = RecordingCallback(), RecordingCallback()
    again, at_once = (search(checkpoint, r).fit(X, ALTERNATELY) for r in recorders)
    expected = search().fit(X, ALTERNATELY)
    for ended in (again, at_once):
        scores = ended.cv_results_["mean_test_score"]
        np.testing.assert_array_equal(scores, expected.cv_results_["mean_test_score"])
        assert_same_bits(ended.best_estimator_.set_callbacks(), expected.best_estimator_)
    epochs = [r.count_hooks("on_fit_task_begin") - FITS_OF_THE_SEARCH for r in recorders]
    assert epochs == [3 * FITS_OF_THE_SEARCH - 11, 0]
    assert len(list(tmp_path.iterdir())) == FITS_OF_THE_SEARCH


def test_a_search_with_one_file_takes_no_state_of_another_candidate(tmp_path):
    path = tmp_path / "fit"
    with pytest.raises(ValueError, match=r"of another fit.* let the path of the Checkpoint be a"):
        search(Checkpoint(path, resume=True)).fit(X, ALTERNATELY)
    scores = search(Checkpoint(path)).fit(X, ALTERNATELY).cv_results_["mean_test_score"]
    expected = search().fit(X, ALTERNATELY).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(scores, expected)


class ReadIt(Callback):
    """Reads a file whenever it can be half written."""

    def __init__(self, path):
        self.path, self.seen = path, set()

    def on_fit_task_end(self, estimator, context):
        self.seen.add(checkpoint._read(self.path).of["parameter alpha"])


def test_a_file_that_two_fits_write_at_once_is_whole(tmp_path):
    read = ReadIt(tmp_path / "fit")
    with parallel_config("threading", n_jobs=2):
        search(Checkpoint(read.path), read).fit(X, ALTERNATELY)
    assert read.seen <= {"0.1", "1.0"}
    assert list(tmp_path.iterdir()) == [read.path]


def test_every_generator_has_a_file_of_its_own(tmp_path):
    """But not that of None, which differs in every process."""
    for random_state in (0, 1, np.random.RandomState(0), np.random.RandomState(1), None, None):
        regressor(random_state=random_state).set_callbacks(Checkpoint(tmp_path)).fit(X, Y)
    assert len(list(tmp_path.iterdir())) == 5


def test_warm_starts_one_after_the_other(tmp_path):
    """Each is another fit, as it begins with other weights; a second run of all ends at once."""
    fits = []
    for _ in range(2):
        recorder, fitted = RecordingCallback(), regressor(warm_start=True)
        fitted.set_callbacks(Checkpoint(tmp_path, every=99, resume=True), recorder)
        fits.append([fitted.fit(X, Y).loss_ for _ in range(3)])
        assert len(set(fits[-1])) == len(list(tmp_path.iterdir())) == 3
    assert fits[0] == fits[1]
    assert recorder.count_hooks("on_fit_task_begin") == 3


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_file_is_written_whole_or_not_at_all(failing, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError("No space left on device")

    path = tmp_path / "fit"
    regressor().set_callbacks(Checkpoint(path)).fit(X, Y)
    before = path.read_bytes()
    monkeypatch.setattr(checkpoint.os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        regressor().set_callbacks(Checkpoint(path)).fit(X, -Y)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_are_not_finite_replace_no_checkpoint(tmp_path):
    path = tmp_path / "fit"
    regressor().set_callbacks(Checkpoint(path)).fit(X, Y)
    before = path.read_bytes()
    diverging = regressor(solver="sgd", learning_rate_init=1e300, batch_size=5).set_callbacks(
        Checkpoint(path)
    )
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        diverging.fit(X, Y)
    assert path.read_bytes() == before


KILLED = """
import sys, time
import numpy as np
from fastmlp import MLPClassifier
from fastmlp.callbacks import Callback, Checkpoint

class Slowly(Callback):
    def on_fit_task_end(self, estimator, context):
        time.sleep(0.02)

data = np.load(sys.argv[1])
network = MLPClassifier({settings})
network.set_callbacks(Checkpoint(sys.argv[2], resume=True), Slowly()).fit(data["X"], data["y"])
"""
SETTINGS = {
    "hidden_layer_sizes": (8,), "max_iter": 200, "n_iter_no_change": 200, "random_state": 0,
    "dropout": 0.1, "early_stopping": True, "averaging": "ema", "learning_rate": "cosine",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.compiled
def test_a_fit_that_is_killed_twice_ends_with_the_same_bits(tmp_path):
    path, data = tmp_path / "fit", tmp_path / "data.npz"
    np.savez(data, X=X, y=Y > 0)
    code = KILLED.replace("{settings}", f"**{SETTINGS!r}")
    for _ in range(2):
        before = path.read_bytes() if path.exists() else b""
        process = subprocess.Popen([sys.executable, "-c", code, str(data), str(path)])
        deadline = time.monotonic() + 120
        while not path.exists() or path.read_bytes() == before:
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    network = MLPClassifier(**SETTINGS)
    recorder = RecordingCallback()
    network.set_callbacks(Checkpoint(path, resume=True), recorder).fit(X, Y > 0)
    assert 1 < recorder.count_hooks("on_fit_task_begin") < 200  # it did not begin anew
    assert_same_bits(network.set_callbacks(), MLPClassifier(**SETTINGS).fit(X, Y > 0))


# ---- lines in a log file -------------------------------------------------------------------------


@pytest.fixture
def seconds(monkeypatch):
    """A clock on which each look takes as many seconds as the list says."""
    clock = [0.0, 1.0]
    monkeypatch.setattr(epoch_log, "_now", lambda: clock.__setitem__(0, sum(clock)) or clock[0])
    return clock


def test_lines_of_a_log(seconds, capsys):
    settings = {"max_iter": 4, "early_stopping": True, "scoring": "loss"}
    fitted = regressor(**settings).set_callbacks(EpochLog(every_seconds=2)).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    loss, measured = fitted.loss_curve_[0], fitted.validation_loss_curve_[0]
    assert lines[0] == (
        f"MLPRegressor: epoch 1 of at most 4, loss {loss:.6g}, validation loss {measured:.6g}, "
        f"score {-measured:.6g} (best in 1), 54 rows/s, 0:00:01 elapsed, at most 0:00:03 left"
    )
    assert [line.split(",")[0].partition(": ")[2] for line in lines] == [
        "epoch 1 of at most 4", "epoch 3 of at most 4", "epoch 4 was the last",
    ]  # fmt: skip
    assert "left" not in lines[-1]


def test_lines_of_lbfgs_in_the_log_of_the_standard_library(seconds, caplog):
    log = EpochLog(every_seconds=0, write=logging.getLogger("fastmlp").info)
    with caplog.at_level(logging.INFO):
        fitted = regressor(solver="lbfgs", max_iter=2).set_callbacks(log).fit(X, Y)
    assert len(caplog.messages) == 3
    assert caplog.messages[0].startswith("MLPRegressor: iteration 1 of at most 2, loss ")
    assert f"loss {fitted.loss_:.6g}, 0:00:0" in caplog.messages[-1]
    assert "rows/s" not in caplog.text


def test_a_log_serves_many_fits_and_can_be_pickled():
    lines = []
    log = EpochLog(every_seconds=1e9, write=lines.append)
    network = regressor().set_callbacks(log)
    GridSearchCV(network, {"alpha": [0.1, 1.0]}, cv=2).fit(X, Y)
    assert len(lines) == 2 * (2 * 2 + 1)
    assert clone(network)._skl_callbacks[0] is log
    assert pickle.loads(pickle.dumps(EpochLog(every_seconds=3))).every_seconds == 3
    with pytest.raises(ValueError, match="every_seconds must be a number of at least 0, got -1"):
        EpochLog(every_seconds=-1)


def test_a_log_of_a_resumed_fit(tmp_path):
    lines = []
    for resume in (False, True):
        callbacks = Checkpoint(tmp_path / "fit", resume=resume), EpochLog(write=lines.append)
        regressor().set_callbacks(*callbacks).fit(X, Y)
    assert len(lines) == 2  # none of the second fit, which trains nothing
