"""Base of classifier and regressor: a fit, from validated rows to fitted attributes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.callback import CallbackSupportMixin
from sklearn.utils.validation import check_is_fitted

from .. import devices, initializers
from ..activations import Activation
from ..losses import Loss
from ..model import FittedNetwork
from ..network import Network
from ..predictor import PLAIN, Predictor
from ..regularization import Regularization
from ..training import Rows
from .fitted import model_of, network_to_go_on_with, take_weights
from .holdout import Given, Labelled, divided, given_rows
from .hooks import Hooks, finite, torn_down
from .parameters import check_parameters, hidden_units, name_the_nearest, per_layer
from .portable import Portable
from .scoring import BLOCK
from .solvers import Beginning, descend, minimise
from .state import begin, warn_of_unused
from .types import MatrixLike
from .validation import (
    FLOATS,
    checked_weights,
    row_access,
    rows_to_predict,
    seeded,
    validated,
)

NOTHING = Given()  # no validation rows


class BaseMLP(CallbackSupportMixin, Portable, ABC):
    """A multi-layer perceptron behind scikit-learn's interface; see the two subclasses."""

    # The HTML representation links to the page of the scikit-learn class that this one replaces,
    # and shows each parameter's paragraph of our docstring as its tooltip.
    _doc_link_module = "fastmlp"
    _doc_link_template = (
        "https://scikit-learn.org/stable/modules/generated/"
        "sklearn.neural_network.{estimator_name}.html"
    )

    # Attributes of fitted estimators, described in the docstrings of the two classes.
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
    learning_rates_: list[float]
    best_loss_: float | None
    validation_loss_curve_: list[float] | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    best_iteration_: int | None

    # ---- defined by the subclasses --------------------------------------------------------------

    @abstractmethod
    def _validated(self, X, y, reset):
        """Validate X and y, and return them as arrays or sparse matrices."""

    def _meet(self, y, incremental):
        """Learn from y which targets there are, or compare them with those of an earlier fit."""

    def _check_known(self, y, name):
        """Check that y, called `name` by the user, has only such targets as those of the fit."""

    @abstractmethod
    def _targets(self, y, dtype):
        """Return the targets of the loss, (n, outputs), from validated y."""

    def _row_weights(self, sample_weight, X, y):
        """Return the weights of validated rows, or None."""
        return checked_weights(devices.on_host(sample_weight), X)

    #: Whether fits of several estimators may go on at once, in threads of their own.
    _side_by_side = True

    #: Names that `loss` accepts.
    _losses: tuple[str, ...]

    @abstractmethod
    def _network_loss(self) -> Loss:
        """Return the loss object of the network."""

    def _network_output(self, loss: Loss) -> str | Activation | None:
        """Return the output activation for this loss, or None for the loss's own."""
        return self.output_activation

    @abstractmethod
    def _score_outputs(
        self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
    ) -> float:
        """Return the score that early stopping uses."""

    # ---- parameters -----------------------------------------------------------------------------

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the estimator, as in scikit-learn.

        Parameters
        ----------
        **params : dict
            New values of parameters of the constructor.

        Returns
        -------
        self : estimator
            The estimator itself.

        Raises
        ------
        ValueError
            If there is no such parameter. The message names the most similar one.
        """
        try:
            return super().set_params(**params)
        except ValueError as error:
            name_the_nearest(error, self, params)
            raise

    # ---- fit ------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight, given=NOTHING, *, incremental=False):
        """Fit from the start, from the last fit (warm start), or for one epoch (incremental)."""
        with all_or_nothing(self), torn_down(self):
            if not (incremental and hasattr(self, "coefs_")):
                check_parameters(self)
            y = devices.on_host(y)
            hidden = hidden_units(self.hidden_layer_sizes)
            fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
            if fresh:
                begin(self)
            else:
                warn_of_unused(self, incremental)
            data = X, y, sample_weight
            training = self._encoded(X, y, sample_weight, fresh, incremental)
            rows = training.rows
            self.n_outputs_ = rows.targets.shape[1]
            validation = given_rows(self, given, like=rows)
            followed = hasattr(self, "_skl_callbacks") and not incremental
            hooks = Hooks(self, *data, rows, fresh) if followed else None
            with seeded(self.random_state) as random_state:
                if hooks is not None:
                    hooks.draws_begin(random_state)
                network, parameters = self._start(fresh, rows.X, hidden, random_state)
                start = Beginning(network, parameters, training, validation, fresh, hooks)
                if self.solver == "lbfgs":
                    parameters = minimise(self, start)
                else:
                    parameters = descend(self, start, incremental, random_state)
                take_weights(self, network, finite(parameters))
                if hooks is not None:
                    hooks.finish()  # the generator is still this fit's: a callback may keep it
        return self

    def _encoded(self, X, y, sample_weight, fresh, incremental):
        """Validate the rows, learn from them which targets there are, and encode them."""
        X, y = self._validated(X, y, reset=fresh)
        self._meet(y, incremental)
        weights = self._row_weights(sample_weight, X, y)
        return Labelled(Rows(row_access(X), self._targets(y, X.dtype), weights), y)

    def _divided(self, training, validation, random_state):
        """Return the numbers of the rows to train on, and the rows to validate on or None."""
        return divided(self, training, validation, random_state)

    def _start(self, fresh, X, hidden, random_state):
        """Return the network, and the packed parameters that training starts from."""
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
        """Return the device of this fit or prediction, loaded with the parameters."""
        self._check_widths(network, X)
        name = self._device_name(network, X, epochs, settings.get("batch_size"))
        precision = devices.precision_on(name, self.device, self.precision, parameters.dtype)
        return devices.load(name)(
            network,
            parameters,
            sparse=sparse.issparse(X),
            n_jobs=self.n_jobs,
            precision=precision,
            **settings,
        )

    def _examiner(self, trained, validation):
        """Return what measures parameters on validation rows: a device of its own.

        It is of the same kind as the one that trains: a GPU keeps the rows of both, and other
        parameters than the current ones can be measured while training goes on.
        """
        rows = validation.rows
        return devices.load(trained.name)(
            trained.network,
            trained.parameters(),
            batch_size=min(len(rows.targets), BLOCK),
            sparse=sparse.issparse(rows.X),
            n_jobs=self.n_jobs,
        )

    def _check_widths(self, network, X):
        """Check that the weights, which may have been set by hand, fit these data."""
        outputs = getattr(self, "n_outputs_", network.units[-1])
        if network.units[0] != X.shape[1] or network.units[-1] != outputs:
            raise ValueError(
                f"The fitted weights are those of a network of {network.units[0]} features and "
                f"{network.units[-1]} outputs, but the data have {X.shape[1]} features and "
                f"{outputs} outputs."
            )

    def _device_name(self, network, X, epochs, batch_rows):
        """Return the name of the requested device, or of the one that "auto" chooses."""
        rows, features = X.shape
        # The GPU accepts no sparse X, and perhaps not every function that compiles for the CPU.
        if sparse.issparse(X) or network.custom:
            return devices.choose(self.device, X=X)
        size, itemsize = network.size, X.dtype.itemsize
        work = devices.Work(size, rows, features, batch_rows or rows, epochs, itemsize)
        return devices.choose(self.device, work, X=X)

    def _regularization(self, network):
        """Return penalties, decay, bounds and dropout.

        Raises
        ------
        ValueError
            If `dropout` does not fit the layers, or L-BFGS does not support a parameter.
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
        if self.solver == "lbfgs" and regularization != regularization.penalties:
            raise ValueError(
                "solver='lbfgs' minimises one function of the weights: dropout, input_dropout, "
                "weight_decay, clip_norm and max_norm, which change single steps, need 'adam' or "
                "'sgd'."
            )
        return regularization

    # ---- predict --------------------------------------------------------------------------------

    def _outputs(self, X: MatrixLike) -> np.ndarray:
        """Return the outputs, (n, outputs), in the dtype that X and the weights promote to."""
        return self._forward(X)[1]

    def _forward(self, X: MatrixLike) -> tuple[FittedNetwork, np.ndarray]:
        """Return the fitted network, and its outputs for the rows of X."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        rows = row_access(rows_to_predict(self, X))
        model = model_of(self)
        self._check_widths(model.network, rows)
        dtype = model.dtype_with(rows)
        if rows.dtype not in FLOATS:
            rows = rows.astype(dtype)
        out = np.empty((rows.shape[0], model.network.units[-1]), dtype)
        name = self._device_name(model.network, rows, epochs=0, batch_rows=None)
        try:
            return model, model.forward(rows, out, name, self.n_jobs)
        except FloatingPointError as error:
            validated(self, X, reset=False)  # raises scikit-learn's error, if it looks at all
            raise ValueError(str(error)) from error

    def compiled_predictor(self) -> Predictor:
        """Bind a copy of the weights to compiled code that predicts single rows in microseconds.

        Returns
        -------
        predictor : Predictor
            ``predictor(X, out=None)`` returns what `predict` of a regressor or `predict_proba` of a
            classifier returns, for several rows or one row, in the dtype of the weights. It does
            not validate its input, later fits do not change it, and threads may share it.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.

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
        """Return how a `Predictor` transforms a row's outputs."""
        return PLAIN

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@contextmanager
def all_or_nothing(estimator):
    """Restore the estimator's attributes if the block fails."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        estimator.__dict__ = before  # in one step: another Ctrl-C may come at any time
        raise
