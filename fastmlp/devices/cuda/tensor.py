"""Products in tiles on tensor cores: the same as those of `tiles`, for large batches.

Slices of both factors are copied to shared memory while earlier ones are multiplied; each warp
computes a part of the tile, sixteen rows by eight columns at a time. Tensor cores multiply numbers
of fewer bits, and add up in float32:

``"bf16"``, ``"tf32"``
    Factors are rounded to 8 or 11 significant bits.
``"float32"``
    Each factor is split, x = x₁ + x₂ + ε, into two of 11 bits, with |x₂| ≤ 2⁻¹¹ |x| and
    |ε| ≤ 2⁻²¹ |x|; a b is a₁ b₁ + (a₁ b₂ + a₂ b₁), and these products are exact. What is left out
    is at most 5 · 2⁻²² |a b|. A tensor core cuts its addends off at the last bit of the largest
    one, always towards zero, which would shift long sums; so it adds up one slice alone, in six
    steps of nine addends, and slices are added with rounding, as everywhere:

        |error| ≤ (2⁻¹⁷ + ⌈K / 16⌉ 2⁻²⁴) Σ_k |a_k b_k|,

    where one multiply-add after the other has K 2⁻²⁴. Real errors are smaller, as there: with
    random factors about the same for K = 64, and half as large for K = 784. (Without slices, they
    would be 40 times as large for positive factors.)
"""

from functools import lru_cache
from typing import NamedTuple

from numba import float32, int32, int64, uint32, uint64

from .listed import look_up
from .mma import bits_of, commit, copy, mma_bf16, mma_tf32, real_of, tf32, two_bf16, wait
from .toolkit import SIMULATED, cuda, device

#: Sides of the tiles, from the larger to the smaller: rows, columns, depth, and a warp's own rows
#: and columns. A larger one loads fewer numbers for each multiplication.
SIDES = ((16, 16, 16, 16, 8),) if SIMULATED else ((128, 64, 16, 64, 32), (64, 64, 16, 32, 32))
#: Slices in shared memory: one that is multiplied, and those that are on their way.
STAGES = 3
#: Lanes of a warp, in the simulator too.
_WARP = 32


