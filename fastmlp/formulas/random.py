"""Counter-based random numbers: a function of keys and counters, without any state.

Threefry-2x32 with 20 rounds, from Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
as 1, 2, 3", 2011. It uses only additions, rotations and exclusive ors of 32-bit words, so that a
vector of them takes a tenth of a nanosecond per round.
"""

from llvmlite import ir
from numba import types

from .._jit import intrinsic

PARITY = 0x1BD11BDA
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def rounds(key, counter, add, rotate, xor, word):
    """Return both words of Threefry-2x32-20, computed by the given operations on 32-bit words."""
    keys = [*key, xor(xor(*key), word(PARITY))]
    x, y = add(counter[0], keys[0]), add(counter[1], keys[1])
    for group in range(5):
        for distance in ROTATIONS[group % 2]:
            x = add(x, y)
            y = xor(rotate(y, distance), x)
        x = add(x, keys[(group + 1) % 3])
        y = add(add(y, keys[(group + 2) % 3]), word(group + 1))
    return x, y


def _plain(threshold, *words):
    mask = 0xFFFFFFFF
    threshold, seed, step, row, unit = (int(word) & mask for word in (threshold, *words))
    first, _ = rounds(
        (seed, step),
        (row, unit),
        add=lambda a, b: (a + b) & mask,
        rotate=lambda a, distance: ((a << distance) | (a >> (32 - distance))) & mask,
        xor=lambda a, b: a ^ b,
        word=lambda value: value,
    )
    return first >= threshold


@intrinsic(_plain)
def at_least(typingctx, threshold, seed, step, row, unit):
    """Whether the first random word of keys (seed, step) and counters (row, unit) is ≥ `threshold`.

    Only the low 32 bits of each number are used.
    """

    def build(context, builder, signature, args):
        int32 = ir.IntType(32)
        threshold, *words = (builder.trunc(arg, int32) for arg in args)

        def constant(value):
            return ir.Constant(int32, value)

        def rotate(a, distance):
            left = builder.shl(a, constant(distance))
            return builder.or_(left, builder.lshr(a, constant(32 - distance)))

        first, _ = rounds(words[:2], words[2:], builder.add, rotate, builder.xor, constant)
        return builder.icmp_unsigned(">=", first, threshold)

    return types.boolean(*(types.int64,) * 5), build
