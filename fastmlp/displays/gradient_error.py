"""The error of central differences as a function of their step."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..estimators.base import BaseMLP
from ..estimators.types import LabelsLike, MatrixLike, WeightsLike
from ..inspection import STEP, gradients, numerical_gradients
from ._axes import BLUE, GREY, ORANGE, axes_of


class GradientErrorDisplay:
    """The error of central differences by step: from truncation or from rounding.

    Parameters
    ----------
    steps : ndarray of shape (n_steps,)
        Steps h.
    errors : ndarray of shape (n_steps,)
        ‖n - g‖ / ‖g‖ of the differences n and the gradient g by reverse mode.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        The axes and figure that were drawn on.
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
            Data, as in `fastmlp.inspection.numerical_gradients`.
        steps : array-like of shape (n_steps,), default=None
            Steps; from 1e-12 to 1 by default, three per decade.
        ax : Axes, default=None
            The axes to draw on; new axes by default.
        **kwargs : dict
            Passed on to ``Axes.loglog``.

        Returns
        -------
        display : GradientErrorDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError, ValueError
            As `fastmlp.inspection.numerical_gradients`, and if the gradient is zero.
        """
        steps = np.logspace(-12, 0, 37) if steps is None else np.asarray(steps)
        g = _flat(gradients(estimator, X, y, sample_weight))
        if not g.any():
            raise ValueError("The gradient is zero, so that relative errors are not defined.")
        errors = [
            np.linalg.norm(_flat(numerical_gradients(estimator, X, y, sample_weight, step=h)) - g)
            for h in steps
        ]
        return cls(steps, np.array(errors) / np.linalg.norm(g)).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw on the given axes or on new ones; see `from_estimator`."""
        ax = axes_of(self, ax)
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
        """Draw a line of a power of h through the errors of a region, with its label beside it."""
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
