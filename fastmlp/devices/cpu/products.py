"""Matrix products, tile by tile, on panels.

The right factor Y of a product lies in *panels*: its columns are cut into panels of
``VECTORS`` vectors (the last may be one vector wide), and each panel is stored on its own, row
after row, so that the tile reads Y from front to back. Weights live in this layout all the time:
nothing is packed while training.
"""

from ..._jit import formula, kernel
from .microkernel import (
    FEW_ROWS,
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    Matrix,
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


@kernel
def panel_product(C, X, Y, accumulate):
    """C (+)= X Y for one panel Y; C has its columns."""
    if Y.columns == panel_width(Y.data):
        for i in range(0, C.rows, ROWS):
            tile(C, X, Y, i, ROWS, VECTORS, accumulate)
    else:
        for i in range(0, C.rows, ROWS):
            tile(C, X, Y, i, ROWS, 1, accumulate)


@kernel
def few_rows_product(C, X, Y, accumulate):
    """C (+)= X Y for a C of a few rows; Y is not in panels."""
    full = panel_width(Y.data)
    for j in range(0, Y.columns, full):
        width = min(full, Y.columns - j)
        part, out = columns_of(Y, j, width), columns_of(C, j, width)
        for i in range(0, C.rows, FEW_ROWS):
            if width == full:
                tile(out, X, part, i, FEW_ROWS, VECTORS, accumulate)
            else:
                tile(out, X, part, i, FEW_ROWS, 1, accumulate)


@kernel
def columns_of(matrix, j, width):
    """Columns [j, j + width) of a matrix that is not in panels."""
    return Matrix(matrix.data, matrix.start + j, matrix.rows, width, matrix.row, 1)


@kernel
def product(C, X, Y):
    """C = X Y, with Y in panels; C's rows are padded to whole vectors as Y's are.

    A Y that is not in panels tells so by the distance of its rows, which is 0 for panels.
    """
    full = panel_width(Y.data)
    for j in range(0, Y.columns, full):
        width = min(full, Y.columns - j)
        if Y.row:
            part = columns_of(Y, j, width)
        else:  # all panels before this one are full, so it begins after rows * j numbers
            part = Matrix(Y.data, Y.start + Y.rows * j, Y.rows, width, width, 1)
        panel_product(columns_of(C, j, width), X, part, False)
