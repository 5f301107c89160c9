"""Compile ahead, so that later processes need not: for container images, shared installations."""

import time
import warnings
from collections.abc import Iterable

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from .._cache import CACHE
from .._cache.telling import silence
from .._jit import JIT_DISABLED
from ..devices import compile_ahead, count_compiled
from ..estimators import MLPClassifier
from .info import cache_files

DTYPES = ("float32", "float64")


class WarmupError(RuntimeError):
    """There is nothing to compile, or no place to save it."""


def run(dtypes: Iterable[str] = DTYPES) -> None:
    """Compile the CPU device for each of `dtypes`; print the times, and where the code is kept.

    Raises
    ------
    WarmupError
        If compiled code was not saved, so that the next process would compile again.
    """
    if JIT_DISABLED:
        raise WarmupError("NUMBA_DISABLE_JIT is set: there is nothing to compile")
    # Without a folder, all the compiling would be wasted.
    if CACHE.path is None and not cache_files():
        raise WarmupError(
            "no folder for compiled code is writable; set FASTMLP_CACHE_DIR to one that is"
        )
    silence("compiling")  # the times printed here say the same
    for dtype in dtypes:
        kept_before = cache_files()
        start = time.perf_counter()
        compile_for(dtype)
        seconds = time.perf_counter() - start
        added = len(cache_files().keys() - kept_before.keys())
        state = f"files added: {added}" if added else "already saved"
        print(f"{dtype}  {seconds:5.1f} s  {state}", flush=True)
    _check_kept()
    folders = sorted({str(file.parent) for file in cache_files().values()})
    print(f"saved in {', '.join(folders)}")


def compile_for(dtype: str) -> None:
    """Compile everything that networks of this dtype need, for any shape, data and settings."""
    compile_ahead(np.dtype(dtype))
    rows = 4096  # too many to be predicted row by row
    X = np.linspace(-1, 1, 2 * rows, dtype=dtype).reshape(rows, 2)
    y = np.arange(rows) % 2
    # The walks depend on the dtype, and on whether rows are sparse or a network has what few have:
    # layers, loops and data are passed as numbers. One walk trains; two others sum a gradient and
    # apply it, which a bound of its norm requires.
    for data in (sparse.csr_array(X), X):
        for settings in ({}, {"solver": "lbfgs"}, {"clip_norm": 1.0}):
            network = MLPClassifier((64,), max_iter=1, random_state=0, device="cpu", **settings)
            fit_or_interrupt(network, data, y)
        for some in (data, data[:1]):  # the walk for many rows, and that for few
            network.predict(some)
    predictor = network.compiled_predictor()
    predictor(X)
    predictor.gradient(X)


def fit_or_interrupt(estimator, X, y):
    """Fit for the requested epochs, whether or not they are enough to converge.

    On Ctrl-C, a fit normally stops early and keeps the weights; here it ends the program.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("error", "Training interrupted", UserWarning)
        try:
            return estimator.fit(X, y)
        except UserWarning:
            raise KeyboardInterrupt from None


def _check_kept():
    """Check that the code was saved: only here, an unwritable cache or full disk is an error."""
    compiled = count_compiled()
    kept = len(cache_files())
    if kept < compiled:
        raise WarmupError(
            f"only {kept} of {compiled} compiled functions were saved: the cache folder, "
            f"{CACHE.path}, is not writable or is full; set FASTMLP_CACHE_DIR to another"
        )
