"""The predictor as a value in compiled code of the user: the same numbers, for every network."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from numba import njit, prange
from numba.core.errors import TypingError
from tasks import TASKS, outputs, random_network

from fastmlp.activations import HIDDEN, Custom, Maxout, Swish
from fastmlp.inspection import input_gradients
from fastmlp.network import Network
from fastmlp.predictor import PAIR, PLAIN, SHARES, Predictor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FORMS = {
    "one output": (1, "squared_error", PLAIN),
    "a pair": (1, "binary_log_loss", PAIR),
    "classes": (3, "log_loss", PLAIN),
    "shares": (3, "squared_error", SHARES),
}
CLOSE = {np.float32: {"rtol": 1e-4, "atol": 1e-5}, np.float64: {"rtol": 1e-10, "atol": 1e-12}}


@njit
def predict(predictor, X, out):
    predictor.predict(X, out)


@njit
def gradient(predictor, X, out, output):
    predictor.gradient(X, out, output)


@njit
def gradient_of_the_first(predictor, X, out):
    predictor.gradient(X, out)


@njit
def returned(predictor):
    return predictor


def predictor_of(form="one output", hidden=(9, 5), activation="tanh", dtype=np.float64, seed=0):
    outputs, loss, form = FORMS[form]
    output = "logistic" if form == SHARES else None
    network = Network((7, *hidden, outputs), activation, loss, output)
    parameters = np.random.default_rng(seed).standard_normal(network.size) / 2
    return Predictor(network, parameters.astype(dtype), form)


def rows(dtype=np.float64, count=4):
    return np.random.default_rng(1).standard_normal((count, 7)).astype(dtype)


def differences(predictor, X, output, step=1e-6):
    """The gradient of an output by central differences, row by row."""
    columns = [
        (predictor(X + step * e)[:, output] - predictor(X - step * e)[:, output]) / (2 * step)
        for e in np.eye(X.shape[1])
    ]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("form", FORMS)
def test_predicts_as_from_python(form, dtype):
    X = rows(dtype)
    for hidden in ((), (9, 5)):
        predictor = predictor_of(form, hidden, dtype=dtype)
        expected = predictor(X)
        out = np.empty_like(expected)
        predict(predictor, X, out)
        np.testing.assert_array_equal(out, expected)
        predict(predictor, X[1], out[0])
        np.testing.assert_array_equal(out[0], expected[1])


@pytest.mark.compiled
def test_predicts_as_random_estimators():
    for seed in range(200):
        estimator, X = random_network(seed)
        expected = outputs(estimator, X)
        out = np.empty((len(X), expected.size // len(X)), X.dtype)
        predict(estimator.compiled_predictor(), X, out)
        close = CLOSE[X.dtype.type]
        np.testing.assert_allclose(out.reshape(expected.shape), expected, **close, err_msg=seed)


@pytest.mark.parametrize("activation", [*HIDDEN, Maxout(3), Swish(learnable=True)], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_gradients(form, activation):
    X = rows()
    predictor = predictor_of(form, activation=activation)
    smooth = not predictor.network.activation[0].straight_through
    for output in range(predictor(X).shape[1]):
        of_rows, of_one = np.empty_like(X), np.empty(7)
        gradient(predictor, X, of_rows, output)
        np.testing.assert_array_equal(of_rows, predictor.gradient(X, output=output))
        gradient(predictor, X[1], of_one, output)
        np.testing.assert_array_equal(of_one, of_rows[1])
        if smooth:
            expected = differences(predictor, X, output)
            np.testing.assert_allclose(of_rows, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("task", TASKS)
def test_gradients_of_estimators(task, dtype):
    X, y, _ = TASKS[task].data(dtype)
    settings = {"activation": "step", "device": "reference", "max_iter": 2, "random_state": 0}
    estimator = TASKS[task].ours(hidden_layer_sizes=(9, 5), **settings).fit(X, y)
    X, expected = X[:5], input_gradients(estimator, X[:5])
    predictor, out = estimator.compiled_predictor(), np.empty_like(X)
    last = expected.shape[1] - 1
    gradient(predictor, X, out, 1 if task == "binary" else last)
    np.testing.assert_allclose(out, expected[:, last], **CLOSE[dtype])


def test_the_first_output_by_default():
    predictor, X = predictor_of("classes"), rows()
    out = np.empty_like(X)
    gradient_of_the_first(predictor, X, out)
    np.testing.assert_array_equal(out, predictor.gradient(X))


@pytest.mark.compiled
def test_is_compiled_once_for_all_networks():
    X = rows()
    predictor = predictor_of("classes")
    predict(predictor, X, predictor(X))
    gradient(predictor, X, np.empty_like(X), 0)
    before = len(predict.signatures), len(gradient.signatures)
    for form, activation in (("shares", "relu"), ("classes", Custom(abs_of, sign_of))):
        predictor = predictor_of(form, (3, 2, 4), activation)
        predict(predictor, X, predictor(X))
        gradient(predictor, X, np.empty_like(X), 0)
    assert (len(predict.signatures), len(gradient.signatures)) == before


def abs_of(z):
    return abs(z)


def sign_of(z):
    return np.sign(z)


@pytest.mark.compiled
def test_lives_as_long_as_compiled_code_uses_it():
    predictor = predictor_of()
    assert returned(predictor) is predictor
    before = sys.getrefcount(predictor)
    for _ in range(10):
        returned(predictor)
    assert sys.getrefcount(predictor) == before
    np.testing.assert_array_equal(returned(predictor_of())(rows()), predictor(rows()))


@pytest.mark.compiled
def test_errors_in_compiled_code():
    predictor, X = predictor_of("classes"), rows()
    out = predictor(X)
    for wrong_X, wrong_out in ((X[:, :6].copy(), out), (X[:3], out), (X, out[:, :2].copy())):
        with pytest.raises(ValueError, match=r"number of features|shape of the predictions"):
            predict(predictor, wrong_X, wrong_out)
    with pytest.raises(ValueError, match="shape of X"):
        gradient(predictor, X, np.empty((5, 7)), 0)
    for output in (-1, 3):
        with pytest.raises(ValueError, match="no output of this number"):
            gradient(predictor, X, np.empty_like(X), output)
    with pytest.raises(TypingError, match=r"X must be a C-contiguous array of float64"):
        predict(predictor, X.astype(np.float32), out)
    with pytest.raises(TypingError, match=r"X must be a C-contiguous array of float64"):
        predict(predictor, X[:, ::2], out)
    with pytest.raises(TypingError, match="X is a single row"):
        predict(predictor, X[0], out)
    read_only = out.copy()
    read_only.setflags(write=False)
    with pytest.raises(TypingError, match="out must be a writeable"):
        predict(predictor, X, read_only)


def test_errors_from_python():
    predictor, X = predictor_of("classes"), rows()
    with pytest.raises(ValueError, match=r"3 outputs from 0 on, got 3"):
        predictor.gradient(X, output=3)
    with pytest.raises(ValueError, match=r"out must be an array of shape \(4, 7\)"):
        predictor.gradient(X, np.empty(7))
    with pytest.raises(ValueError, match="X has shape"):
        predictor.gradient(X[:, :5])


@njit(nogil=True)
def repeated(predictor, X, out, times):
    for _ in range(times):
        predictor.gradient(X, out)


@pytest.mark.compiled
def test_threads_at_once():
    predictor, X = predictor_of("classes", (50, 50)), rows(count=30)
    expected, results = predictor.gradient(X), np.empty((4, 30, 7))
    threads = [
        threading.Thread(target=repeated, args=(predictor, X, place, 50)) for place in results
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


@njit(parallel=True)
def mean_of_many(predictor, X):
    total = 0.0
    for r in prange(len(X)):
        out = np.empty(1)
        predictor.predict(X[r], out)
        total += out[0]
    return total / len(X)


@pytest.mark.slow
@pytest.mark.compiled
def test_in_prange():
    predictor, X = predictor_of(), rows(count=1000)
    np.testing.assert_allclose(mean_of_many(predictor, X), predictor(X).mean())


SCRIPT = """
import sys
import numpy as np
from numba import njit
from fastmlp.network import Network
from fastmlp.predictor import Predictor

@njit(cache=True)
def both(predictor, x, out, slopes):
    predictor.predict(x, out)
    predictor.gradient(x, slopes)

activation, seed = sys.argv[1], int(sys.argv[2])
network = Network((3, 4, 1), activation, "squared_error")
predictor = Predictor(network, np.random.default_rng(seed).standard_normal(network.size))
x, out, slopes = np.arange(3.0), np.empty(1), np.empty(3)
both(predictor, x, out, slopes)
assert out == predictor(x) and (slopes == predictor.gradient(x)).all()
print(sum(both.stats.cache_hits.values()), sum(both.stats.cache_misses.values()))
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_the_users_code_is_kept_on_disk(tmp_path):
    """With nothing of the process or of the network in it: another one of both finds it."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for arguments, expected in ((("tanh", "0"), "0 1"), (("elu", "1"), "1 0")):
        command = [sys.executable, str(script), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == expected.split()
