"""What is beyond scikit-learn changes a fit where it is asked for, and nothing where it is not."""

import numpy as np
import pytest
from designs import covering
from tasks import DEVICES, OPTIONS, STOPS, TASKS, left_behind

from fastmlp.devices import cpu

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:lbfgs failed")

every_option = pytest.mark.parametrize("option", OPTIONS)


def same(one, other):
    return all(map(np.array_equal, one, other))


def test_the_table_has_every_parameter():
    """Except those that change no result."""
    ours, theirs = (
        {name for task in TASKS.values() for name in getattr(task, side)().get_params()}
        for side in ("ours", "theirs")
    )
    tried = {name for _, settings, _ in OPTIONS.values() for name in settings}
    assert ours - theirs - {"device", "n_jobs", "precision"} <= tried


@covering("option, dtype, device", OPTIONS, [np.float32, np.float64], DEVICES)
def test_it_changes_the_result(option, dtype, device):
    task, settings, along = OPTIONS[option]
    plain, _ = left_behind(task, dtype, device=device, **along)
    changed, _ = left_behind(task, dtype, device=device, **along, **settings)
    assert not same(changed, plain)
    assert all(array.dtype == dtype for array in changed[:-1])


@every_option
def test_at_its_default_it_changes_nothing(option):
    """Neither the result nor the random numbers that are drawn."""
    task, settings, along = OPTIONS[option]
    plain, drawn = left_behind(task, **along)
    defaults = {name: getattr(TASKS[task].ours(), name) for name in settings}
    left_alone, drawn_then = left_behind(task, **{**along, **defaults})
    if not defaults.keys() & along.keys():
        assert same(left_alone, plain)
        assert all(map(np.array_equal, drawn, drawn_then))


@every_option
@pytest.mark.slow
@pytest.mark.compiled
def test_threads_change_no_bit(option, monkeypatch):
    task, settings, along = OPTIONS[option]
    monkeypatch.setattr(cpu, "TEAM_WORK", 0)
    results = [left_behind(task, n_jobs=n_jobs, **along, **settings)[0] for n_jobs in (1, 2, 3)]
    for result in results[1:]:
        assert same(result, results[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_rows_of_its_own_to_validate(early_stopping, device):
    """They change when training stops, or nothing but what is recorded."""
    X, y, _ = TASKS["binary"].data()
    own = {"X_val": X[:20], "y_val": y[:20]}
    settings = STOPS | {"early_stopping": early_stopping, "device": device}
    without, drawn = left_behind("binary", **settings)
    with_them, drawn_then = left_behind("binary", fit=own, **settings)
    assert same(with_them, without) is not early_stopping
    assert all(map(np.array_equal, drawn, drawn_then)) is not early_stopping
