"""The loss curve of a fit."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from ..estimators.base import BaseMLP
from ..estimators.fitted import model_of
from ._axes import BLUE, ORANGE, axes_of


class LossCurveDisplay:
    """The training loss of every epoch and, with early stopping, the validation score.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training losses.
    validation_scores : array-like of shape (n_epochs,), default=None
        Scores on the validation rows.
    score_name : str, default="score"
        Name of the scores.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        The axes and figure that were drawn on; with scores, `score_ax_` is their axis on the right.
    line_, score_line_, best_ : Line2D
        The curves, and the marker of the best score; the latter two are None without scores.
    """

    ax_: Any
    figure_: Any

    def __init__(
        self,
        loss_curve: Sequence[float] | np.ndarray,
        validation_scores: Sequence[float] | np.ndarray | None = None,
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
            The axes to draw on; new axes by default.
        **kwargs : dict
            Passed on to the loss curve's ``Axes.plot``.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError, ValueError
            If the estimator has not been fitted, or was fitted by L-BFGS.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "loss_curve_"):
            raise ValueError("There is no loss curve: solver='lbfgs' has no epochs.")
        score_name = "accuracy"
        if not is_classifier(estimator):
            score_name = model_of(estimator).network.loss.score_name
        display = cls(estimator.loss_curve_, estimator.validation_scores_, score_name)
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw on the given axes or on new ones; see `from_estimator`."""
        ax = axes_of(self, ax)
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
        # Below the axes, as the curves may be anywhere inside.
        ax.legend(
            handles=[self.line_, self.score_line_, self.best_],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=3,
            fontsize="small",
            frameon=False,
        )
