"""Rows in the order in which they are visited: a factor of a product that is never copied."""

from typing import Any, NamedTuple

from numba import int64, uint32, uint64

from .toolkit import device


class Listed(NamedTuple):
    """A matrix, flat, whose row i is the one that `order` has at `first` + i."""

    array: Any
    order: Any
    first: Any


@device
def look_up(starts, source, row, step, stride, rows_left):
    """Put into `starts` where rows begin, `step` rows apart; not those after `rows_left`.

    Numbers of rows and of features have 32 bits: one instruction multiplies them.
    """
    for i in range(len(starts)):
        starts[i] = int64(0)
        if i * step < rows_left:
            place = uint32(source.order[uint64(source.first + row + i * step)])
            starts[i] = int64(uint64(place) * uint64(uint32(stride)))
