"""How walks over rows are cut into calls, and how the faster number of threads is found.

A clock of the test's own decides what a call costs.
"""

import time

import pytest

from fastmlp.devices.cpu.pace import Pace


def walk(monkeypatch, cost, rows, step=1, members=1, **calls):
    """(rows, threads, seconds) of each call; `cost` gives a step's seconds: cost(threads, row)."""
    clock, called, done = [0.0], [], 0
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    for begin, end, threads in Pace(step, members).runs(0, rows):
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
    called = walk(monkeypatch, lambda *_: 1e-3, 50_000)
    assert {threads for _, threads, _ in called} == {1}


@pytest.mark.parametrize(
    ("cost", "expected"),
    [({1: 1e-3, 4: 5e-4}, 4), ({1: 1e-3, 4: 1.1e-3}, 1), ({1: 1e-3, 4: 5e-3}, 1)],
    ids=["faster", "slower", "much slower"],
)
def test_what_is_faster_is_kept(monkeypatch, cost, expected):
    called = walk(monkeypatch, lambda threads, _: cost[threads], 1_000_000, step=10, members=4)
    assert max(seconds for _, _, seconds in called) < 1.1
    assert rows_by(called, expected) > 0.75 * 1_000_000  # a trial may last where it hardly loses
    assert sum(seconds for _, _, seconds in called) < 1.05 * 100_000 * min(cost.values()) + 1.5
    assert min(rows_by(called, threads) for threads in (1, 4)) > 0  # the other one is tried


def test_a_machine_that_becomes_busy_is_noticed(monkeypatch):
    def cost(threads, row):
        return 1e-3 if threads == 1 else 6e-4 if row <= 50_000 else 3e-3

    called = walk(monkeypatch, cost, 100_000, members=2)
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
