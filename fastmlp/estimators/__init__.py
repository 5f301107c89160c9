"""The scikit-learn interface: parameters, validation, labels, fitted attributes."""

from .classifier import MLPClassifier
from .loading import from_sklearn, load, trusted_types
from .many import fit_many
from .regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "fit_many", "from_sklearn", "load", "trusted_types"]
