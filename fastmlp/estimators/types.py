"""Types of the estimators' inputs, for type checkers: rows, targets, labels and weights.

NumPy's own ``ArrayLike`` accepts any string, and SciPy's sparse matrices have no types, so that a
union with one of them checks nothing. The protocols here describe what an object can do: data
frames of pandas and polars, tensors and memory maps convert to a NumPy array, and sparse matrices
of every kind convert to compressed rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, SupportsFloat, SupportsIndex, TypeAlias, TypeVar

import numpy as np

_Item = TypeVar("_Item", covariant=True)


class SupportsArray(Protocol):
    """An array, tensor, frame or series: it has a length and gives a NumPy array."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __array__(self) -> Any:
        """Return the NumPy array."""


class SupportsCudaArray(Protocol):
    """An array on a GPU."""

    @property
    def __cuda_array_interface__(self) -> Any:
        """Its address, shape and type on the GPU."""


class SparseMatrix(Protocol):
    """A sparse matrix or array of SciPy, or one that behaves like these."""

    @property
    def shape(self) -> Any:
        """(rows, columns)."""

    def tocsr(self) -> Any:
        """Return the same matrix with compressed rows."""


class SequenceNotStr(Protocol[_Item]):
    """A list, a tuple or similar, but not a string, although that is a sequence of strings."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, index: SupportsIndex, /) -> _Item:
        """Return one item."""

    def __iter__(self) -> Iterator[_Item]:
        """Iterate over the items."""

    def __contains__(self, value: object, /) -> bool:
        """Return whether a value is among the items; this accepts any value, unlike a string's."""


# Each union has one sequence type, of a union of items: with several sequence types, a type checker
# finds none that fits a list of mixed number types.
_Row: TypeAlias = Sequence[SupportsFloat] | SupportsArray
_Array: TypeAlias = SupportsArray | SupportsCudaArray

#: The features: X.
MatrixLike: TypeAlias = _Array | SparseMatrix | Sequence[_Row]
#: A regressor's y: a number for each row, or several.
TargetsLike: TypeAlias = _Array | Sequence[SupportsFloat | _Row]
#: A classifier's y: a label for each row, or which of several labels it has.
LabelsLike: TypeAlias = _Array | SparseMatrix | SequenceNotStr[str | SupportsFloat | _Row]
#: The weights of rows: one each, or one for all.
WeightsLike: TypeAlias = _Array | Sequence[SupportsFloat] | float
#: The widths of hidden layers, and their dropout fractions.
SizesLike: TypeAlias = int | Sequence[int] | np.ndarray
SharesLike: TypeAlias = float | Sequence[float] | np.ndarray
