"""scikit-learn's helpers, at once where there is nothing for them to do.

Of a call with few rows, they take most of the time: each looks through all kinds of data frames,
array libraries and targets that its argument might be. A NumPy array that they would return as it
is goes by here; everything else goes to them, and so does everything that is wrong.
"""

from contextlib import contextmanager
from numbers import Integral, Number

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from ..devices import is_on_gpu, load
from ..devices.compressed import check_indices

FLOATS = (np.float64, np.float32)
_FLOATS = tuple(np.dtype(kind) for kind in FLOATS)
#: Kinds of arrays of labels: booleans, integers, text.
LABEL_KINDS = "biuU"
_SPARE_STATES: list[np.random.RandomState] = []


def validated(estimator, X, *y, reset, **checks):
    """`validate_data` of X, or of X and y."""
    if is_on_gpu(X):
        return _validated_on_gpu(estimator, X, *y, reset=reset, **checks)
    if _is_plain(estimator, X, reset) and all(_is_plain_target(target, len(X)) for target in y):
        estimator.n_features_in_ = X.shape[1]
        return (X, *y) if y else X
    if issparse(X):  # scikit-learn's validation may follow its indices
        check_indices(X)
    return validate_data(estimator, X, *y, accept_sparse=["csr", "csc"], reset=reset, **checks)


def on_host(array):
    """The array itself, or a copy on the host of one that lies on a GPU."""
    return load("cuda").to_host(array) if is_on_gpu(array) else array


def _validated_on_gpu(estimator, X, *y, reset, multi_output=False, y_numeric=False, **checks):
    """X as the CUDA device takes it, in place, and y on the host.

    scikit-learn's validation goes on a stand-in of X, which has its shape. Whether X is finite is
    left to the fit, which fails on weights that are not.
    """
    X = load("cuda").in_place(X)
    stand_in = np.broadcast_to(X.dtype.type(0), X.shape)
    checked = validate_data(
        estimator, stand_in, *y, reset=reset,
        **({"multi_output": multi_output, "y_numeric": y_numeric} if y else {}), **checks,
    )  # fmt: skip
    return (X, checked[1]) if y else X


def _is_plain(estimator, X, reset):
    return (
        type(X) is np.ndarray
        and X.dtype in _FLOATS
        and X.ndim == 2
        and X.size > 0
        and not hasattr(estimator, "feature_names_in_")
        and (reset or X.shape[1] == getattr(estimator, "n_features_in_", None))
        and _is_finite(X)
    )


def _is_plain_target(y, rows):
    if type(y) is not np.ndarray or y.ndim not in (1, 2) or len(y) != rows or y.size == 0:
        return False
    if y.dtype in _FLOATS:
        return _is_finite(y)
    return y.ndim == 1 and y.dtype.kind in LABEL_KINDS


def _is_finite(array):
    """Whether the sum is finite; where it overflows, no harm is done by looking closer."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(array.sum())


@contextmanager
def seeded(random_state):
    """`check_random_state`; that of a seed is lent, since making one takes NumPy a while."""
    if not isinstance(random_state, Integral):
        yield check_random_state(random_state)
        return
    try:  # asking first whether there is one would let another thread take it in between
        state = _SPARE_STATES.pop()
    except IndexError:
        state = np.random.RandomState(0)
    try:
        state.seed(int(random_state))
        yield state
    finally:
        _SPARE_STATES.append(state)


def checked_weights(sample_weight, X):
    """Weights as a vector of floats, or None; errors as scikit-learn words them."""
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
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def row_access(X):
    """X with rows at hand: CSC becomes CSR, all else stays as it is."""
    return X.tocsr() if issparse(X) else X
