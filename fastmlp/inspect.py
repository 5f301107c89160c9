"""Gradients to look at: by reverse mode, by central differences, of inputs, and of one sample.

Everything here is about the objective that training descends, over the given rows as one batch::

    J = (Σ_i w_i Σ_k L(p_ik, t_ik) + l2/2 Σ W² + l1 Σ |W|) / Σ_i w_i

where L is the loss of one output and W runs over all weights, but no biases. Of squared error,
``loss_`` and ``loss_curve_`` count the mean over the outputs k, as scikit-learn does; the gradient
that training follows is that of the sum, and so is J. Dropout is off, as in a prediction, and the
gradient is as it is before it is clipped.

Examples
--------
>>> from fastmlp import MLPClassifier, inspect
>>> from sklearn.datasets import load_iris
>>> X, y = (rows[::10] for rows in load_iris(return_X_y=True))
>>> classifier = MLPClassifier((5,), "tanh", solver="lbfgs", tol=0.01, random_state=0).fit(X, y)
>>> first, last = inspect.gradients(classifier, X, y)
>>> first.coefs.shape, first.intercepts.shape
((4, 5), (5,))
>>> inspect.check_gradients(classifier, X, y).agrees
True
"""

from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from .devices.reference import ReferenceDevice
from .estimators.base import BaseMLP, _check_weights, _row_access
from .estimators.fitted import model_of
from .estimators.shortcuts import validated
from .estimators.types import LabelsLike, MatrixLike, WeightsLike
from .regularization import Regularization

#: Step of central differences at which truncation, ~h², and rounding, ~ε/h, are about the same.
STEP = float(np.cbrt(np.finfo(np.float64).eps))
#: Relative error up to which a gradient counts as right, by the dtype that it was computed in.
TOLERANCES = {"float64": 1e-6, "float32": 1e-3}

# Why an array of parameters cannot be compared, in words that end the verdict.
_REASONS = {
    "at kinks": "at kinks",
    "straight-through": "before a step, where there is no true gradient",
    "uncertain": "whose differences are lost in their own error",
}


class Gradient(NamedTuple):
    """The derivatives of the objective by the parameters of one layer.

    Attributes
    ----------
    coefs : ndarray of shape (fan_in, fan_out)
        By the weights.
    intercepts : ndarray of shape (fan_out,)
        By the biases.
    activation_params : ndarray of shape (units,) or None
        By what the layer's activation learns.
    """

    coefs: np.ndarray
    intercepts: np.ndarray
    activation_params: np.ndarray | None


class LayerTrace(NamedTuple):
    """What one sample does in one layer.

    Attributes
    ----------
    inputs : ndarray of shape (fan_in,)
        The values that come in: the features, or the last layer's `a`.
    z : ndarray of shape (fan_out,)
        inputs · W + b; of a maxout layer, all its linear pieces.
    a : ndarray of shape (units,)
        The activation's values f(z).
    delta : ndarray of shape (fan_out,)
        ∂L/∂z of the sample's loss.
    gradient : Gradient
        The objective's derivatives by the layer's parameters, for this sample as a batch of its
        own: inputs ⊗ delta for the weights, and delta for the biases, where there is no penalty.
    """

    inputs: np.ndarray
    z: np.ndarray
    a: np.ndarray
    delta: np.ndarray
    gradient: Gradient


class Trace(NamedTuple):
    """One sample's way through a network, there and back.

    Attributes
    ----------
    target : ndarray of shape (n_outputs,)
        The target as the loss sees it: of a classifier, 1 for its class.
    loss : float
        The loss of the sample, summed over the outputs, without penalties.
    layers : tuple of LayerTrace
        From the first hidden layer to the outputs.
    """

    target: np.ndarray
    loss: float
    layers: tuple[LayerTrace, ...]


