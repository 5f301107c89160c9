"""The fit loops: epochs of an optimiser, and L-BFGS."""

from ..devices.device import Rows
from .averaging import Averaging, Weights
from .epochs import EpochState, Plan, batches_with_weight, fit_epochs
from .lbfgs import fit_lbfgs
from .objective import loss_and_gradient
from .observer import UNOBSERVED, Observer
from .optimizer import OptimizerState
from .printer import Printer
from .progress import Progress

__all__ = [
    "UNOBSERVED", "Averaging", "EpochState", "Observer", "OptimizerState", "Plan", "Printer",
    "Progress", "Rows", "Weights",
    "batches_with_weight", "fit_epochs", "fit_lbfgs", "loss_and_gradient",
]  # fmt: skip

#: Its name in pickles of version 0.1.0.
Optimizer = OptimizerState
