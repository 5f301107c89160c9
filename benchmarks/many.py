"""Many networks: `fit_many` against the same fits one after the other, and in joblib's threads.

Verified first: all weights have the same bits, however they were fitted. Timed by the clock on the
wall, in float32; every fit has the same number of epochs.
"""

import time
import warnings
from functools import partial

import numpy as np
from grid import OURS, Case, make
from joblib import Parallel, delayed
from report import number, spread, table
from sklearn.exceptions import ConvergenceWarning
from timing import alternate, medians, ratio

from fastmlp import fit_many

#: How many networks, and each of them: a usual one, and one that leaves compiled code soon.
COUNT = 32
CASES = [
    Case(10_000, 20, (100,), 2, 200, epochs=10),
    Case(1_000, 8, (16,), 2, 32, epochs=30),
]
ONE, JOBLIB, MANY = "one after the other", "joblib, threads", "fit_many"


def networks(case, count=COUNT):
    """Unfitted networks that differ in seed and penalty."""
    made = [make(OURS, case, alpha=10.0 ** -(number % 4)) for number in range(count)]
    return [network.set_params(random_state=number) for number, network in enumerate(made)]


def one_after_the_other(case, X, y):
    """Fit each by itself."""
    return [network.fit(X, y) for network in networks(case)]


def in_threads(case, X, y):
    """Fit them as a search of scikit-learn would."""
    fits = (delayed(network.set_params(n_jobs=1).fit)(X, y) for network in networks(case))
    return Parallel(n_jobs=-1, backend="threading")(fits)


def together(case, X, y):
    """Fit all in one call."""
    return fit_many(networks(case), X, y)


SIDES = {ONE: one_after_the_other, JOBLIB: in_threads, MANY: together}


def verify(fits: dict) -> None:
    """Check that all sides have the same networks.

    Raises
    ------
    AssertionError
        If a bit differs.
    """
    for side in fits.values():
        for own, other in zip(side, fits[ONE], strict=True):
            arrays = ([*network.coefs_, *network.intercepts_] for network in (own, other))
            assert all(map(np.array_equal, *arrays)), other


def measure(options) -> list[dict]:
    """A row for each case."""
    return [options.show(_row(case, options.rounds)) for case in options.chosen(CASES)]


def _row(case, rounds):
    X, y = case.data(np.float32)
    works = {name: partial(side, case, X, y) for name, side in SIDES.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        verify({name: work() for name, work in works.items()})
        times = alternate(works, rounds, time.perf_counter)
    return {
        "case": str(case),
        "count": COUNT,
        "epochs": case.epochs,
        "seconds": medians(times),
        "than_one": {name: ratio(times[ONE], times[name]) for name in (JOBLIB, MANY)},
    }


def report(rows: list[dict]) -> list[str]:
    """One table."""
    header = [f"{rows[0]['count']} networks", *(f"{name}, s" for name in SIDES)]
    header += [f"{name}: times as fast as {ONE}" for name in (JOBLIB, MANY)]
    cells = [
        [
            f"{row['case']}, {row['epochs']} epochs",
            *(number(row["seconds"][name]) for name in SIDES),
            *(spread(row["than_one"][name]) for name in (JOBLIB, MANY)),
        ]
        for row in rows
    ]
    return table(header, cells)


def headline(rows: list[dict]) -> list[str]:
    """One sentence for the README."""
    row = rows[0]
    return [
        f"Many networks: `fit_many` fits {row['count']} of them ({row['case']}, {row['epochs']} "
        f"epochs) in {number(row['seconds'][MANY])} s, "
        f"{number(row['than_one'][MANY]['median'])} times as fast as one after the other, with the "
        "same bits; see [many](benchmarks/results/many.md)."
    ]