class Comparison(NamedTuple):
    """A layer's weights, biases or activation parameters in a check of gradients.

    Attributes
    ----------
    name : str
        The fitted attribute: "coefs_[0]".
    size : int
        How many parameters there are.
    at_kinks : int
        How many of them were left out, as a central difference by them crosses a kink.
    relative_error : float
        ‖g - n‖ / max(‖g‖, ‖n‖) of the gradient g and the central differences n, over the others.
    uncertainty : float
        How far off n itself may be by truncation and rounding, relative likewise: how much it
        changes with the step twice as long, and ε|J|/h.
    verdict : str
        "agree" or "differ"; or else why there is nothing to compare: "at kinks" where all of them
        are, "straight-through" where a step activation follows, which has no true gradient,
        "uncertain" where the differences' own error is more than a tenth of them.
    """

    name: str
    size: int
    at_kinks: int
    relative_error: float
    uncertainty: float
    verdict: str


@dataclass(frozen=True)
class GradientCheck:
    """What a check of gradients has found; print it.

    Attributes
    ----------
    comparisons : tuple of Comparison
        One for each array of parameters, layer by layer.
    step : float
        Step of the central differences.
    tolerance : float
        Largest relative error that counts as agreement.
    """

    comparisons: tuple[Comparison, ...]
    step: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether something could be compared, and all of that agrees."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        return "agree" in verdicts and "differ" not in verdicts

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        if "differ" in verdicts:
            return "Reverse mode and central differences DIFFER."
        if "agree" not in verdicts:
            return "Undecided: there is nothing to compare."
        reasons = [_REASONS[verdict] for verdict in _REASONS if verdict in verdicts]
        exceptions = f", but for parameters {' or '.join(reasons)}" if reasons else ""
        return f"Reverse mode and central differences agree{exceptions}."

    def __str__(self):
        lines = [
            self.verdict,
            f"step {self.step:.2g}, tolerance {self.tolerance:.2g}",
            f"{'parameters':<22}{'number':>8}{'at kinks':>10}{'relative error':>16}"
            f"{'uncertainty':>13}  verdict",
        ]
        for name, size, at_kinks, *errors, verdict in self.comparisons:
            error, uncertainty = ("-" if np.isnan(e) else f"{e:.1e}" for e in errors)
            lines.append(
                f"{name:<22}{size:>8}{at_kinks:>10}{error:>16}{uncertainty:>13}  {verdict}"
            )
        return "\n".join(lines)


def gradients(
    estimator: BaseMLP, X: MatrixLike, y: LabelsLike, sample_weight: WeightsLike | None = None
) -> tuple[Gradient, ...]:
    """The gradient of the objective at the fitted parameters, by reverse mode.

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
        If the numbers of features or outputs are others than in the fit, if a label is unknown, or
        if the data are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.inspect import gradients
    >>> X = np.linspace(-1, 1, 20)[:, np.newaxis]
    >>> line = MLPRegressor(hidden_layer_sizes=(), alpha=0, solver="lbfgs", tol=1e-8)
    >>> line = line.fit(X, 3 * X[:, 0] + 1)
    >>> (outputs,) = gradients(line, X, 3 * X[:, 0] + 2)  # of targets that are all 1 larger
    >>> outputs.intercepts.round(4)
    array([-1.])
    """
    problem = _problem(estimator, X, y, sample_weight)
    return _by_layer(problem.network, _reverse_mode(estimator, problem))


def numerical_gradients(
    estimator: BaseMLP,
    X: MatrixLike,
    y: LabelsLike,
    sample_weight: WeightsLike | None = None,
    *,
    step: float = STEP,
) -> tuple[Gradient, ...]:
    """The same gradient by central differences: (J(θ + h) - J(θ - h)) / 2h for each parameter θ.

    It is computed by the reference device, in float64, and takes two passes over the rows for each
    parameter: enough for a look at a small network, too slow to train one.

    Parameters
    ----------
    estimator, X, y, sample_weight
        As in `gradients`.
    step : float, default=6.06e-06
        h. The error grows with h² by truncation, and with 1/h by rounding; the default, the cube
        root of float64's precision, balances the two where values are around 1.

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
    >>> from fastmlp import MLPRegressor, inspect
    >>> X = np.linspace(-1, 1, 40).reshape(20, 2)
    >>> y = X[:, 0] ** 2
    >>> network = MLPRegressor(hidden_layer_sizes=(3,), activation="tanh", solver="lbfgs", tol=0.01)
    >>> reverse = inspect.gradients(network.fit(X, y), X, y)
    >>> numerical = inspect.numerical_gradients(network, X, y)
    >>> np.allclose(reverse[0].coefs, numerical[0].coefs, atol=1e-9)
    True
    """
    problem = _problem(estimator, X, y, sample_weight)
    numerical, _ = _central_differences(estimator, problem, step)
    return _by_layer(problem.network, numerical)


