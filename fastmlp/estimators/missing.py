"""Advice added to scikit-learn's error about missing values: where they are, what replaces them."""

import warnings
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

#: Columns that are named; a table may have thousands.
_NAMED = 5


def add_advice(error: ValueError, estimator: BaseEstimator, X: Any) -> None:
    """Append to `error` which columns of X contain NaN, if that is what it says of X.

    X is searched only here, so that data without missing values cost nothing.
    """
    if not str(error).startswith("Input X contains NaN"):
        return
    table = _numbers(X)
    columns = _columns_with_nan(table)
    names = getattr(estimator, "feature_names_in_", ())
    if len(names) == table.shape[1]:
        columns = names[columns]
    named = ", ".join(repr(name) for name in columns[:_NAMED].tolist())
    more = f" and {len(columns) - _NAMED} more" if len(columns) > _NAMED else ""
    error.args = (
        f"{error}\n"
        f"Columns with NaN: {named}{more}. Put an imputer before the network, for instance: "
        f"make_pipeline(sklearn.impute.SimpleImputer(), {type(estimator).__name__}(...)).",
    )


def _numbers(X):
    """Return X, of any kind that scikit-learn accepts, as an array or sparse matrix of numbers."""
    with warnings.catch_warnings():  # the validation that failed has already warned
        warnings.simplefilter("ignore")
        return check_array(X, accept_sparse="coo", ensure_all_finite=False)


def _columns_with_nan(table):
    if issparse(table):
        return np.unique(table.col[np.isnan(table.data)])
    return np.flatnonzero(np.isnan(table).any(axis=0))
