"""A fitted estimator predicts what it was fitted for, or what its weights, set by hand, say."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import sklearn.neural_network as sk
from designs import covering
from scipy import sparse
from sklearn.exceptions import NotFittedError
from tasks import DEVICES, TASKS, outputs

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, activations, inspection, losses
from fastmlp.devices.cpu import single_rows
from fastmlp.network import Network

SETTINGS = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
every_device = pytest.mark.parametrize("device", DEVICES)


def half(z):
    return 0.5 * z


def one_half(z):
    return 0.5


CHANGES = [
    {"loss": "poisson"},
    {"loss": losses.Quantile((0.1, 0.9))},
    {"activation": "tanh"},
    {"activation": ["tanh", "relu"]},
    {"activation": activations.Maxout()},
    {"output_activation": "softplus"},
    {"hidden_layer_sizes": (3, 3)},
    {"weight_init": "zeros"},
    {"solver": "lbfgs"},
]


@covering("change, rows, device", CHANGES, [2, 60], DEVICES)
def test_parameters_set_since_change_no_prediction(change, rows, device):
    X, y, _ = TASKS["squared_error"].data()
    fitted = MLPRegressor(**SETTINGS, activation="prelu", device=device).fit(X, y)
    before, score = fitted.predict(X[:rows]), fitted.score(X, y)
    predictor = fitted.compiled_predictor()(X[:rows])
    fitted.set_params(**change)
    for again in (fitted, pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(again.predict(X[:rows]), before)
        np.testing.assert_array_equal(again.compiled_predictor()(X[:rows]), predictor)
        assert again.score(X, y) == score


@every_device
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_parameters_set_since_change_no_probability(task, device):
    X, y, _ = TASKS[task].data()
    fitted = MLPClassifier(**SETTINGS, device=device).fit(X, y)
    before = fitted.predict_proba(X)
    for change in ({"loss": "huber"}, {"activation": "step"}, {"output_activation": "logistic"}):
        fitted.set_params(**change)
        np.testing.assert_array_equal(fitted.predict_proba(X), before)


def test_own_functions_come_from_the_fit():
    X, y, _ = TASKS["squared_error"].data()
    own = activations.Custom(half, one_half)
    fitted = MLPRegressor(**SETTINGS, activation=own, output_activation=own).fit(X, y)
    before = fitted.predict(X)
    fitted.set_params(activation="relu", output_activation=None)
    np.testing.assert_array_equal(fitted.predict(X), before)
    assert fitted.out_activation_ == "custom"


def test_the_gradient_is_that_of_the_fitted_loss():
    X, y, _ = TASKS["poisson"].data()
    fitted = MLPRegressor("poisson", 5, random_state=0, max_iter=2).fit(X, y)
    expected = inspection.gradients(fitted, X, y)
    fitted.set_params(loss="squared_error", activation="tanh")
    for own, other in zip(inspection.gradients(fitted, X, y), expected, strict=True):
        np.testing.assert_array_equal(own.coefs, other.coefs)


# ---- weights that are set by hand ----------------------------------------------------------------


def both(task, **settings):
    """Ours and scikit-learn's estimator, fitted alike."""
    X, y, _ = TASKS[task].data()
    made = TASKS[task].ours(**SETTINGS, **settings), TASKS[task].theirs(**SETTINGS)
    return X, [estimator.fit(X, y) for estimator in made]


def as_lists(estimator):
    if isinstance(estimator, sk.MLPClassifier | sk.MLPRegressor):  # which takes biases alone so
        return
    estimator.coefs_ = [w.tolist() for w in estimator.coefs_]
    estimator.intercepts_ = [b.tolist() for b in estimator.intercepts_]


def rows_of_biases(estimator):
    estimator.intercepts_ = [b[np.newaxis] for b in estimator.intercepts_]


def one_bias_for_all(estimator):
    estimator.intercepts_ = [np.array([0.25]), 0.5]


def fortran_order(estimator):
    estimator.coefs_ = [np.asfortranarray(w) for w in estimator.coefs_]


def float32(estimator):
    estimator.coefs_ = [w.astype(np.float32) for w in estimator.coefs_]


def whole_numbers(estimator):
    estimator.coefs_ = [np.rint(3 * w).astype(int) for w in estimator.coefs_]


def views_with_gaps(estimator):
    estimator.coefs_ = [np.repeat(w, 2, axis=1)[:, ::2] for w in estimator.coefs_]


