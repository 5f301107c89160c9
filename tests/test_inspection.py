"""Gradients to look at: each way to them agrees with another, or with mathematics done by hand."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight
from tasks import TASKS
from tasks import outputs as predicted

from fastmlp import MLPClassifier, MLPRegressor, activations, devices, inspection, losses

DEVICES = [
    pytest.param(name, marks=pytest.mark.compiled if name == "cpu" else [])
    for name in devices.present()
]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def started(estimator, X, y, sample_weight=None):
    """The estimator after one step, far from any minimum."""
    estimator = clone(estimator).set_params(random_state=3, batch_size=len(X))
    if isinstance(estimator, MLPClassifier):
        return estimator.partial_fit(X, y, sample_weight, classes=np.unique(y))
    return estimator.partial_fit(X, y, sample_weight)


def regressor(device, hidden=(5, 4), **settings):
    return MLPRegressor(hidden_layer_sizes=hidden, device=device, **settings)


def flat(gradients):
    return np.concatenate(
        [part.ravel() for layer in gradients for part in layer if part is not None]
    )


# ---- reverse mode and central differences -------------------------------------------------------


@pytest.mark.parametrize("name", [*activations.HIDDEN, "learnable swish"])
def test_every_activation(device, name):
    activation = activations.Swish(learnable=True) if name.startswith("learnable") else name
    X, y, weights = TASKS["several_outputs"].data(rows=30, features=3)
    network = started(regressor(device, activation=activation, alpha=0.1), X, y, weights)
    check = inspection.check_gradients(network, X, y, weights)
    assert check.agrees, check
    if name == "step":
        kinds = {comparison.name: comparison.verdict for comparison in check.comparisons}
        assert kinds.pop("coefs_[2]") == kinds.pop("intercepts_[2]") == "agree"
        assert set(kinds.values()) == {"straight-through"}
        assert "no true gradient" in check.verdict
    else:
        assert {comparison.verdict for comparison in check.comparisons} <= {"agree", "at kinks"}
    learns = any(name.startswith("activation_params_") for name, *_ in check.comparisons)
    assert learns == (name in ("prelu", "learnable swish"))


@pytest.mark.parametrize(
    "loss", [*losses.REGRESSION, losses.Huber(0.3), losses.Quantile((0.1, 0.5, 0.9))], ids=str
)
def test_every_regression_loss(device, loss):
    X, y, weights = TASKS["poisson"].data(rows=30, features=3)
    network = started(regressor(device, loss=loss, activation="tanh", l1=0.2), X, y + 0.1, weights)
    check = inspection.check_gradients(network, X, y + 0.1, weights)
    assert check.agrees, check
    assert {comparison.verdict for comparison in check.comparisons} == {"agree"}


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("loss", losses.CLASSIFICATION)
def test_every_classification_loss(device, task, loss):
    X, y, weights = TASKS[task].data(rows=30, features=3)
    network = MLPClassifier((5,), "tanh", loss=loss, device=device, label_smoothing=0.1, max_iter=1)
    with pytest.warns(UserWarning, match="hasn't converged"):
        network.fit(X, y, weights)
    check = inspection.check_gradients(network, X, y, weights)
    assert check.agrees, check


@pytest.mark.parametrize("output", ["logistic", "softplus", "tanh", "softmax", "gelu"])
def test_output_activations(device, output):
    X, y, _ = TASKS["several_outputs"].data(rows=30, features=3)
    network = started(regressor(device, activation="tanh", output_activation=output), X, y)
    assert inspection.check_gradients(network, X, y).agrees


def test_float32(device):
    X, y, _ = TASKS["several_outputs"].data(np.float32)
    network = started(regressor(device, activation="tanh"), X, y)
    check = inspection.check_gradients(network, X, y)
    assert check.agrees
    assert check.tolerance == 1e-3
    assert not inspection.check_gradients(network, X, y, tolerance=1e-12).agrees
    assert {part.dtype for layer in inspection.gradients(network, X, y) for part in layer[:2]} == {
        np.dtype(np.float32)
    }
    assert flat(inspection.numerical_gradients(network, X, y)).dtype == np.float64
    assert inspection.input_gradients(network, X).dtype == np.float32
    assert inspection.trace(network, X[0], y[0]).layers[1].delta.dtype == np.float32


def test_a_step_of_descent_follows_the_gradient(device):
    """What is shown is what training uses: one batch, penalties included, dropout aside."""
    X, y, weights = TASKS["several_outputs"].data(rows=30)
    network = regressor(
        device, alpha=0.5, l1=0.3, solver="sgd", momentum=0, learning_rate_init=0.25
    )
    network = started(network.set_params(nesterovs_momentum=False), X, y, weights)
    shown = inspection.gradients(network, X, y, weights)
    before = [*network.coefs_, *network.intercepts_]
    network.partial_fit(X, y, weights)
    steps = [layer.coefs for layer in shown] + [layer.intercepts for layer in shown]
    for old, step, new in zip(before, steps, network.coefs_ + network.intercepts_, strict=True):
        np.testing.assert_allclose(old - 0.25 * step, new, rtol=1e-9, atol=1e-12)


def test_dropout_and_clipping_are_off(device):
    X, y, _ = TASKS["squared_error"].data(rows=30)
    plain = started(regressor(device), X, y)
    shown = flat(inspection.gradients(plain, X, y))
    plain.set_params(dropout=0.5, input_dropout=0.2, clip_norm=1e-3, max_norm=1.0)
    np.testing.assert_array_equal(flat(inspection.gradients(plain, X, y)), shown)
    assert inspection.check_gradients(plain, X, y).agrees


def test_sparse_rows_data_frames_and_a_warm_start(device):
    if device == "cuda":
        pytest.skip("the CUDA device takes no sparse X")
    X, y, weights = TASKS["multiclass"].data(rows=30)
    network = started(MLPClassifier((5,), device=device), X, y)
    expected = flat(inspection.gradients(network, X, y))
    np.testing.assert_allclose(
        flat(inspection.gradients(network, sparse.csc_array(X), y)), expected, rtol=1e-9, atol=1e-14
    )
    assert inspection.check_gradients(network, sparse.csr_array(X), y, weights).agrees
    with_names = started(network, pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])]), y)
    frame = pd.DataFrame(X, columns=with_names.feature_names_in_)
    np.testing.assert_array_equal(flat(inspection.gradients(with_names, frame, y)), expected)
    assert inspection.trace(with_names, frame.iloc[[4]], y[4]).layers[0].a.shape == (5,)
    before = pickle.dumps(network)
    network.set_params(warm_start=True)
    inspection.gradients(network, X[:1], y[:1])  # not all classes are there
    assert pickle.dumps(network.set_params(warm_start=False)) == before


# ---- the verdict --------------------------------------------------------------------------------


def test_a_wrong_gradient_is_found(monkeypatch):
    X, y, _ = TASKS["several_outputs"].data(rows=30)
    network = started(regressor("reference", activation="tanh"), X, y)
    right = inspection.check.reverse_mode

    def wrong(*arguments):
        gradient = right(*arguments)
        gradient[-1] *= 1.001
        return gradient

    monkeypatch.setattr(inspection.check, "reverse_mode", wrong)
    check = inspection.check_gradients(network, X, y)
    assert not check.agrees
    assert "DIFFER" in str(check)
    verdicts = [comparison.verdict for comparison in check.comparisons]
    assert verdicts == ["agree"] * 5 + ["differ"]


def test_kinks_are_left_out():
    """All weights zero: every z is 0, where relu has its kink."""
    X, y, _ = TASKS["squared_error"].data(rows=30)
    network = started(regressor("reference", hidden=(3,)), X, y)
    network.coefs_ = [np.zeros_like(coef) for coef in network.coefs_]
    network.intercepts_ = [np.zeros_like(bias) for bias in network.intercepts_]
    check = inspection.check_gradients(network, X, y)
    by_name = {comparison.name: comparison for comparison in check.comparisons}
    assert by_name["coefs_[0]"].at_kinks == by_name["coefs_[0]"].size
    assert by_name["coefs_[0]"].verdict == by_name["intercepts_[0]"].verdict == "at kinks"
    assert by_name["intercepts_[1]"].verdict == "agree"
    assert check.verdict.endswith("agree. Not compared: parameters at kinks.")


def test_one_value_near_a_kink():
    """A unit whose z is 1e-7 for one row: what moves it across is left out, and nothing else."""
    X = np.array([[1.0], [2.0]])
    network = started(regressor("reference", hidden=(2,)), X, X[:, 0])
    network.coefs_ = [np.array([[1.0, 1.0]]), np.array([[1.0], [1.0]])]
    network.intercepts_ = [np.array([-1.0 + 1e-7, 0.5]), np.array([0.0])]
    check = inspection.check_gradients(network, X, X[:, 0])
    assert [comparison.at_kinks for comparison in check.comparisons] == [1, 1, 0, 0]
    assert check.agrees
    assert (
        inspection.check_gradients(network, X, X[:, 0], step=1e-9, tolerance=1e-4)
        .comparisons[0]
        .at_kinks
        == 0
    )


def test_a_gradient_below_the_error_of_differences():
    """At the minimum, where nothing is left of it."""
    X = np.linspace(-1, 1, 20)[:, np.newaxis]
    y = X[:, 0] + np.random.default_rng(0).standard_normal(20)
    line = LinearRegression().fit(X, y)
    network = started(regressor("reference", hidden=(), alpha=0), X, y)
    network.coefs_, network.intercepts_ = [line.coef_[:, np.newaxis]], [np.array([line.intercept_])]
    check = inspection.check_gradients(network, X, y)
    assert not check.agrees
    assert {comparison.verdict for comparison in check.comparisons} == {"uncertain"}
    assert check.verdict.startswith("Undecided")


def test_units_that_never_fire():
    """A gradient of zeros that is one is right."""
    X, y, _ = TASKS["squared_error"].data(rows=30)
    network = started(regressor("reference", hidden=(3,), alpha=0), X, y)
    network.intercepts_[0][:] = -1e3
    check = inspection.check_gradients(network, X, y)
    assert check.agrees
    assert check.comparisons[0].relative_error == 0


def test_table():
    X, y, _ = TASKS["squared_error"].data(rows=10)
    check = inspection.check_gradients(
        started(regressor("reference", activation="step"), X, y), X, y
    )
    lines = str(check).splitlines()
    assert lines[0] == check.verdict
    assert len(lines) == 3 + len(check.comparisons)
    assert max(map(len, lines[1:])) <= 100
    assert lines[3].split() == ["coefs_[0]", "35", "0", "-", "-", "straight-through"]


# ---- trace and input gradients ------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["tanh", "relu", "prelu", "maxout"])
def test_trace_holds_together(device, activation):
    X, y, _ = TASKS["multiclass"].data(rows=30)
    network = started(MLPClassifier((5, 4), activation, device=device, alpha=0), X, y)
    path = inspection.trace(network, X[7], y[7])
    np.testing.assert_array_equal(path.target, network.classes_ == y[7])
    probabilities = network.predict_proba(X[7:8])[0]
    np.testing.assert_allclose(path.layers[-1].a, probabilities, rtol=1e-12)
    assert path.loss == pytest.approx(-np.log(probabilities[network.classes_ == y[7]])[0])
    np.testing.assert_array_equal(path.layers[0].inputs, X[7])
    for before, after in zip(path.layers, path.layers[1:], strict=False):
        np.testing.assert_array_equal(after.inputs, before.a)
    for layer, W, b in zip(path.layers, network.coefs_, network.intercepts_, strict=True):
        np.testing.assert_allclose(layer.z, layer.inputs @ W + b, rtol=1e-12)
        np.testing.assert_allclose(layer.gradient.coefs, np.outer(layer.inputs, layer.delta))
        np.testing.assert_allclose(layer.gradient.intercepts, layer.delta)
        assert layer.z.shape == layer.delta.shape == (W.shape[1],)
    whole = flat(inspection.gradients(network, X[7:8], y[7:8]))
    np.testing.assert_allclose(flat([layer.gradient for layer in path.layers]), whole, rtol=1e-9)


def test_trace_includes_penalties():
    X, y, _ = TASKS["squared_error"].data(rows=30)
    network = started(regressor("reference", alpha=0.5, l1=0.25), X, y)
    path = inspection.trace(network, X[0], y[0])
    for layer, W in zip(path.layers, network.coefs_, strict=True):
        np.testing.assert_allclose(
            layer.gradient.coefs,
            np.outer(layer.inputs, layer.delta) + 0.5 * W + 0.25 * np.sign(W),
            rtol=1e-12,
        )
    assert path.loss == pytest.approx(0.5 * (network.predict(X[:1])[0] - y[0]) ** 2)


#: Tasks whose `predict_proba` is not what the network computes: shares of the sum, and a constant.
SHARED = {
    "shares": ("multiclass", {"loss": "squared_error"}),
    "shares of zeros": (
        "multiclass",
        {"loss": "squared_error", "output_activation": "hard_sigmoid"},
    ),
}


@pytest.mark.parametrize("task", [*TASKS, *SHARED])
def test_input_gradients_are_differences_of_predictions(device, task):
    task, settings = SHARED.get(task, (task, {}))
    X, y, _ = TASKS[task].data(rows=30)
    template = TASKS[task].ours(
        hidden_layer_sizes=(6,), activation="tanh", device=device, max_iter=1, **settings
    )
    with pytest.warns(UserWarning, match="hasn't converged"):
        network = template.fit(X, y)
    if settings.get("output_activation"):
        network.intercepts_[-1][:] = -10
    slopes = inspection.input_gradients(network, X)
    outputs = network.n_outputs_
    assert slopes.shape == (30, outputs, X.shape[1])
    step = 1e-6 * np.eye(X.shape[1])
    for j in range(X.shape[1]):
        higher, lower = (predicted(network, X + sign * step[j]) for sign in (1, -1))
        difference = ((higher - lower) / 2e-6).reshape(30, -1)[:, -outputs:]
        np.testing.assert_allclose(slopes[:, :, j], difference, rtol=1e-6, atol=1e-8)


def test_input_gradients_of_a_linear_network_are_its_weights():
    X, y, _ = TASKS["several_outputs"].data()
    network = started(regressor("reference", hidden=()), X, y)
    slopes = inspection.input_gradients(network, sparse.csr_array(X))
    np.testing.assert_array_equal(slopes, np.broadcast_to(network.coefs_[0].T, slopes.shape))


# ---- errors -------------------------------------------------------------------------------------

ON_ROWS = [inspection.gradients, inspection.numerical_gradients, inspection.check_gradients]


@pytest.mark.parametrize("function", [*ON_ROWS, inspection.trace], ids=lambda f: f.__name__)
def test_errors(function):
    X, y, _ = TASKS["binary"].data(rows=12)
    one = function is inspection.trace
    rows = (X[0], y[0]) if one else (X, y)
    network = MLPClassifier((3,), device="reference")
    with pytest.raises(NotFittedError):
        function(network, *rows)
    started_network = started(network, X, y)
    with pytest.raises(ValueError, match="has 6 features, but MLPClassifier is expecting 7"):
        function(started_network, rows[0][..., :6], rows[1])
    with pytest.raises(ValueError, match="has classes not in"):
        function(started_network, rows[0], "perhaps" if one else np.full(12, "perhaps"))
    with pytest.raises(ValueError, match="NaN"):
        function(started_network, np.full_like(rows[0], np.nan), rows[1])
    pipeline = make_pipeline(StandardScaler(), started_network)
    with pytest.raises(TypeError, match=r"of fastmlp, got Pipeline\. Of a pipeline"):
        function(pipeline, *rows)


def test_errors_of_input_gradients():
    X, y, _ = TASKS["binary"].data(rows=12)
    with pytest.raises(NotFittedError):
        inspection.input_gradients(MLPClassifier(), X)
    network = started(MLPClassifier((3,), device="reference"), X, y)
    with pytest.raises(ValueError, match="expecting 7"):
        inspection.input_gradients(network, X[:, :6])
    with pytest.raises(TypeError, match="got LinearRegression"):
        inspection.input_gradients(LinearRegression(), X)


def test_errors_of_targets_samples_and_steps():
    X, y, _ = TASKS["several_outputs"].data(rows=12)
    network = started(regressor("reference"), X, y)
    with pytest.raises(ValueError, match=r"y has 2 output\(s\), but the network was fitted with 3"):
        inspection.gradients(network, X, y[:, :2])
    with pytest.raises(ValueError, match="single sample, got 12"):
        inspection.trace(network, X, y)
    with pytest.raises(ValueError, match="sample_weight"):
        inspection.gradients(network, X, y, np.ones(5))
    for step in (0, -1e-6, np.inf, np.nan):
        with pytest.raises(ValueError, match="step must be"):
            inspection.numerical_gradients(network, X, y, step=step)


# ---- the former name -----------------------------------------------------------------------------


def test_the_former_name_is_the_same():
    from fastmlp import inspect
    from fastmlp.inspect import check_gradients, trace

    assert check_gradients is inspection.check_gradients
    assert trace is inspection.trace
    assert inspect.__all__ == inspection.__all__
    for name in inspection.__all__:
        assert getattr(inspect, name) is getattr(inspection, name)


# ---- learning rates -----------------------------------------------------------------------------

SLOW = {"hidden_layer_sizes": (), "solver": "sgd", "momentum": 0.0, "random_state": 0}


def test_a_range_test_steps_with_rising_rates(device):
    """Of a linear model, by hand: the rate of each step, and the loss of its batch before it."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((2, 12, 1))
    network = MLPRegressor(**SLOW, weight_init="zeros", alpha=0.0, batch_size=12, device=device)
    found = inspection.learning_rate_range(network, X, y[:, 0], least=1e-3, most=0.1, steps=5)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-3, 0.1, 5))
    w = np.zeros(2)
    features = np.column_stack([X, np.ones(12)])
    for rate, loss in zip(found.rates, found.losses, strict=True):
        error = features @ w - y[:, 0]
        assert loss == pytest.approx(0.5 * np.mean(error**2), rel=1e-9)
        w -= rate * features.T @ error / 12
    means = [found.losses[:2].mean(), *(found.losses[k : k + 3].mean() for k in range(3))]
    np.testing.assert_allclose(found.smoothed, [*means, found.losses[3:].mean()])
    assert not hasattr(network, "coefs_")


