"""Regularisation during training, in one object for the devices."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Layers(Protocol):
    """Interface needed from `fastmlp.network.Network`, which this module may not import."""

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_in, fan_out) of every layer's weights."""

    def views(self, packed: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return weights and biases of every layer as views into `packed`."""


@dataclass(frozen=True)
class Regularization:
    """Penalties, decay, bounds and dropout; each is off by default.

    They apply to the weights; biases and parameters that activations learn are not regularised.

    Parameters
    ----------
    l2 : float, default=0.0
        λ₂: ``l2 / 2`` times the sum of squared weights is added to a batch's summed loss.
    l1 : float, default=0.0
        λ₁: ``l1`` times the sum of absolute weights is added too; its derivative is λ₁ sign(w).
    weight_decay : float, default=0.0
        λ in w ← (1 - ηλ) w + step, with η the learning rate: the decay is not part of the gradient
        and so not of Adam's moments. Loshchilov and Hutter, "Decoupled weight decay
        regularization", 2019.
    clip_norm : float, default=inf
        Largest Euclidean norm of a batch's whole gradient, penalties included; a gradient with a
        larger norm is scaled down to it. Pascanu, Mikolov and Bengio, "On the difficulty of
        training recurrent neural networks", 2013.
    max_norm : float, default=inf
        Largest norm of the weights into a unit; after each step, weights with a larger norm are
        scaled down to it. Srivastava et al., "Dropout: a simple way to prevent neural networks from
        overfitting", 2014, section 5.1.
    dropout : tuple of float, default=()
        Fractions of the inputs and of each hidden layer's activations that a training batch drops;
        the others are divided by the fraction kept, so that predictions need no change ("inverted
        dropout").
    """

    l2: float = 0.0
    l1: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = math.inf
    max_norm: float = math.inf
    dropout: tuple[float, ...] = ()

    def __post_init__(self):
        for share in self.dropout:
            if not 0 <= share < 1:
                raise ValueError(f"dropout must be at least 0 and less than 1, got {share!r}.")

    def check(self, network: Layers) -> None:
        """Raise a ValueError if `dropout` does not have one fraction for each layer."""
        if self.dropout and len(self.dropout) != len(network.shapes):
            raise ValueError(
                f"dropout has {len(self.dropout)} shares, expected {len(network.shapes)}: of the "
                "features and of each hidden layer."
            )

    @property
    def penalties(self) -> "Regularization":
        """Only the part that belongs to the objective, a function of the weights."""
        return Regularization(l2=self.l2, l1=self.l1)

    def add_penalty(self, network: Layers, parameters: np.ndarray, gradient: np.ndarray) -> float:
        """Add the penalties' derivatives to a gradient summed over rows; return the penalty.

        Both arrays are packed in the layout of `network`.
        """
        penalty, l1, l2 = 0.0, self.l1, self.l2
        slopes, matrices = network.views(gradient)[0], network.views(parameters)[0]
        for slope, w in zip(slopes, matrices, strict=True):
            slope += (l2 * w + l1 * np.sign(w)).astype(gradient.dtype, copy=False)
            penalty += 0.5 * l2 * float(np.vdot(w, w)) + l1 * float(np.abs(w).sum())
        return penalty

    def dropped(self, layer: int) -> float:
        """Return the fraction of a layer's inputs that is dropped; layer 0's are the features."""
        return self.dropout[layer] if self.dropout else 0.0
