"""Matrix products, tile by tile, on panels.

Every matrix lies in *panels*: its columns are cut into panels of ``VECTORS`` vectors, and each
panel is stored on its own, row after row. A tile then reads its right factor from front to back,
and the rows that it reads of its left factor, also of a transposed one, lie close together: with
long rows, each would be in a page of its own, and the search for pages would take longer than the
arithmetic.
"""

from ..._jit import formula, kernel
from .block_sizes import DEPTH
from .microkernel import (
    ADD,
    FEW_ROWS,
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    ZERO,
    Panels,
    Transposed,
    itemsize,
    lanes,
    tile,
)


def padded(columns: int, dtype) -> int:
    """`columns` rounded up to whole vectors."""
    n = lanes(dtype)
    return -(-columns // n) * n


@formula
def panel_width(data):
    """Columns of a full panel, for the numbers behind the pointer `data`."""
    return VECTORS * (VECTOR_BYTES // itemsize(data))


@formula
def panel_count(columns, data):
    """Panels that so many columns fill, the last of them perhaps in part."""
    full = panel_width(data)
    return (columns + full - 1) // full


@kernel
def transposed(M):
    """Mᵀ."""
    return Transposed(M.data, M.start, M.rows, M.columns, M.row, M.panel)


@kernel
def panel_of(M, j):
    """The panel that begins at column j.

    ``row`` 0 stands for panels whose rows follow each other without gaps, also those of the last,
    which may be narrower.
    """
    full = panel_width(M.data)
    width = min(full, M.columns - j)
    row = M.row if M.row else width
    return Panels(M.data, M.start + j // full * M.panel, M.rows, width, row, ZERO)


@kernel
def column_start(M, j):
    """Where column j of the first row is."""
    full = panel_width(M.data)
    return M.start + j // full * M.panel + j % full


@kernel
def panel_product(C, X, Y, first, how):
    """Rows from `first` on of C = X Y, for one panel Y; C has its columns.

    To be multiplied with C, X Y must be complete at once: Y has no more than `DEPTH` rows then.
    """
    for k in range(0, Y.rows, DEPTH):
        depth = min(DEPTH, Y.rows - k)
        part = Panels(Y.data, Y.start + k * Y.row, depth, Y.columns, Y.row, ZERO)
        then = ADD if k > 0 else how
        if Y.columns == panel_width(Y.data):
            for i in range(first, C.rows, ROWS):
                tile(C, X, part, i, k, ROWS, VECTORS, then)
        else:
            for i in range(first, C.rows, ROWS):
                tile(C, X, part, i, k, ROWS, 1, then)


@kernel
def few_rows_product(C, X, Y, how):
    """C = X Y for a C of a few rows."""
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
    """C = X Y; both Y's and C's columns are padded to whole vectors."""
    for j in range(0, Y.columns, panel_width(Y.data)):
        panel_product(panel_of(C, j), X, panel_of(Y, j), ZERO, how)
