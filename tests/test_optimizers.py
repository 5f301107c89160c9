"""Optimisers: their objects, their formulas, and what the estimators make of them."""

import pickle
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_regression
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPRegressor, devices
from fastmlp._jit import called, plain
from fastmlp.activations import Swish
from fastmlp.devices import reference
from fastmlp.formulas.optimizers import FORMULAS, corrected
from fastmlp.network import Network
from fastmlp.optimizers import (
    MOST_NUMBERS,
    OPTIMIZERS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    resolve,
)
from fastmlp.regularization import Regularization
from fastmlp.schedules import Constant, Schedule
from fastmlp.training import OptimizerState, Rows

every_kind = pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
X, Y = make_regression(60, 4, n_informative=3, random_state=0)
Y = Y / np.abs(Y).max()


@cache
def formula_of(rule):
    """The rule's formula, as Python can call it."""
    return called(plain(FORMULAS[rule.name]))


def step_of(rule, t, learning_rate):
    """What a device passes to the rule's formula in step t: the learning rate, and the numbers."""
    (numbers,) = rule.table(t - 1, 1)
    return plain(corrected)(learning_rate, *rule.decays, t), tuple(numbers)


@pytest.mark.parametrize("t", [1, 5, 6, 1000, 10**6])
@every_kind
def test_a_formula_is_the_references(kind, t):
    rule, rng = kind(), np.random.default_rng(0)
    g, *moments = rng.uniform(0.1, 1, (1 + kind.moments, 50))
    expected, after = reference.OPTIMIZERS[rule.name](g, np.array(moments), 0.01, rule, t)
    settings, step = step_of(rule, t, 0.01), formula_of(rule)
    found = [step(*each, *settings) for each in zip(g, *moments, strict=True)]
    np.testing.assert_allclose(np.array(found).T, [expected, *after], rtol=1e-12)


@every_kind
def test_a_table_has_the_numbers_of_every_step(kind):
    rule = kind()
    table = np.broadcast_to(rule.table(3, 4), (4, MOST_NUMBERS))
    np.testing.assert_array_equal(table, np.concatenate([rule.table(3 + k, 1) for k in range(4)]))
    assert len(rule.table(3, 4)) == (4 if rule.by_step else 1)


@every_kind
def test_an_optimiser_goes_downhill(kind):
    """Ten steps on w² / 2 from w = 1, as every device takes them."""
    rule, w, moments = kind(), 1.0, [0.0] * kind.moments
    for t in range(1, 11):
        change, *moments = formula_of(rule)(w, *moments, *step_of(rule, t, 0.01))
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
        (lambda: Adam(epsilon=np.nan), r"epsilon must be a number in \(0, inf\)"),
        (lambda: Adagrad(epsilon=0), r"epsilon must be a number in \(0, inf\)"),
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
    with pytest.raises(ValueError, match=r"Unknown optimizer: .*\['adagrad', 'adam', .*'sgd'\]"):
        OptimizerState(optimizer, Constant(0.1), 0.1, np.zeros((2, 3)))


def test_the_estimators_say_what_they_take():
    with pytest.raises(
        ValueError, match=r"'solver' parameter .* {'adagrad', 'adam', .*'lbfgs', .*'sgd'}"
    ):
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
    made.train(Rows(X, Y.reshape(60, 1), None), np.arange(60))
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


# ---- fifty steps, as PyTorch does them ----------------------------------------------------------

#: A small regression for `WIDTHS`: three batches an epoch.
FEATURES = np.sin(np.arange(20.0)).reshape(10, 2)
TARGETS = np.cos(np.arange(10.0)).reshape(10, 1)
WIDTHS, ROWS, RATE, STEPS = (2, 2, 1), 4, 0.02, 51


