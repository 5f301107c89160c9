"""What a fit reaches on its validation rows: their loss, and the score of early stopping."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import check_scoring

from ..devices.device import ZERO_WEIGHT, Device
from .fitted import take_weights
from .holdout import Labelled

if TYPE_CHECKING:
    from .base import BaseMLP

#: Most validation rows in one block of the sums.
BLOCK = 1024


def measurement(
    estimator: BaseMLP, trained: Device, validation: Labelled
) -> Callable[[np.ndarray], tuple[float, float]]:
    """Return a function that measures packed parameters on the validation rows.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Says how to score.
    trained : Device
        The device that trains.
    validation : Labelled
        The rows.

    Returns
    -------
    measure : callable
        From parameters to the mean loss, without penalties, and the score: larger is better.
        If all rows have weight 0, both are NaN, which is neither an improvement nor a stall. A
        scorer is not called, and the score is NaN, where the loss is not finite: the metrics of
        scikit-learn fail on such predictions.

    Raises
    ------
    ValueError
        If `scoring` is not a scorer.
    """
    rows = validation.rows
    if rows.weights is not None and not rows.weights.any():
        return lambda parameters: (np.nan, np.nan)
    device = estimator._examiner(trained, validation)
    scoring, outputs = estimator.scoring, None
    score: Callable[[np.ndarray, float], float]
    if scoring is None:  # from the same pass over the rows as the loss
        outputs = np.empty(rows.targets.shape, device.dtype)
        score = partial(_own_score, estimator, rows, outputs)
    elif isinstance(scoring, str) and scoring == "loss":
        score = _by_loss
    else:
        score = _scorer(estimator, device, validation)

    def measure(parameters):
        sums = device.sums(rows, parameters, gradient=False, out=outputs)
        if sums.weight == 0:
            raise ZeroDivisionError(ZERO_WEIGHT)
        loss = sums.loss / sums.weight
        return loss, score(parameters, loss)

    return measure


# Each score is a function of parameters, which the device holds already, and their loss.


def _own_score(estimator, rows, outputs, parameters, loss):
    return estimator._score_outputs(outputs, rows.targets, rows.weights)


def _by_loss(parameters, loss):
    return -loss


def _scorer(estimator, device, validation):
    (X, _, weights), y = validation
    call = check_scoring(estimator, scoring=estimator.scoring)
    # An estimator that shares everything with the one that is fitted, except its weights.
    fitted = copy(estimator).set_params(device=device.name)
    vars(fitted).pop("feature_names_in_", None)  # X is an array by now
    weighted = {} if weights is None else {"sample_weight": weights}

    def score(parameters, loss):
        if not np.isfinite(loss):
            return np.nan
        take_weights(fitted, device.network, parameters)
        try:
            return float(call(fitted, X, y, **weighted))
        except Exception as error:
            error.add_note(f"This is of scoring={estimator.scoring!r}, on the validation rows.")
            raise

    return score
