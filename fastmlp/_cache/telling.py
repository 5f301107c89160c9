"""Messages, once in a process each, about waits that look like a program that hangs.

They go to the logger ``fastmlp``, at level INFO. If logging is not configured to show them, they
are also printed to stderr; if it is, they are not, as its handler may print to stderr itself.
"""

import contextlib
import logging
import sys

_told: set[str] = set()


def tell_once(subject: str, message: str) -> None:
    """Show `message`, unless this process has had one on this subject."""
    if subject in _told:
        return
    _told.add(subject)
    logger = logging.getLogger("fastmlp")
    logger.info(message)
    is_shown = logger.isEnabledFor(logging.INFO) and logger.hasHandlers()
    if not is_shown and sys.stderr is not None:  # None in a program without a console
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            print(message, file=sys.stderr, flush=True)


def silence(subject: str) -> None:
    """Show no message on this subject in this process."""
    _told.add(subject)
