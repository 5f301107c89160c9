"""The estimators: those of `fastmlp`, on collections of Dask."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Self

from ..estimators import MLPClassifier, MLPRegressor
from ..estimators.base import BaseMLP, all_or_nothing
from ..estimators.classifier import if_stochastic
from ..estimators.holdout import Given
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
PARAGRAPHS["collections"] = """\
X : dask array or data frame, list of delayed blocks, array-like or sparse matrix
    Training data. Blocks of rows may have any sizes, unknown ones too, and may be sparse or empty.
    Blocks that are in the memory of workers stay there. Others are computed on the workers, each of
    which gets neighbouring blocks with about the same number of rows. Arrays are cut into one block
    for each worker."""
PARAGRAPHS["held"] = """\
X_val, y_val, sample_weight_val
    Validation rows as in the plain `fit`, which are evaluated in the client. Collections are
    computed. Without them, ``early_stopping=True`` holds out whole blocks drawn at random, or rows
    where there are few blocks; their rows are not stratified, and are evaluated on the workers."""


def _with_parameters_of(plain: type[BaseMLP]) -> Callable[[Callable], Callable]:
    """Give a constructor the signature of the plain class's, and the two parameters more.

    scikit-learn reads it, as do editors; the parameters themselves are written once.
    """

    def decorate(constructor):
        theirs = inspect.signature(vars(plain)["__init__"])
        own = inspect.signature(constructor).parameters
        more = [own[name] for name in ("client", "sync_every")]
        constructor.__signature__ = theirs.replace(parameters=[*theirs.parameters.values(), *more])
        return constructor

    return decorate


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

    _plain = MLPClassifier
    _parameter_constraints = MLPClassifier._parameter_constraints | CONSTRAINTS

    @_with_parameters_of(MLPClassifier)
    def __init__(self, *parameters, client=None, sync_every="auto", **named):
        super().__init__(*parameters, **named)
        self.client = client
        self.sync_every = sync_every

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Fit the network on the cluster.

        Parameters
        ----------
        {collections}
        y : dask array or series, list of delayed blocks, or array-like
            Class labels, or an indicator matrix of labels, in the blocks of X. An array is cut like
            X, if the sizes of the blocks are known; so are other chunks.
        sample_weight : as y, or float, default=None
            Weight of each row in the loss.
        {held}

        Returns
        -------
        self : DaskMLPClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            As by `fastmlp.MLPClassifier.fit`; or if there is no client, or blocks differ in their
            features.
        RuntimeError
            If there are no workers, or all of them were lost.

        After any of these exceptions, the estimator is unchanged. If only some workers are lost,
        the fit goes on, and warns.
        """
        return self._fit(X, y, sample_weight, Given(X_val, y_val, sample_weight_val))

    @if_stochastic
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch, from the weights and moments of the last call.

        Parameters
        ----------
        {collections}
        y, sample_weight
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

    _plain = MLPRegressor
    _parameter_constraints = MLPRegressor._parameter_constraints | CONSTRAINTS

    @_with_parameters_of(MLPRegressor)
    def __init__(self, *parameters, client=None, sync_every="auto", **named):
        super().__init__(*parameters, **named)
        self.client = client
        self.sync_every = sync_every

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Fit the network on the cluster.

        Parameters
        ----------
        {collections}
        y : dask array, series or data frame, list of delayed blocks, or array-like
            Targets, in the blocks of X. An array is cut like X, if the sizes of the blocks are
            known; so are other chunks.
        sample_weight : as y, or float, default=None
            Weight of each row in the loss.
        {held}

        Returns
        -------
        self : DaskMLPRegressor
            The fitted estimator.

        Raises
        ------
        ValueError, RuntimeError
            As by `DaskMLPClassifier.fit`. The estimator is then unchanged.
        """
        return self._fit(X, y, sample_weight, Given(X_val, y_val, sample_weight_val))

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch, from the weights and moments of the last call.

        Parameters
        ----------
        {collections}
        y, sample_weight
            As in `fit`.

        Returns
        -------
        self : DaskMLPRegressor
            The estimator after one more epoch.
        """
        return self._fit(X, y, sample_weight, incremental=True)
