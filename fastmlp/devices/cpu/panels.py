"""Matrices in panels: where their numbers lie.

Every matrix lies in *panels*: its columns are cut into panels of ``VECTORS`` vectors, and each
panel is stored on its own, row after row. A tile then reads its right factor from front to back,
and the rows that it reads of its left factor, also of a transposed one, lie close together: with
long rows, each would be in a page of its own, and the search for pages would take longer than the
arithmetic.
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
    return Transposed(M.data, M.start, M.rows, M.columns, M.row_stride, M.panel_stride)


@kernel
def panel_of(M, j):
    """The panel that begins at column j.

    A ``row_stride`` of 0 stands for panels whose rows follow each other without gaps, also those of
    the last, which may be narrower.
    """
    full = panel_width(M.data)
    width = min(full, M.columns - j)
    row_stride = M.row_stride if M.row_stride else width
    return Panels(M.data, M.start + j // full * M.panel_stride, M.rows, width, row_stride, ZERO)


@kernel
def column_start(M, j):
    """Where column j of the first row is."""
    full = panel_width(M.data)
    return M.start + j // full * M.panel_stride + j % full
