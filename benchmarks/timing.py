"""How times are taken: in turns, so that a busy spell falls on all sides alike."""

import statistics
import time
from collections.abc import Callable


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


def repeats(work: Callable, seconds: float) -> int:
    """How often to call a short work so that it fills about `seconds`."""
    work()  # compile, and fill the caches
    took = min(once(work, time.perf_counter) for _ in range(3))
    return max(1, int(seconds / max(took, 1e-7)))
