"""Training epoch by epoch, until there is no more improvement."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..devices import shuffler
from ..devices.device import Device, Rows
from ..notices import warn
from .averaging import Averaging, Weights
from .observer import UNOBSERVED, Observer
from .optimizer import OptimizerState
from .printer import Printer
from .progress import Progress

SILENT = Printer()


@dataclass(frozen=True)
class Plan:
    """How long to train, and when to stop."""

    max_iter: int
    tol: float
    n_iter_no_change: float
    shuffle: bool = True
    one_epoch: bool = False


@dataclass
class EpochState:
    """Where training stands between two epochs, besides what is on the device.

    Parameters
    ----------
    order : ndarray of int64
        The rows to train on, in the order of the last epoch: each shuffle permutes the one before.
    progress : Progress
        The progress so far.
    averaging : Averaging, optional
        The average of the parameters. It is what is validated.
    best : Weights or None, default=None
        Parameters at the best validation score, if there was one in this fit.
    ended : bool, default=False
        Whether no epoch follows, because training converged or was asked to stop.
    interrupted : bool, default=False
        Whether Ctrl-C ended training, perhaps within an epoch: then no later fit can go on here.
    """

    order: np.ndarray
    progress: Progress
    averaging: Averaging | None = None
    best: Weights | None = None
    ended: bool = False
    interrupted: bool = False


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
    state: EpochState,
    plan: Plan,
    random_state: np.random.RandomState,
    validate: Callable[[np.ndarray], tuple[float, float]] | None = None,
    printer: Printer = SILENT,
    observer: Observer = UNOBSERVED,
) -> bool:
    """Train epoch by epoch until there is no more improvement.

    Parameters
    ----------
    device : Device
        Holds the parameters and updates them; its optimizer's learning rate follows the schedule.
    rows : Rows
        The data.
    state : EpochState
        Where training stands, updated in place.
    plan : Plan
        How long to train.
    random_state : RandomState
        Draws one permutation per epoch.
    validate : callable, optional
        Returns loss and score of packed parameters on validation rows, which are recorded after
        each epoch. Whether they decide when to stop, `state.progress` says.
    printer : Printer, optional
        Prints the messages about epochs and stalls; by default nothing is printed.
    observer : Observer, optional
        Learns when each epoch begins and ends, and may end training.

    Returns
    -------
    exhausted : bool
        Whether `max_iter` epochs ended before training converged.
    """
    progress = state.progress
    shuffled = shuffler(random_state, len(state.order))
    weights = rows.weights
    if weights is not None and weights.all():
        weights = None  # every batch has some weight
    try:
        while progress.epochs < plan.max_iter and not state.ended:
            observer.begins()
            order = shuffled(state.order) if plan.shuffle else state.order
            visited = order
            if weights is not None:
                assert device.batch_size is not None  # None only in a device for prediction
                visited = batches_with_weight(order, weights, device.batch_size)
            loss = device.train(rows, visited) / len(visited)
            state.order = order
            _record(device, state, loss, plan, validate, printer)
            improving = _go_on(device.optimizer, plan, progress, printer)
            state.ended = plan.one_epoch or not improving
            state.ended |= observer.ended(device.parameters)
        return not state.ended
    except KeyboardInterrupt:
        state.interrupted = True
        warn("Training interrupted by user.")
        return False


def _record(
    device: Device,
    state: EpochState,
    loss: float,
    plan: Plan,
    validate: Callable[[np.ndarray], tuple[float, float]] | None,
    printer: Printer,
) -> None:
    """Record the loss of an epoch, and what its parameters reach on validation rows."""
    progress = state.progress
    kept = measured = None
    if validate is not None or state.averaging is not None:
        kept = _weights_of(device, state.averaging, len(progress.loss_curve) + 1)
    if validate is not None and kept is not None:
        measured = validate(kept.averaged)
    progress.record_loss(loss, len(state.order), plan.tol)
    progress.learning_rates.append(device.optimizer.last_rate)
    printer.loss(progress.epochs, loss)
    if measured is not None:  # recorded only now: an interrupt leaves curves of one length
        if progress.record_validation(*measured, plan.tol, len(progress.loss_curve)):
            state.best = kept
        printer.score(progress.epochs, measured[1])


def _weights_of(device: Device, averaging: Averaging | None, epoch: int) -> Weights:
    """Return the parameters after an epoch, and their average or again themselves."""
    trained = device.parameters()
    if averaging is None:
        return Weights(trained, trained)
    return averaging.after_epoch(trained, epoch)


def _go_on(optimizer: OptimizerState, plan: Plan, progress: Progress, printer: Printer) -> bool:
    """Update the learning rate by its schedule; return False if training should stop."""
    scores = progress.scores if progress.early_stopping else None
    reached = -scores[-1] if scores else progress.loss
    optimizer.schedule = schedule = optimizer.schedule.advanced(reached)
    optimizer.learning_rate = schedule.after_epoch(optimizer.learning_rate, progress.rows_seen)
    if progress.stalled <= plan.n_iter_no_change:
        return True
    smaller = schedule.after_stall(optimizer.learning_rate)
    measure = "Validation score" if progress.early_stopping else "Training loss"
    printer.stall(measure, plan.tol, plan.n_iter_no_change, schedule, smaller)
    if smaller is None:
        return False
    optimizer.learning_rate = smaller
    progress.stalled = 0
    return True
