"""Loops that are called by address, a user's own functions among them; and random numbers."""

import gc
import math
import pickle
import subprocess
import sys
import types as types_module
import weakref
from functools import partial

import numpy as np
import pytest
from designs import covering, named
from laws import (
    CLOSE,
    WIDE,
    assert_equals_reference,
    make_data,
    make_parameters,
)
from numba import njit, types
from numba.core import event
from numba.core.errors import TypingError
from scipy import sparse
from sklearn.base import clone

from fastmlp import MLPRegressor, activations, devices, losses
from fastmlp._jit import called
from fastmlp.devices import cpu
from fastmlp.devices.cpu import loops
from fastmlp.devices.cpu.calls import call_loop
from fastmlp.devices.cpu.loops import Outputs, activation_loop, loss_loop
from fastmlp.devices.device import Rows
from fastmlp.devices.functions import contents
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


def mean_power(z):
    shifted = [z + shift for shift in (0.0, 1.0, 2.0)]
    return sum([(lambda x: x * x)(each) for each in shifted]) / len(shifted)


def mean_power_slope(z):
    return 2 * (np.array([0.0, 1.0, 2.0]) + z).mean()


def test_own_functions_may_contain_what_ours_do_not():
    """Lists, closures and arrays: ours are compiled without what these need."""
    own = activations.Custom(mean_power, mean_power_slope)
    network = Network((3, 5, 2), (own,), "squared_error")
    data = make_data(network, 20, np.float64)
    assert_equals_reference("cpu", network, data, CLOSE[np.float64])


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
        {"loss": losses.Custom(quartic, lambda p, t: [p])},
        {"loss": losses.Custom(quartic, lambda p, t: np.array([p, t]))},
        {"activation": activations.Custom(lambda z: z if z > 0 else None, bump_slope)},
        {"activation": activations.Custom(lambda z: 1j * z, bump_slope)},
        {"activation": activations.Custom(lambda z: bump(z), bump_slope)},
    ],
)
def test_what_cannot_be_compiled_is_told_before_training(settings):
    X = np.eye(4)
    regressor = MLPRegressor(hidden_layer_sizes=(3,), random_state=0, **settings)
    takes = "two numbers, a prediction and its target" if "loss" in settings else "one number each"
    with pytest.raises(ValueError, match=f"be compiled. Its functions take .*{takes}") as error:
        regressor.fit(X, X[:, 0])
    assert "only if these are decorated with Numba's njit" in str(error.value)
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


# ---- a user's own functions ----------------------------------------------------------------------


class Callable:
    def __call__(self, z):
        return z

    def method(self, z):
        return z


NO_FUNCTIONS = [
    math.tanh, np.tanh, partial(lambda k, z: k * z, 2.0), Callable(), Callable().method, abs, float,
]  # fmt: skip


@pytest.mark.parametrize("wrong", NO_FUNCTIONS, ids=named)
@pytest.mark.parametrize("kind", [activations.Custom, losses.Custom])
def test_what_is_no_python_function_gets_help(kind, wrong):
    arguments = "z" if kind is activations.Custom else "p, t"
    sound = (lambda z: z) if kind is activations.Custom else (lambda p, t: p)
    says = rf"Custom's {{}} must be a Python function of {arguments}.*lambda {arguments}: \.\.\."
    with pytest.raises(ValueError, match=says.format("function")):
        kind(wrong, sound)
    with pytest.raises(ValueError, match=says.format("derivative")):
        kind(sound, wrong)


def test_another_number_of_arguments_gets_help():
    for wrong in (lambda: 0.0, lambda p, t: p, njit(lambda p, t: p)):
        with pytest.raises(ValueError, match=r"must take \(z\), as lambda z: \.\.\. does"):
            activations.Custom(bump, wrong)
    for wrong in (lambda p: p, lambda p, t, w: p):
        with pytest.raises(ValueError, match=r"must take \(p, t\), as lambda p, t: \.\.\. does"):
            losses.Custom(wrong, quartic_slope)
    assert losses.Custom(lambda p, t, scale=2.0: p, lambda *both: 0.0)


def test_what_is_meant_by_a_function_or_a_class():
    X = np.eye(4)
    with pytest.raises(ValueError, match=r"That is a class: write LeakyReLU\(\)"):
        MLPRegressor(activation=activations.LeakyReLU).fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"given as fastmlp\.activations\.Custom\(f, derivative\)"):
        MLPRegressor(activation=np.tanh).fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"given as fastmlp\.activations\.Custom\(f, derivative\)"):
        MLPRegressor(hidden_layer_sizes=(2, 2), activation=["relu", bump]).fit(X, X[:, 0])


