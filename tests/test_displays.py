"""Displays: what is drawn is what was computed, and drawn on the axes that were given."""

import inspect
import io
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.pipeline import make_pipeline
from tasks import TASKS

from fastmlp import MLPClassifier, MLPRegressor, activations, inspection
from fastmlp.displays import (
    ActivationDisplay,
    GradientErrorDisplay,
    GradientFlowDisplay,
    IntegratedGradientsDisplay,
    LearningRateRangeDisplay,
    LossCurveDisplay,
    NetworkDisplay,
)

matplotlib = pytest.importorskip("matplotlib", reason="displays draw with matplotlib")
matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def no_figures_left():
    from matplotlib import pyplot

    yield
    pyplot.close("all")


@pytest.fixture
def ax():
    """Axes of a figure that pyplot knows nothing of."""
    return matplotlib.figure.Figure().subplots()


def classifier(**settings):
    settings = {"random_state": 0, "device": "reference", "max_iter": 100, "tol": 0.1} | settings
    return MLPClassifier((4, 3), "tanh", **settings)


@pytest.fixture
def rows():
    X, y, _ = TASKS["multiclass"].data(rows=60, features=3)
    return X, y


def texts(ax):
    return [text.get_text() for text in ax.texts]


# ---- all of them --------------------------------------------------------------------------------

