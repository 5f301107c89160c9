"""scikit-learn's helpers, at once where there is nothing for them to do.

Of a call with few rows, they take most of the time: each looks through all kinds of data frames,
array libraries and targets that its argument might be. A NumPy array that they would return as it
is goes by here; everything else goes to them, and so does everything that is wrong.
"""

from contextlib import contextmanager
from numbers import Integral

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import validate_data

from ..devices import is_on_gpu, load
from ..devices.compressed import check_indices

FLOATS = (np.float64, np.float32)
_FLOATS = tuple(np.dtype(kind) for kind in FLOATS)
#: Kinds of arrays of labels: booleans, integers, text.
_LABELS = "biuU"
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
    return y.ndim == 1 and y.dtype.kind in _LABELS


def _is_finite(array):
    """Whether the sum is finite; where it overflows, no harm is done by looking closer."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.isfinite(array.sum())


def label_binarizer(y):
    """``LabelBinarizer().fit(y)``."""
    binarizer = LabelBinarizer()
    if y.ndim != 1 or y.dtype.kind not in "biu":
        return binarizer.fit(y)
    binarizer.classes_ = np.unique(y)
    binarizer.y_type_ = "multiclass" if len(binarizer.classes_) > 2 else "binary"
    binarizer.sparse_input_ = False
    return binarizer


def labels_in(y, classes):
    """``unique_labels(y)``; or nothing, at once, where all of y are among the sorted `classes`."""
    if y.ndim == 1 and y.dtype.kind in _LABELS and y.dtype.kind == classes.dtype.kind:
        nearest = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
        if (classes[nearest] == y).all():
            return classes[:0]
    return unique_labels(y)


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
