"""The CUDA device: on a GPU, or where there is none in Numba's simulator, on tiny networks.

``NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/test_cuda.py`` runs it in the simulator, whose
threads are Python's. On a GPU, the laws of test_devices.py hold the device too.
"""

import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from designs import covering
from laws import (
    ACTIVATIONS,
    CLOSE,
    DTYPES,
    EVERYTHING,
    LOSSES,
    PAIRS,
    REGIMES,
    assert_equals_reference,
    make_data,
    make_optimizer,
    make_parameters,
    run_epochs,
)
from numba.core import config
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from tasks import OPTIONS, left_behind

from fastmlp import (
    MLPClassifier,
    MLPRegressor,
    activations,
    devices,
    fit_many,
    losses,
    optimizers,
)
from fastmlp.callbacks import Callback, Checkpoint
from fastmlp.network import Network
from fastmlp.predictor import PAIR, PLAIN, SHARES, Predictor
from fastmlp.regularization import Regularization

if lacking := devices.lacking():
    # Without a GPU, `NUMBA_ENABLE_CUDASIM=1` lets this file run in the simulator.
    pytest.skip(f"no GPU: {lacking}", allow_module_level=True)

from fastmlp.devices import cuda
from fastmlp.devices.cuda import blocks, group, layered, memory, phases, runs
from fastmlp.devices.cuda.toolkit import clusters
from fastmlp.devices.cuda.toolkit import cuda as numba_cuda
from fastmlp.training import Rows, loss_and_gradient

pytestmark = [pytest.mark.cuda, pytest.mark.slow]
SIMULATED = bool(config.ENABLE_CUDASIM)
SMALL = layered.TILES[8][-1]


#: Those at hand: neither the simulator nor an older GPU has clusters.
PRESENT = [regime for regime in REGIMES if regime != "cluster" or clusters()]


def choose(regime, monkeypatch):
    for name, most in REGIMES[regime].items():
        monkeypatch.setattr(cuda, name, most)


@pytest.fixture
def in_regime(regime, monkeypatch):
    """The regime that is the test's parameter of this name."""
    choose(regime, monkeypatch)


@pytest.fixture(params=PRESENT)
def every_regime(request, monkeypatch):
    choose(request.param, monkeypatch)


@pytest.fixture
def many_blocks(monkeypatch):
    choose("many blocks", monkeypatch)


def assert_trains_like_reference(network, rows=5, dtype=np.float64, **settings):
    data = make_data(network, rows, dtype)
    settings = {"batch_size": 3, "epochs": 1} | settings
    assert_equals_reference("cuda", network, data, CLOSE[dtype], **settings)


#: What depends on where in the run a batch is.
FOR_TWO_LAYERS = replace(EVERYTHING, dropout=EVERYTHING.dropout[:2])
COUNTED = Regularization(l2=0.1, dropout=(0.2, 0.5))


def in_fours(things):
    """Networks of four hidden layers take four activations at once."""
    return [tuple(things[i : i + 4]) for i in range(0, len(things), 4)]


# ---- the same numbers as the reference -----------------------------------------------------------


# Not each activation with each loss: the simulator is slow, and test_devices.py has that on a GPU.
@pytest.mark.usefixtures("in_regime")
@covering("four, dtype, regime", in_fours(ACTIVATIONS), DTYPES, PRESENT)
def test_activations(four, dtype):
    units = (3, *(4, 3, 5, 2)[: len(four)], 2)
    assert_trains_like_reference(Network(units, four, "squared_error"), dtype=dtype)


@pytest.mark.usefixtures("in_regime")
@covering("loss, dtype, regime", LOSSES, DTYPES, PRESENT)
def test_losses(loss, dtype):
    assert_trains_like_reference(Network((2, 3, 3), "tanh", loss), dtype=dtype)


@pytest.mark.parametrize(("loss", "output"), PAIRS)
def test_other_output_activations(loss, output):
    assert_trains_like_reference(Network((2, 3, 3), "tanh", loss, output), optimizer="sgd")


@pytest.mark.usefixtures("in_regime")
@covering("optimizer, dtype, regime", optimizers.OPTIMIZERS, DTYPES, PRESENT)
def test_everything_at_once(optimizer, dtype):
    hidden = activations.Swish(learnable=True), "maxout"
    network = Network((3, 6, 4, 2), hidden, losses.Huber(0.5))
    assert_trains_like_reference(
        network, dtype=dtype, optimizer=optimizer, regularization=EVERYTHING
    )


