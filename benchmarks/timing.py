"""How times are taken: in turns, so that a busy spell falls on all sides alike."""

import statistics
import time
from collections.abc import Callable
from functools import partial


def once(work: Callable, clock=time.process_time) -> float:
    """Seconds of one call.

    CPU time, unless told otherwise: on one thread it is the time that the call takes on a quiet
    machine, and that other processes make it wait does not count.
    """
    start = clock()
    work()
    return clock() - start


def alternate(works: dict, rounds: int, clock=time.process_time) -> dict:
    """Seconds of every call of each work, a list for each; the works take turns."""
    times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(once(work, clock))
    return times


def medians(times: dict, scale: float = 1.0) -> dict:
    """Median of each list, times `scale`."""
    return {name: scale * statistics.median(values) for name, values in times.items()}


def ratio(slow: list, fast: list) -> dict:
    """How many times as long `slow` took as `fast`, turn by turn: median, least and most."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def looped(work: Callable) -> Callable:
    """`work` as a function of how many times it is called."""

    def loop(times):
        for _ in range(times):
            work()

    return loop


def repeats(loop: Callable, seconds: float, clock=time.process_time) -> int:
    """How many times a short work must be repeated to fill about `seconds`."""
    loop(1)  # compile, and fill the caches
    times = 1
    while (took := once(partial(loop, times), clock)) < seconds / 4:
        times *= 2
    return max(1, round(times * seconds / took))


def alternate_loops(loops: dict, rounds: int, seconds: float, clock=time.process_time) -> dict:
    """Seconds of one repetition of each, a list for each; they take turns of about `seconds`."""
    times = {name: repeats(loop, seconds, clock) for name, loop in loops.items()}
    turns = {name: partial(loop, times[name]) for name, loop in loops.items()}
    return {
        name: [took / times[name] for took in values]
        for name, values in alternate(turns, rounds, clock).items()
    }
