"""The rows of a part, in windows: one in memory, or a block at a time from where it is stored.

A window is what is in memory at once. The order of an epoch goes through the windows one after the
other, and through the rows of each, so that both cases are the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from ..estimators.holdout import Labelled
from ..training import Rows


class Held(NamedTuple):
    """What is held out of a block of rows for validation.

    Attributes
    ----------
    rows : int
        How many.
    seed : int
        Draws them, if it is not the whole block.
    """

    rows: int
    seed: int

    def of(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the rows to train on, and of those held out, both ascending."""
        drawn = np.random.default_rng(self.seed).permutation(count)
        return np.sort(drawn[self.rows :]), np.sort(drawn[: self.rows])


def selected(window: Labelled, chosen: np.ndarray) -> Labelled:
    """Return the chosen rows; all of them, in their own order, without a copy."""
    (X, targets, weights), y = window
    if len(chosen) == len(targets) and (np.diff(chosen) == 1).all():
        return window
    rows = Rows(X[chosen], targets[chosen], None if weights is None else weights[chosen])
    return Labelled(rows, y[chosen])


def joined(windows: Sequence[Labelled]) -> Labelled:
    """Return all rows of several windows in one; of a single one without a copy."""
    if len(windows) == 1:
        return windows[0]
    xs, targets, weights = zip(*(window.rows for window in windows), strict=True)
    rows = Rows(_stacked(xs), _stacked(targets), None if weights[0] is None else _stacked(weights))
    return Labelled(rows, _stacked([window.y for window in windows]))


def _stacked(arrays):
    if sparse.issparse(arrays[0]):
        return sparse.vstack(arrays, "csr")
    return np.concatenate(arrays)


class Windows:
    """The windows of a part's rows.

    Parameters
    ----------
    counts : list of int
        How many rows each has.
    load : callable
        Returns a window by its number. Called in a thread to read the next window ahead, unless
        there is only one.

    Attributes
    ----------
    counts : ndarray of int64
    """

    def __init__(self, counts: Sequence[int], load: Callable[[int], Any]):
        self.counts = np.array(counts, np.int64)
        self._load = load
        self._loaded: tuple[int, Labelled] | None = None
        self._ahead: tuple[int, Any] | None = None
        self._reader = ThreadPoolExecutor(1, "fastmlp-read-ahead") if len(counts) > 1 else None

    def window(self, number: int, following: int | None = None) -> Labelled:
        """Return a window; begin to read the following one."""
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = None  # lets go of its memory before the next is read
            ahead, self._ahead = self._ahead, None
            if ahead is not None and ahead[0] == number:
                self._loaded = number, ahead[1].result()
            else:
                self._loaded = number, self._load(number)
        if self._reader is not None and following is not None and self._ahead is None:
            self._ahead = following, self._reader.submit(self._load, following)
        return self._loaded[1]


class Order:
    """The order of the rows in an epoch: all windows, and all rows of each.

    Parameters
    ----------
    counts : ndarray of int64
        Rows of each window.
    key : tuple of int or None
        Seeds the shuffles; None for the rows as they are.
    """

    def __init__(self, counts: np.ndarray, key: Sequence[int] | None):
        self._counts, self._key = counts, key
        drawn = np.arange(len(counts))
        if key is not None:
            drawn = np.random.default_rng([*key, 0]).permutation(len(counts))
        self.windows = drawn[counts[drawn] > 0]
        self._bounds = np.cumsum([0, *counts[self.windows]])
        self._shuffled: tuple[int, np.ndarray] = (-1, np.arange(0))

    def of_window(self, window: int) -> np.ndarray:
        """Return the order of a window's rows."""
        if self._shuffled[0] != window:
            count = int(self._counts[window])
            order = np.arange(count)
            if self._key is not None:
                order = np.random.default_rng([*self._key, 1, window]).permutation(count)
            self._shuffled = window, order
        return self._shuffled[1]

    def batch_start(self, batch: int, batch_size: int) -> int:
        """Return the place of the first row of a batch, where none has rows of two windows."""
        batches = np.cumsum([0, *-(-np.diff(self._bounds) // batch_size)])
        place = int(np.searchsorted(batches, batch, "right")) - 1
        if place >= len(self.windows):
            return int(self._bounds[-1])
        return int(self._bounds[place] + (batch - batches[place]) * batch_size)

    def between(self, first: int, last: int) -> Iterator[tuple[int, np.ndarray, int | None]]:
        """Iterate over the windows between two places of the order.

        Yields
        ------
        window : int
        rows : ndarray of int64
            Numbers of its rows, in their order.
        following : int or None
            The window that comes next in the epoch.
        """
        for place, window in enumerate(self.windows):
            begin, end = self._bounds[place : place + 2]
            if begin < last and first < end:
                following = self.windows[place + 1] if place + 1 < len(self.windows) else None
                inside = slice(max(first - begin, 0), min(last, end) - begin)
                yield int(window), self.of_window(int(window))[inside], following


def batches_of(counts: np.ndarray, batch_size: int) -> int:
    """Return how many batches there are if none has rows of two windows."""
    return int((-(-counts // batch_size)).sum())


def shares(counts: Sequence[int], batch_size: int) -> np.ndarray:
    """Return how many rows each part gives to each batch.

    Parameters
    ----------
    counts : list of int
        Rows of each part.
    batch_size : int
        Rows of a batch; the last one has the remaining rows.

    Returns
    -------
    shares : ndarray of int64, shape (batches, parts)
        In proportion to what is left of each part, rounded so that each batch is full: the largest
        remainders are rounded up, of equal ones those of the first parts.

    Examples
    --------
    >>> shares([5, 3], batch_size=3)
    array([[2, 1],
           [2, 1],
           [1, 1]])
    """
    left = np.array(counts, np.int64)
    batches = []
    while total := int(left.sum()):
        size = min(batch_size, total)
        share, remainder = np.divmod(size * left, total)
        share[np.argsort(-remainder, kind="stable")[: size - int(share.sum())]] += 1
        batches.append(share)
        left -= share
    return np.array(batches).reshape(-1, len(left))
