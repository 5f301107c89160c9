"""Validation rows of a fit: those that the user gives, or a random share that is held out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.model_selection import train_test_split

from ..devices import is_on_gpu, on_host
from ..training import Rows
from .validation import checked_weights, row_access

if TYPE_CHECKING:
    from .base import BaseMLP


class Labelled(NamedTuple):
    """Rows as devices use them, and their labels or targets as the user gave them.

    Attributes
    ----------
    rows : Rows
    y : ndarray or sparse matrix of shape (n,) or (n, outputs)
    """

    rows: Rows
    y: Any


class Given(NamedTuple):
    """The arguments of `fit` for validation, not yet validated themselves."""

    X: Any = None
    y: Any = None
    sample_weight: Any = None


def given_rows(estimator: BaseMLP, given: Given, like: Rows) -> Labelled | None:
    """Return the validation rows that the user gives, or None.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        It has validated the training rows, and learned their labels.
    given : Given
        The arguments of `fit`.
    like : Rows
        The training rows. The others become sparse or dense like these, with the same dtype.

    Raises
    ------
    ValueError
        If an argument is missing, or invalid for this estimator.
    """
    if given.X is None and given.y is None:
        if given.sample_weight is not None:
            raise ValueError(
                "sample_weight_val is provided, but X_val and y_val were not provided."
            )
        return None
    if given.y is None:
        raise ValueError("X_val is provided, but y_val was not provided.")
    if given.X is None:
        raise ValueError("y_val is provided, but X_val was not provided.")
    try:
        X, y = estimator._validated(given.X, on_host(given.y), reset=False)
        estimator._check_known(y, "y_val")
        targets = estimator._targets(y, X.dtype)
        # Class weights are for the training rows: these rows count as the user says.
        weights = checked_weights(on_host(given.sample_weight), X)
    except ValueError as error:
        raise ValueError(f"X_val, y_val or sample_weight_val is invalid: {error}") from error
    outputs = like.targets.shape[1]
    if targets.shape[1] != outputs:
        raise ValueError(f"y_val has {targets.shape[1]} output(s), but y has {outputs}.")
    return Labelled(Rows(_in_the_form_of(like.X, X), targets, weights), y)


def _in_the_form_of(other, X):
    """Return X sparse or dense, and on the host or not, as a device for `other` reads it."""
    if is_on_gpu(X):
        return X if is_on_gpu(other) else on_host(X).astype(other.dtype, copy=False)
    if sparse.issparse(other):
        X = row_access(X) if sparse.issparse(X) else sparse.csr_array(X)
    elif sparse.issparse(X):
        X = X.toarray()
    return X.astype(other.dtype, copy=False)


def divided(
    estimator: BaseMLP,
    training: Labelled,
    validation: Labelled | None,
    random_state: np.random.RandomState,
) -> tuple[np.ndarray, Labelled | None]:
    """Return the numbers of the rows to train on, and the rows to validate on.

    Only if early stopping needs validation rows and none are given, a share is held out at random.
    It is copied, unlike the rows to train on.
    """
    if validation is not None or not estimator.early_stopping:
        return np.arange(len(training.rows.targets)), validation
    train, held = held_out(estimator, training.rows, random_state)
    (X, targets, weights), y = training
    parts = on_host(X)[held], targets[held], None if weights is None else weights[held]
    return train, Labelled(Rows(*parts), y[held])


def held_out(
    estimator: BaseMLP, rows: Rows, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows to train on, and of those to hold out.

    Raises
    ------
    ValueError
        If too few rows would be left to train or to validate on.
    """
    binary = hasattr(estimator, "classes_") and estimator.n_outputs_ == 1
    try:
        train, validation = train_test_split(
            np.arange(len(rows.targets)),
            random_state=random_state,
            test_size=estimator.validation_fraction,
            # Not the matrix: scikit-learn would make a text of each row, which takes long.
            stratify=rows.targets.ravel() > 0.5 if binary else None,
        )
    except ValueError as error:
        reason = str(error).replace("test_size", "validation_fraction")
        reason = reason.replace(" and train_size=None", "")
        reason = re.sub(r"\[(True|False)\]", r"['\1']", reason)  # as it names the texts
        raise ValueError(f"No rows can be held out for early stopping: {reason}") from error
    if len(validation) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' "
            "or the size of your dataset."
        )
    if rows.weights is not None and not rows.weights[train].any():
        raise ValueError(
            "All rows that are left to train on have weight 0. Choose another random_state, or "
            "leave out rows without weight."
        )
    return train, validation
