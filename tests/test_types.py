"""What the package ships `py.typed` for: types that pass what works and refuse the rest."""

import re
from pathlib import Path

import pytest

import fastmlp

api = pytest.importorskip("mypy.api", reason="mypy is not installed")
pytestmark = pytest.mark.slow  # it reads NumPy's types, some ten seconds

HEAD = """
import dataclasses
from typing import Any

import numpy as np
from scipy import sparse

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.activations import Tanh
from fastmlp.network import Network


class Frame:  # as one of pandas, of polars, or a tensor of PyTorch gives its numbers
    def __len__(self) -> int:
        return 4

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.ones((4, 2), dtype)


class OnGpu:
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {}


class Sparse:
    shape = (4, 2)

    def tocsr(self, copy: bool = False) -> "Sparse":
        return self


X, y = np.ones((4, 2)), np.array([0, 1, 0, 1])
classifier, regressor = MLPClassifier(), MLPRegressor()
network = Network((1, 2, 3), "relu", "log_loss")
"""
RIGHT = """
classifier.fit(X, y).predict(X).sum()
classifier.fit(X.tolist(), y.tolist(), sample_weight=[1, 2.0, 3, 4])
classifier.fit([[1.0, 2.0], [3, 4]], ["yes", "no"]).predict_proba([np.ones(2), np.ones(2)])
classifier.fit(((1, 2), (3, 4)), (True, False)).score([(1, 2), (3, 4)], (True, False)) + 0.5
classifier.fit(Frame(), Frame(), Frame()).predict_log_proba(Frame())
classifier.fit(OnGpu(), OnGpu(), OnGpu()).predict(OnGpu())
classifier.fit(Sparse(), [[0.0, 1], [1, 1]]).predict(sparse.csr_array(X))
classifier.fit(X, y, X_val=Frame(), y_val=["a", "b"], sample_weight_val=[1, 2]).best_iteration_
regressor.fit(X, y, X_val=Sparse(), y_val=[1, 2.0]).validation_loss_curve_
MLPClassifier(class_weight={"a": 2}, scoring="roc_auc")
MLPRegressor(averaging="swa", averaging_start=20)
MLPClassifier(class_weight="balanced", scoring=lambda estimator, X, y: 1.0)
classifier.partial_fit(np.memmap("rows", shape=(4, 2)), y, classes=["no", "yes"], sample_weight=1)
regressor.fit([[np.float32(1)], [np.float32(2)]], [np.float32(1), np.int64(2)]).predict(Frame())
regressor.partial_fit(Frame(), [[1, 2.0], [3, 4]]).score(Sparse(), [1, 2], [1, 1])
MLPClassifier((3, 2), activation=["relu", Tanh()], dropout=[0.1, 0.2])
MLPRegressor(hidden_layer_sizes=np.array([3]), dropout=0.5)
dataclasses.replace(network, units=(2, 2, 3)).activation[0].name.upper()
Network(network.units, [Tanh()], network.loss, network.output_activation).loss.name.upper()
"""
WRONG = """
classifier.fit("nonsense", y)
classifier.fit(X, 3)
classifier.fit(X, "labels")
classifier.fit(X, {"a": 1})
classifier.fit(X, y, "weights")
classifier.fit([1, 2, 3, 4], y)
classifier.fit(X, y, None, X, y)
classifier.fit(X, y, X_val="nonsense")
regressor.fit(X, y, y_val=["yes", "no"])
MLPClassifier(class_weight=3)
MLPRegressor(scoring=3)
MLPRegressor(averaging=True)
classifier.partial_fit(None, y)
classifier.partial_fit(X, y, classes="ab")
classifier.predict(3)
classifier.predict_proba("nonsense")
classifier.predict_log_proba([["a", "b"]])
classifier.score("nonsense", y)
regressor.fit("nonsense", y)
regressor.fit(X, ["yes", "no", "yes", "no"])
regressor.partial_fit({}, y)
regressor.predict(None)
regressor.score(X, 1.0)
MLPClassifier("many")
MLPRegressor(dropout="much")
network.activation.name
Network((1, 2, 3), 7, "log_loss")
"""


def test_what_works_passes_and_what_fails_is_an_error(tmp_path, monkeypatch):
    """Of one run: to read the types of NumPy takes seconds."""
    file = tmp_path / "user.py"
    file.write_text(HEAD + RIGHT + WRONG)
    monkeypatch.setenv("MYPYPATH", str(Path(fastmlp.__file__).parent.parent))
    # As a user's own settings may be: none, and packages without types are let pass.
    said, failure, _ = api.run([
        "--config-file=", "--ignore-missing-imports", "--follow-imports=silent",
        f"--cache-dir={tmp_path / 'cache'}", str(file),
    ])  # fmt: skip
    assert not failure
    first = (HEAD + RIGHT).count("\n")
    errors = {int(n) - first for n in re.findall(r"user\.py:(\d+): error:", said)}
    assert sorted(errors) == list(range(2, WRONG.count("\n") + 1)), said
