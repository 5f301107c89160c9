"""What is said to the user besides results: warnings that point to the user's own line."""

import sys
import warnings


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside of this package that led here.

    Called through a pipeline or a search, that line is scikit-learn's, so that a filter for its
    modules takes in these warnings, too.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_ours(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]
