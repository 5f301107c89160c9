"""Learning rates over time, seen from outside: in the steps of one bias.

All rows are 0, and the targets so large that the slope of |p - t| is -1 whatever the bias is. So
the bias grows by the learning rate with each batch.
"""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from designs import covering
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from tasks import DEVICES

from fastmlp import MLPRegressor, schedules
from fastmlp.optimizers import OPTIMIZERS
from fastmlp.schedules import (
    SCHEDULES,
    Adaptive,
    ByStep,
    Constant,
    Cosine,
    CosLog,
    Exponential,
    InverseScaling,
    OneCycle,
    Plateau,
    StepDecay,
    WarmUp,
    schedule,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS, RATE = 10, 0.5


def trained(epochs, **settings):
    settings = {"solver": "sgd", "momentum": 0.0, "batch_size": ROWS} | settings
    regressor = MLPRegressor(
        "absolute_error", (), weight_init="zeros", alpha=0.0, learning_rate_init=RATE,
        max_iter=epochs, random_state=0, **settings,
    )  # fmt: skip
    return regressor.fit(np.zeros((ROWS, 1)), np.full(ROWS, 1e9))


def rates(epochs, **settings):
    """The learning rate of each epoch, of one step each."""
    biases = [trained(n, **settings).intercepts_[0][0] for n in range(1, epochs + 1)]
    return np.diff(biases, prepend=0.0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"learning_rate": "constant"}, [RATE] * 5),
        ({"learning_rate": "invscaling", "power_t": 0.0}, [RATE] * 5),
        (
            {"learning_rate": "invscaling", "power_t": 0.7},
            [RATE / (epoch * ROWS + 1) ** 0.7 for epoch in range(5)],
        ),
        ({"learning_rate": "adaptive", "tol": 0.0}, [RATE] * 5),
        # Every epoch but the first falls short of so large a tolerance, and two of them stall.
        (
            {"learning_rate": "adaptive", "tol": 1e30, "n_iter_no_change": 2},
            [RATE, RATE, RATE, RATE, RATE / 5, RATE / 5, RATE / 5, RATE / 25],
        ),
    ],
    ids=str,
)
def test_rate_of_each_epoch(settings, expected, device):
    np.testing.assert_allclose(rates(len(expected), device=device, **settings), expected, rtol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
def test_all_batches_of_an_epoch_have_one_rate(device):
    batches = rates(4, learning_rate="invscaling", power_t=0.7, batch_size=2, device=device)
    once = rates(4, learning_rate="invscaling", power_t=0.7, device=device)
    np.testing.assert_allclose(batches, 5 * once, rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("constant", "Stopping."),
        ("invscaling", "Stopping."),
        ("adaptive", "Learning rate too small. Stopping."),
    ],
)
def test_training_that_stalls_ends(name, says, capsys):
    """At once, or where the rate has been divided by 5 until it is below 1e-6."""
    settings = {"learning_rate": name, "tol": 1e30, "n_iter_no_change": 1, "verbose": True}
    fitted = trained(1000, device="reference", **settings)
    stalls = 1 if name != "adaptive" else 1 + int(np.ceil(np.log(RATE / 1e-6) / np.log(5)))
    assert fitted.n_iter_ == 1 + 2 * stalls
    printed = capsys.readouterr().out
    assert printed.endswith(f"consecutive epochs. {says}\n")
    assert printed.count("Setting learning rate to") == stalls - 1


def test_adam_has_one_rate():
    """Schedules are for solver="sgd", as in scikit-learn; of equal slopes, Adam's step is η."""
    settings = {"solver": "adam", "learning_rate": "invscaling", "power_t": 0.7, "epsilon": 1e-30}
    found = rates(5, device="reference", **settings)
    np.testing.assert_allclose(found, RATE, rtol=1e-9)


# ---- schedules by their formulas ----------------------------------------------------------------

BATCHES, EPOCHS = 3, 8
#: The losses of those epochs, for schedules that follow them.
LOSSES = [1.0, 0.9, 0.95, 0.9, 0.8999, 0.91, 0.5, 0.6]


def rates_by_step(plan, losses=LOSSES, batches=BATCHES):
    """The learning rates of all steps of a fit with these losses."""
    plan, steps = plan.beginning_at(RATE).planned(batches, len(losses)), []
    learning_rate = plan.initial
    for epoch, loss in enumerate(losses):
        steps.extend(plan.rates(learning_rate, epoch * batches, batches))
        plan = plan.advanced(loss)
        learning_rate = plan.after_epoch(learning_rate, (epoch + 1) * ROWS)
    return np.array(steps)


