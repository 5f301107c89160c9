"""Formulas in CUDA kernels: as they are, they stay in registers and in their own dtype."""

import inspect
from operator import attrgetter

import pytest
from cuda_compiler import GPUS, compiled, missing
from designs import covering
from numba import types

from fastmlp.formulas import activations, elementary, losses, optimizers, random
from fastmlp.optimizers import MOST_NUMBERS, OPTIMIZERS

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.slow,
    pytest.mark.no_cover,  # the simulator shows which lines run
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

if not missing():
    from fastmlp.devices.cuda.toolkit import cuda

TWO_RESULTS = {
    *activations.PAIRS.values(),
    *losses.FORMULAS.values(),
    elementary.exp_below_zero,
}
ONE_RESULT = {
    *activations.LEARNING.values(),
    losses.canonical_delta,
    optimizers.penalty_slope,
    optimizers.twice_penalty,
    elementary.exp,
    elementary.logistic,
    elementary.tanh,
    elementary.log,
    elementary.log1p_of_share,
    elementary.erf,
    elementary.normal_cdf,
}
DTYPES = [types.float32, types.float64]


def elementwise(formula):
    """A kernel over all first arguments; the others are the same for all."""

    def one(first, others, results):
        i = cuda.grid(1)
        if i < first.size:
            results[i] = formula(first[i], *others)

    def two(first, others, results):
        i = cuda.grid(1)
        if i < first.size:
            results[2 * i], results[2 * i + 1] = formula(first[i], *others)

    return one if formula in ONE_RESULT else two


def arguments(formula, dtype):
    others = len(inspect.signature(formula).parameters) - 1
    return dtype[::1], types.UniTuple(dtype, others), dtype[::1]


@covering(
    "formula, dtype, cc", sorted(TWO_RESULTS | ONE_RESULT, key=attrgetter("__name__")), DTYPES, GPUS
)
def test_formulas_stay_in_registers_and_in_their_dtype(formula, dtype, cc):
    code = compiled(elementwise(formula), arguments(formula, dtype), cc)
    assert (code.spills, code.stack) == (0, 0)
    assert (".f64" in code.ptx) == (dtype == types.float64)
    assert ".approx" not in code.ptx  # quotients and roots are rounded once, as on the CPU


@covering("name, dtype, cc", OPTIMIZERS, DTYPES, GPUS)
def test_steps_of_optimisers_stay_in_registers_and_in_their_dtype(name, dtype, cc):
    formula, moments = optimizers.FORMULAS[name], OPTIMIZERS[name].moments

    def step(slopes, carried, numbers, results):
        i = cuda.grid(1)
        if i < slopes.size:
            stepped = formula(slopes[i], *carried, numbers)
            for k in range(1 + moments):
                results[i, k] = stepped[k]

    carried = types.UniTuple(dtype, moments + 1)  # and the learning rate
    numbers = types.UniTuple(dtype, MOST_NUMBERS)
    code = compiled(step, (dtype[::1], carried, numbers, dtype[:, ::1]), cc)
    assert (code.spills, code.stack) == (0, 0)
    assert (".f64" in code.ptx) == (dtype == types.float64)
    assert ".approx" not in code.ptx


@pytest.mark.parametrize("cc", GPUS, ids=str)
def test_random_words_are_integers_of_32_bits(cc):
    def kernel(threshold, seed, step, row, kept):
        i = cuda.grid(1)
        kept[i] = random.at_least(threshold, seed, step, row, i)

    code = compiled(kernel, (types.int64,) * 4 + (types.boolean[::1],), cc)
    assert (code.spills, code.stack, code.fp64) == (0, 0, 0)
    assert code.count("SHF") >= 20  # the rotations: one instruction each