def packed_after(device, rule):
    """Packed parameters, weights before biases, after `STEPS` steps of this device."""
    network = Network(WIDTHS, "tanh", "squared_error")
    state = OptimizerState(rule, Constant(RATE), RATE, np.zeros((rule.moments, network.size)))
    first = np.linspace(-0.5, 0.5, network.size)
    made = devices.load(device)(network, first, optimizer=state, batch_size=ROWS)
    for _ in range(STEPS // 3):
        made.train(Rows(FEATURES, TARGETS, None), np.arange(10))
    assert state.step == STEPS
    return made.parameters()


@pytest.fixture
def torch():
    """PyTorch, with float64 as its default: NAdam keeps the product of its momenta in that."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def after_pytorch(torch, make):
    """The same with an optimiser of PyTorch, which `make` returns for parameters."""
    first = torch.linspace(-0.5, 0.5, 9)
    parts = first[:4].reshape(2, 2), first[4:6].reshape(2, 1), first[6:8], first[8:]
    W, V, b, c = parts = [torch.nn.Parameter(part.clone()) for part in parts]
    optimizer, X, t = make(torch.optim, parts), torch.tensor(FEATURES), torch.tensor(TARGETS)
    for _ in range(STEPS // 3):
        for begin in range(0, 10, ROWS):
            batch = slice(begin, begin + ROWS)
            optimizer.zero_grad()
            error = torch.tanh(X[batch] @ W + b) @ V + c - t[batch]
            (0.5 * (error**2).mean()).backward()
            optimizer.step()
    return np.concatenate([part.detach().numpy().ravel() for part in parts])


#: An optimiser, PyTorch's, and the parameters that PyTorch 2.13 has after the steps.
PYTORCH = {
    "sgd": (
        SGD(),
        lambda optim, p: optim.SGD(p, RATE, momentum=0.9, nesterov=True),
        (-0.5724679065485, -0.3920450471522, -0.2844298649630, -0.1297430902636, -0.3973999993766,
         -0.2240796598666, 0.1651359151812, 0.2648429993271, 0.0961245041276),
    ),
    "sgd_plain": (
        SGD(0.5, nesterov=False),
        lambda optim, p: optim.SGD(p, RATE, momentum=0.5),
        (-0.5228854763048, -0.3761271178221, -0.2608842169222, -0.1262104929113, -0.2435255944257,
         -0.1140921042014, 0.2725082206340, 0.3643341847905, 0.0784066422672),
    ),
    "adamw": (
        AdamW(),
        lambda optim, p: optim.AdamW(p, RATE),
        (-0.6873041066372, -0.3770396548867, -0.9143282164608, 0.0437817382058, -0.3588397634139,
         -0.2173133633146, 0.5690439082047, 0.1755259045656, 0.1078248964029),
    ),
    "adamw_decaying": (
        AdamW(0.8, 0.9, 1e-3, weight_decay=0.3),
        lambda optim, p: optim.AdamW(p, RATE, (0.8, 0.9), 1e-3, weight_decay=0.3),
        (-0.5684481532564, -0.3600372441533, -0.6167474613465, -0.1138649621389, -0.2952307059839,
         -0.1866490863578, 0.4043781719817, 0.2089315275164, 0.0898168911426),
    ),
    "nadam": (
        NAdam(),
        lambda optim, p: optim.NAdam(p, RATE),
        (-0.6873851637379, -0.4090847754373, -0.9653899144533, -0.0538398126778, -0.3454533326003,
         -0.1780720430701, 0.6970752691637, 0.3191473766315, 0.1409325825060),
    ),
    "nadam_fast": (
        NAdam(0.6, 0.9, 1e-3, momentum_decay=0.1),
        lambda optim, p: optim.NAdam(p, RATE, (0.6, 0.9), 1e-3, momentum_decay=0.1),
        (-0.6745686792151, -0.4304056700670, -0.7761158679003, -0.1740734949270, -0.3315716415605,
         -0.1802101852365, 0.6261227256484, 0.3776849572681, 0.1505022318729),
    ),
    "radam": (
        RAdam(),
        lambda optim, p: optim.RAdam(p, RATE),
        (-0.5488036144399, -0.3382917964608, -0.3152366868963, -0.0674114731614, -0.0838509847842,
         0.0375697954866, 0.3412011503793, 0.3050289811226, 0.3769475232513),
    ),
    "radam_never_adaptive": (
        RAdam(0.8, 0.6),
        lambda optim, p: optim.RAdam(p, RATE, (0.8, 0.6)),
        (-0.5090434062692, -0.3704539888601, -0.2536696611568, -0.1232286219346, -0.1749795444543,
         -0.0571435012689, 0.2658389837533, 0.3612381271073, 0.1462945438866),
    ),
    "rmsprop": (
        RMSprop(),
        lambda optim, p: optim.RMSprop(p, RATE, alpha=0.9, eps=1e-8),
        (-0.6554286897023, -0.4249981197500, -0.9808897773906, -0.0749610102935, -0.3424443391895,
         -0.1822611973383, 0.6545363120066, 0.3539424187599, 0.1379341218116),
    ),
    "adagrad": (
        Adagrad(),
        lambda optim, p: optim.Adagrad(p, RATE),
        (-0.5871931536053, -0.3215858286216, -0.4086703167530, -0.0305083178539, -0.1637490611529,
         -0.0284957448445, 0.5124356202178, 0.2759374686454, 0.3122773213798),
    ),
    "adagrad_epsilon": (
        Adagrad(1e-2),
        lambda optim, p: optim.Adagrad(p, RATE, eps=1e-2),
        (-0.5834634274201, -0.3300998156238, -0.3413078306872, -0.0753714683237, -0.1605610449969,
         -0.0290733126694, 0.4576982823549, 0.2866817020271, 0.3126575316888),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PYTORCH)
@pytest.mark.parametrize("device", devices.present())
def test_steps_are_pytorchs(device, name):
    rule, _, expected = PYTORCH[name]
    np.testing.assert_allclose(packed_after(device, rule), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", PYTORCH)
def test_pytorchs_numbers(torch, name):
    """The table above is what the PyTorch at hand computes."""
    _, theirs, expected = PYTORCH[name]
    np.testing.assert_allclose(after_pytorch(torch, theirs), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("rule", [Lion(), Lion(0.8, 0.9, weight_decay=0.3)], ids=str)
@pytest.mark.parametrize("device", devices.present())
def test_steps_of_lion_are_the_papers(device, rule):
    """Algorithm 2, which PyTorch does not have."""
    network = Network(WIDTHS, "tanh", "squared_error")
    w, m = np.linspace(-0.5, 0.5, network.size), 0.0
    gradient_at = devices.load("reference")(network, w, batch_size=ROWS).sums
    for step in range(STEPS):
        batch = slice(ROWS * (step % 3), ROWS * (step % 3) + ROWS)
        rows = Rows(FEATURES[batch], TARGETS[batch], None)
        g = gradient_at(rows, w).gradient / len(rows.targets)
        c = rule.beta_1 * m + (1 - rule.beta_1) * g
        w = w - RATE * (np.sign(c) + rule.weight_decay * w)
        m = rule.beta_2 * m + (1 - rule.beta_2) * g
    np.testing.assert_allclose(packed_after(device, rule), w, rtol=0, atol=1e-10)


def test_decay_of_an_optimiser_is_of_all_parameters_and_adds_to_that_of_weights():
    """The gradient is 0: the network meets its target."""
    network = Network((1, 2, 1), Swish(learnable=True), "squared_error")
    first = np.linspace(0.5, 1.0, network.size)
    for device in devices.present():
        met = devices.load(device)(network, first).forward(np.ones((1, 1)), np.empty((1, 1)))
        for decay in 0.0, 0.25:
            state = OptimizerState(
                AdamW(weight_decay=0.5), Constant(0.1), 0.1, np.zeros((2, network.size))
            )
            settings = {"optimizer": state, "regularization": Regularization(weight_decay=decay)}
            made = devices.load(device)(network, first, batch_size=1, **settings)
            made.train(Rows(np.ones((1, 1)), met, None), np.arange(1))
            expected = first * (1 - 0.1 * 0.5)
            for w, was in zip(network.views(expected)[0], network.views(first)[0], strict=True):
                w[...] = was * (1 - 0.1 * (0.5 + decay))
            np.testing.assert_allclose(made.parameters(), expected, rtol=1e-14, err_msg=device)


def test_decay_of_an_estimator():
    """By name, "adamw" decays by 0.01 whatever `weight_decay` is; both together are the sum."""
    settings = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0, "tol": 1.0}
    settings |= {"n_iter_no_change": 1, "solver": "adamw", "learning_rate_init": 0.1}
    biases = []
    for solver in ("adamw", AdamW(), AdamW(weight_decay=0.0)):
        fitted = MLPRegressor(**settings | {"solver": solver}).fit(X, Y)
        more = MLPRegressor(**settings | {"solver": solver}, weight_decay=0.1).fit(X, Y)
        assert np.abs(more.coefs_[0]).sum() < np.abs(fitted.coefs_[0]).sum()
        biases.append(fitted.intercepts_[0])
    np.testing.assert_array_equal(biases[0], biases[1])
    assert not np.array_equal(biases[1], biases[2])