@pytest.mark.usefixtures("in_regime")
@covering(
    "units, batch_size, regime",
    [
        (1, 1),
        (2, 1, 1, 2),
        (SMALL.columns - 1, SMALL.columns, SMALL.columns + 1, 2),
        (SMALL.depth + 1, SMALL.rows + 1, layered.TILES[8][0].columns + 1),
    ],
    [1, 5, layered.LONGEST_BLOCK + 3],
    PRESENT,
)
def test_awkward_shapes(units, batch_size):
    network = Network(units, "relu", "log_loss" if units[-1] > 1 else "squared_error")
    rows = min(2 * batch_size - 1 if batch_size > 1 else 2, 300)
    assert_trains_like_reference(network, rows, batch_size=min(batch_size, rows), epochs=1)


@pytest.mark.parametrize(
    ("dtype", "tile"),
    [(dtype, tile) for dtype in DTYPES for tile in layered.TILES[np.dtype(dtype).itemsize]],
    ids=str,
)
def test_every_tile(many_blocks, monkeypatch, dtype, tile):
    monkeypatch.setattr(layered, "TILES", {np.dtype(dtype).itemsize: (tile,)})
    units = tile.columns + 1, tile.rows + tile.depth + 2, 2
    rows = tile.rows + 1
    # Of thousands of gradients some are close to 0, where Adam's steps depend on their rounding.
    settings = {"batch_size": rows, "epochs": 1, "optimizer": "sgd"}
    assert_trains_like_reference(Network(units, "tanh", "log_loss"), rows, dtype, **settings)


@covering(
    "sides, precision bits, extra",
    layered.SIDES, zip(devices.PRECISIONS, (22, 11, 8), strict=True), [4] if SIMULATED else [2, 4],
)  # fmt: skip
def test_products_on_tensor_cores(many_blocks, monkeypatch, sides, precision, bits, extra):
    """As exact as the significant bits of their factors; with four copied at once, or one."""
    monkeypatch.setattr(layered, "SIDES", (sides,))
    monkeypatch.setattr(layered, "LEAST_TENSOR_ROWS", 1)
    monkeypatch.setattr(layered, "LEAST_TENSOR_UNITS", 1)
    monkeypatch.setattr(layered, "multiprocessors", lambda: 1)
    monkeypatch.setattr(layered, "MOST_PADDED", np.inf)
    tiles = []
    for name in ("forward_kernel", "backward_kernel", "gradient_kernel"):
        make = getattr(layered, name)

        def made(kind, tile, *choices, make=make, **named):
            tiles.append(tile)
            return make(kind, tile, *choices, **named)

        monkeypatch.setattr(layered, name, made)
    rows, columns, depth = sides[:3]
    units = (depth if SIMULATED else 5 * depth) + extra, columns // 2 + extra, 2
    network, rows = Network(units, "tanh", "squared_error"), rows + 2
    X, targets, weights = make_data(network, rows, np.float32)
    parameters = make_parameters(network, np.float32)
    device = cuda.CudaDevice(network, parameters, batch_size=rows, precision=precision)
    own = device.sums(Rows(X, targets, weights))
    exact = [array.astype(np.float64) for array in (X, targets, weights)]
    reference = devices.ReferenceDevice(network, parameters.astype(np.float64), batch_size=rows)
    expected = reference.sums(Rows(*exact))
    assert {tile.precision for tile in tiles} == {precision}
    assert any(tile.aligned for tile in tiles) == (extra == 4)
    error = np.abs(own.gradient - expected.gradient).max() / np.abs(expected.gradient).max()
    assert 2.0**-bits / 100 < error < 2.0**-bits * 8


@pytest.mark.usefixtures("many_blocks")
def test_more_features_than_a_warp_gathers_at_once():
    """They are gathered to drop some of them; else products read them where they are."""
    network = Network((2 * phases.SPAN + 3, 2), (), "squared_error")
    for dropout in (), (0.3,):
        assert_trains_like_reference(network, regularization=Regularization(dropout=dropout))


