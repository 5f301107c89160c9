"""What classifier and regressor share: a fit from validated rows to fitted attributes."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import contextmanager
from copy import copy
from numbers import Integral, Number

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .. import devices
from ..initializers import glorot_uniform
from ..network import Network
from ..predictor import Predictor
from ..regularization import Regularization
from ..schedules import schedule
from ..training import Optimizer, Plan, Progress, Rows, fit_epochs, fit_lbfgs
from .shortcuts import FLOATS, seeded, validated

MatrixLike = ArrayLike | sparse.spmatrix | sparse.sparray

#: Constraints of the parameters that scikit-learn's classes do not have.
OWN_CONSTRAINTS = {"device": [str], "n_jobs": [Integral, None]}


class BaseMLP(BaseEstimator, ABC):
    """A multi-layer perceptron behind scikit-learn's interface; see the two subclasses."""

    # ---- what the subclasses say ----------------------------------------------------------------

    @abstractmethod
    def _encode(self, X, y, incremental, reset):
        """Validate X and y; return X and the targets, (n, outputs), that the loss is about."""

    @abstractmethod
    def _network_loss(self) -> str:
        """The loss as the network calls it."""

    @abstractmethod
    def _score_outputs(self, outputs, targets, weights) -> float:
        """The score that early stopping goes by."""

    # ---- fit ------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight, incremental):
        """Fit from the start, from the last fit (warm start) or by one epoch more (incremental)."""
        with all_or_nothing(self):
            if not (incremental and hasattr(self, "coefs_")):
                self._check_parameters()
            hidden = _hidden_layer_sizes(self.hidden_layer_sizes)
            fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
            X, targets = self._encode(X, y, incremental, reset=fresh)
            weights = _check_weights(sample_weight, X)
            rows = Rows(_row_access(X), targets, weights)
            self.n_outputs_ = targets.shape[1]
            with seeded(self.random_state) as random_state:
                network, parameters = self._start(fresh, rows.X, hidden, random_state)
                if self.solver == "lbfgs":
                    parameters = self._minimise(network, parameters, rows, fresh)
                else:
                    parameters = self._descend(
                        network, parameters, rows, fresh, incremental, random_state
                    )
            if not np.isfinite(parameters).all():
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may"
                    " contain large values and need to be preprocessed."
                )
            self.coefs_, self.intercepts_ = network.views(parameters)
            self.n_layers_ = len(network.units)
            self.out_activation_ = network.output_activation.name
        return self

    def _check_parameters(self):
        """scikit-learn's own validation, and that of the parameters it does not have."""
        if sklearn.get_config()["skip_parameter_validation"]:
            return
        self._validate_params()
        known = sorted({"auto", *devices.DEVICES})
        if self.device not in known:
            raise ValueError(
                f"The 'device' parameter of {type(self).__name__} must be a str among "
                f"{set(known)}. Got {self.device!r} instead."
            )
        if self.n_jobs == 0:
            raise ValueError(
                f"The 'n_jobs' parameter of {type(self).__name__} must be None or a number of "
                "threads, -1 for all; 0 has no meaning."
            )

    def _start(self, fresh, X, hidden, random_state):
        """The network, and the packed parameters that training starts from."""
        if fresh:
            units = (X.shape[1], *hidden, self.n_outputs_)
            network = Network(units, self.activation, self._network_loss())
            return network, glorot_uniform(network, random_state, X.dtype)
        return self._fitted_network()

    def _fitted_network(self, dtype=None):
        """The network of the fitted attributes, and their packed parameters."""
        coefs = [np.asarray(coef) for coef in self.coefs_]
        units = (*(coef.shape[0] for coef in coefs), coefs[-1].shape[1])
        network = Network(units, self.activation, self._network_loss())
        if dtype is None:
            dtype = np.float32 if all(c.dtype == np.float32 for c in coefs) else np.float64
        return network, network.pack(coefs, self.intercepts_, dtype)

    def _device(self, network, parameters, X, **settings):
        """The device of this fit or prediction, loaded with the parameters.

        Compiled code does not look where it reads and writes: widths that do not fit stop here.
        """
        if network.units[0] != X.shape[1] or network.units[-1] != self.n_outputs_:
            raise ValueError(
                f"The fitted weights are those of a network of {network.units[0]} features and "
                f"{network.units[-1]} outputs, but the data have {X.shape[1]} features and "
                f"{self.n_outputs_} outputs."
            )
        load = devices.load(devices.choose(self.device))
        return load(network, parameters, sparse=sparse.issparse(X), n_jobs=self.n_jobs, **settings)

    def _regularization(self):
        return Regularization(l2=self.alpha)

    def _minimise(self, network, parameters, rows, fresh):
        """Fit by L-BFGS; returns the parameters."""
        n = rows.X.shape[0]
        device = self._device(
            network,
            parameters,
            rows.X,
            regularization=self._regularization(),
            batch_size=min(n, 1024),
        )
        result = fit_lbfgs(
            device,
            parameters,
            rows,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
        )
        self.device_ = device.name
        self.n_iter_ = min(result.nit, self.max_iter)
        self.loss_ = result.fun
        if fresh:
            self.t_ = 0
        if result.status != 0:
            warnings.warn(
                _lbfgs_message(result, self.n_iter_, self.max_iter),
                ConvergenceWarning,
                stacklevel=4,
            )
        return result.x

    def _descend(self, network, parameters, rows, fresh, incremental, random_state):
        """Fit by epochs of adam or sgd; returns the parameters."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        order, validation = self._split(rows, random_state)
        optimizer = self._next_optimizer(parameters, incremental)
        progress = self._next_progress(fresh)
        device = self._device(
            network,
            parameters,
            rows.X,
            optimizer=optimizer,
            regularization=self._regularization(),
            batch_size=self._batch_rows(len(order)),
        )
        plan = Plan(
            self.max_iter,
            self.tol,
            self.n_iter_no_change,
            shuffle=bool(self.shuffle),
            one_epoch=incremental,
            verbose=bool(self.verbose),
        )
        score = None if validation is None else self._scorer(device, rows, validation)
        best, exhausted = fit_epochs(device, rows, order, plan, progress, random_state, score)
        if exhausted:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.device_ = device.name
        optimizer.moments = device.moments()
        self._optimizer = optimizer
        self._keep(progress)
        if not self.early_stopping:
            return device.parameters()
        if best is not None:
            return best
        # Not one score was a number or beat the last fit's: scikit-learn then has the first weights
        # of a new fit, and the last ones of a warm start.
        return parameters if fresh else device.parameters()

    def _split(self, rows, random_state):
        """Row numbers to train on, and to validate on or None."""
        numbers = np.arange(rows.X.shape[0])
        if not self.early_stopping:
            return numbers, None
        binary = hasattr(self, "classes_") and self.n_outputs_ == 1
        train, validation = train_test_split(
            numbers,
            random_state=random_state,
            test_size=self.validation_fraction,
            stratify=rows.targets if binary else None,
        )
        if len(validation) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        return train, validation

    def _scorer(self, device, rows, validation):
        """A function that scores the device's parameters on the validation rows."""
        targets = rows.targets[validation]
        weights = None if rows.weights is None else rows.weights[validation]
        outputs = np.empty(targets.shape, device.dtype)

        def score():
            return self._score_outputs(
                device.forward(rows.X, outputs, validation), targets, weights
            )

        return score

    def _batch_rows(self, n):
        """Rows of a batch, of n to train on."""
        if self.batch_size == "auto":
            return min(200, n)
        if self.batch_size > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than "
                "sample size. It is going to be clipped",
                stacklevel=5,
            )
        return int(min(self.batch_size, n))

    def _next_optimizer(self, parameters, incremental):
        """A new optimiser, or in partial_fit a copy of the last one to go on with."""
        last = getattr(self, "_optimizer", None)
        if incremental and last is not None and last.moments.shape[1] == parameters.size:
            return copy(last)
        name = self.learning_rate if self.solver == "sgd" else "constant"
        return Optimizer(
            name=self.solver,
            schedule=schedule(name, self.learning_rate_init, self.power_t),
            learning_rate=self.learning_rate_init,
            moments=np.zeros((2, parameters.size), parameters.dtype),
            nesterov=self.nesterovs_momentum,
            momentum=self.momentum,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )

    def _next_progress(self, fresh):
        """The progress to continue: none in a new fit, else what the attributes say."""
        if fresh or not hasattr(self, "loss_curve_"):
            progress = Progress()
        else:
            progress = Progress(
                rows_seen=self.t_,
                loss_curve=list(self.loss_curve_),
                best_loss=self.best_loss_,
                scores=getattr(self, "validation_scores_", None),
                best_score=getattr(self, "best_validation_score_", None),
                stalled=self._no_improvement_count,
            )
        if self.early_stopping:
            progress.best_loss = None
            progress.scores = list(progress.scores or [])
            if progress.best_score is None:
                progress.best_score = -np.inf
        else:
            progress.scores = progress.best_score = None
            if progress.best_loss is None:
                progress.best_loss = np.inf
        return progress

    def _keep(self, progress):
        self.n_iter_ = progress.epochs
        self.t_ = progress.rows_seen
        if progress.epochs:
            self.loss_ = progress.loss
        self.loss_curve_ = progress.loss_curve
        self.best_loss_ = progress.best_loss
        self.validation_scores_ = progress.scores
        self.best_validation_score_ = progress.best_score
        self._no_improvement_count = progress.stalled

    # ---- predict --------------------------------------------------------------------------------

    def _outputs(self, X):
        """The network's outputs, (n, outputs), in the dtype that X and the weights promote to."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        X = validated(self, X, reset=False)
        promoted = np.result_type(X.dtype, *self.coefs_)
        dtype = promoted.type if promoted in FLOATS else np.float64
        network, parameters = self._fitted_network(dtype)
        X = _row_access(X)
        if X.dtype not in FLOATS:
            X = X.astype(dtype)
        device = self._device(network, parameters, X)
        return device.forward(X, np.empty((X.shape[0], self.n_outputs_), dtype))

    def compiled_predictor(self) -> Predictor:
        """Bind a copy of the weights to compiled code that predicts single rows in microseconds.

        Returns
        -------
        predictor : Predictor
            ``predictor(X, out=None)`` gives what `predict` of a regressor or `predict_proba` of a
            classifier gives, for rows or for one row, in the dtype of the weights. It does not
            validate its input, later fits do not change it, and threads may share it.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> X = np.linspace(-1, 1, 100).reshape(50, 2)
        >>> regressor = MLPRegressor(solver="lbfgs", random_state=0).fit(X, X.sum(axis=1))
        >>> predictor = regressor.compiled_predictor()
        >>> np.allclose(predictor(X), regressor.predict(X))
        True
        >>> predictor(X[0]).shape
        (1,)
        """
        check_is_fitted(self)
        network, parameters = self._fitted_network()
        one = network.units[-1] == 1
        pair = one and is_classifier(self)
        return Predictor(network, parameters, pair=pair, flat=one and not pair)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@contextmanager
def all_or_nothing(estimator):
    """Give the estimator back its attributes if the block fails."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def _hidden_layer_sizes(sizes):
    sizes = list(sizes) if isinstance(sizes, Iterable) else [sizes]
    if np.any(np.array(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    for size in sizes:
        if not isinstance(size, Integral):
            raise TypeError(f"hidden_layer_sizes must be integers, got {sizes}.")
    return [int(size) for size in sizes]


def _check_weights(sample_weight, X):
    """Weights as a vector of floats, or None; errors as scikit-learn words them."""
    if sample_weight is None:
        return None
    n = X.shape[0]
    if isinstance(sample_weight, Number):
        weights = np.full(n, sample_weight, np.float64)
    else:
        weights = check_array(
            sample_weight, ensure_2d=False, dtype=FLOATS, order="C", input_name="sample_weight"
        )
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array. "
            f"Expected either a scalar value or a 1D array of length {n}."
        )
    if weights.shape != (n,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n,)}!")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def _row_access(X):
    """X with rows at hand: CSC becomes CSR, all else stays as it is."""
    return X.tocsr() if sparse.issparse(X) else X


def _lbfgs_message(result, n_iter, max_iter):
    message = (
        f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}):\n"
        f"{result.message}\n"
    )
    if n_iter == max_iter:
        message += (
            f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
        )
    return message + (
        "\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )
