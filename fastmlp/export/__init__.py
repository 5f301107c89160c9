"""Fitted networks in other languages and formats: C and ONNX.

Examples
--------
>>> from fastmlp import MLPClassifier
>>> from fastmlp.export import to_c
>>> from sklearn.datasets import load_iris
>>> X, y = load_iris(return_X_y=True)
>>> network = MLPClassifier((5,), solver="lbfgs", tol=0.01, random_state=0).fit(X, y)
>>> "void iris_predict(const double *x, double *out)" in to_c(network, name="iris")
True
"""

from .c import to_c
from .onnx import to_onnx
from .skl2onnx import register_skl2onnx

__all__ = ["register_skl2onnx", "to_c", "to_onnx"]
