"""A JIT-compiled multi-layer perceptron behind scikit-learn's interface."""

__version__ = "0.1.0"

from .estimators import MLPClassifier, MLPRegressor
from .info import show_versions

__all__ = ["MLPClassifier", "MLPRegressor", "__version__", "show_versions"]
