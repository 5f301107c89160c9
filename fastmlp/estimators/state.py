"""State that a later fit continues: the optimiser of `partial_fit`, the progress of warm starts."""

from __future__ import annotations

from functools import lru_cache
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import optimizers
from ..notices import warn
from ..schedules import schedule
from ..training import Averaging, OptimizerState, Progress, Weights
from .parameters import hidden_units, hint_of_rate, is_scikit_learns

if TYPE_CHECKING:
    from .base import BaseMLP


@lru_cache(maxsize=64)
def _follows_schedule(solver):
    return optimizers.resolve(solver).follows_schedule


@lru_cache(maxsize=64)
def made_from(solver: str | optimizers.Optimizer | None) -> tuple[str, ...]:
    """Return the names of the parameters that this solver's optimiser is made from."""
    if solver == "lbfgs" or solver is None:
        return ()
    scheduled = ("power_t",) if _follows_schedule(solver) else ()
    named = optimizers.resolve(solver).parameters.values() if isinstance(solver, str) else ()
    return "solver", "learning_rate_init", "learning_rate", *scheduled, *named


def _used(estimator, solver):
    """Return the parameters that this solver's optimiser is made from, with their values.

    scikit-learn's three schedules are constant for "adam", as they are there.
    """
    used = {name: getattr(estimator, name) for name in made_from(solver)}
    if used and not _follows_schedule(solver) and is_scikit_learns(estimator):
        used["learning_rate"] = "constant"
    return used


def begin(estimator: BaseMLP) -> None:
    """Record that a new fit begins, with these layers."""
    estimator._in_use = {"hidden_layer_sizes": estimator.hidden_layer_sizes}


def next_optimizer(
    estimator: BaseMLP, parameters: np.ndarray, fresh: bool, incremental: bool, batches: int
) -> OptimizerState:
    """Return the optimiser of the next fit, whose epochs have this number of batches.

    In `partial_fit` it is a copy of the last one to continue with, otherwise a new one; in a warm
    start, a new one that goes on in the last one's schedule.
    """
    last = getattr(estimator, "_optimizer", None)
    if incremental and last is not None and not _weights_were_replaced(estimator, parameters):
        return last.copied()
    used = _used(estimator, estimator.solver)
    estimator._in_use = getattr(estimator, "_in_use", {}) | used
    rule = optimizers.resolve(estimator.solver, **used)
    plan = schedule(used["learning_rate"], estimator.learning_rate_init, estimator.power_t)
    state = OptimizerState(
        rule=rule,
        schedule=plan.planned(batches, estimator.max_iter),
        learning_rate=plan.initial,
        moments=np.zeros((rule.moments, parameters.size), parameters.dtype),
    )
    if not fresh and last is not None and plan.goes_on and plan == last.schedule:
        state.schedule, state.learning_rate = last.schedule, last.learning_rate
        state.earlier = last.earlier + last.step
    return state


def _weights_were_replaced(estimator, parameters):
    """Return whether `coefs_` were set by hand since the fit, to a network of another size."""
    fitted = getattr(estimator, "_fitted_as", None)
    return fitted is None or fitted.size != parameters.size


def warn_of_unused(estimator: BaseMLP, incremental: bool) -> None:
    """Warn if parameters were set since a fit began that have no effect on its continuation.

    scikit-learn also ignores them, but without a warning.
    """
    in_use = getattr(estimator, "_in_use", {})
    if all(getattr(estimator, name) is value for name, value in in_use.items()):
        return
    used = {"hidden_layer_sizes": estimator.hidden_layer_sizes}
    if incremental and estimator.solver != "lbfgs":
        used |= _used(estimator, in_use.get("solver"))
    changed = {
        name: value for name, value in used.items() if name in in_use and value is not in_use[name]
    }
    changed = {name: value for name, value in changed.items() if _differ(name, value, in_use[name])}
    if not changed:
        return
    old, new = (
        ", ".join(f"{name}={values[name]!r}" for name in changed) for values in (in_use, changed)
    )
    how = "partial_fit" if incremental else "A warm start"
    warn(
        f"{how} goes on with {old}, which this estimator began with: {new}, set since, has no "
        "effect. Set it back, or fit a clone of the estimator (sklearn.base.clone) from the start."
        f" {hint_of_rate(changed.get('learning_rate'))}".rstrip()
    )


def _differ(name, value, other):
    if name == "hidden_layer_sizes":  # it has several forms, including arrays
        value, other = hidden_units(value), hidden_units(other)
    return value != other


