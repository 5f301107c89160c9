"""The two ways to train an estimator's network."""

from sklearn.exceptions import ConvergenceWarning

from ..notices import warn
from ..training import Plan, Printer, Weights, fit_epochs, fit_lbfgs
from .holdout import divided
from .parameters import batch_rows, check_schedule_of_lbfgs
from .scoring import measurement
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


def minimise(estimator, network, parameters, training, validation, fresh):
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
    result = fit_lbfgs(
        device,
        parameters,
        rows,
        max_iter=estimator.max_iter,
        max_fun=estimator.max_fun,
        tol=estimator.tol,
        validate=validation and measurement(estimator, device, validation),
        progress=progress,
    )
    keep_validation(estimator, progress)
    estimator.device_ = device.name
    estimator.n_iter_ = min(result.nit, estimator.max_iter)
    estimator.loss_ = result.fun
    if fresh:
        estimator.t_ = 0
    if result.status != 0:
        warn(_lbfgs_message(result, estimator.n_iter_, estimator.max_iter), ConvergenceWarning)
    return result.x


def descend(estimator, network, parameters, training, validation, fresh, incremental, random_state):
    """Fit by epochs of a stochastic optimiser; return the parameters."""
    if estimator.early_stopping and incremental:
        raise ValueError("partial_fit does not support early_stopping=True")
    regularization = estimator._regularization(network)
    rows = training.rows
    order, validation = divided(estimator, training, validation, random_state)
    batch_size = batch_rows(estimator, len(order))
    batches = -(-len(order) // batch_size)
    optimizer = next_optimizer(estimator, parameters, fresh, incremental, batches)
    dropout_seed = 0
    if regularization.dropout:
        dropout_seed = next_dropout_seed(estimator, fresh, optimizer, random_state)
        estimator._dropout_seed = dropout_seed
    progress = next_progress(estimator, fresh, validation is not None)
    first = last_weights(estimator, parameters, fresh)
    averaging = next_averaging(estimator, first)
    device = estimator._device(
        network,
        first.trained,
        rows.X,
        epochs=1 if incremental else estimator.max_iter,
        optimizer=optimizer,
        regularization=regularization,
        dropout_seed=dropout_seed,
        batch_size=batch_size,
    )
    plan = Plan(
        estimator.max_iter,
        estimator.tol,
        estimator.n_iter_no_change,
        shuffle=bool(estimator.shuffle),
        one_epoch=incremental,
    )
    validate = validation and measurement(estimator, device, validation)
    printer = Printer(every=int(estimator.verbose))
    best, exhausted = fit_epochs(
        device, rows, order, plan, progress, random_state, validate, averaging, printer
    )
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
    trained = device.parameters()
    kept = averaging.weights._replace(trained=trained) if averaging else Weights(trained, trained)
    if estimator.early_stopping:
        # Without a score that is a number and better than the last fit's, scikit-learn keeps the
        # initial weights of a new fit, and the final weights of a warm start. It fails if all
        # validation rows have weight 0; here the final weights are kept.
        weights = validation.rows.weights
        weightless = weights is not None and not weights.any()
        kept = best or (first if fresh and not weightless else kept)
    keep_weights(estimator, kept)
    return kept.averaged


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
