"""Learning rates over time, seen from outside: in the steps of one bias.

All rows are 0, and the targets so large that the slope of |p - t| is -1 whatever the bias is. So
the bias grows by the learning rate with each batch.
"""

import numpy as np
import pytest
from tasks import DEVICES

from fastmlp import MLPRegressor

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
