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
from numba import from_dtype, int32, int64, uint64

from .listed import look_up
from .tensor import TensorTile, tensor_product
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

    @property
    def line(self) -> int:
        """Numbers from one row of the finished tile to the next."""
        return self.columns

    @property
    def room(self) -> int:
        """Numbers of shared memory that the slices need, and later the finished tile."""
        slices = self.depth * (self.rows + self.columns + 2 * _PAD)
        return max(slices, self.rows * self.columns)

    def count(self, rows: int, columns: int) -> int:
        """Return the number of tiles of a product."""
        return -(-rows // self.rows) * -(-columns // self.columns)


#: The tiles by bytes of a number, from the largest to the smallest. A large tile loads fewer
#: numbers for each multiplication; small ones keep more multiprocessors busy, and more threads per
#: tile hide the latency of shared memory. A float64 takes two registers.
TILES = {
    4: (Tile(128, 64, 8, 8, 1), Tile(64, 64, 16, 4, 1), Tile(16, 32, 64, 4, 8)),
    8: (Tile(64, 64, 8, 4, 1), Tile(16, 32, 64, 4, 8)),
}
if SIMULATED:  # its threads are Python threads
    TILES = dict.fromkeys(TILES, (Tile(8, 8, 4, 4, 1), Tile(8, 4, 4, 4, 2)))

# Padding of a slice's rows: makes their distance a multiple of 16 bytes, so that four numbers are
# read at once, but not of 128 bytes, after which banks repeat.
_PAD = 4
#: Successive numbers along the depth that neighbouring threads load: a sector of memory, and with
#: the padding, no two of them are stored to the same bank.
_SECTOR = 8


#: Steps of the inner loop that are written one after the other, times the side of a square.
UNROLLED = 32


class Spread(NamedTuple):
    """How a block's threads share the numbers of a slice, `width` rows or columns times `depth`.

    Neighbouring threads take neighbouring numbers. Each takes `wide` times `deep` of them, at
    constant distances: their addresses differ by constants, too.
    """

    side: int  # threads side by side
    wide: int
    wide_step: int
    deep: int
    deep_step: int
    along_depth: bool

    @classmethod
    def of(cls, width, depth, threads, along_depth):
        """Return the spread of a slice whose neighbouring numbers are along its depth, or not."""
        if along_depth:
            side = min(depth, threads, max(_SECTOR, threads // width))
            step = threads // side
            return cls(side, width // step, step, depth // side, side, True)
        side = min(width, threads)
        step = threads // side
        return cls(side, width // side, side, depth // step, step, False)

    @property
    def numbers(self):
        """The numbers of a slice that each thread takes."""
        return self.wide * self.deep


def _transfers(spread, real, listed=False):
    """Return three functions: a thread's first place, its loads of a slice, and their stores.

    `listed` says that the source is `Listed`, whose rows are those along the side or the depth.
    """
    side, wide, wide_step, deep, deep_step, along_depth = spread
    lines = wide if along_depth else deep
    shift, mask = side.bit_length() - 1, side - 1

    @device
    def first(thread):
        """Return (row or column, depth) of the first number that a thread loads."""
        if along_depth:
            return thread >> shift, thread & mask
        return thread & mask, thread >> shift

    @device
    def load(held, source, at, width_stride, depth_stride, width_left, depth_left, m, k):
        """Load the numbers from `at` on that are before both ends; zeros stand for the others."""
        for p in range(wide):
            for q in range(deep):
                held[p * deep + q] = real(0)
                if p * wide_step < width_left and q * deep_step < depth_left:
                    place = at + p * wide_step * width_stride + q * deep_step * depth_stride
                    held[p * deep + q] = source[uint64(place)]

    @device
    def load_listed(held, source, at, width_stride, depth_stride, width_left, depth_left, m, k):
        """Load those from row or column m and depth k on."""
        starts = cuda.local.array(lines, int64)
        if along_depth:
            look_up(starts, source, m, wide_step, width_stride, width_left)
        else:
            look_up(starts, source, k, deep_step, depth_stride, depth_left)
        for p in range(wide):
            for q in range(deep):
                held[p * deep + q] = real(0)
                if p * wide_step < width_left and q * deep_step < depth_left:
                    place = starts[p] + k + q * deep_step
                    if not along_depth:
                        place = starts[q] + m + p * wide_step
                    held[p * deep + q] = source.array[uint64(place)]

    @device
    def store(held, part, begin, line, m, k):
        """Store them in the slice at `begin`, where successive k are `line` numbers apart."""
        place = uint64(begin + k * line + m)
        for p in range(wide):
            for q in range(deep):
                part[place + uint64(q * deep_step * line + p * wide_step)] = held[p * deep + q]

    return first, load_listed if listed else load, store


def _repeated(step, times):
    """Return a function that calls `step` for successive k: a loop here would not be unrolled."""
    if times == 1:
        return step
    before = _repeated(step, times - 1)

    @device
    def steps(k, sums, x, y, a, a_place, b, b_place):
        before(k, sums, x, y, a, a_place, b, b_place)
        step(k + uint64(times - 1), sums, x, y, a, a_place, b, b_place)

    return steps


@device
def _entry(k, row, place, i, distance):
    """Return the index of entry i of a square: four are neighbours, and are loaded at once."""
    four = k * uint64(row // 4) + place + uint64(i // 4 * distance)
    return four * uint64(4) + uint64(i % 4)


@lru_cache
def product(
    tile: Tile, dtype: np.dtype, a_along_depth: bool, b_along_depth: bool, listed: bool = False
):
    """Return a function that stores one tile in `out`, row by row.

    `*_along_depth` says that the depth stride is 1, and `listed` that the first factor is `Listed`.
    """
    if isinstance(tile, TensorTile):
        return tensor_product(tile, a_along_depth, b_along_depth, listed)
    real = from_dtype(dtype)
    rows, columns, depth, square, groups = tile
    threads = tile.threads
    own_threads, own_depth = threads // groups, depth // groups
    across = columns // square  # threads side by side in a row of squares
    down = rows // square
    shift, mask = across.bit_length() - 1, across - 1
    a_line, b_line = rows + _PAD, columns + _PAD  # numbers from one k of a slice to the next
    b_begin = depth * a_line  # of the second slice, after the first
    a_spread = Spread.of(rows, depth, threads, a_along_depth)
    b_spread = Spread.of(columns, depth, threads, b_along_depth)
    a_numbers, b_numbers = a_spread.numbers, b_spread.numbers
    a_first, a_load, a_store = _transfers(a_spread, real, listed)
    b_first, b_load, b_store = _transfers(b_spread, real)

    @device
    def step(k, sums, x, y, a, a_place, b, b_place):
        for i in range(square):
            x[i] = a[_entry(k, a_line, a_place, i, down)]
        for j in range(square):
            y[j] = b[_entry(k, b_line, b_place, j, across)]
        for i in range(square):
            for j in range(square):
                sums[i, j] += x[i] * y[j]

    unrolled = min(own_depth, UNROLLED // square)
    steps = _repeated(step, unrolled)

    @device
    def multiply(
        a, a_start, a_row, a_depth, b, b_start, b_column, b_depth,
        m0, n0, m_end, n_end, k_begin, k_end, out,
    ):  # fmt: skip
        thread = cuda.threadIdx.x
        a_next = cuda.local.array(a_numbers, real)
        b_next = cuda.local.array(b_numbers, real)
        x = cuda.local.array(square, real)
        y = cuda.local.array(square, real)
        sums = cuda.local.array((square, square), real)
        # Squares are spread in groups of 4: neighbours read neighbouring groups.
        group, own = thread // own_threads, thread & (own_threads - 1)
        a_place, b_place = uint64(own >> shift), uint64(own & mask)
        b_slice = b_place + uint64(b_begin // 4)
        for i in range(square):
            for j in range(square):
                sums[i, j] = real(0)
        a_m, a_k = a_first(thread)
        b_n, b_k = b_first(thread)
        a_at = a_start + (m0 + a_m) * a_row + (k_begin + a_k) * a_depth
        b_at = b_start + (n0 + b_n) * b_column + (k_begin + b_k) * b_depth
        a_left, b_left = int32(m_end - m0 - a_m), int32(n_end - n0 - b_n)
        for begin in range(k_begin - depth, k_end, depth):
            if begin >= k_begin:
                cuda.syncthreads()
                a_store(a_next, out, 0, a_line, a_m, a_k)
                b_store(b_next, out, b_begin, b_line, b_n, b_k)
                cuda.syncthreads()
            ahead = k_end - begin - depth
            k = begin + depth
            a_end, b_end = int32(ahead - a_k), int32(ahead - b_k)
            a_load(a_next, a, a_at, a_row, a_depth, a_left, a_end, m0 + a_m, k + a_k)
            b_load(b_next, b, b_at, b_column, b_depth, b_left, b_end, n0 + b_n, k + b_k)
            a_at += depth * a_depth
            b_at += depth * b_depth
            if begin >= k_begin:
                for k in range(group * own_depth, (group + 1) * own_depth, unrolled):
                    steps(uint64(k), sums, x, y, out, a_place, out, b_slice)
        cuda.syncthreads()  # the slices have been read
        for turn in range(groups):  # one after the other, so that the order of the sums is fixed
            if group == turn:
                for i in range(square):
                    for j in range(square):
                        m = _entry(uint64(0), 0, a_place, i, down)
                        n = _entry(uint64(0), 0, b_place, j, across)
                        place = m * uint64(columns) + n
                        if turn > 0:
                            sums[i, j] += out[place]
                        out[place] = sums[i, j]
            cuda.syncthreads()

    return multiply
