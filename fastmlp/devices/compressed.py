"""Sparse rows, checked before anything follows their indices.

Neither SciPy's compiled code nor ours looks at the numbers that say where a sparse matrix has its
values: one that is out of range reads, or writes, memory that belongs to something else.
"""

import numpy as np


def compressed_rows(matrix):
    """The matrix in CSR format, with indices that are known to be in range.

    Parameters
    ----------
    matrix : sparse matrix or array of shape (n, columns)
        Of any format. A matrix in CSR format is returned as it is.

    Returns
    -------
    rows : sparse matrix or array of shape (n, columns)
        In CSR format. Its arrays may still have gaps, and any dtype.

    Raises
    ------
    ValueError
        If `indptr`, `indices` and `data` do not describe a matrix of this shape.
    """
    if matrix.format == "csc":
        _check(matrix, *reversed(matrix.shape))
    rows = matrix.tocsr()
    _check(rows, *rows.shape)
    return rows


def _check(matrix, lines, places):
    """Check the arrays of a matrix whose `lines` are compressed, with `places` numbers in each."""
    starts, indices, data = matrix.indptr, matrix.indices, matrix.data
    for name, array in (("indptr", starts), ("indices", indices), ("data", data)):
        if np.ndim(array) != 1:
            _refuse(f"{name} has {np.ndim(array)} dimensions, expected 1")
        if name != "data" and array.dtype.kind not in "iu":
            _refuse(f"{name} has dtype {array.dtype}, expected integers")
    if len(starts) != lines + 1:
        _refuse(f"indptr has {len(starts)} entries, expected {lines + 1}")
    stored = min(len(indices), len(data))
    if starts[0] != 0 or starts[-1] > stored or (starts[1:] < starts[:-1]).any():
        _refuse(f"indptr must ascend from 0 to at most the number of stored values, {stored}")
    used = indices[: starts[-1]]
    if used.size and (used.min() < 0 or used.max() >= places):
        _refuse(f"indices lie between {used.min()} and {used.max()}, expected 0 to {places - 1}")


def _refuse(reason):
    raise ValueError(f"The sparse matrix is damaged: {reason}.")
