"""Tiles and products against NumPy: every remainder of rows, columns and depth, any strides."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastmlp._jit import JIT_DISABLED, called
from fastmlp.devices.cpu.block_sizes import DEPTH
from fastmlp.devices.cpu.microkernel import ADD, FEW_ROWS, MULTIPLY, ROWS, STORE, dot
from fastmlp.devices.cpu.panels import Panels, padded, panel_width, transposed
from fastmlp.devices.cpu.products import few_rows_product, panel_product, product
from fastmlp.devices.cpu.vectors import VECTORS, lanes, pointer

DTYPES = [np.float32, np.float64]
#: What a product P makes of what was there, by `how`.
COMBINED = {
    STORE: lambda P, C: P,
    ADD: lambda P, C: P + C,
    MULTIPLY: lambda P, C: P * C,
}
QUICK = settings(
    deadline=None,
    max_examples=30 if JIT_DISABLED else 200,
    suppress_health_check=[HealthCheck.too_slow],
)


@called
def on_panels(C, X, Y, shape, distance, flip, how):
    """C and X Y, or Xᵀ Y, on flat arrays of panels; shape is (M, K, N), Y's are compact."""
    m, k, n = shape
    full = panel_width(C)
    C = Panels(pointer(C), 0, m, n, full, distance)
    Y = Panels(pointer(Y), 0, k, n, 0, k * full)
    if flip:
        product(C, transposed(Panels(pointer(X), 0, k, m, full, distance)), Y, how)
    else:
        product(C, Panels(pointer(X), 0, m, k, full, distance), Y, how)


@called
def of_few_rows(C, X, Y, shape, distance, how):
    """C = Xᵀ Y for a C of a few plain rows."""
    m, k, n = shape
    full = panel_width(C)
    C = Panels(pointer(C), 0, m, n, n, full)
    X = transposed(Panels(pointer(X), 0, k, m, full, distance))
    few_rows_product(C, X, Panels(pointer(Y), 0, k, n, full, distance), how)


@called
def on_one_panel(C, X, Y, shape, first, how):
    """Rows from `first` on of C = X Y, for one panel Y."""
    m, k, n = shape
    full = panel_width(C)
    X, Y = Panels(pointer(X), 0, m, k, full, m * full), Panels(pointer(Y), 0, k, n, n, 0)
    panel_product(Panels(pointer(C), 0, m, n, n, 0), X, Y, first, how)


@called
def rows_dot(A, B, columns, distance, i, j):
    full = panel_width(A)
    return dot(
        Panels(pointer(A), 0, i + 1, columns, full, distance),
        Panels(pointer(B), 0, j + 1, columns, columns, full),
        i,
        j,
    )


def compact(Y):
    """The panels of Y, one after the other, in one flat array."""
    full = VECTORS * lanes(Y.dtype)
    wide = np.zeros((len(Y), padded(Y.shape[1], Y.dtype)), Y.dtype)
    wide[:, : Y.shape[1]] = Y
    return np.concatenate([wide[:, j : j + full].ravel() for j in range(0, wide.shape[1], full)])