def edited_in_place(estimator):
    estimator.coefs_[0][1:3] = 0.125
    estimator.intercepts_[-1][...] = -1


def an_inserted_layer(estimator):
    rng = np.random.default_rng(5)
    estimator.coefs_.insert(1, rng.standard_normal((6, 6)))
    estimator.intercepts_.insert(1, rng.standard_normal(6))
    estimator.n_layers_ += 1


def another_output_activation(estimator):
    estimator.out_activation_ = "logistic" if estimator.out_activation_ != "logistic" else "tanh"


EDITS = [
    as_lists, rows_of_biases, one_bias_for_all, fortran_order, float32, whole_numbers,
    views_with_gaps, edited_in_place, an_inserted_layer, another_output_activation,
]  # fmt: skip


@covering(
    "edit, task, rows, device",
    EDITS,
    ["multiclass", "binary", "squared_error", "poisson"],
    [1, 60],
    DEVICES,
)
def test_weights_set_by_hand_are_used_as_scikit_learn_uses_them(task, edit, rows, device):
    X, (ours, theirs) = both(task, device=device)
    for estimator in (ours, theirs):
        edit(estimator)
    np.testing.assert_allclose(
        ours._outputs(X[:rows]).ravel(), theirs._forward_pass_fast(X[:rows]).ravel(), rtol=1e-6
    )
    predictor = ours.compiled_predictor()(X[:rows])
    np.testing.assert_allclose(predictor, outputs(ours, X[:rows]), rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 60])
def test_no_answer_is_an_old_one(rows):
    """Whatever is edited between two predictions, in place or replaced."""
    X, (ours, theirs) = both("multiclass")
    for edit in (edited_in_place, fortran_order, edited_in_place, an_inserted_layer, float32):
        for estimator in (ours, theirs):
            edit(estimator)
        np.testing.assert_allclose(
            ours.predict_proba(X[:rows]), theirs.predict_proba(X[:rows]), rtol=1e-6
        )


@every_device
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_an_estimator_that_was_never_fitted(name, activation, device):
    rng = np.random.default_rng(0)
    weights = {
        "coefs_": [rng.standard_normal((3, 4)), rng.standard_normal((4, 2))],
        "intercepts_": [rng.standard_normal(4), rng.standard_normal(2)],
        "n_layers_": 3,
        "n_outputs_": 2,
        "out_activation_": "softmax" if name == "MLPClassifier" else "identity",
    }
    X = rng.standard_normal((5, 3))
    ours = getattr(fastmlp, name)(activation=activation, device=device)
    theirs = getattr(sk, name)(activation=activation)
    for estimator in (ours, theirs):
        vars(estimator).update(copy.deepcopy(weights))
    np.testing.assert_allclose(outputs(ours, X), outputs(theirs, X), rtol=1e-12)
    if name == "MLPClassifier":
        with pytest.raises(NotFittedError):
            ours.predict(X)
        ours.classes_ = np.array(["no", "yes"])
        assert ours.predict(X).tolist() == ours.classes_[ours.predict_proba(X).argmax(1)].tolist()


def test_never_fitted_weights_can_be_trained_on():
    X, y, _ = TASKS["squared_error"].data()
    fitted = MLPRegressor(**SETTINGS).fit(X, y)
    by_hand = MLPRegressor(**SETTINGS)
    names = "coefs_", "intercepts_", "n_layers_", "n_outputs_", "out_activation_"
    vars(by_hand).update({name: copy.deepcopy(getattr(fitted, name)) for name in names})
    again = copy.deepcopy(fitted)
    del again._optimizer
    np.testing.assert_allclose(
        by_hand.partial_fit(X, y).coefs_[0], again.partial_fit(X, y).coefs_[0], rtol=1e-12
    )


def test_labels_set_by_hand_can_not_be_trained_on():
    X, y, _ = TASKS["binary"].data()
    by_hand = copy.deepcopy(MLPClassifier(**SETTINGS).partial_fit(X, y, classes=np.unique(y)))
    del by_hand._label_binarizer
    assert set(by_hand.predict(X)) <= {"no", "yes"}
    with pytest.raises(ValueError, match="classes_ was set by hand, so that nothing says"):
        by_hand.partial_fit(X, y)


