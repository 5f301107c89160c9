"""Blocks of rows: those of a Dask collection, and what is learned of each where it is computed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from numbers import Number
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed
from distributed import Future, futures_of
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target

from ..estimators.base import BaseMLP
from ..estimators.snapshots import digest
from ..estimators.validation import row_access, weights_of_rows


class Block(NamedTuple):
    """X, y and weights of some rows: as delayed values, or computed and validated.

    Attributes
    ----------
    X, y : Delayed, array or CSR matrix
    weights : Delayed, array, number or None
    rows : int or None
        Their number, if it is known.
    """

    X: Any
    y: Any
    weights: Any = None
    rows: int | None = None


class Summary(NamedTuple):
    """What the client learns of a block; its rows stay where they are.

    Attributes
    ----------
    rows, features, nbytes : int
        Size of X.
    dtype : dtype
        Of X.
    sparse : bool
        Whether X is sparse.
    names : ndarray of str or None
        Names of the features.
    y : ndarray
        A small y that stands for the block's: its labels, or two rows.
    counts : ndarray or None
        How many rows have each of the labels, for labels in a vector.
    weight : float
        Sum of the rows' weights, or their number.
    digest : str
        Of y and the weights.
    warned : list of (str, type)
        Warnings while it was validated.
    """

    rows: int
    features: int
    nbytes: int
    dtype: np.dtype
    sparse: bool
    names: np.ndarray | None
    y: np.ndarray
    counts: np.ndarray | None
    weight: float
    digest: str
    warned: list[tuple[str, type[Warning]]]


def is_collection(X: Any) -> bool:
    """Return whether X is a collection of Dask, or a list of delayed blocks."""
    if isinstance(X, list | tuple):
        return len(X) > 0 and all(isinstance(block, Delayed | Future) for block in X)
    return dask.is_dask_collection(X)


def blocks_of(X: Any, y: Any, sample_weight: Any, arrays: int) -> list[Block]:
    """Return the blocks of the data, in their order.

    Parameters
    ----------
    X : collection, list of delayed blocks, array-like or sparse matrix
        Its blocks of rows are those of all.
    y, sample_weight
        Of any of these kinds. If they are arrays, or have other chunks, they are cut like X.
    arrays : int
        How many blocks to make of an X that has none.

    Raises
    ------
    ValueError
        If the numbers of rows differ, or there is no telling which rows belong together.
    """
    given = [X, y] if sample_weight is None else [X, y, sample_weight]
    if all(map(_is_read_later, given)):
        return [Block(*each) for each in _together(given)]
    if is_collection(X):
        parts, sizes = pieces(X), _sizes(X)
    else:
        n = _length(X)
        bounds = np.linspace(0, n, min(arrays, max(n, 1)) + 1).astype(int)
        parts, sizes = _cut(X, bounds), np.diff(bounds).tolist()
    ys = _like(y, parts, sizes, "y")
    if sample_weight is None or isinstance(sample_weight, Number):
        weights = [sample_weight] * len(parts)
    else:
        weights = _like(sample_weight, parts, sizes, "sample_weight")
    rows = sizes or [None] * len(parts)
    return [Block(*each) for each in zip(parts, ys, weights, rows, strict=True)]


def pieces(collection: Any) -> list[Any]:
    """Return the blocks of rows of a collection, or list of blocks, as delayed values."""
    if isinstance(collection, list | tuple):
        return [dask.delayed(block) for block in collection]
    if isinstance(collection, da.Array) and collection.ndim > 1:
        collection = collection.rechunk(dict.fromkeys(range(1, collection.ndim), -1))
    return np.ravel(np.array(collection.to_delayed(), dtype=object)).tolist()


def _is_read_later(value):
    """Return whether a value is a data frame or series of Dask that is not in memory."""
    return hasattr(value, "divisions") and dask.is_dask_collection(value) and not futures_of(value)


def _together(frames):
    """Return the partitions of several data frames as one optimised graph has them.

    On its own, each may be read in other partitions: Dask puts several files into one if few of
    their columns are used. Together, a file is also read once for all of them.
    """
    if len({frame.npartitions for frame in frames}) > 1:
        raise ValueError(
            f"X, y and sample_weight have {[frame.npartitions for frame in frames]} partitions: "
            "expected the same number, with the same rows. Data frames can be repartitioned."
        )
    first, *others = frames
    joined = first.map_partitions(_tuple, *others, align_dataframes=False, meta=(None, object))
    return [[block[i] for i in range(len(frames))] for block in joined.to_delayed()]


def _tuple(*values):
    return values


def _sizes(X):
    """Return the numbers of rows of the blocks, or None if they are unknown."""
    chunks = getattr(X, "chunks", ((np.nan,),))[0]
    return None if np.isnan(chunks).any() else [int(rows) for rows in chunks]


def _length(X):
    return X.shape[0] if hasattr(X, "shape") else len(X)


def _cut(array, bounds):
    """Return the blocks of an array-like, between the bounds."""
    if hasattr(array, "tocsr"):
        array = array.tocsr()
    elif not hasattr(array, "iloc"):
        array = np.asarray(array)
    rows = getattr(array, "iloc", array)
    return [rows[first:last] for first, last in pairwise(bounds)]


def _like(other, parts, sizes, name):
    """Return the blocks of y or weights that belong to those of X."""
    if is_collection(other):
        own = _sizes(other)
        if sizes is not None and own is not None and own != sizes:
            _check_lengths(sum(sizes), sum(own))
            other = other.rechunk({0: tuple(sizes)})
        blocks = pieces(other)
        if len(blocks) != len(parts):
            raise ValueError(
                f"X has {len(parts)} blocks, but {name} has {len(blocks)}, and not all of their "
                "numbers of rows are known: expected blocks of the same rows. For dask arrays, "
                "compute_chunk_sizes() finds them; data frames can be repartitioned."
            )
        return blocks
    if sizes is None:
        raise ValueError(
            f"{name} is an array, but it is not known how many rows each block of X has: pass "
            f"{name} as a collection with the same blocks."
        )
    _check_lengths(sum(sizes), _length(other))
    return _cut(other, np.cumsum([0, *sizes]))


def _check_lengths(n, other):
    if n != other:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: [{n}, {other}]"
        )


def validated_block(encoder: BaseMLP, X: Any, y: Any, weights: Any) -> tuple[Block, Summary]:
    """Validate a block by the rules of the plain estimator, where it is computed.

    Parameters
    ----------
    encoder : MLPClassifier or MLPRegressor
        A copy of the estimator that is fitted: if it knows features and labels, the block must have
        the same.
    X, y, weights
        The values of the block; X may have no rows.

    Returns
    -------
    block : Block
        The same rows, validated.
    summary : Summary

    Raises
    ------
    ValueError
        As a fit on these rows.
    """
    own = copy(encoder)
    known = hasattr(own, "n_features_in_")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if _length(X) == 0 and _length(y) == 0:
            X, y = _empty(X), np.asarray(y)
            weights = None if weights is None else np.zeros(0)
        else:
            X, y = own._validated(X, y, reset=not known)
            X = row_access(X)
            if known:
                own._check_known(y, "y")
            elif is_classifier(own):
                LabelBinarizer().fit(y)  # for its errors
            weights = weights_of_rows(weights, X)
    block = Block(X, y, weights, X.shape[0])
    warned = [(str(w.message), w.category) for w in caught]
    return block, _summary(own, block, warned)


def _empty(X):
    """Return X without rows as validation would return it."""
    X = X.tocsr() if hasattr(X, "tocsr") else np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got {X.ndim}D array instead: a block of X.")
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def _summary(estimator, block, warned):
    X, y, weights, rows = block
    labels, counts = y[:2], None
    if is_classifier(estimator) and rows:
        if y.ndim == 1:
            labels, counts = np.unique(y, return_counts=True)
        elif type_of_target(y).startswith("multilabel"):
            counts = np.asarray(y.sum(axis=0)).ravel()
            labels = np.array([[0], [1]]).repeat(y.shape[1], axis=1)
    data = getattr(X, "data", X) if hasattr(X, "tocsr") else X
    return Summary(
        rows,
        X.shape[1],
        data.nbytes * (1 if data is X else 2),
        X.dtype,
        hasattr(X, "tocsr"),
        getattr(estimator, "feature_names_in_", None),
        labels,
        counts,
        float(rows if weights is None else weights.sum(dtype=np.float64)),
        f"{digest_of(y)} {digest_of(weights)}",
        warned,
    )


def digest_of(y: Any) -> str:
    """Return a digest of an array, or of the text of one of objects."""
    if y is None:
        return ""
    if hasattr(y, "tocsr"):
        y = y.toarray()
    return digest(y if y.dtype != object else np.array([repr(y.tolist())]))


def agreed(summaries: Sequence[Summary], rows: str = "block") -> Summary:
    """Return the summary of all rows, from those of the blocks.

    Raises
    ------
    ValueError
        If there are no rows, or blocks differ in their features or outputs.
    """
    full = [summary for summary in summaries if summary.rows] or list(summaries[:1])
    first = full[0]
    if not first.rows:
        raise ValueError(
            f"Found array with 0 sample(s) (shape=(0, {first.features})) while a minimum of 1 is "
            "required: all blocks of X are empty."
        )
    for number, summary in enumerate(summaries):
        _check_alike(first, summary, number)
    labels = np.concatenate([summary.y for summary in full])
    return Summary(
        sum(s.rows for s in full),
        first.features,
        sum(s.nbytes for s in full),
        np.result_type(*(s.dtype for s in full)),
        any(s.sparse for s in full),
        first.names,
        labels,
        _counts(full, labels),
        sum(s.weight for s in full),
        "",
        list(dict.fromkeys(w for s in summaries for w in s.warned)),
    )


def _check_alike(first, summary, number):
    if summary.features != first.features:
        raise ValueError(
            f"Block {number} of X has {summary.features} features, but the first block with rows "
            f"has {first.features}: expected the same number in every block."
        )
    if not summary.rows:
        return
    if summary.y.shape[1:] != first.y.shape[1:]:
        raise ValueError(
            f"Block {number} of y has rows of shape {summary.y.shape[1:]}, but the first block "
            f"with rows has {first.y.shape[1:]}: expected the same in every block."
        )
    if not np.array_equal(_names(summary), _names(first)):
        raise ValueError(
            "The feature names should match those of the first block: block "
            f"{number} has {_names(summary).tolist()}, the first {_names(first).tolist()}."
        )


def _names(summary):
    return np.array([] if summary.names is None else summary.names, dtype=object)


def _counts(summaries, labels):
    """Return the number of rows of each label, in the order of the sorted labels."""
    if summaries[0].counts is None:
        return None
    if labels.ndim == 2:
        return np.sum([summary.counts for summary in summaries], axis=0)
    _, places = np.unique(labels, return_inverse=True)
    return np.bincount(places, np.concatenate([s.counts for s in summaries])).astype(np.int64)
