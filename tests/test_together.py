"""Everything at once, as in daily use: a data frame, a pipeline, a search, and control over it."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.callback import ProgressBar
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPClassifier
from fastmlp.callbacks import Checkpoint

# The workers are processes that may compile.
pytestmark = [pytest.mark.compiled, pytest.mark.slow]


def table(rows, seed=0):
    """Rows of numbers and of a category, and unbalanced classes that follow from them."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": rng.uniform(20, 80, rows),
            "income": rng.lognormal(10, 1, rows),
            "town": rng.choice(["Bonn", "Lyon", "Oslo"], rows),
        }
    )
    y = np.where((X["age"] > 65) | (X["town"] == "Oslo"), "rare", "common")
    return X, y


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_pipeline_in_a_search(n_jobs, tmp_path):
    X, y = table(300)
    X_val, y_val = table(80, seed=1)
    numbers, categories = ["age", "income"], ["town"]
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), numbers), ("categories", OneHotEncoder(), categories)]
    )
    with config_context(enable_metadata_routing=True):
        network = MLPClassifier(
            (16,), class_weight="balanced", learning_rate="cosine", learning_rate_init=0.02,
            early_stopping=True, max_iter=15, random_state=0, device="cpu",
        )  # fmt: skip
        network.set_fit_request(X_val=True, y_val=True)
        network.set_callbacks(Checkpoint(tmp_path, every=5))
        pipeline = Pipeline([("columns", columns), ("network", network)], transform_input=["X_val"])
        search = GridSearchCV(
            pipeline, {"network__alpha": [1e-4, 1e-2]}, n_jobs=n_jobs, cv=3,
            scoring="balanced_accuracy",
        )  # fmt: skip
        search.set_callbacks(ProgressBar())
        search.fit(X, y, X_val=X_val, y_val=y_val)
    best = search.best_estimator_["network"]
    assert search.score(X_val, y_val) > 0.9
    assert len(best.validation_loss_curve_) == len(best.learning_rates_) == best.n_iter_
    assert best.learning_rates_[0] > best.learning_rates_[-1]
    assert len(list(tmp_path.iterdir())) == 2 * 3 + 1
