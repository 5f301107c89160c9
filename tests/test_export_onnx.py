"""Networks as ONNX models: onnxruntime computes what `predict` and `predict_proba` do."""

import numpy as np
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tasks import outputs, random_network

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.activations import Custom
from fastmlp.export import register_skl2onnx, to_onnx

onnx = pytest.importorskip("onnx", reason="needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CLOSE = {np.float32: {"rtol": 1e-4, "atol": 2e-6}, np.float64: {"rtol": 1e-11, "atol": 1e-13}}
SETTINGS = {"max_iter": 2, "device": "reference", "random_state": 0}


def run(model, X):
    """The outputs of a model, by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    given = X if isinstance(X, dict) else {"X": X}
    return dict(zip(names, session.run(None, given), strict=True))


def check(network, X, computed):
    dtype = CLOSE[X.dtype.type]
    if not hasattr(network, "classes_"):
        (name,) = computed
        assert name == "variable"
        expected = network.predict(X).reshape(len(X), -1)
        np.testing.assert_allclose(computed[name], expected, err_msg=str(network), **dtype)
        return
    assert list(computed) == ["label", "probabilities"]
    expected = outputs(network, X)
    np.testing.assert_allclose(computed["probabilities"], expected, err_msg=str(network), **dtype)
    certain = (np.abs(np.sort(expected, axis=1)[:, -1:] - 0.5) > 1e-5).all(axis=1)
    np.testing.assert_array_equal(computed["label"][certain], network.predict(X)[certain])


@pytest.mark.parametrize("count", [36, pytest.param(200, marks=pytest.mark.slow)])
def test_computes_what_predict_does(count):
    for seed in range(count):
        network, X = random_network(seed)
        model = to_onnx(network)
        onnx.checker.check_model(model, full_check=True)
        computed = run(model, X)
        check(network, X, computed)
        one = run(model, X[:1]) if seed % 12 == 0 else {}  # the batch has any length
        for name, values in one.items():
            assert len(values) == 1, name


@pytest.mark.parametrize("dtype", CLOSE)
def test_shares_of_outputs_near_0(dtype):
    """Far from the training data all outputs of logistic units may be tiny, and one the largest."""
    X = np.random.default_rng(0).standard_normal((30, 4)).astype(dtype)
    network = MLPClassifier((), loss="squared_error", **SETTINGS).fit(X, np.resize([0, 1, 2], 30))
    network.intercepts_[-1][:] = -40
    computed = run(to_onnx(network), X)
    np.testing.assert_array_equal(computed["label"], network.predict(X))
    np.testing.assert_allclose(
        computed["probabilities"],
        network.predict_proba(X),
        rtol=1e-4 if dtype is np.float32 else 1e-9,
    )


LABELS = {
    "text": ["a", "b", "c"], "numbers": [-3, 0, 2**40], "floats": [1.0, 2.0, 5.0],
    "two of text": ["no", "yes"], "booleans": [False, True], "one": [7],
}  # fmt: skip


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels(labels):
    X = np.random.default_rng(0).standard_normal((30, 4))
    y = np.resize(labels, 30)
    network = MLPClassifier((5,), **SETTINGS).fit(X, y)
    computed = run(to_onnx(network), X)
    np.testing.assert_array_equal(computed["label"], network.predict(X))
    np.testing.assert_allclose(computed["probabilities"], network.predict_proba(X))


def test_what_cannot_be_written():
    X = np.eye(3)
    own = Custom(lambda z: abs(z), lambda z: np.sign(z))
    network = MLPRegressor(hidden_layer_sizes=(2,), activation=own, **SETTINGS).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="function of your own, which cannot be written as ONNX"):
        to_onnx(network)
    network = MLPClassifier((2,), **SETTINGS).fit(X, [0, 1, 2])
    network.classes_ = np.array([0.5, 1, 2])
    with pytest.raises(ValueError, match="text or whole numbers"):
        to_onnx(network)
    with pytest.raises(TypeError, match="Of a pipeline"):
        to_onnx(Pipeline([("network", network)]))


def test_a_missing_package(monkeypatch):
    network, _ = random_network(0)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastmlp\[onnx\]'"):
        to_onnx(network)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("task", range(6))
def test_pipelines_by_skl2onnx(task, dtype):
    skl2onnx = pytest.importorskip("skl2onnx", reason="needs skl2onnx")
    register_skl2onnx()
    network, X = random_network(task + (0 if dtype is np.float32 else 6))
    y = network.predict(X)
    network.set_params(max_iter=1, hidden_layer_sizes=(4,), activation="gelu")
    columns = ColumnTransformer(
        [("few", OneHotEncoder(), [0]), ("rest", StandardScaler(), [1, 2, 3])]
    )
    X[:, 0] = np.resize([0, 1, 2], len(X))
    pipeline = Pipeline([("columns", columns), ("network", network)])
    pipeline.fit(X, np.abs(y) if getattr(network, "loss", "") == "poisson" else y)
    options = {"zipmap": False} if hasattr(network, "classes_") else {}
    model = skl2onnx.to_onnx(pipeline, X[:1], options={id(network): options})
    computed = run(model, X)
    # The pipeline makes float64 of float32, but not in ONNX.
    close = {"rtol": 1e-3, "atol": 1e-5} if dtype is np.float32 else CLOSE[dtype]
    expected = outputs(pipeline, X) if options else pipeline.predict(X).reshape(len(X), -1)
    name = "probabilities" if options else "variable"
    np.testing.assert_allclose(computed[name], expected, **close)
    if options:
        np.testing.assert_array_equal(computed["label"], pipeline.predict(X))


def test_zipmap():
    skl2onnx = pytest.importorskip("skl2onnx", reason="needs skl2onnx")
    register_skl2onnx()
    X = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
    network = MLPClassifier((5,), **SETTINGS).fit(X, np.resize(["a", "b", "c"], 12))
    computed = run(skl2onnx.to_onnx(network, X[:1]), X)
    first = computed["output_probability"][0]
    np.testing.assert_allclose([first[c] for c in "abc"], network.predict_proba(X)[0], rtol=1e-5)
