"""Searches: GridSearchCV over a pipeline, 48 candidates in 5 folds, each side on its best backend.

In float64, so that both sides find the same: the same scores, the same best candidate. That is
verified first, on every backend, with the first candidates only; the backends' times for these
choose scikit-learn's best one. The whole grid is timed by the clock on the wall.
"""

import time
import warnings
from functools import partial

import numpy as np
from grid import GRID, OURS, THEIRS, make
from joblib import parallel_config
from report import number, spread, table
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from timing import alternate, medians, once, ratio

CASE = GRID[0]
EPOCHS, FOLDS = 10, 5
CANDIDATES = {
    "network__alpha": [1e-5, 1e-4, 1e-3, 1e-2],
    "network__learning_rate_init": [3e-4, 1e-3, 3e-3, 1e-2],
    "network__activation": ["relu", "tanh", "logistic"],
}
FIRST = CANDIDATES | {"network__alpha": [1e-4]}
COUNT = int(np.prod([len(values) for values in CANDIDATES.values()]))
#: The backends of joblib, and how many workers each has.
ONE, THREADS, PROCESSES = "sequential", "threading", "loky"
WORKERS = {ONE: 1, THREADS: 2, PROCESSES: 2}
#: Turns, at most: scikit-learn takes half a minute for one.
MOST_ROUNDS = 3


class Search:
    """One side's search on one backend, which keeps what it has found."""

    def __init__(self, library, backend):
        self.library, self.backend = library, backend

    def run(self, grid):
        """Search on a grid; each network has one thread."""
        network = make(self.library, CASE, max_iter=EPOCHS)
        pipeline = Pipeline([("scaler", StandardScaler()), ("network", network)])
        search = GridSearchCV(pipeline, grid, cv=FOLDS, refit=False)
        workers = WORKERS[self.backend]
        with warnings.catch_warnings(), parallel_config(self.backend, n_jobs=workers):
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.found = search.fit(*CASE.data(np.float64))


def verify(searches: list[Search]) -> float:
    """How far the mean scores of two searches are apart, at most: a row or so of all test rows.

    Raises
    ------
    AssertionError
        If they are further apart, or do not choose the same candidate.
    """
    first, *others = (search.found for search in searches)
    apart = 0.0
    for other in others:
        assert other.best_params_ == first.best_params_, (other.best_params_, first.best_params_)
        scores = (found.cv_results_["mean_test_score"] for found in (first, other))
        apart = max(apart, float(np.abs(np.subtract(*scores)).max()))
    assert apart <= 2 / CASE.rows, f"the mean scores are {apart} apart"
    return apart


def measure(options) -> list[dict]:
    """A row for each search that is timed; with ``--case 0`` the first candidates only."""
    sides = [Search(library, backend) for library in (OURS, THEIRS) for backend in WORKERS]
    trials = {}
    for side in sides:
        if side.backend != THREADS:  # compile; start processes, which load what was compiled
            side.run(FIRST)
        trials[side] = once(partial(side.run, FIRST), time.perf_counter)
    verify(sides)
    theirs = min((side for side in sides if side.library == THEIRS), key=trials.get)
    timed = [side for side in sides if side.library == OURS or side is theirs]
    grid = CANDIDATES if options.case is None else FIRST
    rounds = min(options.rounds, MOST_ROUNDS)
    works = {side: partial(side.run, grid) for side in timed}
    times = alternate(works, rounds, time.perf_counter)
    apart = verify(timed)
    alone = next(side for side in timed if side.backend == ONE)
    return [
        options.show(
            {
                "library": side.library,
                "backend": side.backend,
                "workers": WORKERS[side.backend],
                "seconds": medians(times)[side],
                "times": times[side],
                "than_theirs": ratio(times[theirs], times[side]),
                "than_alone": ratio(times[alone], times[side]),
                "first_candidates": {
                    other.backend: trials[other] for other in sides if other.library == side.library
                },
                "scores_apart": apart,
            }
        )
        for side in timed
    ]


def report(rows: list[dict]) -> list[str]:
    """One table, and how the best backend was chosen."""
    header = ["library, backend, workers", "seconds", "from to"]
    header += ["times scikit-learn's best", "times fastmlp alone"]
    cells = [
        [
            f"{row['library']}, {row['backend']}, {row['workers']}",
            number(row["seconds"]),
            f"{number(min(row['times']))} to {number(max(row['times']))}",
            spread(row["than_theirs"]),
            spread(row["than_alone"]) if row["library"] == OURS else "",
        ]
        for row in rows
    ]
    chosen = ", ".join(
        f"{backend} {number(seconds)} s"
        for backend, seconds in rows[-1]["first_candidates"].items()
    )
    note = (
        f"{COUNT} candidates in {FOLDS} folds, of a scaler and a network: {CASE}, {EPOCHS} epochs, "
        f"float64, no refit. Every mean score is within {rows[0]['scores_apart']:.1g} of the other "
        "side's, and the best candidate is the same. The backends of scikit-learn, with a quarter "
        f"of the candidates: {chosen}."
    )
    return [note, "", *table(header, cells)]


def headline(rows: list[dict]) -> list[str]:
    """One sentence for the README."""
    best = min((row for row in rows if row["library"] == OURS), key=lambda row: row["seconds"])
    how = f"{best['backend']}, {best['workers']} workers"
    theirs = next(row for row in rows if row["library"] == THEIRS)
    threads = next(row for row in rows if row["backend"] == THREADS)
    return [
        f"Searches: GridSearchCV with {COUNT} candidates in {FOLDS} folds ({CASE}, {EPOCHS} "
        f"epochs) takes {number(best['seconds'])} s ({how}), "
        f"{number(best['than_theirs']['median'])} times as fast as scikit-learn's network "
        f"({theirs['backend']}), with the same scores; two threads are "
        f"{number(threads['than_alone']['median'])} times as fast as one; see "
        "[search](benchmarks/results/search.md)."
    ]
