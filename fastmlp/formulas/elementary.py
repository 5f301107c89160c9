"""exp, log, tanh and logistic in plain arithmetic, so that loops over them vectorise.

A call into the C library costs ten times as much and stops the vectoriser. Hence no branches here,
only selects; no conversion between floats and integers (float64 has none in vectors before
AVX-512, and of NaN it is undefined), only reading one's bits as the other's.

Every constant that differs between the dtypes is a pair, (float32's, float64's), from which
`typed` and `horner` choose while compiling. Accuracies are the largest errors seen, in units in
the last place (ulp): float32 over every number there is, float64 over random ones.

Callers may compile with ``reassoc``. It would turn (x - n*high) - n*low into x - n*(high + low)
and (m - 1) + w into (m + w) - 1, and lose what was gained; it never takes an `fma` apart. So
wherever the order of operations matters, they are `fma`.
"""

import math
from fractions import Fraction

import numpy as np
from llvmlite import ir
from numba import types

from .._jit import formula, intrinsic


def _rounded_once(a, b, c):
    if not np.isfinite(a * b + c):
        return a * b + c
    return type(c)(float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))))


@intrinsic(_rounded_once)
def fma(typing, a, b, c):
    """a*b + c rounded once."""
    return c(c, c, c), lambda context, builder, sig, args: builder.fma(*args)


@intrinsic(np.floor)
def floor(typing, x):
    """The whole number below x, as a float: `math.floor` would make it an integer."""

    def build(context, builder, sig, args):
        llvm_floor = builder.module.declare_intrinsic("llvm.floor", [args[0].type])
        return builder.call(llvm_floor, args)

    return x(x), build


@intrinsic(lambda x: int(x.view(f"i{x.itemsize}")))
def float_bits(typing, x):
    """The bits of x as an integer."""
    integer = types.Integer.from_bitwidth(x.bitwidth)

    def build(context, builder, sig, args):
        return builder.bitcast(args[0], ir.IntType(x.bitwidth))

    return integer(x), build


def _low_bits_float(bits, like):
    low = bits & ((1 << 8 * like.itemsize) - 1)
    return np.array(low, f"u{like.itemsize}").view(like.dtype)[()]


@intrinsic(_low_bits_float)
def bits_float(typing, bits, like):
    """The float of `like`'s dtype whose bits are the low ones of `bits`.

    Numba widens every integer to 64 bits; LLVM narrows them again, seeing which ones are used.
    """

    def build(context, builder, sig, args):
        low = builder.trunc(args[0], ir.IntType(like.bitwidth))
        return builder.bitcast(low, context.get_value_type(like))

    return like(bits, like), build


