"""What classifier and regressor share: a fit from validated rows to fitted attributes."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from numbers import Integral, Number, Real

import numpy as np
import sklearn
import sklearn.neural_network
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .. import activations, devices, initializers
from ..activations import Activation
from ..losses import Loss
from ..network import Network
from ..predictor import PLAIN, Predictor
from ..regularization import Regularization
from ..schedules import schedule
from ..training import Optimizer, Plan, Progress, Rows, fit_epochs, fit_lbfgs
from .shortcuts import FLOATS, on_host, seeded, validated

MatrixLike = ArrayLike | sparse.spmatrix | sparse.sparray

_THEIRS = sklearn.neural_network.MLPClassifier._parameter_constraints
_AT_LEAST_0, _ABOVE_0 = _THEIRS["alpha"], _THEIRS["epsilon"]
SHARE = _THEIRS["validation_fraction"]  # at least 0, below 1
#: Constraints of the parameters that scikit-learn's classes do not have, or where more is allowed.
#: A string is then looked up among the parameter's names.
OWN_CONSTRAINTS = {
    "activation": [str, Activation, list, tuple],
    "loss": [str, Loss],
    "output_activation": [str, Activation, None],
    "weight_init": [str, list, tuple],
    "l1": _AT_LEAST_0,
    "weight_decay": _AT_LEAST_0,
    "clip_norm": [*_ABOVE_0, None],
    "max_norm": [*_ABOVE_0, None],
    "dropout": [*SHARE, "array-like"],
    "input_dropout": SHARE,
    "device": [str],
    "n_jobs": [Integral, None],
}


class BaseMLP(BaseEstimator, ABC):
    """A multi-layer perceptron behind scikit-learn's interface; see the two subclasses."""

    # ---- what the subclasses say ----------------------------------------------------------------

    @abstractmethod
    def _encode(self, X, y, incremental, reset):
        """Validate X and y; return X and the targets, (n, outputs), that the loss is about."""

    #: Names of the losses that `loss` may be.
    _losses: tuple[str, ...]

    @abstractmethod
    def _network_loss(self) -> str | Loss:
        """The loss as the network calls it."""

    def _network_output(self, loss: str | Loss) -> str | Activation | None:
        """The output activation beside this loss, or None for the loss's own."""
        return self.output_activation

    @abstractmethod
    def _score_outputs(self, outputs, targets, weights) -> float:
        """The score that early stopping goes by."""

    # ---- fit ------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight, incremental):
        """Fit from the start, from the last fit (warm start) or by one epoch more (incremental)."""
        with all_or_nothing(self):
            if not (incremental and hasattr(self, "coefs_")):
                self._check_parameters()
            y = on_host(y)
            hidden = _hidden_layer_sizes(self.hidden_layer_sizes)
            fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
            X, targets = self._encode(X, y, incremental, reset=fresh)
            weights = _check_weights(on_host(sample_weight), X)
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
            self.activation_params_ = network.activation_views(parameters)
            self.n_layers_ = len(network.units)
            self.out_activation_ = network.output_activation.name
        return self

    def _check_parameters(self):
        """scikit-learn's own validation, and that of the parameters it does not have."""
        if sklearn.get_config()["skip_parameter_validation"]:
            return
        self._validate_params()
        self._check_name("activation", activations.HIDDEN)
        self._check_name("output_activation", activations.OUTPUT)
        self._check_name("loss", self._losses)
        self._check_name("weight_init", initializers.NAMES)
        self._check_name("device", {"auto", *devices.DEVICES})
        if self.n_jobs == 0:
            raise ValueError(
                f"The 'n_jobs' parameter of {type(self).__name__} must be None or a number of "
                "threads, -1 for all; 0 has no meaning."
            )

    def _check_name(self, parameter, names):
        """Whether a parameter that is a string is among the names."""
        value = getattr(self, parameter)
        if isinstance(value, str) and value not in names:
            raise ValueError(
                f"The {parameter!r} parameter of {type(self).__name__} must be a str among "
                f"{set(names)}. Got {value!r} instead."
            )

    def _start(self, fresh, X, hidden, random_state):
        """The network, and the packed parameters that training starts from."""
        if not fresh:
            return self._fitted_network()
        network = self._network((X.shape[1], *hidden, self.n_outputs_))
        return network, initializers.first_parameters(
            network, self.weight_init, random_state, X.dtype, self.activation
        )

    def _network(self, units):
        loss = self._network_loss()
        return Network(units, self.activation, loss, self._network_output(loss))

    def _fitted_network(self, dtype=None):
        """The network of the fitted attributes, and their packed parameters."""
        coefs = [np.asarray(coef) for coef in self.coefs_]
        network = self._network((*(coef.shape[0] for coef in coefs), coefs[-1].shape[1]))
        if dtype is None:
            dtype = np.float32 if all(c.dtype == np.float32 for c in coefs) else np.float64
        learned = getattr(self, "activation_params_", None)
        return network, network.pack(coefs, self.intercepts_, dtype, learned)

    def _device(self, network, parameters, X, epochs=0, **settings):
        """The device of this fit or prediction, loaded with the parameters.

        Compiled code does not look where it reads and writes: widths that do not fit stop here.
        """
        if network.units[0] != X.shape[1] or network.units[-1] != self.n_outputs_:
            raise ValueError(
                f"The fitted weights are those of a network of {network.units[0]} features and "
                f"{network.units[-1]} outputs, but the data have {X.shape[1]} features and "
                f"{self.n_outputs_} outputs."
            )
        load = devices.load(self._device_name(network, X, epochs, settings.get("batch_size")))
        return load(network, parameters, sparse=sparse.issparse(X), n_jobs=self.n_jobs, **settings)

    def _device_name(self, network, X, epochs, batch_rows):
        """The device that is asked for, or the one that "auto" stands for."""
        if devices.is_on_gpu(X):
            if self.device not in ("auto", "cuda"):
                raise ValueError(
                    f"X lies on a GPU, where device={self.device!r} cannot read it: use "
                    "device='cuda' or 'auto', or copy X to the host."
                )
            return "cuda"
        rows, features = X.shape
        # The GPU takes no sparse X, and perhaps not all that the CPU's compiler does.
        if sparse.issparse(X) or network.custom:
            return devices.choose(self.device)
        size, itemsize = network.size, X.dtype.itemsize
        work = devices.Work(size, rows, features, batch_rows or rows, epochs, itemsize)
        return devices.choose(self.device, work)

    def _regularization(self, network):
        """Penalties, decay, bounds and dropout, without the key of dropout's masks.

        Raises
        ------
        ValueError
            If `dropout` does not fit the layers, or L-BFGS cannot do what is asked for.
        """
        shares = (self.input_dropout, *_per_layer(self.dropout, len(network.units) - 2))
        regularization = Regularization(
            l2=float(self.alpha),
            l1=float(self.l1),
            weight_decay=float(self.weight_decay),
            clip_norm=np.inf if self.clip_norm is None else float(self.clip_norm),
            max_norm=np.inf if self.max_norm is None else float(self.max_norm),
            dropout=tuple(float(share) for share in shares) if any(shares) else (),
        )
        penalties = Regularization(l2=regularization.l2, l1=regularization.l1)
        if self.solver == "lbfgs" and regularization != penalties:
            raise ValueError(
                "solver='lbfgs' minimises one function of the weights: dropout, input_dropout, "
                "weight_decay, clip_norm and max_norm, which change single steps, need 'adam' or "
                "'sgd'."
            )
        return regularization

    def _next_dropout_seed(self, fresh, optimizer, random_state):
        """The key of the dropout masks, which besides depend on the optimiser's step.

        It is drawn once, after weights and validation rows. partial_fit keeps it, as the steps go
        on: a run of such calls has the masks of one fit. In a warm start the steps begin anew, so
        the next key makes new masks, without a draw that would change the shuffles.
        """
        last = getattr(self, "_dropout_seed", None)
        if fresh or last is None:
            return int(random_state.randint(2**32, dtype=np.uint32))
        return last if optimizer.step else (last + 1) % 2**32

    def _minimise(self, network, parameters, rows, fresh):
        """Fit by L-BFGS; returns the parameters."""
        n = rows.X.shape[0]
        device = self._device(
            network,
            parameters,
            rows.X,
            epochs=self.max_iter,
            regularization=self._regularization(network),
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
        regularization = self._regularization(network)
        order, validation = self._split(rows, random_state)
        optimizer = self._next_optimizer(parameters, incremental)
        if regularization.dropout:
            self._dropout_seed = self._next_dropout_seed(fresh, optimizer, random_state)
            regularization = replace(regularization, seed=self._dropout_seed)
        progress = self._next_progress(fresh)
        device = self._device(
            network,
            parameters,
            rows.X,
            epochs=1 if incremental else self.max_iter,
            optimizer=optimizer,
            regularization=regularization,
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
        form = self._output_form(network)
        return Predictor(network, parameters, form, flat=network.units[-1] == 1 and form == PLAIN)

    def _output_form(self, network):
        """What a `Predictor` makes of a row's outputs."""
        return PLAIN

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


def _per_layer(dropout, layers):
    """The share of each hidden layer, from one for all or one each."""
    if isinstance(dropout, Real):
        return [dropout] * layers
    shares = list(dropout)
    if len(shares) != layers:
        raise ValueError(
            f"dropout has {len(shares)} entries, expected one for each of {layers} hidden layer(s),"
            " or a single one for all of them."
        )
    for share in shares:
        if not (isinstance(share, Real) and 0 <= share < 1):
            raise ValueError(f"dropout must be at least 0 and less than 1, got {share!r}.")
    return shares


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
