"""The classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self, TypeVar

import numpy as np
import sklearn.neural_network
from sklearn.utils.metaestimators import available_if

from ..activations import Activation
from ..devices import on_host
from ..losses import Loss
from ..optimizers import Optimizer
from ..schedules import Schedule
from .base import all_or_nothing
from .classification import BaseClassifier
from .holdout import Given
from .labels import know_classes, refuse_balanced
from .paragraphs import documented
from .parameters import OWN_CONSTRAINTS, SHARE, check_parameters
from .types import LabelsLike, MatrixLike, SharesLike, SizesLike, WeightsLike


def _is_stochastic(estimator):
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{estimator.solver} is not stochastic."
        )
    return True


_Method = TypeVar("_Method", bound=Callable)


def if_stochastic(method: _Method) -> _Method:
    """Make a method available only with a stochastic solver; unlike scikit-learn's, keep types."""
    return available_if(_is_stochastic)(method)


@documented
class MLPClassifier(BaseClassifier):
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
    class_weight : dict, list of dict or "balanced", default=None
        Weight of each class, {label: weight}: it multiplies the weights of its rows, as if the
        product had been passed as `sample_weight`. Classes that are not listed have weight 1.
        "balanced" means ``n_samples / (n_classes * n_rows)`` with the number of rows of the class,
        whatever their weights; not for `partial_fit`. For labels: a list with a dict for
        each of them, whose weights are multiplied.
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
        Score of every epoch on the validation rows, by `scoring`; None without validation.
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
        | {"label_smoothing": SHARE, "class_weight": [str, dict, list, None]}
    )

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
        class_weight: dict | list | str | None = None,
        output_activation: str | Activation | None = None,
        weight_init: str | Sequence = "glorot",
        l1: float = 0.0,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        max_norm: float | None = None,
        dropout: SharesLike = 0.0,
        input_dropout: float = 0.0,
        scoring: str | Callable | None = None,
        averaging: str | None = None,
        averaging_decay: float = 0.9,
        averaging_start: float = 0.75,
        device: str = "auto",
        precision: str = "float32",
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
        self.class_weight = class_weight
        self.output_activation = output_activation
        self.weight_init = weight_init
        self.l1 = l1
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.max_norm = max_norm
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.scoring = scoring
        self.averaging = averaging
        self.averaging_decay = averaging_decay
        self.averaging_start = averaging_start
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs

    def fit(
        self,
        X: MatrixLike,
        y: LabelsLike,
        sample_weight: WeightsLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: LabelsLike | None = None,
        sample_weight_val: WeightsLike | None = None,
    ) -> Self:
        """Fit the network to data X and labels y.

        Parameters
        ----------
        {rows}
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, or an indicator matrix of labels.
        {weights}

        Returns
        -------
        self : MLPClassifier
            The fitted estimator.

        Raises
        ------
        {errors}
        """
        return self._fit(X, y, sample_weight, Given(X_val, y_val, sample_weight_val))

    @if_stochastic
    def partial_fit(
        self,
        X: MatrixLike,
        y: LabelsLike,
        sample_weight: WeightsLike | None = None,
        classes: LabelsLike | None = None,
    ) -> Self:
        """Train for one epoch on the given rows, from the weights and moments of the last call.

        Callbacks are not called.

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
            As in `fit`, or with ``early_stopping=True``; if `classes` is missing in the first call,
            differs from that of the first call, or lacks a label of y; or if class weights are to
            be "balanced". The estimator is then unchanged.
        """
        with all_or_nothing(self):
            if not hasattr(self, "coefs_"):
                check_parameters(self)
            refuse_balanced(self)
            know_classes(self, classes, on_host(y))
            return self._fit(X, y, sample_weight, incremental=True)
