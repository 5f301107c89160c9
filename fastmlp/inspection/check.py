"""Reverse mode compared with central differences, with a verdict for each parameter array."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..estimators.base import BaseMLP
from ..estimators.problem import problem_of
from ..estimators.types import LabelsLike, MatrixLike, WeightsLike
from .differences import STEP, central_differences, objective_of
from .gradients import Gradient, by_layer, reverse_mode

#: Relative error up to which a gradient counts as correct, by the dtype of its computation.
TOLERANCES = {"float64": 1e-6, "float32": 1e-3}

# Which parameter arrays were not compared, as the last words of the verdict.
_NOT_COMPARED = {
    "at kinks": "parameters at kinks",
    "straight-through": "parameters before a step activation, which has no true gradient",
    "uncertain": "parameters whose central differences are too inaccurate",
}


class Comparison(NamedTuple):
    """A layer's weights, biases or activation parameters in a check of gradients.

    Attributes
    ----------
    name : str
        The fitted attribute: "coefs_[0]".
    size : int
        Number of parameters.
    at_kinks : int
        Number of parameters left out, as their central difference crosses a kink.
    relative_error : float
        ‖g - n‖ / max(‖g‖, ‖n‖) of the gradient g and the central differences n, for the others.
    uncertainty : float
        The error of n itself by truncation and rounding, relative to the same: how much n changes
        with the step twice as long, plus ε|J|/h.
    verdict : str
        "agree" or "differ"; or the reason why there is nothing to compare: "at kinks" if all
        parameters are, "straight-through" if a step activation follows, which has no true gradient,
        "uncertain" if the error of the differences is more than a tenth of them.
    """

    name: str
    size: int
    at_kinks: int
    relative_error: float
    uncertainty: float
    verdict: str


@dataclass(frozen=True)
class GradientCheck:
    """The result of a check of gradients; print it.

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
        """Whether something could be compared, and everything compared agrees."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        return "agree" in verdicts and "differ" not in verdicts

    @property
    def verdict(self) -> str:
        """The result in words."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        if "differ" in verdicts:
            return "Reverse mode and central differences DIFFER."
        if "agree" not in verdicts:
            return "Undecided: no parameters could be compared."
        agree = "Reverse mode and central differences agree."
        left_out = [text for verdict, text in _NOT_COMPARED.items() if verdict in verdicts]
        return f"{agree} Not compared: {'; '.join(left_out)}." if left_out else agree

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
    counted: there, the difference is not a derivative. The same applies to all layers before a step
    activation, which is trained with a substitute for its derivative. Kinks of custom activations
    and losses are unknown.

    Central differences have errors, too, which may be larger than a vanishing gradient. They are
    estimated with the step twice as long, and added to the tolerance. So there are four passes over
    the rows for each parameter.

    Parameters
    ----------
    estimator, X, y, sample_weight, step
        As in `numerical_gradients`.
    tolerance : float, default=None
        Largest relative error that counts as agreement; by default 1e-6 for a network in float64
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
    >>> from fastmlp.inspection import check_gradients
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
    problem = problem_of(estimator, X, y, sample_weight)
    network = problem.network
    if tolerance is None:
        tolerance = TOLERANCES[problem.parameters.dtype.name]
    reverse = reverse_mode(estimator, problem).astype(np.float64)
    numerical, crossed = central_differences(estimator, problem, step)
    coarser, crossed_farther = central_differences(estimator, problem, 2 * step)
    objective, _ = objective_of(estimator, problem)(problem.parameters.astype(np.float64))
    rounding = np.finfo(np.float64).eps * abs(objective) / step
    vectors = reverse, numerical, np.abs(coarser - numerical) + rounding, crossed | crossed_farther

    comparisons = []
    for layer, parts in enumerate(zip(*(by_layer(network, v) for v in vectors), strict=True)):
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


def _compare(g, n, noise, tolerance):
    """Return the relative error of two vectors, the uncertainty of the second, and the verdict."""
    if not g.size:
        return np.nan, np.nan, "at kinks"
    longest = max(np.linalg.norm(g), np.linalg.norm(n))
    if longest == 0:
        return 0.0, 0.0, "agree"
    error, uncertainty = (float(np.linalg.norm(e) / longest) for e in (g - n, noise))
    if uncertainty > 0.1:
        return error, uncertainty, "uncertain"
    return error, uncertainty, "agree" if error <= tolerance + uncertainty else "differ"
