"""Gradients for inspection: by reverse mode, by central differences, by inputs, of one sample.

`learning_rate_range` trains a network to find its learning rate. Everything else here is about the
objective that training minimises, over the given rows as one batch::

    J = (Σ_i w_i Σ_k L(p_ik, t_ik) + l2/2 Σ W² + l1 Σ |W|) / Σ_i w_i

where L is the loss of one output and W are all weights, without biases. For squared error,
``loss_`` and ``loss_curve_`` are means over the outputs k, as in scikit-learn; training follows the
gradient of the sum, so J is the sum. Dropout is off, as in a prediction, and the gradient is not
clipped.

Examples
--------
>>> from fastmlp import MLPClassifier, inspection
>>> from sklearn.datasets import load_iris
>>> X, y = (rows[::10] for rows in load_iris(return_X_y=True))
>>> classifier = MLPClassifier((5,), "tanh", solver="lbfgs", tol=0.01, random_state=0).fit(X, y)
>>> first, last = inspection.gradients(classifier, X, y)
>>> first.coefs.shape, first.intercepts.shape
((4, 5), (5,))
>>> inspection.check_gradients(classifier, X, y).agrees
True
"""

from .attribution import integrated_gradients
from .check import TOLERANCES, Comparison, GradientCheck, check_gradients
from .differences import STEP
from .gradients import Gradient, gradients, input_gradients, numerical_gradients
from .layers import LayerActivations, activations
from .learning_rates import LearningRateRange, learning_rate_range
from .trace import LayerTrace, Trace, trace

__all__ = [
    "STEP",
    "TOLERANCES",
    "Comparison",
    "Gradient",
    "GradientCheck",
    "LayerActivations",
    "LayerTrace",
    "LearningRateRange",
    "Trace",
    "activations",
    "check_gradients",
    "gradients",
    "input_gradients",
    "integrated_gradients",
    "learning_rate_range",
    "numerical_gradients",
    "trace",
]
