"""The scikit-learn interface: parameters, validation, labels, fitted attributes."""

from .classifier import MLPClassifier
from .loading import from_sklearn, load, trusted_types
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn", "load", "trusted_types"]
