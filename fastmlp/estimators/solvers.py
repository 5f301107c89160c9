"""The two ways to train an estimator's network, and the validation rows of early stopping."""

from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from ..notices import warn
from ..training import Plan, fit_epochs, fit_lbfgs
from .parameters import batch_rows, check_schedule_of_lbfgs
from .state import keep_progress, next_dropout_seed, next_optimizer, next_progress


def minimise(estimator, network, parameters, rows, fresh):
    """Fit by L-BFGS; return the parameters."""
    check_schedule_of_lbfgs(estimator)
    n = rows.X.shape[0]
    device = estimator._device(
        network,
        parameters,
        rows.X,
        epochs=estimator.max_iter,
        regularization=estimator._regularization(network),
        batch_size=min(n, 1024),
    )
    result = fit_lbfgs(
        device,
        parameters,
        rows,
        max_iter=estimator.max_iter,
        max_fun=estimator.max_fun,
        tol=estimator.tol,
    )
    estimator.device_ = device.name
    estimator.n_iter_ = min(result.nit, estimator.max_iter)
    estimator.loss_ = result.fun
    if fresh:
        estimator.t_ = 0
    if result.status != 0:
        warn(_lbfgs_message(result, estimator.n_iter_, estimator.max_iter), ConvergenceWarning)
    return result.x


def descend(estimator, network, parameters, rows, fresh, incremental, random_state):
    """Fit by epochs of a stochastic optimiser; return the parameters."""
    if estimator.early_stopping and incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    regularization = estimator._regularization(network)
    order, validation = held_out(estimator, rows, random_state)
    batch_size = batch_rows(estimator, len(order))
    batches = -(-len(order) // batch_size)
    optimizer = next_optimizer(estimator, parameters, fresh, incremental, batches)
    if regularization.dropout:
        estimator._dropout_seed = next_dropout_seed(estimator, fresh, optimizer, random_state)
        regularization = replace(regularization, seed=estimator._dropout_seed)
    progress = next_progress(estimator, fresh)
    device = estimator._device(
        network,
        parameters,
        rows.X,
        epochs=1 if incremental else estimator.max_iter,
        optimizer=optimizer,
        regularization=regularization,
        batch_size=batch_size,
    )
    plan = Plan(
        estimator.max_iter,
        estimator.tol,
        estimator.n_iter_no_change,
        shuffle=bool(estimator.shuffle),
        one_epoch=incremental,
        verbose=int(estimator.verbose),
    )
    score = None if validation is None else _scorer(estimator, device, rows, validation)
    best, exhausted = fit_epochs(device, rows, order, plan, progress, random_state, score)
    if exhausted:
        warn(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
            "reached and the optimization hasn't converged yet.",
            ConvergenceWarning,
        )
    estimator.device_ = device.name
    optimizer.moments = device.moments()
    estimator._optimizer = optimizer
    keep_progress(estimator, progress)
    if not estimator.early_stopping:
        return device.parameters()
    if best is not None:
        return best
    # No score was a number and better than the last fit's. In this case scikit-learn keeps the
    # initial weights of a new fit, and the final weights of a warm start. It fails if all
    # validation rows have weight 0; here the final weights are kept.
    weightless = rows.weights is not None and not rows.weights[validation].any()
    return parameters if fresh and not weightless else device.parameters()


def held_out(estimator, rows, random_state):
    """Return the indices of the rows to train on, and of those to validate on or None."""
    numbers = np.arange(rows.X.shape[0])
    if not estimator.early_stopping:
        return numbers, None
    binary = hasattr(estimator, "classes_") and estimator.n_outputs_ == 1
    try:
        train, validation = train_test_split(
            numbers,
            random_state=random_state,
            test_size=estimator.validation_fraction,
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


def _scorer(estimator, device, rows, validation):
    """Return a function that scores the device's parameters on the validation rows.

    If all these rows have weight 0, the score is NaN, which is neither an improvement nor a stall.
    """
    targets = rows.targets[validation]
    weights = None if rows.weights is None else rows.weights[validation]
    if weights is not None and not weights.any():
        return lambda: np.nan
    outputs = np.empty(targets.shape, device.dtype)

    def score():
        return estimator._score_outputs(
            device.forward(rows.X, outputs, validation), targets, weights
        )

    return score


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
