"""Inverted dropout: the factor that each value is multiplied by in a training batch.

Whether a value is kept depends only on its unit, its row in the batch, the step and the fit's seed,
because the random generator has no other state. Masks are therefore the same on every device and
for any number of threads, and are never stored.
"""

from .._jit import formula
from .random import at_least

WORDS = 2.0**32


@formula
def threshold(share):
    """Return the smallest random word for which a value is kept."""
    return int(share * WORDS)


@formula
def kept_scale(share, like):
    """Return the factor of a kept value, chosen so that sums stay the same on average."""
    return type(like)(1.0 / (1.0 - share))


@formula
def kept(threshold, scale, seed, step, row, unit):
    """Return `scale` if the value of this unit in this row of the batch is kept, else 0."""
    return scale if at_least(threshold, seed, step, row, unit) else type(scale)(0)
