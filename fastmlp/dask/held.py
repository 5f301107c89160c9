"""The rows held out for early stopping, which stay with the members."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from ..devices import EVERYWHERE
from ..devices.device import Sums
from ..network import Network
from ..training import Rows
from .cluster import added
from .parts import Parts
from .windows import Held, joined


def draw_held(parts: Parts, fraction: float, random_state: np.random.RandomState) -> list[Any]:
    """Return what each block holds out: whole blocks, or a share of the rows of each.

    Blocks are drawn until they have the fraction of all rows. With so few or such large ones that
    this would be more than half as many again, or would leave nothing to train on, rows are drawn
    in every block.

    Raises
    ------
    ValueError
        If too few rows would be left to train or to validate on.
    """
    counts = [[summary.rows for summary in part] for part in parts.summaries]
    n = sum(map(sum, counts))
    wanted = int(np.ceil(fraction * n))
    if wanted < 2 or wanted >= n:
        raise ValueError(
            f"No rows can be held out for early stopping: validation_fraction={fraction} of {n} "
            "rows would leave too few to train or to validate on."
        )
    flat = np.concatenate(counts)
    drawn = random_state.permutation(len(flat))
    seeds = random_state.randint(2**32, size=len(flat), dtype=np.uint32)
    needed = int(np.searchsorted(np.cumsum(flat[drawn]), wanted)) + 1
    held = np.zeros_like(flat)
    held[drawn[:needed]] = flat[drawn[:needed]]
    if held.sum() > min(1.5 * wanted, n - 1):
        ends = np.cumsum(flat)  # the shares of all blocks add up to what is wanted
        held = np.diff(np.concatenate([[0], ends * wanted // n]))
    own = iter([Held(int(count), int(seed)) for count, seed in zip(held, seeds, strict=True)])
    return [[next(own) for _ in part] for part in counts]


class HeldOut:
    """Rows that members hold out, in the place of `fastmlp.estimators.holdout.Labelled`.

    Targets and weights are fetched once; features too, where a scorer needs them.

    Parameters
    ----------
    parts : Parts
    held : list of list of Held
        Of each part, of each block.
    """

    def __init__(self, parts: Parts, held: list[Any]):
        self._parts, self.held = parts, held

    @cached_property
    def rows(self) -> Rows:
        """Targets and weights, with features of no columns."""
        return self._fetched(features=False).rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._fetched(features=True))

    def _fetched(self, features):
        windows = self._parts.ask_all("held", features)
        return joined([window for window in windows if window is not None])


class Examiner:
    """Measures parameters on the rows held out, in the place of a device.

    Parameters
    ----------
    parts : Parts
    network : Network
    dtype : dtype
    """

    name = EVERYWHERE  # of a device for the client, where scorers predict

    def __init__(self, parts: Parts, network: Network, dtype: np.dtype):
        self._parts, self.network, self.dtype = parts, network, dtype

    def sums(
        self,
        rows: Rows,
        parameters: np.ndarray,
        gradient: bool = False,
        out: np.ndarray | None = None,
    ) -> Sums:
        """Return the sums over the rows held out, without gradient; see `Device`."""
        answers = self._parts.ask_all("measure", parameters, out is not None)
        if out is not None:
            np.concatenate([outputs for _, _, outputs in answers], out=out)
        return added((loss, weight, None) for loss, weight, _ in answers)
