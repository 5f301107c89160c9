"""The regressor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import sklearn.neural_network
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from ..activations import Activation
from ..losses import LOSSES, REGRESSION, Loss
from ..losses import resolve as resolve_loss
from ..optimizers import Optimizer
from .base import BaseMLP
from .fitted import model_of
from .parameters import OWN_CONSTRAINTS
from .types import MatrixLike, SharesLike, SizesLike, TargetsLike, WeightsLike
from .validation import FLOATS, validated


def _d2_pinball(loss, targets, outputs, weights):
    """D² of every quantile and target, its mean."""
    columns = zip(loss.constants(outputs.shape[1]), targets.T, outputs.T, strict=True)
    return float(
        np.mean([d2_pinball_score(t, p, alpha=tau, sample_weight=weights) for tau, t, p in columns])
    )


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor.

    Takes the place of `sklearn.neural_network.MLPRegressor`: same parameters, attributes, random
    draws and training trajectory, computed by compiled code. It minimises the squared error, or
    another loss: for outliers, for counts, for quantiles.

    Parameters
    ----------
    loss : str or Loss, default="squared_error"
        "squared_error", half of it; "absolute_error"; "huber"; "quantile", the median's unless an
        object says which; half the deviance of "poisson", for counts, or "gamma", for positive
        amounts; or an object from `fastmlp.losses`, where the formulas are, such as
        ``Huber(delta=2.0)``, ``Quantile((0.1, 0.5, 0.9))``, or functions of yours. With several
        quantiles, each target has as many outputs, in their order.
    hidden_layer_sizes : array-like of int or int, default=(100,)
        Units of each hidden layer; empty for a linear model.
    activation : str, Activation, or list or tuple of these, default="relu"
        Activation of the hidden layers, or one for each of them: "identity", "logistic", "tanh",
        "relu", "hard_sigmoid", "hard_tanh", "leaky_relu", "prelu", "elu", "selu", "softplus",
        "swish" or "silu", "gelu", "maxout", "step"; or an object from `fastmlp.activations`, where
        the formulas are, with parameters of its own, such as ``LeakyReLU(negative_slope=0.1)``,
        ``Swish(learnable=True)``, ``Maxout(pieces=3)``, or functions of yours.
    solver : str or Optimizer, default="adam"
        "adam"; "sgd", stochastic gradient descent with momentum; "rmsprop"; "lbfgs", L-BFGS over
        all rows; or an object from `fastmlp.optimizers` with parameters of its own, such as
        ``SGD(momentum=0.5)``.
    alpha : float, default=0.0001
        L2 penalty: ``alpha / 2`` times the sum of squared weights is added to a batch's summed
        loss, so that its effect depends on the batch size.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" is ``min(200, n_samples)``. Not used by "lbfgs".
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of the learning rate, but for "adam": constant; with t the rows seen,
        ``learning_rate_init / (t + 1)**power_t``; or divided by 5 whenever training stalls.
    learning_rate_init : float, default=0.001
        First learning rate.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Most epochs, or L-BFGS iterations.
    shuffle : bool, default=True
        Whether to shuffle the rows before each epoch.
    random_state : int, RandomState or None, default=None
        Draws the weights, the validation rows and the shuffles; the same numbers as scikit-learn.
    tol : float, default=0.0001
        Improvement of loss or score below which an epoch counts as stalled; for "lbfgs" the largest
        component of the gradient at which it stops.
    verbose : bool or int, default=False
        Whether to print the progress: of every epoch, or of the first and every so-many-th.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last call.
    momentum : float, default=0.9
        Momentum of "sgd", in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether "sgd" looks ahead along its momentum.
    early_stopping : bool, default=False
        Whether to hold out validation rows, stop by their score, and keep the best weights.
    validation_fraction : float, default=0.1
        Share of rows held out, in [0, 1).
    beta_1 : float, default=0.9
        Decay of Adam's first moments, in [0, 1).
    beta_2 : float, default=0.999
        Decay of Adam's second moments, in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator in Adam.
    n_iter_no_change : int or inf, default=10
        Stalled epochs in a row that are let pass.
    max_fun : int, default=15000
        Most evaluations of the loss, for "lbfgs".
    output_activation : str or Activation, default=None
        Activation of the outputs. None takes "exp" for the losses "poisson" and "gamma", else
        "identity". All that `activation` may be, but for "prelu", "maxout" and
        "step", and besides "exp" and "softmax". "poisson" and "gamma" need positive outputs: "exp",
        "softplus" or "logistic".
    weight_init : str or (coefs, intercepts), default="glorot"
        First weights: "glorot" is scikit-learn's, weights and biases. With biases of 0,
        "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "orthogonal",
        "zeros", or "auto", which chooses for each layer by its activation: see
        `fastmlp.initializers`. Or the arrays themselves, in the shapes of `coefs_` and
        `intercepts_`; they are copied.
    l1 : float, default=0.0
        L1 penalty: ``l1`` times the sum of absolute weights is added to a batch's summed loss. Its
        slope at 0 is taken to be 0. L-BFGS, made for smooth functions, may stall at such kinks: it
        brings weights near 0, not to it.
    weight_decay : float, default=0.0
        With each step, weights shrink by the learning rate times this, apart from the gradient and
        so from Adam's moments: with "adam", AdamW. Not for "lbfgs".
    clip_norm : float, default=None
        Longest gradient, by its Euclidean norm over all parameters, penalties included; a longer
        one is scaled down. Not for "lbfgs".
    max_norm : float, default=None
        Largest Euclidean norm of the weights into a unit; after each step, larger ones are scaled
        down. Not for "lbfgs".
    dropout : float or array-like of float, default=0.0
        Share of the hidden layers' values, or of each layer's, that a training step leaves out, in
        [0, 1). The others are divided by the share kept, so that predictions need no change. The
        masks depend on `random_state` and the step alone: they are the same on every device and
        for any number of threads. Not for "lbfgs".
    input_dropout : float, default=0.0
        The same for the features.
    device : {"auto", "cpu", "cuda", "reference"}, default="auto"
        Where to compute: compiled code on the CPU, an NVIDIA GPU, or plain NumPy. "auto" is the CPU
        for data on the host; it will be the GPU where that pays, once the kernels have been tested
        on one. A device that is named never becomes another one. "cuda" needs the extra
        ``fastmlp[cuda13]`` or ``fastmlp[cuda12]`` and takes no sparse X; X, y and weights may lie
        on the GPU, in arrays with ``__cuda_array_interface__``, where X is used in place.
    n_jobs : int or None, default=None
        Most CPU threads to use, -1 for all cores. None takes the idle cores where that measures
        faster while it trains. The result is the same, bit for bit, whatever the number.

    Attributes
    ----------
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        Weights of each layer. Of a maxout layer, column ``p * units + j`` is piece p of unit j.
    intercepts_ : list of ndarray of shape (fan_out,)
        Biases of each layer.
    activation_params_ : list of ndarray of shape (units,) or None
        What each hidden layer's activation has learned, a number for each unit; None where it
        learns nothing.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X had string column names.
    n_layers_ : int
        Number of layers, input and output included.
    n_outputs_ : int
        Number of outputs: targets times quantiles.
    out_activation_ : str
        Activation of the output layer.
    n_iter_ : int
        Epochs or iterations of the last call.
    t_ : int
        Rows seen in training, over all calls.
    loss_ : float
        Loss of the last epoch, penalty included.
    loss_curve_ : list of float
        Loss of every epoch ("adam" and "sgd").
    best_loss_ : float or None
        Least loss of an epoch; None with early stopping.
    validation_scores_ : list of float or None
        Score of every epoch on the held-out rows, R² or for the quantile loss D² (see `score`);
        None without early stopping.
    best_validation_score_ : float or None
        Best of these.
    device_ : str
        Device that the last fit ran on.

    See Also
    --------
    MLPClassifier : The same for labels.
    sklearn.neural_network.MLPRegressor : What it takes the place of.

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
        learning_rate: str = "constant",
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
        device: str = "auto",
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
        self.device = device
        self.n_jobs = n_jobs

    def fit(self, X: MatrixLike, y: TargetsLike, sample_weight: WeightsLike | None = None) -> Self:
        """Fit the network to data X and targets y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 and float64 are kept, everything else becomes float64. Sparse
            matrices are not densified.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss.

        Returns
        -------
        self : MLPRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid parameters or data, targets that the loss is not defined for, or if training
            diverged to weights that are not finite.
            The estimator is then as it was before.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def partial_fit(
        self, X: MatrixLike, y: TargetsLike, sample_weight: WeightsLike | None = None
    ) -> Self:
        """Train for one epoch on the given rows, from the weights and moments of the last call.

        As in scikit-learn, with solver "lbfgs" each call is a whole fit from the present weights.

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
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def _encode(self, X, y, incremental, reset):
        X, y = validated(self, X, y, reset=reset, multi_output=True, y_numeric=True, dtype=FLOATS)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if y.dtype.kind not in "fiub":
            raise ValueError(f"The targets of a regressor must be numbers, got dtype {y.dtype}.")
        if y.dtype not in FLOATS:
            y = y.astype(np.float64)
        loss = self._network_loss()
        loss.check_targets(y)
        return X, np.repeat(y.reshape(len(y), -1), loss.outputs_per_target, axis=1)

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
        """Score predictions: 1 is perfect, 0 what the best constant prediction has.

        R², or for the quantile loss its analogue D², the mean over the quantiles: 1 minus the
        pinball loss over that of the quantiles of y.

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
        """
        check_is_fitted(self)
        loss = model_of(self).network.loss
        if not loss.levels:
            return super().score(X, y, sample_weight)
        outputs = self._outputs(X)
        targets = np.asarray(y).reshape(len(outputs), -1)
        targets = targets.repeat(loss.outputs_per_target, axis=1)
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
            Predictions. With several quantiles (n_samples, n_quantiles) for a vector of targets,
            else (n_samples, n_targets * n_quantiles): all quantiles of the first target, then
            those of the next.
        """
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs
