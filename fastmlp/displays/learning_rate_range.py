"""The loss while the learning rate rises."""

from typing import Any, Self

import numpy as np

from ..estimators.base import BaseMLP
from ..estimators.types import LabelsLike, MatrixLike, WeightsLike
from ..inspection import LearningRateRange, learning_rate_range
from ._axes import BLUE, GREY, ORANGE, axes_of


class LearningRateRangeDisplay:
    """The loss of each batch while the learning rate rises, and the rate that is suggested.

    Parameters
    ----------
    result : LearningRateRange
        The result of `fastmlp.inspection.learning_rate_range`.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        The axes and figure that were drawn on.
    line_, losses_ : Line2D
        The smoothed losses, and those of the batches.
    suggestion_ : Line2D or None
        The vertical line at the suggested rate; None if there is no suggestion.
    """

    ax_: Any
    figure_: Any

    def __init__(self, result: LearningRateRange):
        self.result = result

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseMLP,
        X: MatrixLike,
        y: LabelsLike,
        sample_weight: WeightsLike | None = None,
        *,
        least: float = 1e-6,
        most: float = 10.0,
        steps: int = 100,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Train a clone with a rising learning rate, and draw its losses.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            The estimator to clone, with a stochastic solver; it need not be fitted and is not
            changed.
        X, y, sample_weight
            Data to train on, as in `fit`.
        least, most, steps
            See `fastmlp.inspection.learning_rate_range`.
        ax : Axes, default=None
            The axes to draw on; new axes by default.
        **kwargs : dict
            Passed on to the ``Axes.plot`` of the smoothed losses.

        Returns
        -------
        display : LearningRateRangeDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            For the same reasons as in `fastmlp.inspection.learning_rate_range`.
        """
        found = learning_rate_range(
            estimator, X, y, sample_weight, least=least, most=most, steps=steps
        )
        return cls(found).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw on the given axes or on new ones; see `from_estimator`."""
        ax, found = axes_of(self, ax), self.result
        (self.losses_,) = ax.plot(
            found.rates, found.losses, color=GREY, alpha=0.4, linewidth=1, label="loss of a batch"
        )
        settings = {"color": BLUE, "label": "smoothed"} | kwargs
        (self.line_,) = ax.plot(found.rates, found.smoothed, **settings)
        self.suggestion_, rate = None, found.suggestion
        if np.isfinite(rate):
            label = f"falls fastest at {rate:.2g}"
            self.suggestion_ = ax.axvline(rate, color=ORANGE, linestyle="--", label=label)
        ax.set(xlabel="learning rate", ylabel="training loss", xscale="log")
        ax.legend(frameon=False)
        return self
