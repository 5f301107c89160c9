"""Tiles and products against NumPy: every remainder of rows, columns and depth, any strides."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastmlp._jit import JIT_DISABLED, kernel
from fastmlp.devices.cpu.microkernel import FEW_ROWS, ROWS, VECTORS, Matrix, lanes, pointer
from fastmlp.devices.cpu.products import few_rows_product, padded, panel_product, product

DTYPES = [np.float32, np.float64]
QUICK = settings(
    deadline=None,
    max_examples=30 if JIT_DISABLED else 200,
    suppress_health_check=[HealthCheck.too_slow],
)


@kernel
def in_panels(C, X, Y, shape, strides):
    """C = X Y on flat arrays; shape is (M, K, N), strides those of C's and of X's rows."""
    m, k, n = shape
    c_row, x_row, x_column = strides
    product(
        Matrix(pointer(C), 0, m, n, c_row, 1),
        Matrix(pointer(X), 0, m, k, x_row, x_column),
        Matrix(pointer(Y), 0, k, n, 0, 0),
    )


@kernel
def in_rows(C, X, Y, shape, few, accumulate):
    """C (+)= X Y on flat arrays, Y in plain rows; as many as C has, or few."""
    m, k, n = shape
    C = Matrix(pointer(C), 0, m, n, n, 1)
    X = Matrix(pointer(X), 0, m, k, k, 1)
    Y = Matrix(pointer(Y), 0, k, n, n, 1)
    if few:
        few_rows_product(C, X, Y, accumulate)
    elif accumulate:
        panel_product(C, X, Y, True)
    else:
        product(C, X, Y)


def panels(Y):
    """The panels of Y, one after the other, in one flat array."""
    full = VECTORS * lanes(Y.dtype)
    wide = np.zeros((len(Y), padded(Y.shape[1], Y.dtype)), Y.dtype)
    wide[:, : Y.shape[1]] = Y
    return np.concatenate([wide[:, j : j + full].ravel() for j in range(0, wide.shape[1], full)])


def close(dtype, depth):
    return {"rtol": 0, "atol": 8 * np.finfo(dtype).eps * max(depth, 1)}


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    m=st.integers(1, 3 * ROWS + 1),
    k=st.integers(0, 19),
    n=st.integers(1, 5 * lanes(np.float32)),
    transposed=st.booleans(),
    seed=st.integers(0, 99),
)
@QUICK
def test_product_on_panels(dtype, m, k, n, transposed, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (k, m) if transposed else (m, k)).astype(dtype)
    Y = rng.uniform(-1, 1, (k, n)).astype(dtype)
    width = padded(n, dtype)
    C = np.full((m + 1, width + 3), np.nan, dtype)  # NaN shows what was not to be touched
    x_strides = (1, m) if transposed else (k, 1)
    in_panels(C.ravel(), np.append(X.ravel(), np.nan).astype(dtype), panels(Y), (m, k, width),
              (width + 3, *x_strides))  # fmt: skip
    expected = (X.T if transposed else X).astype(np.float64) @ Y.astype(np.float64)
    np.testing.assert_allclose(C[:m, :n], expected, **close(dtype, k))
    assert (C[:m, n:width] == 0).all()
    assert np.isnan(C[m]).all()
    assert np.isnan(C[:, width:]).all()


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, FEW_ROWS, FEW_ROWS + 1, ROWS + 1])
def test_product_on_rows(m, dtype, few, accumulate):
    rng = np.random.default_rng(0)
    n = VECTORS * lanes(dtype) if accumulate and not few else 3 * lanes(dtype)
    X, Y = rng.uniform(-1, 1, (m, 7)).astype(dtype), rng.uniform(-1, 1, (7, n)).astype(dtype)
    C = rng.uniform(-1, 1, (m, n)).astype(dtype)
    expected = X.astype(np.float64) @ Y + (C if accumulate else 0)
    in_rows(C.ravel(), X.ravel(), Y.ravel(), (m, 7, n), few, accumulate)
    np.testing.assert_allclose(C, expected, **close(dtype, 7))


@pytest.mark.parametrize("dtype", DTYPES)
def test_short_blocks_read_no_further(dtype):
    """The rows that a tile lacks are not read: beyond the buffer there may be no memory."""
    X, Y = np.full(5, np.inf, dtype), np.ones(lanes(dtype), dtype)
    C = np.zeros(lanes(dtype), dtype)
    X[0] = 2
    in_rows(C, X, Y, (1, 1, lanes(dtype)), False, False)
    assert (C == 2).all()


@pytest.mark.compiled
@pytest.mark.parametrize(("dtype", "suffix"), [(np.float32, "ps"), (np.float64, "pd")])
def test_tiles_are_packed_multiply_adds(dtype, suffix):
    if not any(word in repr(_features()) for word in ("fma", "avx512f")):
        pytest.skip("this CPU has no fused multiply-add that the assembly could show")
    array = np.zeros(VECTORS * lanes(dtype), dtype)
    in_rows(array, array, array, (1, 1, array.size), False, False)
    signature = next(s for s in in_rows.signatures if s[0].dtype.name == np.dtype(dtype).name)
    assembly = in_rows.inspect_asm(signature)
    packed = [line for line in assembly.splitlines() if "vfmadd" in line and suffix in line]
    assert len(packed) >= ROWS * VECTORS
    assert not any("ss\t" in line or "sd\t" in line for line in packed)


def _features():
    from llvmlite import binding

    return {name for name, present in binding.get_host_cpu_features().items() if present}
