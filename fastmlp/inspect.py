"""Former name of `fastmlp.inspection`, kept so that existing imports still work."""

from .inspection import *  # noqa: F403
from .inspection import __all__ as __all__