def test_no_copy_of_the_gradient_adds_another_order(many_blocks, monkeypatch):
    """With one copy or several, sums differ by rounding alone."""
    results = []
    network = Network((3, 4, 2), "tanh", "log_loss")
    for multiprocessors in (1, 64):
        monkeypatch.setattr(layered, "multiprocessors", lambda n=multiprocessors: n)
        data = make_data(network, 12, np.float64)
        results.append(run_epochs("cuda", network, data, batch_size=12, epochs=1))
    for own, other in zip(*results, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("every_regime")
def test_same_bits_from_run_to_run():
    network = Network((3, 5, 2), "relu", "log_loss")
    data = make_data(network, 5, np.float32)
    settings = {"batch_size": 3, "epochs": 1, "regularization": FOR_TWO_LAYERS}
    first, second = (run_epochs("cuda", network, data, **settings) for _ in range(2))
    for own, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.usefixtures("every_regime")
def test_many_epochs():
    epochs = 8 if SIMULATED else 20
    assert_trains_like_reference(Network((2, 2, 1), "tanh", "squared_error"), 4, epochs=epochs)


@pytest.mark.usefixtures("every_regime")
def test_several_launches_an_epoch(monkeypatch):
    """A long epoch is cut into runs, lest Ctrl-C would have to wait for its end."""
    network = Network((3, 5, 2), "relu", "log_loss")
    data = make_data(network, 9, np.float64)
    settings = {"batch_size": 2, "epochs": 1, "regularization": COUNTED}
    expected = run_epochs("cuda", network, data, **settings)
    for kind in (cuda.SingleBlock, cuda.Layered):
        monkeypatch.setattr(kind, "longest_run", 2 * 6 * 2 * network.size)
    for own, other in zip(run_epochs("cuda", network, data, **settings), expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-14)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("rows", [1, 2 * layered.LONGEST_BLOCK + 1 if SIMULATED else 70])
def test_loss_and_gradient(rows, weighted):
    network = Network((3, 4, 2), ["prelu"], "log_loss")
    X, targets, weights = make_data(network, rows, np.float64)
    settings = {"regularization": Regularization(l2=0.1, l1=0.03), "batch_size": 2}
    parameters = make_parameters(network, np.float64)
    results = []
    for name in ("cuda", "reference"):
        device = devices.load(name)(network, np.zeros_like(parameters), **settings)
        arguments = X, targets, weights if weighted else None
        loss_and_gradient(device, np.full_like(parameters, 0.01), Rows(*arguments))  # no trace
        results.append(loss_and_gradient(device, parameters, Rows(*arguments)))
        sums, alone = (device.sums(Rows(*arguments), gradient=wanted) for wanted in (True, False))
        assert alone == (sums.loss, sums.weight, None)
        out = np.empty((len(X), network.units[-1]))
        assert device.sums(Rows(*arguments), gradient=False, out=out) == alone
        np.testing.assert_array_equal(out, device.forward(X, np.empty_like(out)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-10, atol=1e-14)


class Recording:
    """Stands for a graph: what is queued meanwhile does not run, but is repeated later."""

    current = None

    def __init__(self, stream):
        self.program = None

    @contextmanager
    def recorded(self):
        Recording.current = self
        yield
        Recording.current = None

    def launch(self):
        for launch in self.program:
            launch()


@pytest.mark.skipif(not SIMULATED, reason="a GPU has graphs of its own")
def test_graphs_repeat_batches(many_blocks, monkeypatch):
    network = Network((2, 3, 1), "relu", "squared_error")
    data = make_data(network, 11, np.float64)
    settings = {"batch_size": 2, "epochs": 2, "regularization": FOR_TWO_LAYERS}
    expected = run_epochs("cuda", network, data, **settings)
    recorded, queue = [], layered._queue

    def queue_or_record(program):
        if Recording.current is None:
            queue(program)
        else:
            Recording.current.program = program
            recorded.append(len(program))

    monkeypatch.setattr(layered, "SIMULATED", False)
    monkeypatch.setattr(layered, "GRAPH_BATCHES", 3)
    monkeypatch.setattr(layered, "Graph", Recording)
    monkeypatch.setattr(layered, "_queue", queue_or_record)
    for own, other in zip(run_epochs("cuda", network, data, **settings), expected, strict=True):
        np.testing.assert_array_equal(own, other)
    one = min(recorded)
    assert sorted(recorded) == [one, 3 * one]  # each recorded once, for both epochs


def test_both_verbs_on_one_device():
    """Rows that a gradient was computed of have no room for what training leaves."""
    network = Network((2, 3, 1), "relu", "squared_error")
    X, targets, weights = make_data(network, 5, np.float64)
    results = []
    for name in ("cuda", "reference"):
        parameters = make_parameters(network, np.float64)
        device = devices.load(name)(
            network,
            parameters,
            optimizer=make_optimizer("adam", parameters),
            regularization=Regularization(l2=0.3),
            batch_size=2,
        )
        loss, gradient = loss_and_gradient(device, parameters, Rows(X, targets, weights))
        losses = [device.train(Rows(X, targets, weights), np.arange(5)) for _ in range(2)]
        results.append((loss, gradient, losses, device.parameters()))
    for own, other in zip(*results, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-10)


@pytest.mark.parametrize("rows", [1, 3])
def test_work_of_a_few_rows_at_a_time(rows, many_blocks, monkeypatch):
    network = Network((2, 3, 2), "relu", "log_loss")
    monkeypatch.setattr(layered, "WORK_BYTES", rows * 8 * (4 + 2 * 4 + 2 + 4))
    assert_trains_like_reference(network, 7, batch_size=5, regularization=FOR_TWO_LAYERS)


# ---- rows ----------------------------------------------------------------------------------------


def strided(X):
    return np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2]


def read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


@pytest.mark.parametrize(
    "way_in", [np.asfortranarray, strided, read_only, lambda X: X.astype(np.float32)]
)
def test_every_way_in(way_in):
    network = Network((3, 4, 1), "relu", "binary_log_loss")
    X, targets, weights = make_data(network, 4, np.float64)
    X = X.astype(np.float32).astype(np.float64)
    settings = {"batch_size": 3, "epochs": 1}
    expected = run_epochs("cuda", network, (X, targets, weights), **settings)
    data = way_in(X), np.asfortranarray(targets), weights[::-1].copy()[::-1]
    for own, other in zip(
        run_epochs("cuda", network, data, dtype=np.float64, **settings), expected, strict=True
    ):
        np.testing.assert_array_equal(own, other)


@pytest.mark.usefixtures("every_regime")
@pytest.mark.parametrize("weighted", [True, False])
def test_rows_that_do_not_fit_pass_through(weighted, monkeypatch):
    network = Network((3, 4, 2), "relu", "log_loss")
    X, targets, weights = make_data(network, 11, np.float64)
    data = X, targets, weights if weighted else None
    settings = {"batch_size": 2, "epochs": 1, "regularization": COUNTED}
    expected = run_epochs("cuda", network, data, **settings)
    monkeypatch.setattr(runs, "SHARE", 0)
    monkeypatch.setattr(runs, "BLOCK_BYTES", 2 * 2 * (3 + 2 + 1) * 8)
    streamed = []
    monkeypatch.setattr(runs.Streamed, "send", counted(runs.Streamed.send, streamed))
    for own, other in zip(run_epochs("cuda", network, data, **settings), expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-14)
    assert len(streamed) == 3  # six batches, two at a time


def counted(function, calls):
    def counting(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counting


def test_gradient_of_rows_that_do_not_fit(monkeypatch):
    network = Network((3, 4, 2), "relu", "log_loss")
    data = make_data(network, 11, np.float64)
    parameters = make_parameters(network, np.float64)
    results = []
    for share in (0.8, 0):
        monkeypatch.setattr(runs, "SHARE", share)
        monkeypatch.setattr(cuda, "LONGEST_BLOCK", 4)
        monkeypatch.setattr(runs, "BLOCK_BYTES", 1)
        device = cuda.CudaDevice(network, parameters)
        results.append(loss_and_gradient(device, parameters, Rows(*data)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-14)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-12, atol=1e-15)


def test_too_little_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 100)
    X, y = np.ones((6, 2)), np.arange(6)
    regressor = MLPRegressor(hidden_layer_sizes=(3,), device="cuda")
    with pytest.raises(MemoryError, match=r"GPU has 0\.00 GB of memory left"):
        regressor.fit(X, y)
    assert not hasattr(regressor, "coefs_")


def test_weights_that_sum_to_zero():
    network = Network((2, 1), (), "squared_error")
    X, targets, weights = make_data(network, 4, np.float64)
    weights[:2] = 0
    parameters = make_parameters(network, np.float64)
    device = cuda.CudaDevice(
        network, parameters, optimizer=make_optimizer("adam", parameters), batch_size=2
    )
    with pytest.raises(ZeroDivisionError, match="can't be normalized"):
        device.train(Rows(X, targets, weights), np.arange(4))


# ---- estimators ----------------------------------------------------------------------------------


def small_data(classes=3):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 3))
    return X, np.arange(12) % classes


