"""The parts of training, under pytest-benchmark: ``python -m pytest benchmarks``."""

import numpy as np
import pytest
from kernels import ELEMENTARY, Products, Update
from parts import DTYPES, NUMPY, check_products


@pytest.mark.parametrize("side", ["fastmlp", "BLAS"])
@pytest.mark.parametrize("part", ["forward", "delta", "gradient"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(200, 20, 100), (200, 100, 1), (256, 784, 256)], ids=str)
def test_product(benchmark, shape, dtype, part, side):
    benchmark.group = f"{part} {shape}, {dtype.__name__}"
    ours = Products(*shape, dtype)
    check_products(ours)
    factors = {
        "forward": (ours.A, ours.W),
        "delta": (ours.D, ours.W.T),
        "gradient": (ours.A.T, ours.D),
    }
    if side == "fastmlp":
        benchmark(getattr(ours, part))
    else:
        benchmark(np.matmul, *factors[part])


@pytest.mark.parametrize("side", ["fastmlp", "NumPy"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary(benchmark, name, dtype, side):
    benchmark.group = f"{name}, {dtype.__name__}"
    x = np.random.default_rng(0).uniform(0.1, 4, 16_384).astype(dtype)
    y = np.empty_like(x)
    if side == "fastmlp":
        benchmark(ELEMENTARY[name], x, y, 1)
        np.testing.assert_allclose(y, NUMPY[name](x), rtol=8 * np.finfo(dtype).eps)
    else:
        benchmark(NUMPY[name], x, out=y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_update(benchmark, name, dtype):
    benchmark.group = f"{name}, {dtype.__name__}"
    update = Update(name, 16_384, dtype)
    before = update.weights.copy()
    benchmark(update)
    downhill = update.gradient + dtype(1e-4) * before
    assert (np.sign(before - update.weights) == np.sign(downhill)).mean() > 0.99
