"""A fitted network: its devices are kept from call to call, and never give an old answer."""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris

from fastmlp import MLPClassifier, MLPRegressor, activations, devices
from fastmlp.devices.cpu import single_rows
from fastmlp.devices.kept import Kept
from fastmlp.model import PAIR, PLAIN, SHARES, FittedNetwork
from fastmlp.network import Network

X, Y = load_iris(return_X_y=True)
X = X - X.mean(axis=0)
FITTED = MLPClassifier(
    (7, 5), ["prelu", "tanh"], max_iter=5, n_iter_no_change=1, tol=9.0, random_state=0
).fit(X, Y)


def edit_a_weight(fitted, layer, value):
    weights = fitted.coefs_[layer]
    row = weights[1] if isinstance(weights, list) else weights[1, :]  # a view
    row[0] = value


def edit_a_bias(fitted, layer, value):
    fitted.intercepts_[layer].flat[0] = value


def edit_what_is_learned(fitted, layer, value):
    fitted.activation_params_[0][2] = value


def replace_weights(fitted, layer, value):
    fitted.coefs_[layer] = np.full_like(fitted.coefs_[layer], value)


def replace_by_a_list(fitted, layer, value):
    fitted.coefs_[layer] = np.asarray(fitted.coefs_[layer]).tolist()


def replace_all(fitted, layer, value):
    fitted.coefs_ = [np.asarray(weights) * value for weights in fitted.coefs_]


def make_strided(fitted, layer, value):
    fitted.coefs_[layer] = np.asfortranarray(fitted.coefs_[layer])


def narrow(fitted, layer, value):
    fitted.coefs_ = [np.asarray(weights, np.float32) for weights in fitted.coefs_]


def reshape_biases(fitted, layer, value):
    fitted.intercepts_[layer] = np.array(fitted.intercepts_[layer]).reshape(1, -1)


def set_the_output(fitted, layer, value):
    fitted.out_activation_ = "logistic" if value > 0 else "softmax"


EDITS = [
    edit_a_weight, edit_a_bias, edit_what_is_learned, replace_weights, replace_by_a_list,
    replace_all, make_strided, narrow, set_the_output, reshape_biases,
]  # fmt: skip
VALUES = st.sampled_from([0.0, -0.0, 1.5, -2.0, 1e-300, np.inf, np.nan])


@pytest.mark.compiled
@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 2), VALUES), max_size=6),
    st.sampled_from(devices.present()),
    st.booleans(),
)
@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")
def test_edited_weights_never_give_an_old_answer(edits, device, in_rows):
    """After each edit, the answer is that of a copy which has predicted nothing yet."""
    fitted = copy.deepcopy(FITTED).set_params(device=device)
    forms = X, X.astype(np.float32), sparse.csr_matrix(X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single_rows, "pays", lambda size, rows: in_rows)
        for edit, layer, value in [(edit_a_weight, 0, 1.0), *edits]:
            edit(fitted, layer, value)
            fresh = pickle.loads(pickle.dumps(fitted))
            for form in forms[: 2 if device == "cuda" else 3]:  # which takes no sparse matrix
                np.testing.assert_array_equal(
                    fitted.predict_proba(form), fresh.predict_proba(form), err_msg=edit.__name__
                )


def test_a_second_prediction_makes_no_device(monkeypatch):
    fitted, made = copy.deepcopy(FITTED), []
    monkeypatch.setattr(single_rows, "pays", lambda size, rows: False)
    load = devices.load
    monkeypatch.setattr("fastmlp.devices.kept.load", lambda name: made.append(name) or load(name))
    first = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.predict_proba(X), first)
    assert made == ["cpu"]
    fitted.coefs_[1][2, 3] += 1
    assert (fitted.predict_proba(X) != first).any()
    assert made == ["cpu", "cpu"]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, clone], ids=lambda f: f.__name__)
def test_copies_keep_no_device(copied):
    fitted = copy.deepcopy(FITTED)
    fitted.predict_proba(X)
    assert fitted._latest.model[1] is not None
    other = vars(copied(fitted)).get("_latest")
    assert other is None or other.model[1] is None  # a clone is not fitted
    assert b"Kept" not in pickle.dumps(fitted)


