"""Estimators on a Dask cluster of two worker processes: exact, the same bits, and robust."""

import inspect
import os
import pickle
import re
import signal
from collections import Counter

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPClassifier, MLPRegressor, devices
from fastmlp.callbacks import Callback, Checkpoint, EpochLog

da = pytest.importorskip("dask.array", reason="needs the extra dask")
dd = pytest.importorskip("dask.dataframe", reason="needs the extra dask")
distributed = pytest.importorskip("distributed", reason="needs the extra dask")

import dask  # noqa: E402
import pandas as pd  # noqa: E402

from fastmlp.dask import DaskMLPClassifier, DaskMLPRegressor, parts  # noqa: E402
from fastmlp.dask.windows import Order, shares  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # Few epochs are enough.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 5))
LABELS = (X @ RNG.normal(size=(5, 3))).argmax(axis=1)
Y = X @ RNG.normal(size=5) + 0.1 * RNG.normal(size=500)
#: Row chunks, and the rows of both parts that they make.
CHUNKS = {(100, 0, 250, 150): (350, 150), (500,): (500,), (60,) * 8 + (20,): (240, 260)}
CONVEX = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 1.0, "tol": 1e-8}
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 4, "batch_size": 64, "random_state": 0}


@pytest.fixture(scope="module")
def connected():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def client(connected):
    connected.wait_for_workers(2, timeout=60)  # also after a test that has killed one
    return connected


def chunked(chunks, y=LABELS):
    return da.from_array(X, (chunks, 5)), da.from_array(y, (chunks,))


def weights_of(estimator):
    return np.concatenate([np.ravel(a) for a in (*estimator.coefs_, *estimator.intercepts_)])


def assert_same(own, other, close=0.0):
    np.testing.assert_allclose(weights_of(own), weights_of(other), rtol=close, atol=close)


def order_of(counts, batch_size):
    """The rows as batches of all members' shares have them, without shuffles."""
    given = shares(counts, batch_size)
    ends = np.cumsum(given, axis=0) + np.cumsum([0, *counts[:-1]])
    each = zip((ends - given).ravel(), ends.ravel(), strict=True)
    return np.concatenate([np.arange(begin, end) for begin, end in each])


# ---- exact ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", CHUNKS, ids=len)
def test_lbfgs_equals_one_machine(client, chunks):
    for kind, plain, y in (
        (DaskMLPClassifier, MLPClassifier, LABELS),
        (DaskMLPRegressor, MLPRegressor, Y),
    ):
        own = kind(**CONVEX, random_state=0).fit(*chunked(chunks, y))
        other = plain(**CONVEX, random_state=0).fit(X, y)
        assert_same(own, other, close=1e-10)
        assert own.loss_ == pytest.approx(other.loss_, rel=1e-12)
        assert (own.n_iter_, own.t_) == (other.n_iter_, other.t_)
        attributes = {name for name in vars(other) if name.endswith("_")}
        assert attributes | {"in_memory_"} == {n for n in vars(own) if n.endswith("_")}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "sgd", "l1": 0.1, "clip_norm": 0.5, "max_norm": 1.0, "weight_decay": 0.1},
        {"solver": "adamw", "learning_rate": "cosine", "averaging": "ema"},
    ],
    ids=["adam", "sgd", "adamw"],
)
def test_synchronous_descent_equals_one_machine(client, settings):
    chunks = (100, 0, 250, 150)
    weights = np.arange(500) % 3 + 0.5
    settings = SMALL | settings | {"shuffle": False}
    together = DaskMLPClassifier(sync_every=1, **settings)
    together.fit(*chunked(chunks), sample_weight=weights)
    order = order_of(CHUNKS[chunks], 64)
    plain = MLPClassifier(**settings).fit(X[order], LABELS[order], weights[order])
    assert_same(together, plain, close=1e-12)
    np.testing.assert_allclose(together.loss_curve_, plain.loss_curve_, rtol=1e-12)
    assert together.learning_rates_ == plain.learning_rates_
    assert together.t_ == plain.t_


