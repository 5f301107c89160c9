"""Where in a run of batches the kernels are: numbers in the GPU's memory.

Launches can then be recorded once and repeated. A kernel reads only places that none of its own
blocks writes: what is next becomes current in the kernel that gathers, and moves on after it.
"""

import numpy as np

(
    ROW, BATCH, BATCHES, END, BATCH_ROWS, BLOCK_ROWS, SEED, FIRST_STEP, WEIGHTED,
    CURRENT_ROW, CURRENT_ROWS, CURRENT_BATCH,
) = range(12)  # fmt: skip
LENGTH = 12


def at_start(rows, batch_rows, block_rows, *, seed=0, first_step=0, weighted=False):
    """The numbers at the beginning of a run over so many rows, a block of rows at a time.

    `first_step` is the number of steps that the optimiser has done before.
    """
    values = np.zeros(LENGTH, np.int64)
    values[BATCHES] = -(-rows // batch_rows)
    values[END], values[BATCH_ROWS], values[BLOCK_ROWS] = rows, batch_rows, block_rows
    values[SEED], values[FIRST_STEP], values[WEIGHTED] = seed, first_step, weighted
    return values