def cosine(start, end, done):
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + np.cos(np.pi * done)) / 2


T, STEPS = BATCHES * EPOCHS, np.arange(BATCHES * EPOCHS)
EPOCH = STEPS // BATCHES
#: A schedule, and its factor in each step, from the literature's formula.
FORMULAS = {
    "constant": (Constant(), np.ones(T)),
    "cosine": (Cosine(), cosine(1, 0, STEPS / T)),
    "cosine, shorter": (Cosine(end=0.1, epochs=4), cosine(1, 0.1, np.minimum(STEPS / 12, 1))),
    "one_cycle": (
        OneCycle(),
        np.where(
            STEPS <= 6,
            cosine(0.04, 1, STEPS / 6.2),
            cosine(1, 0.04 / 1e4, (STEPS - 6.2) / (T - 1 - 6.2)),
        ),
    ),
    "step": (StepDecay(0.5, every=3), 0.5 ** (EPOCH // 3)),
    "exponential": (Exponential(0.8), 0.8**EPOCH),
    # The third and fourth epoch are no better than the second; so are the fifth, by too little, and
    # the sixth.
    "plateau": (
        Plateau(0.5, patience=1, threshold=0.01),
        np.repeat([1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25], BATCHES),
    ),
    "plateau, least": (
        Plateau(0.1, patience=0, least=0.05),
        np.repeat([1, 1, 1, 0.1, 0.05, 0.05, 0.05, 0.05], BATCHES),
    ),
    # The third epoch is no better; the fourth and fifth cool down; nor is the sixth.
    "plateau, cooldown": (
        Plateau(0.5, patience=0, threshold=0.01, cooldown=2),
        np.repeat([1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25], BATCHES),
    ),
    "warm_up": (WarmUp(epochs=2, start=0.1), np.minimum(0.1 + 0.9 * STEPS / 6, 1)),
    "warm_up, cosine": (
        WarmUp(Cosine(), epochs=2, start=0.1),
        np.where(STEPS < 6, 0.1 + 0.9 * STEPS / 6, cosine(1, 0, (STEPS - 6) / (T - 6))),
    ),
    "warm_up, exponential": (
        WarmUp(Exponential(0.5), epochs=2, start=1.0),
        0.5 ** np.maximum(EPOCH - 2, 0),
    ),
    "coslog4": (CosLog(), (1 - np.cos(2 * np.pi * np.log2(1 + 15 * STEPS / T))) / 2),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_rates_by_formula(name):
    plan, factors = FORMULAS[name]
    np.testing.assert_allclose(rates_by_step(plan), RATE * factors, rtol=1e-12, atol=1e-16)
    with_its_own = rates_by_step(replace(plan, initial=2.0))
    np.testing.assert_allclose(with_its_own, 2 * factors, rtol=1e-12, atol=1e-16)


#: PyTorch's schedule of the same name, called after each step or each epoch.
PYTORCH = {
    "cosine": ("step", lambda s, o: s.CosineAnnealingLR(o, T)),
    "one_cycle": ("step", lambda s, o: s.OneCycleLR(o, RATE, T, cycle_momentum=False)),
    "step": ("epoch", lambda s, o: s.StepLR(o, 3, 0.5)),
    "exponential": ("epoch", lambda s, o: s.ExponentialLR(o, 0.8)),
    "plateau": ("loss", lambda s, o: s.ReduceLROnPlateau(
        o, factor=0.5, patience=1, threshold=0.01, threshold_mode="abs")),
    "plateau, least": ("loss", lambda s, o: s.ReduceLROnPlateau(
        o, factor=0.1, patience=0, threshold_mode="abs", min_lr=0.05 * RATE)),
    "plateau, cooldown": ("loss", lambda s, o: s.ReduceLROnPlateau(
        o, factor=0.5, patience=0, threshold=0.01, threshold_mode="abs", cooldown=2)),
    "warm_up": ("step", lambda s, o: s.LinearLR(o, 0.1, total_iters=6)),
    "warm_up, cosine": ("step", lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=6), s.CosineAnnealingLR(o, T - 6)], [6])),
}  # fmt: skip