@pytest.mark.usefixtures("every_regime")
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "sgd", "learning_rate": "adaptive"},
        {"solver": "lbfgs"},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"dropout": 0.3, "input_dropout": 0.1},
    ],
    ids=str,
)
def test_classifier(settings):
    X, y = small_data()
    settings = {"max_iter": 2, "batch_size": 6, "tol": 0, "random_state": 0} | settings
    fits = []
    for name in ("cuda", "reference"):
        with pytest.warns(match=r"Maximum|TOTAL|converge"):
            fits.append(MLPClassifier((4,), device=name, **settings).fit(X, y))
    ours, expected = fits
    assert ours.device_ == "cuda"
    np.testing.assert_allclose(ours.predict_proba(X), expected.predict_proba(X), rtol=1e-9)
    np.testing.assert_allclose(ours.loss_, expected.loss_, rtol=1e-9)
    for own, theirs in zip(ours.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(own, theirs, rtol=1e-8, atol=1e-12)


# Most options are the host's business.
@pytest.mark.spanned("task", "dtype")
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@covering(
    "task settings along, dtype", OPTIONS.values(), DTYPES, apart=[{0, 1}] if SIMULATED else []
)
def test_every_option(task, settings, along, dtype):
    """It does what it does on the reference."""
    few = {"rows": 15, "batch_size": 6, "hidden_layer_sizes": (3,), "validation_fraction": 0.5}
    (ours, drawn), (expected, drawn_there) = (
        left_behind(task, dtype, **few, **along, **settings, device=name)
        for name in ("cuda", "reference")
    )
    for own, theirs in zip(ours, expected, strict=True):
        assert own.dtype == theirs.dtype
        np.testing.assert_allclose(own, theirs, **CLOSE[dtype])
    assert all(map(np.array_equal, drawn, drawn_there))


def test_partial_fits_go_on():
    X, y = small_data()
    fits = [MLPClassifier((4,), device=name, random_state=0) for name in ("cuda", "reference")]
    for _ in range(3):
        for fit in fits:
            fit.partial_fit(X, y, classes=[0, 1, 2])
    ours, expected = fits
    assert ours.t_ == expected.t_
    np.testing.assert_allclose(ours.predict_proba(X), expected.predict_proba(X), rtol=1e-9)


def test_a_killed_fit_goes_on_from_its_checkpoint(tmp_path):
    X, y = small_data()

    class Kill(Callback):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_id == 1:
                raise ZeroDivisionError(fitted_estimator.score(X, y))

    def make(resume):
        fit = MLPClassifier((4,), device="cuda", max_iter=3, random_state=0, dropout=0.1)
        return fit.set_callbacks(Checkpoint(tmp_path / "fit", resume=resume))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = make(resume=False).set_callbacks().fit(X, y)
        killed = make(resume=False)
        killed.set_callbacks(*killed._skl_callbacks, Kill())
        with pytest.raises(ZeroDivisionError):
            killed.fit(X, y)
        resumed = make(resume=True).fit(X, y)
    assert resumed.loss_curve_ == expected.loss_curve_
    np.testing.assert_array_equal(resumed.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(resumed._optimizer.moments, expected._optimizer.moments)


def test_float32_stays():
    X, y = small_data()
    fit = MLPRegressor(hidden_layer_sizes=(3,), device="cuda", random_state=0)
    fit.partial_fit(X.astype("f4"), y)
    assert fit.coefs_[0].dtype == np.float32
    assert fit.predict(X.astype("f4")).dtype == np.float32


def half(z):
    return 0.5 * z


def half_slope(z):
    return 0.5


def square(p, t):
    return (p - t) * (p - t)


def twice_difference(p, t):
    return 2 * (p - t)


@pytest.mark.usefixtures("every_regime")
def test_own_functions():
    custom = activations.Custom(half, half_slope)
    assert_trains_like_reference(
        Network((2, 3, 1), [custom], losses.Custom(square, twice_difference))
    )


def test_sparse_is_an_error_that_says_what_to_do():
    X, y = small_data()
    with pytest.raises(ValueError, match=r"takes no sparse X: pass X\.toarray\(\)"):
        MLPClassifier(device="cuda").fit(sparse.csr_matrix(X), y)


class OnGpu:
    """What other libraries' arrays on a GPU are: memory, and a description of it."""

    def __init__(self, array):
        self.array = numba_cuda.to_device(array)

    @property
    def __cuda_array_interface__(self):
        return {} if SIMULATED else self.array.__cuda_array_interface__


@pytest.fixture
def described(monkeypatch):
    """The simulator has no memory of a GPU to describe."""
    if SIMULATED:
        kind = type(numba_cuda.to_device(np.ones(1)))
        monkeypatch.setattr(kind, "__cuda_array_interface__", {}, raising=False)

        def as_array(it):
            return it if isinstance(it, kind) else it.array

        monkeypatch.setattr(numba_cuda, "as_cuda_array", as_array, raising=False)


@pytest.mark.usefixtures("described")
def test_arrays_on_the_gpu_are_used_in_place():
    X, y = small_data()
    weights = np.linspace(0.5, 1.5, len(y))
    settings = {"max_iter": 2, "batch_size": 6, "n_iter_no_change": 3, "random_state": 0}
    fits = []
    for on_gpu in (lambda array: array, OnGpu, lambda array: OnGpu(np.asfortranarray(array))):
        fit = MLPClassifier((4,), device="cuda", **settings)
        with pytest.warns(match="Maximum"):
            fit.fit(on_gpu(X), on_gpu(y), sample_weight=on_gpu(weights))
        fits.append(fit)
    expected = fits[0].predict_proba(X)
    for fit in fits:
        np.testing.assert_array_equal(fit.predict_proba(X), expected)
    np.testing.assert_array_equal(fits[0].predict_proba(OnGpu(X)), expected)
    fits[0].set_params(device="auto").partial_fit(OnGpu(X), OnGpu(y))
    assert fits[0].device_ == "cuda"


@pytest.mark.usefixtures("described")
@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
def test_validation_rows_on_the_gpu(scoring):
    """Wherever they and the training rows are, and also those held out."""
    X, y = small_data()
    settings = {"max_iter": 2, "batch_size": 6, "n_iter_no_change": 3, "random_state": 0}
    settings |= {"early_stopping": True, "validation_fraction": 0.3, "scoring": scoring}
    expected = {}
    for place in ({}, {"X": OnGpu}, {"X_val": OnGpu}, {"X": OnGpu, "X_val": OnGpu}):
        own = {"X_val": place.get("X_val", np.asarray)(X[:6]), "y_val": y[:6]}
        for given in ({}, own):
            fit = MLPClassifier((4,), device="cuda", **settings)
            with pytest.warns(match="Maximum"):
                fit.fit(place.get("X", np.asarray)(X), y, **given)
            reached = fit.validation_loss_curve_, fit.validation_scores_
            assert expected.setdefault(bool(given), reached) == reached
    assert expected[True] != expected[False]


@pytest.mark.usefixtures("described")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.arange(3.0), r"2D array of float32 or float64, got 1D of float64"),
        (np.eye(3, dtype=int), "got 2D of int64"),
        (np.eye(2), "X has 2 features, but MLPClassifier is expecting 3 features"),
    ],
)
def test_wrong_arrays_on_the_gpu(wrong, message):
    X, y = small_data()
    fit = MLPClassifier((4,), device="cuda", random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=message):
        fit.predict(OnGpu(wrong))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit.partial_fit(OnGpu(X), y[:-1])
    with pytest.raises(ValueError, match=r"lies on a GPU.*use device='cuda'"):
        MLPClassifier(device="cpu").fit(OnGpu(X), y)


