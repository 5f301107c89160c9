"""exp, log, tanh, logistic and erf in plain arithmetic, so that loops over them vectorise.

In a loop, the functions of the C library take 5 to 40 times as long. To vectorise, the code has no
branches, only selects; and it does not convert between floats and integers, but only reinterprets
the bits of one as the other (x86 has no such conversion for vectors of float64 before AVX-512, and
the conversion of a NaN is undefined).

Callers compile with ``reassoc``, which would turn (x - n*high) - n*low into x - n*(high + low) and
(m - 1) + w into (m + w) - 1, and so lose the precision that these forms are meant to keep. It never
splits an `fma`, so wherever the order of operations matters, an `fma` is used. (For a processor
without this instruction, LLVM makes it a product and a sum, which adds 0.8 ulp to the error of
log.)

A constant that differs between the dtypes is a pair (for float32, for float64), from which `typed`
and `horner` choose at compile time. Errors are in units in the last place (ulp); the bounds hold
for both dtypes: float32 was tested on all numbers, float64 on half a billion.
"""

import math

import numpy as np
from llvmlite import ir
from numba import types

from .._jit import formula, intrinsic


def _rounded_once(a, b, c):
    if not math.isfinite(a * b + c):
        return a * b + c
    # Exact ratios of integers; Python rounds their quotient once.
    (p, q), (r, s), (t, u) = (float(x).as_integer_ratio() for x in (a, b, c))
    return type(c)((p * r * u + t * q * s) / (q * s * u))


@intrinsic(_rounded_once)
def fma(typing, a, b, c):
    """a*b + c rounded once."""
    return c(c, c, c), lambda context, builder, sig, args: builder.fma(*args)


@intrinsic(np.floor)
def floor(typing, x):
    """Return x rounded down to a whole number, as a float; `math.floor` returns an integer."""

    def build(context, builder, sig, args):
        return builder.call(builder.module.declare_intrinsic("llvm.floor", [args[0].type]), args)

    return x(x), build


@intrinsic(lambda x: int(x.view(f"i{x.itemsize}")))
def float_bits(typing, x):
    """Return the bits of x as an integer."""

    def build(context, builder, sig, args):
        return builder.bitcast(args[0], ir.IntType(x.bitwidth))

    return types.Integer.from_bitwidth(x.bitwidth)(x), build


@intrinsic(lambda bits, x: np.array(bits % 256**x.itemsize, f"u{x.itemsize}").view(x.dtype)[()])
def bits_float(typing, bits, x):
    """Return the float of x's dtype whose bits are the low bits of `bits`.

    Numba widens every integer to 64 bits; LLVM sees which ones are used and narrows it again.
    """

    def build(context, builder, sig, args):
        low = builder.trunc(args[0], ir.IntType(x.bitwidth))
        return builder.bitcast(low, context.get_value_type(x))

    return x(bits, x), build