def check_gradients(
    estimator: BaseMLP,
    X: MatrixLike,
    y: LabelsLike,
    sample_weight: WeightsLike | None = None,
    *,
    step: float = STEP,
    tolerance: float | None = None,
) -> GradientCheck:
    """Compare the gradient by reverse mode with central differences.

    Parameters whose step moves a value across a kink, such as relu's at 0, are left out and
    counted: there, the difference is not a derivative. The same goes for all layers before a step
    activation, which trains by a slope that it does not have. Kinks of activations and losses of
    your own are not known.

    Central differences have errors, too, which may be all there is of a gradient that vanishes.
    They are estimated with the step twice as long, and allowed for besides the tolerance. So there
    are four passes over the rows for each parameter.

    Parameters
    ----------
    estimator, X, y, sample_weight, step
        As in `numerical_gradients`.
    tolerance : float, default=None
        Largest relative error that counts as agreement; by default 1e-6 of a network in float64
        and 1e-3 in float32.

    Returns
    -------
    check : GradientCheck
        Relative errors of every layer, and a verdict.

    Raises
    ------
    NotFittedError, ValueError
        As `numerical_gradients`.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.inspect import check_gradients
    >>> from sklearn.datasets import load_iris
    >>> X, y = (rows[::10] for rows in load_iris(return_X_y=True))
    >>> network = MLPClassifier((5,), "tanh", solver="lbfgs", tol=0.01, random_state=0)
    >>> print(check_gradients(network.fit(X, y), X, y))  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
    Reverse mode and central differences agree.
    step 6.1e-06, tolerance 1e-06
    parameters              number  at kinks  relative error  uncertainty  verdict
    coefs_[0]                   20         0         ...          ...  agree
    intercepts_[0]               5         0         ...          ...  agree
    coefs_[1]                   15         0         ...          ...  agree
    intercepts_[1]               3         0         ...          ...  agree
    """
    problem = _problem(estimator, X, y, sample_weight)
    network = problem.network
    if tolerance is None:
        tolerance = TOLERANCES[problem.parameters.dtype.name]
    reverse = _reverse_mode(estimator, problem).astype(np.float64)
    numerical, crossed = _central_differences(estimator, problem, step)
    coarser, crossed_farther = _central_differences(estimator, problem, 2 * step)
    objective, _ = _objective(estimator, problem)(problem.parameters.astype(np.float64))
    rounding = np.finfo(np.float64).eps * abs(objective) / step
    vectors = reverse, numerical, np.abs(coarser - numerical) + rounding, crossed | crossed_farther

    comparisons = []
    for layer, parts in enumerate(zip(*(_by_layer(network, v) for v in vectors), strict=True)):
        straight_through = any(a.straight_through for a in network.activation[layer:])
        for name, g, n, noise, left_out in zip(Gradient._fields, *parts, strict=True):
            if g is None:
                continue
            kept = ~left_out & (not straight_through)
            found = _compare(g[kept], n[kept], noise[kept], tolerance)
            if straight_through:
                found = *found[:2], "straight-through"
            comparisons.append(Comparison(f"{name}_[{layer}]", g.size, int(left_out.sum()), *found))
    return GradientCheck(tuple(comparisons), step, tolerance)