@pytest.mark.parametrize("sync_every", [1, 3, "epoch"])
def test_same_bits_from_run_to_run(client, sync_every):
    chunks = (60,) * 8 + (20,)
    settings = SMALL | {"sync_every": sync_every, "early_stopping": True, "dropout": 0.1}
    if sync_every == 1:
        settings["dropout"] = 0
    first, second = (DaskMLPClassifier(**settings).fit(*chunked(chunks)) for _ in range(2))
    assert_same(first, second)
    assert first.validation_scores_ == second.validation_scores_
    assert first.sync_every_ == (7 if sync_every == "epoch" else sync_every)
    assert first.loss_curve_[-1] < first.loss_curve_[0]


@pytest.mark.parametrize("batch_size", [64, 500])
def test_one_part_trains_as_one_machine(client, batch_size):
    """Between synchronisations a member does what a plain fit does, also in a single batch."""
    settings = SMALL | {"shuffle": False, "dropout": 0.2, "batch_size": batch_size}
    own = DaskMLPClassifier(sync_every=3, **settings).fit(*chunked((500,)))
    assert_same(own, MLPClassifier(**settings).fit(X, LABELS), close=1e-13)


def test_shares_fill_every_batch():
    for counts in ([350, 150], [1, 0, 499], [7], [3, 3, 3, 3]):
        given = shares(counts, 64)
        assert given.sum(axis=0).tolist() == counts
        sizes = given.sum(axis=1).tolist()
        assert sizes == [64] * (sum(counts) // 64) + [sum(counts) % 64] * (sum(counts) % 64 > 0)


def test_order_of_windows():
    counts = np.array([5, 0, 3])
    order = Order(counts, (1, 2, 3))
    whole = list(order.between(0, 8))
    assert sorted(window for window, _, _ in whole) == [0, 2]
    assert all(sorted(rows) == list(range(counts[window])) for window, rows, _ in whole)
    for first, last in ((0, 2), (2, 6), (6, 8)):
        pieces = [(w, row) for w, rows, _ in order.between(first, last) for row in rows]
        assert pieces == [(w, row) for w, rows, _ in whole for row in rows][first:last]
    starts = [order.batch_start(batch, 2) for batch in range(6)]
    first = counts[whole[0][0]]
    assert starts == [0, 2, 4, 5, 7, 8] if first == 5 else [0, 2, 3, 5, 7, 8]


# ---- collections ---------------------------------------------------------------------------------

NAMES = list("abcde")
PUBLIC = ("fit", "partial_fit", "predict", "score", "to_local", "from_local")


def unknown_sizes(array):
    """The same array, of which nobody knows how many rows a block has."""
    return array[da.from_array(np.ones(len(array), bool), (array.chunks[0],))]


def as_unknown(X, y, folder):
    return unknown_sizes(chunked((60,) * 8 + (20,))[0]), unknown_sizes(da.from_array(y, 60))


def as_frame(X, y, folder):
    frame = dd.from_pandas(pd.DataFrame(X, columns=NAMES).assign(y=y), npartitions=3)
    return frame[NAMES], frame["y"]


def as_parquet(X, y, folder):
    """Files of which few columns are used: alone, X and y would be read in other partitions."""
    frame = pd.DataFrame(X, columns=NAMES).assign(y=y)
    frame = frame.assign(**{f"unused{i}": frame["a"] for i in range(20)})
    for number in range(10):
        frame[number * 50 :][:50].to_parquet(folder / f"part{number}.parquet")
    frame = dd.read_parquet(folder)
    assert frame["y"].optimize().npartitions < frame.npartitions == 10
    return frame[NAMES], frame["y"]


def as_delayed(X, y, folder):
    bounds = [(0, 0), (0, 120), (120, 500)]
    return tuple([dask.delayed(array)[a:b] for a, b in bounds] for array in (X, y))


def as_sparse(X, y, folder):
    blocks = da.from_array(X, ((100, 250, 150), 5)).map_blocks(sparse.csr_matrix)
    return blocks, da.from_array(y, ((100, 250, 150),))


def as_persisted(X, y, folder):
    client = distributed.get_client()
    where = sorted(client.nthreads())
    blocks = [client.scatter(X[a:b], workers=[where[a > 99]]) for a, b in ((0, 100), (100, 500))]
    return [dask.delayed(block) for block in blocks], [dask.delayed(y)[:100], dask.delayed(y)[100:]]


def as_arrays(X, y, folder):
    return X, y


FORMS = (
    as_unknown, as_frame, as_parquet, as_delayed, as_sparse, as_persisted, as_arrays,
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_of_data(client, form, tmp_path):
    rows, y = form(X, LABELS, tmp_path)
    own = DaskMLPClassifier(**CONVEX, random_state=0).fit(rows, y)
    plain = MLPClassifier(**CONVEX, random_state=0).fit(X, LABELS)
    assert_same(own, plain, close=1e-10)
    assert own.n_features_in_ == 5
    assert list(getattr(own, "feature_names_in_", NAMES)) == NAMES
    if form in (as_frame, as_parquet):
        plain.feature_names_in_ = own.feature_names_in_
    predicted, probabilities = own.predict(rows), own.predict_proba(rows)
    lazy = form is not as_arrays
    assert isinstance(predicted, da.Array) == isinstance(probabilities, da.Array) == lazy
    np.testing.assert_array_equal(np.asarray(predicted), own.to_local().predict(form_of(own)))
    np.testing.assert_allclose(np.asarray(probabilities).sum(axis=1), 1)
    score = own.score(rows, y)
    assert isinstance(score, da.Array) == lazy
    assert float(score) == own.to_local().score(form_of(own), LABELS)


def form_of(estimator):
    return pd.DataFrame(X, columns=NAMES) if hasattr(estimator, "feature_names_in_") else X


@pytest.mark.parametrize("estimator", [DaskMLPClassifier, DaskMLPRegressor])
def test_docstrings_have_their_paragraphs(estimator):
    plain = inspect.signature(estimator._plain)
    assert [*inspect.signature(estimator).parameters] == [*plain.parameters, "client", "sync_every"]
    texts = [estimator.__doc__, *(getattr(estimator, name).__doc__ for name in PUBLIC)]
    for text in texts:
        assert not re.search(r"^ *\{\w+\}$", text, re.MULTILINE), text


def test_regressor_on_several_targets(client):
    targets = np.stack([Y, -Y], axis=1)
    rows, ys = da.from_array(X, (150, 3)), da.from_array(targets, (200, 1))
    own = DaskMLPRegressor(**CONVEX, random_state=0).fit(rows, ys)
    plain = MLPRegressor(**CONVEX, random_state=0).fit(X, targets)
    assert_same(own, plain, close=1e-10)
    assert own.predict(rows).chunks == ((150, 150, 150, 50), (2,))
    assert float(own.score(rows, ys)) == pytest.approx(plain.score(X, targets), rel=1e-12)


def test_class_weights_and_labels_of_all_blocks(client):
    """A class that only one block has, weights by the rows of all, and labels as text."""
    y = np.array(["common", "rare"])[(np.arange(500) > 480).astype(int)]
    labels = np.stack([LABELS == 0, LABELS == 1], axis=1).astype(int)
    for target in (y, labels):
        settings = CONVEX | {"random_state": 0, "class_weight": "balanced"}
        blocks = da.from_array(target, (100, *target.shape[1:]))
        own = DaskMLPClassifier(**settings).fit(da.from_array(X, (100, 5)), blocks)
        plain = MLPClassifier(**settings).fit(X, target)
        assert_same(own, plain, close=1e-10)
        np.testing.assert_array_equal(own.classes_, plain.classes_)


def test_early_stopping_and_validation_rows(client):
    settings = SMALL | {"early_stopping": True, "sync_every": 3, "max_iter": 3}
    fits = []
    for scoring in (None, "loss", "balanced_accuracy"):
        own = DaskMLPClassifier(scoring=scoring, **settings).fit(*chunked((50,) * 10))
        fits.append(own)
        assert own.t_ == 450 * own.n_iter_
        assert own.best_validation_score_ == max(own.validation_scores_)
    assert fits[0].loss_curve_ == fits[1].loss_curve_ == fits[2].loss_curve_
    np.testing.assert_allclose(
        fits[1].validation_scores_, -np.array(fits[0].validation_loss_curve_)
    )
    few = DaskMLPClassifier(**settings).fit(*chunked((300, 200)))
    assert few.t_ == 450 * few.n_iter_
    given = DaskMLPClassifier(**settings)
    given.fit(*chunked((300, 200)), X_val=da.from_array(X[:40]), y_val=LABELS[:40])
    assert given.t_ == 500 * given.n_iter_
    assert len(given.validation_scores_) == given.n_iter_


def test_partial_fit_warm_start_and_local(client):
    rows, y = chunked((250, 250))
    settings = SMALL | {"shuffle": False, "sync_every": 1}
    own = DaskMLPClassifier(**settings)
    for _ in range(2):
        own.partial_fit(rows, y, classes=[0, 1, 2])
    order = order_of((250, 250), 64)
    plain = MLPClassifier(**SMALL | {"shuffle": False})
    for _ in range(2):
        plain.partial_fit(X[order], LABELS[order], classes=[0, 1, 2])
    assert_same(own, plain, close=1e-12)
    gone_on = DaskMLPClassifier.from_local(plain, client, sync_every=1).partial_fit(rows, y)
    assert_same(gone_on, own.partial_fit(rows, y), close=1e-12)
    assert type(gone_on.to_local()) is MLPClassifier
    assert gone_on.to_local().partial_fit(X, LABELS).t_ == 2000
    with pytest.raises(TypeError, match="goes on with an MLPClassifier"):
        DaskMLPClassifier.from_local(MLPRegressor())
    with pytest.raises(ValueError, match="has classes not in"):
        own.partial_fit(rows, y + 1)
    warm = DaskMLPRegressor(warm_start=True, **settings | {"max_iter": 1})
    loss = warm.fit(rows, da.from_array(Y, 250)).loss_
    assert warm.fit(rows, da.from_array(Y, 250)).loss_ < loss


def test_clone_pickle_and_search(client):
    own = DaskMLPClassifier(**CONVEX, client=client, random_state=0)
    assert clone(own).client is client
    own.fit(*chunked((300, 200)))
    restored = pickle.loads(pickle.dumps(own))
    assert restored.client is None
    np.testing.assert_array_equal(restored.predict(X), own.predict(X))
    search = GridSearchCV(own, {"alpha": [1.0, 1e4]}, cv=2).fit(X, LABELS)
    plain = GridSearchCV(own.to_local(), {"alpha": [1.0, 1e4]}, cv=2).fit(X, LABELS)
    assert search.best_params_ == plain.best_params_
    np.testing.assert_allclose(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


class Watch(Callback):
    """Calls a function after each epoch."""

    def __init__(self, act):
        self.act = act

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_name == "epoch":
            return self.act(context.task_id, fitted_estimator)
        return None


def test_callbacks_stop_and_see_the_network(client, capsys):
    seen = []

    def act(epoch, fitted):
        seen.append(fitted.score(X, LABELS))
        return epoch == 1

    own = DaskMLPClassifier(sync_every="auto", verbose=True, **SMALL)
    own.set_callbacks(Watch(act)).fit(*chunked((250, 250)))
    assert own.n_iter_ == len(seen) == 2
    assert seen[-1] == own.score(X, LABELS)
    assert 2 <= own.sync_every_ <= 8
    assert f"synchronised every {own.sync_every_} batches" in capsys.readouterr().out


class Losses(Callback):
    """Notes the tasks that end and their losses on all rows; stops after some synchronisations."""

    def __init__(self, stop):
        self.stop, self.losses, self.tasks = stop, [], []

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.tasks.append(("end", context.task_name, context.task_id))
        if context.task_name != "synchronisation":
            return None
        self.losses.append(log_loss(LABELS, fitted_estimator.predict_proba(X)))
        return len(self.losses) == self.stop


@pytest.mark.parametrize("sync_every", [1, 3])
def test_callbacks_after_each_synchronisation(client, sync_every):
    settings = SMALL | {"sync_every": sync_every, "learning_rate_init": 0.01}
    each = -(-8 // sync_every)  # synchronisations in an epoch of 8 batches
    stop = each + 2
    losses, lines = Losses(stop), []
    own = DaskMLPClassifier(**settings).set_callbacks(
        losses, EpochLog(every_seconds=0, write=lines.append)
    )
    rows = chunked((250, 250))
    own.fit(*rows)
    parts = [(hook, "synchronisation", n) for n in range(each) for hook in ("begin", "end")]
    assert losses.tasks == [
        ("begin", "fit", 0),
        *[("begin", "epoch", 0), *parts, ("end", "epoch", 0)],
        *[("begin", "epoch", 1), *parts[:4], ("end", "epoch", 1)],
        ("end", "fit", 0),
    ]
    assert own.n_iter_ == 2
    assert len(lines) == 3  # of both epochs, and of the fit
    assert losses.losses[-1] < losses.losses[0]
    assert losses.losses[-1] == log_loss(LABELS, own.predict_proba(X))
    whole = DaskMLPClassifier(**settings | {"max_iter": 1}).fit(*rows)
    assert losses.losses[each - 1] == log_loss(LABELS, whole.predict_proba(X))


def test_a_checkpoint_goes_on_with_the_same_bits(client, tmp_path):
    def act(epoch, fitted):
        if epoch == 1:
            raise InterruptedError

    rows, settings = chunked((250, 250)), SMALL | {"sync_every": 3}
    whole = DaskMLPClassifier(**settings).fit(*rows)
    checkpoint = Checkpoint(tmp_path / "fit", resume=True)
    with pytest.raises(InterruptedError):
        DaskMLPClassifier(**settings).set_callbacks(checkpoint, Watch(act)).fit(*rows)
    own = DaskMLPClassifier(**settings).set_callbacks(checkpoint).fit(*rows)
    assert_same(own, whole)
    with pytest.raises(ValueError, match="The checkpoint is of another fit"):
        own.fit(rows[0], rows[1] % 2)


@pytest.mark.skipif("cuda" not in devices.present(), reason="needs a GPU or the simulator")
def test_workers_with_a_gpu():
    with distributed.Client(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0",
        set_as_default=False,
    ) as client:  # fmt: skip
        settings = {"hidden_layer_sizes": (2,), "max_iter": 1, "batch_size": 8, "random_state": 0}
        data = da.from_array(X[:20], (10, 5)), da.from_array(LABELS[:20], 10)
        own, other = (
            DaskMLPClassifier(**settings, client=client, sync_every=2, device=device).fit(*data)
            for device in ("cuda", "cpu")
        )
        assert own.device_ == "cuda"
        assert_same(own, other, close=1e-10)


# ---- larger than memory --------------------------------------------------------------------------


def test_rows_that_are_read_block_by_block(client, monkeypatch, tmp_path):
    """They give the same sums; and the order of an epoch is known from the seed alone."""
    monkeypatch.setattr(parts, "MEMORY_SHARE", 0.0)
    np.save(tmp_path / "X.npy", X)
    rows = da.from_array(np.load(tmp_path / "X.npy", mmap_mode="r"), (70, 5))
    y = da.from_array(LABELS, 70)
    own = DaskMLPClassifier(**CONVEX, random_state=0).fit(rows, y)
    assert not own.in_memory_
    assert_same(own, MLPClassifier(**CONVEX, random_state=0).fit(X, LABELS), close=1e-10)
    for sync_every in (1, 3):
        settings = SMALL | {"sync_every": sync_every, "early_stopping": True}
        first, second = (DaskMLPClassifier(**settings).fit(rows, y) for _ in range(2))
        assert_same(first, second)
        assert first.loss_curve_[-1] < first.loss_curve_[0]


# ---- faults --------------------------------------------------------------------------------------


def kill(client, address):
    """Kill a worker's process, as an operating system does that has no memory left."""
    pid = client.run(os.getpid, workers=[address])[address]
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("sync_every", [1, 3])
def test_a_lost_worker_does_not_change_the_result(client, sync_every):
    settings = SMALL | {"sync_every": sync_every, "max_iter": 3}
    undisturbed = DaskMLPClassifier(**settings).fit(*chunked((250, 250)))

    def act(epoch, fitted):
        if epoch == 0:
            kill(client, min(client.nthreads()))  # its nanny starts another one

    own = DaskMLPClassifier(**settings).set_callbacks(Watch(act))
    with pytest.warns(UserWarning, match="was lost. Its rows were loaded again") as caught:
        own.fit(*chunked((250, 250)))
    assert Counter(w.category for w in caught)[UserWarning] == 1
    assert caught[0].filename == __file__
    assert_same(own, undisturbed)
    assert own.loss_curve_ == undisturbed.loss_curve_


def deadly(value, file):
    """The value; where the file does not exist yet, the process dies instead."""
    if not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@pytest.mark.compiled
def test_work_that_is_forgotten_is_done_again(tmp_path, monkeypatch):
    """Nobody computes a block if its worker dies while there is no other one, which comes later."""
    monkeypatch.setattr(parts, "LOOK_EVERY", 0.2)
    with (
        distributed.LocalCluster(n_workers=1, dashboard_address=":0", silence_logs=50) as cluster,
        distributed.Client(cluster),
    ):
        rows = [dask.delayed(deadly)(X, tmp_path / "died")]
        own = DaskMLPClassifier(**CONVEX, random_state=0).fit(rows, [dask.delayed(LABELS)])
    assert_same(own, MLPClassifier(**CONVEX, random_state=0).fit(X, LABELS), close=1e-10)


@pytest.mark.compiled
def test_all_workers_lost():
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        own = DaskMLPClassifier(client=client, **SMALL).fit(*chunked((500,)))
        before = weights_of(own)

        def act(epoch, fitted):
            (worker,) = cluster.workers.values()
            cluster.sync(worker.close)

        own.set_callbacks(Watch(act))
        with pytest.raises(RuntimeError, match="All workers of the Dask cluster were lost"):
            own.fit(*chunked((500,)))
        np.testing.assert_array_equal(weights_of(own), before)
        with pytest.raises(RuntimeError, match="has no workers"):
            own.fit(*chunked((500,)))


def test_ctrl_c_keeps_the_last_synchronisation(client):
    def act(epoch, fitted):
        if epoch == 1:
            raise KeyboardInterrupt

    own = DaskMLPClassifier(sync_every=2, **SMALL).set_callbacks(Watch(act))
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        own.fit(*chunked((250, 250)))
    two = DaskMLPClassifier(sync_every=2, **SMALL | {"max_iter": 2}).fit(*chunked((250, 250)))
    assert_same(own, two)


def with_nan(X, y):
    X = X.copy()
    X[400, 3] = np.nan
    return da.from_array(X, (250, 5)), da.from_array(y, 250)


def of_unequal_width(X, y):
    return [dask.delayed(X[:250]), dask.delayed(X[250:, :4])], [dask.delayed(y)[:250]] * 2


def of_unequal_length(X, y):
    return [dask.delayed(X[:250]), dask.delayed(X[250:])], [dask.delayed(y)[:240]] * 2


def of_unequal_blocks(X, y):
    return [dask.delayed(X)], [dask.delayed(y)[:250]] * 2


def without_rows(X, y):
    return da.from_array(X, (250, 5))[:0], da.from_array(y, 250)[:0]


def of_no_weight(X, y):
    return da.from_array(X, (250, 5)), da.from_array(y, 250), np.zeros(500)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (with_nan, "Input X contains NaN(.|\n)*Columns with NaN: 3"),
        (of_unequal_width, "Block 1 of X has 4 features, but the first block with rows has 5"),
        (of_unequal_length, "inconsistent numbers of samples"),
        (of_unequal_blocks, "X has 1 blocks, but y has 2"),
        (without_rows, "Found array with 0 sample"),
        (of_no_weight, "Sample weights must contain at least one non-zero number"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_data_that_a_plain_fit_refuses(client, form, message):
    own = DaskMLPClassifier(**SMALL)
    before = dict(vars(own))
    with pytest.raises(ValueError, match=message):
        own.fit(*form(X, LABELS))
    assert vars(own) == before


def test_settings_that_are_refused(client):
    rows, y = chunked((250, 250))
    for settings, message in (
        ({"sync_every": 0}, "'sync_every' parameter of DaskMLPClassifier must be 'auto'"),
        ({"sync_every": 1, "dropout": 0.5}, "dropout needs local batches"),
        ({"activation": "sine"}, "'activation' parameter of DaskMLPClassifier"),
    ):
        with pytest.raises(ValueError, match=message):
            DaskMLPClassifier(**SMALL | settings).fit(rows, y)
    with pytest.raises(NotFittedError):
        DaskMLPClassifier().predict(rows)


def test_no_client_and_a_closed_one(monkeypatch):
    def none():
        raise ValueError("No global client found and no address provided")

    monkeypatch.setattr("fastmlp.dask.base.get_client", none)
    with pytest.raises(ValueError, match=r"needs a Dask client.*distributed.Client\(\)"):
        DaskMLPClassifier().fit(*chunked((250, 250)))
    with distributed.Client(
        processes=False, n_workers=1, dashboard_address=":0", set_as_default=False
    ) as client:
        pass
    with pytest.raises(ValueError, match="The Dask client is closed"):
        DaskMLPClassifier(client=client).fit(*chunked((250, 250)))