@pytest.mark.parametrize(
    ("other", "advice"),
    [
        (make_pipeline(MLPRegressor()), "Of a pipeline, give the last step"),
        (MLPRegressor, r"That is a class: write MLPRegressor\(\)"),
        (neural_network.MLPRegressor(), r"fastmlp\.from_sklearn makes one"),
    ],
    ids=["pipeline", "class", "scikit-learn's"],
)
def test_what_is_no_estimator_of_ours(other, advice):
    with pytest.raises(TypeError, match=f"of fastmlp, got .*{advice}"):
        inspection.activations(other, [[0.0]])


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "squared_error"])
def test_a_range_test_suggests_a_rate_that_trains(task):
    X, y, weights = TASKS[task].data(rows=100)
    network = TASKS[task].ours(random_state=0, device="reference")
    found = inspection.learning_rate_range(network, pd.DataFrame(X), y, weights)
    same = sparse.csr_matrix(y) if task == "multilabel" else y
    again = inspection.learning_rate_range(network, sparse.csr_matrix(X), same, weights)
    assert found.suggestion == pytest.approx(again.suggestion)
    assert 1e-4 < found.suggestion < 1
    assert len(found.rates) == len(found.losses) == len(found.smoothed) <= 100
    settings = {"early_stopping": True, "max_iter": 5, "tol": 1.0, "n_iter_no_change": 1}
    trained = clone(network).set_params(learning_rate_init=found.suggestion, **settings).fit(X, y)
    assert trained.loss_curve_[-1] < trained.loss_curve_[0]


