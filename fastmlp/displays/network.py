"""The display of a network's units and weights, with the trace of one sample."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..estimators.base import BaseMLP
from ..estimators.fitted import model_of
from ..inspection import Trace, trace
from ._axes import BLUE, GREEN, GREY, ORANGE, axes_of


class NetworkDisplay:
    """A network's units and weights, with the trace of one sample, forward and backward.

    Forward values are black: each unit's activation a in its circle and, if there is room, its bias
    b and its sum z. Backward values are green: δ, the derivative of the loss by z. The width of
    every connection shows the size of its weight w; it is blue if w is positive and orange if
    negative. If there are few, they are labelled with w and ∂, the derivative of the objective by
    w. For a maxout unit, the largest piece is shown.

    Parameters
    ----------
    trace : Trace
        From `fastmlp.inspection.trace`.
    coefs : list of ndarray of shape (fan_in, fan_out)
        Weights of each layer.
    intercepts : list of ndarray of shape (fan_out,)
        Biases of each layer.
    input_names : list of str, default=None
        Names of the features; x1, x2, ... by default.
    max_units : int, default=8
        How many units of a layer are drawn, at least 2; of a larger layer, the first and last.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        The axes and figure that were drawn on.
    units_ : list of dict
        For the inputs and each layer: the drawn circles, by unit.
    edges_ : list of dict
        For each layer: the drawn lines, by (previous unit, unit).
    """

    #: Most units of a layer for which there is room for all labels.
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
        if max_units < 2:
            raise ValueError(
                f"max_units must be at least 2, for the first and the last, got {max_units!r}."
            )
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
            How many units of a layer are drawn, at least 2; of a larger layer, the first and last.
        ax : Axes, default=None
            The axes to draw on; new axes by default.

        Returns
        -------
        display : NetworkDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError, ValueError
            As `fastmlp.inspection.trace`, and if `max_units` is less than 2.
        """
        followed = trace(estimator, x, y)
        names = list(getattr(estimator, "feature_names_in_", [])) or None
        model = model_of(estimator)
        display = cls(followed, model.coefs, model.intercepts, names, max_units)
        return display.plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw on the given axes or on new ones; see `from_estimator`."""
        layers = self.trace.layers
        columns = [_places(len(layers[0].inputs), self.max_units)]
        columns += [_places(len(layer.a), self.max_units) for layer in layers]
        self._room = max(map(len, columns)) <= self.roomy
        top = max(max(column.values()) for column in columns)
        margin, unit = (0.75, 1.8) if self._room else (1, 0.75)  # in units, and inches per unit
        size = 3 * len(layers) + 2, 2 * (top + margin) * unit
        ax = axes_of(self, ax, size)
        self.edges_ = [
            self._draw_edges(ax, depth, columns[depth], columns[depth + 1])
            for depth in range(len(layers))
        ]
        self.units_ = [self._draw_units(ax, depth, column) for depth, column in enumerate(columns)]
        self._write_keys(ax, top + margin)
        ax.set(xlim=(-0.2, len(layers) + 0.2), ylim=(-top - margin, top + margin))
        ax.set_axis_off()
        ax.set_title(f"One sample, forward and backward: loss {_number(self.trace.loss)}", pad=12)
        return self

    def _write_keys(self, ax, top):
        """Write the captions of the columns, and the meaning of letters and colours."""
        depth = len(self.trace.layers)
        captions = ["inputs", *(f"hidden layer {i}" for i in range(1, depth)), "outputs"]
        for column, caption in enumerate(captions):
            ax.text(column, top, caption, ha="center", va="top", color=GREY)
        forward, back = "forward: a = f(z) in the circles", "backward: δ = ∂loss/∂z"
        if self._room:
            forward, back = f"{forward},  z = b + Σ w a", f"{back},  ∂ = ∂objective/∂w"
        for x, side, color, key in (
            (0.49, "right", "black", forward),
            (0.51, "left", GREEN, back),
        ):
            ax.annotate(
                key, (x, 0), xycoords="axes fraction", ha=side, color=color, fontsize="small"
            )

    def _winners(self, depth):
        """Return the column of the layer's weights that each unit's value comes from."""
        layer = self.trace.layers[depth]
        pieces = layer.z.reshape(-1, len(layer.a))  # several for maxout, else one
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
                    # At this position, the labels of all connections have equal distances.
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
        """Write name, bias, z and δ of a unit, or as many as there is room for."""
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
        """Write text centred `above` points above a place, or `aside` points beside it."""
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
    """Return the heights at which the units of a column are drawn, by unit, centred at 0."""
    shown = np.arange(count)
    slots = np.arange(count)
    if count > most:  # the first and the last, with a gap between them
        shown = np.r_[: most // 2, count - most // 2 : count]
        slots = np.r_[: most // 2, most // 2 + 1 : 2 * (most // 2) + 1]
    heights = (slots[0] + slots[-1]) / 2 - slots
    return dict(zip(shown.tolist(), heights.tolist(), strict=True))


def _number(value):
    """Format a number with three significant digits, in little space."""
    return f"{value:.3g}".replace("-", "−")
