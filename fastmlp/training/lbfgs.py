"""Training by L-BFGS, over all rows at once."""

from collections.abc import Callable

import numpy as np
import scipy.optimize

from ..devices.device import Device, Rows
from ..notices import warn
from .objective import loss_and_gradient
from .observer import UNOBSERVED, Observer
from .progress import Progress


def fit_lbfgs(
    device: Device,
    parameters: np.ndarray,
    rows: Rows,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    validate: Callable[[np.ndarray], tuple[float, float]] | None = None,
    progress: Progress | None = None,
    observer: Observer = UNOBSERVED,
) -> scipy.optimize.OptimizeResult:
    """Minimise the loss over all rows by L-BFGS-B, from `parameters`.

    SciPy keeps its own state in float64; loss and gradient are computed in the parameters' dtype.
    If interrupted by Ctrl-C, warn and return the parameters with the lowest loss so far. Loss and
    score on validation rows, which `validate` returns, are recorded in `progress` after each
    iteration; they decide nothing. The observer learns when each iteration begins and ends. If it
    stops training, the result has the status of success.
    """
    best = scipy.optimize.OptimizeResult(x=parameters, fun=np.inf, nit=0, status=0)
    running = stopped = False

    def objective(x):
        nonlocal running
        if not running:  # only an evaluation shows that SciPy begins another iteration
            running = True
            observer.begins()
        loss, gradient = loss_and_gradient(device, x, rows)
        if loss < best.fun:
            best.x, best.fun = x.astype(device.dtype), loss
        return loss, gradient

    def after_iteration(intermediate_result):
        nonlocal running, stopped
        best.nit += 1
        if progress is not None:
            progress.epochs, progress.loss = best.nit, float(intermediate_result.fun)
        running = False
        try:
            if validate is not None and progress is not None:
                measured = validate(intermediate_result.x.astype(device.dtype))
                progress.record_validation(*measured, tol, epoch=best.nit)
            stopped = observer.ended(lambda: intermediate_result.x.astype(device.dtype))
        except StopIteration as error:  # SciPy would take it for the one below
            raise RuntimeError("a callback or scorer raised StopIteration") from error
        if stopped:
            raise StopIteration

    try:
        result = scipy.optimize.minimize(
            objective,
            parameters,
            method="L-BFGS-B",
            jac=True,
            callback=after_iteration,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
        if stopped:
            result.status, result.success = 0, True
        return result
    except KeyboardInterrupt:
        if best.fun == np.inf:  # there is no result yet to keep
            raise
        warn("Training interrupted by user.")
        return best
