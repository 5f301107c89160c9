"""The memory layout of matrices: panels.

Every matrix is stored in *panels*: its columns are cut into panels of ``VECTORS`` vectors, and each
panel is stored separately, row after row. A tile then reads its right factor from front to back,
and the rows that it reads of its left factor, also of a transposed one, are close together. With
long rows, each would be in a different memory page, and the page lookups (TLB misses) would take
longer than the arithmetic.
"""

from typing import NamedTuple

import numpy as np

from ..._jit import formula, kernel
from .vectors import VECTOR_BYTES, VECTORS, ZERO, itemsize, lanes


class Panels(NamedTuple):
    """A matrix in panels inside a flat buffer; in compiled code ``data`` is a `pointer`.

    With P the width of a panel, element (i, j) is
    ``data[start + i*row_stride + j//P*panel_stride + j%P]``.
    """

    data: np.ndarray
    start: int
    rows: int
    columns: int
    row_stride: int
    panel_stride: int


class Transposed(NamedTuple):
    """The transpose of the `Panels` that have the same fields."""

    data: np.ndarray
    start: int
    rows: int
    columns: int
    row_stride: int
    panel_stride: int


def padded(columns: int, dtype) -> int:
    """Return `columns` rounded up to whole vectors."""
    n = lanes(dtype)
    return -(-columns // n) * n


@formula
def panel_width(data):
    """Return the columns of a full panel, for the numbers that the pointer `data` points to."""
    return VECTORS * (VECTOR_BYTES // itemsize(data))


@formula
def panel_count(columns, data):
    """Return the number of panels for `columns` columns, the last one possibly partial."""
    full = panel_width(data)
    return (columns + full - 1) // full


@kernel
def transposed(M):
    """Return Mᵀ."""
    return Transposed(M.data, M.start, M.rows, M.columns, M.row_stride, M.panel_stride)


@kernel
def panel_of(M, j):
    """Return the panel that begins at column j.

    A ``row_stride`` of 0 means panels whose rows follow each other without gaps, also in the last
    panel, which may be narrower.
    """
    full = panel_width(M.data)
    width = min(full, M.columns - j)
    row_stride = M.row_stride if M.row_stride else width
    return Panels(M.data, M.start + j // full * M.panel_stride, M.rows, width, row_stride, ZERO)


@kernel
def column_start(M, j):
    """Return the position of column j of the first row."""
    full = panel_width(M.data)
    return M.start + j // full * M.panel_stride + j % full
