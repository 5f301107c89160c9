"""Helpers for messages: the line of the user's own code, and the name that was probably meant."""

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from types import FrameType

#: The frame of the user's code that called what this thread does for it.
_CALLER: ContextVar[FrameType | None] = ContextVar("caller", default=None)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside this package that led here.

    In a call through a pipeline or a search, that line is in scikit-learn, so that a warning filter
    for its modules also applies to these warnings.
    """
    frame = _outside(sys._getframe(1))
    if frame.f_globals.get("__name__") == "threading":  # a thread of this package begins there
        frame = _CALLER.get() or frame
    module = frame.f_globals
    registry = module.setdefault("__warningregistry__", {})
    place = frame.f_code.co_filename, frame.f_lineno, module.get("__name__", "<string>")
    warnings.warn_explicit(message, category, *place, registry)


@contextmanager
def calling() -> Iterator[None]:
    """Let warnings in threads that copy this context point to the user's line that led here."""
    before = _CALLER.set(_outside(sys._getframe(2)))  # beyond the context manager's own frame
    try:
        yield
    finally:
        _CALLER.reset(before)


def _outside(frame: FrameType) -> FrameType:
    """Return the innermost frame outside this package that led to this one."""
    while frame.f_back is not None and _is_ours(frame):
        frame = frame.f_back
    return frame


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
