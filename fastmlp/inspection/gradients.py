"""Gradients of the objective by the parameters, and of the outputs by the inputs."""

from typing import NamedTuple

import numpy as np

from ..devices import ReferenceDevice
from ..estimators.base import BaseMLP
from ..estimators.problem import device_of, model_and_rows, problem_of
from ..estimators.types import LabelsLike, MatrixLike, WeightsLike
from ..model import SHARES
from ..training import Rows, loss_and_gradient
from .differences import STEP, central_differences


class Gradient(NamedTuple):
    """The derivatives of the objective by the parameters of one layer.

    Attributes
    ----------
    coefs : ndarray of shape (fan_in, fan_out)
        By the weights.
    intercepts : ndarray of shape (fan_out,)
        By the biases.
    activation_params : ndarray of shape (units,) or None
        By the learned parameters of the layer's activation.
    """

    coefs: np.ndarray
    intercepts: np.ndarray
    activation_params: np.ndarray | None


def gradients(
    estimator: BaseMLP, X: MatrixLike, y: LabelsLike, sample_weight: WeightsLike | None = None
) -> tuple[Gradient, ...]:
    """Return the gradient of the objective at the fitted parameters, by reverse mode.

    It is computed as in training: on the estimator's device, in the dtype of its weights.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Data.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels or targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.

    Returns
    -------
    gradients : tuple of Gradient
        One for each layer, from the first hidden layer to the outputs.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If the numbers of features or outputs differ from those in the fit, if a label is unknown,
        or if the data are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.inspection import gradients
    >>> X = np.linspace(-1, 1, 20)[:, np.newaxis]
    >>> line = MLPRegressor(hidden_layer_sizes=(), alpha=0, solver="lbfgs", tol=1e-8)
    >>> line = line.fit(X, 3 * X[:, 0] + 1)
    >>> (outputs,) = gradients(line, X, 3 * X[:, 0] + 2)  # of targets that are all 1 larger
    >>> outputs.intercepts.round(4)
    array([-1.])
    """
    problem = problem_of(estimator, X, y, sample_weight)
    return by_layer(problem.network, reverse_mode(estimator, problem))


def numerical_gradients(
    estimator: BaseMLP,
    X: MatrixLike,
    y: LabelsLike,
    sample_weight: WeightsLike | None = None,
    *,
    step: float = STEP,
) -> tuple[Gradient, ...]:
    """Return the same gradient by central differences: (J(θ + h) - J(θ - h)) / 2h for each θ.

    It is computed by the reference device, in float64, and takes two passes over the rows for each
    parameter θ: fast enough to inspect a small network, too slow to train one.

    Parameters
    ----------
    estimator, X, y, sample_weight
        As in `gradients`.
    step : float, default=6.06e-06
        The step h. The error grows with h² by truncation, and with 1/h by rounding; the default,
        the cube root of float64's precision, balances the two if values are around 1.

    Returns
    -------
    gradients : tuple of Gradient
        One for each layer, in float64.

    Raises
    ------
    NotFittedError, ValueError
        As `gradients`, and if the step is not a finite number greater than 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor, inspection
    >>> X = np.linspace(-1, 1, 40).reshape(20, 2)
    >>> y = X[:, 0] ** 2
    >>> network = MLPRegressor(hidden_layer_sizes=(3,), activation="tanh", solver="lbfgs", tol=0.01)
    >>> reverse = inspection.gradients(network.fit(X, y), X, y)
    >>> numerical = inspection.numerical_gradients(network, X, y)
    >>> np.allclose(reverse[0].coefs, numerical[0].coefs, atol=1e-9)
    True
    """
    problem = problem_of(estimator, X, y, sample_weight)
    numerical, _ = central_differences(estimator, problem, step)
    return by_layer(problem.network, numerical)


def input_gradients(estimator: BaseMLP, X: MatrixLike) -> np.ndarray:
    """Return the derivatives of the outputs by the inputs: how predictions react to features.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Data.

    Returns
    -------
    gradients : ndarray of shape (n_samples, n_outputs, n_features)
        ``gradients[i, k, j]`` is ∂p_ik/∂x_ij, in the dtype of the weights. Outputs are those of a
        regressor's `predict` and a classifier's `predict_proba`; for two classes there is one, the
        probability of the second. Where `predict_proba` divides outputs by their sum, as without
        softmax, these are the derivatives of the quotients.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If the number of features differs from that in the fit, or the data are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.inspection import input_gradients
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> line = MLPRegressor(hidden_layer_sizes=(), alpha=0, solver="lbfgs", tol=1e-8)
    >>> line = line.fit(X, 3 * X[:, 0] - X[:, 1])
    >>> input_gradients(line, X[:1]).round(3)
    array([[[ 3., -1.]]])
    """
    model, rows = model_and_rows(estimator, X)
    network, parameters = model.network, model.packed()
    device = ReferenceDevice(network, parameters)
    passed = device.propagate(parameters, rows)
    first_weights = network.views(parameters)[0][0]
    result = np.empty((rows.shape[0], network.units[-1], network.units[0]), parameters.dtype)
    for k in range(network.units[-1]):
        deltas, _ = device.deltas(parameters, passed, _output_slopes(network, passed, k))
        result[:, k] = deltas[0] @ first_weights.T
    return _of_shares(result, passed.outputs) if model.output_form == SHARES else result


def reverse_mode(estimator, problem):
    """Return the packed gradient, computed by the estimator's own device."""
    _, parameters, X, targets, weights = problem
    device = device_of(estimator, problem)
    _, gradient = loss_and_gradient(device, parameters, Rows(X, targets, weights))
    return gradient


def by_layer(network, packed):
    """Return each layer's views into a packed vector."""
    coefs, intercepts = network.views(packed)
    learned = [*network.activation_views(packed), None]
    return tuple(Gradient(*views) for views in zip(coefs, intercepts, learned, strict=True))


def _output_slopes(network, passed, k):
    """Return ∂p_k/∂z for the last layer's z, (rows, outputs)."""
    p = passed.outputs
    chosen = np.arange(p.shape[1]) == k
    if network.output_activation.whole_row:
        return p[:, [k]] * (chosen - p)
    return chosen * passed.activated[-1].slopes


def _of_shares(slopes, outputs):
    """Return the derivatives of s_k = p_k / Σp, from those of p_k: (∂p_k - s_k ∂Σp) / Σp.

    The shares of outputs that are all 0 are constant.
    """
    totals = outputs.sum(axis=1)
    totals = np.where(totals == 0, np.inf, totals)[:, np.newaxis, np.newaxis]
    shares = outputs[:, :, np.newaxis] / totals
    return (slopes - shares * slopes.sum(axis=1, keepdims=True)) / totals
