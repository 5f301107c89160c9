"""The classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
import sklearn.neural_network
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted

from .. import activations
from ..activations import Activation
from ..losses import CLASSIFICATION, Loss
from ..losses import resolve as resolve_loss
from ..optimizers import Optimizer
from ..predictor import PAIR, PLAIN, SHARES
from ..schedules import Schedule
from .base import BaseMLP, all_or_nothing
from .labels import check_labels, indicators, know_classes, label_binarizer, labels_in
from .paragraphs import documented
from .parameters import OWN_CONSTRAINTS, SHARE, check_parameters
from .types import LabelsLike, MatrixLike, SharesLike, SizesLike, WeightsLike
from .validation import FLOATS, on_host, validated


def _is_stochastic(estimator):
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{estimator.solver} is not stochastic."
        )
    return True


_Method = TypeVar("_Method", bound=Callable)


def _if_stochastic(method: _Method) -> _Method:
    """Make a method available only with a stochastic solver; unlike scikit-learn's, keep types."""
    return available_if(_is_stochastic)(method)


def _normalised(outputs):
    """Divide each row by its sum; a row of zeros gives every class the same probability."""
    sums = outputs.sum(axis=1, keepdims=True)
    return np.where(sums > 0, outputs, 1) / np.where(sums > 0, sums, outputs.shape[1])


@documented
class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron classifier.

    Replaces `sklearn.neural_network.MLPClassifier`: same parameters, attributes, random draws and
    training trajectory, computed by compiled code. It minimises the log loss, with a softmax output
    for several classes, and a logistic output for two classes or for each of several labels.
    Another loss can be chosen.

    Parameters
    ----------
    {training}
    loss : str or Loss, default="log_loss"
        "log_loss"; "focal", where well classified rows weigh little; "squared_error",
        "absolute_error" or "huber", where the target is 1 for the row's own class or labels and 0
        for all others; or an object from `fastmlp.losses`, such as ``Focal(gamma=1.0)``.
    label_smoothing : float, default=0.0
        ε in [0, 1): targets t become ``t (1 - ε) + ε / K`` for K classes, and
        ``t (1 - ε) + ε / 2`` for two classes and for labels.
    output_activation : str or Activation, default=None
        Activation of the outputs. None means "softmax" for the log or focal loss of several
        classes, otherwise "logistic". Outputs must lie within [0, 1]. With the log loss of two
        classes or of labels, it may be "hard_sigmoid" or "logistic"; with losses other than these
        two, "hard_sigmoid", "logistic" or, for several classes, "softmax". Or your own function.
    {beyond}

    Attributes
    ----------
    {fitted}
    n_outputs_ : int
        Number of outputs.
    validation_scores_ : list of float or None
        Score of every epoch on the held-out rows; None without early stopping.
    classes_ : ndarray or list of ndarray of shape (n_classes,)
        Class labels.

    See Also
    --------
    MLPRegressor : The same for real targets.
    sklearn.neural_network.MLPClassifier : The class that it replaces.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((20,), solver="lbfgs", random_state=0).fit(X, y)
    >>> classifier.predict(X[:2])
    array([0, 0])
    >>> classifier.score(X, y) > 0.95
    True
    """

    _parameter_constraints = (
        sklearn.neural_network.MLPClassifier._parameter_constraints
        | OWN_CONSTRAINTS
        | {"label_smoothing": SHARE}
    )
    _losses = CLASSIFICATION
    classes_: np.ndarray  # or a list of them

    def __init__(
        self,
        hidden_layer_sizes: SizesLike = (100,),
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str | Loss = "log_loss",
        label_smoothing: float = 0.0,
        output_activation: str | Activation | None = None,
        weight_init: str | Sequence = "glorot",
        l1: float = 0.0,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        max_norm: float | None = None,
        dropout: SharesLike = 0.0,
        input_dropout: float = 0.0,
        device: str = "auto",
        n_jobs: int | None = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.output_activation = output_activation
        self.weight_init = weight_init
        self.l1 = l1
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.max_norm = max_norm
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.device = device
        self.n_jobs = n_jobs

    def fit(self, X: MatrixLike, y: LabelsLike, sample_weight: WeightsLike | None = None) -> Self:
        """Fit the network to data X and labels y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 and float64 are kept, everything else becomes float64. Sparse
            matrices are not densified.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, or an indicator matrix of labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss.

        Returns
        -------
        self : MLPClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid parameters or data, or if training diverged to weights that are not finite.
        RuntimeError
            If ``device="cuda"`` cannot be used; the message says what is missing and what to do.
        MemoryError
            If the GPU has too little memory for a batch.

        After any of these exceptions, the estimator is unchanged.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    @_if_stochastic
    def partial_fit(
        self,
        X: MatrixLike,
        y: LabelsLike,
        sample_weight: WeightsLike | None = None,
        classes: LabelsLike | None = None,
    ) -> Self:
        """Train for one epoch on the given rows, from the weights and moments of the last call.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss.
        classes : array-like of shape (n_classes,), default=None
            All labels that occur in any call. Required in the first call, optional afterwards.

        Returns
        -------
        self : MLPClassifier
            The estimator after one more epoch.

        Raises
        ------
        ValueError
            As in `fit`; or if `classes` is missing in the first call, differs from that of the
            first call, or lacks a label of y.
        """
        with all_or_nothing(self):
            if not hasattr(self, "coefs_"):
                check_parameters(self)
            know_classes(self, classes, on_host(y))
            return self._fit(X, y, sample_weight, incremental=True)

    def _encode(self, X, y, incremental, reset):
        X, y = validated(self, X, y, reset=reset, multi_output=True, dtype=FLOATS)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if hasattr(self, "classes_") and self.warm_start:
            check_labels(self, unique_labels(y))
        elif hasattr(self, "classes_") and incremental:
            check_labels(self, labels_in(y, self.classes_))
        else:
            self._label_binarizer = label_binarizer(y)
            self.classes_ = self._label_binarizer.classes_
        return X, self._targets(indicators(self, y), X.dtype)

    @property
    def _exclusive(self):
        """Whether a row has one class of several."""
        if hasattr(self, "_label_binarizer"):
            return self._label_binarizer.y_type_ == "multiclass"
        return self.out_activation_ == "softmax"  # weights were set by hand, not fitted

    def _targets(self, indicators, dtype):
        """Return the targets of the outputs: the indicators themselves, or smoothed."""
        smoothing = self.label_smoothing
        if not smoothing and self._network_loss().cross_entropy:
            return indicators
        evenly = smoothing / (indicators.shape[1] if self._exclusive else 2)
        return (indicators * (1 - smoothing) + evenly).astype(dtype)

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
