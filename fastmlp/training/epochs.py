"""Training epoch by epoch, until there is no more improvement."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..devices.device import Device, Rows
from ..notices import warn
from .optimizer import OptimizerState
from .progress import Progress


@dataclass(frozen=True)
class Plan:
    """How long to train, and when to stop."""

    max_iter: int
    tol: float
    n_iter_no_change: float
    shuffle: bool = True
    one_epoch: bool = False
    verbose: int = 0

    def say(self, message: str, epoch: int = 0) -> None:
        """Print if verbose; messages about epochs only for the first and every `verbose`-th."""
        if self.verbose and (epoch <= 1 or epoch % self.verbose == 0):
            print(message)


def batches_with_weight(order: np.ndarray, weights: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the rows of `order` without the batches in which every row has weight 0.

    Such a batch has no mean loss: it is skipped and not counted.
    """
    starts = np.arange(0, len(order), batch_size)
    kept = np.logical_or.reduceat(weights[order] != 0, starts)
    return order[np.repeat(kept, np.diff(np.append(starts, len(order))))]


def fit_epochs(
    device: Device,
    rows: Rows,
    order: np.ndarray,
    plan: Plan,
    progress: Progress,
    random_state: np.random.RandomState,
    score: Callable[[], float] | None = None,
) -> tuple[np.ndarray | None, bool]:
    """Train epoch by epoch until there is no more improvement.

    Parameters
    ----------
    device : Device
        Holds the parameters and updates them; its optimizer's learning rate follows the schedule.
    rows : Rows
        The data.
    order : ndarray of int64
        The rows to train on. Each epoch's shuffle permutes the order of the epoch before.
    plan : Plan
        How long to train.
    progress : Progress
        The progress so far, updated in place.
    random_state : RandomState
        Draws one permutation per epoch.
    score : callable, optional
        Returns the validation score of the device's parameters. If given, this score decides when
        to stop.

    Returns
    -------
    best : ndarray or None
        Packed parameters at the best validation score, if there was one.
    exhausted : bool
        Whether `max_iter` epochs ended before training converged.
    """
    best = None
    progress.epochs = 0
    weights = rows.weights
    if weights is not None and weights.all():
        weights = None  # every batch has some weight
    try:
        for _ in range(plan.max_iter):
            if plan.shuffle:
                order = order[random_state.permutation(len(order))]
            visited = order
            if weights is not None:
                assert device.batch_size is not None  # None only in a device for prediction
                visited = batches_with_weight(order, weights, device.batch_size)
            loss = device.train(rows, visited) / len(visited)
            progress.record_loss(loss, len(order), plan.tol)
            progress.learning_rates.append(device.optimizer.last_rate)
            plan.say(f"Iteration {progress.epochs}, loss = {loss:.8f}", progress.epochs)
            if score is not None:
                reached = score()
                if progress.record_score(reached, plan.tol):
                    best = device.parameters()
                plan.say(f"Validation score: {reached:f}", progress.epochs)
            if not _go_on(device.optimizer, plan, progress):
                return best, False
            if plan.one_epoch:
                return best, False
        return best, True
    except KeyboardInterrupt:
        warn("Training interrupted by user.")
        return best, False


def _go_on(optimizer: OptimizerState, plan: Plan, progress: Progress) -> bool:
    """Update the learning rate by its schedule; return False if training should stop."""
    reached = progress.loss if progress.scores is None else -progress.scores[-1]
    optimizer.schedule = schedule = optimizer.schedule.advanced(reached)
    optimizer.learning_rate = schedule.after_epoch(optimizer.learning_rate, progress.rows_seen)
    if progress.stalled <= plan.n_iter_no_change:
        return True
    what = "Training loss" if progress.scores is None else "Validation score"
    message = (
        f"{what} did not improve more than tol={plan.tol:f} for "
        f"{plan.n_iter_no_change:.0f} consecutive epochs. "
    )
    smaller = schedule.after_stall(optimizer.learning_rate)
    if smaller is None:
        plan.say(message + schedule.farewell)
        return False
    optimizer.learning_rate = smaller
    progress.stalled = 0
    plan.say(message + f"Setting learning rate to {smaller:f}")
    return True
