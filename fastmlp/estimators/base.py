"""What classifier and regressor share: a fit from validated rows to fitted attributes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import replace
from numbers import Number

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .. import devices, initializers
from ..activations import Activation
from ..losses import Loss
from ..model import FittedNetwork
from ..network import Network
from ..notices import warn
from ..predictor import PLAIN, Predictor
from ..regularization import Regularization
from ..training import Plan, Rows, fit_epochs, fit_lbfgs
from .fitted import model_of, network_to_go_on_with
from .parameters import batch_rows, check_parameters, hidden_units, per_layer
from .state import (
    begin,
    keep_progress,
    next_dropout_seed,
    next_optimizer,
    next_progress,
    warn_of_unused,
)
from .types import MatrixLike
from .validation import FLOATS, on_host, seeded, validated


class BaseMLP(BaseEstimator, ABC):
    """A multi-layer perceptron behind scikit-learn's interface; see the two subclasses."""

    # The HTML representation links to the page of the class whose place this one takes, and shows
    # each parameter's paragraph of our docstring as its tooltip.
    _doc_link_module = "fastmlp"
    _doc_link_template = (
        "https://scikit-learn.org/stable/modules/generated/"
        "sklearn.neural_network.{estimator_name}.html"
    )

    # Of fitted estimators; the two classes' docstrings tell what they are.
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    activation_params_: list[np.ndarray | None]
    n_layers_: int
    n_outputs_: int
    n_features_in_: int
    feature_names_in_: np.ndarray
    out_activation_: str
    device_: str
    loss_: float
    n_iter_: int
    t_: int
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None

    # ---- what the subclasses say ----------------------------------------------------------------

    @abstractmethod
    def _encode(self, X, y, incremental, reset):
        """Validate X and y; return X and the targets, (n, outputs), that the loss is about."""

    #: Names of the losses that `loss` may be.
    _losses: tuple[str, ...]

    @abstractmethod
    def _network_loss(self) -> Loss:
        """The loss as the network calls it."""

    def _network_output(self, loss: Loss) -> str | Activation | None:
        """The output activation beside this loss, or None for the loss's own."""
        return self.output_activation

    @abstractmethod
    def _score_outputs(
        self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
    ) -> float:
        """The score that early stopping goes by."""

    # ---- fit ------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight, incremental):
        """Fit from the start, from the last fit (warm start) or by one epoch more (incremental)."""
        with all_or_nothing(self):
            if not (incremental and hasattr(self, "coefs_")):
                check_parameters(self)
            y = on_host(y)
            hidden = hidden_units(self.hidden_layer_sizes)
            fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
            if fresh:
                begin(self)
            else:
                warn_of_unused(self, incremental)
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
            self.__dict__.pop("_model", None)
            self._fitted_as = network
            self.coefs_, self.intercepts_ = network.views(parameters)
            self.activation_params_ = network.activation_views(parameters)
            self.n_layers_ = len(network.units)
            self.out_activation_ = network.output_activation.name
        return self

    def _start(self, fresh, X, hidden, random_state):
        """The network, and the packed parameters that training starts from."""
        loss = self._network_loss()
        output = self._network_output(loss)
        if fresh:
            network = Network((X.shape[1], *hidden, self.n_outputs_), self.activation, loss, output)
            return network, initializers.first_parameters(
                network, self.weight_init, random_state, X.dtype, self.activation
            )
        network = network_to_go_on_with(self, loss, output)
        weights = self.coefs_, self.intercepts_, getattr(self, "activation_params_", None)
        return network, FittedNetwork(network, *weights).packed()

    def _device(self, network, parameters, X, epochs=0, **settings):
        """The device of this fit or prediction, loaded with the parameters."""
        self._check_widths(network, X)
        load = devices.load(self._device_name(network, X, epochs, settings.get("batch_size")))
        return load(network, parameters, sparse=sparse.issparse(X), n_jobs=self.n_jobs, **settings)

    def _check_widths(self, network, X):
        """Whether the weights, perhaps set by hand, are those of a network for these data."""
        outputs = getattr(self, "n_outputs_", network.units[-1])
        if network.units[0] != X.shape[1] or network.units[-1] != outputs:
            raise ValueError(
                f"The fitted weights are those of a network of {network.units[0]} features and "
                f"{network.units[-1]} outputs, but the data have {X.shape[1]} features and "
                f"{outputs} outputs."
            )

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
        shares = (self.input_dropout, *per_layer(self.dropout, len(network.units) - 2))
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
            warn(_lbfgs_message(result, self.n_iter_, self.max_iter), ConvergenceWarning)
        return result.x

    def _descend(self, network, parameters, rows, fresh, incremental, random_state):
        """Fit by epochs of adam or sgd; returns the parameters."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        regularization = self._regularization(network)
        order, validation = self._split(rows, random_state)
        optimizer = next_optimizer(self, parameters, incremental)
        if regularization.dropout:
            self._dropout_seed = next_dropout_seed(self, fresh, optimizer, random_state)
            regularization = replace(regularization, seed=self._dropout_seed)
        progress = next_progress(self, fresh)
        device = self._device(
            network,
            parameters,
            rows.X,
            epochs=1 if incremental else self.max_iter,
            optimizer=optimizer,
            regularization=regularization,
            batch_size=batch_rows(self, len(order)),
        )
        plan = Plan(
            self.max_iter,
            self.tol,
            self.n_iter_no_change,
            shuffle=bool(self.shuffle),
            one_epoch=incremental,
            verbose=int(self.verbose),
        )
        score = None if validation is None else self._scorer(device, rows, validation)
        best, exhausted = fit_epochs(device, rows, order, plan, progress, random_state, score)
        if exhausted:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        self.device_ = device.name
        optimizer.moments = device.moments()
        self._optimizer = optimizer
        keep_progress(self, progress)
        if not self.early_stopping:
            return device.parameters()
        if best is not None:
            return best
        # Not one score was a number or beat the last fit's: scikit-learn then has the first weights
        # of a new fit, and the last ones of a warm start. Where it fails, for want of validation
        # rows with weight, the last ones are kept.
        weightless = rows.weights is not None and not rows.weights[validation].any()
        return parameters if fresh and not weightless else device.parameters()

    def _split(self, rows, random_state):
        """Row numbers to train on, and to validate on or None."""
        numbers = np.arange(rows.X.shape[0])
        if not self.early_stopping:
            return numbers, None
        binary = hasattr(self, "classes_") and self.n_outputs_ == 1
        try:
            train, validation = train_test_split(
                numbers,
                random_state=random_state,
                test_size=self.validation_fraction,
                stratify=rows.targets if binary else None,
            )
        except ValueError as error:
            reason = str(error).replace("test_size", "validation_fraction")
            reason = reason.replace(" and train_size=None", "")
            raise ValueError(f"No rows can be held out for early stopping: {reason}") from error
        if len(validation) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' "
                "or the size of your dataset."
            )
        if rows.weights is not None and not rows.weights[train].any():
            raise ValueError(
                "All rows that are left to train on have weight 0. Choose another random_state, or "
                "leave out rows without weight."
            )
        return train, validation

    def _scorer(self, device, rows, validation):
        """A function that scores the device's parameters on the validation rows.

        Rows without any weight have no score: NaN, which is neither an improvement nor a stall.
        """
        targets = rows.targets[validation]
        weights = None if rows.weights is None else rows.weights[validation]
        if weights is not None and not weights.any():
            return lambda: np.nan
        outputs = np.empty(targets.shape, device.dtype)

        def score():
            return self._score_outputs(
                device.forward(rows.X, outputs, validation), targets, weights
            )

        return score

    # ---- predict --------------------------------------------------------------------------------

    def _outputs(self, X: MatrixLike) -> np.ndarray:
        """The network's outputs, (n, outputs), in the dtype that X and the weights promote to."""
        return self._forward(X)[1]

    def _forward(self, X: MatrixLike) -> tuple[FittedNetwork, np.ndarray]:
        """The fitted network, and its outputs for the rows of X."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        rows = _row_access(validated(self, X, reset=False))
        model = model_of(self)
        self._check_widths(model.network, rows)
        dtype = model.dtype_with(rows)
        if rows.dtype not in FLOATS:
            rows = rows.astype(dtype)
        out = np.empty((rows.shape[0], model.network.units[-1]), dtype)
        name = self._device_name(model.network, rows, epochs=0, batch_rows=None)
        return model, model.forward(rows, out, name, self.n_jobs)

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
        model = model_of(self)
        flat = model.network.units[-1] == 1 and model.output_form == PLAIN
        return Predictor(model.network, model.packed(), model.output_form, flat)

    def _output_form(self, network):
        """What a `Predictor` makes of a row's outputs."""
        return PLAIN

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_model", None)  # which is made again from the attributes
        return state

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
        estimator.__dict__ = before  # at once: another Ctrl-C may come at any time
        raise


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
