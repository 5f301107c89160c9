"""The kernels' position in a run of batches: numbers in the GPU's memory.

This lets launches be recorded once and repeated. A kernel reads only numbers that none of its own
blocks writes: the kernel that gathers copies the next position to the current one, and a later
kernel advances the next one.

In a run of several networks at once, each has a position of its own, which counts batches and
visited rows among those of all. PLACE is the network's place; the last three numbers are what is
added to the first row of a batch, and what turns the number of a row of X into that of its target
or weight.
"""

import numpy as np

(
    ROW, BATCH, BATCHES, END, BATCH_ROWS, BLOCK_ROWS, SEED, FIRST_STEP, WEIGHTED,
    CURRENT_ROW, CURRENT_ROWS, CURRENT_BATCH,
    PLACE, ORDER, TARGETS, WEIGHTS,
) = range(16)  # fmt: skip
LENGTH = 16


def at_start(rows, batch_rows, block_rows, *, seed=0, first_step=0, weighted=False):
    """Return the numbers at the beginning of a run over `rows` rows, `block_rows` at a time.

    `first_step` is the number of steps that the optimiser has already done.
    """
    values = np.zeros(LENGTH, np.int64)
    values[BATCHES] = -(-rows // batch_rows)
    values[END], values[BATCH_ROWS], values[BLOCK_ROWS] = rows, batch_rows, block_rows
    values[SEED], values[FIRST_STEP], values[WEIGHTED] = seed, first_step, weighted
    return values
