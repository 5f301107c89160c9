"""First weights: their variances, shapes and order, and that a fit begins with them."""

import numpy as np
import pytest
import sklearn.neural_network as sk
from tasks import DEVICES, TASKS

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.activations import LeakyReLU, Maxout, PReLU
from fastmlp.initializers import NAMES, RULES, first_parameters, he_normal, orthogonal
from fastmlp.network import Network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = sorted(NAMES - {"zeros"})
FAN_IN, FAN_OUT = 300, 200
#: Variance of the weights by each rule.
VARIANCES = {
    "glorot_uniform": 2 / (FAN_IN + FAN_OUT),
    "glorot_normal": 2 / (FAN_IN + FAN_OUT),
    "he_uniform": 2 / FAN_IN,
    "he_normal": 2 / FAN_IN,
    "lecun_uniform": 1 / FAN_IN,
    "lecun_normal": 1 / FAN_IN,
    "orthogonal": 1 / FAN_IN,
    "zeros": 0.0,
}


def layers(units, weight_init, activation="relu", seed=0, dtype=np.float64):
    """First weights and biases of each layer."""
    network = Network(units, activation, "squared_error")
    random_state = np.random.RandomState(seed)
    packed = first_parameters(network, weight_init, random_state, dtype, activation)
    assert packed.dtype == dtype
    return network.views(packed)


@pytest.mark.parametrize("name", RULES)
def test_variance(name):
    """60000 numbers, so that the variance is known to a percent, and the mean."""
    weights = RULES[name](FAN_IN, FAN_OUT, np.random.RandomState(0))
    assert weights.shape == (FAN_IN, FAN_OUT)
    variance = VARIANCES[name]
    assert weights.var() == pytest.approx(variance, rel=0.03)
    assert abs(weights.mean()) <= 4 * np.sqrt(variance / weights.size)
    if name.endswith("uniform"):
        assert abs(weights).max() == pytest.approx(np.sqrt(3 * variance), rel=1e-3)
        assert abs(weights).max() <= np.sqrt(3 * variance)
    if name.endswith("normal"):
        kurtosis = ((weights - weights.mean()) ** 4).mean() / weights.var() ** 2
        assert kurtosis == pytest.approx(3, rel=0.05)


def test_he_with_a_slope_below_zero():
    weights = he_normal(FAN_IN, FAN_OUT, np.random.RandomState(0), slope=0.5)
    assert weights.var() == pytest.approx(2 / 1.25 / FAN_IN, rel=0.03)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (1, 3), (3, 1)])
def test_orthogonal(shape):
    q = orthogonal(*shape, np.random.RandomState(0))
    assert q.shape == shape
    product = q.T @ q if shape[0] >= shape[1] else q @ q.T
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-12)


def test_signs_of_orthogonal():
    """Of a 1 x 1 matrix both signs are as likely; QR alone has one of them always."""
    random_state = np.random.RandomState(0)
    signs = [orthogonal(1, 1, random_state)[0, 0] for _ in range(400)]
    assert set(np.round(signs, 12)) == {-1.0, 1.0}
    assert abs(np.mean(signs)) < 0.2


@pytest.mark.parametrize("name", sorted(NAMES))
def test_biases(name):
    _, biases = layers((5, 4, 3), name)
    assert all((b != 0).all() if name == "glorot" else (b == 0).all() for b in biases)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RANDOM)
def test_seeds(name, dtype):
    """One seed, one network; float32 is float64 rounded."""
    one = layers((5, 4, 3), name, seed=1, dtype=dtype)[0]
    same = layers((5, 4, 3), name, seed=1)[0]
    other = layers((5, 4, 3), name, seed=2, dtype=dtype)[0]
    for w, again, another in zip(one, same, other, strict=True):
        np.testing.assert_array_equal(w, again.astype(dtype))
        assert (w != another).all()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_pieces_of_maxout_are_layers_of_their_own(name):
    """fan_out is the units of one piece; each piece is drawn anew."""
    (first, second), _ = layers((FAN_IN, FAN_OUT, 2), name, Maxout(3))
    assert first.shape == (FAN_IN, 3 * FAN_OUT)
    assert second.shape == (FAN_OUT, 2)
    rule = {"glorot": "glorot_uniform", "auto": "he_normal"}.get(name, name)
    for piece in np.split(first, 3, axis=1):
        assert piece.var() == pytest.approx(VARIANCES[rule], rel=0.03)
    if name != "zeros":
        assert (first[:, :FAN_OUT] != first[:, FAN_OUT : 2 * FAN_OUT]).all()