def _chosen(pair, x):
    value = pair[x.itemsize // 8]
    return value if isinstance(value, int) else x.dtype.type(value)


@intrinsic(_chosen)
def typed(typing, pair, x):
    """Return the pair's constant for x's dtype: a number of that dtype, or an integer."""
    number = x if isinstance(pair.dtype, types.Float) else pair.dtype

    def build(context, builder, sig, args):
        value = builder.extract_value(args[0], x.bitwidth // 64)
        return context.cast(builder, value, pair.dtype, number)

    return number(pair, x), build


def _horner(x, pair):
    *lower, value = (x.dtype.type(c) for c in pair[x.itemsize // 8])
    for c in reversed(lower):
        value = fma(x, value, c)
    return value


@intrinsic(_horner)
def horner(typing, x, pair):
    """c[0] + c[1] x + c[2] x^2 + ..., with the pair's coefficients c for x's dtype."""
    which = x.bitwidth // 64

    def build(context, builder, sig, args):
        chosen = builder.extract_value(args[1], which)
        doubles = (builder.extract_value(chosen, i) for i in range(len(pair[which])))
        *lower, value = (context.cast(builder, c, types.float64, x) for c in doubles)
        for c in reversed(lower):
            value = builder.fma(args[0], value, c)
        return value

    return x(x, pair), build


MANTISSA_BITS = (23, 52)
# In 1.5 * 2^23 (or 2^52), the last bit has the value 1: after adding the bias and n, the lowest
# bits hold n + bias, which is the exponent field of 2^n.
EXPONENT_TO_BITS = (1.5 * 2.0**23 + 127, 1.5 * 2.0**52 + 1023)

LOG2_E = (1 / math.log(2), 1 / math.log(2))
# ln 2 rounded to so few bits that n ln 2 is exact for every exponent n, even without fma; and the
# rest, including the 2.3e-17 that are missing in ln 2 as a float64.
LN2 = tuple(round(math.log(2) * 2.0**bits) / 2.0**bits for bits in (16, 42))
LN2_REST = tuple(math.log(2) - rounded + 2.3190468138462996e-17 for rounded in LN2)

# Below and above these, e^x rounds to zero and overflows; between them, two factors can hold its
# exponent.
EXP_LOWEST = (-104.0, -746.0)
EXP_HIGHEST = (89.0, 710.0)

# fmt: off
# Q in e^r - 1 = r + r^2 Q(r), |r| <= ln(2)/2: minimax in the error relative to e^r - 1, by Remez'
# exchange (float32; refitted after rounding each coefficient) and by Lawson's weights (float64;
# the first held at 1/2), in 40 digits or more. Errors with these digits: 2^-26.0 and 2^-55.2.
EXPM1 = (
    (0.4999999701976776, 0.16666539013385773, 0.04166775569319725, 0.008367118425667286,
     0.0013835838763043284),
    (0.5, 0.16666666666666602, 0.04166666666661998, 0.008333333333388426, 0.001388888892050753,
     0.00019841269709248147, 2.4801516351801596e-05, 2.7557425161649353e-06,
     2.76222248105658e-07, 2.504587364268022e-08),
)
# P in artanh(s) = s + s^3 P(s^2), |s| <= (sqrt(2) - 1)^2: minimax in the relative error of artanh,
# by Remez' exchange in 50 digits. Errors with these digits: 2^-30.2 and 2^-58.9.
ARTANH = (
    (0.3333338797092438, 0.19988790154457092, 0.14935465157032013),
    (0.3333333333333367, 0.19999999999707152, 0.14285714371239264, 0.11111099281578769,
     0.09091782441004075, 0.07657017737864788, 0.07398054390665486),
)
# fmt: on


@formula
def clamp(x, low, high):
    """Return x clipped to [low, high]. NaN stays NaN; a GPU's `min` and `max` would drop it."""
    return low if x < low else high if x > high else x


@formula
def _power_of_two(n):
    """2^n for a whole number n within the exponent's range."""
    bits = float_bits(n + typed(EXPONENT_TO_BITS, n))
    return bits_float(bits << typed(MANTISSA_BITS, n), n)


@formula
def _reduced(x):
    """n and q of e^x = 2^n (1 + q): n = round(x / ln 2), r = x - n ln 2, q = e^r - 1."""
    n = floor(fma(x, typed(LOG2_E, x), type(x)(0.5)))
    r = fma(-n, typed(LN2, x), x)
    r = fma(-n, typed(LN2_REST, x), r)
    return n, fma(r * r, horner(r, EXPM1), r)


@formula
def exp(x):
    """e^x = (2^h + 2^h q) 2^(n-h) with h = floor(n / 2); within 1.1 ulp.

    A single factor 2^n would overflow before e^x does, and could not be a denormal.
    """
    n, q = _reduced(clamp(x, typed(EXP_LOWEST, x), typed(EXP_HIGHEST, x)))
    half = floor(n * type(x)(0.5))
    scale = _power_of_two(half)
    return fma(q, scale, scale) * _power_of_two(n - half)


# Below these, e^x - 1 rounds to -1.
EXPM1_LOWEST = (-20.0, -40.0)


@formula
def exp_below_zero(x):
    """e^x and e^x - 1, for x clipped to [EXPM1_LOWEST, 0]; within 1.5 ulp."""
    n, q = _reduced(clamp(x, typed(EXPM1_LOWEST, x), type(x)(0)))
    scale = _power_of_two(n)
    return fma(q, scale, scale), fma(q, scale, scale - type(x)(1))


# ln 2^-126 and ln 2^-1022: below these, e^x is a denormal.
EXP_NORMAL = (-126 * math.log(2), -1022 * math.log(2))


@formula
def exp_or_zero(x):
    """e^x = 2^n (1 + q) for x ≤ 0; within 1.1 ulp, but 0 where e^x would be a denormal.

    It takes three quarters of the time of `exp`, as one factor holds the exponent.
    """
    n, q = _reduced(x)
    scale = _power_of_two(n)
    return type(x)(0) if x < typed(EXP_NORMAL, x) else fma(q, scale, scale)


@formula
def logistic(x):
    """1 / (1 + e^-x); within 2.5 ulp, but 0 where it would be a denormal.

    It uses whichever of e^x and e^-x is below 1, which cannot overflow. Where x is very negative,
    e^x / (1 + e^x) is a small number with full relative precision.
    """
    one = type(x)(1)
    decayed = exp_or_zero(-abs(x))
    return (decayed if x < 0 else one) / (one + decayed)


@formula
def tanh(x):
    """e / (e + 2) with e = e^(2|x|) - 1 = 2^n q + (2^n - 1), and the sign of x; within 2.7 ulp.

    Near zero n = 0 and e = q, a small number with full relative precision. Beyond 20 tanh rounds
    to 1.
    """
    size = clamp(abs(x), type(x)(0), type(x)(20))
    n, q = _reduced(size + size)
    scale = _power_of_two(n)
    e = fma(q, scale, scale - type(x)(1))
    value = e / (e + type(x)(2))
    return -value if x < 0 else value


EXPONENT_FIELD = (0xFF << 23, 0x7FF << 52)
ONE_BITS = (127 << 23, 1023 << 52)
SQRT_HALF_BITS = (0x3F3504F3, 0x3FE6A09E667F3BCD)
# The bits of 2^23 and 2^52, in which the last bit has the value 1; and these numbers plus the bias.
COUNTER_BITS = (150 << 23, 1075 << 52)
COUNTER = (2.0**23 + 127, 2.0**52 + 1023)
SMALLEST_NORMAL = (2.0**-126, 2.0**-1022)
LIFT = 64
TWO_TO_LIFT = 2.0**LIFT


@formula
def log(x):
    """log(2^k m) = k ln 2 + 2 artanh(s) with s = (m - 1) / (m + 1), √½ ≤ m < √2; within 0.8 ulp.

    With g = (m - 1) / 2, which is exact, s = g / (1 + g) and
    artanh(s) = g - g^2 + s (g^2 + s^2 P(s^2)), in which the quotient's error hardly matters.
    """
    denormal = x < typed(SMALLEST_NORMAL, x)
    bits = float_bits(x * type(x)(TWO_TO_LIFT if denormal else 1))
    # The exponent field of k + bias. It increases at m = sqrt(2), not 2, so that the two terms
    # cannot cancel.
    field = (bits + typed(ONE_BITS, x) - typed(SQRT_HALF_BITS, x)) & typed(EXPONENT_FIELD, x)
    m = bits_float(bits - field + typed(ONE_BITS, x), x)
    counted = bits_float((field >> typed(MANTISSA_BITS, x)) | typed(COUNTER_BITS, x), x)
    k = counted - typed(COUNTER, x) - type(x)(LIFT if denormal else 0)

    half = type(x)(0.5)
    g = fma(half, m, -half)
    s = g / (type(x)(1) + g)
    z = s * s
    small = fma(s, fma(g, g, z * horner(z, ARTANH)), k * (half * typed(LN2_REST, x)))
    value = fma(k, half * typed(LN2, x), g + fma(-g, g, small))
    value = value + value

    value = value if x < np.inf else x
    edge = type(x)(-np.inf if x == 0 else np.nan)
    return value if x > 0 else edge


SQRT_2_LESS_1 = math.sqrt(2) - 1
LOG_2 = math.log(2)  # on a GPU, math.log(2) would be a call, computed in float64


@formula
def log1p_of_share(x):
    """log(1 + x) for 0 ≤ x ≤ 1, with full relative precision for small x; within 1.5 ulp.

    2 artanh(s) with s = x / (2 + x); or, where s would leave the polynomial's range,
    ln 2 + log((1 + x) / 2), which is ln 2 + 2 artanh(s) with s = (x - 1) / (x + 3).
    """
    one, two = type(x)(1), type(x)(2)
    far = x > type(x)(SQRT_2_LESS_1)
    s = (x - one if far else x) / (x + (one + two if far else two))
    half = fma(s * s, s * horner(s * s, ARTANH), s)
    return fma(two, half, type(x)(LOG_2) if far else type(x)(0))


# Above these, e^(-t^2) rounds to zero.
DECAYED = (10.2, 27.4)
SQRT_2, SQRT_HALF = math.sqrt(2), math.sqrt(0.5)

# fmt: off
# N and D in e^(t^2) erfc(t) = N(t) / D(t), 0 <= t <= DECAYED: minimax in the relative error, with
# the value 1 at t = 0, by Remez' exchange in 60 digits; the last bits were found by search. As in
# the continued fraction (Abramowitz and Stegun, 7.1.14), all coefficients are positive: nothing
# cancels. Errors with these digits: 2^-25.8 and 2^-55.3.
ERFC_NUMERATOR = (
    (1.0, 1.237277626991272, 0.7303133606910706, 0.22856037318706512, 0.03264020383358002),
    (1.0, 2.340660517563461, 2.7160707421094616, 2.0188501059091535, 1.0545560678980774,
     0.40265649552683397, 0.11366057808511398, 0.023449845728496826, 0.0033970985046986803,
     0.0003142349629111048, 1.4268002537907201e-05),
)
ERFC_DENOMINATOR = (
    (1.0, 2.365657091140747, 2.3996639251708984, 1.3229397535324097, 0.4051392078399658,
     0.05785255879163742),
    (1.0, 3.469039684658974, 5.630462852106222, 5.655360182735973, 3.915078568407344,
     1.9669019981222, 0.7341934596737508, 0.20445608469372506, 0.04184225285302238,
     0.006033845014506238, 0.0005569669701019278, 2.528937604303726e-05),
)
# P in erf(x) = x + x P(x^2), |x| <= 7/8: as above, in the error relative to erf. Errors with these
# digits: 2^-26.1 and 2^-54.9.
ERF_SPLIT = 7 / 8
ERF = (
    (0.12837915122509003, -0.3761254847049713, 0.11282451450824738, -0.026791442185640335,
     0.005032190587371588, -0.0006203277735039592),
    (0.12837916709551256, -0.3761263890318299, 0.11283791670915586, -0.02686617063714336,
     0.005223977542442831, -0.0008548321977503945, 0.00012055141083110731, -1.4920942092435153e-05,
     1.6387375462863095e-06, -1.561926258518564e-07, 1.04568004732883e-08),
)
# fmt: on


@formula
def _erfc(t, x, y):
    """erfc(t) for 0 ≤ t ≤ DECAYED, with t^2 = x y.

    The rounding error of the product would become a relative error of e^(-x y), so it is corrected.
    """
    product = x * y
    rest = fma(x, y, -product)
    scaled = horner(t, ERFC_NUMERATOR) / horner(t, ERFC_DENOMINATOR)
    return exp(-product) * fma(-rest, scaled, scaled)


@formula
def erf(x):
    """2/√π ∫₀ˣ e^(-t²) dt; within 1.4 ulp.

    Where 1 - erfc(x) would cancel, a polynomial with full relative precision for small x is used.
    """
    size = clamp(abs(x), type(x)(0), typed(DECAYED, x))
    near = fma(size, horner(size * size, ERF), size)
    far = type(x)(1) - _erfc(size, size, size)
    value = near if size < type(x)(ERF_SPLIT) else far
    return -value if x < 0 else value


@formula
def normal_cdf(z):
    """Φ(z) = (1 + erf(z/√2)) / 2 = erfc(-z/√2) / 2; within 9 ulp, on average 1.

    The left tail has full relative precision until Φ rounds to zero, while 1 + erf(z/√2) has no
    correct digit left at z = -9. Without fma, the error of the tail grows by up to z² / 2 ulp.
    """
    half = type(z)(0.5)
    size = clamp(abs(z), type(z)(0), typed(DECAYED, z) * type(z)(SQRT_2))
    tail = half * _erfc(size * type(z)(SQRT_HALF), half * size, size)
    return tail if z < 0 else type(z)(1) - tail
