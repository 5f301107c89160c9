"""Inverted dropout: what a value is multiplied by in a training batch.

Whether a value is kept depends on its unit and its row in the batch, on the step and on the fit's
seed, through a generator that has no state but these numbers: masks are the same on every device
and for any number of threads, and none is ever stored.
"""

from .._jit import formula
from .random import at_least

WORDS = 2.0**32


@formula
def threshold(share):
    """The least random word of a value that is kept."""
    return int(share * WORDS)


@formula
def kept_scale(share, like):
    """What a kept value is multiplied by, so that sums stay what they are on average."""
    return type(like)(1.0 / (1.0 - share))


@formula
def kept(threshold, scale, seed, step, row, unit):
    """The scale where the value of a unit in a row of the batch is kept, else 0."""
    return scale if at_least(threshold, seed, step, row, unit) else type(scale)(0)
