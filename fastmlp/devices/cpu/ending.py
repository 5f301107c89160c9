"""Make the interpreter's shutdown wait until no thread is in compiled code any more.

Before version 3.14, CPython ends a daemon thread that returns from compiled code during shutdown
by unwinding its stack. Frames of compiled code cannot be unwound, so the process would abort.
"""

import atexit
import functools
import os
import threading
import time
from collections.abc import Callable

#: The longest that the shutdown waits, in seconds; one walk takes a fifth of a second.
LIMIT = 10.0


class _Presence:
    """The threads in compiled code, as a context: ``with PRESENCE: ...``."""

    def __init__(self):
        self.inside: set[int] = set()
        self._ending = False
        atexit.register(self._end)
        if hasattr(os, "register_at_fork"):  # a child has none of its parent's other threads
            os.register_at_fork(after_in_child=self.inside.clear)

    def check(self) -> None:
        """End this thread if the interpreter is shutting down: it would end soon anyway.

        Raises
        ------
        SystemExit
            In any thread except the main one, which may still have work to do.
        """
        if self._ending and threading.current_thread() is not threading.main_thread():
            raise SystemExit("The interpreter is ending.")

    def __enter__(self):
        self.check()
        self.inside.add(threading.get_ident())

    def __exit__(self, *exception):
        self.inside.discard(threading.get_ident())

    def _end(self):
        self._ending = True
        start = time.monotonic()
        while self.inside - {threading.get_ident()} and time.monotonic() - start < LIMIT:
            time.sleep(0.001)


PRESENCE = _Presence()


def present(verb: Callable) -> Callable:
    """Decorate a device's method so that the interpreter's shutdown waits for it."""
    inside, here = PRESENCE.inside, threading.get_ident

    @functools.wraps(verb)
    def in_presence(*arguments, **settings):
        PRESENCE.check()
        inside.add(here())
        try:
            return verb(*arguments, **settings)
        finally:
            inside.discard(here())

    return in_presence
