"""The fit loops: epochs of an optimiser, or L-BFGS."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from numpy.typing import DTypeLike

from . import optimizers
from .network import Network
from .notices import warn
from .schedules import Schedule


@dataclass
class OptimizerState:
    """An optimiser at work: what it carries from step to step, and its learning rate.

    Parameters
    ----------
    rule : Optimizer or str
        How parameters follow their gradient. Afterwards an object.
    schedule : Schedule
        What the learning rate does over time.
    learning_rate : float
        η as of this epoch.
    moments : ndarray of shape (rule.moments, network.size)
        Packed, each like the parameters.
    step : int, default=0
        Steps done.
    """

    rule: optimizers.Optimizer
    schedule: Schedule
    learning_rate: float
    moments: np.ndarray
    step: int = 0

    def __post_init__(self):
        self.rule = optimizers.resolve(self.rule)

    def rates(self, count: int) -> np.ndarray:
        """The learning rates of the next `count` steps."""
        return self.schedule.rates(self.learning_rate, self.step, count)

    def __setstate__(self, state):
        if "rule" not in state:  # as version 0.1.0 pickled it
            rule = optimizers.resolve(state["name"])
            fields = {name: state[name] for name in ("schedule", "learning_rate", "step")}
            own = {field: state[field] for field in rule.__dataclass_fields__}
            state = {"rule": replace(rule, **own), "moments": state["moments"][: rule.moments]}
            state |= fields
        self.__dict__.update(state)

    def packed_moments(self, network: Network, dtype: DTypeLike) -> list[np.ndarray]:
        """The moments as packed vectors, as a device takes them over.

        Raises
        ------
        ValueError
            If they, or the number of steps, cannot be those of this network's optimiser.
        """
        count = self.rule.moments
        if np.ndim(self.moments) != 2 or len(self.moments) != count:
            raise ValueError(
                f"The optimiser's moments have shape {np.shape(self.moments)}, expected "
                f"{(count, network.size)}."
            )
        if not (isinstance(self.step, Integral) and 0 <= self.step < 2**62):
            raise ValueError(
                f"The optimiser's step must be a number of steps done, got {self.step!r}."
            )
        return [network.checked(moment, dtype, "moments") for moment in self.moments]


#: Its name in pickles of version 0.1.0.
Optimizer = OptimizerState


class Rows(NamedTuple):
    """The data of a fit: features, encoded targets, and weights or None."""

    X: Any
    targets: np.ndarray
    weights: np.ndarray | None


@dataclass
class Progress:
    """What a fit has reached; it goes on over warm starts and partial fits, but for `epochs`."""

    epochs: int = 0
    rows_seen: int = 0
    loss: float = np.inf
    loss_curve: list = field(default_factory=list)
    best_loss: float | None = np.inf
    scores: list | None = None
    best_score: float | None = None
    stalled: int = 0

    def record_loss(self, loss: float, rows: int, tol: float) -> None:
        """Count an epoch; without validation, notice whether the loss still falls."""
        self.epochs += 1
        self.rows_seen += rows
        self.loss = loss
        self.loss_curve.append(loss)
        if self.scores is None:
            assert self.best_loss is not None  # it is given up only where there are scores
            self.stalled = self.stalled + 1 if loss > self.best_loss - tol else 0
            if loss < self.best_loss:
                self.best_loss = loss

    def record_score(self, score: float, tol: float) -> bool:
        """Keep a validation score; returns whether it is the best so far."""
        assert self.scores is not None
        assert self.best_score is not None
        self.scores.append(score)
        self.stalled = self.stalled + 1 if score < self.best_score + tol else 0
        best = score > self.best_score
        if best:
            self.best_score = score
        return best


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
        """Print if verbose; of epochs, only the first and every `verbose`-th."""
        if self.verbose and (epoch <= 1 or epoch % self.verbose == 0):
            print(message)


def batches_with_weight(order: np.ndarray, weights: np.ndarray, batch_size: int) -> np.ndarray:
    """The rows of `order` without those batches whose rows all have weight 0.

    Such a batch has no mean loss: it changes nothing, and counts for nothing.
    """
    starts = np.arange(0, len(order), batch_size)
    kept = np.logical_or.reduceat(weights[order] != 0, starts)
    return order[np.repeat(kept, np.diff(np.append(starts, len(order))))]


def fit_epochs(
    device: Any,
    rows: Rows,
    order: np.ndarray,
    plan: Plan,
    progress: Progress,
    random_state: np.random.RandomState,
    score: Callable[[], float] | None = None,
) -> tuple[np.ndarray | None, bool]:
    """Train epoch by epoch until nothing improves any more.

    Parameters
    ----------
    device : device
        Holds the parameters and updates them; its optimizer's learning rate follows the schedule.
    rows : Rows
        The data.
    order : ndarray of int64
        The rows to train on. Each epoch's shuffle permutes the order of the epoch before.
    plan : Plan
        How long to train.
    progress : Progress
        Continued in place.
    random_state : RandomState
        Draws one permutation an epoch.
    score : callable, optional
        Returns the validation score of the device's parameters; with it, the score decides when
        to stop.

    Returns
    -------
    best : ndarray or None
        Packed parameters at the best validation score, if one was reached.
    exhausted : bool
        Whether the epochs ran out before training converged.
    """
    best = None
    progress.epochs = 0
    weights = rows.weights
    if weights is not None and weights.all():
        weights = None  # no batch is without
    try:
        for _ in range(plan.max_iter):
            if plan.shuffle:
                order = order[random_state.permutation(len(order))]
            visited = order
            if weights is not None:
                visited = batches_with_weight(order, weights, device.batch_size)
            loss = device.train_epoch(*rows, visited)
            progress.record_loss(loss, len(order), plan.tol)
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
    """Move the learning rate along its schedule; False where training has stalled for good."""
    schedule = optimizer.schedule
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


def fit_lbfgs(
    device: Any, parameters: np.ndarray, rows: Rows, *, max_iter: int, max_fun: int, tol: float
) -> scipy.optimize.OptimizeResult:
    """Minimise the loss over all rows by L-BFGS-B, from `parameters`.

    SciPy keeps its own state in float64 and asks for loss and gradient in the parameters' dtype.
    Interrupted by Ctrl-C, it ends with the weights of the least loss so far, and a warning.
    """
    best = scipy.optimize.OptimizeResult(x=parameters, fun=np.inf, nit=0, status=0)

    def loss_and_gradient(x):
        loss, gradient = device.loss_and_gradient(x, *rows)
        if loss < best.fun:
            best.x, best.fun = x.astype(device.dtype), loss
        return loss, gradient

    def count(intermediate_result):
        best.nit += 1

    try:
        return scipy.optimize.minimize(
            loss_and_gradient,
            parameters,
            method="L-BFGS-B",
            jac=True,
            callback=count,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
    except KeyboardInterrupt:
        if best.fun == np.inf:  # there is nothing yet to keep
            raise
        warn("Training interrupted by user.")
        return best
