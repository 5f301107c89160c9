"""Integrated gradients: which features the difference of two predictions comes from."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse

from ..devices import SingleRows
from ..estimators.base import BaseMLP
from ..estimators.problem import model_and_rows
from ..estimators.types import MatrixLike
from ..model import PAIR, PLAIN

#: The largest error of the sum, and of each interval of a path, relative to predictions above 1.
ADDITIVE, OF_AN_INTERVAL = 1e-6, 1e-10


def integrated_gradients(
    estimator: BaseMLP, X: MatrixLike, baseline: ArrayLike = 0.0
) -> np.ndarray:
    """Return how much each feature contributes to the change from a baseline's prediction.

    The contribution of feature j to output k is (x_j - b_j) ∫ ∂p_k/∂x_j dt along the straight line
    b + t (x - b), t from 0 to 1. Contributions add up: their sum over the features is
    p_k(x) - p_k(b). Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", 2017.

    The integral is computed in float64 by compiled code, which refines it until the sum is right,
    also at the kinks of rectifiers.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Data.
    baseline : float or array-like of shape (n_features,) or (n_samples, n_features), default=0
        Where the lines begin, in the units of X: often the mean of the training data, which is 0
        after a StandardScaler.

    Returns
    -------
    contributions : ndarray of shape (n_samples, n_outputs, n_features)
        Outputs are those of a regressor's `predict` and a classifier's `predict_proba`; for two
        classes there is one, the probability of the second.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If the number of features differs from that in the fit, or the data or the baseline are not
        finite; or if the sum is not right within 1e-6, relative to predictions above 1: the
        network has an activation that jumps, or one of your own with a wrong derivative.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.inspection import integrated_gradients
    >>> X = np.random.default_rng(0).standard_normal((50, 2))
    >>> network = MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs", random_state=0)
    >>> network = network.fit(X, np.abs(X[:, 0]))
    >>> shares = integrated_gradients(network, X)
    >>> change = network.predict(X) - network.predict(np.zeros((1, 2)))
    >>> bool(np.abs(shares.sum(axis=2)[:, 0] - change).max() < 1e-6)
    True
    """
    model, rows = model_and_rows(estimator, X)
    rows = (rows.toarray() if issparse(rows) else rows).astype(np.float64, order="C")
    starts = _baselines(baseline, rows.shape)
    for activation in (*model.network.activation, model.network.output_activation):
        if activation.straight_through:
            raise ValueError(
                f"{activation!r} jumps: the integral of its slope says nothing of its values. "
                "Integrated gradients need continuous activations."
            )
    single = SingleRows(model.network, [np.array(p, np.float64, order="C") for p in model.parts()])
    outputs, form = model.network.units[-1], model.output_form
    form = PLAIN if form == PAIR else form
    result = np.empty((len(rows), outputs, rows.shape[1]))
    for row, start, places in zip(rows, starts, result, strict=True):
        ends = np.empty((2, outputs))
        single.predict(np.stack([start, row]), ends, form)
        scale = max(1.0, float(np.abs(ends).max()))
        for output, place in enumerate(places):
            tolerance = OF_AN_INTERVAL * scale
            error = single.integrate(start, row, place, form, output, tolerance)
            if not abs(error) <= ADDITIVE * scale:
                raise ValueError(
                    f"The contributions to output {output} do not add up to the change of the "
                    f"prediction: the error is {error:.3g}. The slopes of the activations are not "
                    "those of their values."
                )
    return result


def _baselines(baseline, shape):
    """Return a baseline for each row."""
    given = np.asarray(baseline, np.float64)
    if given.shape not in ((), shape[1:], shape):
        raise ValueError(
            f"The baseline must be a number or have the shape {shape[1:]} or {shape}, got "
            f"{given.shape}."
        )
    if not np.isfinite(given).all():
        raise ValueError("The baseline must be finite.")
    return np.broadcast_to(given, shape).copy()
