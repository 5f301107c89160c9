"""Pictures of networks, in scikit-learn's convention for Displays.

A Display is made by its ``from_estimator``, which computes what is to be seen and draws it. It
keeps the numbers as attributes, draws them again on other axes with ``plot(ax=...)``, and leaves
what it has drawn on in ``ax_`` and ``figure_``. matplotlib is imported when something is drawn:
``pip install 'fastmlp[plot]'``. ``python -m fastmlp gallery DIR`` writes one picture of each.

Decision boundaries are drawn by `sklearn.inspection.DecisionBoundaryDisplay`, which takes these
estimators as it takes all others.

Examples
--------
>>> from fastmlp import MLPClassifier
>>> from fastmlp.displays import LossCurveDisplay
>>> from sklearn.datasets import load_iris
>>> classifier = MLPClassifier(early_stopping=True, random_state=0)
>>> classifier = classifier.fit(*load_iris(return_X_y=True))
>>> display = LossCurveDisplay.from_estimator(classifier)  # doctest: +SKIP
>>> display.ax_.set_yscale("log")  # doctest: +SKIP
"""

from ._axes import BLUE, GREEN, GREY, ORANGE
from .activation import ActivationDisplay
from .gradient_error import GradientErrorDisplay
from .gradient_flow import GradientFlowDisplay
from .loss_curve import LossCurveDisplay
from .network import NetworkDisplay

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "ActivationDisplay",
    "GradientErrorDisplay",
    "GradientFlowDisplay",
    "LossCurveDisplay",
    "NetworkDisplay",
]
