"""Networks as C: every compiler accepts the file, and it computes what `predict` does."""

import ctypes
import re
import shutil
import subprocess

import numpy as np
import pytest
from tasks import outputs, random_network

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.activations import Custom
from fastmlp.export import to_c

COMPILER = shutil.which("cc")
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-shared", "-fPIC"]
CLOSE = {np.float32: {"rtol": 1e-4, "atol": 2e-6}, np.float64: {"rtol": 1e-11, "atol": 1e-14}}

needs_a_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C compiler, cc")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def compiled(texts, folder):
    """A shared library of these files, each compiled alone."""
    paths = [folder / f"{number}.c" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="ascii")
    library = folder / "networks.so"
    done = subprocess.run(
        [COMPILER, *FLAGS, *map(str, paths), "-o", str(library), "-lm"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def predicted(library, name, X, columns):
    out, predict = np.empty((len(X), columns), X.dtype), library[f"{name}_predict"]
    for row, place in zip(X, out, strict=True):
        predict(ctypes.c_void_p(row.ctypes.data), ctypes.c_void_p(place.ctypes.data))
    return out


@needs_a_compiler
@pytest.mark.parametrize("count", [24, pytest.param(100, marks=pytest.mark.slow)])
def test_computes_what_predict_does(count, tmp_path):
    networks = [random_network(seed) for seed in range(count)]
    names = [f"network_{seed}" for seed in range(count)]
    texts = [to_c(each, name) for (each, _), name in zip(networks, names, strict=True)]
    library = compiled(texts, tmp_path)
    for (network, X), name in zip(networks, names, strict=True):
        expected = outputs(network, X).reshape(len(X), -1)
        own = predicted(library, name, X, expected.shape[1])
        np.testing.assert_allclose(own, expected, **CLOSE[X.dtype.type], err_msg=str(network))


@needs_a_compiler
def test_hostile_names_of_classes(tmp_path):
    X = np.eye(4)
    network = MLPClassifier((2,), max_iter=1, device="reference")
    network.fit(X, ["*/ int x;", "// \\", "?" + "?/", "\u00e9\n"])
    text = to_c(network)
    expected = network.predict_proba(X)
    library = compiled([text], tmp_path)
    np.testing.assert_allclose(predicted(library, "network", X, 4), expected)
    assert "#define NETWORK_FEATURES 4\n#define NETWORK_OUTPUTS 4\n" in text


@needs_a_compiler
@pytest.mark.parametrize("name", ["NAMES", "BIGnet", "T", "N", "expF", "while"])
def test_placeholders_and_keywords_as_names(name, tmp_path):
    X = np.eye(4)
    network = MLPClassifier((2,), max_iter=1, device="reference").fit(
        X, ["T", "NAME", "N(3)", "BIG"]
    )
    text = to_c(network, name)
    library = compiled([text], tmp_path)
    np.testing.assert_allclose(predicted(library, name, X, 4), network.predict_proba(X))
    assert re.findall(r'^ \*     "(.*)"$', text, re.MULTILINE) == network.classes_.tolist()


def test_every_digit_is_in_the_file():
    X = np.random.default_rng(0).standard_normal((9, 3))
    network = MLPRegressor(hidden_layer_sizes=(), max_iter=1, device="reference").fit(X, X[:, 0])
    start = to_c(network).partition("network_w0[3] = {")[2].partition("}")[0]
    assert [float.fromhex(each) for each in start.split(",")] == network.coefs_[0].ravel().tolist()


@pytest.mark.parametrize("name", ["", "2nd", "a b", "_x", "é", "x;", "x\n"])
def test_names_that_c_does_not_have(name):
    network, _ = random_network(0)
    with pytest.raises(ValueError, match="The name must be letters, digits and underscores"):
        to_c(network, name)


def test_what_cannot_be_written():
    X = np.eye(3)
    network = MLPRegressor(
        hidden_layer_sizes=(2,), activation=Custom(np_abs, np_sign), max_iter=1, device="reference"
    ).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="function of your own, which cannot be written as C"):
        to_c(network)
    network.set_params(activation="relu").fit(X, X[:, 0]).coefs_[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        to_c(network)
    with pytest.raises(TypeError, match="Expected an MLPClassifier or MLPRegressor"):
        to_c(object())


def np_abs(z):
    return abs(z)


def np_sign(z):
    return np.sign(z)
