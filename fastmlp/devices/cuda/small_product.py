"""Products in the shared memory of one block, whose threads take turns with tiles of them.

Matrices are as `shared` lays them out. All arithmetic on places has 32 bits: Numba makes 64 of it
wherever it is not told so at each step.
"""

from numba import int32, uint32

from .shared import SIDE, VECTOR
from .toolkit import cuda, device
from .vectors import load


@device
def quotient(a, b):
    """Return a // b and a % b of small numbers, none of which is negative."""
    whole = int32(uint32(a) // uint32(b))
    return whole, int32(a - whole * b)


@device
def _pieces(count, most):
    """Return how many pieces of at most so many items there are."""
    return int32(uint32(count + most - 1) // uint32(most))


@device
def after(place, count):
    """Return the place of a thread for the work after `count` pieces, which began at place 0.

    If all work between two barriers is handed out in turns, no thread has two pieces more than
    another one.
    """
    _, taken = quotient(count, cuda.blockDim.x)
    place -= taken
    return int32(place + cuda.blockDim.x if place < 0 else place)


def _factor(real, along_depth, spread, steps):
    """Return two functions: where a thread's SIDE rows of A begin, and the load of some steps.

    Or the columns of B. Vectors of 16 bytes are along the depth, or along rows: then they hold
    several of the thread's rows. Spread rows, or vectors, are those of all threads in turn, others
    are neighbours. Either way neighbouring threads read from different banks, or the same numbers.
    """
    size = real.bitwidth // 8
    numbers = VECTOR // size
    groups = SIDE // numbers

    @device
    def begin(at, start, stride, index, count):
        for i in range(SIDE if along_depth else groups):
            if along_depth:
                line = index + i * count if spread else SIDE * index + i
                at[i] = size * (start + line * stride)
            else:
                block = index + i * count if spread else groups * index + i
                at[i] = size * start + VECTOR * block

    @device
    def fetch(x, shared, at, stride):
        """Load x[i, step], or x[step, i] across the depth, and move on."""
        if along_depth:
            for i in range(SIDE):
                load(x, i * numbers, shared, at[i])
                at[i] += VECTOR
        else:
            for step in range(steps):
                for g in range(groups):
                    load(x, step * SIDE + g * numbers, shared, at[g])
                    at[g] += size * stride

    return begin, fetch


def product(real, a_along_depth, b_along_depth, leave):
    """Return a function of one block that passes tiles of Σ_k A[r, k] B[k, c] to `leave`.

    Every thread takes SIDE x SIDE elements at a time; neighbouring ones are below each other if A
    is along the depth. Rows, columns and depth are those of whole tiles: what is there besides the
    matrices is zero, or is left out by `leave`. The function takes the thread's place among those
    that take turns, and returns its place for what comes after the product.
    """
    steps = VECTOR * 8 // real.bitwidth
    a_begin, a_fetch = _factor(real, a_along_depth, True, steps)
    b_begin, b_fetch = _factor(real, b_along_depth, not a_along_depth, steps)
    a_next, a_step = (steps, 1) if a_along_depth else (1, SIDE)
    b_next, b_step = (steps, 1) if b_along_depth else (1, SIDE)
    down, factors, elements_here = a_along_depth, SIDE * steps, SIDE * SIDE

    @device
    def multiply(
        state, layer, a_start, a_stride, b_start, b_stride, rows, columns, depth, place
    ):  # fmt: skip
        x = cuda.local.array(factors, real)
        y = cuda.local.array(factors, real)
        at_x = cuda.local.array(SIDE, int32)
        at_y = cuda.local.array(SIDE, int32)
        sums = cuda.local.array(elements_here, real)
        tall, wide, slices = _pieces(rows, SIDE), _pieces(columns, SIDE), _pieces(depth, steps)
        tile, tiles = place, int32(tall * wide)
        while tile < tiles:
            whole, rest = quotient(tile, tall if down else wide)
            row, column = (rest, whole) if down else (whole, rest)
            a_begin(at_x, a_start, a_stride, row, tall)
            b_begin(at_y, b_start, b_stride, column, wide)
            for i in range(elements_here):
                sums[i] = real(0)
            left = slices
            while left > 0:
                left = int32(left - 1)
                a_fetch(x, state.work, at_x, a_stride)
                b_fetch(y, state.work, at_y, b_stride)
                for step in range(steps):
                    for i in range(SIDE):
                        for j in range(SIDE):
                            factor = x[i * a_next + step * a_step]
                            sums[i * SIDE + j] += factor * y[j * b_next + step * b_step]
            leave(state, layer, row, column, tall, wide, rows, sums)
            tile = int32(tile + cuda.blockDim.x)
        return after(place, tiles)

    return multiply