def input_gradients(estimator: BaseMLP, X: MatrixLike) -> np.ndarray:
    """The derivatives of the network's outputs by its inputs: what a prediction reacts to.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Data.

    Returns
    -------
    gradients : ndarray of shape (n_samples, n_outputs, n_features)
        ``gradients[i, k, j]`` is ∂p_ik/∂x_ij, in the dtype of the weights. Outputs are what
        `predict` of a regressor and `predict_proba` of a classifier give; for two classes there is
        one, the probability of the second.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If the number of features is another than in the fit, or the data are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.inspect import input_gradients
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> line = MLPRegressor(hidden_layer_sizes=(), alpha=0, solver="lbfgs", tol=1e-8)
    >>> line = line.fit(X, 3 * X[:, 0] - X[:, 1])
    >>> input_gradients(line, X[:1]).round(3)
    array([[[ 3., -1.]]])
    """
    _check_estimator(estimator)
    rows = _row_access(validated(estimator, X, reset=False))
    model = model_of(estimator)
    network, parameters = model.network, model.packed()
    device = ReferenceDevice(network, parameters)
    passed = device.propagate(parameters, rows.astype(parameters.dtype, copy=False))
    first_weights = network.views(parameters)[0][0]
    result = np.empty((rows.shape[0], network.units[-1], network.units[0]), parameters.dtype)
    for k in range(network.units[-1]):
        deltas, _ = device.deltas(parameters, passed, _output_slopes(network, passed, k))
        result[:, k] = deltas[0] @ first_weights.T
    return result


def trace(estimator: BaseMLP, x: ArrayLike, y: ArrayLike) -> Trace:
    """Follow one sample through the network and its error back: every z, a, delta and gradient.

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
    worked through by hand: with ½ Σ (p - t)² as its error, and steps of 0.5 without momentum or
    penalty. First as it is given, which is what a fit without a step worth the name leaves:

    >>> import numpy as np
    >>> from sklearn.base import clone
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.inspect import trace
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

    One step along it, of weights and biases:

    >>> network = network.set_params(learning_rate_init=0.5)
    >>> once = clone(network).partial_fit([x], [y])
    >>> once.coefs_[1].round(9)
    array([[0.35891648, 0.51130127],
           [0.40866619, 0.56137012]])
    >>> round(trace(once, x, y).loss, 9)
    0.280471447
    """
    X = x if np.ndim(x) == 2 else np.asarray(x)[np.newaxis]
    if np.shape(X)[0] != 1:
        raise ValueError(f"x must be a single sample, got {np.shape(X)[0]}.")
    targets = np.reshape(y, (1, -1))
    problem = _problem(estimator, X, targets.ravel() if targets.size == 1 else targets, None)
    network, parameters, X, targets, _ = problem
    device = ReferenceDevice(network, parameters, regularization=_penalties(estimator, network))
    passed = device.propagate(parameters, X)
    losses, delta = device.output_delta(passed, targets)
    deltas, _ = device.deltas(parameters, passed, delta)
    _, gradient = device.backprop(parameters, X, targets, None)
    values = [*passed.inputs[1:], passed.outputs]
    layers = (
        LayerTrace(inputs[0], z[0], a[0], delta[0], gradient)
        for inputs, z, a, delta, gradient in zip(
            passed.inputs, passed.z, values, deltas, _by_layer(network, gradient), strict=True
        )
    )
    return Trace(targets[0], float(_summed(network, losses)[0]), tuple(layers))


class _Problem(NamedTuple):
    """A fitted network, and the rows that the objective is about."""

    network: object
    parameters: np.ndarray
    X: object
    targets: np.ndarray
    weights: np.ndarray | None


def _check_estimator(estimator):
    if not isinstance(estimator, BaseMLP):
        raise TypeError(
            "Expected an MLPClassifier or MLPRegressor of fastmlp, got "
            f"{type(estimator).__name__}. Of a pipeline, give the last step and the data as the "
            "steps before transform them."
        )
    check_is_fitted(estimator)


def _problem(estimator, X, y, sample_weight):
    _check_estimator(estimator)
    # A copy, since encoding may note things down; and a warm start would ask for every class.
    model, encoder = model_of(estimator), copy(estimator)
    network = model.network
    encoder.warm_start = False
    encoder.loss = network.loss.parameter
    X, targets = encoder._encode(X, y, incremental=True, reset=False)
    weights = _check_weights(sample_weight, X)
    if targets.shape[1] != estimator.n_outputs_:
        raise ValueError(
            f"y has {targets.shape[1]} output(s), but the network was fitted with "
            f"{estimator.n_outputs_}."
        )
    parameters = model.packed()
    dtype = parameters.dtype
    X = _row_access(X).astype(dtype, copy=False)
    return _Problem(network, parameters, X, targets.astype(dtype), weights)


def _penalties(estimator, network):
    """Of all regularisation, what the objective has."""
    regularization = estimator._regularization(network)
    return Regularization(l2=regularization.l2, l1=regularization.l1)


