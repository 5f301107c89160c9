"""The two ways to train an estimator's network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sklearn.exceptions import ConvergenceWarning

from ..devices.device import Device
from ..notices import warn
from ..training import UNOBSERVED, EpochState, Plan, Printer, Weights, fit_epochs, fit_lbfgs
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
    from .base import BaseMLP


def minimise(estimator, network, parameters, training, validation, fresh, hooks):
    """Fit by L-BFGS; return the parameters. Validation rows are measured, but decide nothing."""
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


@dataclass
class Descent:
    """A fit by epochs.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    device : Device
        The device that trains.
    state : EpochState
        Where training stands.
    unscored : Weights or None
        What to keep if there is no best score; None for the last weights.
    """

    estimator: BaseMLP
    device: Device
    state: EpochState
    unscored: Weights | None

    def keep(self, target, trained):
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
            kept = state.best or self.unscored or kept
        keep_weights(target, kept if state.averaging is not None else None)
        return kept.averaged


def descend(
    estimator, network, parameters, training, validation, fresh, hooks, incremental, random_state
):
    """Fit by epochs of a stochastic optimiser; return the parameters."""
    if estimator.early_stopping and incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    regularization = estimator._regularization(network)
    rows = training.rows
    order, validation = estimator._divided(training, validation, random_state)
    batch_size = batch_rows(estimator, len(order))
    batches = -(-len(order) // batch_size)
    optimizer = next_optimizer(estimator, parameters, fresh, incremental, batches)
    dropout_seed = 0
    if regularization.dropout:
        dropout_seed = next_dropout_seed(estimator, fresh, optimizer, random_state)
    first = last_weights(estimator, parameters, fresh)
    progress = next_progress(estimator, fresh, validation is not None)
    state = EpochState(order, progress, next_averaging(estimator, first))
    start = first.trained
    epochs = 1 if incremental else estimator.max_iter
    if hooks is not None:
        plan = planned(optimizer, state.averaging, batches, estimator.max_iter)
    if hooks is not None and hooks.saved is not None:
        name = estimator._device_name(network, rows.X, epochs, batch_size)
        of = description(estimator, name, rows, fresh)
        hooks.saved.check(of, usual(estimator), plan, estimator.max_iter)
        start, optimizer, state = hooks.saved.parameters, hooks.saved.optimizer, hooks.saved.state
        dropout_seed = hooks.saved.dropout_seed
        random_state.set_state(hooks.saved.draws)
    if regularization.dropout:
        estimator._dropout_seed = dropout_seed
    device = estimator._device(
        network,
        start,
        rows.X,
        epochs=epochs,
        optimizer=optimizer,
        regularization=regularization,
        dropout_seed=dropout_seed,
        batch_size=batch_size,
    )
    # Without a score that is a number and better than the last fit's, scikit-learn keeps the
    # initial weights of a new fit, whose predictions are not finite then, and the final weights of
    # a warm start. It fails if all validation rows have weight 0; here the final weights are kept.
    unscored = first if estimator.early_stopping and fresh and _have_weight(validation) else None
    descent = Descent(estimator, device, state, unscored)
    if hooks is not None:
        draws = random_state, hooks.first_draws
        snapshot = Snapshots(estimator, device, state, rows, fresh, *draws, plan)
        hooks.follow(network, state.progress, descent.keep, snapshot)
    validate = validation and measurement(estimator, device, validation)
    exhausted = fit_epochs(
        device,
        rows,
        state,
        _plan(estimator, incremental, order),
        random_state,
        validate,
        printer=Printer(every=int(estimator.verbose)),
        observer=hooks or UNOBSERVED,
    )
    if exhausted:
        warn(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
            "reached and the optimization hasn't converged yet.",
            ConvergenceWarning,
        )
    if estimator.early_stopping and state.progress.scores_are_undefined:
        warn(
            "No epoch has a validation score that is a number, so the last weights are kept. Are "
            f"there too few validation rows or classes for scoring={estimator.scoring!r}?"
        )
    return descent.keep(estimator, device.parameters())


def _plan(estimator, incremental, order):
    # Rows that lie elsewhere are numbered by a range, and are shuffled where they lie.
    return Plan(
        estimator.max_iter,
        estimator.tol,
        estimator.n_iter_no_change,
        shuffle=bool(estimator.shuffle) and not isinstance(order, range),
        one_epoch=incremental,
    )


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