def test_a_range_test_ends_where_training_diverges():
    X, y, _ = TASKS["squared_error"].data()
    network = MLPRegressor(**SLOW, device="reference")
    found = inspection.learning_rate_range(network, X, y, most=1e5)
    assert len(found.rates) < 100
    assert np.isfinite(found.losses).all()
    beyond = inspection.learning_rate_range(network, X, y, least=1e200, most=1e308)
    assert len(beyond.rates) == 1  # the first step is too long already
    assert np.isnan(beyond.suggestion)


def test_a_range_test_of_wrong_values():
    X, y, _ = TASKS["squared_error"].data()
    with pytest.raises(ValueError, match="'lbfgs' has no learning rate"):
        inspection.learning_rate_range(MLPRegressor(solver="lbfgs"), X, y)
    for wrong in ({"least": 0.0}, {"least": 1.0, "most": 0.5}, {"steps": 2}):
        with pytest.raises(ValueError, match="Expected 0 < least < most and at least 3 steps"):
            inspection.learning_rate_range(MLPRegressor(), X, y, **wrong)
    with pytest.raises(ValueError, match="NaN"):
        inspection.learning_rate_range(MLPRegressor(), np.full_like(X, np.nan), y)


def test_a_range_test_weighs_classes_and_averages_nothing():
    X, y, _ = TASKS["multiclass"].data()
    plain = MLPClassifier((5,), random_state=0)
    weights = compute_sample_weight("balanced", y)
    expected = inspection.learning_rate_range(plain, X, y, weights, steps=5).losses
    for settings in (
        {"class_weight": "balanced"},
        {"class_weight": "balanced", "averaging": "ema"},
    ):
        found = inspection.learning_rate_range(clone(plain).set_params(**settings), X, y, steps=5)
        np.testing.assert_array_equal(found.losses, expected)
