"""How much each feature contributes to one prediction."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..estimators.base import BaseMLP
from ..inspection import integrated_gradients
from ._axes import BLUE, GREY, ORANGE, axes_of


class IntegratedGradientsDisplay:
    """The contributions of the features to one prediction, largest first.

    Parameters
    ----------
    contributions : ndarray of shape (n_features,)
        From `fastmlp.inspection.integrated_gradients`.
    names : sequence of str
        The features' names.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        The axes and figure that were drawn on.
    bars_ : BarContainer
        A bar for each feature, and one for the sum of those that have none.
    """

    ax_: Any
    figure_: Any

    def __init__(self, contributions: np.ndarray, names: Sequence[str]):
        self.contributions, self.names = contributions, list(names)

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseMLP,
        x: ArrayLike,
        baseline: ArrayLike = 0.0,
        *,
        output: int = 0,
        feature_names: Sequence[str] | None = None,
        max_features: int = 15,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Compute the contributions for one sample, and draw them.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            A fitted estimator.
        x : array-like of shape (n_features,) or (1, n_features)
            The sample.
        baseline : float or array-like of shape (n_features,), default=0
            The sample to compare with; see `integrated_gradients`.
        output : int, default=0
            Which output to explain.
        feature_names : sequence of str, default=None
            The features' names. By default ``feature_names_in_``, or x0, x1 and so on.
        max_features : int, default=15
            Most features with a bar; all others share one.
        ax : Axes, default=None
            The axes to draw on; new axes by default.
        **kwargs : dict
            Passed on to ``Axes.barh``.

        Returns
        -------
        display : IntegratedGradientsDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If x is not a single sample, there is not one name for each feature, or for the same
            reasons as `integrated_gradients`.
        IndexError
            If there is no such output.
        """
        sample: Any = x if np.ndim(x) == 2 else np.asarray(x)[np.newaxis]
        if np.shape(sample)[0] != 1:
            raise ValueError(f"x must be a single sample, got {np.shape(sample)[0]} samples.")
        contributions = integrated_gradients(estimator, sample, baseline)[0, output]
        names = getattr(estimator, "feature_names_in_", None)
        if feature_names is not None:
            names = feature_names
        elif names is None:
            names = [f"x{j}" for j in range(len(contributions))]
        if len(names) != len(contributions):
            raise ValueError(f"There are {len(contributions)} features, but {len(names)} names.")
        return cls(contributions, names).plot(ax, max_features=max_features, **kwargs)

    def plot(self, ax: Any = None, *, max_features: int = 15, **kwargs: Any) -> Self:
        """Draw on the given axes or on new ones; see `from_estimator`."""
        order = np.argsort(-np.abs(self.contributions))
        shown, others = order[:max_features], order[max_features:]
        values = list(self.contributions[shown])
        labels = [self.names[j] for j in shown]
        if len(others):
            values.append(self.contributions[others].sum())
            labels.append(f"{len(others)} others")
        ax = axes_of(self, ax, size=(5.5, 1.0 + 0.28 * len(values)))
        places = -np.arange(len(values))
        colors = [BLUE if value >= 0 else ORANGE for value in values]
        self.bars_ = ax.barh(places, values, **{"color": colors} | kwargs)
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_yticks(places, labels)
        total = self.contributions.sum()
        ax.set(xlabel="contribution", title=f"change from the baseline's prediction: {total:.3g}")
        return self
