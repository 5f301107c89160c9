"""The base of the classifier: labels as targets, class weights, outputs as probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from .. import activations
from ..activations import Activation
from ..losses import CLASSIFICATION, Loss
from ..losses import resolve as resolve_loss
from ..predictor import PAIR, PLAIN, SHARES
from .base import BaseMLP
from .labels import (
    check_known_labels,
    check_same_labels,
    class_weights,
    indicators,
    label_binarizer,
)
from .types import LabelsLike, MatrixLike, WeightsLike
from .validation import FLOATS, checked_weights, validated


def _normalised(outputs):
    """Divide each row by its sum; a row of zeros gives every class the same probability."""
    sums = outputs.sum(axis=1, keepdims=True)
    return np.where(sums != 0, outputs, 1) / np.where(sums != 0, sums, outputs.shape[1])


class BaseClassifier(ClassifierMixin, BaseMLP):
    """A classifier, except for its parameters and the methods that fit it: see `MLPClassifier`."""

    _losses = CLASSIFICATION
    loss: str | Loss
    label_smoothing: float
    output_activation: str | Activation | None
    class_weight: dict | list | str | None
    classes_: np.ndarray  # or a list of them

    def _validated(self, X, y, reset):
        X, y = validated(self, X, y, reset=reset, multi_output=True, dtype=FLOATS)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _meet(self, y, incremental):
        if hasattr(self, "classes_") and self.warm_start:
            check_same_labels(self, unique_labels(y))
        elif hasattr(self, "classes_") and incremental:
            check_known_labels(self, y)
        else:
            self._label_binarizer = label_binarizer(y)
            self.classes_ = self._label_binarizer.classes_

    def _check_known(self, y, name):
        check_known_labels(self, y, name)

    def _row_weights(self, sample_weight, X, y):
        weights = super()._row_weights(sample_weight, X, y)
        if self.class_weight is None:
            return weights
        product = class_weights(self, y)
        return checked_weights(product if weights is None else product * weights, X)

    @property
    def _exclusive(self):
        """Whether a row has one class of several."""
        if hasattr(self, "_label_binarizer"):
            return self._label_binarizer.y_type_ == "multiclass"
        return self.out_activation_ == "softmax"  # weights were set by hand, not fitted

    def _targets(self, y, dtype):
        """Return indicators of the classes or labels, which label smoothing changes."""
        targets, smoothing = indicators(self, y), self.label_smoothing
        if not smoothing and self._network_loss().cross_entropy:
            return targets
        evenly = smoothing / (targets.shape[1] if self._exclusive else 2)
        return (targets * (1 - smoothing) + evenly).astype(dtype)

    def _network_loss(self):
        loss = resolve_loss(self.loss, CLASSIFICATION)
        return loss if self._exclusive else loss.for_labels

    def _network_output(self, loss):
        if self.output_activation is None:
            return None if loss.cross_entropy else "logistic"
        output = activations.resolve(self.output_activation, activations.OUTPUT)
        bounded = output.least >= 0 and output.most <= 1
        if not (bounded or output.custom):
            raise ValueError(
                f"A classifier's outputs lie between 0 and 1, which those of {output.name!r} do "
                "not, expected 'hard_sigmoid', 'logistic' or 'softmax'."
            )
        if output.whole_row and not self._exclusive:
            raise ValueError("Softmax is for one class of several, not for two or for labels.")
        return output

    def _score_outputs(self, outputs, targets, weights):
        if self._exclusive:
            right = outputs.argmax(axis=1) == targets.argmax(axis=1)
        else:
            right = ((outputs > 0.5) == (targets > 0.5)).all(axis=1)
        return float(np.average(right, weights=weights))

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)
            The most probable class, or an indicator matrix of the labels above probability 1/2.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If X does not have the features of the fit, or is not finite.
        """
        outputs = self._outputs(X)
        binarizer = getattr(self, "_label_binarizer", None)
        if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
            return binarizer.inverse_transform(outputs)
        check_is_fitted(self, "classes_")
        classes = np.asarray(self.classes_)
        if len(classes) == 1:
            return np.repeat(classes, len(outputs))
        codes = outputs.ravel() > 0.5 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        return classes[codes.astype(np.intp)]

    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Predict probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Probability of each class in the order of `classes_`, or of each label. For several
            classes without softmax, each row of outputs is divided by its sum. A single class has
            probability 1.

        Raises
        ------
        NotFittedError, ValueError
            As `predict`.
        """
        model, outputs = self._forward(X)
        if self._has_one_class:
            return np.ones_like(outputs)
        if outputs.shape[1] == 1:
            columns = np.empty((2, len(outputs)), outputs.dtype)
            columns[1] = outputs[:, 0]
            np.subtract(1, columns[1], out=columns[0])
            return columns.T
        return _normalised(outputs) if model.output_form == SHARES else outputs

    @property
    def _has_one_class(self):
        return len(getattr(self, "classes_", ())) == 1

    def _output_form(self, network):
        if self._has_one_class:
            return SHARES
        if network.units[-1] == 1:
            return PAIR
        shared = self._exclusive and not network.output_activation.whole_row
        return SHARES if shared else PLAIN

    def predict_log_proba(self, X: MatrixLike) -> np.ndarray:
        """Predict the logarithms of the probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
            ``log(predict_proba(X))``; -inf where a probability is 0.

        Raises
        ------
        NotFittedError, ValueError
            As `predict`.
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    if TYPE_CHECKING:

        def score(
            self, X: MatrixLike, y: LabelsLike, sample_weight: WeightsLike | None = None
        ) -> float:
            """Return the accuracy. The method is scikit-learn's, which has no types."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