def _reverse_mode(estimator, problem):
    """The packed gradient by the estimator's own device."""
    network, parameters, X, targets, weights = problem
    device = estimator._device(
        network,
        parameters,
        X,
        regularization=_penalties(estimator, network),
        batch_size=min(X.shape[0], 1024),
    )
    _, gradient = device.loss_and_gradient(parameters, X, targets, weights)
    return gradient


def _summed(network, losses):
    """Each row's loss as a sum over the outputs, of which squared error's is the mean."""
    return losses * (network.units[-1] if network.loss.mean_over_outputs else 1)


def _objective(estimator, problem):
    """J as a function of float64 parameters, which tells on what pieces its values lie, too."""
    network, parameters = problem.network, problem.parameters
    X, targets = problem.X.astype(np.float64), problem.targets.astype(np.float64)
    weights = np.ones(len(targets)) if problem.weights is None else problem.weights
    penalties = _penalties(estimator, network)
    device = ReferenceDevice(network, parameters)

    def objective(parameters):
        passed = device.propagate(parameters, X)
        losses, _ = device.output_delta(passed, targets)
        penalty = sum(
            0.5 * penalties.l2 * (w**2).sum() + penalties.l1 * np.abs(w).sum()
            for w in network.views(parameters)[0]
        )
        value = (weights @ _summed(network, losses) + penalty) / weights.sum()
        pieces = _pieces(network, passed, targets)
        if penalties.l1:
            pieces += [np.sign(w) for w in network.views(parameters)[0]]
        return value, np.concatenate([piece.ravel() for piece in pieces])

    return objective


def _pieces(network, passed, targets):
    """Between which kinks of its activation every z lies, and of its loss every error."""
    pieces = []
    for activation, z in zip(
        (*network.activation, network.output_activation), passed.z, strict=True
    ):
        if activation.pieces > 1:
            pieces.append(z.reshape(len(z), activation.pieces, -1).argmax(axis=1))
        else:
            pieces.append(np.searchsorted(activation.kinks, z))
    pieces.append(np.searchsorted(network.loss.kinks, passed.outputs - targets))
    return pieces


def _central_differences(estimator, problem, step):
    """The packed gradient in float64, and by which parameters a step crosses a kink."""
    if not 0 < step < np.inf:
        raise ValueError(f"step must be a finite number greater than 0, got {step!r}.")
    objective = _objective(estimator, problem)
    moved = problem.parameters.astype(np.float64)
    numerical, crossed = np.empty_like(moved), np.empty(moved.size, bool)
    for i, parameter in enumerate(moved.copy()):
        ahead, behind = parameter + step, parameter - step
        moved[i] = ahead
        J_ahead, pieces_ahead = objective(moved)
        moved[i] = behind
        J_behind, pieces_behind = objective(moved)
        moved[i] = parameter
        numerical[i] = (J_ahead - J_behind) / (ahead - behind)
        crossed[i] = (pieces_ahead != pieces_behind).any()
    return numerical, crossed


def _compare(g, n, noise, tolerance):
    """The relative error of two vectors, the second's own, and what to make of it."""
    if not g.size:
        return np.nan, np.nan, "at kinks"
    longest = max(np.linalg.norm(g), np.linalg.norm(n))
    if longest == 0:
        return 0.0, 0.0, "agree"
    error, uncertainty = (float(np.linalg.norm(e) / longest) for e in (g - n, noise))
    if uncertainty > 0.1:
        return error, uncertainty, "uncertain"
    return error, uncertainty, "agree" if error <= tolerance + uncertainty else "differ"


def _output_slopes(network, passed, k):
    """∂p_k/∂z of the last layer's z, (rows, outputs)."""
    p = passed.outputs
    chosen = np.arange(p.shape[1]) == k
    if network.output_activation.whole_row:
        return p[:, [k]] * (chosen - p)
    return chosen * passed.activated[-1].slopes


def _by_layer(network, packed):
    """The views of each layer into a packed vector."""
    coefs, intercepts = network.views(packed)
    learned = [*network.activation_views(packed), None]
    return tuple(Gradient(*views) for views in zip(coefs, intercepts, learned, strict=True))
