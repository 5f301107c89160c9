"""The fit loops, with devices that only pretend to train."""

import numpy as np
import pytest

from fastmlp.devices.device import Sums
from fastmlp.network import Network
from fastmlp.regularization import Regularization
from fastmlp.schedules import schedule
from fastmlp.training import (
    Averaging,
    EpochState,
    OptimizerState,
    Plan,
    Printer,
    Progress,
    Rows,
    Weights,
    batches_with_weight,
    fit_epochs,
    fit_lbfgs,
)

DATA = Rows(np.zeros((12, 1)), np.zeros((12, 1)), None)
ALL = np.arange(12)
PLAN = Plan(max_iter=9, tol=0.1, n_iter_no_change=2)


class Losses:
    """A device whose epochs have these losses: it notes which rows it was to visit."""

    batch_size = 4

    def __init__(self, *losses):
        self.losses, self.visited = iter(losses), []
        self.optimizer = OptimizerState(
            "sgd", schedule("constant", 0.1, 0.5), 0.1, np.zeros((1, 1))
        )

    def train(self, rows, order):
        self.visited.append(order.tolist())
        loss = next(self.losses)
        if isinstance(loss, BaseException):
            raise loss
        return loss * len(order)

    def parameters(self):
        return np.float64(len(self.visited))


def fit(device, plan=PLAN, rows=DATA, validate=None, early_stopping=True):
    progress = Progress()
    if validate is not None:
        progress = Progress(validation_losses=[], scores=[], best_score=-np.inf)
        progress.best_loss = None if early_stopping else np.inf
    state = EpochState(ALL, progress)
    exhausted = fit_epochs(device, rows, state, plan, np.random.RandomState(0), validate)
    return progress, state.best, exhausted


# ---- how long ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "epochs", "best"),
    [
        (range(9, 0, -1), 9, 1),  # all fall
        ([1.0] * 9, 4, 1.0),  # two epochs without improvement are let pass, the third one ends it
        ([1.0, 0.95, 0.91, 0.9, 0.89], 4, 0.9),  # by too little
        ([3, 3, 3, 2, 2, 2, 2], 7, 2),  # an improvement begins the count anew
        ([1.0, np.nan, np.nan, np.nan] + [np.nan] * 5, 9, 1.0),  # a NaN is no stall
    ],
)
def test_training_goes_on_while_the_loss_falls(losses, epochs, best):
    progress, _, exhausted = fit(Losses(*losses))
    assert progress.epochs == len(progress.loss_curve) == epochs
    assert progress.rows_seen == 12 * epochs
    assert progress.best_loss == pytest.approx(best)
    assert exhausted is (epochs == PLAN.max_iter)


@pytest.mark.parametrize(
    ("scores", "epochs", "best"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], 9, 9),
        ([1, 1, 1, 1, 1], 4, 1),
        ([1, 1.05, 1.06, 1.07], 4, 4),  # better, but by too little to go on
        ([5, 1, 4, 3], 4, 1),
    ],
)
def test_with_a_score_that_decides(scores, epochs, best):
    """And the parameters of the epoch with the best score are given back."""
    device, given = Losses(*range(9)), iter(scores)  # losses that rise are no matter
    progress, kept, _ = fit(device, validate=lambda parameters: (-parameters, next(given)))
    assert progress.epochs == epochs
    assert progress.scores == scores[:epochs]
    assert progress.validation_losses == [-epoch - 1 for epoch in range(epochs)]
    assert progress.best_score == max(scores)
    assert progress.best_epoch == kept.trained == kept.averaged == best
    assert progress.best_loss is None


def test_the_average_is_validated():
    averaging, seen = Averaging(Weights(0, 0), decay=1.0), []

    def validate(parameters):
        seen.append(parameters)
        return 0.5, len(seen)

    progress = Progress(validation_losses=[], scores=[], best_score=-np.inf)
    state = EpochState(ALL, progress, averaging)
    fit_epochs(Losses(4, 3, 2), DATA, state, Plan(3, 0.1, 2), np.random.RandomState(0), validate)
    assert seen == [1, 1.5, 2]  # means of the numbers of epochs, which stand for parameters
    assert state.best == averaging.weights == Weights(trained=3, averaged=2, total=3)


def test_with_a_score_that_is_only_recorded():
    """The training loss decides, as if there were no validation."""
    scores = iter([5, 1, 9, 3, 3, 3])
    progress, _, _ = fit(
        Losses(3, 2, 2, 2, 2, 1), validate=lambda _: (0.5, next(scores)), early_stopping=False
    )
    assert progress.epochs == len(progress.scores) == len(progress.validation_losses) == 5
    assert (progress.best_loss, progress.best_score, progress.best_epoch) == (2, 9, 3)


def test_an_interrupt_in_validation_leaves_curves_of_one_length():
    def validate(parameters):
        if parameters == 3:
            raise KeyboardInterrupt
        return 0.5, 1.0

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        progress, _, _ = fit(Losses(3, 2, 1), validate=validate)
    assert len(progress.loss_curve) == len(progress.scores) == progress.epochs == 2


def test_progress_goes_on_from_fit_to_fit():
    progress = Progress()
    for losses in ([3, 2], [1.95, 1.94, 9]):
        device = Losses(*losses)
        plan = Plan(max_iter=len(losses), tol=0.1, n_iter_no_change=2)
        progress.epochs = 0
        fit_epochs(device, DATA, EpochState(ALL, progress), plan, np.random.RandomState(0))
    assert progress.epochs == 3  # of the last fit
    assert progress.loss_curve == pytest.approx([3, 2, 1.95, 1.94, 9])
    assert progress.rows_seen == 5 * 12
    assert progress.stalled == 3


def test_a_single_epoch_is_no_failure_to_converge():
    progress, _, exhausted = fit(Losses(1), Plan(1, 0.1, 2, one_epoch=True))
    assert (progress.epochs, exhausted) == (1, False)


@pytest.mark.parametrize(("every", "epochs"), [(0, []), (1, [1, 2, 3, 4]), (3, [1, 3])])
def test_a_printer_tells_of_epochs_and_stalls(every, epochs, capsys):
    device, state = Losses(*[1.0] * 9), EpochState(ALL, Progress())
    fit_epochs(device, DATA, state, PLAN, np.random.RandomState(0), printer=Printer(every))
    lines = [f"Iteration {epoch}, loss = 1.00000000" for epoch in epochs]
    if every:
        stall = "did not improve more than tol=0.100000 for 2 consecutive epochs. Stopping."
        lines.append(f"Training loss {stall}")
    assert capsys.readouterr().out.splitlines() == lines


# ---- which rows ----------------------------------------------------------------------------------


def test_each_epoch_shuffles_the_order_of_the_one_before():
    device, random_state, order = Losses(3, 2, 1), np.random.RandomState(0), ALL
    fit(device, Plan(3, 0.1, 2))
    for visited in device.visited:
        order = order[random_state.permutation(12)]
        assert visited == order.tolist()
    device = Losses(3, 2, 1)
    fit(device, Plan(3, 0.1, 2, shuffle=False))
    assert device.visited == [ALL.tolist()] * 3


def test_batches_without_weight_are_not_visited():
    """But their rows count as seen."""
    weights = np.ones(12)
    weights[4:8] = 0
    device = Losses(1)
    progress, _, _ = fit(device, Plan(1, 0.1, 2, shuffle=False), DATA._replace(weights=weights))
    assert device.visited == [[0, 1, 2, 3, 8, 9, 10, 11]]
    assert progress.rows_seen == 12


def test_batches_with_weight():
    order = np.array([4, 0, 3, 1, 2, 5, 6])
    weights = np.array([0.0, 0, 0, 0, 1, 0, 2])
    assert batches_with_weight(order, weights, 2).tolist() == [4, 0, 6]
    assert batches_with_weight(order, weights, 3).tolist() == [4, 0, 3, 6]
    assert batches_with_weight(order, weights, 10).tolist() == order.tolist()


# ---- L-BFGS --------------------------------------------------------------------------------------


class Bowl:
    """A device whose loss is Σ (p - 3)², in float32."""

    dtype = np.dtype(np.float32)

    def __init__(self, interrupted_at=None):
        self.seen, self.interrupted_at = [], interrupted_at

    network = Network((2, 1), "relu", "squared_error")
    regularization = Regularization()

    def sums(self, rows, parameters):
        if len(self.seen) == self.interrupted_at:
            raise KeyboardInterrupt
        error = np.array([1, 30, 900]) ** 0.5 * (parameters - 3)
        self.seen.append(float(error @ error))
        gradient = 2 * np.array([1, 30, 900]) ** 0.5 * error
        return Sums(self.seen[-1], 1.0, gradient.astype(self.dtype))


def minimise(device, **settings):
    settings = {"max_iter": 100, "max_fun": 1000, "tol": 1e-9} | settings
    return fit_lbfgs(device, np.zeros(3, np.float32), DATA, **settings)


def test_lbfgs_finds_the_minimum():
    found = minimise(Bowl())
    np.testing.assert_allclose(found.x, 3, rtol=1e-6)
    assert found.nit < 100


@pytest.mark.parametrize("limit", [{"max_iter": 3}, {"max_fun": 3}, {"tol": 1e9}], ids=str)
def test_lbfgs_stops_at_its_limits(limit):
    device = Bowl()
    found = minimise(device, **limit)
    assert found.nit <= 3
    assert found.fun > 1e-3
    assert len(device.seen) < 12


def test_an_interrupt_of_lbfgs_keeps_the_least_loss():
    device = Bowl(interrupted_at=5)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        found = minimise(device)
    assert found.fun == min(device.seen) < device.seen[0]
    assert found.x.dtype == device.dtype
    assert Bowl().sums(DATA, found.x).loss == pytest.approx(found.fun, rel=1e-5)


def test_lbfgs_records_every_iteration():
    progress = Progress(validation_losses=[], scores=[], best_score=-np.inf)
    found = minimise(
        Bowl(), validate=lambda x: (float(x[0]), -float(x[0])), progress=progress, max_iter=5
    )
    assert len(progress.validation_losses) == found.nit
    assert progress.validation_losses[-1] == np.float32(found.x[0])
    assert progress.best_epoch == 1 + np.argmin(progress.validation_losses)


def test_an_interrupt_before_there_is_anything_to_keep():
    with pytest.raises(KeyboardInterrupt):
        minimise(Bowl(interrupted_at=0))


# ---- interrupts of epochs ------------------------------------------------------------------------


def test_an_interrupt_keeps_what_was_reached():
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        progress, _, exhausted = fit(Losses(3, 2, KeyboardInterrupt()))
    assert progress.loss_curve == [3, 2]
    assert not exhausted


def test_other_errors_are_not_held_back():
    with pytest.raises(MemoryError):
        fit(Losses(3, MemoryError()))
