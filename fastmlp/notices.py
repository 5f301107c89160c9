"""Warnings that point to the line of the user's own code."""

import sys
import warnings


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside this package that led here.

    In a call through a pipeline or a search, that line is in scikit-learn, so that a warning filter
    for its modules also applies to these warnings.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_ours(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]
