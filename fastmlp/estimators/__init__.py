"""The scikit-learn face: parameters, validation, labels, fitted attributes."""

from .classifier import MLPClassifier
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
