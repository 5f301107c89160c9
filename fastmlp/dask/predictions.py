"""Predictions of collections, block by block, computed when their values are asked for."""

from __future__ import annotations

from copy import copy
from numbers import Number
from typing import Any

import dask
import dask.array as da
import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score

from ..estimators.base import BaseMLP
from ..estimators.validation import FLOATS
from .blocks import blocks_of, pieces


def predicted(estimator: BaseMLP, method: str, X: Any) -> da.Array:
    """Return the predictions of a collection, in blocks like its own.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted plain estimator.
    method : str
        The name of a method that takes X.
    X : collection, or list of delayed blocks
    """
    empty = _like(estimator, method, getattr(X, "dtype", None))
    model, blocks = dask.delayed(estimator), pieces(X)
    rows = getattr(X, "chunks", ((np.nan,) * len(blocks),))[0]
    arrays = [
        da.from_delayed(_of_block(model, method, empty, block), (n, *empty.shape[1:]), meta=empty)
        for block, n in zip(blocks, rows, strict=True)
    ]
    return da.concatenate(arrays, allow_unknown_chunksizes=True)


def scored(estimator: BaseMLP, X: Any, y: Any, sample_weight: Any) -> da.Array:
    """Return the score of a collection as an array of no dimensions: ``float`` computes it.

    Predictions, y and weights are brought together; X is not.
    """
    method = "predict" if is_classifier(estimator) else "_outputs"
    model, empty = dask.delayed(estimator), _like(estimator, method, None)
    blocks = blocks_of(X, y, sample_weight, arrays=1)
    outputs = [_of_block(model, method, empty, block.X) for block in blocks]
    ys = [block.y for block in blocks]
    weights = None if sample_weight is None else [block.weights for block in blocks]
    return da.from_delayed(_score(model, outputs, ys, weights), (), meta=np.empty((), np.float64))


def _like(estimator, method, dtype):
    """Return what a method returns for no rows."""
    bare = copy(estimator)
    vars(bare).pop("feature_names_in_", None)  # the row has none
    dtype = dtype if dtype in FLOATS else estimator.coefs_[0].dtype
    return getattr(bare, method)(np.zeros((1, estimator.n_features_in_), dtype))[:0]


@dask.delayed
def _of_block(estimator, method, empty, X):
    return getattr(estimator, method)(X) if X.shape[0] else empty


@dask.delayed
def _score(estimator, outputs, ys, weights):
    outputs = np.concatenate(outputs)
    y = np.concatenate([np.asarray(each) for each in ys])
    if weights is not None:
        numbers = isinstance(weights[0], Number)
        weights = None if numbers else np.concatenate([np.asarray(each) for each in weights])
    if is_classifier(estimator):
        return np.asarray(accuracy_score(y, outputs, sample_weight=weights))
    targets = estimator._targets(y.astype(np.float64, copy=False), np.float64)
    return np.asarray(estimator._score_outputs(outputs, targets, weights))