WRONG = {
    "other shapes": lambda e: e.coefs_.__setitem__(0, np.zeros((7, 5))),
    "no matrices": lambda e: e.coefs_.__setitem__(0, np.zeros(7)),
    "text": lambda e: e.coefs_.__setitem__(0, np.full((7, 6), "x")),
    "complex numbers": lambda e: e.coefs_.__setitem__(0, np.zeros((7, 6), complex)),
    "objects": lambda e: e.coefs_.__setitem__(0, np.full((7, 6), None)),
    "ragged": lambda e: e.coefs_.__setitem__(0, [[1.0, 2.0], [3.0]]),
    "sparse": lambda e: e.coefs_.__setitem__(0, sparse.csr_matrix((7, 6))),
    "long biases": lambda e: e.intercepts_.__setitem__(0, np.zeros(7)),
    "no biases": lambda e: e.intercepts_.pop(),
    "no weights": lambda e: e.coefs_.clear(),
    "number of layers": lambda e: setattr(e, "n_layers_", 4),
    "number of outputs": lambda e: setattr(e, "n_outputs_", 5),
    "output activation": lambda e: setattr(e, "out_activation_", "sine"),
    "learned numbers": lambda e: setattr(e, "activation_params_", [np.zeros(5)]),
    "learned layers": lambda e: setattr(e, "activation_params_", []),
}


@covering("wrong, rows, device", WRONG, [1, 60], DEVICES)
def test_weights_that_do_not_go_together_are_an_error(wrong, rows, device):
    X, y, _ = TASKS["squared_error"].data()
    estimator = MLPRegressor(**SETTINGS, activation="prelu", device=device).fit(X, y)
    WRONG[wrong](estimator)
    with pytest.raises(ValueError, match=r"."):
        estimator.predict(X[:rows])


# ---- where the weights lie -----------------------------------------------------------------------


@pytest.mark.compiled
@covering(
    "task, form, dtype",
    ["multiclass", "binary", "several_outputs"],
    [np.asarray, sparse.csr_matrix, sparse.csc_array],
    [np.float32, np.float64],
)
def test_few_rows_and_many_give_the_same(task, form, dtype):
    X, y, _ = TASKS[task].data(dtype)
    settings = SETTINGS | {
        "hidden_layer_sizes": (40, 3, 17),
        "activation": ["prelu", "maxout", "gelu"],
    }
    fitted = TASKS[task].ours(**settings).fit(X, y)
    many = outputs(fitted, form(X))
    close = {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-10}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_rows, "pays", lambda size, rows: True)
        few = outputs(fitted, form(X))
        assert few.dtype == many.dtype == dtype
        np.testing.assert_allclose(few, many, **close)
        patch.setattr(single_rows, "pays", lambda size, rows: False)
        np.testing.assert_allclose(outputs(fitted, form(X)), many, **close)


@pytest.mark.compiled
def test_a_prediction_of_few_rows_copies_no_weights(monkeypatch):
    X, y, _ = TASKS["multiclass"].data()
    fitted = MLPClassifier(**SETTINGS).fit(X, y)
    monkeypatch.setattr(Network, "pack", lambda *arguments: pytest.fail("all weights were copied"))
    used, make = [], single_rows.SingleRows

    def noted(network, arrays):
        used.append(arrays)
        return make(network, arrays)

    monkeypatch.setattr(single_rows, "SingleRows", noted)
    for rows in (X[:1], sparse.csr_matrix(X[:1])):
        fitted.predict_proba(rows)
    (arrays,) = used  # of the second call, too
    weights = *fitted.coefs_, *fitted.intercepts_
    assert all(np.shares_memory(own, given) for own, given in zip(arrays, weights, strict=True))


# ---- parameters that are set too late ------------------------------------------------------------

TOO_LATE = {
    "adam": [
        {"solver": "sgd"}, {"learning_rate_init": 0.5}, {"beta_1": 0.5}, {"beta_2": 0.5},
        {"epsilon": 1.0}, {"hidden_layer_sizes": (3,)},
    ],
    "sgd": [
        {"solver": "adam"}, {"learning_rate_init": 0.5}, {"learning_rate": "adaptive"},
        {"power_t": 2.0}, {"momentum": 0.1}, {"nesterovs_momentum": False},
    ],
}  # fmt: skip


