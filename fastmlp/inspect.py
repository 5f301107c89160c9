"""The former name of `fastmlp.inspection`, which code written for it may go on importing."""

from .inspection import *  # noqa: F403
from .inspection import __all__ as __all__