def test_a_fit_keeps_no_device_of_the_fit_before():
    fitted = copy.deepcopy(FITTED)
    fitted.predict_proba(X)
    assert fitted.partial_fit(X, Y)._latest.model[1] is None


@pytest.mark.compiled
def test_threads_share_a_fitted_network(monkeypatch):
    """One thread has the device that is kept, the others make their own."""
    monkeypatch.setattr(single_rows, "pays", lambda size, rows: False)
    fitted, expected = copy.deepcopy(FITTED), FITTED.predict_proba(X)
    wrong = []

    def predict():
        for _ in range(20):
            if not (fitted.predict_proba(X) == expected).all():
                wrong.append(threading.get_ident())

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


FACTOR = 1.0


@pytest.mark.parametrize("in_rows", [True, False])
def test_a_users_function_reads_its_globals_at_each_prediction(monkeypatch, in_rows):
    own = activations.Custom(lambda z: FACTOR * z, lambda z: FACTOR)
    monkeypatch.setattr(single_rows, "pays", lambda size, rows: in_rows)
    line = MLPRegressor(hidden_layer_sizes=(2,), activation=own, max_iter=9, n_iter_no_change=1)
    line.set_params(random_state=0, tol=9.0).fit(X[:20], X[:20, 0])
    line.intercepts_[1][:] = line.intercepts_[0][:] = 0
    before = line.predict(X[:5])
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    np.testing.assert_allclose(line.predict(X[:5]), 2 * before, rtol=1e-12)


# ---- without an estimator ------------------------------------------------------------------------

SMALL = Network((3, 4, 2), "tanh", "squared_error")


def arrays(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [[rng.standard_normal(shape).astype(dtype) for shape in shapes]
            for shapes in (SMALL.shapes, [4, 2])]  # fmt: skip


@pytest.mark.parametrize("device", devices.present())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward(device, dtype):
    coefs, intercepts = arrays(dtype)
    model = FittedNetwork(SMALL, coefs, intercepts)
    rows = np.random.default_rng(1).standard_normal((40, 3)).astype(dtype)
    found = model.forward(rows, np.empty((40, 2), dtype), device)
    expected = np.tanh(rows @ coefs[0] + intercepts[0]) @ coefs[1] + intercepts[1]
    np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == np.float32 else 1e-12)


def test_what_it_is_made_of():
    coefs, intercepts = arrays()
    model = FittedNetwork(SMALL, coefs, intercepts)
    assert model.is_of(coefs, intercepts, [None])
    assert not model.is_of([coefs[0].copy(), coefs[1]], intercepts, None)
    assert not model.is_of(coefs, intercepts[:1], None)
    coefs[0].resize((2, 6), refcheck=False)  # the same object, of another shape
    assert not model.is_of(coefs, intercepts, None)
    lists = FittedNetwork(SMALL, [w.tolist() for w in arrays()[0]], intercepts)
    assert not lists.is_of(lists.coefs, lists.intercepts, None)  # whose numbers were copied


def test_output_forms():
    assert FittedNetwork(SMALL, *arrays()).output_form == PLAIN
    for estimator, form in ((copy.deepcopy(FITTED), PLAIN), (MLPClassifier(loss="huber"), SHARES)):
        fitted = estimator.set_params(max_iter=9, tol=9.0, n_iter_no_change=1).fit(X, Y)
        fitted.predict(X)
        assert fitted._latest.model[1].output_form == form
    two = MLPClassifier(max_iter=9, tol=9.0, n_iter_no_change=1).fit(X, Y == 1)
    two.predict(X)
    assert two._latest.model[1].output_form == PAIR


def test_the_kept_device_is_one(monkeypatch):
    """Whatever is asked for one after the other: memory does not grow."""
    kept, rows = Kept(SMALL, FittedNetwork(SMALL, *arrays()).parts()), np.zeros((20, 3))
    for few in (False, True):
        monkeypatch.setattr(single_rows, "pays", lambda size, rows, few=few: few)
        for dtype in (np.float32, np.float64):
            for n_jobs in (1, 2):
                kept.forward("cpu", rows, np.empty((20, 2), dtype), n_jobs)
    assert len(kept._device) == len(kept._rows) == 1
