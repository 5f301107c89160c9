"""What keeps a network simple while it trains, in one object for the devices."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Layers(Protocol):
    """What is asked of a `fastmlp.network.Network`, which stands above this module."""

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_in, fan_out) of every layer's weights."""

    def views(self, packed: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Weights and biases of every layer, as views into `packed`."""


@dataclass(frozen=True)
class Regularization:
    """Penalties, decay, bounds and dropout; each is off by default.

    Weights are what they act on: biases, and what activations learn, stay free.

    Parameters
    ----------
    l2 : float, default=0.0
        λ₂: ``l2 / 2`` times the sum of squared weights is added to a batch's summed loss.
    l1 : float, default=0.0
        λ₁: ``l1`` times the sum of absolute weights is added likewise; its slope is λ₁ sign(w).
    weight_decay : float, default=0.0
        λ in w ← (1 - ηλ) w + step: decay apart from the gradient and so from Adam's moments, with
        η the learning rate. Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    clip_norm : float, default=inf
        A batch's whole gradient, penalties included, is scaled down to this Euclidean norm where
        it is longer. Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
        networks", 2013.
    max_norm : float, default=inf
        After each step, the weights into each unit are scaled down to this norm where theirs is
        larger. Srivastava et al., "Dropout: a simple way to prevent neural networks from
        overfitting", 2014, section 5.1.
    dropout : tuple of float, default=()
        Shares of the inputs and of each hidden layer's values that a training batch leaves out;
        the others are divided by the share kept, so that predictions need no change ("inverted").
    seed : int, default=0
        Key of the dropout masks, below 2^32.
    """

    l2: float = 0.0
    l1: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = math.inf
    max_norm: float = math.inf
    dropout: tuple[float, ...] = ()
    seed: int = 0

    def __post_init__(self):
        for share in self.dropout:
            if not 0 <= share < 1:
                raise ValueError(f"dropout must be at least 0 and less than 1, got {share!r}.")

    def check(self, network: Layers) -> None:
        """Raise a ValueError if the shares of dropout are not those of this network's layers."""
        if self.dropout and len(self.dropout) != len(network.shapes):
            raise ValueError(
                f"dropout has {len(self.dropout)} shares, expected {len(network.shapes)}: of the "
                "features and of each hidden layer."
            )

    def add_penalty(self, network: Layers, parameters: np.ndarray, gradient: np.ndarray) -> float:
        """Add the penalties' slopes to a gradient summed over rows; returns the penalties' sum.

        Both arrays are packed as `network` says.
        """
        penalty, l1, l2 = 0.0, self.l1, self.l2
        slopes, matrices = network.views(gradient)[0], network.views(parameters)[0]
        for slope, w in zip(slopes, matrices, strict=True):
            slope += (l2 * w + l1 * np.sign(w)).astype(gradient.dtype, copy=False)
            penalty += 0.5 * l2 * float(np.vdot(w, w)) + l1 * float(np.abs(w).sum())
        return penalty

    def dropped(self, layer: int) -> float:
        """The share of a layer's inputs that is left out: layer 0's are the features."""
        return self.dropout[layer] if self.dropout else 0.0
