"""The time that a process spends compiling, and a message when the user has waited for a while."""

import time

from .telling import tell_once

try:
    from numba.core import event
    from numba.core.event import Listener
except ImportError:  # nothing is measured, see `Stopwatch`
    event, Listener = None, object

#: Seconds of compiling, all functions together, after which the message appears.
PATIENCE = 2
#: Numba sends this event before and after each pass over each function. None takes much longer than
#: a second, so that the compiling thread itself can look at the clock: a timer would need another
#: thread, which might hold the lock of stderr in the moment of a fork.
_PASS = "numba:run_pass"


class Stopwatch(Listener):
    """Measures from now on how long a thread compiles one function.

    Parameters
    ----------
    is_kept : bool
        Whether the compiled code is saved, so that no later process compiles it again.

    Raises
    ------
    Exception
        If this version of Numba does not tell its passes.
    """

    #: Seconds, of all functions that this process has compiled.
    spent = 0.0

    def __init__(self, is_kept: bool):
        self._is_kept = is_kept
        self._start = time.monotonic()
        event.register(_PASS, self)

    def stop(self):
        """Add the time to that of the process."""
        event.unregister(_PASS, self)
        Stopwatch.spent += time.monotonic() - self._start

    def on_start(self, event):
        self._look()

    def on_end(self, event):
        self._look()

    def _look(self):
        if Stopwatch.spent + time.monotonic() - self._start >= PATIENCE:
            tell_once("compiling", _KEPT if self._is_kept else _NOT_KEPT)


_KEPT = (
    "fastmlp: compiling for this processor. This takes 5 to 15 seconds for each of float32 and "
    "float64, once on this machine. To compile in advance: python -m fastmlp warmup"
)
_NOT_KEPT = (
    "fastmlp: compiling for this processor. This takes 5 to 15 seconds for each of float32 and "
    "float64, and again in every process, because no folder for compiled code is writable. Set "
    "FASTMLP_CACHE_DIR to one that is, then run: python -m fastmlp warmup"
)
