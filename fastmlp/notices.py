"""Helpers for messages: the line of the user's own code, and the name that was probably meant."""

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside this package that led here.

    In a call through a pipeline or a search, that line is in scikit-learn, so that a warning filter
    for its modules also applies to these warnings.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """Return " Did you mean 'relu'?" for the nearest of `names`, or "" if none is near.

    Examples
    --------
    >>> did_you_mean("ReLu", ["relu", "tanh"])
    " Did you mean 'relu'?"
    >>> did_you_mean("sine", ["relu", "tanh"])
    ''
    """
    if not isinstance(name, str):
        return ""
    # All names are in lower case, with underscores.
    near = get_close_matches(name.lower().replace(" ", "_").replace("-", "_"), list(names), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _is_ours(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]
