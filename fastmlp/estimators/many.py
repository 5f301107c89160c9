"""Fits of many estimators on the same data, or on parts of its rows, in one call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextvars import copy_context
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from sklearn import config_context, get_config
from sklearn.utils import check_random_state

from .. import devices
from ..notices import calling
from .base import BaseMLP
from .folds import Folds
from .parameters import hidden_units
from .problem import check_ours
from .types import LabelsLike, MatrixLike, WeightsLike

Estimator = TypeVar("Estimator", bound=BaseMLP)

#: Seconds between two looks for Ctrl-C: not every system interrupts a thread that waits.
_LOOK = 0.1
#: Weights times rows of an epoch of about 0.1 ms. Where all epochs are shorter, threads wait longer
#: for Python's lock than they save.
BRIEF = 300_000


def fit_many(
    estimators: Iterable[Estimator],
    X: MatrixLike,
    y: LabelsLike,
    rows: Sequence[Any] | None = None,
    *,
    sample_weight: WeightsLike | None = None,
) -> list[Estimator]:
    """Fit many estimators at once, each as its own `fit` would: the results have the same bits.

    On the CPU there is a thread for each core, which fits one estimator after the other; networks
    so small that an epoch takes less than about 0.1 ms are all left to one thread. On a GPU
    (``device="cuda"``), small networks of the same layers, dtype and batch size train together:
    each epoch is one launch for all of them, in which each has a block of threads. Seeds, learning
    rates, penalties, shares of dropout and rows may differ, and one that stops leaves the others to
    go on. Larger networks take turns there, a few at a time.

    Parameters
    ----------
    estimators : iterable of MLPClassifier or MLPRegressor
        The estimators, of both kinds and with any parameters. Each may be there once.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows of all fits.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their targets or labels.
    rows : sequence, default=None
        For each estimator the rows to fit it on, as of a fold or a bootstrap sample: an array of
        row numbers, a boolean mask of shape (n_samples,), or None for all. By default each is
        fitted on all rows.
    sample_weight : float or array-like of shape (n_samples,), default=None
        Weights of the rows in all fits.

    Returns
    -------
    estimators : list
        The estimators, fitted in place.

    Raises
    ------
    TypeError
        If this is no iterable, or one is not an estimator of this package, for instance a pipeline,
        or one on a cluster.
    ValueError
        If one is there twice, or `rows` does not choose rows of X for each.
    Exception
        The first error of a fit, with a note that says which one. It leaves its estimator as it
        was; all others are fitted.
    KeyboardInterrupt
        After Ctrl-C, if some estimators are not fitted. Those whose fits went on have the weights
        they had reached, as always.

    Notes
    -----
    Seeds matter: estimators with the same `RandomState` object, or with ``random_state=None``,
    which is NumPy's global one, draw from it in turn. They are fitted in their order, one after
    the other, as the bits depend on that. Give each a number.

    `n_jobs` is the most threads of one fit, within its share of the cores: with as many estimators
    as cores, or more, each has one thread. Results do not depend on it. Callbacks are called in the
    threads; one that several estimators share is called by several at once.

    Examples
    --------
    A search over a grid with cross-validated scores:

    >>> import numpy as np
    >>> from fastmlp import MLPClassifier, fit_many
    >>> from sklearn.model_selection import ParameterGrid, StratifiedKFold
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((150, 4))
    >>> y = X[:, 0] > X[:, 1]
    >>> grid = list(ParameterGrid({"alpha": [1e-4, 1], "learning_rate_init": [0.01, 0.1]}))
    >>> folds = list(StratifiedKFold(5).split(X, y))
    >>> settings = {"hidden_layer_sizes": (8,), "random_state": 0, "tol": 0.01}
    >>> fits = [MLPClassifier(**settings, **point) for point in grid for _ in folds]
    >>> fits = fit_many(fits, X, y, rows=[train for train, _ in folds] * len(grid))
    >>> tests = [test for _, test in folds] * len(grid)
    >>> scores = [fit.score(X[test], y[test]) for fit, test in zip(fits, tests)]
    >>> means = np.reshape(scores, (len(grid), len(folds))).mean(axis=1)
    >>> grid[means.argmax()]
    {'alpha': 0.0001, 'learning_rate_init': 0.1}

    Ten networks on bootstrap samples, whose votes are averaged:

    >>> samples = rng.integers(len(X), size=(10, len(X)))
    >>> members = [MLPClassifier((8,), random_state=seed, tol=0.01) for seed in range(10)]
    >>> bag = fit_many(members, X, y, rows=list(samples))
    >>> np.mean([member.predict_proba(X) for member in bag], axis=0).shape
    (150, 2)
    """
    if not isinstance(estimators, Iterable):
        given = "a class" if isinstance(estimators, type) else f"one {type(estimators).__name__}"
        raise TypeError(
            f"fit_many fits a list of estimators, got {given}: write fit_many([estimator], X, y)."
        )
    chosen = list(estimators)
    _check(chosen)
    folds = Folds(X, y, devices.on_host(sample_weight), rows, len(chosen))
    with calling():
        Fits(chosen, folds).run()
    return chosen


def _check(estimators):
    """Check that the estimators are ours, and that each is there once."""
    places: dict[int, int] = {}
    for number, estimator in enumerate(estimators):
        try:
            check_ours(estimator)
        except TypeError as error:
            error.add_note(f"This is estimators[{number}] of fit_many.")
            raise
        if not estimator._side_by_side:
            raise TypeError(
                f"estimators[{number}] is a {type(estimator).__name__}, whose fit has a whole "
                "cluster: fit such estimators one after the other, or pass their `to_local()`."
            )
        first = places.setdefault(id(estimator), number)
        if first != number:
            raise ValueError(
                f"estimators[{first}] and estimators[{number}] are the same object, which can have "
                "only one fit: pass clones (sklearn.base.clone)."
            )


def _in_turn(estimators):
    """Return the numbers of the estimators, in lists: one list for those that draw in turn."""
    lists: dict[Any, list[int]] = {}
    for number, estimator in enumerate(estimators):
        state = estimator.random_state
        shared = state is None or isinstance(state, np.random.RandomState)
        key = check_random_state(state) if shared else number
        lists.setdefault(key, []).append(number)
    return list(lists.values())


def _is_brief(estimator, shape):
    """Check whether an epoch on rows of this shape is too short for threads to pay."""
    if len(shape) != 2:
        return False
    try:
        units = [shape[1], *hidden_units(estimator.hidden_layer_sizes), 1]
    except (TypeError, ValueError):  # its fit will say so
        return False
    weights = sum((before + 1) * after for before, after in pairwise(units))
    return shape[0] * weights < BRIEF


# ---- fits ----------------------------------------------------------------------------------------


class Fits:
    """The fits of one call, and the threads that they go on in.

    Parameters
    ----------
    estimators : list
        The estimators.
    folds : Folds
        Their rows.
    """

    def __init__(self, estimators: list[Any], folds: Folds):
        self._estimators, self._folds = estimators, folds
        self._ended: dict[int, BaseException | None] = {}
        self._broken: BaseException | None = None  # why a thread has not done its work
        #: What is still to do: lists of estimators that are fitted in turn, in two queues.
        self._queues: dict[bool, deque[list[int]]] = {False: deque(), True: deque()}
        brief: list[int] = []
        for task in _in_turn(estimators):
            asked = [estimators[number].device for number in task]
            if any(devices.trains_together(name, folds.X) for name in asked):
                self._queues[True].append(task)
            elif all(_is_brief(estimators[number], folds.shape(number)) for number in task):
                brief += task
            else:
                self._queues[False].append(task)
        if brief:
            self._queues[False].append(brief)
        cores = devices.usable_threads(None)
        plain = min(cores, len(self._queues[False]))
        joining = min(devices.MOST_TOGETHER, len(self._queues[True]))
        self._lanes = devices.Lanes(cores // max(1, plain), plain, joining)

    def run(self) -> None:
        """Fit all, and raise the first error.

        Raises
        ------
        BaseException
            The first error of a fit, or KeyboardInterrupt.
        """
        config = get_config()  # of scikit-learn: each thread has its own
        threads = [
            threading.Thread(target=copy_context().run, args=(self._work, lane, config))
            for lane in self._lanes.all
        ]
        while threads and not self._lanes.closed.is_set():
            try:
                self._start(threads)
                # Not `join`: one that is interrupted takes the thread for ended.
                while not self._lanes.closed.wait(_LOOK):
                    pass
            except KeyboardInterrupt:
                self._lanes.interrupt()
        self._raise_first()

    def _start(self, threads):
        """Start all threads, or as many as the system has."""
        for lane, thread in zip(self._lanes.all, threads, strict=True):
            if thread.ident is not None:
                continue
            try:
                thread.start()
            except RuntimeError as error:
                self._broken = error
                lane.close()

    def _work(self, lane, config):
        """Fit one estimator after the other; the life of a thread."""
        try:
            with config_context(**config):
                for task in iter(partial(self._next, self._queues[lane.joining]), None):
                    for number in task:
                        if not self._lanes.interrupted:
                            self._fit(lane, number)
        except BaseException as error:
            self._broken = error
        finally:
            lane.close()

    def _next(self, queue):
        """Return the numbers of estimators to fit in turn, or None if there are no more."""
        try:
            return None if self._lanes.interrupted else queue.popleft()
        except IndexError:
            return None

    def _fit(self, lane, number):
        try:
            rows = self._folds.of(number)
            weights = {} if rows.sample_weight is None else {"sample_weight": rows.sample_weight}
            with lane.fit(rows.fold):
                self._estimators[number].fit(rows.X, rows.y, **weights)
        except BaseException as error:
            self._ended[number] = error
        else:
            self._ended[number] = None

    def _raise_first(self):
        failed = {n: error for n, error in sorted(self._ended.items()) if error is not None}
        missing = len(self._estimators) - len(self._ended)
        interrupts = [n for n, error in failed.items() if isinstance(error, KeyboardInterrupt)]
        if self._lanes.interrupted and (missing or interrupts):
            raise KeyboardInterrupt(
                f"{missing + len(interrupts)} of {len(self._estimators)} estimators of fit_many "
                "are not fitted."
            )
        if missing and self._broken is not None:
            raise self._broken
        if not failed:
            return
        (number, error), *others = failed.items()
        error.add_note(f"This is of the fit of estimators[{number}], {self._estimators[number]!r}.")
        if others:
            places = ", ".join(str(n) for n, _ in others)
            error.add_note(f"The fits of estimators {places} failed as well.")
        try:
            raise error
        finally:
            del error, failed, others  # their tracebacks refer to this frame
            self._ended.clear()
