"""Matrix products, tile by tile, on panels."""

from ..._jit import kernel, never_inlined
from .block_sizes import DEPTH
from .microkernel import ADD, ROWS, tile
from .panels import Panels, panel_of, panel_width
from .vectors import ZERO


@kernel
def panel_block(Y, k):
    """Return the `DEPTH` rows of a panel from row k on, or those that there are."""
    depth, start = min(DEPTH, Y.rows - k), Y.start + k * Y.row_stride
    return Panels(Y.data, start, depth, Y.columns, Y.row_stride, ZERO)


@kernel
def how_block(Y, k, how):
    """Return how the product of the block from row k on is combined, if the whole one is by `how`.

    The blocks are added up; what else is done with a product waits for the last one.
    """
    then = how if k + DEPTH >= Y.rows else how & ADD
    return then | ADD if k > 0 else then


@kernel
def panel_product(C, X, Y, how, G):
    """Compute C = X Y for one panel Y; C and G, a gate, have the same columns.

    Whole tiles are computed, also past the end of C. To be multiplied with C, X Y must be complete
    at once, so Y then has at most `DEPTH` rows.
    """
    for k in range(0, Y.rows, DEPTH):
        for i in range(0, C.rows, ROWS):
            tile(C, X, panel_block(Y, k), i, k, ROWS, how_block(Y, k, how), G)


@kernel
def exact_product(C, X, Y, first, how):
    """Compute rows from `first` on, where a tile begins, of C = X Y, for one panel Y.

    The last rows are computed by tiles of fewer rows: nothing is written past the end of C. The
    product is only stored, or added to C.
    """
    never_inlined()
    left = (C.rows - first) % ROWS
    whole = C.rows - left
    for k in range(0, Y.rows, DEPTH):
        block, then = panel_block(Y, k), how_block(Y, k, how)
        for i in range(first, whole, ROWS):
            tile(C, X, block, i, k, ROWS, then, None)
        if left & 4:
            tile(C, X, block, whole, k, 4, then, None)
        if left & 2:
            tile(C, X, block, whole + (left & 4), k, 2, then, None)
        if left & 1:
            tile(C, X, block, C.rows - 1, k, 1, then, None)


@kernel
def product(C, X, Y, how, G):
    """Compute C = X Y; the columns of Y, C and G, a gate, are padded to whole vectors."""
    for j in range(0, Y.columns, panel_width(Y.data)):
        panel_product(panel_of(C, j), X, panel_of(Y, j), how, panel_of(G, j))
