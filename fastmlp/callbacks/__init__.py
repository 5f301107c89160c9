"""Callbacks for fits, of the protocol of `sklearn.callback`.

The estimators take scikit-learn's callbacks, these, and your own::

    from sklearn.callback import ScoringMonitor
    MLPClassifier().set_callbacks(ScoringMonitor(scoring="accuracy"), EpochLog()).fit(X, y)

A fit has a task for each epoch ("epoch"), or for each iteration of L-BFGS ("iteration"), within the
task of the whole fit ("fit"). At the end of each, callbacks that ask for it get a
`fitted_estimator`, as if the fit had stopped there; one that returns True stops the fit, as if it
had converged. X, y and sample weights are passed as they were passed to `fit`. `partial_fit` calls
no callbacks: the loop around it can do what belongs between epochs.

If a callback raises an exception, so does the fit, and leaves the estimator unchanged. Ctrl-C in a
callback ends training with a warning, and what was reached is kept; before the first epoch, nothing
was.
"""

from .base import Callback
from .checkpoint import Checkpoint
from .epoch_log import EpochLog

__all__ = ["Callback", "Checkpoint", "EpochLog"]
