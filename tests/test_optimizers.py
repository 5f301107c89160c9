"""Optimisers: their objects, their formulas, and what the estimators make of them."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPRegressor, devices
from fastmlp._jit import plain
from fastmlp.devices import reference
from fastmlp.formulas.optimizers import FORMULAS, corrected
from fastmlp.network import Network
from fastmlp.optimizers import MOST_NUMBERS, OPTIMIZERS, SGD, Adam, Optimizer, resolve
from fastmlp.schedules import Constant, Schedule
from fastmlp.training import OptimizerState, Rows

every_kind = pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
X, Y = make_regression(60, 4, n_informative=3, random_state=0)
Y = Y / np.abs(Y).max()


@every_kind
def test_a_formula_is_the_references(kind):
    rule, rng = kind(), np.random.default_rng(0)
    g, *moments = rng.uniform(0.1, 1, (1 + kind.moments, 50))
    numbers = (*rule.numbers, *[0.0] * (MOST_NUMBERS - len(rule.numbers)))
    expected, after = reference.OPTIMIZERS[rule.name](g, np.array(moments), 0.01, rule)
    step = plain(FORMULAS[rule.name])
    found = [step(*each, 0.01, numbers) for each in zip(g, *moments, strict=True)]
    np.testing.assert_allclose(np.array(found).T, [expected, *after], rtol=1e-14)


@every_kind
def test_an_optimiser_goes_downhill(kind):
    """Ten steps on w² / 2 from w = 1, as every device takes them."""
    rule, w, moments = kind(), 1.0, [0.0] * kind.moments
    numbers = (*rule.numbers, *[0.0] * (MOST_NUMBERS - len(rule.numbers)))
    for step in range(1, 11):
        rate = plain(corrected)(0.01, *rule.decays, step)
        change, *moments = plain(FORMULAS[rule.name])(w, *moments, rate, numbers)
        assert change < 0
        w += change
    assert 0 < w < 1


@every_kind
def test_objects_compare_pickle_and_clone(kind):
    assert pickle.loads(pickle.dumps(kind())) == kind() == resolve(kind.name)
    network = MLPRegressor(solver=kind())
    assert clone(network).solver == kind()


def test_a_name_takes_the_estimators_parameters():
    assert resolve("sgd", momentum=0.5, nesterovs_momentum=False) == SGD(0.5, nesterov=False)
    assert resolve("adam", beta_1=0.5, momentum=0.1) == Adam(beta_1=0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(momentum=1.5), r"momentum must be a number in \[0, 1\]"),
        (lambda: Adam(beta_1=1), r"beta_1 must be a number in \[0, 1\)"),
        (lambda: Adam(beta_2="0.9"), "beta_2 must be a number"),
        (lambda: Adam(epsilon=np.nan), r"epsilon must be a number in \[0, inf\)"),
    ],
)
def test_wrong_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_name_and_its_object_fit_the_same():
    settings = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0, "tol": 1.0}
    settings["n_iter_no_change"] = 1
    by_name = MLPRegressor(**settings, solver="sgd", momentum=0.3, learning_rate="invscaling")
    by_object = clone(by_name).set_params(solver=SGD(momentum=0.3), momentum=0.9)
    np.testing.assert_array_equal(
        by_name.fit(X, Y).coefs_[0], by_object.fit(X, Y).partial_fit(X, Y).fit(X, Y).coefs_[0]
    )


def test_search_over_optimisers():
    network = MLPRegressor(hidden_layer_sizes=(3,), n_iter_no_change=1, tol=10, random_state=0)
    search = GridSearchCV(network, {"solver": ["adam", SGD(momentum=0.5)]}, cv=2).fit(X, Y)
    assert search.best_params_["solver"] in ("adam", SGD(momentum=0.5))


@dataclass(frozen=True)
class Unknown(Optimizer):
    name = "unknown"


class OneMoment(Adam):
    """Room for one moment, where the loop of its name writes two."""

    moments = 1


@pytest.mark.parametrize("optimizer", ["unknown", Unknown(), OneMoment(), "SGD", None])
def test_an_unknown_optimiser_is_an_error(optimizer):
    """For every device: it asks for an object of a known kind, and there is no other."""
    with pytest.raises(ValueError, match=r"Unknown optimizer: .*\['adam', .*'sgd'\]"):
        OptimizerState(optimizer, Constant(0.1), 0.1, np.zeros((2, 3)))


def test_the_estimators_say_what_they_take():
    with pytest.raises(ValueError, match=r"'solver' parameter .* {'adam', 'lbfgs', .*'sgd'}"):
        MLPRegressor(solver="newton").fit(X, Y)
    with pytest.raises(ValueError, match="Unknown optimizer"):
        MLPRegressor(solver=Unknown()).fit(X, Y)


@dataclass(frozen=True)
class Warmup(Schedule):
    """η rises over the first steps."""

    steps: int = 5

    def rates(self, learning_rate, first_step, count):
        return learning_rate * np.minimum(1, (first_step + 1 + np.arange(count)) / self.steps)


@every_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("device", [name for name in devices.present() if name != "reference"])
def test_a_schedule_by_steps_acts_on_every_device(device, dtype, kind):
    network = Network((4, 6, 1), "tanh", "squared_error")
    first = np.linspace(-0.5, 0.5, network.size).astype(dtype)
    results = []
    for name in (device, "reference"):
        state = OptimizerState(
            kind(), Warmup(0.01), 0.01, np.zeros((kind.moments, network.size), dtype)
        )
        made = devices.load(name)(network, first, optimizer=state, batch_size=16)
        for _ in range(2):  # of four steps each: the second epoch goes on where the first ended
            made.train(Rows(X.astype(dtype), Y[:, np.newaxis].astype(dtype), None), np.arange(60))
        assert state.step == 8
        results.append(made.parameters())
    close = {"rtol": 1e-10} if dtype == np.float64 else {"rtol": 1e-3, "atol": 1e-5}
    np.testing.assert_allclose(*results, **close)


@dataclass(frozen=True)
class Given(Schedule):
    """The learning rates that a test gives."""

    given: object = None

    def rates(self, learning_rate, first_step, count):
        return self.given


def trained_by(device, rates):
    """Parameters after four steps at these learning rates."""
    network = Network((4, 6, 1), "tanh", "squared_error")
    state = OptimizerState(SGD(), Given(0.01, rates), 0.01, np.zeros((1, network.size)))
    first = np.linspace(-0.5, 0.5, network.size)
    made = devices.load(device)(network, first, optimizer=state, batch_size=16)
    made.train(Rows(X, Y[:, np.newaxis], None), np.arange(60))
    return made.parameters()


@pytest.mark.parametrize("device", devices.present())
def test_learning_rates_are_checked_before_compiled_code_reads_them(device):
    rates = np.array([0.0625, 0.25, 0.5, 0.125])  # which float16 holds exactly
    expected = trained_by(device, rates)
    read_only = rates.copy()
    read_only.flags.writeable = False
    for form in (rates.tolist(), rates.astype(np.float16), np.repeat(rates, 2)[::2], read_only):
        np.testing.assert_array_equal(trained_by(device, form), expected)
    for wrong in (rates[:3], np.append(rates, 0.1), rates[:, np.newaxis], 0.01, []):
        with pytest.raises(ValueError, match=r"learning rates of shape .*, expected \(4,\)"):
            trained_by(device, wrong)