MAKERS = {
    "loss curve": lambda X, y, ax: LossCurveDisplay.from_estimator(classifier().fit(X, y), ax=ax),
    "activation": lambda X, y, ax: ActivationDisplay.from_estimator(classifier().fit(X, y), ax=ax),
    "network": lambda X, y, ax: NetworkDisplay.from_estimator(
        classifier().fit(X, y), X[0], y[0], ax=ax
    ),
    "gradient flow": lambda X, y, ax: GradientFlowDisplay.from_estimator(
        classifier(), X, y, epochs=3, ax=ax
    ),
    "gradient error": lambda X, y, ax: GradientErrorDisplay.from_estimator(
        classifier().fit(X, y), X, y, steps=[1e-9, 1e-5, 1e-1], ax=ax
    ),
    "learning rates": lambda X, y, ax: LearningRateRangeDisplay.from_estimator(
        classifier(), X, y, steps=20, ax=ax
    ),
    "integrated gradients": lambda X, y, ax: IntegratedGradientsDisplay.from_estimator(
        classifier().fit(X, y), X[0], ax=ax
    ),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_convention(rows, ax, make):
    display = make(*rows, ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.plot() is display  # on new axes, with what was computed
    assert display.ax_ is not ax
    assert display.figure_ is display.ax_.figure
    display.figure_.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_without_matplotlib(rows, monkeypatch, make):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"Display needs matplotlib.*fastmlp\[plot\]"):
        make(*rows, None)


@pytest.mark.slow
def test_importing_does_not_import_matplotlib():
    program = (
        "import fastmlp.displays, fastmlp.cli.gallery, sys; print('matplotlib' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


# ---- loss curve ---------------------------------------------------------------------------------


def test_loss_curve(rows):
    network = classifier().fit(*rows)
    display = LossCurveDisplay.from_estimator(network, color="black")
    np.testing.assert_array_equal(display.line_.get_xdata(), np.arange(1, network.n_iter_ + 1))
    np.testing.assert_array_equal(display.line_.get_ydata(), network.loss_curve_)
    assert display.line_.get_color() == "black"
    assert display.score_line_ is display.score_ax_ is display.best_ is None


@pytest.mark.parametrize(
    ("template", "task", "label"),
    [
        (MLPClassifier, "multiclass", "validation accuracy"),
        (MLPRegressor, "several", "R²"),
        (partial(MLPRegressor, "quantile"), "several", "validation D²"),
    ],
)
def test_loss_curve_with_validation(template, task, label):
    X, y, _ = TASKS["multiclass" if task == "multiclass" else "several_outputs"].data()
    network = template(
        hidden_layer_sizes=(4,), early_stopping=True, tol=0.1, random_state=0, device="reference"
    ).fit(X, y)
    display = LossCurveDisplay.from_estimator(network)
    np.testing.assert_array_equal(display.score_line_.get_ydata(), network.validation_scores_)
    assert display.score_ax_.get_ylabel().endswith(label)
    (best,) = display.best_.get_ydata()
    assert best == network.best_validation_score_
    np.testing.assert_array_equal(
        display.validation_line_.get_ydata(), network.validation_loss_curve_
    )
    assert display.best_.get_xdata() == network.best_iteration_
    assert display.best_.get_label().endswith("these weights are kept")
    assert len(display.ax_.get_legend().get_texts()) == 4


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    ("scoring", "label"),
    [("loss", None), ("roc_auc", "validation roc_auc"), (lambda *_: 1.0, "validation score")],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_loss_curve_with_a_scorer(scoring, label, early_stopping):
    """Without early stopping, no weights are kept; minus the loss needs no axis of its own."""
    X, y, _ = TASKS["binary"].data()
    network = classifier(scoring=scoring, early_stopping=early_stopping, max_iter=5)
    network.fit(X, y, X_val=X[::2], y_val=y[::2])
    # What is set since the fit does not count.
    network.set_params(scoring=None if scoring == "loss" else "loss")
    display = LossCurveDisplay.from_estimator(network.set_params(early_stopping=not early_stopping))
    assert (display.score_ax_ is None) is (label is None)
    if label:
        assert display.score_ax_.get_ylabel() == label
    assert display.best_.get_xdata() == network.best_iteration_
    assert ("kept" in display.best_.get_label()) is early_stopping
    again = LossCurveDisplay(
        network.loss_curve_, None if scoring == "loss" else network.validation_scores_,
        validation_loss_curve=network.validation_loss_curve_,
    ).plot()  # fmt: skip
    assert again.best_.get_xydata().tolist() == display.best_.get_xydata().tolist()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_loss_curve_of_a_warm_start_with_validation():
    """Its first epochs have none."""
    X, y, _ = TASKS["binary"].data()
    network = classifier(max_iter=5, warm_start=True, n_iter_no_change=99).fit(X, y)
    network.fit(X, y, X_val=X, y_val=y)
    display = LossCurveDisplay.from_estimator(network)
    assert display.validation_line_.get_xdata().tolist() == [6, 7, 8, 9, 10]
    assert display.best_.get_xdata() == network.best_iteration_ > 5


def test_loss_curve_needs_a_curve(rows):
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(classifier())
    with pytest.raises(ValueError, match="'lbfgs' has no epochs"):
        LossCurveDisplay.from_estimator(classifier(solver="lbfgs").fit(*rows))


# ---- activation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*activations.HIDDEN, "exp"])
def test_activation(name):
    if name == "exp":
        display = ActivationDisplay(activations.Exp()).plot()
    else:
        display = ActivationDisplay.from_activation(name)
    values, slopes = (line.get_ydata() for line in display.lines_)
    step = display.z[1] - display.z[0]
    expected = np.gradient(display.values[:, 0], step)
    if name != "step":  # whose slope is straight-through
        # At a kink, the difference is between the slopes on both sides.
        inside = slice(1, -1)
        near = np.isclose(display.slopes[inside, 0], expected[inside], rtol=1e-3, atol=1e-4)
        assert (~near).sum() <= 4
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), display.z)
    shown = ~np.isnan(values)
    np.testing.assert_array_equal(values[shown], display.values[shown, 0])
    assert np.isnan(values).sum() == (name == "step")
    jumps = {"relu": 1, "leaky_relu": 1, "prelu": 1, "selu": 1, "maxout": 1}
    jumps |= {"hard_tanh": 2, "hard_sigmoid": 2, "step": 2}
    assert np.isnan(slopes).sum() == jumps.get(name, 0)
    assert display.ax_.get_title().startswith("swish" if name == "silu" else name)


