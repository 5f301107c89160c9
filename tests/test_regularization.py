"""Regularisation: each kind changes the result, and in the way that its formula says."""

import pickle

import numpy as np
import pytest
from designs import covering
from scipy import sparse
from tasks import DEVICES, SPARSE_DEVICES, TASKS, outputs

from fastmlp import MLPRegressor
from fastmlp.inspection import numerical_gradients

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = {
    "alpha": 10.0,
    "l1": 1.0,
    "weight_decay": 1.0,
    "clip_norm": 0.1,
    "max_norm": 0.5,
    "dropout": 0.5,
    "input_dropout": 0.5,
    "label_smoothing": 0.5,
}
SETTINGS = {"hidden_layer_sizes": (9, 5), "batch_size": 16, "max_iter": 5, "random_state": 0}
#: One step of plain gradient descent at rate 1, without a penalty.
ONE_STEP = {
    "hidden_layer_sizes": (9, 5), "solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0,
    "alpha": 0.0, "max_iter": 1, "random_state": 0,
}  # fmt: skip


def weights(estimator):
    return np.concatenate([w.ravel() for w in estimator.coefs_])


def parameters(estimator):
    return np.concatenate([weights(estimator), *estimator.intercepts_])


def first_parameters(estimator, X, y):
    """What a fit with these settings begins with."""
    held = {"learning_rate_init": 1e-300, "weight_decay": 0.0, "max_norm": None}
    return parameters(type(estimator)(**estimator.get_params() | held).fit(X, y))