def half(z):
    """Without a value at 0."""
    return 0.5 * z * (z / z)


def half_slope(z):
    return 0.5 * (z / z)


@pytest.mark.compiled
@covering(
    "units, form, dtype",
    [1, 3, WIDE - 1, WIDE, WIDE + 3],
    [np.asarray, sparse.csr_matrix],
    DTYPES,
)
def test_padding_never_reaches_a_users_function(units, form, dtype):
    """Columns of padding hold zeros, of which this one would make NaN."""
    own = activations.Custom(half, half_slope)
    network = Network((5, units, WIDE + 1, units, 2), (own, "tanh", own), "squared_error")
    X, targets, weights = make_data(network, 2 * WIDE + 5, dtype)
    data = form(X), targets, weights
    assert_equals_reference("cpu", network, data, CLOSE[dtype])
    gradients = [
        devices.load(name)(
            network,
            make_parameters(network, dtype),
            batch_size=WIDE,
            sparse=sparse.issparse(data[0]),
        )
        .sums(Rows(*data))
        .gradient
        for name in ("cpu", "reference")
    ]
    assert np.isfinite(gradients[0]).all()
    np.testing.assert_allclose(*gradients, **CLOSE[dtype])


def careful(z):
    if z > 0.5:
        raise ValueError("too large")
    return z


def one(z):
    return 1.0


def zero(p, t):
    return 0.0


def careful_loss(p, t):
    if p > -1e9:
        raise ArithmeticError("no such loss")
    return 0.0


RAISING = {
    "activation": ({"activation": activations.Custom(careful, one)}, ValueError, "too large"),
    "slope": ({"activation": activations.Custom(one, careful)}, ValueError, "too large"),
    "compiled": ({"activation": activations.Custom(njit(careful), one)}, ValueError, "too large"),
    "outputs": (
        {"output_activation": activations.Custom(one, careful), "loss": "huber"},
        ValueError,
        "too large",
    ),
    "loss": ({"loss": losses.Custom(careful_loss, zero)}, ArithmeticError, "no such loss"),
}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", RAISING)
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_what_a_users_function_raises_ends_the_fit(monkeypatch, device, name, solver):
    monkeypatch.setattr(cpu, "TEAM_WORK", 0)
    settings, error, says = RAISING[name]
    X = 3 * np.random.default_rng(0).standard_normal((300, 5))
    for n_jobs in (1, 3):
        regressor = MLPRegressor(
            hidden_layer_sizes=(5,), random_state=0, solver=solver, device=device, n_jobs=n_jobs
        ).set_params(**settings)
        with pytest.raises(error, match=says):
            regressor.fit(X, X[:, 0])
        assert not hasattr(regressor, "coefs_")


def test_what_a_users_function_raises_ends_a_prediction():
    X = 0.01 * np.random.default_rng(0).standard_normal((300, 5))
    own = activations.Custom(careful, one)
    regressor = MLPRegressor("squared_error", 5, own, random_state=0, device="cpu")
    regressor.set_params(weight_init="orthogonal").partial_fit(X, X[:, 0])
    for action in (regressor.predict, regressor.compiled_predictor()):
        for rows in (1000 * X[:2], 1000 * X):
            with pytest.raises(ValueError, match="too large"):
                action(rows)
        assert np.isfinite(action(X)).all()


# ---- when they are compiled again ----------------------------------------------------------------

FACTOR = 2.0
TABLE = np.array([1.0, 2.0])


@njit
def helper(z):
    return FACTOR * z


def global_number(z):
    return FACTOR * z


def global_array(z):
    return TABLE[1] * z


def module_attribute(z):
    return settings_of_mine.factor * z


settings_of_mine = types_module.ModuleType("settings_of_mine")
settings_of_mine.factor = 2.0


def times(factor):
    return lambda z: factor * z


def with_default(factor):
    def scaled(z, factor=factor):
        return factor * z

    return scaled


def constant(factor):
    return eval(f"lambda z: {factor!r} * z")


def predicted(function, device):
    """What a network of one weight of 1 makes of 1, with this activation."""
    regressor = MLPRegressor(
        hidden_layer_sizes=(1,), activation=activations.Custom(function, one), device=device,
        weight_init=([[[1.0]], [[1.0]]], [[0.0], [0.0]]), learning_rate_init=1e-300,
        solver="sgd", momentum=0, alpha=0,
    )  # fmt: skip
    X = np.ones((1, 1))
    (value,) = regressor.partial_fit(X, [0.0]).predict(X)
    return value


CHANGED = {
    "global": (global_number, ("FACTOR", 3.0)),
    "array": (global_array, ("TABLE", np.array([1.0, 3.0]))),
    "compiled by the user": (njit(global_number), ("FACTOR", 3.0)),
}


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_changed_global_gives_the_new_value(monkeypatch, device, name):
    function, change = CHANGED[name]
    assert predicted(function, device) == 2.0
    monkeypatch.setitem(globals(), *change)
    if name == "compiled by the user" and device == "reference":
        pytest.skip("Numba's own dispatcher, which the reference calls, keeps what it has compiled")
    assert predicted(function, device) == 3.0
    monkeypatch.undo()
    assert predicted(function, device) == 2.0


@pytest.mark.parametrize("device", ["cpu", "reference"])
def test_a_changed_attribute_of_a_module_gives_the_new_value(monkeypatch, device):
    assert predicted(module_attribute, device) == 2.0
    monkeypatch.setattr(settings_of_mine, "factor", 3.0)
    assert predicted(module_attribute, device) == 3.0


@pytest.mark.parametrize("make", [times, with_default, constant])
def test_functions_that_differ_in_a_number(make):
    for factor in (2.0, 3.0, 2.0, -0.5):
        assert predicted(make(factor), "cpu") == factor


@pytest.mark.compiled
def test_the_same_functions_defined_anew_are_compiled_once():
    X = np.eye(4)

    def fit():
        own = activations.Custom(lambda z: z * z, lambda z: 2 * z)
        loss = losses.Custom(lambda p, t: (p - t) ** 2, lambda p, t: 2 * (p - t))
        MLPRegressor(loss, (3,), own, max_iter=1, device="cpu").partial_fit(X, X[:, 0]).predict(X)

    fit()
    known = len(loops._OWN)
    with event.install_recorder("numba:compile") as recorder:
        for _ in range(300):
            fit()
    assert not recorder.buffer
    assert len(loops._OWN) == known


@pytest.mark.compiled
def test_functions_that_nobody_uses_are_let_go():
    own = activations.Custom(times(2.0), constant(2.0))
    functions = [weakref.ref(own.function), weakref.ref(own.derivative)]
    regressor = MLPRegressor("squared_error", 3, own, max_iter=1)
    regressor.partial_fit(np.eye(4), np.ones(4)).predict(np.eye(4))
    regressor.compiled_predictor()(np.eye(4))
    del own, regressor
    gc.collect()
    assert [function() for function in functions] == [None, None]


WORKER = """
import warnings; warnings.simplefilter("ignore")
import numpy as np
from joblib import Parallel, delayed
from fastmlp import MLPRegressor
from fastmlp.activations import Custom

FACTOR = 2.0

def double(z):
    return FACTOR * z

def slope(z):
    return FACTOR

def task(estimator):
    from numba.core import event
    from fastmlp.devices.cpu import loops
    with event.install_recorder("numba:compile") as recorder:
        estimator.partial_fit(np.eye(4), np.ones(4))
    return len(recorder.buffer), len(loops._OWN)

estimator = MLPRegressor(hidden_layer_sizes=(3,), activation=Custom(double, slope))
results = Parallel(n_jobs=2)(delayed(task)(estimator) for _ in range(8))
assert [own for _, own in results] == [1] * 8
assert sum(compiled > 0 for compiled, _ in results) <= 2, results
"""


@pytest.mark.slow
@pytest.mark.compiled
def test_functions_of_a_script_are_compiled_once_by_each_worker(tmp_path):
    """They are sent by value, anew with each task."""
    script = tmp_path / "script.py"
    script.write_text(WORKER)
    subprocess.run([sys.executable, script], check=True, timeout=300)


@pytest.mark.compiled
def test_options_are_part_of_what_compiled_functions_are_made_of():
    assert contents(njit(bump)) == contents(njit(bump)) != contents(njit(bump, fastmath=True))


def test_what_functions_are_made_of():
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    same = [lambda z: z * 2.0, lambda z: z * 2.0]
    assert contents(same[0]) == contents(same[1])
    assert len({contents(f) for f in (fib, bump, bump_slope, *same, helper)}) == 5
    others = [
        lambda z: z * 2, lambda z: z * -0.0, lambda z: z * 0.0, lambda x: x * 2.0,
        lambda z, /: z * 2.0, lambda z: z * True, lambda z: z * 1, lambda z: z * 1.0,
    ]  # fmt: skip
    assert len({contents(f) for f in (*same, *others)}) == 9
    assert contents(times(object())) != contents(times(object()))
    thing = object()
    assert contents(times(thing)) == contents(times(thing))


@pytest.mark.compiled
def test_a_loop_is_not_called_with_numbers_of_other_types():
    """It would read other memory than is meant."""

    @called
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


@called
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
