"""What stands in Numba's simulator for lanes that work together, and for copies on their way.

Threads of the simulator are Python's, 32 of them for a warp; each is one of a block's.
"""

import threading

import numpy as np


class _Warp:
    """Where the lanes of a warp put down what they show, for two turns."""

    def __init__(self):
        self.meeting, self.shown = threading.Barrier(32), ([None] * 32, [None] * 32)
        self.turns, self.threads = [0] * 32, [None] * 32


_warps_lock = threading.Lock()


def of_all_lanes(value):
    """Return this lane's number, and what all 32 lanes of the warp show: each must call it."""
    thread = threading.current_thread()
    number, lane = divmod(thread.thread_id, 32)
    with _warps_lock:
        warps = vars(thread._manager).setdefault("warps", {})
        if number not in warps:
            warps[number] = _Warp()
    warp = warps[number]
    shown = warp.shown[warp.turns[lane] % 2]
    warp.turns[lane] += 1
    shown[lane], warp.threads[lane] = value, thread
    try:
        warp.meeting.wait(timeout=120)  # an error, if a lane never comes
    except threading.BrokenBarrierError:
        # The simulator may miss the error of a thread that has ended by it.
        errors = [other.exception for other in warp.threads if other and other.exception]
        raise next((error for error, _ in errors), None) or RuntimeError("a lane waits") from None
    return lane, shown


class Arriving(threading.local):
    """A thread's copies to shared memory: they arrive when they are waited for, in groups."""

    def __init__(self):
        self._groups, self._begun = [], []

    def begin(self, to, place, numbers):
        """Begin a copy; until it arrives, what is there has no meaning."""
        to[place] = np.nan
        self._begun.append((to, place, numbers))

    def commit(self):
        """Make a group of the copies begun."""
        self._groups.append(self._begun)
        self._begun = []

    def wait(self, groups):
        """Let groups arrive until at most `groups` are on their way."""
        while len(self._groups) > groups:
            for to, place, numbers in self._groups.pop(0):
                to[place] = numbers
