"""Loops that are called by address, a user's own functions among them; and random numbers."""

import math
import pickle

import numpy as np
import pytest
from numba import njit, types
from numba.core.errors import TypingError
from sklearn.base import clone
from test_devices import CLOSE, assert_equals_reference, make_data

from fastmlp import MLPRegressor, activations, losses
from fastmlp._jit import kernel
from fastmlp.devices.cpu.loops import Outputs, activation_loop, call_loop, loss_loop
from fastmlp.devices.reference import threefry
from fastmlp.formulas.random import at_least
from fastmlp.network import Network

DTYPES = [np.float32, np.float64]


def bump(z):
    if z > 1:
        return 1 / z
    return z


def bump_slope(z):
    return -1 / (z * z) if z > 1 else 1.0


def quartic(p, t):
    return (p - t) ** 4 / 4


def quartic_slope(p, t):
    return (p - t) ** 3


def unsupported(z):
    return eval("z")


BUMP, QUARTIC = activations.Custom(bump, bump_slope), losses.Custom(quartic, quartic_slope)


@pytest.mark.parametrize("dtype", DTYPES)
def test_own_functions_equal_reference(dtype):
    network = Network((3, 5, 4, 2), (BUMP, "tanh"), QUARTIC, BUMP)
    assert_equals_reference("cpu", network, make_data(network, 20, dtype), CLOSE[dtype])


def test_compiled_functions_may_be_given():
    compiled = activations.Custom(njit(bump), njit(bump_slope))
    network = Network((3, 5, 2), (compiled,), "squared_error")
    data = make_data(network, 20, np.float64)
    assert_equals_reference("cpu", network, data, CLOSE[np.float64])


@pytest.mark.compiled
@pytest.mark.parametrize(
    "settings",
    [
        {"activation": activations.Custom(unsupported, bump_slope)},
        {"activation": activations.Custom(lambda z: "text", bump_slope)},
        {"loss": losses.Custom(quartic, lambda p: p)},
    ],
)
def test_what_cannot_be_compiled_is_told_before_training(settings):
    X = np.eye(4)
    regressor = MLPRegressor(hidden_layer_sizes=(3,), random_state=0, **settings)
    with pytest.raises(ValueError, match="could not be compiled"):
        regressor.fit(X, X[:, 0])
    assert not hasattr(regressor, "coefs_")


def test_an_estimator_with_own_functions_is_cloned_and_pickled():
    X = np.random.default_rng(0).standard_normal((40, 3))
    regressor = MLPRegressor(QUARTIC, (5,), activation=BUMP, solver="lbfgs", random_state=0)
    regressor.fit(X, X[:, 0])
    copied = clone(regressor)
    assert copied.get_params() == regressor.get_params()
    for again in (pickle.loads(pickle.dumps(regressor)), copied.fit(X, X[:, 0])):
        np.testing.assert_array_equal(again.predict(X), regressor.predict(X))
    predictor = regressor.compiled_predictor()
    np.testing.assert_allclose(predictor(X), regressor.predict(X), rtol=1e-12)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predictor))(X), predictor(X))


def test_a_loop_is_made_once():
    dtype = np.dtype(np.float64)
    assert activation_loop(activations.Tanh(), dtype).address != 0  # which stands for softmax
    assert activation_loop(activations.Tanh(), dtype) is activation_loop(activations.Tanh(), dtype)
    assert loss_loop(QUARTIC, False, dtype) is loss_loop(QUARTIC, False, dtype)


@pytest.mark.compiled
def test_a_loop_is_not_called_with_numbers_of_other_types():
    """It would read other memory than is meant."""

    @kernel
    def call(address, data, wrong):
        call_loop(address, Outputs(data, data, 0, 1, wrong, wrong))

    signature = types.int64, types.CPointer(types.float64), types.float32
    with pytest.raises(TypingError, match="a loop cannot be called with"):
        call.compile(types.void(*signature))


# The generator's published answers: keys and counters, and the first word.
WORDS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), 0x6B200159),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), 0x1CB996FC),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), 0xC4923A9C),
]


@kernel
def is_at_least(threshold, key, step, row, unit):
    return at_least(threshold, key, step, row, unit)


@pytest.mark.parametrize(("key", "counter", "word"), WORDS)
def test_random_words(key, counter, word):
    assert threefry(key, counter) == word
    assert is_at_least(word, *key, *counter)
    assert not is_at_least(word + 1, *key, *counter)


def test_random_words_are_even_and_apart():
    """Mean, and correlation of neighbours along each counter and key, of 2^16 words."""
    rows, units = np.arange(256)[:, np.newaxis], np.arange(256)
    words = threefry((1, 2), (rows, units)) / 2**32
    sigma = 1 / math.sqrt(12)
    assert abs(words.mean() - 0.5) < 4 * sigma / 256
    for other in (
        threefry((1, 2), (rows + 1, units)),
        threefry((1, 2), (rows, units + 1)),
        threefry((1, 3), (rows, units)),
        threefry((2, 2), (rows, units)),
    ):
        correlation = ((words - 0.5) * (other / 2**32 - 0.5)).mean() / sigma**2
        assert abs(correlation) < 4 / 256
