"""What is beyond scikit-learn changes a fit where it is asked for, and nothing where it is not."""

import numpy as np
import pytest
from designs import covering
from tasks import DEVICES, TASKS

from fastmlp import losses, optimizers, schedules
from fastmlp.activations import Maxout
from fastmlp.devices import cpu

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:lbfgs failed")

STOPS = {"early_stopping": True, "n_iter_no_change": 1, "max_iter": 12, "learning_rate_init": 0.05}
#: Name of the task, and settings that differ from the defaults; what goes along with them is
#: listed apart.
OPTIONS = {
    **{
        f"solver={name}": ("multiclass", {"solver": name}, {})
        for name in optimizers.OPTIMIZERS
        if name != "adam"
    },
    **{
        f"learning_rate={name}": ("squared_error", {"learning_rate": name}, {"max_iter": 4})
        for name in schedules.SCHEDULES
        if name not in (*schedules.SCIKIT_LEARNS, "step", "plateau")
    },
    "learning_rate=step": ("binary", {"learning_rate": schedules.StepDecay(every=1)}, {}),
    "learning_rate=plateau": (
        "binary",
        {"learning_rate": schedules.Plateau(patience=0, threshold=10.0)},
        {"max_iter": 4},
    ),
    "loss=focal": ("multiclass", {"loss": "focal"}, {}),
    "loss=tweedie": ("poisson", {"loss": "tweedie"}, {}),
    "loss=Tweedie(1.2)": ("poisson", {"loss": losses.Tweedie(1.2)}, {}),
    "class_weight=dict": ("multiclass", {"class_weight": {10: 3.0}}, {}),
    "class_weight=balanced": ("multiclass", {"class_weight": "balanced"}, {}),
    "averaging=ema": ("binary", {"averaging": "ema"}, {}),
    "averaging=swa": ("binary", {"averaging": "swa", "averaging_start": 1}, {}),
    "scoring=loss": ("binary", {"scoring": "loss"}, STOPS),
    "scoring=name": ("multiclass", {"scoring": "neg_log_loss"}, STOPS),
    "activation": ("binary", {"activation": Maxout(2)}, {}),
    "output_activation": ("binary", {"output_activation": "hard_sigmoid"}, {}),
    "label_smoothing": ("multiclass", {"label_smoothing": 0.1}, {}),
    "weight_init": ("squared_error", {"weight_init": "he_normal"}, {}),
    "l1": ("squared_error", {"l1": 0.1}, {}),
    "weight_decay": ("squared_error", {"weight_decay": 0.1}, {}),
    "clip_norm": ("squared_error", {"clip_norm": 0.01}, {"solver": "sgd"}),
    "max_norm": ("squared_error", {"max_norm": 0.1}, {}),
    "dropout": ("squared_error", {"dropout": 0.3}, {}),
    "input_dropout": ("squared_error", {"input_dropout": 0.3}, {}),
}
every_option = pytest.mark.parametrize("option", OPTIONS)


def fitted(task, dtype=np.float64, fit=None, **settings):
    """Everything that a fit leaves behind: weights, curves, and the state of the generator."""
    task = TASKS[task]
    X, y, _ = task.data(dtype)
    random_state = np.random.RandomState(0)
    settings = {"hidden_layer_sizes": (5,), "max_iter": 3, "batch_size": 16} | settings
    estimator = task.ours(random_state=random_state, **settings).fit(X, y, **fit or {})
    arrays = [*estimator.coefs_, *estimator.intercepts_, estimator.loss_curve_]
    return [np.asarray(array) for array in arrays], random_state.get_state()[1:]


def same(one, other):
    return all(map(np.array_equal, one, other))


@covering("option, dtype, device", OPTIONS, [np.float32, np.float64], DEVICES)
def test_it_changes_the_result(option, dtype, device):
    task, settings, along = OPTIONS[option]
    plain, _ = fitted(task, dtype, device=device, **along)
    changed, _ = fitted(task, dtype, device=device, **along, **settings)
    assert not same(changed, plain)
    assert all(array.dtype == dtype for array in changed[:-1])


@every_option
def test_at_its_default_it_changes_nothing(option):
    """Neither the result nor the random numbers that are drawn."""
    task, settings, along = OPTIONS[option]
    plain, drawn = fitted(task, **along)
    defaults = {name: getattr(TASKS[task].ours(), name) for name in settings}
    left_alone, drawn_then = fitted(task, **{**along, **defaults})
    if not defaults.keys() & along.keys():
        assert same(left_alone, plain)
        assert all(map(np.array_equal, drawn, drawn_then))


@every_option
@pytest.mark.slow
@pytest.mark.compiled
def test_threads_change_no_bit(option, monkeypatch):
    task, settings, along = OPTIONS[option]
    monkeypatch.setattr(cpu, "TEAM_WORK", 0)
    results = [fitted(task, n_jobs=n_jobs, **along, **settings)[0] for n_jobs in (1, 2, 3)]
    for result in results[1:]:
        assert same(result, results[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_rows_of_its_own_to_validate(early_stopping, device):
    """They change when training stops, or nothing but what is recorded."""
    X, y, _ = TASKS["binary"].data()
    own = {"X_val": X[:20], "y_val": y[:20]}
    settings = STOPS | {"early_stopping": early_stopping, "device": device}
    without, drawn = fitted("binary", **settings)
    with_them, drawn_then = fitted("binary", fit=own, **settings)
    assert same(with_them, without) is not early_stopping
    assert all(map(np.array_equal, drawn, drawn_then)) is not early_stopping
