"""What follows a fit while it trains."""

from collections.abc import Callable

import numpy as np


class Observer:
    """Follows the epochs or iterations of a fit. This one, the default, does nothing.

    An exception in a method ends training like one in training itself.
    """

    def begins(self) -> None:
        """Learn that an epoch or iteration begins."""

    def ended(self, parameters: Callable[[], np.ndarray]) -> bool:
        """Learn that it has ended.

        Parameters
        ----------
        parameters : callable
            Returns a copy of the packed parameters. A device takes time for that, so it is only
            called by those who need them.

        Returns
        -------
        stop : bool
            Whether to end training here.
        """
        return False

    def part_begins(self) -> None:
        """Learn that a part of an epoch begins, on a device that trains in parts."""

    def part_ended(self, parameters: Callable[[], np.ndarray]) -> bool:
        """Learn that a part of an epoch has ended; return whether to end the epoch and the fit."""
        return False


UNOBSERVED = Observer()