@covering(
    "task kind, solver, device",
    [
        (task, kind)
        for task in TASKS
        for kind in KINDS
        if kind != "label_smoothing" or TASKS[task].estimator == "MLPClassifier"
    ],
    ["adam", "sgd"],
    DEVICES,
)
def test_each_changes_the_result(task, kind, solver, device):
    X, y, sample_weight = TASKS[task].data()
    settings = SETTINGS | {"solver": solver, "device": device}
    plain = TASKS[task].ours(**settings).fit(X, y, sample_weight)
    changed = TASKS[task].ours(**settings | {kind: KINDS[kind]}).fit(X, y, sample_weight)
    assert not np.allclose(outputs(plain, X), outputs(changed, X), rtol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_by_default_a_step_is_the_gradient_alone(device):
    """Of the loss, without a penalty; and nothing is left out, shortened or shrunk."""
    X, y, _ = TASKS["squared_error"].data()
    fitted = MLPRegressor(**ONE_STEP, device=device).fit(X, y)
    start = MLPRegressor(**ONE_STEP | {"learning_rate_init": 1e-300}, device=device).fit(X, y)
    layers = numerical_gradients(start, X, y)
    slopes = [layer.coefs.ravel() for layer in layers] + [layer.intercepts for layer in layers]
    step = parameters(start) - parameters(fitted)
    np.testing.assert_allclose(step, np.concatenate(slopes), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "off",
    [
        {"l1": 0}, {"weight_decay": 0}, {"clip_norm": None}, {"max_norm": None}, {"dropout": 0},
        {"dropout": [0.0, 0.0]}, {"dropout": np.zeros(2)}, {"input_dropout": 0},
    ],
    ids=str,
)  # fmt: skip
def test_each_can_be_off(off, device):
    """Also the random draws are then the same."""
    X, y, _ = TASKS["squared_error"].data()
    plain = MLPRegressor(**SETTINGS, device=device).fit(X, y)
    same = MLPRegressor(**SETTINGS, **off, device=device).fit(X, y)
    np.testing.assert_array_equal(parameters(plain), parameters(same))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bound", ["clip_norm", "max_norm"])
def test_bounds_that_are_never_reached(bound, device):
    X, y, _ = TASKS["squared_error"].data()
    plain = MLPRegressor(**SETTINGS, device=device).fit(X, y)
    same = MLPRegressor(**SETTINGS, **{bound: 1e9}, device=device).fit(X, y)
    np.testing.assert_allclose(parameters(plain), parameters(same), rtol=1e-9, atol=1e-12)


# ---- penalties ----------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_penalties_in_the_loss(device):
    """A batch's summed loss, and so divided by its rows, has λ₁ Σ|w| + λ₂/2 Σ w²."""
    X, y, _ = TASKS["squared_error"].data()
    settings = ONE_STEP | {"learning_rate_init": 1e-300, "device": device}
    plain = MLPRegressor(**settings).fit(X, y)
    penalised = MLPRegressor(**settings | {"alpha": 0.3, "l1": 0.2}).fit(X, y)
    w = weights(plain)
    penalty = (0.15 * (w @ w) + 0.2 * abs(w).sum()) / len(X)
    assert penalised.loss_ - plain.loss_ == pytest.approx(penalty, rel=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_step_of_l1(device):
    """η λ₁ sign(w) over the batch's rows."""
    X, y, _ = TASKS["squared_error"].data()
    settings = ONE_STEP | {"device": device}
    plain = MLPRegressor(**settings).fit(X, y)
    penalised = MLPRegressor(**settings, l1=0.2).fit(X, y)
    w = first_parameters(plain, X, y)[: weights(plain).size]
    expected = weights(plain) - 0.2 / len(X) * np.sign(w)
    np.testing.assert_allclose(weights(penalised), expected, rtol=1e-9, atol=1e-12)
    for own, other in zip(penalised.intercepts_, plain.intercepts_, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("device", DEVICES)
def test_l1_with_lbfgs_shrinks_weights_that_do_nothing(device):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 20))
    y = X[:, 0] - X[:, 1]
    settings = {"hidden_layer_sizes": (), "solver": "lbfgs", "random_state": 0, "device": device}
    w = MLPRegressor(**settings, l1=20.0).fit(X, y).coefs_[0].ravel()
    assert (abs(w[:2]) > 0.5).all()
    assert (abs(w[2:]) < 1e-3).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_weight_decay_is_apart_from_the_gradient(solver, device):
    """w ← (1 - ηλ) w + step, with the step that there is without decay; biases stay free."""
    X, y, _ = TASKS["squared_error"].data()
    settings = ONE_STEP | {"solver": solver, "learning_rate_init": 0.1, "device": device}
    plain = MLPRegressor(**settings).fit(X, y)
    decayed = MLPRegressor(**settings, weight_decay=0.3).fit(X, y)
    w = first_parameters(plain, X, y)[: weights(plain).size]
    np.testing.assert_allclose(weights(decayed), weights(plain) - 0.1 * 0.3 * w, rtol=1e-9)
    for own, other in zip(decayed.intercepts_, plain.intercepts_, strict=True):
        np.testing.assert_array_equal(own, other)


# ---- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("clip_norm", [0.05, 0.5, 50.0])
def test_clipped_gradient(clip_norm, device):
    """A step of descent is as long as the gradient, and never longer than the bound."""
    X, y, _ = TASKS["squared_error"].data()
    settings = ONE_STEP | {"device": device}
    plain = MLPRegressor(**settings).fit(X, y)
    clipped = MLPRegressor(**settings, clip_norm=clip_norm).fit(X, y)
    first = first_parameters(plain, X, y)
    gradient, step = first - parameters(plain), first - parameters(clipped)
    norm = np.linalg.norm(gradient)
    assert 0.5 < norm < 50
    assert np.linalg.norm(step) == pytest.approx(min(norm, clip_norm), rel=1e-9)
    np.testing.assert_allclose(step, gradient * min(1, clip_norm / norm), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("activation", ["relu", "maxout"])
def test_norms_of_units(activation, solver, device):
    """The weights into each unit, of maxout into each piece, keep to the bound; some reach it."""
    X, y, _ = TASKS["squared_error"].data()
    settings = SETTINGS | {"activation": activation, "solver": solver, "device": device}
    estimator = MLPRegressor(**settings, max_norm=0.4).fit(X, y)
    norms = np.concatenate([np.linalg.norm(w, axis=0) for w in estimator.coefs_])
    assert norms.max() == pytest.approx(0.4, rel=1e-9)
    assert max(np.linalg.norm(b) for b in estimator.intercepts_) > 0.4


# ---- dropout ------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dropout", [{"input_dropout": 0.3}, {"dropout": 0.3}], ids=str)
def test_values_left_out(dropout, device):
    """With one linear layer of ones, a row's output counts the values kept: share and size."""
    features = 1000
    X, y = np.ones((1, features)), np.zeros(1)
    coefs, intercepts = [np.full((features, 1), 1.0)], [np.zeros(1)]
    hidden, activation = (), "identity"
    if "dropout" in dropout:
        coefs, intercepts = [np.eye(features), *coefs], [np.zeros(features), *intercepts]
        hidden = (features,)
    estimator = MLPRegressor(
        "squared_error", hidden, activation, weight_init=(coefs, intercepts), alpha=0.0,
        solver="sgd", learning_rate_init=1e-300, max_iter=1, random_state=0, device=device,
        **dropout,
    ).fit(X, y)  # fmt: skip
    kept = np.sqrt(2 * estimator.loss_) * 0.7  # the loss is half the squared output
    assert kept == pytest.approx(round(kept), abs=1e-6)
    assert abs(kept - 700) < 4 * np.sqrt(1000 * 0.3 * 0.7)
    assert estimator.predict(X)[0] == pytest.approx(features)


@pytest.mark.parametrize("device", DEVICES)
def test_each_layer_has_a_share_of_its_own(device):
    X, y, _ = TASKS["squared_error"].data()
    settings = SETTINGS | {"device": device}
    by_share = {
        dropout: parameters(MLPRegressor(**settings, dropout=dropout).fit(X, y))
        for dropout in (0.5, (0.5, 0.5), (0.5, 0.0), (0.0, 0.5))
    }
    np.testing.assert_array_equal(by_share[0.5], by_share[0.5, 0.5])
    assert not np.allclose(by_share[0.5], by_share[0.5, 0.0])
    assert not np.allclose(by_share[0.5, 0.0], by_share[0.0, 0.5])


@pytest.mark.parametrize("device", DEVICES)
def test_one_seed_one_result(device):
    X, y, _ = TASKS["multiclass"].data()
    settings = SETTINGS | {"dropout": 0.3, "input_dropout": 0.2, "device": device}
    fits = [
        TASKS["multiclass"].ours(**settings | {"random_state": seed}).fit(X, y)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(parameters(fits[0]), parameters(fits[1]))
    assert not np.allclose(parameters(fits[0]), parameters(fits[2]))
    np.testing.assert_array_equal(outputs(fits[0], X), outputs(fits[0], X))


@pytest.mark.parametrize("device", DEVICES)
def test_first_weights_and_validation_rows_stay_with_dropout(device):
    """The key of the masks is drawn after them."""
    X, y, _ = TASKS["squared_error"].data()
    settings = ONE_STEP | {"learning_rate_init": 1e-300, "early_stopping": True, "device": device}
    plain = MLPRegressor(**settings).fit(X, y)
    dropped = MLPRegressor(**settings, dropout=0.5).fit(X, y)
    np.testing.assert_array_equal(parameters(plain), parameters(dropped))
    assert plain.validation_scores_ == dropped.validation_scores_
    assert plain.loss_ != dropped.loss_


@pytest.mark.parametrize("device", DEVICES)
def test_partial_fits_have_the_masks_of_one_fit(device):
    X, y, _ = TASKS["squared_error"].data()
    settings = {"dropout": 0.3, "input_dropout": 0.2, "shuffle": False, "device": device}
    whole = MLPRegressor(**SETTINGS, **settings).fit(X, y)
    epochs = MLPRegressor(**SETTINGS, **settings)
    for _ in range(SETTINGS["max_iter"]):
        epochs = pickle.loads(pickle.dumps(epochs.partial_fit(X, y)))
    np.testing.assert_array_equal(parameters(whole), parameters(epochs))


@pytest.mark.parametrize("device", DEVICES)
def test_warm_starts_have_new_masks(device):
    """Their steps are counted anew, so that one key would leave out the same values again."""
    X, y, _ = TASKS["squared_error"].data()
    settings = ONE_STEP | {"learning_rate_init": 1e-300, "warm_start": True, "device": device}
    estimator = MLPRegressor(**settings, dropout=0.5)
    losses = [estimator.fit(X, y).loss_ for _ in range(4)]
    assert len(set(losses)) == 4
    other = MLPRegressor(**settings).fit(X, y).set_params(dropout=0.5)  # switched on in between
    assert other.fit(X, y).loss_ != other.fit(X, y).loss_


@pytest.mark.parametrize("device", SPARSE_DEVICES)
def test_dropout_of_sparse_inputs(device):
    X, y, _ = TASKS["squared_error"].data()
    settings = SETTINGS | {"input_dropout": 0.4, "device": device}
    dense = MLPRegressor(**settings).fit(X, y)
    loose = MLPRegressor(**settings).fit(sparse.csr_matrix(X), y)
    np.testing.assert_allclose(parameters(loose), parameters(dense), rtol=1e-9, atol=1e-12)
