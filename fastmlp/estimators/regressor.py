"""The regressor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import sklearn.neural_network
from scipy.sparse import issparse
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted

from ..activations import Activation
from ..losses import LOSSES, REGRESSION, Loss
from ..losses import resolve as resolve_loss
from ..optimizers import Optimizer
from ..schedules import Schedule
from .base import BaseMLP
from .fitted import model_of
from .holdout import Given
from .paragraphs import documented
from .parameters import OWN_CONSTRAINTS
from .types import MatrixLike, SharesLike, SizesLike, TargetsLike, WeightsLike
from .validation import FLOATS, validated


def _d2_pinball(loss, targets, outputs, weights):
    """Return the mean of D² over all quantiles and targets."""
    columns = zip(loss.constants(outputs.shape[1]), targets.T, outputs.T, strict=True)
    return float(
        np.mean([d2_pinball_score(t, p, alpha=tau, sample_weight=weights) for tau, t, p in columns])
    )


@documented
class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor.

    Replaces `sklearn.neural_network.MLPRegressor`: same parameters, attributes, random draws and
    training trajectory, computed by compiled code. It minimises the squared error, or another loss:
    for data with outliers, for counts, or for quantiles.

    Parameters
    ----------
    loss : str or Loss, default="squared_error"
        "squared_error", half the squared error; "absolute_error"; "huber"; "quantile", for the
        median unless an object specifies others; half the deviance of "poisson", for counts, of
        "gamma", for positive amounts, or of "tweedie", for amounts many of which are 0; or an
        object from `fastmlp.losses` (see there for the formulas), such as ``Huber(delta=2.0)``,
        ``Quantile((0.1, 0.5, 0.9))``, or functions of your own. With several quantiles, each target
        has one output for each quantile, in their order.
    {training}
    output_activation : str or Activation, default=None
        Activation of the outputs. None means "exp" for the losses "poisson", "gamma" and "tweedie",
        otherwise "identity". Everything that `activation` allows except "prelu", "maxout" and
        "step", and also "exp" and "softmax". Those three losses need positive outputs: "exp",
        "softplus" or "logistic".
    {beyond}

    Attributes
    ----------
    {fitted}
    n_outputs_ : int
        Number of outputs: targets times quantiles.
    validation_scores_ : list of float or None
        Score of every epoch on the validation rows, by `scoring`: if that is None, R², or D² for
        the quantile loss (see `score`). None without validation.

    See Also
    --------
    MLPClassifier : The same for labels.
    sklearn.neural_network.MLPRegressor : The class that it replaces.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> y = (y - y.mean()) / y.std()
    >>> regressor = MLPRegressor(
    ...     hidden_layer_sizes=(20,), alpha=1.0, solver="lbfgs", tol=0.001, random_state=0
    ... )
    >>> regressor.fit(X, y).score(X, y) > 0.4
    True
    """

    _parameter_constraints = (
        sklearn.neural_network.MLPRegressor._parameter_constraints | OWN_CONSTRAINTS
    )
    _losses = REGRESSION

    def __init__(
        self,
        loss: str | Loss = "squared_error",
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
        self.loss = loss
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
        y: TargetsLike,
        sample_weight: WeightsLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: TargetsLike | None = None,
        sample_weight_val: WeightsLike | None = None,
    ) -> Self:
        """Fit the network to data X and targets y.

        Parameters
        ----------
        {rows}
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        {weights}

        Returns
        -------
        self : MLPRegressor
            The fitted estimator.

        Raises
        ------
        {errors}
        """
        return self._fit(X, y, sample_weight, Given(X_val, y_val, sample_weight_val))

    def partial_fit(
        self, X: MatrixLike, y: TargetsLike, sample_weight: WeightsLike | None = None
    ) -> Self:
        """Train for one epoch on the given rows, from the weights and moments of the last call.

        Callbacks are not called.

        As in scikit-learn, with solver "lbfgs" each call is a whole fit from the current weights.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss.

        Returns
        -------
        self : MLPRegressor
            The estimator after one more epoch.

        Raises
        ------
        ValueError
            As in `fit`, or with ``early_stopping=True``. The estimator is then unchanged.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _validated(self, X, y, reset):
        if issparse(y):
            raise ValueError("The targets of a regressor must be dense: pass y.toarray().")
        X, y = validated(self, X, y, reset=reset, multi_output=True, y_numeric=True, dtype=FLOATS)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.dtype.kind not in "fiub":
            raise ValueError(f"The targets of a regressor must be numbers, got dtype {y.dtype}.")
        return X, y if y.dtype in FLOATS else y.astype(np.float64)

    def _targets(self, y, dtype):
        loss = self._network_loss()
        loss.check_targets(y)
        return np.repeat(y.reshape(len(y), -1), loss.outputs_per_target, axis=1)

    def _network_loss(self):
        return resolve_loss(self.loss, REGRESSION)

    def _score_outputs(self, outputs, targets, weights):
        if not np.isfinite(outputs).all():
            return np.nan
        loss = self._network_loss()
        if loss.levels:
            return _d2_pinball(loss, targets, outputs, weights)
        return r2_score(targets, outputs, sample_weight=weights)

    def score(
        self, X: MatrixLike, y: TargetsLike, sample_weight: WeightsLike | None = None
    ) -> float:
        """Return the score of predictions: 1 is perfect, 0 that of the best constant prediction.

        The score is R², or for the quantile loss its analogue D², averaged over the quantiles: 1
        minus the ratio of the pinball loss to that of predicting the quantiles of y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            True targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        score : float
            At most 1.

        Raises
        ------
        NotFittedError, ValueError
            As `predict`, and if y does not have the shape of the targets of the fit.
        """
        check_is_fitted(self)
        loss = model_of(self).network.loss
        if not loss.levels:
            return super().score(X, y, sample_weight)
        outputs, targets = self._outputs(X), np.asarray(y)
        check_consistent_length(outputs, targets)
        targets = targets.reshape(len(outputs), -1).repeat(loss.outputs_per_target, axis=1)
        if targets.shape != outputs.shape:
            raise ValueError(
                f"y has {targets.shape[1] // loss.outputs_per_target} target(s), but the network "
                f"was fitted with {outputs.shape[1] // loss.outputs_per_target}."
            )
        return _d2_pinball(loss, targets, outputs, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        loss = LOSSES.get(self.loss) if isinstance(self.loss, str) else self.loss
        tags.target_tags.positive_only = getattr(loss, "lowest", -np.inf) >= 0
        return tags

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions. With several quantiles, the shape is (n_samples, n_quantiles) for a vector
            of targets, otherwise (n_samples, n_targets * n_quantiles): all quantiles of the first
            target, then those of the next.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If X does not have the features of the fit, or is not finite.
        """
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs
