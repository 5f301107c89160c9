"""Tiles and products against NumPy: every remainder of rows, columns and depth, any strides."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastmlp._jit import JIT_DISABLED, called
from fastmlp.devices.cpu.block_sizes import DEPTH
from fastmlp.devices.cpu.microkernel import ADD, GATE, MULTIPLY, RECTIFY, ROWS, STORE, dots
from fastmlp.devices.cpu.panels import Panels, padded, panel_width, transposed
from fastmlp.devices.cpu.products import exact_product, product
from fastmlp.devices.cpu.vectors import VECTORS, lanes, pointer

DTYPES = [np.float32, np.float64]
#: What becomes of a product P, by `how`: of what was there, C, and of the gate G.
COMBINED = {
    STORE: lambda P, C, G: P,
    ADD: lambda P, C, G: P + C,
    MULTIPLY: lambda P, C, G: P * C,
    RECTIFY: lambda P, C, G: np.maximum(P, 0),
    GATE: lambda P, C, G: np.where(G > 0, P, 0),
    ADD | GATE: lambda P, C, G: np.where(G > 0, P + C, 0),
}
QUICK = settings(
    deadline=None,
    max_examples=30 if JIT_DISABLED else 200,
    suppress_health_check=[HealthCheck.too_slow],
)


@called
def on_panels(C, X, Y, G, shape, distance, how):
    """C and X Y on flat arrays of panels; shape is (M, K, N), Y's are compact."""
    m, k, n = shape
    full = panel_width(C)
    C, G = Panels(pointer(C), 0, m, n, full, distance), Panels(pointer(G), 0, m, n, full, distance)
    Y = Panels(pointer(Y), 0, k, n, 0, k * full)
    product(C, Panels(pointer(X), 0, m, k, full, distance), Y, how, G)


@called
def on_one_panel(C, X, Y, shape, first, distance, how):
    """Rows from `first` on of C and Xᵀ Y, for one panel Y; C and Y are compact."""
    m, k, n = shape
    X = transposed(Panels(pointer(X), 0, k, m, panel_width(X), distance))
    C, Y = Panels(pointer(C), 0, m, n, n, 0), Panels(pointer(Y), 0, k, n, n, 0)
    exact_product(C, X, Y, first, how)


@called
def rows_dots(C, A, B, columns, distance, i, j, term):
    full = panel_width(A)
    A = Panels(pointer(A), 0, i + ROWS, columns, full, distance)
    B = Panels(pointer(B), 0, j + 1, columns, columns, full)
    dots(Panels(pointer(C), 0, i + ROWS, full, full, 0), A, B, i, j, ROWS, term)


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


