"""The sizes of blocks of work, from the sizes of the caches: all of them are chosen here.

Sizes are those of the smallest caches that CPUs of the last ten years have. Larger ones gain
little: what a block saves is paid for once a block, and is small beside its arithmetic already.

=========  =========================================================================================
`DEPTH`    Rows of a panel of the right factor that stay in L1 while one tile of rows after the
           other meets them. Half of L1: the left factor and the product pass through the rest.
`GROUP`    Rows of a panel of weights whose gradient is computed as a whole and then applied: one
           job. Three eighths of L1, beside half of it for a block of deltas.
`CHUNK`    Rows of the batch that go through all layers together. A block of weights is read from
           L2 once a chunk, at 32 bytes a cycle at least: 4 cycles a row of 128 bytes. Meanwhile two
           units do ``CHUNK * VECTORS`` multiply-adds in 64 cycles, so that even unhidden reads
           take a sixteenth. Of more rows, wide layers' values would leave L2 (64 rows of two layers
           of 1024 float32 take 512 KB), and a batch would have too few chunks for its threads.
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
