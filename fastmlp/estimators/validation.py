"""scikit-learn's validation helpers, with a shortcut for arguments that need no conversion.

In a call with few rows, the helpers take most of the time: each tests for all kinds of data frames,
array libraries and targets that its argument might be. A NumPy array that they would return
unchanged skips them here; everything else is passed to them, and so is everything invalid.
"""

from contextlib import contextmanager
from numbers import Integral, Number

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from ..devices import in_place, is_on_gpu
from ..devices.compressed import check_indices
from ..devices.device import all_finite
from .missing import add_advice

FLOATS = (np.float64, np.float32)
_FLOATS = tuple(np.dtype(kind) for kind in FLOATS)
#: dtype kinds of label arrays: booleans, integers, text.
LABEL_KINDS = "biuU"
NO_WEIGHT = "Sample weights must contain at least one non-zero number."
_SPARE_STATES: list[np.random.RandomState] = []


def validated(estimator, X, *y, reset, **checks):
    """Apply `validate_data` to X, or to X and y."""
    if is_on_gpu(X):
        return _validated_on_gpu(estimator, X, *y, reset=reset, **checks)
    if _is_plain(estimator, X, reset) and all(_is_plain_target(target, len(X)) for target in y):
        estimator.n_features_in_ = X.shape[1]
        return (X, *y) if y else X
    if issparse(X):  # scikit-learn's validation may use its indices unchecked
        check_indices(X)
    try:
        return validate_data(estimator, X, *y, accept_sparse=["csr", "csc"], reset=reset, **checks)
    except ValueError as error:
        add_advice(error, estimator, X)
        raise


def rows_to_predict(estimator, X):
    """Validate X, but leave it to the device to look for NaN and infinity where it can."""
    return X if _has_form(estimator, X, False) else validated(estimator, X, reset=False)


def _validated_on_gpu(estimator, X, *y, reset, multi_output=False, y_numeric=False, **checks):
    """Return X in the form for the CUDA device, in place, and y on the host.

    scikit-learn's validation gets a stand-in with the shape of X. X is not checked for non-finite
    values: the fit fails if the weights become non-finite.
    """
    X = in_place(X)
    stand_in = np.broadcast_to(X.dtype.type(0), X.shape)
    checked = validate_data(
        estimator, stand_in, *y, reset=reset,
        **({"multi_output": multi_output, "y_numeric": y_numeric} if y else {}), **checks,
    )  # fmt: skip
    return (X, checked[1]) if y else X


def _is_plain(estimator, X, reset):
    return _has_form(estimator, X, reset) and all_finite(X)


def _has_form(estimator, X, reset):
    return (
        type(X) is np.ndarray
        and X.dtype in _FLOATS
        and X.ndim == 2
        and X.size > 0
        and not hasattr(estimator, "feature_names_in_")
        and (reset or X.shape[1] == getattr(estimator, "n_features_in_", None))
    )


def _is_plain_target(y, rows):
    if type(y) is not np.ndarray or y.ndim not in (1, 2) or len(y) != rows or y.size == 0:
        return False
    if y.dtype in _FLOATS:
        return all_finite(y)
    return y.ndim == 1 and y.dtype.kind in LABEL_KINDS


@contextmanager
def seeded(random_state):
    """Yield `check_random_state`; for a seed, reuse a RandomState, since creating one is slow."""
    if not isinstance(random_state, Integral):
        yield check_random_state(random_state)
        return
    try:  # after a check whether there is one, another thread could take it first
        state = _SPARE_STATES.pop()
    except IndexError:
        state = np.random.RandomState(0)
    try:
        state.seed(int(random_state))
        yield state
    finally:
        _SPARE_STATES.append(state)


def checked_weights(sample_weight, X):
    """Return weights as a vector of floats, or None; errors have scikit-learn's wording."""
    weights = weights_of_rows(sample_weight, X)
    if weights is not None and not weights.any():
        raise ValueError(NO_WEIGHT)
    return weights


def weights_of_rows(sample_weight, X):
    """Return weights as a vector of floats, all of which may be 0, or None."""
    if sample_weight is None:
        return None
    n = X.shape[0]
    if isinstance(sample_weight, Number):
        weights = np.full(n, sample_weight, np.float64)
    else:
        weights = check_array(
            sample_weight, ensure_2d=False, dtype=FLOATS, order="C", input_name="sample_weight"
        )
    if weights.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weights.ndim}D array. "
            f"Expected either a scalar value or a 1D array of length {n}."
        )
    if weights.shape != (n,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n,)}!")
    return weights


def row_access(X):
    """Return X with access by row: CSC becomes CSR, everything else is unchanged."""
    return X.tocsr() if issparse(X) else X
