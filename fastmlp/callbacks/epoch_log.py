"""Lines about a fit, for the file in which a long job's output is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from numbers import Real
from typing import TYPE_CHECKING, Any

from ..estimators.hooks import EPOCH, FIT, ITERATION, running_fit
from .base import Callback

if TYPE_CHECKING:
    from sklearn.callback import CallbackContext


@dataclass
class _Pace:
    """Where a fit stood when this process began to train, and at the last line."""

    task: str  # "epoch" or "iteration"
    time: float
    epochs: int
    rows: int
    line_time: float = -inf
    line_epochs: int = 0


def _now():
    return time.monotonic()


def _print(line):
    print(line, flush=True)  # at once, also where the output is a file


def _line(context, ends, progress, pace, seconds):
    limit = 0 if ends else context.parent.max_subtasks
    of = f"of at most {limit}" if limit else "was the last"
    so_far = f"{context.estimator_name}: {pace.task} {progress.epochs} {of}"
    parts = [so_far, f"loss {progress.loss:.6g}"]
    if progress.validation_losses and progress.scores:
        parts.append(f"validation loss {progress.validation_losses[-1]:.6g}")
        parts.append(f"score {progress.scores[-1]:.6g} (best in {progress.best_epoch})")
    rows = progress.rows_seen - pace.rows
    if rows and seconds > 0:
        parts.append(f"{rows / seconds:.0f} rows/s")
    parts.append(f"{_clock(seconds)} elapsed")
    if limit:
        each = seconds / (progress.epochs - pace.epochs)
        parts.append(f"at most {_clock(each * (limit - progress.epochs))} left")
    return ", ".join(parts)


def _clock(seconds):
    return str(timedelta(seconds=round(seconds)))


class EpochLog(Callback):
    """Writes a line about a fit from time to time: how far it is, how good, and how fast.

    There is a line after the first epoch, at most one in `every_seconds` after that, and one at the
    end::

        MLPClassifier: epoch 37 of at most 200, loss 0.12345, validation loss 0.13021, score 0.953
        (best in 36), 1250000 rows/s, 0:00:12 elapsed, at most 0:00:53 left

    (without the line break). Validation loss and score appear if there are validation rows. The
    speed is that of the fit so far. "lbfgs" counts iterations, and has no speed.

    Parameters
    ----------
    every_seconds : float, default=10
        The least time between lines; 0 writes one for each epoch.
    write : callable, optional
        Is called with each line. By default lines are printed to the standard output and flushed.
        For the standard library's logging: ``write=logging.getLogger("fastmlp").info``.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> lines = []
    >>> network = MLPRegressor(solver="sgd", max_iter=1000, random_state=0)
    >>> network = network.set_callbacks(EpochLog(every_seconds=60, write=lines.append))
    >>> network = network.fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    >>> lines[0].partition(",")[0]
    'MLPRegressor: epoch 1 of at most 1000'
    """

    every_seconds: float
    write: Callable[[str], object]

    def __init__(
        self, *, every_seconds: float = 10.0, write: Callable[[str], object] | None = None
    ):
        if not (isinstance(every_seconds, Real) and every_seconds >= 0):
            raise ValueError(
                f"every_seconds must be a number of at least 0, got {every_seconds!r}."
            )
        self.every_seconds = every_seconds
        self.write = write or _print
        self._paces: dict[Any, _Pace] = {}  # clones share this object, also in threads

    def on_fit_task_begin(self, estimator: Any, context: CallbackContext) -> None:
        """Note when training begins: with the first epoch, after the data are validated."""
        if context.task_name in (EPOCH, ITERATION) and estimator not in self._paces:
            progress = running_fit(estimator).progress
            start = _now(), progress.epochs, progress.rows_seen
            self._paces[estimator] = _Pace(context.task_name, *start)

    def on_fit_task_end(self, estimator: Any, context: CallbackContext) -> None:
        """Write a line if it is time for one, or if the fit ends."""
        pace, progress, now = self._paces.get(estimator), running_fit(estimator).progress, _now()
        if pace is None or progress.epochs == pace.epochs:
            return  # resumed at its end, or interrupted in the first epoch
        ends = context.task_name == FIT
        due = now - pace.line_time >= self.every_seconds and progress.epochs > pace.line_epochs
        if due or ends:
            pace.line_time, pace.line_epochs = now, progress.epochs
            self.write(_line(context, ends, progress, pace, now - pace.time))

    def teardown(self, estimator: Any, context: CallbackContext) -> None:
        """Forget the fit."""
        self._paces.pop(estimator, None)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_paces": {}}