@pytest.mark.usefixtures("every_regime")
def test_interrupted_fit_keeps_its_weights(monkeypatch):
    """As everywhere: a warning, and the weights so far."""
    X, y = small_data()
    launched = []

    def launch(regime, run, original=(cuda.SingleBlock.launch, cuda.Layered.launch)):
        launched.append(run)
        if len(launched) == 3:
            raise KeyboardInterrupt
        original[isinstance(regime, cuda.Layered)](regime, run)

    for kind in (cuda.SingleBlock, cuda.Layered):
        monkeypatch.setattr(kind, "launch", launch)
    fit = MLPClassifier((4,), device="cuda", batch_size=4, random_state=0)
    with pytest.warns(match="interrupted by user"):
        fit.fit(X, y)
    assert fit.n_iter_ == 2
    assert np.isfinite(fit.predict_proba(X)).all()


# ---- many networks in one launch -----------------------------------------------------------------


#: Fits that train together, by what is special about them, and one of another shape.
TOGETHER = {
    "plain": {},
    "seed": {"random_state": 1, "alpha": 0.3},
    "rate": {"learning_rate_init": 0.1, "max_iter": 2},
    "stops early": {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 1,
                    "tol": 1.0},
    "bounded": {"max_norm": 0.5, "clip_norm": 0.1},
    "weighted": {"class_weight": "balanced"},
    "shape": {"hidden_layer_sizes": (2, 2)},
}  # fmt: skip
DROPPING = {"dropout": {"dropout": 0.3}, "of inputs": {"input_dropout": 0.2, "random_state": 1}}