class TensorTile(NamedTuple):
    """The part of a product that a block of threads computes on tensor cores."""

    rows: int
    columns: int
    depth: int  # of the slices; a multiple of 16
    high: int  # rows of a warp, a multiple of 16...
    wide: int  # ... and its columns, a multiple of 8
    precision: str
    aligned: bool  # whether places, strides and depths along lines are multiples of four

    @property
    def threads(self) -> int:
        """Number of threads of a block."""
        return self.rows * self.columns // (self.high * self.wide) * _WARP

    @property
    def line(self) -> int:
        """Numbers from one row of the finished tile to the next: banks repeat after 32."""
        return self.columns + 8

    @property
    def room(self) -> int:
        """Numbers of shared memory that the slices need, and later the finished tile."""
        sides = (
            [(self.rows, True), (self.rows, False)],
            [(self.columns, True), (self.columns, False)],
        )
        most = (max(_Slices.of(side, self, way).size for side, way in both) for both in sides)
        return max(STAGES * sum(most), self.rows * self.line)

    def count(self, rows: int, columns: int) -> int:
        """Return the number of tiles of a product."""
        return -(-rows // self.rows) * -(-columns // self.columns)


class _Slices(NamedTuple):
    """Slices of a factor in shared memory, `side` rows or columns times `depth`.

    Lines of neighbouring numbers are so far apart that the lanes of a warp, which read four
    neighbours along the depth of eight along the other side, meet in no bank.
    """

    side: int
    depth: int
    along_depth: bool  # whether neighbouring numbers are
    lines: int
    line: int  # numbers from one line to the next
    width: int  # numbers that are copied at once
    across: int  # threads side by side in a line...
    step: int  # ... and lines from one copy of a thread to its next

    @classmethod
    def of(cls, side, tile, along_depth):
        """Return the slices of a tile's factor whose neighbouring numbers are along the depth."""
        length, lines = (tile.depth, side) if along_depth else (side, tile.depth)
        width = 4 if tile.aligned else 1
        across = min(length // width, tile.threads)
        line = length + (4 if along_depth else 8)
        return cls(
            side, tile.depth, along_depth, lines, line, width, across, tile.threads // across
        )  # fmt: skip

    @property
    def size(self):
        """Numbers of one slice."""
        return self.lines * self.line

    @property
    def distances(self):
        """Numbers between neighbours of the side, and of the depth."""
        return (self.line, 1) if self.along_depth else (1, self.line)


def _copies(slices, listed=False):
    """Return four functions: a thread's first place, two for the places of its lines, and copies.

    `listed` says that the source is `Listed`, whose rows are the lines.
    """
    side, depth, along_depth, lines, line, width, across, step = slices
    length = depth if along_depth else side
    shift, mask = across.bit_length() - 1, across - 1
    begin, count = copy(width), lines // step

    @device
    def first(thread):
        """Return (row or column, depth) of the first number that a thread copies."""
        along, over = (thread & mask) * width, thread >> shift
        return (over, along) if along_depth else (along, over)

    # Rows that are the same for all slices are looked up once, if their places fit in registers.
    held = listed and along_depth and width > 1

    @device
    def hold_lines(starts, source, stride, left, m, k):
        """Put into `starts` where the lines begin, one slice before the first."""
        look_up(starts, source, m, step, stride, left)
        for i in range(count):
            starts[i] += k - depth

    @device
    def hold_none(starts, source, stride, left, m, k):
        pass

    @device
    def go_on(starts, source, at, side_stride, depth_stride, side_left, depth_left, m, k):
        for i in range(count):
            starts[i] += depth

    @device
    def begin_lines(
        starts, source, at, side_stride, depth_stride, side_left, depth_left, m, k
    ):  # fmt: skip
        """Put into `starts` where the lines begin that a thread copies."""
        for i in range(count):
            starts[i] = at + i * step * (side_stride if along_depth else depth_stride)

    @device
    def begin_listed_lines(
        starts, source, at, side_stride, depth_stride, side_left, depth_left, m, k
    ):  # fmt: skip
        if along_depth:
            look_up(starts, source, m, step, side_stride, side_left)
        else:
            look_up(starts, source, k, step, depth_stride, depth_left)
        for i in range(count):
            starts[i] += k if along_depth else m

    @device
    def begin_listed(room, place, source, at, there):
        begin(room, place, source.array, at, there)

    begin_copy = begin_listed if listed else begin

    @device
    def copy_all(room, place, source, starts, side_left, depth_left):
        """Begin to copy what is before both ends; zeros stand for the rest.

        Of four neighbours, one may be before the end of the side: the others' products are not
        used.
        """
        lines_left, left = (side_left, depth_left) if along_depth else (depth_left, side_left)
        for c in range(0, length, across * width):
            for i in range(count):
                there = c < left and i * step < lines_left
                begin_copy(room, place + (i * step * line + c), source, starts[i] + c, there)

    begin_all = go_on if held else begin_listed_lines if listed else begin_lines
    return first, hold_lines if held else hold_none, begin_all, copy_all


def _fragments(slices, tall):
    """Return a function that reads a lane's four or two numbers of a factor from its slice."""
    side_distance, depth_distance = slices.distances

    @device
    def number(room, place, i, k, half, later):
        offset = (i * tall + half * 8) * side_distance + (k + later * 4) * depth_distance
        return room[place + uint64(offset)]

    return number


# ---- a slice's products, by precision ------------------------------------------------------------


@device
def _tf32_parts(x):
    """Split a number into two of 11 bits: tensor cores ignore further bits of the second.

    The first is rounded, and has no NaN: the second has it then.
    """
    large = (bits_of(x) + uint32(0x1000)) & uint32(0xFFFFE000)
    return large, bits_of(x - real_of(uint32(large)))


def _multiplier(tile, a, b):
    """Return a function that adds a slice's products to a warp's sums."""
    down, over, depth = tile.high // 16, tile.wide // 8, tile.depth
    of_a, of_b = _fragments(a, 16), _fragments(b, 8)

    @device
    def four(sums, i, j):
        return sums[i, j, 0], sums[i, j, 1], sums[i, j, 2], sums[i, j, 3]

    @device
    def put(sums, i, j, numbers):
        for q in range(4):
            sums[i, j, q] = numbers[q]

    @device
    def a_numbers(room, place, i, k):
        return (
            of_a(room, place, i, k, 0, 0), of_a(room, place, i, k, 1, 0),
            of_a(room, place, i, k, 0, 1), of_a(room, place, i, k, 1, 1),
        )  # fmt: skip

    @device
    def b_numbers(room, place, j, k):
        return of_b(room, place, j, k, 0, 0), of_b(room, place, j, k, 0, 1)

    @device
    def add_bf16(sums, room, a_place, b_place):
        # In which order the depth is taken does not matter, if it is the same for both factors.
        y = cuda.local.array((over, 2), uint32)
        for k in range(0, depth, 16):
            for j in range(over):
                p, q = b_numbers(room, b_place, j, k), b_numbers(room, b_place, j, k + 8)
                y[j, 0], y[j, 1] = two_bf16(p[0], p[1]), two_bf16(q[0], q[1])
            for i in range(down):
                p, q = a_numbers(room, a_place, i, k), a_numbers(room, a_place, i, k + 8)
                x = (
                    two_bf16(p[0], p[2]), two_bf16(p[1], p[3]),
                    two_bf16(q[0], q[2]), two_bf16(q[1], q[3]),
                )  # fmt: skip
                for j in range(over):
                    put(sums, i, j, mma_bf16(four(sums, i, j), x, (y[j, 0], y[j, 1])))

    @device
    def add_tf32(sums, room, a_place, b_place):
        y = cuda.local.array((over, 2), uint32)
        for k in range(0, depth, 8):
            for j in range(over):
                p = b_numbers(room, b_place, j, k)
                y[j, 0], y[j, 1] = tf32(p[0]), tf32(p[1])
            for i in range(down):
                p = a_numbers(room, a_place, i, k)
                x = tf32(p[0]), tf32(p[1]), tf32(p[2]), tf32(p[3])
                for j in range(over):
                    put(sums, i, j, mma_tf32(four(sums, i, j), x, (y[j, 0], y[j, 1])))

    @device
    def add_float32(sums, room, a_place, b_place):
        own = cuda.local.array((down, over, 4), float32)
        y = cuda.local.array((over, 4), uint32)
        for i in range(down):
            for j in range(over):
                put(own, i, j, (float32(0), float32(0), float32(0), float32(0)))
        for k in range(0, depth, 8):
            for j in range(over):
                p = b_numbers(room, b_place, j, k)
                (y[j, 0], y[j, 2]), (y[j, 1], y[j, 3]) = _tf32_parts(p[0]), _tf32_parts(p[1])
            for i in range(down):
                p = a_numbers(room, a_place, i, k)
                s, t, u, v = (
                    _tf32_parts(p[0]), _tf32_parts(p[1]), _tf32_parts(p[2]), _tf32_parts(p[3]),
                )  # fmt: skip
                x, rest = (s[0], t[0], u[0], v[0]), (s[1], t[1], u[1], v[1])
                for j in range(over):
                    put(own, i, j, mma_tf32(four(own, i, j), rest, (y[j, 0], y[j, 1])))
                for j in range(over):
                    put(own, i, j, mma_tf32(four(own, i, j), x, (y[j, 2], y[j, 3])))
                for j in range(over):
                    put(own, i, j, mma_tf32(four(own, i, j), x, (y[j, 0], y[j, 1])))
        for i in range(down):
            for j in range(over):
                for q in range(4):
                    sums[i, j, q] += own[i, j, q]

    return {"bf16": add_bf16, "tf32": add_tf32, "float32": add_float32}[tile.precision]


# ---- the tile ------------------------------------------------------------------------------------


@lru_cache
def tensor_product(tile: TensorTile, a_along_depth: bool, b_along_depth: bool, listed: bool):
    """Return a function that stores one tile in `room`, as `tiles.product` does."""
    a, b = _Slices.of(tile.rows, tile, a_along_depth), _Slices.of(tile.columns, tile, b_along_depth)
    a_first, a_hold, a_begin, a_copy = _copies(a, listed)
    b_first, _, b_begin, b_copy = _copies(b)
    add = _multiplier(tile, a, b)
    depth, line, stage_size, b_offset = tile.depth, tile.line, a.size + b.size, a.size
    a_side, a_deep = a.distances
    b_side, b_deep = b.distances
    high, wide, warps_down = tile.high, tile.wide, tile.rows // tile.high
    down, over = high // 16, wide // 8
    a_count, b_count = a.lines // a.step, b.lines // b.step
    await_next, await_all = wait(STAGES - 2), wait(0)

    @device
    def multiply(
        a, a_start, a_row, a_depth, b, b_start, b_column, b_depth,
        m0, n0, m_end, n_end, k_begin, k_end, room,
    ):  # fmt: skip
        thread = cuda.threadIdx.x
        lane, warp = thread & 31, thread >> 5
        row, turn = lane >> 2, lane & 3  # of each 16 x 8 numbers
        m1, n1 = warp % warps_down * high + row, warp // warps_down * wide
        sums = cuda.local.array((down, over, 4), float32)
        for i in range(down):
            for j in range(over):
                for q in range(4):
                    sums[i, j, q] = float32(0)
        a_starts = cuda.local.array(a_count, int64)
        b_starts = cuda.local.array(b_count, int64)
        a_place = m1 * a_side + turn * a_deep
        b_place = b_offset + (n1 + row) * b_side + turn * b_deep
        a_m, a_k = a_first(thread)
        b_n, b_k = b_first(thread)
        a_to = a_m * a_side + a_k * a_deep
        b_to = b_offset + b_n * b_side + b_k * b_deep
        a_at = a_start + (m0 + a_m) * a_row + (k_begin + a_k) * a_depth
        b_at = b_start + (n0 + b_n) * b_column + (k_begin + b_k) * b_depth
        a_left, b_left = int32(m_end - m0 - a_m), int32(n_end - n0 - b_n)
        a_hold(a_starts, a, a_row, a_left, m0 + a_m, k_begin + a_k)
        read, write = 0, 0
        for k in range(k_begin - (STAGES - 1) * depth, k_end, depth):
            ahead = k + (STAGES - 1) * depth
            a_end, b_end = int32(k_end - ahead - a_k), int32(k_end - ahead - b_k)
            a_m0, a_k0, b_n0, b_k0 = m0 + a_m, ahead + a_k, n0 + b_n, ahead + b_k
            a_begin(a_starts, a, a_at, a_row, a_depth, a_left, a_end, a_m0, a_k0)
            b_begin(b_starts, b, b_at, b_column, b_depth, b_left, b_end, b_n0, b_k0)
            if k >= k_begin:
                await_next()
                cuda.syncthreads()
            a_copy(room, write + a_to, a, a_starts, a_left, a_end)
            b_copy(room, write + b_to, b, b_starts, b_left, b_end)
            commit()
            a_at += depth * a_depth
            b_at += depth * b_depth
            write = write + stage_size if write < (STAGES - 1) * stage_size else 0
            if k >= k_begin:
                add(sums, room, uint64(read + a_place), uint64(read + b_place))
                read = read + stage_size if read < (STAGES - 1) * stage_size else 0
        await_all()  # the zeros after the last slice
        cuda.syncthreads()  # the slices have been read
        for i in range(down):
            for j in range(over):
                at = (m1 + i * 16) * line + n1 + j * 8 + turn * 2
                room[uint64(at)], room[uint64(at + 1)] = sums[i, j, 0], sums[i, j, 1]
                at += 8 * line
                room[uint64(at)], room[uint64(at + 1)] = sums[i, j, 2], sums[i, j, 3]
        cuda.syncthreads()

    return multiply
