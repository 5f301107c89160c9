"""Losses of a classifier: cross-entropies."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from .base import Loss


@dataclass(frozen=True)
class LogLoss(Loss):
    """-t log p, summed over the classes: the cross-entropy of mutually exclusive classes."""

    name = "log_loss"
    output_activation = "softmax"
    canonical = True
    cross_entropy = True
    outputs = frozenset({"softmax"})

    @property
    def for_labels(self) -> Loss:
        """The log loss for binary labels."""
        return BinaryLogLoss()


@dataclass(frozen=True)
class BinaryLogLoss(Loss):
    """-t log p - (1 - t) log(1 - p): the cross-entropy of a binary label."""

    name = "binary_log_loss"
    output_activation = "logistic"
    canonical = True
    cross_entropy = True
    outputs = frozenset({"logistic", "hard_sigmoid"})

    @property
    def parameter(self) -> Loss:
        """The log loss; the classifier chooses its binary form if the labels require it."""
        return LogLoss()


def _check_gamma(loss: "Focal | BinaryFocal") -> None:
    if not (isinstance(loss.gamma, Real) and 0 <= loss.gamma < math.inf):
        raise ValueError(f"{loss!r}: gamma must be a number of at least 0.")


@dataclass(frozen=True)
class Focal(Loss):
    """-t (1 - p)^γ log p, summed over the classes: rows that are classified well weigh little.

    For rare classes among many easy rows; probabilities are less extreme than the true ones. Lin,
    Goyal, Girshick, He and Dollár, "Focal loss for dense object detection", 2017. Its balance α is
    the estimator's parameter `class_weight`: for two classes, ``{1: alpha, 0: 1 - alpha}``.

    Parameters
    ----------
    gamma : float, default=2.0
        γ, at least 0; with 0, it is the log loss.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.losses import Focal
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier(loss=Focal(gamma=1.0), max_iter=1000, random_state=0)
    >>> classifier.fit(X, y).score(X, y) > 0.95
    True
    """

    gamma: float = 2.0
    name = "focal"
    output_activation = "softmax"
    cross_entropy = True
    outputs: ClassVar = frozenset({"softmax"})

    def __post_init__(self):
        _check_gamma(self)

    @property
    def for_labels(self) -> Loss:
        """The focal loss for binary labels."""
        return BinaryFocal(self.gamma)

    def constants(self, outputs: int) -> tuple[float, ...]:
        """Return γ for each output."""
        return (float(self.gamma),) * outputs


@dataclass(frozen=True)
class BinaryFocal(Loss):
    """-t (1 - p)^γ log p - (1 - t) p^γ log(1 - p): the focal loss of a binary label.

    Parameters
    ----------
    gamma : float, default=2.0
        γ, at least 0; with 0, it is the log loss.
    """

    gamma: float = 2.0
    name = "binary_focal"
    output_activation = "logistic"
    cross_entropy = True
    outputs: ClassVar = frozenset({"logistic"})

    def __post_init__(self):
        _check_gamma(self)

    @property
    def parameter(self) -> Loss:
        """The focal loss; the classifier chooses its binary form if the labels require it."""
        return Focal(self.gamma)

    def constants(self, outputs: int) -> tuple[float, ...]:
        """Return γ for each output."""
        return (float(self.gamma),) * outputs