def test_activation_of_maxout_shows_its_pieces():
    display = ActivationDisplay.from_activation(activations.Maxout(pieces=3))
    assert display.pieces.shape == (len(display.z), 3)
    np.testing.assert_array_equal(display.values[:, 0], display.pieces.max(axis=1))
    assert set(np.unique(display.slopes)) == {-2.0, 0.0, 2.0}
    assert display.ax_.get_xlabel() == "x"


def test_activation_of_an_estimator_as_it_was_learned(rows):
    network = classifier(max_iter=1).set_params(activation=["tanh", "prelu"])
    with pytest.warns(UserWarning, match="hasn't converged"):
        network.fit(*rows)
    display = ActivationDisplay.from_estimator(network, layer=1)
    assert display.values.shape == (len(display.z), 3)
    np.testing.assert_allclose(display.values[0], -4 * network.activation_params_[1])
    assert len(display.lines_) == 6
    assert "as learned by 3 units" in display.ax_.get_title()
    assert ActivationDisplay.from_estimator(network).activation == activations.Tanh()
    for layer in (2, -1):
        with pytest.raises(
            ValueError, match=f"layer={layer} is not a hidden layer: the network has 2"
        ):
            ActivationDisplay.from_estimator(network, layer=layer)
    with pytest.raises(ValueError, match="Unknown activation"):
        ActivationDisplay.from_activation("sine")


# ---- network ------------------------------------------------------------------------------------


def test_network(rows):
    X, y = rows
    network = classifier().fit(X, y)
    display = NetworkDisplay.from_estimator(network, X[5], y[5], max_units=4)
    assert [len(column) for column in display.units_] == [3, 4, 3, 3]
    assert [len(edges) for edges in display.edges_] == [12, 12, 9]
    for coefs, edges in zip(network.coefs_, display.edges_, strict=True):
        widths = {ends: line.get_linewidth() for ends, line in edges.items()}
        assert max(widths, key=widths.get) == np.unravel_index(np.abs(coefs).argmax(), coefs.shape)
        colors = [{edges[ends].get_color() for ends in edges if coefs[ends] * sign > 0}
                  for sign in (1, -1)]  # fmt: skip
        assert all(len(color) <= 1 for color in colors)
        assert not colors[0] & colors[1]
    written = texts(display.ax_)
    path = inspection.trace(network, X[5], y[5])
    for value in (*X[5], *path.layers[0].a, *path.layers[2].a):
        assert f"{value:.3g}".replace("-", "−") in written
    for layer in path.layers:
        for delta in layer.delta:
            assert f"δ {delta:.3g}".replace("-", "−") in written
    assert [text for text in written if text.startswith("target")] == [
        f"target {target:g}" for target in path.target
    ]


def test_small_network_shows_weights_and_slopes(rows):
    X, y = rows
    network = classifier().set_params(hidden_layer_sizes=(2,)).fit(X, y)
    display = NetworkDisplay.from_estimator(network, X[5], y[5])
    written = texts(display.ax_)
    path = inspection.trace(network, X[5], y[5])
    for coefs, layer in zip(network.coefs_, path.layers, strict=True):
        for sign, values in (("w", coefs), ("∂", layer.gradient.coefs), ("z", layer.z)):
            for value in values.flat:
                assert f"{sign} {value:.3g}".replace("-", "−") in written


def test_network_with_biases_set_by_hand(rows):
    """Biases that broadcast to a row, as a prediction takes them."""
    X, y = rows
    network = classifier().set_params(hidden_layer_sizes=(2,)).fit(X, y)
    expected = texts(NetworkDisplay.from_estimator(network, X[5], y[5]).ax_)
    network.intercepts_ = [biases[np.newaxis] for biases in network.intercepts_]
    assert texts(NetworkDisplay.from_estimator(network, X[5], y[5]).ax_) == expected


