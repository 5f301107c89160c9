"""Pictures of networks, in scikit-learn's convention for Displays.

A Display is created by its ``from_estimator``, which computes the data and draws it. It keeps the
data as attributes, draws it again on other axes with ``plot(ax=...)``, and stores the axes and
figure in ``ax_`` and ``figure_``. matplotlib is imported when something is drawn:
``pip install 'fastmlp[plot]'``. ``python -m fastmlp gallery DIR`` writes one picture of each kind.

Decision boundaries are drawn by `sklearn.inspection.DecisionBoundaryDisplay`, which accepts these
estimators like all others.

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
from .integrated_gradients import IntegratedGradientsDisplay
from .learning_rate_range import LearningRateRangeDisplay
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
    "IntegratedGradientsDisplay",
    "LearningRateRangeDisplay",
    "LossCurveDisplay",
    "NetworkDisplay",
]
