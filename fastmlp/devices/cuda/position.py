"""The kernels' position in a run of batches: numbers in the GPU's memory.

This lets launches be recorded once and repeated. A kernel reads only numbers that none of its own
blocks writes: the kernel that gathers copies the next position to the current one, and a later
kernel advances the next one.
"""

import numpy as np

(
    ROW, BATCH, BATCHES, END, BATCH_ROWS, BLOCK_ROWS, SEED, FIRST_STEP, WEIGHTED,
    CURRENT_ROW, CURRENT_ROWS, CURRENT_BATCH,
) = range(12)  # fmt: skip
LENGTH = 12


def at_start(rows, batch_rows, block_rows, *, seed=0, first_step=0, weighted=False):
    """Return the numbers at the beginning of a run over `rows` rows, `block_rows` at a time.

    `first_step` is the number of steps that the optimiser has already done.
    """
    values = np.zeros(LENGTH, np.int64)
    values[BATCHES] = -(-rows // batch_rows)
    values[END], values[BATCH_ROWS], values[BLOCK_ROWS] = rows, batch_rows, block_rows
    values[SEED], values[FIRST_STEP], values[WEIGHTED] = seed, first_step, weighted
    return values
