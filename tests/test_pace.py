"""How walks over rows are cut into calls, and how the faster number of threads is found.

A clock of the test's own decides what a call costs.
"""

import os
import time

import pytest

from fastmlp.devices.cpu import cores, pace
from fastmlp.devices.cpu.pace import Pace


def walk(monkeypatch, cost, rows, step=1, members=1, idle=None, together=False):
    """(rows, threads, seconds) of each call; `cost` gives a step's seconds: cost(threads, row).

    `idle` cores are what the system tells.
    """
    clock, called, done = [0.0], [], 0
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(pace, "idle_cores", lambda: idle)
    own = Pace(step, members)
    if together:
        own.together()
    for begin, end, threads in own.runs(0, rows):
        assert begin == done
        done = end
        seconds = -(-(end - begin) // step) * cost(threads, begin)
        clock[0] += seconds
        called.append((end - begin, threads, seconds))
    return called


def rows_by(called, threads):
    return sum(rows for rows, by, _ in called if by == threads)


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 12_345])
def test_calls_are_whole_steps_and_cover_every_row(monkeypatch, rows):
    called = [n for n, _, _ in walk(monkeypatch, lambda *_: 1e-3, rows, step=10)]
    assert sum(called) == rows
    assert all(n % 10 == 0 for n in called[:-1])
    assert min(called, default=1) > 0


@pytest.mark.parametrize("cost", [1e-9, 1e-5, 1e-3, 0.1, 5.0])
def test_calls_are_short_enough_to_hear_an_interrupt(monkeypatch, cost):
    """A fifth of a second, or a single step; and not many more calls than that takes."""
    called = walk(monkeypatch, lambda *_: cost, 10_000)
    assert max(seconds for _, _, seconds in called) <= max(0.2, cost) * (1 + 1e-9)
    fewest = 10_000 / max(1, 0.2 // cost)
    assert len(called) <= 10 + 2 * fewest


def test_one_thread_has_nothing_to_try(monkeypatch):
    called = walk(monkeypatch, lambda *_: 1e-3, 50_000, idle=3)
    assert {threads for _, threads, _ in called} == {1}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("idle", [None, 3])
@pytest.mark.parametrize(
    ("cost", "expected"),
    [({1: 1e-3, 4: 5e-4}, 4), ({1: 1e-3, 4: 1.1e-3}, 1), ({1: 1e-3, 4: 5e-3}, 1)],
    ids=["faster", "slower", "much slower"],
)
def test_what_is_faster_is_kept(monkeypatch, cost, expected, idle, together):
    called = walk(monkeypatch, lambda threads, _: cost[threads], 1_000_000, 10, 4, idle, together)
    assert max(seconds for _, _, seconds in called) < 1.1
    assert rows_by(called, expected) > 0.75 * 1_000_000  # a trial may last where it hardly loses
    assert sum(seconds for _, _, seconds in called) < 1.05 * 100_000 * min(cost.values()) + 1.5
    assert min(rows_by(called, threads) for threads in (1, 4)) > 0  # the other one is tried


@pytest.mark.parametrize("idle", [None, 1])
def test_a_machine_that_becomes_busy_is_noticed(monkeypatch, idle):
    def cost(threads, row):
        return 1e-3 if threads == 1 else 6e-4 if row <= 50_000 else 3e-3

    called = walk(monkeypatch, cost, 100_000, members=2, idle=idle)
    rows = late = 0
    for count, threads, _ in called:
        late += count if threads == 2 and rows > 50_000 else 0
        rows += count
    assert late < 0.05 * 50_000


def test_a_machine_that_becomes_idle_is_noticed(monkeypatch):
    def cost(threads, row):
        return 1e-3 if threads == 1 else 3e-3 if row <= 50_000 else 6e-4

    called = walk(monkeypatch, cost, 200_000, members=2)
    assert rows_by(called, 2) > 100_000


FASTER = {1: 1e-3, 2: 6e-4, 3: 5e-4}


@pytest.mark.parametrize("together", [False, True])
def test_idle_cores_are_used_within_tens_of_milliseconds(monkeypatch, together):
    """Of a fit that takes a tenth of a second on one thread."""
    called = walk(
        monkeypatch, lambda threads, _: FASTER[threads], 100, 1, 2, idle=1, together=together
    )
    assert sum(seconds for _, _, seconds in called) < 0.075
    assert called[0][1] == (2 if together else 1)


@pytest.mark.parametrize("together", [False, True])
def test_cores_that_are_not_idle_are_left_alone(monkeypatch, together):
    called = walk(
        monkeypatch, lambda threads, _: FASTER[threads], 10_000, 1, 3, idle=0, together=together
    )
    assert rows_by(called, 1) == 10_000


def test_a_team_is_as_large_as_there_are_idle_cores(monkeypatch):
    called = walk(monkeypatch, lambda threads, _: FASTER[threads], 10_000, 1, 3, idle=1)
    assert rows_by(called, 3) == 0
    assert rows_by(called, 2) > 9_000


def test_one_slow_call_of_a_team_is_forgiven_where_cores_are_idle(monkeypatch):
    def cost(threads, row):
        return 5e-3 if threads == 2 and 5000 <= row < 5200 else FASTER[threads]

    called = walk(monkeypatch, cost, 10_000, 1, 2, idle=1)
    assert rows_by(called, 2) > 9_000


def test_idle_cores_of_this_system(monkeypatch):
    idle = cores.idle_cores()
    assert idle is None or 0 <= idle < (os.cpu_count() or 1)
    monkeypatch.setattr(cores._Load, "running", lambda self: 1000)
    assert cores.idle_cores() == 0
    monkeypatch.setattr(cores._Load, "running", lambda self: 0)
    assert cores.idle_cores() is None
