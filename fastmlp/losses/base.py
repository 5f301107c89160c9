"""The definition of a loss."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..activations import Activation


@dataclass(frozen=True)
class Loss:
    """Base class of all losses; see the subclasses.

    Attributes
    ----------
    name : str
        The string that selects it.
    output_activation : str
        Default output activation.
    canonical : bool
        Whether, with that activation, ∂L/∂z of the last layer is the prediction minus the target.
    outputs : frozenset of str
        Names of the output activations that it accepts; empty if it accepts all.
    lowest : float
        Lower bound of the targets for which it is defined.
    strict : bool
        Whether targets must be greater than that bound, not equal to it.
    custom : bool
        Whether it consists of user-defined functions.
    mean_over_outputs : bool
        Whether a row's loss is the mean over its outputs, not the sum. The gradient is always that
        of the sum.
    cross_entropy : bool
        Whether it is the cross-entropy of classes or labels, perhaps with weights.
    levels : tuple of float
        Quantiles predicted for each target; empty if the target itself is predicted.
    kinks : tuple of float
        Errors p - t at which L or ∂L/∂p jumps, ascending.
    score_name : str
        Symbol of the score of a regressor with this loss.
    """

    name = ""
    output_activation = "identity"
    canonical = False
    outputs: ClassVar[frozenset[str]] = frozenset()
    lowest, strict = -math.inf, False
    custom = mean_over_outputs = cross_entropy = False
    score_name = "R²"

    @property
    def levels(self) -> tuple[float, ...]:
        """Empty: the target itself is predicted."""
        return ()

    @property
    def kinks(self) -> tuple[float, ...]:
        """Empty: L and ∂L/∂p have no jumps."""
        return ()

    @property
    def outputs_per_target(self) -> int:
        """Number of network outputs for each target: one for each quantile, otherwise one."""
        return max(1, len(self.levels))

    @property
    def for_labels(self) -> "Loss":
        """The corresponding loss for binary labels, if this one is for exclusive classes."""
        return self

    @property
    def parameter(self) -> "Loss":
        """The loss as a value for the estimators' parameter `loss`."""
        return self

    def constants(self, outputs: int) -> tuple[float, ...]:
        """Return the number that the formula needs besides p and t, for each output."""
        return (0.0,) * outputs

    def check_targets(self, targets: np.ndarray) -> None:
        """Raise a ValueError if the loss is not defined for a target."""
        if self.lowest == -math.inf:
            return
        wrong = targets <= self.lowest if self.strict else targets < self.lowest
        if wrong.any():
            bound = "greater than" if self.strict else "at least"
            raise ValueError(
                f"Some value(s) of y are out of the valid range of the loss {self.name!r}: they "
                f"must be {bound} {self.lowest:g}, got {np.min(targets):g}."
            )

    def fits(self, activation: Activation) -> bool:
        """Return whether the loss is defined for the values of this output activation."""
        return activation.custom or not self.outputs or activation.name in self.outputs

    def check_output(self, activation: Activation, outputs: int) -> None:
        """Raise a ValueError if this output activation cannot be used with the loss."""
        if activation.whole_row and outputs == 1:
            raise ValueError("Softmax needs several outputs: of a single one it is always 1.")
        if not self.fits(activation):
            raise ValueError(
                f"The loss {self.name!r} does not fit the output activation {activation.name!r}, "
                f"expected one of {sorted(self.outputs)}."
            )
