"""Base of both estimators: fits on a cluster, and lazy predictions."""

from __future__ import annotations

from contextlib import ExitStack
from copy import copy
from numbers import Integral
from typing import Any, ClassVar, Self

import dask
import dask.array as da
import numpy as np
from distributed import Client, get_client
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .. import devices
from ..estimators.base import NOTHING, BaseMLP
from ..estimators.holdout import Given, Labelled
from ..estimators.validation import NO_WEIGHT
from ..training import Rows
from .blocks import blocks_of, is_collection
from .cluster import Cluster, Remote
from .held import Examiner, HeldOut, draw_held
from .parts import Parts
from .predictions import predicted, scored

#: Constraints of the parameters that the plain estimators do not have.
CONSTRAINTS: dict[str, Any] = {"client": "no_validation", "sync_every": [str, Integral]}
#: Attributes by which rows are validated and encoded.
_OF_AN_ENCODER = "n_features_in_", "feature_names_in_", "classes_", "_label_binarizer", "n_outputs_"
#: Attributes that are there only during a fit.
_OF_A_FIT = "_parts", "_held", "_shuffle_seed", "_closing", "_given_classes"


class OnDask(BaseMLP):
    """What both estimators have in common: fits on a cluster, and lazy predictions."""

    _side_by_side = False  # a fit has the whole cluster
    _plain: ClassVar[type[BaseMLP]]
    client: Client | None
    sync_every: int | str
    sync_every_: int
    in_memory_: bool
    _parts: Parts
    _closing: ExitStack

    # ---- plain estimators ------------------------------------------------------------------------

    def to_local(self) -> Any:
        """Return the plain estimator: same parameters, same fitted attributes.

        Returns
        -------
        estimator : MLPClassifier or MLPRegressor
            Shares its arrays with this estimator.
        """
        own = self._plain(**self._plain_parameters())
        left_out = {*CONSTRAINTS, *_OF_A_FIT, "sync_every_", "in_memory_"}
        own.__dict__.update({k: v for k, v in vars(self).items() if k not in left_out})
        return own

    def _plain_parameters(self):
        parameters = self.get_params(deep=False)
        return {name: value for name, value in parameters.items() if name not in CONSTRAINTS}

    @classmethod
    def from_local(
        cls, estimator: Any, client: Client | None = None, sync_every: int | str = "auto"
    ) -> Self:
        """Return an estimator that goes on with a plain one, in `partial_fit` or a warm start.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            A plain estimator, fitted or not.
        client, sync_every
            As in the constructor.

        Returns
        -------
        estimator : DaskMLPClassifier or DaskMLPRegressor
            Shares its arrays with the plain one.

        Raises
        ------
        TypeError
            If it is not an estimator of the same kind.
        """
        if not isinstance(estimator, cls._plain):
            raise TypeError(
                f"{cls.__name__} goes on with an {cls._plain.__name__} of fastmlp, got "
                f"{type(estimator).__name__}."
            )
        own = cls(client=client, sync_every=sync_every, **estimator.get_params(deep=False))
        own.__dict__.update(vars(estimator))
        return own

    def __sklearn_clone__(self):
        bare = copy(self)  # a client cannot be copied
        new = BaseEstimator.__sklearn_clone__(bare)
        new.client = self.client
        return new

    def __getstate__(self):
        state = super().__getstate__() | {"client": None}
        return {name: value for name, value in state.items() if name not in _OF_A_FIT}

    # ---- fit -------------------------------------------------------------------------------------

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
        X : dask array or data frame, list of delayed blocks, array-like or sparse matrix
            Training data. Blocks of rows may have any sizes, unknown ones too, and may be sparse or
            empty. Blocks that are in the memory of workers stay there. Others are computed on the
            workers, each of which gets neighbouring blocks with about the same number of rows.
            Arrays are cut into one block for each worker.
        y : dask array, series or data frame, list of delayed blocks, or array-like
            Class labels, an indicator matrix of labels, or targets, in the blocks of X. An array is
            cut like X, if the sizes of the blocks are known; so are other chunks.
        sample_weight : as y, or float, default=None
            Weight of each row in the loss.
        X_val, y_val, sample_weight_val
            Validation rows as in the plain `fit`, which are evaluated in the client. Collections
            are computed. Without them, ``early_stopping=True`` holds out whole blocks drawn at
            random, or rows where there are few blocks; their rows are not stratified, and are
            evaluated on the workers.

        Returns
        -------
        self : DaskMLPClassifier or DaskMLPRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            As by the plain `fit`; or if there is no client, or blocks differ in their features.
        RuntimeError
            If there are no workers, or all of them were lost.

        After any of these exceptions, the estimator is unchanged. If only some workers are lost,
        the fit goes on, and warns.
        """
        return self._fit(X, y, sample_weight, Given(X_val, y_val, sample_weight_val))

    def _fit(self, X, y, sample_weight, given=NOTHING, *, incremental=False):
        self._check_sync_every()
        with ExitStack() as self._closing:
            try:
                given = Given(*dask.compute(*given))
                return super()._fit(X, y, sample_weight, given, incremental=incremental)
            finally:
                for name in _OF_A_FIT:
                    self.__dict__.pop(name, None)

    def _check_sync_every(self):
        value = self.sync_every
        if value in ("auto", "epoch") or (isinstance(value, Integral) and value >= 1):
            return
        raise ValueError(
            f"The 'sync_every' parameter of {type(self).__name__} must be 'auto', 'epoch' or a "
            f"number of batches of at least 1. Got {value!r} instead."
        )

    def _connected(self):
        """Return the client.

        Raises
        ------
        ValueError
            If there is none, or it was closed.
        """
        how = (
            "start one with client = distributed.Client(), on this machine, or with the address "
            "of a scheduler"
        )
        client = self.client
        if client is None:
            try:
                client = get_client()
            except ValueError:
                raise ValueError(
                    f"{type(self).__name__} needs a Dask client, and there is none: {how}."
                ) from None
        if client.status != "running":
            raise ValueError(f"The Dask client is {client.status}: {how}.")
        if client.asynchronous:
            raise ValueError(
                f"{type(self).__name__} needs a client with asynchronous=False: its fit waits."
            )
        return client

    def _encoder(self):
        """Return a plain copy that validates and encodes blocks on the workers."""
        encoder = self._plain(**self._plain_parameters())
        encoder.__dict__.update({k: v for k, v in vars(self).items() if k in _OF_AN_ENCODER})
        return encoder

    def _encoded(self, X, y, sample_weight, fresh, incremental):
        client = self._connected()
        blocks = blocks_of(X, y, sample_weight, arrays=len(client.nthreads()))
        encoder = self._encoder()
        if fresh:
            for name in ("n_features_in_", "feature_names_in_"):
                encoder.__dict__.pop(name, None)
        numbers = X.size if isinstance(X, da.Array) else np.inf  # NaN with unknown chunks
        self._parts = Parts(client, encoder, blocks, numbers)
        self._closing.callback(self._parts.close)
        whole = self._parts.whole
        if not whole.weight:
            raise ValueError(NO_WEIGHT)
        if fresh:
            for name in ("feature_names_in_", "sync_every_"):
                self.__dict__.pop(name, None)
            self.n_features_in_ = whole.features
            if whole.names is not None:
                self.feature_names_in_ = whole.names
        self._meet(whole.y, incremental)
        outputs = self._targets(whole.y, whole.dtype).shape[1]
        digests = [s.digest for part in self._parts.summaries for s in part]
        remote: list[Any] = [
            Remote((whole.rows, columns), whole.dtype, digests)
            for columns in (whole.features, outputs)
        ]
        self.in_memory_ = not self._parts.streamed
        return Labelled(Rows(*remote), None)

    def _divided(self, training, validation, random_state):
        self._shuffle_seed = None
        if self.shuffle:
            self._shuffle_seed = int(random_state.randint(2**32, dtype=np.uint32))
        n = self._parts.whole.rows
        if validation is not None or not self.early_stopping:
            return range(n), validation
        held = draw_held(self._parts, self.validation_fraction, random_state)
        self._held = HeldOut(self._parts, held)
        return range(n - sum(each.rows for part in held for each in part)), self._held

    def _device(self, network, parameters, X, epochs=0, **settings):
        if not isinstance(X, Remote):
            return super()._device(network, parameters, X, epochs, **settings)
        self._check_widths(network, X)
        stochastic = settings.get("optimizer") is not None
        if stochastic and settings["regularization"].dropout and self.sync_every == 1:
            raise ValueError(
                "dropout needs local batches: its masks belong to the rows of a batch on one "
                "worker. Use sync_every='auto', 'epoch' or a number above 1."
            )
        held, every = vars(self).get("_held"), self.sync_every
        if every == "auto" and stochastic and settings["optimizer"].step:
            every = getattr(self, "sync_every_", every)  # in partial_fit, measured before
        cluster = Cluster(
            self._parts,
            self._with_class_weights(self._encoder()),
            network,
            parameters,
            sync_every=every,
            shuffle_seed=vars(self).get("_shuffle_seed"),
            held=held and held.held,
            epochs=epochs,
            **settings,
        )
        if stochastic:
            self.sync_every_ = cluster.sync_every
            hooks = vars(self).get("_running")
            if hooks is not None and cluster.synchronisations > 1:
                hooks.parts, cluster.observer = cluster.synchronisations, hooks
        if self.verbose:
            self._tell()
        return cluster

    def _tell(self):
        """Print how the rows are trained on."""
        where = "in memory" if self.in_memory_ else "read block by block"
        often = f", synchronised every {self.sync_every_} batches" if self.solver != "lbfgs" else ""
        print(f"{len(self._parts.blocks)} parts on workers, rows {where}{often}")

    def _with_class_weights(self, encoder):
        """Replace "balanced" by the weights that it means for all rows."""
        if getattr(self, "class_weight", None) == "balanced":
            encoder.class_weight = _balanced(self.classes_, self._parts.whole)
        return encoder

    def _examiner(self, trained, validation):
        if isinstance(validation, HeldOut):
            return Examiner(self._parts, trained.network, trained.dtype)
        near, name = copy(trained), trained.name
        near.name = name if name in devices.present() else devices.EVERYWHERE
        return super()._examiner(near, validation)

    # ---- predictions -----------------------------------------------------------------------------

    def _predicted(self, method, X):
        if is_collection(X):
            check_is_fitted(self)
            return predicted(self.to_local(), method, X)
        return getattr(super(), method)(X)

    def predict(self, X: Any) -> Any:
        """Predict labels or targets.

        Parameters
        ----------
        X : dask array or data frame, list of delayed blocks, array-like or sparse matrix
            Data.

        Returns
        -------
        y : dask array or ndarray of shape (n_samples,) or (n_samples, n_outputs)
            As the plain estimator predicts; of a collection lazily, in the same blocks.
        """
        return self._predicted("predict", X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Return the plain estimator's score of predictions.

        Parameters
        ----------
        X, y, sample_weight
            Data, in the forms that `fit` takes.

        Returns
        -------
        score : float, or dask array of no dimensions
            The latter if X is a collection: ``float(score)`` computes it.
        """
        if is_collection(X):
            check_is_fitted(self)
            return scored(self.to_local(), X, y, sample_weight)
        return super().score(X, y, sample_weight)


def _balanced(classes, whole):
    """Return the class weights, from the number of rows of each class or with each label."""
    if whole.y.ndim == 1:
        weights = whole.rows / (len(classes) * whole.counts)
        return dict(zip(classes.tolist(), weights.tolist(), strict=True))
    counts = np.stack([whole.rows - whole.counts, whole.counts], axis=1)
    return [
        {label: whole.rows / (np.count_nonzero(own) * n) for label, n in enumerate(own) if n}
        for own in counts.tolist()
    ]
