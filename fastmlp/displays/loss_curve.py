"""The loss curve of a fit."""

from collections.abc import Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from sklearn.base import is_classifier

from ..estimators.base import BaseMLP
from ..estimators.fitted import model_of
from ..estimators.problem import check_fitted
from ..estimators.state import scored_by
from ._axes import BLUE, ORANGE, axes_of

Curve: TypeAlias = Sequence[float] | np.ndarray


class LossCurveDisplay:
    """The training loss of every epoch and, with validation, the validation loss and score.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training losses.
    validation_scores : array-like of shape (n_validated,), default=None
        Scores on the validation rows, of the last epochs.
    score_name : str, default="score"
        Name of the scores.
    validation_loss_curve : array-like of shape (n_validated,), default=None
        Losses on the validation rows, of the last epochs.
    best_iteration : int, default=None
        The epoch with the best score, counted from 1; by default the first one with the largest
        score, or without scores the smallest validation loss.
    kept : bool, default=True
        Whether the weights of that epoch were kept.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        The axes and figure that were drawn on; with scores, `score_ax_` is their axis on the right.
    line_, validation_line_, score_line_, best_ : Line2D
        The curves, and the marker of the best epoch; the latter three are None without validation,
        and `score_line_` also if the score is the loss.
    """

    ax_: Any
    figure_: Any

    def __init__(
        self,
        loss_curve: Curve,
        validation_scores: Curve | None = None,
        score_name: str = "score",
        validation_loss_curve: Curve | None = None,
        best_iteration: int | None = None,
        kept: bool = True,
    ):
        self.loss_curve, self.validation_scores = loss_curve, validation_scores
        self.score_name, self.validation_loss_curve = score_name, validation_loss_curve
        self.best_iteration, self.kept = best_iteration, kept

    @classmethod
    def from_estimator(cls, estimator: BaseMLP, *, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the curves of a fitted estimator.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Fitted by epochs; L-BFGS keeps no curve.
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
        TypeError, NotFittedError, ValueError
            If it is no estimator of fastmlp, has not been fitted, or was fitted by L-BFGS.
        """
        check_fitted(estimator)
        if not hasattr(estimator, "loss_curve_"):
            raise ValueError("There is no loss curve: solver='lbfgs' has no epochs.")
        name = _score_name(estimator)
        display = cls(
            estimator.loss_curve_,
            None if name is None else estimator.validation_scores_,
            name or "score",
            estimator.validation_loss_curve_,
            estimator.best_iteration_,
            kept=estimator.best_loss_ is None,  # of a fit with early stopping
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw on the given axes or on new ones; see `from_estimator`."""
        ax = axes_of(self, ax)
        epochs = np.arange(1, len(self.loss_curve) + 1)
        settings = {"color": BLUE, "label": "training loss"} | kwargs
        (self.line_,) = ax.plot(epochs, self.loss_curve, **settings)
        ax.set(xlabel="epoch", ylabel="training loss", xlim=(1, max(2, len(epochs))))
        self.score_ax_ = self.validation_line_ = self.score_line_ = self.best_ = None
        if self.validation_loss_curve is not None:
            settings |= {"label": "validation loss", "linestyle": ":"}
            (self.validation_line_,) = _plot_last(ax, epochs, self.validation_loss_curve, settings)
            ax.set_ylabel("loss")
        if self.validation_scores is not None:
            self._plot_scores(ax, epochs)
        self._mark_best(ax, epochs)
        drawn = self.line_, self.validation_line_, self.score_line_, self.best_
        handles = [line for line in drawn if line is not None]
        if len(handles) > 1:
            # Below the axes, as the curves may be anywhere inside.
            ax.legend(
                handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16),
                ncols=2, fontsize="small", frameon=False,
            )  # fmt: skip
        return self

    def _plot_scores(self, ax, epochs):
        self.score_ax_ = scores = ax.twinx()
        what = f"validation {self.score_name}"
        settings = {"color": ORANGE, "linestyle": "--", "label": what}
        (self.score_line_,) = _plot_last(scores, epochs, self.validation_scores, settings)
        scores.set_ylabel(what, color=ORANGE)
        ax.yaxis.label.set_color(self.line_.get_color())

    def _mark_best(self, ax, epochs):
        """Mark the best epoch on the curve that says which one that is."""
        by_loss = self.validation_scores is None
        values = self.validation_loss_curve if by_loss else self.validation_scores
        if values is None or np.isnan(values).all():
            return
        first, best = len(epochs) - len(values) + 1, self.best_iteration
        if best is None:
            best = first + int(np.nanargmin(values) if by_loss else np.nanargmax(values))
        on: Any = ax if by_loss else self.score_ax_
        color = self.line_.get_color() if by_loss else ORANGE
        label = f"best, epoch {best}" + (": these weights are kept" if self.kept else "")
        (self.best_,) = on.plot(
            best, values[best - first], color=color, marker="o", linestyle="", clip_on=False,
            label=label,
        )  # fmt: skip


def _plot_last(ax, epochs, values, settings):
    """Draw the values of the last epochs: a warm start may be the first with validation."""
    return ax.plot(epochs[len(epochs) - len(values) :], values, **settings)


def _score_name(estimator):
    """Return what the validation scores are called, or None if they are the loss."""
    scoring = scored_by(estimator)
    if isinstance(scoring, str):
        return None if scoring == "loss" else scoring
    if scoring is not None:
        return "score"
    return "accuracy" if is_classifier(estimator) else model_of(estimator).network.loss.score_name
