"""What estimators take, as type checkers see it: rows, targets, labels and weights.

NumPy's own ``ArrayLike`` takes any string, and SciPy's sparse matrices have no types, so that a
union with one of them is no type at all. Here a thing is told by what it can do: frames of pandas
and polars, tensors and memory maps give a NumPy array, sparse matrices of every kind rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, SupportsFloat, TypeAlias, runtime_checkable

import numpy as np


@runtime_checkable
class SupportsArray(Protocol):
    """An array, tensor, frame or series: it has a length and gives a NumPy array."""

    def __len__(self) -> int:
        """Its number of rows."""

    def __array__(self) -> Any:
        """The NumPy array."""


@runtime_checkable
class SupportsCudaArray(Protocol):
    """An array on a GPU."""

    @property
    def __cuda_array_interface__(self) -> Any:
        """Where it lies."""


@runtime_checkable
class SparseMatrix(Protocol):
    """A sparse matrix or array of SciPy's, or one that behaves like these."""

    @property
    def shape(self) -> Any:
        """(rows, columns)."""

    def tocsr(self) -> Any:
        """The same matrix, by compressed rows."""


#: One number for each row.
VectorLike: TypeAlias = SupportsArray | SupportsCudaArray | Sequence[SupportsFloat]
#: Rows of numbers that are all there.
DenseLike: TypeAlias = (
    SupportsArray | SupportsCudaArray | Sequence[Sequence[SupportsFloat]] | Sequence[SupportsArray]
)
#: The features: X.
MatrixLike: TypeAlias = DenseLike | SparseMatrix
#: A regressor's y: a number for each row, or several.
TargetsLike: TypeAlias = VectorLike | DenseLike
#: A classifier's y: a label for each row, or which of several labels it has. A string is a sequence
#: of strings, too: so these come as a list or a tuple.
LabelsLike: TypeAlias = TargetsLike | SparseMatrix | list[str] | tuple[str, ...]
#: The weights of rows: one each, or one for all.
WeightsLike: TypeAlias = VectorLike | float
#: The widths of hidden layers, and shares of their values.
SizesLike: TypeAlias = int | Sequence[int] | np.ndarray
SharesLike: TypeAlias = float | Sequence[float] | np.ndarray
