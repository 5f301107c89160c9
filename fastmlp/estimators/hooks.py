"""The hooks of scikit-learn's callbacks, called for the tasks of a fit.

The root task is the fit; its subtasks are epochs, or iterations of L-BFGS. An epoch on a cluster
has subtasks of its own: the synchronisations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.callback import with_callbacks

from ..network import Network
from ..notices import warn
from ..training import Observer, Progress, Rows
from .fitted import take_weights
from .snapshots import Snapshot, identifier

if TYPE_CHECKING:
    from .base import BaseMLP


#: Names of tasks: scikit-learn's own of the root, and ours.
FIT, EPOCH, ITERATION, SYNCHRONISATION = "fit", "epoch", "iteration", "synchronisation"


class Hooks(Observer):
    """Calls the hooks of an estimator's callbacks during one fit.

    Until the fit ends, the estimator has it as an attribute: see `running_fit`.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The estimator, whose rows are validated already.
    X, y, sample_weight
        The data as the user gave them, so that `predict` and scorers take them with their names.
    rows : Rows
        The same, validated.
    fresh : bool
        Whether the fit begins with new weights.

    Attributes
    ----------
    saved : Snapshot or None
        What a callback's `setup` asks the fit to go on from.
    first_draws : dict
        The state of the random generator before it draws anything in this fit.
    progress : Progress
        The progress so far, updated by the fit.
    snapshot : callable
        Returns a `Snapshot` of the fit, or None after an interrupt within an epoch.
    start : list
        Arrays of the weights of an earlier fit, if it goes on from these.
    parts : int
        How many parts an epoch has whose ends are told; 0 if only its own end is.
    """

    progress: Progress
    first_draws: dict[str, Any]
    snapshot: Callable[[], Snapshot | None]
    start: list[Any]
    saved: Snapshot | None = None
    parts: int = 0
    _network: Network
    _keep: Callable[[Any, np.ndarray], np.ndarray]

    def __init__(
        self, estimator: BaseMLP, X: Any, y: Any, sample_weight: Any, rows: Rows, fresh: bool
    ):
        self._rows, self._fresh = rows, fresh
        weights = "coefs_", "intercepts_", "activation_params_"
        self.start = [] if fresh else [getattr(estimator, name, None) for name in weights]
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._name = ITERATION if estimator.solver == "lbfgs" else EPOCH
        self._task: Any = None
        self._part: Any = None
        self._stopped = False
        estimator._running = self
        self._root = estimator._init_callback_context(max_subtasks=estimator.max_iter)
        self._root.call_on_fit_task_begin(**self._data)

    @cached_property
    def identifier(self) -> str:
        """A name for this fit, for files: the same in another process that runs it again."""
        return identifier(self._data["estimator"], self._rows, self._fresh)

    def draws_begin(self, random_state: np.random.RandomState) -> None:
        """Note the generator's state, or set it to that of the fit to go on with.

        The initial weights, the validation rows and the key of dropout are then the same again.
        """
        if self.saved is not None:
            random_state.set_state(self.saved.first_draws)
        self.first_draws = random_state.get_state(legacy=False)

    def follow(
        self,
        network: Network,
        progress: Progress,
        keep: Callable[[Any, np.ndarray], np.ndarray],
        snapshot: Callable[[], Snapshot | None],
    ) -> None:
        """Learn what the solver trains.

        Parameters
        ----------
        network : Network
            The network that is trained.
        progress : Progress
            The progress of training.
        keep : callable
            ``keep(target, parameters)`` sets the attributes of a fit that ends with these
            parameters, and returns the parameters to predict with.
        snapshot : callable
            Returns a snapshot of the fit.
        """
        self._network, self.progress = network, progress
        self._keep, self.snapshot = keep, snapshot

    def begins(self) -> None:
        """Begin the task of an epoch or iteration."""
        self._task = self._root.subcontext(task_name=self._name, max_subtasks=self.parts)
        self._task.call_on_fit_task_begin(**self._data)

    def ended(self, parameters: Callable[[], np.ndarray]) -> bool:
        """End the task; return whether a callback stops the fit."""
        task, self._task = self._task, None
        return self._end(task, parameters) or self._stopped

    def part_begins(self) -> None:
        """Begin the task of a synchronisation."""
        self._part = self._task.subcontext(task_name=SYNCHRONISATION)
        self._part.call_on_fit_task_begin(**self._data)

    def part_ended(self, parameters: Callable[[], np.ndarray]) -> bool:
        """End the task of a synchronisation; return whether a callback stops the fit."""
        part, self._part = self._part, None
        self._stopped |= self._end(part, parameters)
        return self._stopped

    def _end(self, task, parameters):
        return task.call_on_fit_task_end(
            **self._data, reconstruction_attributes=partial(self._attributes, parameters)
        )

    def _attributes(self, parameters):
        """Return the attributes of a fit that ends here."""
        reached: Any = SimpleNamespace()
        kept = finite(self._keep(reached, parameters()))
        take_weights(reached, self._network, kept.copy())  # an average or the best go on being used
        return vars(reached)

    def finish(self) -> None:
        """End the fit's task, and before it one that was cut short.

        The estimator is fitted by now: an interrupt does not undo that.
        """
        try:
            for task in (self._part, self._task):
                if task is not None:
                    task.call_on_fit_task_end(**self._data)
            self._root.call_on_fit_task_end(**self._data, reconstruction_attributes={})
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
        del self._data["estimator"]._running


@contextmanager
def torn_down(estimator: BaseMLP) -> Iterator[None]:
    """Call the `teardown` of all callbacks whose `setup` was called in the block, also if it fails.

    A `fit` decorated with `with_callbacks` would be called by scikit-learn's code, and the warnings
    of a fit would point there instead of to the user's line.
    """
    try:
        yield
    finally:
        if hasattr(estimator, "_skl_callbacks"):
            _tear_down(estimator)


@with_callbacks
def _tear_down(estimator):
    """Do nothing but what the decorator does afterwards."""


def finite(parameters: np.ndarray) -> np.ndarray:
    """Return the parameters, or raise scikit-learn's ValueError if some are not finite."""
    if not np.isfinite(parameters).all():
        raise ValueError(
            "Solver produced non-finite parameter weights. The input data may"
            " contain large values and need to be preprocessed."
        )
    return parameters


def running_fit(estimator: Any) -> Hooks:
    """Return the fit of an estimator that is going on now, from within a callback's hook.

    Raises
    ------
    TypeError
        If it is not an estimator of fastmlp during its `fit`.
    """
    hooks = getattr(estimator, "_running", None)
    if not isinstance(hooks, Hooks):
        raise TypeError(
            "Expected an MLPClassifier or MLPRegressor of fastmlp during its fit, got "
            f"{type(estimator).__name__}. In a pipeline, set the callback on the network: "
            "pipeline[-1].set_callbacks(...)."
        )
    return hooks
