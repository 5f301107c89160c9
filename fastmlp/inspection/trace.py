"""The trace of one sample through a network, forward and backward."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..devices import ReferenceDevice
from ..estimators.base import BaseMLP
from ..estimators.problem import problem_of, regularization_of
from ..training import Rows, loss_and_gradient
from .differences import summed
from .gradients import Gradient, by_layer


class LayerTrace(NamedTuple):
    """The values and derivatives of one sample in one layer.

    Attributes
    ----------
    inputs : ndarray of shape (fan_in,)
        The layer's inputs: the features, or the previous layer's `a`.
    z : ndarray of shape (fan_out,)
        inputs · W + b; for a maxout layer, all its linear pieces.
    a : ndarray of shape (units,)
        The activations f(z).
    delta : ndarray of shape (fan_out,)
        ∂L/∂z of the sample's loss.
    gradient : Gradient
        The objective's derivatives by the layer's parameters, for a batch of only this sample:
        inputs ⊗ delta for the weights, and delta for the biases, if there is no penalty.
    """

    inputs: np.ndarray
    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray
    gradient: Gradient


class Trace(NamedTuple):
    """The trace of one sample through a network, forward and backward.

    Attributes
    ----------
    target : ndarray of shape (n_outputs,)
        The target as the loss uses it: for a classifier, 1 for its class.
    loss : float
        The loss of the sample, summed over the outputs, without penalties.
    layers : tuple of LayerTrace
        From the first hidden layer to the outputs.
    """

    target: np.ndarray
    loss: float
    layers: tuple[LayerTrace, ...]


def trace(estimator: BaseMLP, x: ArrayLike, y: ArrayLike) -> Trace:
    """Trace one sample forward and its error backward: every z, a, delta and gradient.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.
    x : array-like of shape (n_features,) or (1, n_features)
        The sample.
    y : label, number, or array-like of shape (n_outputs,)
        Its label or target.

    Returns
    -------
    trace : Trace
        Named arrays, layer by layer, in the dtype of the weights.

    Raises
    ------
    NotFittedError, ValueError
        As `gradients`, and if x is not a single sample.

    Examples
    --------
    A network of two inputs, two hidden units and two outputs, all logistic, small enough to be
    computed by hand: with ½ Σ (p - t)² as its error, and a learning rate of 0.5 without momentum or
    penalty. First with the given weights, which a fit with a negligible learning rate keeps:

    >>> import numpy as np
    >>> from sklearn.base import clone
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.inspection import trace
    >>> x, y = np.array([0.05, 0.10]), np.array([0.01, 0.99])
    >>> coefs = [[[0.15, 0.25], [0.20, 0.30]], [[0.40, 0.50], [0.45, 0.55]]]
    >>> network = MLPRegressor(
    ...     hidden_layer_sizes=(2,), activation="logistic", output_activation="logistic",
    ...     weight_init=(coefs, [[0.35, 0.35], [0.60, 0.60]]), solver="sgd", momentum=0,
    ...     nesterovs_momentum=False, alpha=0, batch_size=1, learning_rate_init=1e-300,
    ... ).partial_fit([x], [y])
    >>> path = trace(network, x, y)
    >>> round(path.loss, 9)
    0.298371109
    >>> hidden, outputs = path.layers
    >>> hidden.a.round(9)
    array([0.59326999, 0.59688438])
    >>> outputs.a.round(9)
    array([0.75136507, 0.77292847])
    >>> outputs.delta.round(9)
    array([ 0.13849856, -0.03809824])
    >>> outputs.gradient.coefs.round(9)  # 0.082167041 by the weight .40, from h1 to o1
    array([[ 0.08216704, -0.02260254],
           [ 0.08266763, -0.02274024]])
    >>> hidden.gradient.coefs.round(9)
    array([[0.00043857, 0.00049771],
           [0.00087714, 0.00099543]])

    After one step of weights and biases along the negative gradient:

    >>> network = network.set_params(learning_rate_init=0.5)
    >>> once = clone(network).partial_fit([x], [y])
    >>> once.coefs_[1].round(9)
    array([[0.35891648, 0.51130127],
           [0.40866619, 0.56137012]])
    >>> round(trace(once, x, y).loss, 9)
    0.280471447
    """
    sample: Any = x if np.ndim(x) == 2 else np.asarray(x)[np.newaxis]
    if np.shape(sample)[0] != 1:
        raise ValueError(f"x must be a single sample, got {np.shape(sample)[0]} samples.")
    targets = np.reshape(y, (1, -1))
    problem = problem_of(estimator, sample, targets.ravel() if targets.size == 1 else targets)
    network, parameters, X, targets, _ = problem
    device = ReferenceDevice(
        network, parameters, regularization=regularization_of(estimator, network)
    )
    passed = device.propagate(parameters, X)
    losses, delta = device.output_delta(passed, targets)
    deltas, _ = device.deltas(parameters, passed, delta)
    _, gradient = loss_and_gradient(device, parameters, Rows(X, targets, None))
    values = [*passed.inputs[1:], passed.outputs]
    layers = (
        LayerTrace(inputs[0], z[0], a[0], delta[0], gradient)
        for inputs, z, a, delta, gradient in zip(
            passed.inputs, passed.z, values, deltas, by_layer(network, gradient), strict=True
        )
    )
    return Trace(targets[0], float(summed(network, losses)[0]), tuple(layers))
