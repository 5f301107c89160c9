"""Whole fits, under pytest-benchmark: ``python -m pytest benchmarks``."""

from functools import cache

import numpy as np
import pytest
from grid import GRID, LIBRARIES, fit, verify

#: The grid with fewer rows, so that all of it is run through soon.
CASES = [case._replace(rows=min(case.rows, 1000)) for case in GRID]

verified = cache(verify)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fit(benchmark, case, dtype, library):
    benchmark.group = f"fit {case}, {dtype.__name__}"
    verified(case, dtype)  # and compile
    X, y = case.data(dtype)
    benchmark.pedantic(fit, (library, case, X, y), {"max_iter": 1}, rounds=3)


@pytest.mark.parametrize("library", LIBRARIES)
def test_partial_fit_of_20_rows(benchmark, library):
    benchmark.group = "partial_fit of 20 rows"
    case = GRID[0]
    X, y = case.data(np.float64, rows=20)
    estimator = fit(library, case._replace(batch=20), X, y, max_iter=1)
    benchmark(estimator.partial_fit, X, y)
