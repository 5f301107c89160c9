"""Pictures of networks, in scikit-learn's convention for Displays.

A Display is made by its ``from_estimator``, which computes what is to be seen and draws it. It
keeps the numbers as attributes, draws them again on other axes with ``plot(ax=...)``, and leaves
what it has drawn on in ``ax_`` and ``figure_``. matplotlib is imported when something is drawn:
``pip install 'fastmlp[plot]'``. ``python -m fastmlp gallery DIR`` writes one picture of each.

Decision boundaries are drawn by `sklearn.inspection.DecisionBoundaryDisplay`, which takes these
estimators as it takes all others.

Examples
--------
>>> from fastmlp import MLPClassifier
>>> from fastmlp.displays import LossCurveDisplay
>>> from sklearn.datasets import load_iris
>>> classifier = MLPClassifier(early_stopping=True, random_state=0)
>>> classifier = classifier.fit(*load_iris(return_X_y=True))
>>> display = LossCurveDisplay.from_estimator(classifier)  # doctest: +SKIP
>>> display.ax_.set_yscale("log")  # doctest: +SKIP
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone, is_classifier
from sklearn.utils.validation import check_is_fitted

from .activations import Activation, resolve
from .devices.reference import activate
from .estimators.base import BaseMLP
from .estimators.fitted import model_of
from .estimators.types import LabelsLike, MatrixLike, WeightsLike
from .inspect import STEP, Trace, gradients, numerical_gradients, trace

# Okabe and Ito's colours, which readers with any kind of colour vision tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"


def _axes(display, ax, size=None):
    """Axes to draw on, new ones of so many inches by default; the display notes them down."""
    if ax is None:
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                f"{type(display).__name__} draws with matplotlib, which is not installed: "
                "pip install 'fastmlp[plot]'"
            ) from error
        _, ax = plt.subplots(figsize=size, layout="constrained")
    display.ax_, display.figure_ = ax, ax.figure
    return ax


class LossCurveDisplay:
    """The training loss of every epoch and, with early stopping, the validation score.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training losses.
    validation_scores : array-like of shape (n_epochs,), default=None
        Scores on the validation rows.
    score_name : str, default="score"
        What the scores are.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        What was drawn on; with scores, `score_ax_` is their axis on the right.
    line_, score_line_, best_ : Line2D
        The curves, and the mark of the best score; the latter two are None without scores.
    """

    ax_: Any
    figure_: Any

    def __init__(
        self,
        loss_curve: Sequence[float],
        validation_scores: Sequence[float] | None = None,
        score_name: str = "score",
    ):
        self.loss_curve, self.validation_scores = loss_curve, validation_scores
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: BaseMLP, *, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Fitted with "adam" or "sgd"; L-BFGS keeps no curve.
        ax : Axes, default=None
            What to draw on; new axes by default.
        **kwargs : dict
            Passed on to the loss curve's ``Axes.plot``.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError, ValueError
            If the estimator has not been fitted, or by L-BFGS.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "loss_curve_"):
            raise ValueError("There is no loss curve: solver 'lbfgs' does not go by epochs.")
        score_name = "accuracy"
        if not is_classifier(estimator):
            score_name = model_of(estimator).network.loss.score_name
        display = cls(estimator.loss_curve_, estimator.validation_scores_, score_name)
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw on the given axes or on new ones; see `from_estimator`."""
        ax = _axes(self, ax)
        epochs = np.arange(1, len(self.loss_curve) + 1)
        settings = {"color": BLUE, "label": "training loss"} | kwargs
        (self.line_,) = ax.plot(epochs, self.loss_curve, **settings)
        ax.set(xlabel="epoch", ylabel="training loss", xlim=(1, max(2, len(epochs))))
        self.score_ax_ = self.score_line_ = self.best_ = None
        if self.validation_scores is not None:
            self._plot_scores(ax, epochs, self.validation_scores)
        return self

    def _plot_scores(self, ax, epochs, validation_scores):
        self.score_ax_ = scores = ax.twinx()
        what = f"validation {self.score_name}"
        (self.score_line_,) = scores.plot(
            epochs, validation_scores, color=ORANGE, linestyle="--", label=what
        )
        best = int(np.nanargmax(validation_scores))
        (self.best_,) = scores.plot(
            epochs[best],
            validation_scores[best],
            color=ORANGE,
            marker="o",
            linestyle="",
            clip_on=False,
            label=f"best, epoch {epochs[best]}: these weights are kept",
        )
        scores.set_ylabel(what, color=ORANGE)
        ax.yaxis.label.set_color(self.line_.get_color())
        # Below the axes, as the curves may go anywhere.
        ax.legend(
            handles=[self.line_, self.score_line_, self.best_],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=3,
            fontsize="small",
            frameon=False,
        )


