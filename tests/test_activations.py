"""Activations: the objects, what they compute in a network, and how estimators carry them."""

import math
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from designs import covering, named
from scipy import sparse
from sklearn.base import clone
from tasks import DEVICES, DEVICES_FOR_LONG_FITS, SPARSE_DEVICES, TASKS, outputs

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.activations import (
    ELU,
    HIDDEN,
    OUTPUT,
    Custom,
    LeakyReLU,
    Maxout,
    PReLU,
    ReLU,
    Swish,
    resolve,
    resolve_layers,
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

E = math.e
LAMBDA, ALPHA = 1.0507009873554805, 1.6732632423543772
#: f at -4, -1, 0, 0.5, 4, from the formulas' definitions.
VALUES = {
    "identity": [-4, -1, 0, 0.5, 4],
    "logistic": [1 / (1 + E**4), 1 / (1 + E), 0.5, 1 / (1 + E**-0.5), 1 / (1 + E**-4)],
    "tanh": [math.tanh(z) for z in (-4, -1, 0, 0.5, 4)],
    "hard_sigmoid": [0, 1 / 3, 0.5, 0.5 + 1 / 12, 1],
    "hard_tanh": [-1, -1, 0, 0.5, 1],
    "relu": [0, 0, 0, 0.5, 4],
    "leaky_relu": [-0.04, -0.01, 0, 0.5, 4],
    "prelu": [-1, -0.25, 0, 0.5, 4],
    "elu": [E**-4 - 1, 1 / E - 1, 0, 0.5, 4],
    "selu": [LAMBDA * ALPHA * (E**-4 - 1), LAMBDA * ALPHA * (1 / E - 1), 0, 0.5 * LAMBDA,
             4 * LAMBDA],
    "softplus": [math.log(1 + math.exp(z)) for z in (-4, -1, 0, 0.5, 4)],
    "swish": [-4 / (1 + E**4), -1 / (1 + E), 0, 0.5 / (1 + E**-0.5), 4 / (1 + E**-4)],
    "gelu": [z * 0.5 * math.erfc(-z / math.sqrt(2)) for z in (-4, -1, 0, 0.5, 4)],
    "maxout": [-4, -1, 0, 0.5, 4],  # both pieces are given the same weight here
    "step": [0, 0, 1, 1, 1],
}  # fmt: skip
VALUES["silu"] = VALUES["swish"]


def regressor(hidden, activation, **settings):
    return MLPRegressor(hidden_layer_sizes=hidden, activation=activation, **settings)


def untrained(weights, **settings):
    """A network that has these weights and no biases, as it learns at a rate of almost 0."""
    given = weights, [np.zeros(w.shape[1]) for w in weights]
    X = np.zeros((2, len(weights[0])))
    estimator = MLPRegressor(
        hidden_layer_sizes=tuple(len(w) for w in weights[1:]),
        weight_init=given,
        solver="sgd",
        learning_rate_init=1e-300,
        max_iter=1,
        **settings,
    )
    estimator.fit(X, np.zeros((2, weights[-1].shape[1])).squeeze())
    estimator.coefs_, estimator.intercepts_ = given  # 0 - 1e-300 is below a threshold at 0
    return estimator


# ---- objects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTPUT | HIDDEN)
def test_objects_are_values(name):
    one = resolve(name, OUTPUT | HIDDEN)
    assert one == resolve(one, OUTPUT | HIDDEN) == clone(one, safe=False)
    assert pickle.loads(pickle.dumps(one)) == one
    assert len({one, type(one)()}) == 1
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        one.name = "another"


def test_parameters_tell_objects_apart():
    assert LeakyReLU(0.1) != LeakyReLU() == LeakyReLU(0.01)
    assert Swish(learnable=True) != Swish()
    assert Maxout(3) != Maxout()
    assert resolve("silu") == Swish(beta=1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LeakyReLU(-0.1), "negative_slope must be a number of at least 0"),
        (lambda: LeakyReLU(math.nan), "negative_slope must be"),
        (lambda: LeakyReLU("small"), "negative_slope must be"),
        (lambda: PReLU(math.inf), "initial_slope must be a finite number"),
        (lambda: ELU(-1), "alpha must be a number of at least 0"),
        (lambda: Swish(beta=math.inf), "beta must be a finite number"),
        (lambda: Maxout(1), r"pieces must be an integer of at least 2; one piece is Identity\(\)"),
        (lambda: Maxout(2.5), "pieces must be an integer"),
        (lambda: Custom(math.sin, None), "must be a Python function of z"),
        (lambda: resolve("sine"), "Unknown activation of hidden layers: 'sine'"),
        (lambda: resolve("softmax"), "Unknown activation of hidden layers: 'softmax'"),
        (lambda: resolve("step", OUTPUT), "Unknown activation of outputs: 'step'"),
        (lambda: resolve_layers(["relu"], 2), "activation has 1 entries, expected one for each"),
        (lambda: resolve_layers(None, 2), "Unknown activation of hidden layers: None"),
    ],
)
def test_wrong_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- in a network -------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", HIDDEN)
def test_values(name, device):
    """x goes through one unit of weight 1, in and out."""
    weights = [np.ones((1, resolve(name).pieces)), np.ones((1, 1))]
    network = untrained(weights, activation=name, device=device)
    z = np.array([-4, -1, 0, 0.5, 4])
    np.testing.assert_allclose(network.predict(z[:, None]), VALUES[name], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("device", DEVICES)
def test_pieces_of_maxout(device):
    """Column p n + j is piece p of unit j: here |x| and max(x, 2 x)."""
    weights = [np.array([[1.0, 1.0, -1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])]
    network = untrained(weights, activation="maxout", device=device)
    expected = [[3, -3], [2, 4]]
    np.testing.assert_allclose(network.predict([[-3.0], [2.0]]), expected, rtol=1e-12)


def half(z):
    return z / 2


def half_slope(z):
    return 0.5


def softsign(z):
    return z / (1 + abs(z))


def softsign_slope(z):
    return 1 / (1 + abs(z)) ** 2


def positive(z):
    return max(z, 0.0)


def positive_slope(z):
    return 1.0 if z > 0 else 0.0


CUSTOM = Custom(softsign, softsign_slope)


#: Every activation there is, and what else an object can ask for.
ALL = [*HIDDEN, Swish(beta=0.5, learnable=True), Maxout(3), CUSTOM]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LeakyReLU(0.0), "relu"),
        (LeakyReLU(1.0), "identity"),
        (Custom(positive, positive_slope), ReLU()),
        (Swish(beta=0.0), Custom(half, half_slope)),
    ],
    ids=named,
)
def test_equal_by_definition(one, other, device):
    X, y, _ = TASKS["squared_error"].data()
    fits = [
        MLPRegressor(
            "squared_error", (6, 4), activation, random_state=0, max_iter=5, device=device
        ).fit(X, y)
        for activation in (one, other)
    ]
    np.testing.assert_allclose(fits[0].predict(X), fits[1].predict(X), rtol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_one_for_each_layer(device):
    X, y, _ = TASKS["multiclass"].data()
    settings = {"random_state": 0, "max_iter": 5, "device": device}
    alike = MLPClassifier((6, 4), "tanh", **settings).fit(X, y)
    listed = MLPClassifier((6, 4), ["tanh", "tanh"], **settings).fit(X, y)
    np.testing.assert_array_equal(alike.predict_proba(X), listed.predict_proba(X))
    mixed = MLPClassifier((6, 4), ("tanh", PReLU()), **settings).fit(X, y)
    assert not np.allclose(alike.predict_proba(X), mixed.predict_proba(X))
    assert [None if a is None else a.shape for a in mixed.activation_params_] == [None, (4,)]
    linear = MLPClassifier((), [], **settings).fit(X, y)
    assert linear.activation_params_ == []


# ---- in a fit -----------------------------------------------------------------------------------


@covering(
    "activation, solver, dtype, device",
    ALL,
    ["adam", "sgd", "lbfgs"],
    [np.float32, np.float64],
    DEVICES,
)
def test_every_solver_learns_with_it(activation, solver, dtype, device):
    """The loss falls, the dtype stays, and what activations learn is learned."""
    X, y, _ = TASKS["squared_error"].data(dtype)
    estimator = MLPRegressor(
        hidden_layer_sizes=(8, 6), activation=activation, weight_init="auto", solver=solver,
        learning_rate_init=0.02, batch_size=10, random_state=0, max_iter=40, device=device,
    )  # fmt: skip
    nothing = float(y.var() + y.mean() ** 2) / 2
    assert estimator.fit(X, y).loss_ < 0.8 * nothing
    for layer, units in enumerate((8, 6)):
        learned, kind = estimator.activation_params_[layer], estimator.activation
        if resolve(kind).learnable:
            assert learned.shape == (units,)
            assert learned.dtype == estimator.coefs_[0].dtype
            assert (learned != dtype(resolve(kind).constant)).any()
        else:
            assert learned is None
    if solver != "lbfgs":  # whose weights SciPy gives back in float64, as in scikit-learn
        assert {w.dtype for w in estimator.coefs_} == {np.dtype(dtype)}
        assert estimator.predict(X).dtype == dtype


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("activation", ALL, ids=named)
def test_carried_on(activation, device):
    """Pickles, warm starts and partial fits go on where a fit has stopped."""
    X, y, _ = TASKS["squared_error"].data()
    settings = {
        "hidden_layer_sizes": (8, 6), "activation": activation, "batch_size": 16,
        "solver": "sgd", "momentum": 0.0, "shuffle": False, "random_state": 0, "device": device,
    }  # fmt: skip
    whole = MLPRegressor(max_iter=4, **settings).fit(X, y)
    epochs = MLPRegressor(**settings)
    for _ in range(4):
        epochs = pickle.loads(pickle.dumps(epochs.partial_fit(X, y)))
    warm = MLPRegressor(max_iter=2, warm_start=True, **settings).fit(X, y).fit(X, y)
    for other in (epochs, warm):
        np.testing.assert_array_equal(outputs(other, X), outputs(whole, X))
        for own, expected in zip(other.activation_params_, whole.activation_params_, strict=True):
            np.testing.assert_array_equal(own, expected)
    assert clone(whole).get_params() == whole.get_params()


@pytest.mark.parametrize("device", SPARSE_DEVICES)
def test_sparse_data_with_learned_activations(device):
    X, y, _ = TASKS["multiclass"].data()
    settings = {"activation": ["prelu", "maxout"], "random_state": 0, "max_iter": 5}
    dense = MLPClassifier((8, 6), **settings, device=device).fit(X, y)
    loose = MLPClassifier((8, 6), **settings, device=device).fit(sparse.csr_matrix(X), y)
    np.testing.assert_allclose(loose.predict_proba(X), dense.predict_proba(X), rtol=1e-9)
    assert [w.shape for w in dense.coefs_] == [(7, 8), (8, 12), (6, 3)]
    assert [b.shape for b in dense.intercepts_] == [(8,), (12,), (3,)]


@pytest.mark.parametrize("device", DEVICES)
def test_learned_parameters_set_by_hand(device):
    X, y, _ = TASKS["squared_error"].data()
    estimator = MLPRegressor(
        "squared_error", 4, "prelu", random_state=0, max_iter=3, device=device
    ).fit(X, y)
    estimator.activation_params_ = [np.zeros(4)]
    relu = regressor(4, "relu", random_state=0, max_iter=1, device=device).fit(X, y)
    relu.coefs_, relu.intercepts_ = estimator.coefs_, estimator.intercepts_
    np.testing.assert_allclose(estimator.predict(X), relu.predict(X), rtol=1e-12)
    estimator.activation_params_ = [np.zeros(3)]
    with pytest.raises(ValueError, match=r"learned has shapes \[\(3,\)\], expected \[4\]"):
        estimator.predict(X)


@pytest.mark.parametrize("device", DEVICES)
def test_step_learns_what_is_not_linear(device):
    """Thresholds, with their straight-through slope, learn exclusive or."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 2))
    y = (X[:, 0] > 0) ^ (X[:, 1] > 0)
    estimator = MLPClassifier(
        (32,), "step", learning_rate_init=0.01, random_state=0, device=device
    ).fit(X, y)
    assert estimator.score(X, y) > 0.9


@pytest.mark.parametrize("device", DEVICES_FOR_LONG_FITS)
@pytest.mark.parametrize("name", [*OUTPUT, CUSTOM], ids=named)
def test_outputs(name, device):
    """An output activation shapes the outputs, and training goes through its slope."""
    X, y, _ = TASKS["several_outputs"].data()
    kind = resolve(name, OUTPUT)
    y = np.clip(1 / (1 + np.exp(-y)), 0.1, 0.9)
    if kind.name == "softmax":
        y /= y.sum(axis=1, keepdims=True)
    settings = {"output_activation": name, "random_state": 0, "device": device}
    first = regressor(8, "tanh", max_iter=1, **settings).fit(X, y)
    estimator = MLPRegressor(
        "squared_error", 8, "tanh", solver="lbfgs", max_iter=30, **settings
    ).fit(X, y)
    assert estimator.out_activation_ == kind.name
    p = estimator.predict(X)
    assert (p >= kind.least).all()
    assert (p <= kind.most).all()
    assert estimator.loss_ < first.loss_ / 2
    if kind.name == "softmax":
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