def no_progress(validated: bool, early_stopping: bool = False) -> Progress:
    """Return the progress of a fit that begins, with or without validation rows."""
    progress = Progress(best_loss=None if early_stopping else np.inf)
    if validated:
        progress.validation_losses, progress.scores = [], []
        progress.best_score = -np.inf
    return progress


def next_progress(estimator: BaseMLP, fresh: bool, validated: bool) -> Progress:
    """Return the progress to continue: none in a new fit, otherwise that of the attributes.

    Scores go on from the last call only if they are of the same kind.
    """
    progress = no_progress(validated, estimator.early_stopping)
    same_kind = getattr(estimator, "_scored_by", None) == estimator.scoring
    estimator._scored_by = estimator.scoring
    if fresh or not hasattr(estimator, "loss_curve_"):
        return progress
    progress.rows_seen = estimator.t_
    progress.loss_curve = list(estimator.loss_curve_)
    progress.learning_rates = list(getattr(estimator, "learning_rates_", ()))
    progress.stalled = estimator._no_improvement_count
    if not estimator.early_stopping and estimator.best_loss_ is not None:
        progress.best_loss = estimator.best_loss_
    scores = getattr(estimator, "validation_scores_", None)
    if validated and same_kind and scores is not None:
        progress.scores = list(scores)
        progress.best_score = estimator.best_validation_score_
        progress.best_epoch = getattr(estimator, "best_iteration_", None)
        progress.validation_losses = list(getattr(estimator, "validation_loss_curve_", None) or [])
    return progress


def scored_by(estimator: BaseMLP) -> Any:
    """Return the parameter `scoring` that the validation scores are of: it may be set since."""
    return getattr(estimator, "_scored_by", estimator.scoring)


def keep_progress(estimator: BaseMLP, progress: Progress) -> None:
    """Write the progress to the fitted attributes."""
    estimator.n_iter_ = progress.epochs
    estimator.t_ = progress.rows_seen
    if progress.epochs:
        estimator.loss_ = progress.loss
    estimator.loss_curve_ = progress.loss_curve
    estimator.learning_rates_ = progress.learning_rates
    estimator.best_loss_ = progress.best_loss
    estimator.validation_scores_ = progress.scores
    estimator.best_validation_score_ = progress.best_score
    estimator._no_improvement_count = progress.stalled
    keep_validation(estimator, progress)


def keep_validation(estimator: BaseMLP, progress: Progress) -> None:
    """Write what was reached on validation rows to the fitted attributes.

    As in scikit-learn, a fit by L-BFGS without validation rows has no attributes of scores.
    """
    estimator.validation_loss_curve_ = progress.validation_losses
    estimator.best_iteration_ = progress.best_epoch
    if progress.scores is not None:
        estimator.validation_scores_ = progress.scores
        estimator.best_validation_score_ = progress.best_score


def last_weights(estimator: BaseMLP, parameters: np.ndarray, fresh: bool) -> Weights:
    """Return the weights to go on from: if `coefs_` is an average, those that it is the average of.

    Weights that were set by hand since are used themselves.
    """
    last = getattr(estimator, "_last_weights", None)
    if fresh or last is None or not np.array_equal(last.averaged, parameters):
        return Weights(parameters, parameters)
    return last


def next_averaging(estimator: BaseMLP, weights: Weights) -> Averaging | None:
    """Return the average that the estimator asks for, which goes on from these weights."""
    if estimator.averaging is None:
        return None
    if estimator.averaging == "ema":
        return Averaging(weights, estimator.averaging_decay)
    start = estimator.averaging_start
    first = int(start) if isinstance(start, Integral) else int(start * estimator.max_iter) + 1
    return Averaging(weights, decay=1.0, first=first)


def keep_weights(estimator: BaseMLP, weights: Weights | None) -> None:
    """Keep the weights to go on from, if those of `coefs_` are an average; otherwise None.

    The average is copied: `coefs_` may be edited in place.
    """
    estimator._last_weights = weights and weights._replace(averaged=weights.averaged.copy())


def next_dropout_seed(
    estimator: BaseMLP,
    fresh: bool,
    optimizer: OptimizerState,
    random_state: np.random.RandomState,
) -> int:
    """Return the key of the dropout masks, which also depend on the optimiser's step.

    It is drawn once, after weights and validation rows. `partial_fit` keeps it, as the step count
    continues: a sequence of such calls has the same masks as one fit. In a warm start the step
    count begins again, so the key is increased by 1 to get new masks, without a random draw that
    would change the shuffles.
    """
    last = getattr(estimator, "_dropout_seed", None)
    if fresh or last is None:
        return int(random_state.randint(2**32, dtype=np.uint32))
    return last if optimizer.step else (last + 1) % 2**32
