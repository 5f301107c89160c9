"""Predictions, under pytest-benchmark: ``python -m pytest benchmarks``."""

import numpy as np
import pytest
from grid import GRID, LIBRARIES, fit


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("rows", [1, 100_000])
@pytest.mark.parametrize("case", [GRID[0], GRID[2]], ids=str)
def test_predict_proba(benchmark, case, rows, library):
    benchmark.group = f"predict_proba of {rows} rows, {case}"
    X, y = case.data(np.float32)
    estimator = fit(library, case, X, y, max_iter=1)
    X, _ = case.data(np.float32, rows=rows)
    expected = fit("scikit-learn", case, *case.data(np.float32), max_iter=1).predict_proba(X)
    np.testing.assert_allclose(estimator.predict_proba(X), expected, atol=1e-4)
    benchmark(estimator.predict_proba, X)
