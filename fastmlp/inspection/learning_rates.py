"""The loss while the learning rate rises: which learning rates suit a network."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import check_random_state, shuffle

from ..estimators.base import BaseMLP
from ..estimators.parameters import batch_rows
from ..estimators.problem import check_ours
from ..estimators.types import LabelsLike, MatrixLike, WeightsLike
from ..schedules import Schedule
from ._steps import for_partial_fits

#: Training has diverged when the loss is this many times that of the first batch.
DIVERGED = 4.0


@dataclass(frozen=True)
class Rising(Schedule):
    """η rises from η₀ to `most` by the same factor in each of `steps` steps."""

    most: float = 1.0
    steps: int = 2

    def rates(self, learning_rate: float, first_step: int, count: int) -> np.ndarray:
        """Return the learning rates of consecutive steps; see `Schedule`."""
        share = (first_step + np.arange(count)) / (self.steps - 1)
        return self.initial * (self.most / self.initial) ** share


@dataclass(frozen=True)
class LearningRateRange:
    """The result of a learning-rate range test.

    Attributes
    ----------
    rates : ndarray of shape (n_steps,)
        The learning rate of each step, rising.
    losses : ndarray of shape (n_steps,)
        The loss of each step's batch, penalty included, before the step.
    smoothed : ndarray of shape (n_steps,)
        Centred means of the losses, as those of single batches vary.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray

    @property
    def suggestion(self) -> float:
        """The learning rate at which the smoothed loss falls fastest, by the logarithm of the rate.

        It suits `learning_rate_init`, also as the largest rate of a schedule. NaN if the loss never
        falls.
        """
        lowest = int(np.argmin(self.smoothed))
        if lowest == 0:
            return float("nan")
        slopes = np.gradient(self.smoothed, np.log(self.rates))
        return float(self.rates[np.argmin(slopes[: lowest + 1])])


def learning_rate_range(
    estimator: BaseMLP,
    X: MatrixLike,
    y: LabelsLike,
    sample_weight: WeightsLike | None = None,
    *,
    least: float = 1e-6,
    most: float = 10.0,
    steps: int = 100,
) -> LearningRateRange:
    """Train a clone with a learning rate that rises with each batch, and record the losses.

    If the rate is too small, the loss stays as it is; then it falls; then it rises again. Smith,
    "Cyclical learning rates for training neural networks", 2017 (first published in 2015), section
    3.3; here the rate rises by a factor, not by a summand, to cover several magnitudes.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        The estimator to clone, with a stochastic solver; it need not be fitted and is not changed.
        The clone starts from new weights, and has no early stopping.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Data to train on, on the host. Each step draws a new batch of `batch_size` rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels or targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.
    least, most : float, default=1e-6, 10.0
        The learning rates of the first step and of the last.
    steps : int, default=100
        Number of steps, at least 3. There are fewer if the loss becomes infinite, NaN, or more than
        four times that of the first batch.

    Returns
    -------
    result : LearningRateRange
        Rates, losses, and a suggestion.

    Raises
    ------
    TypeError
        If it is no estimator of fastmlp.
    ValueError
        If the solver is "lbfgs", if not ``0 < least < most`` or ``steps >= 3``, or for the same
        reasons as in `fit`.

    Examples
    --------
    >>> from fastmlp import MLPClassifier, inspection
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((20,), random_state=0)
    >>> found = inspection.learning_rate_range(classifier, X, y)
    >>> 1e-3 < found.suggestion < 1
    True
    >>> classifier = classifier.set_params(learning_rate_init=found.suggestion)
    """
    check_ours(estimator)
    if estimator.solver == "lbfgs":
        raise ValueError("Solver 'lbfgs' has no learning rate.")
    if not (0 < least < most and steps >= 3):
        raise ValueError(
            f"Expected 0 < least < most and at least 3 steps, got least={least!r}, most={most!r}, "
            f"steps={steps!r}."
        )
    network, keywords = for_partial_fits(estimator, y, sample_weight)
    weights = keywords.pop("sample_weight")
    given: tuple[Any, ...] = (X, y) if weights is None else (X, y, weights)
    random_state = check_random_state(network.random_state)
    rows = batch_rows(network, np.shape(given[0])[0])
    network.set_params(
        learning_rate=Rising(least, most, steps),
        batch_size=rows,
        random_state=random_state,
    )
    losses: list[float] = []
    for _ in range(steps):
        batch = shuffle(*given, random_state=random_state, n_samples=rows)
        if not _step(network, batch, keywords, losses):
            break
    rates = Rising(least, most, steps).rates(least, 0, len(losses))
    return LearningRateRange(rates, np.array(losses), _centred_means(np.array(losses)))


def _step(network, batch, keywords, losses):
    """Train on one batch and append its loss; return whether training has not diverged."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            network.partial_fit(*batch, **keywords)
    except ValueError:
        # The first batch may be rejected for any reason. Later ones are like it: the parameters are
        # no longer finite.
        if not losses:
            raise
        return False
    if not network.loss_ <= DIVERGED * (losses[0] if losses else np.inf):
        return False
    losses.append(network.loss_)
    return True


def _centred_means(losses):
    """Return the mean of each loss and its neighbours, up to a twentieth of all on each side."""
    side = max(1, len(losses) // 20)
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    places = np.arange(len(losses))
    first, last = np.maximum(places - side, 0), np.minimum(places + side + 1, len(losses))
    return (sums[last] - sums[first]) / (last - first)
