"""An estimator that is trained step by step, for what is recorded between the steps."""

from typing import Any

from sklearn.base import clone, is_classifier
from sklearn.utils import compute_sample_weight

from ..estimators.base import BaseMLP
from ..estimators.labels import classes_of
from ..estimators.types import LabelsLike, WeightsLike


def for_partial_fits(
    estimator: BaseMLP, y: LabelsLike, sample_weight: WeightsLike | None
) -> tuple[BaseMLP, dict[str, Any]]:
    """Return a clone whose `partial_fit` does what an epoch of `fit` does, and its keywords.

    Early stopping, warm starts and averages of the weights are off. Balanced class weights, which
    `partial_fit` does not accept, become weights of the rows.
    """
    network = clone(estimator).set_params(early_stopping=False, warm_start=False, averaging=None)
    if network.get_params().get("class_weight") == "balanced":
        network.set_params(class_weight=None)
        balanced = compute_sample_weight("balanced", y)
        sample_weight = balanced if sample_weight is None else balanced * sample_weight
    known = {"classes": classes_of(y)} if is_classifier(estimator) else {}
    return network, {"sample_weight": sample_weight, **known}