@pytest.mark.slow  # to import PyTorch takes seconds
@pytest.mark.filterwarnings("ignore:The epoch parameter in")  # by PyTorch, of its own code
@pytest.mark.parametrize("name", PYTORCH)
def test_rates_are_pytorchs(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    after, make = PYTORCH[name]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
    theirs, expected = make(torch.optim.lr_scheduler, optimizer), []
    for loss in LOSSES:
        for _ in range(BATCHES):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if after == "step":
                theirs.step()
        if after != "step":
            theirs.step(*[loss] * (after == "loss"))
    np.testing.assert_allclose(rates_by_step(FORMULAS[name][0]), expected, rtol=1e-12, atol=1e-15)


def test_a_schedule_that_has_ended_keeps_its_last_rate():
    for plan in (Cosine(end=0.1), OneCycle(), CosLog()):
        steps = rates_by_step(replace(plan, epochs=2))
        assert (steps[7:] == steps[7]).all()


@pytest.mark.parametrize("plan", [Cosine(), OneCycle(), CosLog(), WarmUp(Cosine())], ids=str)
def test_few_steps_are_enough(plan):
    for losses, batches in (([1.0], 1), ([1.0, 0.5], 1), ([1.0], 2)):
        steps = rates_by_step(plan, losses, batches)
        assert ((steps >= 0) & (steps <= RATE)).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_objects_are_values(name):
    plan = schedule(name, 0.1)
    assert pickle.loads(pickle.dumps(plan)) == plan == schedule(plan, 0.3) != schedule(name, 0.2)
    assert eval(repr(plan), vars(schedules)) == plan
    network = MLPRegressor(learning_rate=SCHEDULES[name]())
    assert clone(network).learning_rate == SCHEDULES[name]()
    assert hash(plan) == hash(schedule(name, 0.1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(-0.1), r"initial must be a number in \[0, inf\]"),
        (lambda: Cosine(initial=-0.1), "initial must be a number"),
        (lambda: StepDecay(initial=-0.1), "initial must be a number"),
        (lambda: WarmUp(initial="fast"), "initial must be a number"),
        (lambda: InverseScaling(power=-1), "power must be a number"),
        (lambda: Adaptive(divisor=1), r"divisor must be a number in \(1, inf\)"),
        (lambda: Adaptive(least=-1), "least must be a number"),
        (lambda: Cosine(end=-0.1), r"end must be a number in \[0, 1\]"),
        (lambda: Cosine(epochs=0), r"epochs must be a number in \[1, inf\)"),
        (lambda: OneCycle(rise=1.0), r"rise must be a number in \[0, 1\)"),
        (lambda: CosLog(cycles=0), "cycles must be a number"),
        (lambda: Exponential(1.5), r"factor must be a number in \[0, 1\]"),
        (lambda: StepDecay(every=0), "every must be a number"),
        (lambda: Plateau(patience=-1), "patience must be a number"),
        (lambda: Plateau(cooldown=-1), "cooldown must be a number"),
        (lambda: WarmUp("cosine"), "then must be an object from fastmlp.schedules"),
        (lambda: WarmUp(start=2), r"start must be a number in \[0, 1\]"),
        (lambda: schedule("linear", 0.1), "Unknown schedule: 'linear'"),
        (lambda: trained(1, learning_rate="linear"), "'learning_rate' parameter .* 'coslog4'"),
        (lambda: trained(1, learning_rate=0.1), "'learning_rate' parameter"),
        (
            lambda: trained(1, solver="lbfgs", learning_rate="cosine"),
            "solver='lbfgs' .* learning_rate='cosine' needs a stochastic solver",
        ),
        (lambda: trained(1, solver="lbfgs", learning_rate=Cosine()), "needs a stochastic solver"),
    ],
)
def test_wrong_values(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- schedules of estimators --------------------------------------------------------------------

#: Training does not end before the schedule does.
WHOLE = {"n_iter_no_change": np.inf, "batch_size": 4}


def expected_ends(plan, epochs):
    """The rate in the last of the three steps of each epoch, whose loss falls all the time."""
    return rates_by_step(plan, list(range(epochs, 0, -1)))[BATCHES - 1 :: BATCHES]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", [*FORMULAS])
def test_a_fit_follows_its_schedule(name, device):
    plan, _ = FORMULAS[name]
    fitted = trained(EPOCHS, learning_rate=plan, device=device, **WHOLE)
    expected = rates_by_step(plan, list(range(EPOCHS, 0, -1)))
    assert fitted.intercepts_[0][0] == pytest.approx(expected.sum(), rel=1e-9)
    np.testing.assert_allclose(fitted.learning_rates_, expected[BATCHES - 1 :: BATCHES], rtol=1e-9)


# A schedule does not know which optimiser takes its steps.
@covering(
    "solver, name",
    OPTIMIZERS,
    sorted(SCHEDULES.keys() - {"constant", "invscaling", "adaptive"}),
    apart=[{0, 1}],
)
def test_names_are_for_every_stochastic_solver(name, solver):
    fitted = trained(6, solver=solver, learning_rate=name, device="reference", **WHOLE)
    expected = expected_ends(SCHEDULES[name](), 6)
    np.testing.assert_allclose(fitted.learning_rates_, expected, rtol=1e-12)
    constant = trained(6, solver=solver, device="reference", **WHOLE)
    assert (fitted.intercepts_[0] == constant.intercepts_[0]) == (name in ("plateau", "step"))


@pytest.mark.parametrize("plan", ["constant", Constant(), Constant(RATE)], ids=str)
def test_a_constant_object_changes_nothing(plan):
    fitted, plain = (trained(3, learning_rate=kind, device="cpu") for kind in (plan, "constant"))
    np.testing.assert_array_equal(fitted.intercepts_[0], plain.intercepts_[0])
    assert fitted.learning_rates_ == [RATE] * 3


@pytest.mark.parametrize("name", [name for name in FORMULAS if "plateau" not in name])
@pytest.mark.parametrize("device", DEVICES)
def test_later_fits_go_on_in_the_schedule(name, device):
    """By `partial_fit`, and by warm starts, for which the schedule is given all epochs."""
    plan, _ = FORMULAS[name]
    expected = expected_ends(plan, EPOCHS)
    settings = {"learning_rate": plan, "device": device, **WHOLE}
    X, y = np.zeros((ROWS, 1)), np.full(ROWS, 1e9)
    fitted = clone(trained(1, **settings)).set_params(max_iter=EPOCHS)
    for _ in range(EPOCHS):
        fitted.partial_fit(X, y)
    np.testing.assert_allclose(fitted.learning_rates_, expected, rtol=1e-12)

    long = plan
    if isinstance(plan, ByStep) and plan.epochs is None:
        long = replace(plan, epochs=EPOCHS)
    elif isinstance(plan, WarmUp) and isinstance(plan.then, ByStep):
        long = replace(plan, then=replace(plan.then, epochs=EPOCHS - 2))
    fitted = clone(fitted).set_params(learning_rate=long, max_iter=EPOCHS // 2, warm_start=True)
    fitted.fit(X, y).fit(X, y)
    np.testing.assert_allclose(fitted.learning_rates_, expected, rtol=1e-12)
    again = fitted.set_params(warm_start=False, max_iter=1).fit(X, y)
    np.testing.assert_allclose(again.learning_rates_, expected[:1], rtol=1e-12)
    other = again.set_params(warm_start=True, learning_rate=Exponential(0.5), max_iter=2).fit(X, y)
    np.testing.assert_allclose(other.learning_rates_, [*expected[:1], RATE, RATE / 2])


def test_a_plateau_follows_the_validation_score_and_goes_on():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    settings = {"early_stopping": True, "n_iter_no_change": 30, "max_iter": 12, "random_state": 0}
    plan = Plateau(0.5, patience=1)
    network = MLPRegressor(
        hidden_layer_sizes=(3,), learning_rate=plan, warm_start=True, device="reference", **settings
    )
    scores = np.array(network.fit(X, y).fit(X, y).validation_scores_)
    expected = rates_by_step(replace(plan, initial=0.001), (-scores).tolist(), 1)
    np.testing.assert_allclose(network.learning_rates_, expected)
    assert network.learning_rates_[-1] < 0.001


def test_a_schedule_set_too_late_is_told():
    """But not scikit-learn's three for "adam", which ignores them all."""
    X, y = np.zeros((ROWS, 1)), np.arange(ROWS)
    network = MLPRegressor(hidden_layer_sizes=(), device="reference").partial_fit(X, y)
    network.set_params(learning_rate="adaptive", power_t=0.1).partial_fit(X, y)
    for rate, says in (("cosine", r"'cosine'.*start\.$"), (0.1, "write learning_rate_init=0.1")):
        network.set_params(learning_rate=rate)
        with pytest.warns(UserWarning, match=f"goes on with learning_rate='constant'.*{says}"):
            network.partial_fit(X, y)


def test_lbfgs_has_no_learning_rates():
    fitted = trained(1, solver="lbfgs", learning_rate="invscaling", device="reference")
    assert not hasattr(fitted, "learning_rates_")


def test_search_over_schedules():
    X, y = np.random.default_rng(0).standard_normal((2, 20, 1))
    network = MLPRegressor(hidden_layer_sizes=(), max_iter=2, random_state=0, device="reference")
    choices = ["constant", "cosine", WarmUp(CosLog(), epochs=1), Exponential(0.5)]
    search = GridSearchCV(network, {"learning_rate": choices}, cv=2).fit(X, y[:, 0])
    assert search.best_params_["learning_rate"] in choices
