"""Checks of sparse matrices before their indices are used.

Neither SciPy's compiled code nor ours checks the indices of a sparse matrix: one that is out of
range reads or writes memory that belongs to something else.
"""

import numpy as np


def check_indices(matrix) -> None:
    """Check the arrays of a sparse matrix, if its format uses arrays of indices.

    Parameters
    ----------
    matrix : sparse matrix or array of shape (n, columns)
        In any format. Those without arrays of indices are not checked.

    Raises
    ------
    ValueError
        If the arrays do not describe a matrix of this shape.
    """
    n, columns = matrix.shape
    if matrix.format == "csr":
        _check_compressed(matrix, n, columns)
    elif matrix.format == "csc":
        _check_compressed(matrix, columns, n)
    elif matrix.format == "bsr":
        height, width = np.shape(matrix.data)[1:] if np.ndim(matrix.data) == 3 else (1, 1)
        _check_compressed(matrix, n // max(1, height), columns // max(1, width), dimensions=3)
    elif matrix.format == "coo":
        for name, count in (("row", n), ("col", columns)):
            indices = getattr(matrix, name)
            _check_array(name, indices)
            if len(indices) != np.size(matrix.data):
                _refuse(f"{name} has {len(indices)} entries for {np.size(matrix.data)} values")
            _check_range(name, indices, count)


def _check_compressed(matrix, lines, places, dimensions=1):
    """Check a matrix of compressed rows or columns (`lines`), each with `places` elements."""
    starts, indices, data = matrix.indptr, matrix.indices, matrix.data
    _check_array("indptr", starts)
    _check_array("indices", indices)
    if np.ndim(data) != dimensions:
        _refuse(f"data has {np.ndim(data)} dimensions, expected {dimensions}")
    if len(starts) != lines + 1:
        _refuse(f"indptr has {len(starts)} entries, expected {lines + 1}")
    stored = min(len(indices), len(data))
    if starts[0] != 0 or starts[-1] > stored or (starts[1:] < starts[:-1]).any():
        _refuse(f"indptr must ascend from 0 to at most the number of stored values, {stored}")
    _check_range("indices", indices[: starts[-1]], places)


def _check_array(name, array):
    if np.ndim(array) != 1:
        _refuse(f"{name} has {np.ndim(array)} dimensions, expected 1")
    if array.dtype.kind not in "iu":
        _refuse(f"{name} has dtype {array.dtype}, expected integers")


def _check_range(name, indices, count):
    if indices.size and (indices.min() < 0 or indices.max() >= count):
        _refuse(
            f"{name} lies between {indices.min()} and {indices.max()}, expected 0 to {count - 1}"
        )


def _refuse(reason):
    raise ValueError(f"The sparse matrix is damaged: {reason}.")
