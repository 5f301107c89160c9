"""Estimators that were fitted elsewhere: read from a file, or made of scikit-learn's."""

from __future__ import annotations

import os
from typing import Any

from ..files import KEYS, SPECIFICATIONS, FileError, brief, check_keys, read
from ..network import Network
from ..training import OptimizerState, Weights
from .base import BaseMLP
from .classifier import MLPClassifier
from .exchange import CLASSIFIER, REGRESSOR, taken_over
from .regressor import MLPRegressor
from .restoring import restored

#: The classes of which a fitted estimator consists, besides those of NumPy and scikit-learn.
_PARTS = (
    MLPClassifier, MLPRegressor, Network, OptimizerState, Weights,
    *(kind for table in SPECIFICATIONS.values() for kind in table.values()),
)  # fmt: skip
_KINDS: dict[str, type[BaseMLP]] = {kind.__name__: kind for kind in (MLPClassifier, MLPRegressor)}


def load(path: str | os.PathLike[str]) -> MLPClassifier | MLPRegressor:
    """Read a fitted estimator from a file that its method `save` has written.

    Nothing in a file is code: files of others are safe to read. Names and sizes are checked before
    memory is taken, and a file takes little more memory than its own size.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    estimator : MLPClassifier or MLPRegressor
        It predicts the same. If the file was saved with ``training=True``, `partial_fit` and warm
        starts go on to the same bits as if it had never been written.

    Raises
    ------
    FileError
        If the file is not one of fastmlp's, or is of a newer format, cut, damaged or contradicts
        itself. It is a ValueError.
    OSError
        If the file cannot be opened.

    See Also
    --------
    fastmlp.files : The format, for readers in other languages.

    Examples
    --------
    >>> import tempfile
    >>> import fastmlp
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]
    >>> network = fastmlp.MLPRegressor(solver="lbfgs", random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     network.save(f"{folder}/network.npz")
    ...     again = fastmlp.load(f"{folder}/network.npz")
    >>> bool((again.predict(X) == network.predict(X)).all())
    True
    """
    head, arrays = read(path)
    try:
        check_keys(head, KEYS, "its text")
        if head["class"] not in _KINDS:
            raise FileError(
                f"its class is {brief(repr(head['class']))}: a newer fastmlp may have it. Update "
                "fastmlp."
            )
        return restored(_KINDS[head["class"]], head, arrays)
    except FileError as error:
        raise FileError(f"{os.fspath(path)}: {error}") from None
    except ValueError as error:  # of a parameter, or a network
        raise FileError(f"{os.fspath(path)} contradicts itself: {brief(error)}") from error
    except (TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise FileError(
            f"{os.fspath(path)} is damaged, or is not a file that save() has written."
        ) from error


def from_sklearn(estimator: Any) -> MLPClassifier | MLPRegressor:
    """Take over a fitted estimator of `sklearn.neural_network`.

    It goes on where scikit-learn stopped: `partial_fit` with its moments, warm starts with its
    curves. What scikit-learn does not record is NaN: `validation_loss_curve_`, and
    `learning_rates_` if they changed.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
        The fitted estimator, which is not changed.

    Returns
    -------
    estimator : MLPClassifier or MLPRegressor
        The same network with the same parameters.

    Raises
    ------
    TypeError
        If it is another estimator.
    ValueError
        If its parameters are not valid.

    See Also
    --------
    MLPClassifier.to_sklearn : The other way.

    Examples
    --------
    >>> import fastmlp
    >>> from sklearn.neural_network import MLPRegressor
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]
    >>> theirs = MLPRegressor(solver="lbfgs", random_state=0).fit(X, y)
    >>> ours = fastmlp.from_sklearn(theirs)
    >>> bool(abs(ours.predict(X) - theirs.predict(X)).max() < 1e-12)
    True
    """
    if isinstance(estimator, CLASSIFIER):
        return taken_over(MLPClassifier, estimator)
    if isinstance(estimator, REGRESSOR):
        return taken_over(MLPRegressor, estimator)
    raise TypeError(
        "from_sklearn takes an MLPClassifier or MLPRegressor of sklearn.neural_network, got "
        f"{type(estimator).__module__}.{type(estimator).__qualname__}."
    )


def trusted_types() -> list[str]:
    """Return the names of the classes of which a fitted estimator consists.

    skops asks for them, as it loads only what it is told to trust. They run no code of a file;
    functions of your own are not among them.

    Returns
    -------
    names : list of str
        Names with modules, for ``skops.io.load(path, trusted=fastmlp.trusted_types())``.

    Examples
    --------
    >>> import fastmlp
    >>> "fastmlp.estimators.classifier.MLPClassifier" in fastmlp.trusted_types()
    True
    """
    return sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in set(_PARTS))
