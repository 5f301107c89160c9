"""One table of functions and dtypes under the same laws."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import DTYPES, FUSED, computed
from numba import from_dtype

from fastmlp._jit import JIT_DISABLED
from fastmlp.formulas import elementary

INF, NAN = np.inf, np.nan
# Plain Python rounds its fma through integers, ten thousand times as slowly.
COUNT = 200 if JIT_DISABLED else 100_000
EXAMPLES = settings(max_examples=30 if JIT_DISABLED else 200, deadline=None)


def logistic(x):
    decayed = np.exp(-abs(x))
    return np.where(x < 0, decayed, 1) / (1 + decayed)


PI = np.longdouble("3.14159265358979323846")
MIDDLE = 1.75  # the fraction is slow below, the difference loses digits above


def erf_series(t):
    """Abramowitz and Stegun, 7.1.6: 0 <= t <= MIDDLE, all terms positive."""
    term = total = t
    for k in range(1, 46):
        term = term * (2 * t * t / (2 * k + 1))
        total = total + term
    return total * np.exp(-t * t) * 2 / np.sqrt(PI.astype(t.dtype))


def erfc(x, factor):
    """erfc(√factor x), x >= 0; beyond MIDDLE by the fraction 7.1.14 of Abramowitz and Stegun."""
    t = x * np.sqrt(x.dtype.type(factor))
    far = np.maximum(t, MIDDLE)
    fraction = far
    for k in range(80, 0, -1):
        fraction = far + k / 2 / fraction
    high = x.astype(np.float32).astype(x.dtype)  # whose square is exact
    decayed = np.exp(-factor * high * high) * np.exp(-factor * (x - high) * (x + high))
    tail = decayed / fraction / np.sqrt(PI.astype(t.dtype))
    return np.where(t < MIDDLE, 1 - erf_series(np.minimum(t, MIDDLE)), tail)


def erf(x):
    size = np.minimum(abs(x), 60)
    near = erf_series(np.minimum(size, MIDDLE))
    return np.sign(x) * np.where(size < MIDDLE, near, 1 - erfc(size, 1))


def normal_cdf(z):
    tail = erfc(np.minimum(abs(z), 60), 0.5) / 2
    return np.where(z < 0, tail, 1 - tail)


class Law(NamedTuple):
    """What a function shall be: its definition, the docstring's bound, and values at the edges."""

    definition: Callable
    ulp: float
    special: dict[float, float]
    monotone: bool = False  # in every single step, as trying them all showed for float32
    normal: bool = False  # 0 where the definition is a denormal
    unfused: float = 0.8  # how much worse it is where each fma is a product and a sum


