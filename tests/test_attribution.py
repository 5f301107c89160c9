"""What inspection asks of single rows: the values of all layers, and integrated gradients."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from tasks import TASKS, outputs, random_network

from fastmlp import MLPClassifier, MLPRegressor, inspection
from fastmlp.activations import Custom
from fastmlp.devices import ReferenceDevice

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SETTINGS = {"max_iter": 2, "device": "reference", "random_state": 0}


# ---- the values of all layers -------------------------------------------------------------------


@pytest.mark.parametrize("storage", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("seed", range(12))
def test_activations_are_those_of_the_definition(seed, storage):
    network, X = random_network(seed)
    X = X[:7]
    layers = inspection.activations(network, storage(X))
    parameters = inspection_parameters(network)
    passed = ReferenceDevice(network._fitted_as, parameters).propagate(parameters, X)
    values = [*passed.inputs[1:], passed.outputs]
    close = {"rtol": 1e-4, "atol": 1e-5} if X.dtype == np.float32 else {"rtol": 1e-10}
    for layer, z, a in zip(layers, passed.z, values, strict=True):
        assert layer.z.dtype == layer.a.dtype == X.dtype
        np.testing.assert_allclose(layer.z, z, **close)
        np.testing.assert_allclose(layer.a, a, **close)
    for number in (0, len(layers) - 1, -1):
        chosen = inspection.activations(network, storage(X), number)
        np.testing.assert_array_equal(chosen.z, layers[number].z)


def inspection_parameters(network):
    learned = [each for each in network.activation_params_ if each is not None]
    parts = *network.coefs_, *network.intercepts_, *learned
    return np.concatenate([part.ravel() for part in parts])


def test_activations_refuse():
    network, X = random_network(4)
    for layer in (len(network.coefs_), -1 - len(network.coefs_)):
        with pytest.raises(IndexError, match="layers, got layer="):
            inspection.activations(network, X, layer)
    with pytest.raises(ValueError, match="features"):
        inspection.activations(network, X[:, :3])
    with pytest.raises(NotFittedError):
        inspection.activations(MLPRegressor(), X)
    assert len(inspection.activations(network, X[:1])[-1].a) == 1


# ---- integrated gradients -----------------------------------------------------------------------


def fitted(task, activation, **settings):
    X, y, _ = TASKS[task].data(rows=40)
    sizes = {"hidden_layer_sizes": (9, 5), "activation": activation}
    return TASKS[task].ours(**sizes | SETTINGS | settings).fit(X, y), X[:3]


@pytest.mark.compiled
@pytest.mark.parametrize("activation", ["relu", "tanh", "maxout", "hard_sigmoid", "elu"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "several_outputs"])
def test_contributions_add_up(task, activation):
    network, X = fitted(task, activation)
    baselines = {
        "a number": (0.5, np.full_like(X, 0.5)),
        "a row": (X[2], np.stack([X[2]] * 3)),
        "rows": (X[::-1], X[::-1]),
    }
    for name, (baseline, rows) in baselines.items():
        contributions = inspection.integrated_gradients(network, X, baseline)
        change = outputs(network, X) - outputs(network, rows)
        change = change[:, -1:] if task == "binary" else change
        np.testing.assert_allclose(contributions.sum(axis=2), change, atol=1e-6, err_msg=name)


@pytest.mark.compiled
def test_contributions_of_shares_of_outputs():
    network, X = fitted("multiclass", "relu", loss="squared_error")
    contributions = inspection.integrated_gradients(network, X, 1.0)
    change = network.predict_proba(X) - network.predict_proba(np.ones_like(X))
    np.testing.assert_allclose(contributions.sum(axis=2), change, atol=1e-6)


def test_contributions_of_a_line():
    """Each feature contributes its weight times its change, and one without a weight nothing."""
    X = np.random.default_rng(0).standard_normal((20, 3))
    line = MLPRegressor(hidden_layer_sizes=(), **SETTINGS).fit(X, X[:, 0])
    line.coefs_[0][2] = 0
    contributions = inspection.integrated_gradients(line, sparse.csr_array(X[:4]), 2.0)
    np.testing.assert_allclose(contributions[:, 0], (X[:4] - 2) * line.coefs_[0][:, 0])


@pytest.mark.compiled
def test_contributions_are_integrals():
    network, X = fitted("squared_error", "tanh")
    shares = (np.arange(2000) + 0.5) / 2000
    contributions = inspection.integrated_gradients(network, X)
    for x, computed in zip(X, contributions, strict=True):
        slopes = inspection.input_gradients(network, shares[:, np.newaxis] * x)
        np.testing.assert_allclose(computed[0], x * slopes[:, 0].mean(axis=0), atol=1e-6)


def test_contributions_refuse():
    network, X = fitted("squared_error", "relu")
    for wrong in (np.zeros(3), np.zeros((2, 7)), np.zeros((1, 3, 7))):
        with pytest.raises(ValueError, match=r"must be a number or have the shape \(7,\) or"):
            inspection.integrated_gradients(network, X, wrong)
    with pytest.raises(ValueError, match="baseline must be finite"):
        inspection.integrated_gradients(network, X, np.nan)
    with pytest.raises(ValueError, match="jumps"):
        inspection.integrated_gradients(fitted("squared_error", "step")[0], X)


@pytest.mark.compiled
def test_contributions_of_a_wrong_derivative():
    network, X = fitted("squared_error", Custom(lambda z: z * z, lambda z: z))
    with pytest.raises(ValueError, match="do not add up"):
        inspection.integrated_gradients(network, X)


def test_of_a_single_class():
    X = np.eye(4)
    network = MLPClassifier((3,), **SETTINGS).fit(X, ["only"] * 4)
    assert not inspection.integrated_gradients(network, X).any()
