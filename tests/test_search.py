"""Searches over a pipeline: the same results on every backend, with two workers."""

import contextlib
from functools import cache

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
GRID = {"mlpclassifier__alpha": [1e-4, 30.0], "mlpclassifier__learning_rate_init": [1e-4, 0.02]}
NETWORK = MLPClassifier((8,), max_iter=15, random_state=0, early_stopping=True, device="cpu")
PIPELINE = make_pipeline(StandardScaler(), NETWORK)
SEARCHES = {
    "grid": GridSearchCV(PIPELINE, GRID, cv=2),
    "halving": HalvingGridSearchCV(PIPELINE, GRID, cv=2, min_resources=75, random_state=0),
}


def results():
    """Scores and choices of every search, on the backend that is in use."""
    validated = cross_validate(PIPELINE, X, Y, cv=4, return_train_score=True)
    found = {"validated": [validated["test_score"], validated["train_score"]]}
    for name, search in SEARCHES.items():
        search.fit(X, Y)
        scores, probabilities = search.cv_results_["mean_test_score"], search.predict_proba(X)
        found[name] = [scores, probabilities, search.best_index_]
    return found


@cache
def results_alone():
    return results()


@contextlib.contextmanager
def dask_threads():
    """A scheduler with two threads of this process as its workers."""
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed")
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2,
                            dashboard_address=None):  # fmt: skip
        yield


# Kernels as plain Python would take minutes.
@pytest.mark.compiled
@pytest.mark.parametrize(
    "backend",
    [
        "threading",
        pytest.param("loky", marks=pytest.mark.slow),
        pytest.param("dask", marks=pytest.mark.slow),
    ],
)
def test_searches_find_the_same_on_every_backend(backend):
    expected = results_alone()
    cluster = dask_threads() if backend == "dask" else contextlib.nullcontext()
    with cluster, parallel_config(backend, n_jobs=2):
        found = results()
    for name, values in expected.items():
        for ours, alone in zip(found[name], values, strict=True):
            assert np.array_equal(ours, alone), name
    assert expected["grid"][0].std() > 0  # there is something to choose


def test_optuna_searches_with_its_own_storage(tmp_path):
    optuna = pytest.importorskip("optuna", reason="needs Optuna")
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def score(alpha):
        return cross_val_score(PIPELINE.set_params(mlpclassifier__alpha=alpha), X, Y, cv=2).mean()

    def objective(trial):
        return score(trial.suggest_float("alpha", 1e-5, 1e2, log=True))

    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(
        storage=storage, study_name="alpha", direction="maximize", sampler=sampler
    )
    study.optimize(objective, n_trials=4)
    loaded = optuna.load_study(study_name="alpha", storage=storage)
    assert len(loaded.trials) == 4
    assert score(**loaded.best_params) == loaded.best_value
