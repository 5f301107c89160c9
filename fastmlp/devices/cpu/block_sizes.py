"""The block sizes, derived from the cache sizes; all of them are chosen here.

The cache sizes are the smallest among CPUs of the last ten years. Larger blocks gain little: the
cost that a block avoids occurs once per block, and is already small compared to its arithmetic.

=========  =========================================================================================
`DEPTH`    Rows of a panel of the right factor that stay in L1 while the tiles of rows are
           multiplied with them in turn. Half of L1: the left factor and the product stream
           through the rest.
`GROUP`    Rows of a panel of weights whose gradient is computed and then applied as a whole: one
           job. Three eighths of L1, in addition to half of it for a block of deltas.
`CHUNK`    Rows of the batch that go through all layers together. A block of weights is read from
           L2 once per chunk, at 32 bytes per cycle or more: 4 cycles per row of 128 bytes.
           Meanwhile two units do ``CHUNK * VECTORS`` multiply-adds in 64 cycles, so that reads
           take a sixteenth of the time even if not overlapped. With more rows, the activations of
           wide layers would not fit in L2 (64 rows of two layers of 1024 float32 take 512 KB), and
           a batch would have too few chunks for its threads.
=========  =========================================================================================
"""

from .microkernel import ROWS
from .vectors import VECTOR_BYTES, VECTORS

L1_BYTES = 32 * 1024
_PANEL_ROW = VECTORS * VECTOR_BYTES

DEPTH = L1_BYTES // 2 // _PANEL_ROW
GROUP = L1_BYTES * 3 // 8 // _PANEL_ROW
CHUNK = 64

assert DEPTH % (_PANEL_ROW // 4) == 0, "a block begins where a panel of the left factor does"
assert GROUP % ROWS == CHUNK % ROWS == 0, "blocks are whole tiles"
