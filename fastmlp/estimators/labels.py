"""Labels of a classifier: the set of labels, and the labels of each row.

An estimator stores the set in `classes_`, together with scikit-learn's binarizer.
"""

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_class_weight, compute_sample_weight
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
    y = y if issparse(y) else np.asarray(y)
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


def check_same_labels(estimator, labels):
    """Check that a warm start has all labels of the fit that it continues, and no others."""
    if set(labels) != set(estimator.classes_):
        raise ValueError(
            "warm_start can only be used where `y` has the same "
            "classes as in the previous call to fit. Previously "
            f"got {estimator.classes_}, `y` has {labels}"
        )


def check_known_labels(estimator, y, name="y"):
    """Check that y, called `name` by the user, has no label that the estimator does not know."""
    labels = labels_in(y, estimator.classes_)
    if len(labels) and len(np.setdiff1d(labels, estimator.classes_, assume_unique=True)):
        raise ValueError(
            f"`{name}` has classes not in `self.classes_`. "
            f"`self.classes_` has {estimator.classes_}. '{name}' has {labels}."
        )


def class_weights(estimator, y):
    """Return the weight of each row of y by its class, or by its labels, as scikit-learn does.

    "balanced" counts the rows of y. A dict may have classes that these rows lack.
    """
    given = estimator.class_weight
    if y.ndim == 2:  # labels: the product of their weights
        return compute_sample_weight(given, y)
    classes = estimator.classes_ if isinstance(given, dict) else np.unique(y)
    weights = compute_class_weight(given, classes=classes, y=y)
    return weights[np.searchsorted(classes, y)]


def refuse_balanced(estimator):
    """Refuse class weights by the rows of a single call to partial_fit."""
    if isinstance(estimator.class_weight, str) and estimator.class_weight == "balanced":
        raise ValueError(
            "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' "
            "weights, use compute_class_weight('balanced', classes=classes, y=y). In place of y "
            "you can use a large enough sample of the full training set target to properly "
            "estimate the class frequency distributions. Pass the resulting weights as the "
            "class_weight parameter."
        )


def indicators(estimator, y):
    """Return a boolean matrix (n, outputs) of the class, or the labels, that each row has.

    For a vector of known labels, this equals the binarizer's `transform`, which would scan y three
    times to find the type of target.
    """
    if not hasattr(estimator, "_label_binarizer"):
        raise ValueError(
            "classes_ was set by hand, so that nothing says which labels the outputs are of: they "
            "predict, but cannot be compared with y. Fit from the start, with warm_start=False."
        )
    if y.ndim != 1:
        return estimator._label_binarizer.transform(y).astype(bool)
    if estimator._label_binarizer.y_type_.startswith("multilabel"):
        raise ValueError("y has one label for each row, expected an indicator matrix of labels.")
    codes = np.searchsorted(estimator.classes_, y)[:, np.newaxis]
    if len(estimator.classes_) <= 2:
        return codes == 1
    return codes == np.arange(len(estimator.classes_))
