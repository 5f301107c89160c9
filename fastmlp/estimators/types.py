"""What estimators take, as type checkers see it: rows, targets, labels and weights.

NumPy's own ``ArrayLike`` takes any string, and SciPy's sparse matrices have no types, so that a
union with one of them is no type at all. Here a thing is told by what it can do: frames of pandas
and polars, tensors and memory maps give a NumPy array, sparse matrices of every kind rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, SupportsFloat, SupportsIndex, TypeAlias, TypeVar

import numpy as np

_Item = TypeVar("_Item", covariant=True)


class SupportsArray(Protocol):
    """An array, tensor, frame or series: it has a length and gives a NumPy array."""

    def __len__(self) -> int:
        """Its number of rows."""

    def __array__(self) -> Any:
        """The NumPy array."""


class SupportsCudaArray(Protocol):
    """An array on a GPU."""

    @property
    def __cuda_array_interface__(self) -> Any:
        """Where it lies."""


class SparseMatrix(Protocol):
    """A sparse matrix or array of SciPy's, or one that behaves like these."""

    @property
    def shape(self) -> Any:
        """(rows, columns)."""

    def tocsr(self) -> Any:
        """The same matrix, by compressed rows."""


class SequenceNotStr(Protocol[_Item]):
    """A list, a tuple or the like, but no string, though that is a sequence of strings, too."""

    def __len__(self) -> int:
        """How many items there are."""

    def __getitem__(self, index: SupportsIndex, /) -> _Item:
        """One of them."""

    def __iter__(self) -> Iterator[_Item]:
        """One after the other."""

    def __contains__(self, value: object, /) -> bool:
        """Whether a value is among them; strings can be asked for strings only."""


# A union has one kind of sequence, with a union of items: among several, a type checker finds none
# for a list that mixes kinds of numbers.
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
#: The widths of hidden layers, and shares of their values.
SizesLike: TypeAlias = int | Sequence[int] | np.ndarray
SharesLike: TypeAlias = float | Sequence[float] | np.ndarray
