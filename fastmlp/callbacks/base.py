"""A callback that does nothing, to derive others from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.callback import CallbackContext


class Callback:
    """A callback of scikit-learn's protocol that does nothing. Subclasses override what they need.

    The last two methods may also take any of the keyword-only parameters `X`, `y`, `metadata` and
    `fitted_estimator`, which are computed only if a callback has them in its signature.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> class StopEarly(Callback):
    ...     def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
    ...         return context.task_name == "epoch" and fitted_estimator.loss_ < 0.1
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]
    >>> network = MLPRegressor(solver="sgd", random_state=0).set_callbacks(StopEarly())
    >>> network.fit(X, y).loss_ < 0.1
    True
    """

    def setup(self, estimator: Any, context: CallbackContext) -> None:
        """Prepare for a fit of the estimator, which begins."""

    def teardown(self, estimator: Any, context: CallbackContext) -> None:
        """Clean up after a fit of the estimator, which has ended or failed."""

    def on_fit_task_begin(self, estimator: Any, context: CallbackContext) -> None:
        """Act at the beginning of a task."""

    def on_fit_task_end(self, estimator: Any, context: CallbackContext) -> bool | None:
        """Act at the end of a task; return True to stop the fit."""
        return None
