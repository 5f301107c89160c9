"""The compiled predictor: the same numbers as `predict`, frozen, and safe whatever it is given."""

import math
import pickle
import threading

import numpy as np
import pytest
from designs import covering, named
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError
from tasks import TASKS, outputs

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._jit import JIT_DISABLED
from fastmlp.activations import HIDDEN, Custom, Maxout, Swish

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Nothing here depends on where the weights come from: the device that compiles nothing serves.
SETTINGS = {"device": "reference", "random_state": 0, "max_iter": 2}
CLOSE = {np.float32: {"rtol": 1e-4, "atol": 1e-6}, np.float64: {"rtol": 1e-11, "atol": 1e-13}}
SHAPES = [(), (1,), (17, 3)] if JIT_DISABLED else [(), (1,), (17, 3), (65, 33, 2), (300,)]


def fitted(task="binary", dtype=np.float64, **settings):
    X, y, _ = TASKS[task].data(dtype)
    estimator = TASKS[task].ours(**SETTINGS | {"hidden_layer_sizes": (9, 5)} | settings)
    return estimator.fit(X, y), X[:10]


@covering("task, activation, dtype", TASKS, [*HIDDEN, Maxout(3), Swish(learnable=True)], CLOSE)
def test_equals_the_estimator(task, activation, dtype):
    estimator, X = fitted(task, dtype, activation=activation)
    predictor, expected = estimator.compiled_predictor(), outputs(estimator, X)
    rows = predictor(X)
    assert rows.dtype == expected.dtype
    assert rows.shape == expected.shape
    np.testing.assert_allclose(rows, expected, **CLOSE[dtype])
    for row, of_matrix in zip(X[:3], rows, strict=False):
        result = predictor(row)
        assert result.ndim == 1
        np.testing.assert_array_equal(result, np.atleast_1d(of_matrix))


def below_zero(z):
    return -1 / (1 + math.exp(-z))


def slope_below_zero(z):
    return -math.exp(-z) / (1 + math.exp(-z)) ** 2


#: Whose sums are negative, as those of a user's own function may be.
NEGATIVE = Custom(below_zero, slope_below_zero)


@pytest.mark.parametrize("output", ["logistic", "hard_sigmoid", "softmax", NEGATIVE], ids=named)
def test_shares_of_several_classes(output):
    estimator, X = fitted("multiclass", loss="squared_error", output_activation=output)
    probabilities = estimator.compiled_predictor()(X)
    np.testing.assert_allclose(probabilities, estimator.predict_proba(X), **CLOSE[np.float64])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("hidden", SHAPES)
@pytest.mark.parametrize("features", [1, 7])
def test_awkward_shapes(features, hidden):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((5, features)), rng.standard_normal((5, 2))
    estimator = MLPRegressor(hidden_layer_sizes=hidden, **SETTINGS).fit(X, y)
    predictor = estimator.compiled_predictor()
    np.testing.assert_allclose(predictor(X), estimator.predict(X), **CLOSE[np.float64])
    assert predictor(X[:0]).shape == (0, 2)


def test_a_single_class():
    X = np.eye(4)
    estimator = MLPClassifier(**SETTINGS).fit(X, ["only"] * 4)
    np.testing.assert_allclose(estimator.compiled_predictor()(X), estimator.predict_proba(X))


@pytest.mark.parametrize("refit", ["fit", "partial_fit", "in place"])
def test_frozen(refit):
    estimator, X = fitted()
    predictor = estimator.compiled_predictor()
    before = predictor(X)
    if refit == "in place":
        estimator.coefs_[0][...] = 0
    else:
        getattr(estimator.set_params(random_state=1), refit)(X, estimator.predict(X))
    assert not np.allclose(estimator.predict_proba(X), before)
    np.testing.assert_array_equal(predictor(X), before)


def test_pickle_and_repr():
    estimator, X = fitted(dtype=np.float32)
    predictor = estimator.compiled_predictor()
    other = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(other(X), predictor(X))
    expected = "Predictor((7, 9, 5, 1), activation='relu', loss='binary_log_loss', dtype='float32')"
    assert repr(other) == repr(predictor) == expected


def test_other_inputs_are_converted():
    estimator, X = fitted(dtype=np.float32)
    predictor = estimator.compiled_predictor()
    expected = predictor(X)
    read_only = X.copy()
    read_only.setflags(write=False)
    strided = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    swapped = X.astype(X.dtype.newbyteorder())
    raw = np.empty(X.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(X.dtype).reshape(X.shape)
    unaligned[...] = X
    for form in (X.astype(float), X.tolist(), np.asfortranarray(X), read_only, strided, swapped):
        result = predictor(form)
        np.testing.assert_array_equal(result, expected)
        assert result.dtype == np.float32
    np.testing.assert_array_equal(predictor(unaligned), expected)
    assert np.isnan(predictor(np.full(7, np.nan))).all()


@pytest.mark.parametrize(
    "shape", [(), (6,), (8,), (70,), (10, 6), (7, 10), (1, 7, 1), (0,), (1, 1, 7), (7, 0)]
)
def test_wrong_shapes(shape):
    predictor = fitted()[0].compiled_predictor()
    with pytest.raises(ValueError, match=r"X has shape .* expected \(7,\) or \(n, 7\)"):
        predictor(np.ones(shape))


def test_sparse_rows():
    estimator, X = fitted()
    with pytest.raises(ValueError, match=r"takes no sparse X: pass X\.toarray\(\)"):
        estimator.compiled_predictor()(csr_array(X))


def test_a_place_for_the_result():
    estimator, X = fitted("multiclass")
    predictor = estimator.compiled_predictor()
    expected = predictor(X)
    out = np.empty_like(expected)
    assert predictor(X, out) is out
    np.testing.assert_array_equal(out, expected)
    assert predictor(X[1], out=out[0]).base is out
    np.testing.assert_array_equal(out[0], expected[1])
    read_only = np.empty_like(expected)
    read_only.setflags(write=False)
    wrong = {
        "shape": [out[:-1], out.ravel(), out.astype(np.float32), out.tolist(), out[0]],
        "writeable": [np.asfortranarray(out), np.empty((10, 6))[:, ::2], read_only],
    }
    for message, places in wrong.items():
        for place in places:
            with pytest.raises(ValueError, match=f"out must be .*{message}"):
                predictor(X, out=place)


@pytest.mark.compiled
def test_threads_at_once():
    estimator, X = fitted("multiclass", hidden_layer_sizes=(50, 50))
    predictor = estimator.compiled_predictor()
    expected, results = predictor(X), {}

    def work(number):
        results[number] = [predictor(X) for _ in range(200)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        for result in results[number]:
            np.testing.assert_array_equal(result, expected)


def test_not_fitted():
    with pytest.raises(NotFittedError):
        MLPClassifier().compiled_predictor()
