"""Labels of a classifier: which there are, and which rows have them.

An estimator notes them down in `classes_`, and scikit-learn's binarizer beside them.
"""

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target, unique_labels

from .validation import LABEL_KINDS


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
    if y.ndim == 1 and y.dtype.kind in LABEL_KINDS and y.dtype.kind == classes.dtype.kind:
        nearest = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
        if (classes[nearest] == y).all():
            return classes[:0]
    return unique_labels(y)


def know_classes(estimator, classes, y):
    """Take over the classes of a first partial_fit, or compare those of a later one."""
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
    """Labels that continue a fit: all those of before in a warm start, else some of them."""
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
    """Which class, or which labels, each row has: (n, outputs), boolean.

    Of a vector of known labels, this is what the binarizer's `transform` gives, without the
    three times that it looks through y for what kind of target it is.
    """
    if y.ndim != 1:
        return estimator._label_binarizer.transform(y).astype(bool)
    codes = np.searchsorted(estimator.classes_, y)[:, np.newaxis]
    if len(estimator.classes_) <= 2:
        return codes == 1
    return codes == np.arange(len(estimator.classes_))
