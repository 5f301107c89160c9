"""The two ways to train an estimator's network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..devices.device import Device
from ..notices import warn
from ..training import (
    UNOBSERVED,
    EpochState,
    OptimizerState,
    Plan,
    Printer,
    Weights,
    fit_epochs,
    fit_lbfgs,
)
from .parameters import batch_rows, check_schedule_of_lbfgs
from .scoring import measurement
from .snapshots import Snapshots, description, planned, usual, with_moments
from .state import (
    keep_progress,
    keep_validation,
    keep_weights,
    last_weights,
    next_averaging,
    next_dropout_seed,
    next_optimizer,
    next_progress,
    no_progress,
)

if TYPE_CHECKING:
    from ..network import Network
    from .base import BaseMLP
    from .holdout import Labelled
    from .hooks import Hooks


class Beginning(NamedTuple):
    """What a fit begins with, whatever its solver.

    Parameters
    ----------
    network : Network
    parameters : ndarray of shape (network.size,)
        Packed initial parameters.
    training : Labelled
        The rows to train on, of which some may be held out.
    validation : Labelled or None
        Rows to validate on, if the user gave some.
    fresh : bool
        Whether it goes on from no earlier fit.
    hooks : Hooks or None
        The callbacks.
    """

    network: Network
    parameters: np.ndarray
    training: Labelled
    validation: Labelled | None
    fresh: bool
    hooks: Hooks | None


def minimise(estimator: BaseMLP, beginning: Beginning) -> np.ndarray:
    """Fit by L-BFGS; return the parameters. Validation rows are measured, but decide nothing."""
    network, parameters, training, validation, fresh, hooks = beginning
    check_schedule_of_lbfgs(estimator)
    if estimator.averaging is not None:
        raise ValueError(
            "solver='lbfgs' does not go by epochs, whose weights averaging needs: use 'adam' or "
            "'sgd'."
        )
    rows = training.rows
    n = rows.X.shape[0]
    device = estimator._device(
        network,
        parameters,
        rows.X,
        epochs=estimator.max_iter,
        regularization=estimator._regularization(network),
        batch_size=min(n, 1024),
    )
    progress = no_progress(validation is not None)

    def keep(target, parameters):
        keep_validation(target, progress.copied())
        target.device_ = device.name
        target.n_iter_ = min(progress.epochs, estimator.max_iter)
        target.loss_ = progress.loss
        if fresh:
            target.t_ = 0
        return parameters

    if hooks is not None:
        hooks.follow(network, progress, keep, snapshot=lambda: None)  # the rest is SciPy's
    result = fit_lbfgs(
        device,
        parameters,
        rows,
        max_iter=estimator.max_iter,
        max_fun=estimator.max_fun,
        tol=estimator.tol,
        validate=validation and measurement(estimator, device, validation),
        progress=progress,
        observer=hooks or UNOBSERVED,
    )
    progress.epochs, progress.loss = result.nit, result.fun
    keep(estimator, result.x)
    if result.status != 0:
        warn(_lbfgs_message(result, estimator.n_iter_, estimator.max_iter), ConvergenceWarning)
    return result.x


def descend(
    estimator: BaseMLP,
    beginning: Beginning,
    incremental: bool,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """Fit by epochs of a stochastic optimiser, or by one if incremental; return the parameters."""
    if estimator.early_stopping and incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    return Descent(estimator, beginning, incremental, random_state).run()


class Standing(NamedTuple):
    """Where a fit stands, besides its rows and random draws.

    Parameters
    ----------
    parameters : ndarray of shape (network.size,)
        Packed parameters after the last step.
    optimizer : OptimizerState
        The optimiser's state, with its moments.
    state : EpochState
        Order of the rows, progress, average, and the best weights.
    dropout_seed : int
        Key of the dropout masks.
    """

    parameters: np.ndarray
    optimizer: OptimizerState
    state: EpochState
    dropout_seed: int


class Descent:
    """A fit by epochs; see `descend` for the parameters."""

    device: Device
    state: EpochState

    def __init__(self, estimator, beginning, incremental, random_state):
        self.estimator, self.beginning = estimator, beginning
        self.incremental, self.random_state = incremental, random_state
        self.regularization = estimator._regularization(beginning.network)
        given = beginning.training, beginning.validation
        self.order, self.validation = estimator._divided(*given, random_state)
        self.batch_size = batch_rows(estimator, len(self.order))
        self.batches = -(-len(self.order) // self.batch_size)
        self.epochs = 1 if incremental else estimator.max_iter
        self.first = last_weights(estimator, beginning.parameters, beginning.fresh)

    def run(self):
        """Train; return the parameters to predict with."""
        estimator, hooks = self.estimator, self.beginning.hooks
        start = self._new()
        if hooks is not None:
            plan = planned(start.optimizer, start.state.averaging, self.batches, estimator.max_iter)
            if hooks.saved is not None:
                start = self._resumed(hooks.saved, plan)
        self._load(start)
        if hooks is not None:
            self._lead(hooks, plan)
        exhausted = fit_epochs(
            self.device,
            self.beginning.training.rows,
            self.state,
            self._plan(),
            self.random_state,
            self.validation and measurement(estimator, self.device, self.validation),
            printer=Printer(every=int(estimator.verbose)),
            observer=hooks or UNOBSERVED,
        )
        self._warn(exhausted)
        return self.keep(estimator, self.device.parameters())

    def _new(self):
        """Return the start of a fit that no checkpoint goes on with."""
        estimator, fresh = self.estimator, self.beginning.fresh
        optimizer = next_optimizer(
            estimator, self.beginning.parameters, fresh, self.incremental, self.batches
        )
        dropout_seed = 0
        if self.regularization.dropout:
            dropout_seed = next_dropout_seed(estimator, fresh, optimizer, self.random_state)
        progress = next_progress(estimator, fresh, self.validation is not None)
        state = EpochState(self.order, progress, next_averaging(estimator, self.first))
        return Standing(self.first.trained, optimizer, state, dropout_seed)

    def _resumed(self, saved, plan):
        """Return where the checkpoint's fit stands, after a check that it is this one."""
        estimator, (network, _, training, _, fresh, _) = self.estimator, self.beginning
        X = training.rows.X
        device = estimator._device_name(network, X, self.epochs, self.batch_size)
        of = description(estimator, device, training.rows, fresh)
        saved.check(of, usual(estimator), plan, estimator.max_iter)
        self.random_state.set_state(saved.draws)
        return Standing(saved.parameters, saved.optimizer, saved.state, saved.dropout_seed)

    def _load(self, start):
        """Load the device with what training goes on with."""
        if self.regularization.dropout:
            self.estimator._dropout_seed = start.dropout_seed
        self.state = start.state
        self.device = self.estimator._device(
            self.beginning.network,
            start.parameters,
            self.beginning.training.rows.X,
            epochs=self.epochs,
            optimizer=start.optimizer,
            regularization=self.regularization,
            dropout_seed=start.dropout_seed,
            batch_size=self.batch_size,
        )

    def _lead(self, hooks, plan):
        """Let the callbacks follow this fit, and take snapshots of it."""
        snapshots = Snapshots(
            self.estimator,
            self.device,
            self.state,
            self.beginning.training.rows,
            self.beginning.fresh,
            self.random_state,
            hooks.first_draws,
            plan,
        )
        hooks.follow(self.beginning.network, self.state.progress, self.keep, snapshots)

    def _plan(self):
        estimator = self.estimator
        # Rows that lie elsewhere are numbered by a range, and are shuffled where they lie.
        return Plan(
            estimator.max_iter,
            estimator.tol,
            estimator.n_iter_no_change,
            shuffle=bool(estimator.shuffle) and not isinstance(self.order, range),
            one_epoch=self.incremental,
        )

    def _warn(self, exhausted):
        """Warn of an end without convergence, or without scores."""
        estimator = self.estimator
        if exhausted:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
                "reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
            )
        if estimator.early_stopping and self.state.progress.scores_are_undefined:
            warn(
                "No epoch has a validation score that is a number, so the last weights are kept. "
                "Are there too few validation rows or classes for "
                f"scoring={estimator.scoring!r}?"
            )

    def keep(self, target: Any, trained: np.ndarray) -> np.ndarray:
        """Set the attributes of a fit that ends here; return the parameters to predict with.

        Parameters
        ----------
        target : object
            The estimator, or another object for attributes.
        trained : ndarray of shape (network.size,)
            Packed parameters after the last step.
        """
        state = self.state
        target.device_ = self.device.name
        target._optimizer = with_moments(self.device)
        # What a callback gets of a fit that goes on is not changed by later epochs.
        ended = target is self.estimator
        keep_progress(target, state.progress if ended else state.progress.copied())
        kept = Weights(trained, trained)
        if state.averaging is not None:
            kept = state.averaging.weights._replace(trained=trained)
        if self.estimator.early_stopping and not state.progress.scores_are_undefined:
            kept = state.best or self._unscored or kept
        keep_weights(target, kept if state.averaging is not None else None)
        return kept.averaged

    @property
    def _unscored(self):
        """What to keep of early stopping without a best score; None for the last weights.

        Without a score that is a number and better than the last fit's, scikit-learn keeps the
        initial weights of a new fit, whose predictions are not finite then, and the final weights
        of a warm start. It fails if all validation rows have weight 0; here the final weights are
        kept.
        """
        return self.first if self.beginning.fresh and _have_weight(self.validation) else None


def _have_weight(rows):
    weights = rows.rows.weights
    return weights is None or weights.any()


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