@pytest.mark.parametrize(
    ("activation", "variance"),
    [
        ("relu", 2 / FAN_IN),
        (LeakyReLU(0.5), 2 / 1.25 / FAN_IN),
        (PReLU(), 2 / (1 + 0.25**2) / FAN_IN),
        ("elu", 2 / FAN_IN),
        ("swish", 2 / FAN_IN),
        ("gelu", 2 / FAN_IN),
        ("softplus", 2 / FAN_IN),
        ("maxout", 2 / FAN_IN),
        ("selu", 1 / FAN_IN),
        ("tanh", 2 / (FAN_IN + FAN_OUT)),
        ("logistic", 2 / (FAN_IN + FAN_OUT)),
        ("step", 2 / (FAN_IN + FAN_OUT)),
    ],
    ids=str,
)
def test_auto(activation, variance):
    """Each layer by its activation; the outputs by Glorot and Bengio."""
    (first, last), _ = layers((FAN_IN, FAN_OUT, 300), "auto", activation)
    assert first.var() == pytest.approx(variance, rel=0.03)
    assert last.var() == pytest.approx(2 / (FAN_OUT + 300), rel=0.03)
    (_, second, _), _ = layers((9, FAN_IN, FAN_OUT, 3), "auto", ["tanh", activation])
    assert second.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (4,), (4, 3)])
@pytest.mark.parametrize("task", ["binary", "multiclass", "squared_error"])
def test_glorot_is_scikit_learns(task, hidden, activation):
    X, y, _ = TASKS[task].data()
    settings = {
        "hidden_layer_sizes": hidden, "activation": activation, "solver": "sgd", "alpha": 0.0,
        "learning_rate_init": 1e-30, "max_iter": 1, "random_state": 5,
    }  # fmt: skip
    ours = TASKS[task].ours(**settings, device="reference").fit(X, y)
    theirs = TASKS[task].theirs(**settings).fit(X, y)
    own, expected = (e.coefs_ + e.intercepts_ for e in (ours, theirs))
    for ws, vs in zip(own, expected, strict=True):
        np.testing.assert_array_equal(ws, vs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_fit_begins_with_them(name, device):
    X, y, _ = TASKS["squared_error"].data(np.float32)
    estimator = MLPRegressor(
        hidden_layer_sizes=(6, 4), weight_init=name, solver="sgd", learning_rate_init=1e-30,
        alpha=0.0, max_iter=1, random_state=3, device=device,
    ).fit(X, y)  # fmt: skip
    expected = layers((7, 6, 4, 1), name, seed=3, dtype=np.float32)[0]
    for own, drawn in zip(estimator.coefs_, expected, strict=True):
        np.testing.assert_array_equal(own, drawn)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_of_the_user(dtype, device):
    """Copied and cast; from a fitted network, training goes on as by a warm start."""
    X, y, _ = TASKS["squared_error"].data(dtype)
    settings = {
        "hidden_layer_sizes": (4,), "solver": "sgd", "momentum": 0.0, "shuffle": False,
        "random_state": 0, "max_iter": 3, "device": device,
    }  # fmt: skip
    first = MLPRegressor(**settings, warm_start=True).fit(X, y)
    kept = [w.copy() for w in first.coefs_]
    given = [w.tolist() for w in first.coefs_], tuple(first.intercepts_)
    second = MLPRegressor(**settings, weight_init=given).fit(X, y)
    for w, before in zip(first.coefs_, kept, strict=True):
        np.testing.assert_array_equal(w, before)
    np.testing.assert_array_equal(second.predict(X), first.fit(X, y).predict(X))
    assert second.coefs_[0].dtype == dtype


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([np.ones((7, 4))], [np.ones(4)]), r"expected \[\(7, 4\), \(4, 1\)\]"),
        (([np.ones((7, 4)), np.ones((4, 1))], [np.ones(4)]), r"expected .* and \[\(4,\), \(1,\)\]"),
        (([np.ones((4, 7)), np.ones((1, 4))], [np.ones(4), np.ones(1)]), "expected"),
        (([np.ones((7, 4)), np.full((4, 1), np.inf)], [np.ones(4), np.ones(1)]), "not finite"),
        (([np.ones((7, 4)), [["a"]] * 4], [np.ones(4), np.ones(1)]), "could not convert"),
        (([], [], []), "weight_init has 3 entries"),
    ],
)
def test_wrong_weights_of_the_user(given, message):
    X, y, _ = TASKS["squared_error"].data()
    with pytest.raises(ValueError, match=message):
        MLPRegressor(hidden_layer_sizes=(4,), weight_init=given, device="reference").fit(X, y)


def test_unknown_name():
    with pytest.raises(ValueError, match="Unknown weight_init: 'he'"):
        layers((2, 1), "he")


@pytest.mark.parametrize("device", DEVICES)
def test_deep_networks_learn_with_what_suits_them(device):
    """Twelve layers of relu: He's weights keep the signal that Glorot's halve in each."""
    X, y, _ = TASKS["binary"].data(rows=200)
    settings = {"hidden_layer_sizes": (20,) * 12, "max_iter": 20, "random_state": 0}
    losses = {
        name: MLPClassifier(**settings, weight_init=name, device=device).fit(X, y).loss_
        for name in ("glorot_normal", "auto")
    }
    assert losses["auto"] < losses["glorot_normal"] - 0.05


def test_same_draws_as_scikit_learn_afterwards():
    """Shuffles after the first weights are scikit-learn's, too."""
    X, y, _ = TASKS["squared_error"].data()
    settings = {"batch_size": 7, "max_iter": 4, "random_state": 0}
    ours = MLPRegressor(**settings, device="reference").fit(X, y)
    theirs = sk.MLPRegressor(**settings).fit(X, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
