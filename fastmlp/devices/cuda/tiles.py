"""Products in tiles of shared memory: most of the arithmetic of the second regime.

A block of threads computes one tile of C[m, n] = Σ_k A[m, k] B[k, n]. Slices of both factors pass
through shared memory; the next slice is loaded into registers while this one is multiplied. Each
thread holds a square of the tile's sums in registers. Factors are flat arrays with a start and two
strides, one of which is 1: neighbouring threads load neighbouring numbers, along that dimension.

Indices of the inner loops are made unsigned: for signed ones, Numba checks each time whether they
are negative and count from the end.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import from_dtype, uint64

from .toolkit import SIMULATED, cuda, device


class Tile(NamedTuple):
    """The part of a product that a block of threads computes; all sides are powers of 2."""

    rows: int
    columns: int
    depth: int  # of the slices
    square: int  # rows, and columns, that a thread computes; a multiple of 4
    groups: int  # of threads; each group has the whole tile, and a share of the depth

    @property
    def threads(self) -> int:
        """Number of threads of a block."""
        return self.rows * self.columns // self.square**2 * self.groups


#: For products of few tiles: smaller tiles keep more multiprocessors busy, and more threads per
#: tile hide the latency of shared memory...
SMALL = {4: Tile(32, 32, 64, 4, 4), 8: Tile(32, 32, 64, 4, 4)}
#: ... and for large products, by bytes of a number. A float64 takes two registers.
LARGE = {4: Tile(128, 64, 8, 8, 1), 8: Tile(64, 64, 8, 4, 1)}
if SIMULATED:  # its threads are Python threads
    SMALL = dict.fromkeys(SMALL, Tile(8, 4, 4, 4, 2))
    LARGE = dict.fromkeys(LARGE, Tile(8, 8, 4, 4, 1))

# Padding of a slice's rows: makes their distance a multiple of 16 bytes, so that four numbers are
# read at once, but not of 128 bytes, after which banks repeat.
_PAD = 4


@lru_cache
def product(tile: Tile, dtype: np.dtype, a_along_depth: bool, b_along_depth: bool):
    """Return a function that stores one tile in `out`; `*_along_depth`: the depth stride is 1."""
    real = from_dtype(dtype)
    rows, columns, depth, square, groups = tile
    threads = tile.threads
    own_threads, own_depth = threads // groups, depth // groups
    across = columns // square  # threads side by side in a row of squares
    down = rows // square
    shift, mask = across.bit_length() - 1, across - 1
    a_loads, b_loads = rows * depth // threads, columns * depth // threads
    a_slice, b_slice = (depth, rows + _PAD), (depth, columns + _PAD)

    def place_in_slice(width, along_depth):
        side = depth if along_depth else width
        shift, mask = side.bit_length() - 1, side - 1

        @device
        def place(e):
            """Return (row or column, depth) of the number that is loaded as entry `e`."""
            if along_depth:
                return e >> shift, e & mask
            return e & mask, e >> shift

        return place

    a_place = place_in_slice(rows, a_along_depth)
    b_place = place_in_slice(columns, b_along_depth)

    @device
    def multiply(
        a, a_start, a_row, a_depth, b, b_start, b_column, b_depth,
        m0, n0, m_end, n_end, k_begin, k_end, out,
    ):  # fmt: skip
        thread = cuda.threadIdx.x
        a_shared = cuda.shared.array(a_slice, real, alignment=16)
        b_shared = cuda.shared.array(b_slice, real, alignment=16)
        a_next = cuda.local.array(a_loads, real)
        b_next = cuda.local.array(b_loads, real)
        x = cuda.local.array(square, real)
        y = cuda.local.array(square, real)
        sums = cuda.local.array((square, square), real)
        # Squares are spread in groups of 4: neighbours read neighbouring groups.
        group, own = thread // own_threads, thread & (own_threads - 1)
        top, left = (own >> shift) * 4, (own & mask) * 4
        for i in range(square):
            for j in range(square):
                sums[i, j] = real(0)
        for begin in range(k_begin - depth, k_end, depth):
            if begin >= k_begin:
                cuda.syncthreads()
                for q in range(a_loads):
                    m, k = a_place(thread + q * threads)
                    a_shared[uint64(k), uint64(m)] = a_next[q]
                for q in range(b_loads):
                    n, k = b_place(thread + q * threads)
                    b_shared[uint64(k), uint64(n)] = b_next[q]
                cuda.syncthreads()
            for q in range(a_loads):
                m, k = a_place(thread + q * threads)
                m, k = m0 + m, begin + depth + k
                a_next[q] = real(0)
                if m < m_end and k < k_end:
                    a_next[q] = a[uint64(a_start + m * a_row + k * a_depth)]
            for q in range(b_loads):
                n, k = b_place(thread + q * threads)
                n, k = n0 + n, begin + depth + k
                b_next[q] = real(0)
                if n < n_end and k < k_end:
                    b_next[q] = b[uint64(b_start + n * b_column + k * b_depth)]
            if begin >= k_begin:
                for step in range(own_depth):
                    k = group * own_depth + step
                    for i in range(square):
                        x[i] = a_shared[uint64(k), uint64(i // 4 * 4 * down + top + i % 4)]
                    for i in range(square):
                        y[i] = b_shared[uint64(k), uint64(i // 4 * 4 * across + left + i % 4)]
                    for i in range(square):
                        for j in range(square):
                            sums[i, j] += x[i] * y[j]
        for turn in range(groups):  # one after the other, so that the order of the sums is fixed
            if group == turn:
                for i in range(square):
                    for j in range(square):
                        m = i // 4 * 4 * down + top + i % 4
                        n = j // 4 * 4 * across + left + j % 4
                        if turn > 0:
                            sums[i, j] += out[uint64(m), uint64(n)]
                        out[uint64(m), uint64(n)] = sums[i, j]
            cuda.syncthreads()

    return multiply