LAWS = {
    "exp": Law(np.exp, 1.1, {0: 1, INF: INF, -INF: 0, 1e4: INF, -1e4: 0, NAN: NAN}, True),
    "log": Law(np.log, 0.8, {1: 0, INF: INF, 0: -INF, -1: NAN, -INF: NAN, NAN: NAN}, True),
    "tanh": Law(np.tanh, 2.7, {0: 0, INF: 1, -INF: -1, 1e4: 1, -1e4: -1, NAN: NAN}),
    "logistic": Law(
        logistic, 2.5, {0: 0.5, INF: 1, -INF: 0, 1e4: 1, -1e4: 0, NAN: NAN}, normal=True
    ),
    "erf": Law(erf, 1.4, {0: 0, INF: 1, -INF: -1, 1e4: 1, -1e4: -1, NAN: NAN}),
    "normal_cdf": Law(
        normal_cdf, 9, {0: 0.5, INF: 1, -INF: 0, 1e4: 1, -1e4: 0, NAN: NAN}, unfused=600
    ),
}
every_function = pytest.mark.parametrize("name", LAWS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def ulps(name, x):
    """Errors at x in units in the last place: 0 where both are the same infinity or NaN."""
    wide = np.float64 if x.dtype == np.float32 else np.longdouble
    if np.finfo(wide).nmant <= np.finfo(x.dtype).nmant:
        pytest.skip("long double is no wider than float64 here")
    y = computed(name, x)
    with np.errstate(all="ignore"):
        exact = LAWS[name].definition(x.astype(wide))
        rounded = exact.astype(x.dtype)
        same = (y == rounded) | (np.isnan(y) & np.isnan(rounded))
        error = np.abs(y - exact) / np.spacing(np.abs(rounded))
    if LAWS[name].normal:
        error[(y == 0) & (exact < np.finfo(x.dtype).tiny)] = 0
    return np.where(np.isfinite(rounded), error, np.where(same, 0, INF))


def bound(name):
    return LAWS[name].ulp + (0 if FUSED else LAWS[name].unfused)


def runs(dtype, starts, length):
    """The `length` successive numbers of `dtype` at each of `starts`, upwards in size."""
    bits = np.asarray(starts, dtype).view(f"i{np.dtype(dtype).itemsize}")
    return (bits[:, None] + np.arange(length, dtype=bits.dtype)).view(dtype)


def samples(dtype):
    """Numbers of every exponent, the ranges where something happens, and the edges' neighbours."""
    random = np.random.default_rng(0)
    limits = np.finfo(dtype)
    anything = random.bytes(COUNT * np.dtype(dtype).itemsize)
    edges = [1, 2**0.5, 0.5**0.5, 0.875, 20, limits.tiny, limits.smallest_subnormal * 9]
    edges += [np.log(limits.max), -np.log(limits.tiny), -np.log(limits.smallest_subnormal)]
    near = runs(dtype, edges, 16).ravel()
    near = np.concatenate([near, near - 8 * np.spacing(near)])
    return np.concatenate(
        [
            np.frombuffer(anything, dtype),
            random.uniform(*np.log([limits.smallest_subnormal, limits.max]), COUNT).astype(dtype),
            random.normal(0, 1, COUNT).astype(dtype),
            random.normal(0, 20, COUNT).astype(dtype),
            random.uniform(0.3, 3, COUNT).astype(dtype),
            np.array([0, INF, limits.max], dtype),
            near,
            -near,
        ]
    )


@pytest.mark.slow
@every_dtype
@every_function
def test_accurate_over_the_whole_range(name, dtype):
    x = samples(dtype)
    error = ulps(name, x)
    worst = np.argmax(error)
    assert error[worst] <= bound(name), f"at {x[worst]!r}"


@every_dtype
@every_function
def test_accurate_wherever_hypothesis_looks(name, dtype):
    @EXAMPLES
    @given(st.floats(width=8 * np.dtype(dtype).itemsize))
    def law(x):
        assert ulps(name, np.array([x], dtype)) <= bound(name)

    law()


@every_dtype
@every_function
def test_special_values(name, dtype):
    x, expected = np.array(list(LAWS[name].special.items()), dtype).T
    np.testing.assert_array_equal(computed(name, np.ascontiguousarray(x)), expected)


@every_dtype
@every_function
def test_dtype_is_kept(name, dtype):
    function = getattr(elementary, name)
    if JIT_DISABLED:
        assert type(function(dtype(0.5))) is dtype
    else:
        scalar = from_dtype(np.dtype(dtype))
        function.compile((scalar,))
        assert function.overloads[scalar,].signature.return_type == scalar


@pytest.mark.skipif(not FUSED, reason="two roundings for one may step back")
@every_dtype
@pytest.mark.parametrize("name", [name for name, law in LAWS.items() if law.monotone])
def test_monotone_from_each_number_to_the_next(name, dtype):
    starts = np.abs(samples(dtype)[::20])
    for sign in (1, -1) if name == "exp" else (1,):
        x = sign * runs(dtype, starts[starts < np.finfo(dtype).max / 2], 16)
        y = computed(name, x.ravel()).reshape(x.shape)
        assert (sign * y[:, 1:] >= sign * y[:, :-1]).all()


@every_dtype
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_and_within_one(name, dtype):
    x = samples(dtype)
    y = computed(name, x)
    np.testing.assert_array_equal(computed(name, -x), -y)
    assert np.nanmax(np.abs(y)) == 1


@every_dtype
def test_tanh_of_a_small_number_is_that_number(dtype):
    limits = np.finfo(dtype)
    x = np.geomspace(limits.tiny, limits.eps, 50, dtype=dtype)
    x = np.concatenate([x, limits.smallest_subnormal * np.arange(9, dtype=dtype)])
    np.testing.assert_array_equal(computed("tanh", x), x)


@every_dtype
@pytest.mark.parametrize("name", ["logistic", "normal_cdf"])
def test_within_zero_and_one(name, dtype):
    y = computed(name, samples(dtype))
    assert np.nanmin(y) == 0
    assert np.nanmax(y) == 1
