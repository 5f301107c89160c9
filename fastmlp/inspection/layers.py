"""The values in all layers of a network, for many rows."""

from itertools import accumulate
from typing import NamedTuple, overload

import numpy as np

from ..devices import SingleRows
from ..estimators.base import BaseMLP
from ..estimators.problem import model_and_rows
from ..estimators.types import MatrixLike


class LayerActivations(NamedTuple):
    """The values of one layer.

    Attributes
    ----------
    z : ndarray of shape (n_samples, fan_out)
        inputs · W + b; for a maxout layer, all its linear pieces; for the outputs, the logits.
    a : ndarray of shape (n_samples, units)
        The activations f(z).
    """

    z: np.ndarray
    a: np.ndarray


@overload
def activations(
    estimator: BaseMLP, X: MatrixLike, layer: None = None
) -> tuple[LayerActivations, ...]: ...
@overload
def activations(estimator: BaseMLP, X: MatrixLike, layer: int) -> LayerActivations: ...
def activations(estimator, X, layer=None):
    """Return z and the activations of every layer, or of one, for the rows of X.

    They are computed by compiled code, on the CPU, in the dtype of the weights.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Data.
    layer : int, default=None
        The index of a layer: 0 for the first hidden layer, -1 for the outputs. None for all.

    Returns
    -------
    layers : tuple of LayerActivations, or LayerActivations
        From the first hidden layer to the outputs. Of the outputs, `a` is what the network itself
        computes: for two classes, one probability.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    IndexError
        If there is no such layer.
    ValueError
        If the number of features differs from that in the fit, or the data are not finite.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.inspection import activations
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> network = MLPClassifier((5,), solver="lbfgs", tol=0.01, random_state=0).fit(X, y)
    >>> hidden, outputs = activations(network, X)
    >>> hidden.a.shape, outputs.z.shape
    ((150, 5), (150, 3))
    >>> bool((outputs.a.argmax(axis=1) == network.predict(X)).all())
    True
    """
    model, rows = model_and_rows(estimator, X)
    network = model.network
    if layer is not None and not -len(network.shapes) <= layer < len(network.shapes):
        raise IndexError(f"There are {len(network.shapes)} layers, got layer={layer!r}.")
    widths = [fan_out for _, fan_out in network.shapes], network.units[1:]
    z, a = (np.empty((rows.shape[0], sum(each)), model.dtype) for each in widths)
    arrays = [np.ascontiguousarray(part, model.dtype) for part in model.parts()]
    SingleRows(network, arrays).record(rows, z, a)
    ends = (list(accumulate(each))[:-1] for each in widths)
    split = (np.split(all_, end, axis=1) for all_, end in zip((z, a), ends, strict=True))
    layers = tuple(LayerActivations(*each) for each in zip(*split, strict=True))
    return layers if layer is None else layers[layer]