@every_device
@pytest.mark.parametrize(
    ("solver", "change"), [(s, change) for s, each in TOO_LATE.items() for change in each], ids=str
)
def test_what_comes_too_late_for_partial_fit_is_told(solver, change, device):
    X, y, _ = TASKS["squared_error"].data()
    settings = SETTINGS | {"solver": solver}
    ours = MLPRegressor(**settings, device=device).partial_fit(X, y)
    theirs = sk.MLPRegressor(**settings).partial_fit(X, y)
    ((name, value),) = change.items()
    before = getattr(ours, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.partial_fit(X, y)
    with pytest.warns(UserWarning, match="partial_fit goes on with") as told:
        ours.set_params(**change).partial_fit(X, y)
    assert len(told) == 1
    text = str(told[0].message)
    assert f"{name}={before!r}" in text
    assert f"{name}={value!r}" in text
    assert told[0].filename == __file__
    theirs.partial_fit(X, y).set_params(**change).partial_fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.set_params(**{name: before}).partial_fit(X, y)


def test_several_are_told_at_once_and_what_does_not_matter_is_not():
    X, y, _ = TASKS["squared_error"].data()
    estimator = MLPRegressor(**SETTINGS).partial_fit(X, y)
    estimator.set_params(momentum=0.1, learning_rate="adaptive", alpha=0.1, batch_size=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.partial_fit(X, y)
    estimator.set_params(beta_1=0.5, learning_rate_init=0.5)
    with pytest.warns(UserWarning, match=r"learning_rate_init=0\.001, beta_1=0\.9") as told:
        estimator.partial_fit(X, y)
    assert len(told) == 1


def test_a_warm_start_keeps_its_layers_and_takes_another_optimiser():
    X, y, _ = TASKS["squared_error"].data()
    settings = SETTINGS | {"warm_start": True}
    ours, theirs = MLPRegressor(**settings).fit(X, y), sk.MLPRegressor(**settings).fit(X, y)
    change = {"learning_rate_init": 0.1, "solver": "sgd"}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "A warm start")
        ours.set_params(**change).fit(X, y)
    theirs.set_params(**change).fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-9)
    with pytest.warns(UserWarning, match=r"A warm start goes on with hidden_layer_sizes=\(6,\)"):
        ours.set_params(hidden_layer_sizes=(3,)).fit(X, y)
    assert ours.coefs_[0].shape == (7, 6)


QUANTILES = losses.Quantile((0.1, 0.9))
OTHER_WEIGHTS = [
    ({"activation": "prelu"}, {"activation": "relu"}, "PReLU", "ReLU()"),
    ({"activation": "relu"}, {"activation": "prelu"}, "ReLU()", "PReLU"),
    ({"activation": "relu"}, {"activation": "maxout"}, "ReLU()", "Maxout(pieces=2)"),
    (
        {"activation": ["relu", activations.Maxout(2)], "hidden_layer_sizes": (3, 3)},
        {"activation": activations.Maxout(3)},
        "[ReLU(), Maxout(pieces=2)]",
        "Maxout(pieces=3)",
    ),
    ({}, {"loss": QUANTILES}, "SquaredError()", f"{QUANTILES}"),
    ({"loss": QUANTILES}, {"loss": losses.Quantile()}, f"{QUANTILES}", f"{losses.Quantile()}"),
]


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("first", "change", "before", "now"), OTHER_WEIGHTS)
def test_what_needs_other_weights_is_told(first, change, before, now, method):
    X, y, _ = TASKS["squared_error"].data()
    fitted = MLPRegressor(**SETTINGS | first | {"warm_start": True, "device": DEVICES[0]})
    attributes = dict(vars(getattr(fitted, method)(X, y).set_params(**change)))
    ((name, _),) = change.items()
    with pytest.raises(ValueError, match=f"cannot go on: {name} was ") as error:
        getattr(fitted, method)(X, y)
    assert f" {name} was {before}" in str(error.value)
    assert f" and is {now}" in str(error.value)
    assert all(getattr(fitted, name) is value for name, value in attributes.items())
    back = {name: first.get(name, getattr(MLPRegressor(), name))}
    getattr(fitted.set_params(**back), method)(X, y)


def test_a_function_of_as_many_weights_may_be_changed_as_in_scikit_learn():
    X, y, _ = TASKS["squared_error"].data()
    settings = SETTINGS | {"warm_start": True}
    ours, theirs = MLPRegressor(**settings).fit(X, y), sk.MLPRegressor(**settings).fit(X, y)
    for fitted in (ours, theirs):
        fitted.set_params(activation="tanh").fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-9)
    ours.coefs_[0] = np.repeat(ours.coefs_[0], 2, axis=1)  # set by hand, for what comes
    ours.intercepts_[0] = np.repeat(ours.intercepts_[0], 2)
    ours.set_params(activation="maxout").fit(X, y)