class ActivationDisplay:
    """An activation and its slope.

    Parameters
    ----------
    activation : Activation
        What is shown.
    constants : array-like of shape (units,), default=None
        Of an activation that learns, what its units have learned: each has a curve.

    Attributes
    ----------
    z : ndarray of shape (points,)
        Where it is shown.
    values, slopes : ndarray of shape (points, units)
        f(z) and f'(z).
    pieces : ndarray of shape (points, pieces) or None
        The linear pieces of a maxout unit.
    ax_, figure_ : Axes, Figure
        What was drawn on.
    lines_ : list of Line2D
        The curves of the values, then those of the slopes.
    """

    ax_: Any
    figure_: Any

    def __init__(
        self, activation: Activation, constants: Sequence[float] | np.ndarray | None = None
    ):
        self.activation, self.constants = activation, constants
        self.z, self.pieces = np.linspace(-4, 4, 2001), None
        units = 1 if constants is None else len(constants)
        z = np.repeat(self.z[:, np.newaxis], units, axis=1)
        if activation.pieces > 1:
            touching = np.linspace(-2, 2, activation.pieces)
            z = self.pieces = self.z[:, np.newaxis] * touching - touching**2 / 2
        c = None if constants is None else np.asarray(constants)
        self.values, self.slopes, _ = activate(activation, z, c)
        if self.pieces is not None:  # by x: the slope of the piece that is the largest
            self.slopes = (self.slopes * touching).sum(axis=1, keepdims=True)

    @classmethod
    def from_activation(
        cls, activation: str | Activation, *, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw an activation.

        Parameters
        ----------
        activation : str or Activation
            A name, or an object of `fastmlp.activations`. Of maxout, an example is drawn: the
            largest of tangents to x² / 2.
        ax : Axes, default=None
            What to draw on; new axes by default.
        **kwargs : dict
            Passed on to ``Axes.plot``.

        Returns
        -------
        display : ActivationDisplay
            The display, drawn.
        """
        return cls(resolve(activation)).plot(ax, **kwargs)

    @classmethod
    def from_estimator(
        cls, estimator: BaseMLP, *, layer: int = 0, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw the activation of a hidden layer, of each unit as it has been learned.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            A fitted estimator.
        layer : int, default=0
            Which hidden layer, counted from 0.
        ax : Axes, default=None
            What to draw on; new axes by default.
        **kwargs : dict
            Passed on to ``Axes.plot``.

        Returns
        -------
        display : ActivationDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError, ValueError
            If the estimator has not been fitted, or has no such layer.
        """
        check_is_fitted(estimator)
        model = model_of(estimator)
        network = model.network
        if not 0 <= layer < len(network.activation):
            raise ValueError(f"There is no hidden layer {layer} of {len(network.activation)}.")
        learned = model.learned[layer]
        return cls(network.activation[layer], learned).plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw on the given axes or on new ones; see `from_activation`."""
        ax = _axes(self, ax)
        several = self.values.shape[1] > 1
        settings = {"alpha": 0.4, "linewidth": 1} if several else {"linewidth": 2}
        values = {"color": BLUE, "label": "f"} | settings | kwargs
        slopes = {"color": ORANGE, "label": "f'", "linestyle": "--"} | settings | kwargs
        for at in (ax.axhline, ax.axvline):
            at(0, color=GREY, linewidth=0.6, zorder=0)
        if self.pieces is not None:
            ax.plot(self.z, self.pieces, color=GREY, linestyle=":", linewidth=1)
        self.lines_ = [
            *ax.plot(self.z, _broken(self.values), **values),
            *ax.plot(self.z, _broken(self.slopes), **slopes),
        ]
        ax.set(xlabel="z" if self.pieces is None else "x", xlim=(-4, 4))
        title = _title(self.activation)
        if self.constants is not None:
            title = f"{self.activation.name}\nas {len(self.constants)} units have learned it"
        ax.set_title(title, fontsize="medium")
        ax.legend(handles=[self.lines_[0], self.lines_[-1]], loc="upper left", frameon=False)
        return self


def _title(activation):
    """Name and settings, in two lines."""
    return f"{activation.name}\n{activation.settings}".rstrip()


def _broken(curves):
    """The curves with a gap where they jump, rather than a line that is not there."""
    rises = np.abs(np.diff(curves, axis=0, prepend=curves[:1], append=curves[-1:]))
    before, here, after = rises[:-2], rises[1:-1], rises[2:]
    jumps = np.zeros(curves.shape, bool)
    jumps[:-1] = here > 0.01 + 5 * np.maximum(before, after)
    return np.where(jumps, np.nan, curves)


class NetworkDisplay:
    """A network's units and weights, with what one sample does there, forward and back.

    What goes forward is black: each unit's value a in its circle, and where there is room its bias
    b and its sum z. What comes back is green: δ, the slope of the loss by z. Every connection is
    as wide as its weight w is large, blue where that is positive and orange where it is negative;
    where there are few, w is written on it, with the slope ∂ of the objective by it. Of a maxout
    unit, the piece that wins is shown.

    Parameters
    ----------
    trace : Trace
        From `fastmlp.inspect.trace`.
    coefs : list of ndarray of shape (fan_in, fan_out)
        Weights of each layer.
    intercepts : list of ndarray of shape (fan_out,)
        Biases of each layer.
    input_names : list of str, default=None
        Names of the features; x1, x2, ... by default.
    max_units : int, default=8
        How many units of a layer are drawn: of more, the first and the last.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        What was drawn on.
    units_ : list of dict
        Of the inputs and each layer, the circles that were drawn, by unit.
    edges_ : list of dict
        Of each layer, the lines that were drawn, by (unit before, unit).
    """

    #: Most units of a layer for which there is room to write everything.
    roomy = 3

    ax_: Any
    figure_: Any

    def __init__(
        self,
        trace: Trace,
        coefs: list[np.ndarray],
        intercepts: list[np.ndarray],
        input_names: list[str] | None = None,
        max_units: int = 8,
    ):
        self.trace, self.coefs, self.intercepts = trace, coefs, intercepts
        self.max_units = max_units
        count = len(trace.layers[0].inputs)
        self.input_names = input_names or [f"x{j + 1}" for j in range(count)]

    @classmethod
    def from_estimator(
        cls, estimator: BaseMLP, x: ArrayLike, y: ArrayLike, *, max_units: int = 8, ax: Any = None
    ) -> Self:
        """Draw a fitted network and one sample.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            A fitted estimator.
        x : array-like of shape (n_features,) or (1, n_features)
            The sample.
        y : label, number, or array-like of shape (n_outputs,)
            Its label or target.
        max_units : int, default=8
            How many units of a layer are drawn: of more, the first and the last.
        ax : Axes, default=None
            What to draw on; new axes by default.

        Returns
        -------
        display : NetworkDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError, ValueError
            As `fastmlp.inspect.trace`.
        """
        followed = trace(estimator, x, y)
        names = list(getattr(estimator, "feature_names_in_", [])) or None
        display = cls(followed, estimator.coefs_, estimator.intercepts_, names, max_units)
        return display.plot(ax)

    def plot(self, ax=None):
        """Draw on the given axes or on new ones; see `from_estimator`."""
        layers = self.trace.layers
        columns = [_places(len(layers[0].inputs), self.max_units)]
        columns += [_places(len(layer.a), self.max_units) for layer in layers]
        self._room = max(map(len, columns)) <= self.roomy
        top = max(max(column.values()) for column in columns)
        margin, unit = (0.75, 1.8) if self._room else (1, 0.75)  # of units, and inches of each
        size = 3 * len(layers) + 2, 2 * (top + margin) * unit
        ax = _axes(self, ax, size)
        self.edges_ = [
            self._draw_edges(ax, depth, columns[depth], columns[depth + 1])
            for depth in range(len(layers))
        ]
        self.units_ = [self._draw_units(ax, depth, column) for depth, column in enumerate(columns)]
        self._write_keys(ax, top + margin)
        ax.set(xlim=(-0.2, len(layers) + 0.2), ylim=(-top - margin, top + margin))
        ax.set_axis_off()
        ax.set_title(f"One sample, there and back: loss {_number(self.trace.loss)}", pad=12)
        return self

    def _write_keys(self, ax, top):
        """What the columns are, and what the letters and colours mean."""
        depth = len(self.trace.layers)
        captions = ["inputs", *(f"hidden layer {i}" for i in range(1, depth)), "outputs"]
        for column, caption in enumerate(captions):
            ax.text(column, top, caption, ha="center", va="top", color=GREY)
        forward, back = "forward: a = f(z) in the circles", "back: δ of the loss by z"
        if self._room:
            forward, back = f"{forward},  z = b + Σ w a", f"{back},  ∂ of the objective by w"
        for x, side, color, key in (
            (0.49, "right", "black", forward),
            (0.51, "left", GREEN, back),
        ):
            ax.annotate(
                key, (x, 0), xycoords="axes fraction", ha=side, color=color, fontsize="small"
            )

    def _winners(self, depth):
        """The column of the layer's weights that each unit's value comes from."""
        layer = self.trace.layers[depth]
        pieces = layer.z.reshape(-1, len(layer.a))  # several of maxout, else one
        return pieces.argmax(axis=0) * len(layer.a) + np.arange(len(layer.a))

    def _draw_edges(self, ax, depth, before, after):
        winners, widest = self._winners(depth), max(np.abs(coefs).max() for coefs in self.coefs)
        edges = {}
        for i, low in before.items():
            for j, high in after.items():
                weight = self.coefs[depth][i, winners[j]]
                (edges[i, j],) = ax.plot(
                    (depth, depth + 1),
                    (low, high),
                    color=BLUE if weight >= 0 else ORANGE,
                    linewidth=0.3 + 3 * abs(weight) / widest if widest else 0.3,
                    alpha=0.5,
                    zorder=1,
                )
                if self._room:
                    slope = self.trace.layers[depth].gradient.coefs[i, winners[j]]
                    # Where labels of all connections keep the same distance.
                    share = 1 / (1 + max(len(before), len(after)))
                    where = depth + share, low + share * (high - low)
                    color = edges[i, j].get_color()
                    self._write(ax, where, 6, f"w {_number(weight)}", color, "white")
                    self._write(ax, where, -6, f"∂ {_number(slope)}", GREEN, "white")
        return edges

    def _draw_units(self, ax, depth, column):
        layers = self.trace.layers
        values = layers[0].inputs if depth == 0 else layers[depth - 1].a
        units = {}
        for unit, height in column.items():
            where = depth, height
            (units[unit],) = ax.plot(
                *where, "o", markersize=38 if self._room else 28, color="white",
                markeredgecolor="black", zorder=3,
            )  # fmt: skip
            self._write(ax, where, 0, _number(values[unit]), "black")
            self._annotate_unit(ax, depth, unit, where)
        if len(values) > len(column):
            ax.text(depth, 0, "⋮", ha="center", va="center", fontsize="x-large")
        return units

    def _annotate_unit(self, ax, depth, unit, where):
        """Name, bias, z and δ of a unit, or as much as there is room for."""
        aside = 24 if self._room else 18
        if depth == 0:
            self._write(ax, where, 0, self.input_names[unit], "black", aside=-aside)
            return
        layer, column = self.trace.layers[depth - 1], self._winners(depth - 1)[unit]
        outputs = depth == len(self.trace.layers)
        delta = f"δ {_number(layer.delta[column])}"
        if not self._room:
            self._write(ax, where, -21, delta, GREEN, "white")
        else:
            self._write(ax, where, 27, f"{'o' if outputs else 'h'}{unit + 1}", "black")
            bias, z = self.intercepts[depth - 1][column], layer.z[column]
            self._write(ax, where, -28, f"b {_number(bias)}", "black", "white")
            self._write(ax, where, -40, f"z {_number(z)}", "black", "white")
            self._write(ax, where, -52, delta, GREEN, "white")
        if outputs:
            target = f"target {_number(self.trace.target[unit])}"
            self._write(ax, where, 0, target, "black", aside=aside)

    def _write(self, ax, where, above, text, color, background="none", aside=0):
        """Text centred so many points above a place, or beginning or ending so many beside it."""
        ax.annotate(
            text,
            where,
            (aside, above),
            textcoords="offset points",
            ha={-1: "right", 0: "center", 1: "left"}[np.sign(aside)],
            va="center",
            color=color,
            fontsize="small" if self._room else "x-small",
            zorder=4,
            bbox={"facecolor": background, "edgecolor": "none", "pad": 2},
        )


def _places(count, most):
    """The heights at which the units of a column are drawn, by unit, around 0."""
    shown = np.arange(count)
    slots = np.arange(count)
    if count > most:  # the first and the last, with a gap between them
        shown = np.r_[: most // 2, count - most // 2 : count]
        slots = np.r_[: most // 2, most // 2 + 1 : 2 * (most // 2) + 1]
    heights = (slots[0] + slots[-1]) / 2 - slots
    return dict(zip(shown.tolist(), heights.tolist(), strict=True))


def _number(value):
    """Three significant digits, in little space."""
    return f"{value:.3g}".replace("-", "−")


class GradientFlowDisplay:
    """The length of each layer's gradient in every epoch: whether it vanishes on its way back.

    Parameters
    ----------
    norms : ndarray of shape (n_epochs, n_layers)
        Euclidean norms of the gradients by each layer's weights, after each epoch.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        What was drawn on.
    lines_ : list of Line2D
        A curve for each layer.
    """

    ax_: Any
    figure_: Any

    def __init__(self, norms: np.ndarray):
        self.norms = norms

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseMLP,
        X: MatrixLike,
        y: LabelsLike,
        sample_weight: WeightsLike | None = None,
        *,
        epochs: int = 50,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Train a clone epoch by epoch, and draw its gradients.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            What is cloned; it need not be fitted and is not changed. Its solver must be "adam" or
            "sgd"; it is trained on all rows, without early stopping.
        X, y, sample_weight
            Data to train on, as `fit` takes them. Gradients are those over all of these rows.
        epochs : int, default=50
            How long.
        ax : Axes, default=None
            What to draw on; new axes by default.
        **kwargs : dict
            Passed on to ``Axes.plot``.

        Returns
        -------
        display : GradientFlowDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the solver is "lbfgs", or as `fit`.
        """
        if estimator.solver == "lbfgs":
            raise ValueError("Gradients flow by epochs, which solver 'lbfgs' does not have.")
        network = clone(estimator).set_params(early_stopping=False, warm_start=False)
        known = {"classes": _classes(y)} if is_classifier(estimator) else {}
        norms = []
        for _ in range(epochs):
            network.partial_fit(X, y, sample_weight, **known)
            layers = gradients(network, X, y, sample_weight)
            norms.append([np.linalg.norm(layer.coefs) for layer in layers])
        return cls(np.array(norms)).plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw on the given axes or on new ones; see `from_estimator`."""
        ax = _axes(self, ax)
        from matplotlib import colormaps

        count = self.norms.shape[1]
        # From dark, near the inputs, to light; the last tenth of the map is too light on white.
        colors = colormaps["viridis"](np.linspace(0, 0.9, count))
        epochs = np.arange(1, len(self.norms) + 1)
        names = [str(i) for i in range(1, count + 1)]
        names[0], names[-1] = "1 (inputs)", f"{count} (outputs)"
        self.lines_ = [
            ax.plot(epochs, self.norms[:, i], **{"color": colors[i], "label": names[i]} | kwargs)[0]
            for i in range(count)
        ]
        ax.set(
            xlabel="epoch",
            ylabel="norm of the gradient",
            yscale="log",
            xlim=(1, max(2, len(epochs))),
        )
        ax.legend(
            title="weights of layer",
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            frameon=False,
            reverse=True,
        )
        return self


def _classes(y):
    """What partial_fit wants to know: the classes, or of an indicator matrix its columns."""
    y = np.asarray(y)
    several = y.ndim == 2 and y.shape[1] > 1
    return np.arange(y.shape[1]) if several else np.unique(y)


class GradientErrorDisplay:
    """How wrong central differences are, by their step: by truncation or by rounding.

    Parameters
    ----------
    steps : ndarray of shape (n_steps,)
        Steps h.
    errors : ndarray of shape (n_steps,)
        ‖n - g‖ / ‖g‖ of the differences n and the gradient g by reverse mode.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        What was drawn on.
    line_ : Line2D
        The errors.
    """

    ax_: Any
    figure_: Any

    def __init__(self, steps: np.ndarray, errors: np.ndarray):
        self.steps, self.errors = steps, errors

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseMLP,
        X: MatrixLike,
        y: LabelsLike,
        sample_weight: WeightsLike | None = None,
        *,
        steps: ArrayLike | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Compare gradients at the fitted parameters, and draw the errors.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            A fitted estimator: a small one, since each step takes two passes over the rows for
            each parameter.
        X, y, sample_weight
            Data, as in `fastmlp.inspect.numerical_gradients`.
        steps : array-like of shape (n_steps,), default=None
            Steps; from 1e-12 to 1 by default, three each decade.
        ax : Axes, default=None
            What to draw on; new axes by default.
        **kwargs : dict
            Passed on to ``Axes.loglog``.

        Returns
        -------
        display : GradientErrorDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError, ValueError
            As `fastmlp.inspect.numerical_gradients`, and if the gradient is zero.
        """
        steps = np.logspace(-12, 0, 37) if steps is None else np.asarray(steps)
        g = _flat(gradients(estimator, X, y, sample_weight))
        if not g.any():
            raise ValueError("The gradient is zero: there is no relative error.")
        errors = [
            np.linalg.norm(_flat(numerical_gradients(estimator, X, y, sample_weight, step=h)) - g)
            for h in steps
        ]
        return cls(steps, np.array(errors) / np.linalg.norm(g)).plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw on the given axes or on new ones; see `from_estimator`."""
        ax = _axes(self, ax)
        settings = {"color": BLUE, "marker": "o", "markersize": 4, "linestyle": ""} | kwargs
        (self.line_,) = ax.loglog(self.steps, self.errors, **settings)
        limits = ax.get_ylim()
        self._guide(ax, self.steps > 10 * STEP, 2, "truncation ~ h²", "right")
        self._guide(ax, self.steps < STEP / 10, -1, "rounding ~ 1/h", "left")
        ax.axvline(STEP, color=GREY, linestyle=":")
        ax.annotate(
            "default step",
            (STEP, 0.97),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            color=GREY,
        )
        ax.set(xlabel="step h", ylabel="relative error of\ncentral differences", ylim=limits)
        return self

    def _guide(self, ax, region, power, label, side):
        """The line of a power of h through the errors of a region, with its name beside it."""
        if not region.any():
            return
        h = self.steps[region]
        line = h**power * np.median(self.errors[region] / h**power)
        ax.loglog(h, line, color=ORANGE, linewidth=1, zorder=1)
        middle = len(h) // 2
        ax.annotate(
            label,
            (h[middle], line[middle]),
            (-10 if side == "right" else 10, 0),
            textcoords="offset points",
            ha=side,
            va="bottom",
            color=ORANGE,
        )


def _flat(layers):
    return np.concatenate([part.ravel() for layer in layers for part in layer if part is not None])
