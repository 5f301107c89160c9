"""The norm of each layer's gradient while a network trains."""

from typing import Any, Self

import numpy as np

from ..estimators.base import BaseMLP
from ..estimators.problem import check_ours
from ..estimators.types import LabelsLike, MatrixLike, WeightsLike
from ..inspection import gradients
from ..inspection._steps import for_partial_fits
from ._axes import axes_of


class GradientFlowDisplay:
    """The norm of each layer's gradient in every epoch: shows whether it vanishes backward.

    Parameters
    ----------
    norms : ndarray of shape (n_epochs, n_layers)
        Euclidean norms of the gradients by each layer's weights, after each epoch.

    Attributes
    ----------
    ax_, figure_ : Axes, Figure
        The axes and figure that were drawn on.
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
            The estimator to clone, with a stochastic solver; it need not be fitted and is not
            changed. The clone is trained on all rows, without early stopping.
        X, y, sample_weight
            Data to train on, as in `fit`. Gradients are computed over all of these rows.
        epochs : int, default=50
            Number of epochs, at least 1.
        ax : Axes, default=None
            The axes to draw on; new axes by default.
        **kwargs : dict
            Passed on to ``Axes.plot``.

        Returns
        -------
        display : GradientFlowDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If it is no estimator of fastmlp.
        ValueError
            If the solver is "lbfgs", if `epochs` is less than 1, or for the same reasons as in
            `fit`.
        """
        check_ours(estimator)
        if estimator.solver == "lbfgs":
            raise ValueError("solver='lbfgs' has no epochs to show: use another solver.")
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs!r}.")
        network, keywords = for_partial_fits(estimator, y, sample_weight)
        norms = []
        for _ in range(epochs):
            network.partial_fit(X, y, **keywords)
            layers = gradients(network, X, y, keywords["sample_weight"])
            norms.append([np.linalg.norm(layer.coefs) for layer in layers])
        return cls(np.array(norms)).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw on the given axes or on new ones; see `from_estimator`."""
        ax = axes_of(self, ax)
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
