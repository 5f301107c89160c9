"""The display of an activation and its derivative."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ..activations import Activation, resolve
from ..devices import activate
from ..estimators.base import BaseMLP
from ..estimators.fitted import model_of
from ..estimators.problem import check_fitted
from ._axes import BLUE, GREY, ORANGE, axes_of


class ActivationDisplay:
    """An activation and its derivative.

    Parameters
    ----------
    activation : Activation
        The activation to show.
    constants : array-like of shape (units,), default=None
        The learned parameters of the units, if the activation learns: each unit has a curve.

    Attributes
    ----------
    z : ndarray of shape (points,)
        The points where it is evaluated.
    values, slopes : ndarray of shape (points, units)
        f(z) and f'(z).
    pieces : ndarray of shape (points, pieces) or None
        The linear pieces of a maxout unit.
    ax_, figure_ : Axes, Figure
        The axes and figure that were drawn on.
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
        if self.pieces is not None:  # by x: the slope of the largest piece
            self.slopes = (self.slopes * touching).sum(axis=1, keepdims=True)

    @classmethod
    def from_activation(
        cls, activation: str | Activation, *, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw an activation.

        Parameters
        ----------
        activation : str or Activation
            A name, or an object of `fastmlp.activations`. For maxout, an example is drawn: the
            maximum of tangents to x² / 2.
        ax : Axes, default=None
            The axes to draw on; new axes by default.
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
        """Draw the activation of a hidden layer, with the learned parameters of each unit.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            A fitted estimator.
        layer : int, default=0
            The hidden layer, counted from 0.
        ax : Axes, default=None
            The axes to draw on; new axes by default.
        **kwargs : dict
            Passed on to ``Axes.plot``.

        Returns
        -------
        display : ActivationDisplay
            The display, drawn.

        Raises
        ------
        TypeError, NotFittedError, ValueError
            If it is no estimator of fastmlp, has not been fitted, or has no such layer.
        """
        check_fitted(estimator)
        model = model_of(estimator)
        network = model.network
        if not 0 <= layer < len(network.activation):
            raise ValueError(
                f"layer={layer!r} is not a hidden layer: the network has "
                f"{len(network.activation)}, counted from 0."
            )
        learned = model.learned[layer]
        return cls(network.activation[layer], learned).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw on the given axes or on new ones; see `from_activation`."""
        ax = axes_of(self, ax)
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
            title = f"{self.activation.name}\nas learned by {len(self.constants)} units"
        ax.set_title(title, fontsize="medium")
        ax.legend(handles=[self.lines_[0], self.lines_[-1]], loc="upper left", frameon=False)
        return self


def _title(activation):
    """Return name and settings, in two lines."""
    return f"{activation.name}\n{activation.settings}".rstrip()


def _broken(curves):
    """Return the curves with a gap instead of a vertical line where they jump."""
    rises = np.abs(np.diff(curves, axis=0, prepend=curves[:1], append=curves[-1:]))
    before, here, after = rises[:-2], rises[1:-1], rises[2:]
    jumps = np.zeros(curves.shape, bool)
    jumps[:-1] = here > 0.01 + 5 * np.maximum(before, after)
    return np.where(jumps, np.nan, curves)
