"""The estimators: those of `fastmlp`, on collections of Dask."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Self

from ..estimators import MLPClassifier, MLPRegressor
from ..estimators.base import BaseMLP, all_or_nothing
from ..estimators.classifier import if_stochastic
from ..estimators.labels import know_classes, refuse_balanced
from ..estimators.paragraphs import PARAGRAPHS, documented
from .base import CONSTRAINTS, OnDask

PARAGRAPHS["cluster"] = """\
client : distributed.Client or None, default=None
    The cluster to fit on; None for the client that was made last. It is not pickled.
sync_every : int, "epoch" or "auto", default="auto"
    How many batches workers train by themselves before their parameters and moments are averaged,
    weighted by the rows that each has trained on. With 1, all workers do every step together, with
    the gradient of the whole batch: the same as a plain fit on the same order of rows, and slower.
    "auto" measures a batch and a synchronisation, and chooses a number with which at most a tenth
    of the time goes into synchronisations: `sync_every_` says which. It depends on the time
    measured, and so does the result. With a number or "epoch", the result has the same bits from
    run to run, for the same blocks, number of workers and `random_state`."""
PARAGRAPHS["clustered"] = """\
sync_every_ : int
    How many batches workers trained by themselves, except for "lbfgs".
in_memory_ : bool
    Whether the rows were in the memory of the workers. If they are too large for that, blocks are
    computed again in every epoch, in a random order, one ahead of the one that is trained on."""


def _constructor(plain: type[BaseMLP]) -> Callable:
    """Return a constructor with the signature of the plain class's, and the two parameters more.

    scikit-learn reads it, as do editors; the parameters themselves are written once.
    """

    @wraps(vars(plain)["__init__"])
    def constructor(self, *parameters, client=None, sync_every="auto", **named):
        plain.__init__(self, *parameters, **named)
        self.client = client
        self.sync_every = sync_every

    theirs = inspect.signature(vars(plain)["__init__"])
    own = inspect.signature(constructor, follow_wrapped=False).parameters
    more = [own[name] for name in ("client", "sync_every")]
    signature = theirs.replace(parameters=[*theirs.parameters.values(), *more])
    vars(constructor)["__signature__"] = signature
    return constructor


@documented
class DaskMLPClassifier(OnDask, MLPClassifier):
    """Multi-layer perceptron classifier that is fitted on a Dask cluster.

    It takes the place of `fastmlp.MLPClassifier` for rows that one machine cannot hold, or not
    train on quickly enough. It has all its parameters (see there), and two more; all its methods,
    which are lazy on collections; and all its attributes, and two more.

    Parameters
    ----------
    {cluster}

    Attributes
    ----------
    {clustered}

    See Also
    --------
    fastmlp.MLPClassifier : The same on one machine.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from fastmlp.dask import DaskMLPClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> X, y = da.from_array(X, (50, 4)), da.from_array(y, 50)
    >>> with Client(processes=False, n_workers=1, dashboard_address=":0"):
    ...     network = DaskMLPClassifier((20,), solver="lbfgs", random_state=0).fit(X, y)
    ...     float(network.score(X, y)) > 0.95
    True
    """

    __init__ = _constructor(MLPClassifier)
    _plain = MLPClassifier
    _parameter_constraints = MLPClassifier._parameter_constraints | CONSTRAINTS

    @if_stochastic
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch, from the weights and moments of the last call.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like of shape (n_classes,), default=None
            All labels that occur in any call. Required in the first call, optional afterwards.

        Returns
        -------
        self : DaskMLPClassifier
            The estimator after one more epoch.
        """
        with all_or_nothing(self):
            refuse_balanced(self)
            self._given_classes = classes
            return self._fit(X, y, sample_weight, incremental=True)

    def _meet(self, y, incremental):
        if incremental:
            know_classes(self, self._given_classes, y)
        super()._meet(y, incremental)

    def predict_proba(self, X: Any) -> Any:
        """Predict probabilities.

        Parameters
        ----------
        X : dask array or data frame, list of delayed blocks, array-like or sparse matrix
            Data.

        Returns
        -------
        probabilities : dask array or ndarray of shape (n_samples, n_classes)
            As the plain estimator predicts; of a collection lazily, in the same blocks.
        """
        return self._predicted("predict_proba", X)

    def predict_log_proba(self, X: Any) -> Any:
        """Predict the logarithms of the probabilities; see `predict_proba`."""
        return self._predicted("predict_log_proba", X)


@documented
class DaskMLPRegressor(OnDask, MLPRegressor):
    """Multi-layer perceptron regressor that is fitted on a Dask cluster.

    It takes the place of `fastmlp.MLPRegressor`, as `DaskMLPClassifier` does of the classifier.

    Parameters
    ----------
    {cluster}

    Attributes
    ----------
    {clustered}

    See Also
    --------
    fastmlp.MLPRegressor : The same on one machine.
    DaskMLPClassifier : The same for labels, with an example.
    """

    __init__ = _constructor(MLPRegressor)
    _plain = MLPRegressor
    _parameter_constraints = MLPRegressor._parameter_constraints | CONSTRAINTS

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch, from the weights and moments of the last call.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self : DaskMLPRegressor
            The estimator after one more epoch.
        """
        return self._fit(X, y, sample_weight, incremental=True)
