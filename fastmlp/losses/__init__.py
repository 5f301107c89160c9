"""Losses for the estimators' parameter `loss`: small frozen objects, or their names.

The loss of a batch is the weighted mean over its rows of the sum over the outputs. Only squared
error takes the mean over the outputs, while its gradient is still that of the sum: this is
scikit-learn's definition. The formulas are in `fastmlp.formulas.losses`, and in NumPy in
`fastmlp.devices.reference`.
"""

from collections.abc import Iterable

from ..notices import did_you_mean
from .base import Loss
from .classification import BinaryFocal, BinaryLogLoss, Focal, LogLoss
from .custom import Custom
from .regression import (
    AbsoluteError,
    Gamma,
    Huber,
    Poisson,
    Quantile,
    SquaredError,
    Tweedie,
)

__all__ = [
    "CLASSIFICATION",
    "LOSSES",
    "REGRESSION",
    "AbsoluteError",
    "BinaryFocal",
    "BinaryLogLoss",
    "Custom",
    "Focal",
    "Gamma",
    "Huber",
    "LogLoss",
    "Loss",
    "Poisson",
    "Quantile",
    "SquaredError",
    "Tweedie",
    "resolve",
]

_KINDS = (
    SquaredError, AbsoluteError, Huber, Quantile, Poisson, Gamma, Tweedie, LogLoss, BinaryLogLoss,
    Focal, BinaryFocal,
)  # fmt: skip
#: Loss classes by name.
LOSSES: dict[str, type[Loss]] = {kind.name: kind for kind in _KINDS}

#: Names of the regressor's losses and of the classifier's.
REGRESSION = (
    "squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma", "tweedie",
)  # fmt: skip
CLASSIFICATION = ("log_loss", "focal", "squared_error", "absolute_error", "huber")


def resolve(loss: str | Loss, among: Iterable[str] = tuple(LOSSES)) -> Loss:
    """Return the loss with this name; a loss object is returned as it is.

    Raises
    ------
    ValueError
        If it is neither a name in `among` nor a loss object of one of their kinds.
    """
    if isinstance(loss, str) and loss in among:
        return LOSSES[loss]()
    if isinstance(loss, Custom) or (isinstance(loss, Loss) and loss.name in among):
        return loss
    raise ValueError(
        f"Unknown loss: {loss!r}. Expected one of {sorted(among)}, or an object from "
        f"fastmlp.losses.{did_you_mean(loss, sorted(among))}"
    )
