"""Matrix products, tile by tile, on panels."""

from ..._jit import kernel
from .block_sizes import DEPTH
from .microkernel import ADD, FEW_ROWS, ROWS, tile
from .panels import Panels, panel_of, panel_width
from .vectors import VECTORS, ZERO


@kernel
def panel_product(C, X, Y, first, how):
    """Compute rows from `first` on of C = X Y, for one panel Y; C has the same columns.

    To be multiplied with C, X Y must be complete at once, so Y then has at most `DEPTH` rows.
    """
    for k in range(0, Y.rows, DEPTH):
        depth = min(DEPTH, Y.rows - k)
        part = Panels(Y.data, Y.start + k * Y.row_stride, depth, Y.columns, Y.row_stride, ZERO)
        then = ADD if k > 0 else how
        if Y.columns == panel_width(Y.data):
            for i in range(first, C.rows, ROWS):
                tile(C, X, part, i, k, ROWS, VECTORS, then)
        else:
            for i in range(first, C.rows, ROWS):
                tile(C, X, part, i, k, ROWS, 1, then)


@kernel
def few_rows_product(C, X, Y, how):
    """Compute C = X Y for a C of few rows."""
    full = panel_width(Y.data)
    for j in range(0, Y.columns, full):
        out, part = panel_of(C, j), panel_of(Y, j)
        for i in range(0, C.rows, FEW_ROWS):
            if part.columns == full:
                tile(out, X, part, i, ZERO, FEW_ROWS, VECTORS, how)
            else:
                tile(out, X, part, i, ZERO, FEW_ROWS, 1, how)


@kernel
def product(C, X, Y, how):
    """Compute C = X Y; the columns of both Y and C are padded to whole vectors."""
    for j in range(0, Y.columns, panel_width(Y.data)):
        panel_product(panel_of(C, j), X, panel_of(Y, j), ZERO, how)