def small_fits(*tables):
    few = {"hidden_layer_sizes": (2,), "max_iter": 3, "batch_size": 4, "random_state": 0}
    settings = [special for table in tables for special in table.values()]
    return [MLPClassifier(**few | special, device="cuda") for special in settings]


def rows_of_few():
    X, y = small_data(classes=2)
    fold, sample = np.arange(12) % 4 > 0, np.array([5, 5, 0, 11, 7, 2, 6, -1, 3])
    return X[:, :2], y, [None, fold, None, None, sample, fold, None]


def own_fits(fits, X, y, rows):
    chosen = [slice(None) if at is None else at for at in rows]
    return [clone(fit).fit(X[at], y[at]) for fit, at in zip(fits, chosen, strict=True)]


def assert_same_fits(fits, others):
    for own, other in zip(fits, others, strict=True):
        for name in ("n_iter_", "loss_curve_", "validation_scores_", "t_"):
            assert getattr(own, name) == getattr(other, name), name
        arrays = ([*fit.coefs_, *fit.intercepts_, *fit._optimizer.moments] for fit in (own, other))
        for array, expected in zip(*arrays, strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.fixture
def launches(monkeypatch):
    """How many networks each launch trains."""
    launched, launch_of = [], blocks.Blocks.launch_of

    def count(blocks, networks, *arguments):
        launched.append(networks)
        return launch_of(blocks, networks, *arguments)

    monkeypatch.setattr(blocks.Blocks, "launch_of", count)
    return launched


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_many_networks_in_one_launch(launches, monkeypatch):
    """One launch an epoch for those of one kind and shape, all rows sent once, the same bits."""
    X, y, rows = rows_of_few()
    fits, rows = small_fits(TOGETHER, DROPPING), [*rows, rows[1], None]
    expected = own_fits(fits, X, y, rows)
    assert set(launches) == {1}
    launches.clear()
    sent, send = [], memory.Memory.send_rows
    monkeypatch.setattr(memory.Memory, "send_rows", counted(send, sent))
    assert_same_fits(fit_many(fits, X, y, rows), expected)
    stopped = expected[3].n_iter_
    assert stopped in (2, 3)
    six = [6, 6, 4 + (stopped == 3)]
    assert sorted(launches, reverse=True) == [*six, 2, 2, 2, 1, 1, 1]
    assert [array is X for _, array, _ in sent].count(True) == 1


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("reason", ["few lanes", "other rows", "no room", "a short run"])
def test_networks_that_come_later_or_never(reason, launches, monkeypatch):
    X, y, rows = rows_of_few()
    fits = small_fits(TOGETHER)
    expected = own_fits(fits, X, y, rows)
    launches.clear()
    data = X, y, rows
    if reason == "few lanes":
        monkeypatch.setattr(devices, "MOST_TOGETHER", 2)
    elif reason == "other rows":  # a list becomes another array in each fit
        monkeypatch.setattr(devices, "MOST_TOGETHER", 3)
        data = X.tolist(), y, rows
    elif reason == "no room":
        monkeypatch.setattr(group, "free_memory", lambda: 0)
    else:
        monkeypatch.setattr(cuda.SingleBlock, "longest_run", 1)
    assert_same_fits(fit_many(fits, *data), expected)
    assert max(launches) == {"few lanes": 2, "other rows": 3}.get(reason, 1)


class After(Callback):
    """Does something after so many epochs."""

    def __init__(self, epochs, does):
        self.epochs, self.does = epochs, does

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.task_id == self.epochs - 1:
            self.does()


def fails():
    raise ZeroDivisionError("a callback")


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_an_error_of_one_network_leaves_the_others(launches):
    X, y, _ = rows_of_few()
    fits = small_fits(TOGETHER)[:5]
    fits[1].set_params(alpha=-1.0)
    fits[2].set_callbacks(After(1, fails))
    with pytest.raises(ValueError, match="'alpha'") as caught:
        fit_many(fits, X, y)
    assert caught.value.__notes__[1] == "The fits of estimators 2 failed as well."
    assert not any(hasattr(fit, "coefs_") for fit in fits[1:3])
    others = [fits[0], *fits[3:]]
    assert_same_fits(others, own_fits(others, X, y, [None] * 3))


def test_an_error_of_the_launch_is_that_of_all(monkeypatch):
    def full(blocks, *arguments):
        raise MemoryError("full")

    monkeypatch.setattr(blocks.Blocks, "launch_of", full)
    X, y, rows = rows_of_few()
    fits = small_fits(TOGETHER)
    with pytest.raises(MemoryError, match="full") as caught:
        fit_many(fits, X, y, rows)
    assert caught.value.__notes__[1] == "The fits of estimators 1, 2, 3, 4, 5, 6 failed as well."


def test_ctrl_c_ends_all_networks(monkeypatch):
    """As in a fit of its own: each has a warning, and the weights so far."""
    X, y, _ = rows_of_few()
    fits = small_fits({name: TOGETHER[name] for name in ("plain", "seed", "bounded", "shape")})
    for fit in fits:
        fit.set_params(max_iter=1000, n_iter_no_change=1000)
    made, init = [], devices.Lanes.__init__

    def remember(lanes, *arguments):
        made.append(lanes)
        init(lanes, *arguments)

    monkeypatch.setattr(devices.Lanes, "__init__", remember)
    fits[1].set_callbacks(After(1, lambda: made[0].interrupt()))
    with pytest.warns(match="interrupted by user") as caught:
        fit_many(fits, X, y)
    assert fits[1].n_iter_ == 1
    assert all(1 <= fit.n_iter_ < 1000 and np.isfinite(fit.loss_) for fit in fits)
    assert len(caught) == len(fits)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_larger_networks_take_turns(many_blocks, launches):
    X, y, rows = rows_of_few()
    fits = [*small_fits(TOGETHER)[:3], MLPClassifier((2,), solver="lbfgs", max_iter=2)]
    fits[3].set_params(device="cuda", random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = own_fits(fits, X, y, rows[:4])
        fit_many(fits, X, y, rows[:4])
    assert_same_fits(fits[:3], expected[:3])
    np.testing.assert_array_equal(fits[3].coefs_[0], expected[3].coefs_[0])
    assert launches == []


# ---- predictors in kernels of the user ----------------------------------------------------------


# numba-cuda warns of grids and arrays as small as those of a test.
@pytest.mark.filterwarnings("ignore:Grid size", "ignore:Host array")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("outputs", "loss", "output", "form"),
    [
        (1, "squared_error", None, PLAIN), (1, "binary_log_loss", None, PAIR),
        (3, "log_loss", None, PLAIN), (3, "squared_error", "logistic", SHARES),
    ],
)  # fmt: skip
def test_a_predictor_in_a_kernel(outputs, loss, output, form, dtype):
    kinds = activations.Maxout(3), activations.PReLU(), "gelu"
    network = Network((4, 3, 5, 2, outputs), kinds, loss, output)
    rng = np.random.default_rng(0)
    predictor = Predictor(network, rng.standard_normal(network.size).astype(dtype), form)
    X = rng.standard_normal((3, 4)).astype(dtype)
    gpu, expected = predictor.on_gpu(), predictor(X)
    last = expected.shape[1] - 1

    @numba_cuda.jit
    def kernel(data, X, out, slopes):
        row = numba_cuda.grid(1)
        if row < len(X):
            gpu.predict(data, X[row], out[row])
            gpu.gradient(data, X[row], slopes[row], last)

    out, slopes = np.zeros_like(expected), np.zeros_like(X)
    kernel[2, 2](gpu.data, X, out, slopes)
    np.testing.assert_allclose(out, expected, **CLOSE[dtype])
    np.testing.assert_allclose(slopes, predictor.gradient(X, output=last), **CLOSE[dtype])
