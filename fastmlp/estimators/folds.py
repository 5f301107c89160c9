"""The rows of many fits on the same data: each is fitted on all rows, or on some of them."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Number
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from scipy import sparse
from sklearn.utils import check_consistent_length

from .. import devices


@dataclass(eq=False)
class Part:
    """The arguments of one or several fits."""

    X: Any
    y: Any
    sample_weight: Any
    fold: devices.Fold | None


class Folds:
    """The rows of all fits; copies are shared by fits on the same rows, as long as one goes on.

    Parameters
    ----------
    X, y, sample_weight, rows
        The arguments of `fit_many`.
    count : int
        How many estimators there are.

    Raises
    ------
    ValueError
        If `rows` does not choose rows of X for each estimator.
    """

    def __init__(self, X: Any, y: Any, sample_weight: Any, rows: Any, count: int):
        self.X, self._all = X, Part(X, y, sample_weight, None)
        self._numbers = [None] * count
        if rows is not None:
            self._numbers = _all_numbers(self._all, list(rows), count)
        self._copies: WeakValueDictionary[bytes, Part] = WeakValueDictionary()

    def shape(self, number: int) -> tuple[int, ...]:
        """Return the shape of the rows for the estimator of this number; () if X has none."""
        shape, numbers = getattr(self.X, "shape", ()), self._numbers[number]
        return shape if numbers is None else (len(numbers), *shape[1:])

    def of(self, number: int) -> Part:
        """Return the rows for the estimator of this number."""
        numbers = self._numbers[number]
        if numbers is None:
            return self._all
        key = numbers.tobytes()
        copied = self._copies.get(key)
        if copied is None:
            X, y, weights = self._all.X, self._all.y, self._all.sample_weight
            taken = _taken(X, numbers)
            weights = weights if isinstance(weights, Number) else _taken(weights, numbers)
            fold = devices.Fold(taken, X, numbers)
            copied = self._copies[key] = Part(taken, _taken(y, numbers), weights, fold)
        return copied


def _all_numbers(part, rows, count):
    """Return, for each estimator, the numbers of its rows, or None for all."""
    if len(rows) != count:
        raise ValueError(
            f"rows has {len(rows)} entries for {count} estimators: it needs one for each, row "
            "numbers, a boolean mask, or None for all rows."
        )
    weights = [] if isinstance(part.sample_weight, Number) else [part.sample_weight]
    check_consistent_length(part.X, part.y, *weights)  # which skips None
    n = part.X.shape[0] if hasattr(part.X, "shape") else len(part.X)
    return [_numbers(chosen, n, place) for place, chosen in enumerate(rows)]


def _numbers(chosen, n, place):
    """Return the numbers of the rows that one entry of `rows` chooses, or None for all."""
    if chosen is None:
        return None
    index = np.asarray(chosen)
    if index.shape == (0,) and index.dtype.kind != "b":
        index = index.astype(np.intp)  # an empty list has no integers: NumPy makes floats of it
    try:
        numbers = np.arange(n)[index]
    except IndexError as error:
        raise ValueError(
            f"rows[{place}] must be row numbers below {n}, a boolean mask of shape ({n},), or "
            f"None for all rows; as an index of X it gives: {error}."
        ) from error
    if numbers.ndim != 1:
        raise ValueError(
            f"rows[{place}] must be one row of numbers or a mask, got {numbers.ndim} dimensions."
        )
    return numbers


def _taken(data, numbers):
    """Return the rows of an array, matrix, frame or list with these numbers."""
    if data is None:
        return None
    if hasattr(data, "iloc"):
        return data.iloc[numbers]
    if sparse.issparse(data):
        return data.tocsr()[numbers]
    return data[numbers] if hasattr(data, "shape") else [data[number] for number in numbers]
