"""Labels of a classifier: the set of labels, and the labels of each row.

An estimator stores the set in `classes_`, together with scikit-learn's binarizer.
"""

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target, unique_labels

from .validation import LABEL_KINDS


def label_binarizer(y):
    """Return ``LabelBinarizer().fit(y)``, without its overhead for a vector of numbers."""
    binarizer = LabelBinarizer()
    if y.ndim != 1 or y.dtype.kind not in "biu":
        return binarizer.fit(y)
    binarizer.classes_ = np.unique(y)
    binarizer.y_type_ = "multiclass" if len(binarizer.classes_) > 2 else "binary"
    binarizer.sparse_input_ = False
    return binarizer


def labels_in(y, classes):
    """Return ``unique_labels(y)``; or none, quickly, if all of y are in the sorted `classes`."""
    if y.ndim == 1 and y.dtype.kind in LABEL_KINDS and y.dtype.kind == classes.dtype.kind:
        nearest = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
        if (classes[nearest] == y).all():
            return classes[:0]
    return unique_labels(y)


def classes_of(y):
    """Return the classes that `partial_fit` needs: labels, or columns of an indicator matrix."""
    y = np.asarray(y)
    several = y.ndim == 2 and y.shape[1] > 1
    return np.arange(y.shape[1]) if several else np.unique(y)


def know_classes(estimator, classes, y):
    """Store the classes of the first partial_fit, or compare those of a later one."""
    known = getattr(estimator, "classes_", None)
    if known is None and classes is None:
        raise ValueError("classes must be passed on the first call to partial_fit.")
    if known is None:
        labels = y if type_of_target(y).startswith("multilabel") else classes
        estimator._label_binarizer = LabelBinarizer().fit(labels)
        estimator.classes_ = unique_labels(classes)
    elif classes is not None and not np.array_equal(known, unique_labels(classes)):
        raise ValueError(
            f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}"
        )


def check_labels(estimator, labels):
    """Check labels that continue a fit: a warm start needs all earlier ones, others a subset."""
    if estimator.warm_start:
        if set(labels) != set(estimator.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same "
                "classes as in the previous call to fit. Previously "
                f"got {estimator.classes_}, `y` has {labels}"
            )
    elif len(labels) and len(np.setdiff1d(labels, estimator.classes_, assume_unique=True)):
        raise ValueError(
            "`y` has classes not in `self.classes_`. "
            f"`self.classes_` has {estimator.classes_}. 'y' has {labels}."
        )


def indicators(estimator, y):
    """Return a boolean matrix (n, outputs) of the class, or the labels, that each row has.

    For a vector of known labels, this equals the binarizer's `transform`, which would scan y three
    times to find the type of target.
    """
    if y.ndim != 1:
        return estimator._label_binarizer.transform(y).astype(bool)
    codes = np.searchsorted(estimator.classes_, y)[:, np.newaxis]
    if len(estimator.classes_) <= 2:
        return codes == 1
    return codes == np.arange(len(estimator.classes_))