def random(rng, dtype, *shape):
    return rng.uniform(-1, 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    m=st.integers(1, 3 * ROWS + 1),
    k=st.integers(1, 4 * ROWS + 3),
    n=st.integers(1, 5 * lanes(np.float32)),
    how=st.sampled_from(list(COMBINED)),
    seed=st.integers(0, 99),
)
@QUICK
def test_product_on_panels(dtype, m, k, n, how, seed):
    rng = np.random.default_rng(seed)
    X, Y = random(rng, dtype, m, k), random(rng, dtype, k, n)
    width, rows = padded(n, dtype), -(-m // ROWS) * ROWS
    old = dtype(3 if how & ADD or how == MULTIPLY else np.nan)
    gate = random(rng, dtype, m, width)
    C, G = spaced(np.full((m, width), old, dtype), rows), spaced(gate, rows)
    X64, distance = X.astype(np.float64), C[0].size
    on_panels(
        C.ravel(), spaced(X, rows).ravel(), compact(Y), G.ravel(), (m, k, width), distance, how
    )
    C = joined(C)
    np.testing.assert_allclose(
        C[:m, :n], COMBINED[how](X64 @ Y, old, gate[:, :n]), **close(dtype, 3 * k)
    )
    assert (C[:m, n:width] == COMBINED[how](0, old, gate[:, n:])).all()
    assert np.isnan(C[:, width:]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    m=st.integers(ROWS + 1, 3 * ROWS),
    k=st.integers(1, 4 * ROWS + 3),
    vectors=st.integers(1, VECTORS),
    first=st.sampled_from([0, ROWS]),
    how=st.sampled_from([STORE, ADD]),
    seed=st.integers(0, 99),
)
@QUICK
def test_exact_rows_of_one_panel(dtype, m, k, vectors, first, how, seed):
    rng, n = np.random.default_rng(seed), vectors * lanes(dtype)
    X, Y = random(rng, dtype, k, m), random(rng, dtype, k, n)
    C = random(rng, dtype, m + ROWS, n)
    expected = C.astype(np.float64)
    change = X.T[first:].astype(np.float64) @ Y
    expected[first:m] = COMBINED[how](change, C[first:m], None)
    panels = spaced(X, k)
    on_one_panel(C.ravel(), panels.ravel(), Y.ravel(), (m, k, n), first, panels[0].size, how)
    np.testing.assert_allclose(C, expected, **close(dtype, k))


@pytest.mark.parametrize("how", [STORE, ADD, RECTIFY, GATE])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [DEPTH - 1, DEPTH, DEPTH + 1, 2 * DEPTH + 3])
def test_deep_products_are_cut_into_blocks(k, dtype, how):
    rng = np.random.default_rng(0)
    m, n = ROWS, VECTORS * lanes(dtype) + 1
    X, Y, width = random(rng, dtype, m, k), random(rng, dtype, k, n), padded(n, dtype)
    old, gate = random(rng, dtype, m, width), random(rng, dtype, m, width)
    C, shape = spaced(old, m), (m, k, width)
    on_panels(
        C.ravel(), spaced(X, m).ravel(), compact(Y), spaced(gate, m).ravel(), shape, C[0].size, how
    )
    expected = COMBINED[how](X.astype(np.float64) @ Y, old[:, :n], gate[:, :n])
    np.testing.assert_allclose(joined(C)[:, :n], expected, **close(dtype, k))


@pytest.mark.parametrize("dtype", DTYPES)
def test_deep_exact_products_are_cut_into_blocks(dtype):
    rng, m, k, n = np.random.default_rng(0), ROWS + 1, 2 * DEPTH + 3, lanes(dtype)
    X, Y, C = random(rng, dtype, k, m), random(rng, dtype, k, n), random(rng, dtype, m, n)
    panels, expected = spaced(X, k), C + X.T.astype(np.float64) @ Y
    on_one_panel(C.ravel(), panels.ravel(), Y.ravel(), (m, k, n), 0, panels[0].size, ADD)
    np.testing.assert_allclose(C, expected, **close(dtype, k))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", [1, 2, 3, 4, 7])
def test_dots(vectors, dtype):
    """Nothing else of C is written, and each row has the bits that it has alone."""
    rng, columns, full, i, j = (
        np.random.default_rng(0),
        vectors * lanes(dtype),
        2 * lanes(dtype),
        3,
        2,
    )
    A, B = random(rng, dtype, i + ROWS, columns), random(rng, dtype, 5, columns)
    panels, C, term = spaced(A, len(A)), random(rng, dtype, len(A), full), dtype(0.5)
    old, same = C.copy(), np.empty_like(C)
    rows_dots(C.ravel(), panels.ravel(), B.ravel(), columns, panels[0].size, i, j, term)
    expected = A[i:].astype(np.float64) @ B[j] + term
    np.testing.assert_allclose(C[i:, j], expected, **close(dtype, columns))
    turned = spaced(A[[0, 1, 2, *range(len(A) - 1, 2, -1)]], len(A))
    rows_dots(same.ravel(), turned.ravel(), B.ravel(), columns, panels[0].size, i, j, term)
    np.testing.assert_array_equal(same[i:, j][::-1], C[i:, j])
    old[i:, j] = C[i:, j]
    np.testing.assert_array_equal(C, old)
