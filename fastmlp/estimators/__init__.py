"""The scikit-learn interface: parameters, validation, labels, fitted attributes."""

from .classifier import MLPClassifier
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