def spaced(M, rows):
    """The panels of M, each with room for so many rows; NaN shows what is not to be used."""
    full = VECTORS * lanes(M.dtype)
    panels = np.full((-(-M.shape[1] // full), rows, full), np.nan, M.dtype)
    for j in range(M.shape[1]):
        panels[j // full, : len(M), j % full] = M[:, j]
    return panels


def joined(panels):
    """The matrix in these panels, with all of its padding."""
    return np.concatenate(list(panels), axis=1)


def close(dtype, depth):
    return {"rtol": 0, "atol": 8 * np.finfo(dtype).eps * max(depth, 1)}


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    m=st.integers(1, 3 * ROWS + 1),
    k=st.integers(1, 4 * ROWS + 3),
    n=st.integers(1, 5 * lanes(np.float32)),
    flip=st.booleans(),
    how=st.sampled_from(list(COMBINED)),
    seed=st.integers(0, 99),
)
@QUICK
def test_product_on_panels(dtype, m, k, n, flip, how, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (k, m) if flip else (m, k)).astype(dtype)
    Y = rng.uniform(-1, 1, (k, n)).astype(dtype)
    width, rows = padded(n, dtype), -(-max(m, k) // ROWS) * ROWS
    old = dtype(np.nan if how == STORE else 3)
    C = spaced(np.full((m, width), old, dtype), rows)
    distance = rows * C.shape[2]
    on_panels(C.ravel(), spaced(X, rows).ravel(), compact(Y), (m, k, width), distance, flip, how)
    expected = COMBINED[how]((X.T if flip else X).astype(np.float64) @ Y.astype(np.float64), old)
    C = joined(C)
    np.testing.assert_allclose(C[:m, :n], expected, **close(dtype, 3 * k))
    assert (C[:m, n:width] == COMBINED[how](0, old)).all()
    assert np.isnan(C[m:]).all()
    assert np.isnan(C[:, width:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("k", [DEPTH - 1, DEPTH, DEPTH + 1, 2 * DEPTH + 3])
def test_deep_products_are_cut_into_blocks(k, flip, dtype):
    rng = np.random.default_rng(0)
    m, n, rows = ROWS + 1, VECTORS * lanes(dtype) + 1, -(-k // ROWS) * ROWS
    X, Y = rng.uniform(-1, 1, (m, k)).astype(dtype), rng.uniform(-1, 1, (k, n)).astype(dtype)
    width = padded(n, dtype)
    C = spaced(np.full((1, width), np.nan, dtype), rows)
    factor = spaced(X.T if flip else X, rows)
    on_panels(C.ravel(), factor.ravel(), compact(Y), (m, k, width), C[0].size, flip, STORE)
    np.testing.assert_allclose(joined(C)[:m, :n], X.astype(np.float64) @ Y, **close(dtype, k))


@pytest.mark.parametrize("how", COMBINED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, FEW_ROWS, FEW_ROWS + 1, ROWS + 1])
def test_product_of_few_rows(m, dtype, how):
    rng = np.random.default_rng(0)
    n = 3 * lanes(dtype)
    X, Y = rng.uniform(-1, 1, (7, m)).astype(dtype), rng.uniform(-1, 1, (7, n)).astype(dtype)
    C = rng.uniform(-1, 1, (m, n)).astype(dtype)
    expected = COMBINED[how](X.T.astype(np.float64) @ Y, C)
    X, Y = spaced(X, 7), spaced(Y, 7)
    of_few_rows(C.ravel(), X.ravel(), Y.ravel(), (m, 7, n), Y[0].size, how)
    np.testing.assert_allclose(C, expected, **close(dtype, 7))


@pytest.mark.parametrize("how", COMBINED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, VECTORS])
def test_rows_of_one_panel(vectors, dtype, how):
    rng = np.random.default_rng(0)
    m, n = 2 * ROWS + 3, vectors * lanes(dtype)
    X, Y = rng.uniform(-1, 1, (m, 3)).astype(dtype), rng.uniform(-1, 1, (3, n)).astype(dtype)
    C = rng.uniform(-1, 1, (m, n)).astype(dtype)
    expected = C.astype(np.float64)
    expected[ROWS:] = COMBINED[how](X[ROWS:].astype(np.float64) @ Y, C[ROWS:])
    on_one_panel(C.ravel(), spaced(X, 3 * ROWS).ravel(), Y.ravel(), (m, 3, n), ROWS, how)
    np.testing.assert_allclose(C, expected, **close(dtype, 3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 7])
def test_dot(vectors, dtype):
    rng = np.random.default_rng(0)
    columns = vectors * lanes(dtype)
    A, B = rng.uniform(-1, 1, (2, 5, columns)).astype(dtype)
    panels = spaced(A, 5)
    total = rows_dot(panels.ravel(), B.ravel(), columns, panels[0].size, 3, 2)
    expected = A[3].astype(np.float64) @ B[2]
    np.testing.assert_allclose(total, expected, **close(dtype, columns))
