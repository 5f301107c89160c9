"""A file from which a fit that was killed goes on."""

from __future__ import annotations

import os
import pickle
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..estimators.hooks import EPOCH, SYNCHRONISATION, running_fit
from ..estimators.snapshots import Snapshot
from ..files import whole_file
from .base import Callback

if TYPE_CHECKING:
    from sklearn.callback import CallbackContext

#: The beginning of a file, with the number of its format.
_HEAD = b"fastmlp checkpoint 2\n"


class Checkpoint(Callback):
    """Keeps the state of a fit in a file, from which a later fit of the same goes on.

    With ``resume=True``, a script that was killed is simply run again: if the file exists, the fit
    goes on from its epoch, otherwise it begins from the start. It ends with the same bits as a fit
    that was never killed. A fit that had ended already ends at once, with the same result. To
    begin from the start, delete the file.

    A fit that ended at `max_iter` goes on if that is larger now, with the same bits as one that had
    the larger one from the start. This needs a fit in which `max_iter` decides nothing but the end.
    It also decides about the learning rates of schedules that end, such as "cosine" and
    "one_cycle", unless they are objects with `epochs` of their own; and about an `averaging_start`
    that is a fraction of it. Then another `max_iter` is refused, as is one below the file's epochs.

    In a search, or in anything else that fits several times, the path is a folder: each fit has a
    file of its own there, named by what is fitted. A search that was killed is run again in the
    same way, and goes on with the fits that it had not ended. There a fit with another `max_iter`
    has a file of its own, and begins from the start. Let `random_state` be a number: two fits with
    None that are otherwise the same have one file.

    The file has everything that the rest of the fit depends on, besides the data: weights, the
    optimiser's moments and step, the schedule's state, the state of the random generator, the
    order of the rows, loss curves and best weights, the average, and the key of dropout. These must
    be as before: parameters of the estimator, except `n_jobs`, `verbose`, `max_iter` as above, and
    a `random_state` that is no number; the rows, their targets and weights; the weights that a warm
    start begins with; the device. Custom functions are compared by what they compute, other objects
    by their text. Validation rows are not compared.

    Parameters
    ----------
    path : str or Path
        The file of a single fit, or an existing folder. A file is written whole or not at all:
        first under a temporary name in the same folder, which may remain if the process is killed
        meanwhile, and only its user may read it.
    every : int, default=1
        After how many epochs it is written. It is also written when the fit ends, but never with
        weights that are not finite.
    resume : bool, default=False
        Whether to go on from the file, if it exists. Otherwise it is replaced.

    Raises
    ------
    ValueError
        In `fit`: if the file is not a checkpoint or is one of another fit, or for "lbfgs", whose
        state SciPy does not give away.
    FileNotFoundError
        If the path ends as a folder's does, and there is none; in `fit`, if the folder of the file
        does not exist.

    Warnings
    --------
    A checkpoint is a pickle, and reading it can run any code: resume only from files that nobody
    else could have written. It is meant for the version of fastmlp that wrote it.

    Notes
    -----
    `fit` is the only method that it is for. Between calls of `partial_fit`, pickle the estimator.
    To compare the rows, each fit reads them once or twice more, which takes a second or two per
    gigabyte.

    Examples
    --------
    >>> import tempfile
    >>> from fastmlp import MLPRegressor
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(f"{folder}/fit.checkpoint", every=10, resume=True)
    ...     network = MLPRegressor(solver="sgd", random_state=0).set_callbacks(checkpoint)
    ...     once = network.fit(X, y).loss_curve_
    ...     network.fit(X, y).loss_curve_ == once  # at once, as the file has the end
    ...     longer = network.set_params(max_iter=300).fit(X, y).loss_curve_
    True
    >>> longer[: len(once)] == once  # it has gone on from there
    True
    """

    path: Path
    every: int
    resume: bool

    def __init__(self, path: str | os.PathLike[str], *, every: int = 1, resume: bool = False):
        if not isinstance(every, Integral) or every < 1:
            raise ValueError(f"every must be a number of epochs of at least 1, got {every!r}.")
        self.path = Path(path)
        if os.fspath(path).endswith(("/", os.sep)) and not self.path.is_dir():
            raise FileNotFoundError(f"There is no folder {path} for checkpoints: create it first.")
        self.every = int(every)
        self.resume = resume

    def setup(self, estimator: Any, context: CallbackContext) -> None:
        """Check whether the fit can be kept, and read what it is to go on from."""
        fit = running_fit(estimator)
        if estimator.solver == "lbfgs":
            raise ValueError(
                "Checkpoint cannot keep a fit by 'lbfgs', whose state is SciPy's own: use a "
                "stochastic solver, such as 'adam'."
            )
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"There is no folder {self.path.parent} for the checkpoint.")
        file = self._file(fit)
        if self.resume and file.exists():
            fit.saved = _read(file)

    def on_fit_task_end(self, estimator: Any, context: CallbackContext) -> None:
        """Write the file after every `every`-th epoch, and at the end of the fit."""
        fit = running_fit(estimator)
        if context.task_name == SYNCHRONISATION:
            return  # within an epoch, where no other fit can go on
        if context.task_name == EPOCH and fit.progress.epochs % self.every:
            return
        snapshot = fit.snapshot()
        if snapshot is not None and np.isfinite(snapshot.parameters).all():
            _write(self._file(fit), snapshot)

    def _file(self, fit):
        return self.path / f"{fit.identifier}.checkpoint" if self.path.is_dir() else self.path


def _write(path, snapshot):
    with whole_file(path, mode=0o600) as file:
        file.write(_HEAD)
        pickle.dump(snapshot, file, protocol=5)


def _read(path):
    snapshot = cause = None
    with open(path, "rb") as file:
        if file.read(len(_HEAD)) == _HEAD:
            try:
                snapshot = pickle.load(file)
            except Exception as error:  # of any type, if the file was cut short or is older
                cause = error
    if not isinstance(snapshot, Snapshot):
        raise ValueError(
            f"{path} is not a checkpoint of this version of fastmlp, or not all of one. Delete it "
            "to begin from the start."
        ) from cause
    return snapshot