def test_wide_network_is_abridged():
    X, y, _ = TASKS["binary"].data(features=30)
    network = classifier().set_params(hidden_layer_sizes=(20,)).fit(X, y)
    display = NetworkDisplay.from_estimator(network, X[0], y[0], max_units=6)
    assert list(display.units_[0]) == [0, 1, 2, 27, 28, 29]
    assert list(display.units_[1]) == [0, 1, 2, 17, 18, 19]
    assert texts(display.ax_).count("⋮") == 2
    heights = [circle.get_ydata()[0] for circle in display.units_[0].values()]
    assert heights == [3, 2, 1, -1, -2, -3]
    with pytest.raises(ValueError, match="max_units must be at least 2"):
        NetworkDisplay.from_estimator(network, X[0], y[0], max_units=1)


def test_network_of_maxout_shows_the_pieces_that_win(rows):
    X, y = rows
    network = classifier().set_params(activation=activations.Maxout(2)).fit(X, y)
    layer = inspection.trace(network, X[0], y[0]).layers[0]
    display = NetworkDisplay.from_estimator(network, X[0], y[0])
    columns = display._winners(0)
    np.testing.assert_array_equal(layer.z[columns], layer.a)
    for (i, j), line in display.edges_[0].items():
        positive = network.coefs_[0][i, columns[j]] >= 0
        assert line.get_color() == ("#0072B2" if positive else "#D55E00")


def test_network_names_its_features(rows):
    pd = pytest.importorskip("pandas", reason="makes a data frame")
    X = pd.DataFrame(rows[0], columns=["height", "width", "weight"])
    network = classifier().fit(X, rows[1])
    written = texts(NetworkDisplay.from_estimator(network, X.iloc[[0]], rows[1][0]).ax_)
    assert {"height", "width", "weight"} <= set(written)


# ---- gradient flow and gradient error -----------------------------------------------------------


@pytest.mark.parametrize("task", ["binary", "multilabel", "several_outputs"])
def test_gradient_flow(task):
    X, y, weights = TASKS[task].data()
    network = TASKS[task].ours(
        hidden_layer_sizes=(4, 3), random_state=0, early_stopping=True, device="reference"
    )
    display = GradientFlowDisplay.from_estimator(network, X, y, weights, epochs=3)
    assert not hasattr(network, "coefs_")
    again = clone(network).set_params(early_stopping=False)
    known = {}
    if isinstance(network, MLPClassifier):
        known["classes"] = np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])
    for epoch in range(3):
        again.partial_fit(X, y, weights, **known)
        expected = [
            np.linalg.norm(layer.coefs) for layer in inspection.gradients(again, X, y, weights)
        ]
        np.testing.assert_array_equal(display.norms[epoch], expected)
    for i, line in enumerate(display.lines_):
        np.testing.assert_array_equal(line.get_ydata(), display.norms[:, i])
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    assert display.ax_.get_yscale() == "log"


def test_gradients_vanish_through_logistic_units_but_not_through_relu(rows):
    shares = {}
    for activation in ("logistic", "relu"):
        network = classifier().set_params(hidden_layer_sizes=(20,) * 6, activation=activation)
        first = GradientFlowDisplay.from_estimator(network, *rows, epochs=1).norms[0]
        shares[activation] = first[0] / first[-1]
    assert shares["logistic"] < 1e-4
    assert shares["relu"] > 0.01


def test_gradient_flow_needs_epochs(rows):
    with pytest.raises(ValueError, match="'lbfgs' has no epochs to show"):
        GradientFlowDisplay.from_estimator(classifier(solver="lbfgs"), *rows)
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        GradientFlowDisplay.from_estimator(classifier(), *rows, epochs=0)


@pytest.mark.parametrize(
    "display",
    [ActivationDisplay, GradientFlowDisplay, LearningRateRangeDisplay, LossCurveDisplay],
)
def test_a_pipeline_is_no_network(display, rows):
    data = rows if "X" in inspect.signature(display.from_estimator).parameters else ()
    with pytest.raises(TypeError, match="of fastmlp, got Pipeline"):
        display.from_estimator(make_pipeline(classifier()), *data)


