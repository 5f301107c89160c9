"""Our classes in the place of scikit-learn's, for programs that are not to be changed."""

import sklearn.neural_network

from .estimators import MLPClassifier, MLPRegressor

__all__ = ["patch_sklearn", "unpatch_sklearn"]

_OURS = {kind.__name__: kind for kind in (MLPClassifier, MLPRegressor)}
_THEIRS = {name: getattr(sklearn.neural_network, name) for name in _OURS}


def patch_sklearn() -> None:
    """Put our `MLPClassifier` and `MLPRegressor` into `sklearn.neural_network`.

    From then on, ``from sklearn.neural_network import MLPClassifier`` imports ours. Names that were
    imported before stay scikit-learn's: call it first. Estimators of scikit-learn that were pickled
    are loaded as such.

    See Also
    --------
    unpatch_sklearn : Takes it back.

    Examples
    --------
    >>> import fastmlp
    >>> fastmlp.patch_sklearn()
    >>> from sklearn.neural_network import MLPClassifier
    >>> MLPClassifier is fastmlp.MLPClassifier
    True
    >>> fastmlp.unpatch_sklearn()
    """
    for name, kind in _OURS.items():
        setattr(sklearn.neural_network, name, kind)


def unpatch_sklearn() -> None:
    """Put scikit-learn's classes back into `sklearn.neural_network`.

    See Also
    --------
    patch_sklearn : What it takes back.
    """
    for name, kind in _THEIRS.items():
        setattr(sklearn.neural_network, name, kind)
