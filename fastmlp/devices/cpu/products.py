"""Matrix products, tile by tile, on panels.

The right factor Y of a product lies in *panels*: its columns are cut into panels of
``VECTORS`` vectors (the last may be one vector wide), and each panel is stored on its own, row
after row, so that the tile reads Y from front to back. Weights live in this layout all the time:
nothing is packed while training.
"""

from ..._jit import formula, kernel
from .microkernel import ROWS, VECTOR_BYTES, VECTORS, Matrix, itemsize, lanes, tile


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
            tile(C, X, Y, i, 0, VECTORS, accumulate)
    else:
        for i in range(0, C.rows, ROWS):
            tile(C, X, Y, i, 0, 1, accumulate)


@kernel
def product(C, X, Y):
    """C = X Y, with Y in panels; C's rows are padded to whole vectors as Y's are."""
    full = panel_width(Y.data)
    for j in range(0, Y.columns, full):
        width = min(full, Y.columns - j)
        # All panels before this one are full, so it begins after rows * j numbers.
        panel = Matrix(Y.data, Y.start + Y.rows * j, Y.rows, width, width, 1)
        columns = Matrix(C.data, C.start + j, C.rows, width, C.row, 1)
        panel_product(columns, X, panel, False)