def test_gradient_error(rows):
    """Truncation falls with h², rounding rises with 1/h, and the default step is between them."""
    display = GradientErrorDisplay.from_estimator(classifier().fit(*rows), *rows)
    np.testing.assert_array_equal(display.line_.get_xdata(), display.steps)
    np.testing.assert_array_equal(display.line_.get_ydata(), display.errors)
    at = dict(zip(np.log10(display.steps).round(2).tolist(), display.errors, strict=True))
    assert at[-2.0] / at[-3.0] == pytest.approx(100, rel=0.1)
    assert at[-11.0] / at[-9.0] == pytest.approx(100, rel=0.9)
    best = display.steps[display.errors.argmin()]
    assert inspection.STEP / 30 < best < inspection.STEP * 30
    assert {"default step", "truncation ~ h²", "rounding ~ 1/h"} <= set(texts(display.ax_))


def test_gradient_error_of_one_step(rows):
    display = GradientErrorDisplay.from_estimator(classifier().fit(*rows), *rows, steps=[1e-6])
    assert texts(display.ax_) == ["default step"]
    assert display.errors.shape == (1,)


def test_gradient_error_needs_a_gradient(rows):
    X, _ = rows
    network = MLPRegressor(hidden_layer_sizes=(), alpha=0, device="reference", max_iter=1)
    with pytest.warns(UserWarning, match="hasn't converged"):
        network.fit(X, X[:, 0])
    network.coefs_, network.intercepts_ = [np.zeros((3, 1))], [np.zeros(1)]
    with pytest.raises(ValueError, match="gradient is zero"):
        GradientErrorDisplay.from_estimator(network, X, np.zeros(len(X)))


# ---- decision boundary --------------------------------------------------------------------------


def test_decision_boundary_is_scikit_learns_own(rows):
    X, y = rows[0][:, :2], rows[1] == rows[1][0]
    network = classifier().fit(X, y)
    display = DecisionBoundaryDisplay.from_estimator(
        network, X, response_method="predict_proba", grid_resolution=5
    )
    grid = np.column_stack([display.xx0.ravel(), display.xx1.ravel()])
    np.testing.assert_allclose(display.response.ravel(), network.predict_proba(grid)[:, 1])


# ---- learning rates -----------------------------------------------------------------------------


def test_learning_rate_range(rows, ax):
    display = LearningRateRangeDisplay.from_estimator(classifier(), *rows, ax=ax, color="black")
    found = inspection.learning_rate_range(classifier(), *rows)
    np.testing.assert_array_equal(display.line_.get_xdata(), found.rates)
    np.testing.assert_array_equal(display.line_.get_ydata(), found.smoothed)
    np.testing.assert_array_equal(display.losses_.get_ydata(), found.losses)
    assert display.line_.get_color() == "black"
    assert display.suggestion_.get_xdata()[0] == found.suggestion
    assert ax.get_xscale() == "log"


def test_no_suggestion_is_drawn_where_there_is_none(ax):
    found = inspection.LearningRateRange(*np.array([[1e-3, 1e-2, 1e-1], [1, 2, 3], [1, 2, 3]]))
    assert LearningRateRangeDisplay(found).plot(ax).suggestion_ is None


# ---- integrated gradients -----------------------------------------------------------------------


def test_integrated_gradients(rows):
    X, y = rows
    network = classifier().fit(X, y)
    expected = inspection.integrated_gradients(network, X[:1], X[1])[0, 2]
    display = IntegratedGradientsDisplay.from_estimator(
        network, X[0], X[1], output=2, feature_names=["a", "b", "c"], max_features=2, alpha=0.5
    )
    np.testing.assert_array_equal(display.contributions, expected)
    order = np.argsort(-np.abs(expected))
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, expected[order])
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["abc"[order[0]], "abc"[order[1]], "1 others"]
    assert display.bars_[0].get_alpha() == 0.5
    with pytest.raises(ValueError, match="3 features, but 2 names"):
        IntegratedGradientsDisplay.from_estimator(network, X[0], feature_names=["a", "b"])
    with pytest.raises(ValueError, match="single sample, got 2"):
        IntegratedGradientsDisplay.from_estimator(network, X[:2])