def _chosen(pair, like):
    value = pair[like.itemsize // 8]
    return value if isinstance(value, int) else like.dtype.type(value)


@intrinsic(_chosen)
def typed(typing, pair, like):
    """The number of the pair that belongs to the dtype of `like`; in that dtype, unless whole."""
    number = like if isinstance(pair.dtype, types.Float) else pair.dtype

    def build(context, builder, sig, args):
        value = builder.extract_value(args[0], like.bitwidth // 64)
        return context.cast(builder, value, pair.dtype, number)

    return number(pair, like), build


def _horner(x, pair):
    value = x.dtype.type(0)
    for coefficient in reversed(pair[x.itemsize // 8]):
        value = fma(x, value, x.dtype.type(coefficient))
    return value


@intrinsic(_horner)
def horner(typing, x, pair):
    """c[0] + c[1] x + c[2] x^2 + ..., with the c of the pair that belong to the dtype of x."""

    def build(context, builder, sig, args):
        which = x.bitwidth // 64
        chosen = builder.extract_value(args[1], which)
        coefficients = [
            context.cast(builder, builder.extract_value(chosen, i), types.float64, x)
            for i in range(len(pair[which]))
        ]
        value = coefficients.pop()
        while coefficients:
            value = builder.fma(args[0], value, coefficients.pop())
        return value

    return x(x, pair), build


MANTISSA_BITS = (23, 52)
# Adding this to a whole number n leaves n + bias, the exponent field of 2^n, in the lowest bits.
EXPONENT_TO_BITS = (1.5 * 2.0**23 + 127, 1.5 * 2.0**52 + 1023)

LOG2_E = (1 / math.log(2), 1 / math.log(2))
# One number and its rounding error. In an fma the first product is exact whatever its digits.
LN2 = (float(np.float32(math.log(2))), math.log(2))
LN2_REST = (math.log(2) - LN2[0], 2.3190468138462996e-17)

# Beyond these exp is zero, and infinite; each makes an exponent that two factors can still hold.
EXP_LOWEST = (-104.0, -746.0)
EXP_HIGHEST = (89.0, 710.0)

# Q in e^r - 1 = r + r^2 Q(r) for |r| <= ln(2)/2: minimax in the error relative to e^r - 1, by the
# Remez exchange (float32; refitted after each coefficient's rounding) and by Lawson's weights
# (float64; first coefficient held at 1/2) in 40 digits. Errors as rounded: 2^-26.0 and 2^-55.2.
EXPM1 = (
    (
        0.4999999701976776,
        0.16666539013385773,
        0.04166775569319725,
        0.008367118425667286,
        0.0013835838763043284,
    ),
    (
        0.5,
        0.16666666666666602,
        0.04166666666661998,
        0.008333333333388426,
        0.001388888892050753,
        0.00019841269709248147,
        2.4801516351801596e-05,
        2.7557425161649353e-06,
        2.76222248105658e-07,
        2.504587364268022e-08,
    ),
)


@formula
def _power_of_two(n):
    """2^n for a whole n within the exponent's range."""
    bits = float_bits(n + typed(EXPONENT_TO_BITS, n))
    return bits_float(bits << typed(MANTISSA_BITS, n), n)


@formula
def _reduced(x):
    """n and q of e^x = 2^n (1 + q), with n = round(x / ln 2), r = x - n ln 2, q = e^r - 1."""
    n = floor(fma(x, typed(LOG2_E, x), type(x)(0.5)))
    r = fma(-n, typed(LN2, x), x)
    r = fma(-n, typed(LN2_REST, x), r)
    return n, fma(r * r, horner(r, EXPM1), r)


@formula
def exp(x):
    """e^x = (2^h + 2^h q) 2^(n-h) with h = floor(n / 2); within 1.04 ulp.

    2^n alone would overflow where e^x does not yet, and could not be a denormal. The selects that
    bound x let a NaN pass.
    """
    lowest = typed(EXP_LOWEST, x)
    highest = typed(EXP_HIGHEST, x)
    bounded = lowest if x < lowest else x
    bounded = highest if x > highest else bounded
    n, q = _reduced(bounded)
    half = floor(n * type(x)(0.5))
    scale = _power_of_two(half)
    return fma(q, scale, scale) * _power_of_two(n - half)


@formula
def logistic(x):
    """1 / (1 + e^-x); within ... ulp.

    Of e^x and e^-x, the one at most 1 is taken: it cannot overflow, and where x is very negative
    e^x / (1 + e^x) keeps the digits that the textbook form loses.
    """
    one = type(x)(1)
    decayed = exp(-abs(x))
    return (decayed if x < 0 else one) / (one + decayed)


@formula
def tanh(x):
    """e / (e + 2) with e = e^2|x| - 1 = 2^n q + (2^n - 1), and the sign of x; within ... ulp.

    Near zero n = 0 and e = q, which has all its digits there. From 20 on tanh is 1 in both dtypes.
    """
    size = abs(x)
    most = type(x)(20)
    size = most if size > most else size
    n, q = _reduced(size + size)
    scale = _power_of_two(n)
    e = fma(q, scale, scale - type(x)(1))
    value = e / (e + type(x)(2))
    return -value if x < 0 else value


EXPONENT_FIELD = (0xFF << 23, 0x7FF << 52)
ONE_BITS = (127 << 23, 1023 << 52)
SQRT_HALF_BITS = (0x3F3504F3, 0x3FE6A09E667F3BCD)
# The bits of 2^23 and 2^52, whose last digit counts ones; and these numbers, with the bias.
COUNTER_BITS = (150 << 23, 1075 << 52)
COUNTER = (2.0**23 + 127, 2.0**52 + 1023)

SMALLEST_NORMAL = (2.0**-126, 2.0**-1022)
LIFT_EXPONENT = 64
LIFT = 2.0**LIFT_EXPONENT

# P in artanh(s) = s + s^3 P(s^2) for |s| <= (sqrt(2) - 1)^2: minimax in the relative error of
# artanh, by the Remez exchange in 50 digits. Errors as rounded: 2^-30.2 and 2^-58.9.
ARTANH = (
    (0.3333338797092438, 0.19988790154457092, 0.14935465157032013),
    (
        0.3333333333333367,
        0.19999999999707152,
        0.14285714371239264,
        0.11111099281578769,
        0.09091782441004075,
        0.07657017737864788,
        0.07398054390665486,
    ),
)


@formula
def log(x):
    """log(2^k m) = k ln 2 + 2 artanh(s), with sqrt(1/2) <= m < sqrt(2); within ... ulp.

    s = (m - 1) / (m + 1) = g / (1 + g) with g = (m - 1) / 2, which is exact. The quotient's error
    matters only in the second term of artanh(s) = g + (s (g^2 + s^2 P(s^2)) - g^2).
    """
    denormal = x < typed(SMALLEST_NORMAL, x)
    bits = float_bits(x * type(x)(LIFT if denormal else 1))
    # k steps up at m = sqrt(2), not 2: the two terms then never cancel.
    field = (bits + typed(ONE_BITS, x) - typed(SQRT_HALF_BITS, x)) & typed(EXPONENT_FIELD, x)
    m = bits_float(bits - field + typed(ONE_BITS, x), x)
    counted = bits_float((field >> typed(MANTISSA_BITS, x)) | typed(COUNTER_BITS, x), x)
    k = counted - typed(COUNTER, x) - type(x)(LIFT_EXPONENT if denormal else 0)

    half = type(x)(0.5)
    g = fma(half, m, -half)
    s = g / (type(x)(1) + g)
    z = s * s
    rest = fma(s, fma(g, g, z * horner(z, ARTANH)), k * (half * typed(LN2_REST, x)))
    value = fma(k, half * typed(LN2, x), g + fma(-g, g, rest))
    value = value + value

    infinity = type(x)(np.inf)
    value = value if x < infinity else x
    edge = -infinity if x == 0 else type(x)(np.nan)
    return value if x > 0 else edge
