"""Fits that go on side by side: each lane is a thread, in which one fit follows another.

Devices ask here what the fit of this thread may use, whether it was interrupted, and who trains
along with it. Outside of lanes there is no limit, no interrupt and no company.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

#: Most fits at a time that may train in one launch of a GPU, of which each takes a thread...
MOST_TOGETHER = 256
#: ... and most of those that launch by themselves: more would only fill its memory.
MOST_ALONE = 4

_LANE: ContextVar[Lane | None] = ContextVar("lane", default=None)


class Fold(NamedTuple):
    """Rows of a fit that were copied from others: X is whole[numbers].

    A device may read them in the whole, which the folds of all fits have in common.
    """

    X: Any
    whole: Any
    numbers: np.ndarray


class Lanes:
    """All lanes of one call.

    Parameters
    ----------
    threads : int
        Most threads of one fit.
    plain, joining : int
        How many lanes there are in which fits train by themselves, and how many in which small
        networks may train together: there, those that are ready wait for the others.

    Attributes
    ----------
    interrupted : bool
        Whether no fit may begin or go on.
    closed : Event
        Set when no fit begins in any lane any more.
    """

    def __init__(self, threads: int, plain: int, joining: int = 0):
        self.threads = threads
        self.interrupted = False
        self.closed = threading.Event()
        self._lock = threading.Lock()
        self.turns = threading.Semaphore(MOST_ALONE)
        self.meetings: list[Meeting] = []
        self.undecided = joining  # how many lanes
        self._shared: dict[Any, Any] = {}
        self.all = [Lane(self, number, number >= plain) for number in range(plain + joining)]

    def interrupt(self) -> None:
        """Let no fit begin any more, and end those that go on as Ctrl-C does."""
        self.interrupted = True

    def shared(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what the fits of all lanes have in common under a key; make it the first time."""
        with self._lock:
            if key not in self._shared:
                self._shared[key] = make()
            return self._shared[key]

    def settle(self, change: Callable[[], None]) -> None:
        """Make a change; then begin the work of every meeting whose members are all there."""
        with self._lock:
            change()
            if self.undecided == 0:
                for meeting in self.meetings:
                    meeting.begin_if_complete()


class Lane:
    """One thread, and the fit that goes on in it."""

    def __init__(self, lanes: Lanes, number: int, joining: bool):
        self.lanes, self.number, self.joining = lanes, number, joining
        self.open = True
        self.undecided = joining  # whether its fit may still come to a meeting
        self.fold: Fold | None = None
        self.meeting: Meeting | None = None
        self.member: Any = None  # what its fit brings to the meeting
        self._is_alone = False
        self._turn = threading.Event()
        self._party: list[Lane] | None = None
        self._error: BaseException | None = None

    @contextmanager
    def fit(self, fold: Fold | None) -> Iterator[None]:
        """Make this the lane of the current thread, for one fit."""
        self.fold = fold
        before = _LANE.set(self)
        try:
            yield
        finally:
            _LANE.reset(before)
            self.lanes.settle(self._leave)

    def close(self) -> None:
        """Record that no further fit begins in this lane."""

        def ends():
            self._decide()
            self.open = False
            if not any(lane.open for lane in self.lanes.all):
                self.lanes.closed.set()

        self.lanes.settle(ends)

    def go_alone(self) -> None:
        """Record that the fit trains by itself, and wait until few others do."""
        self.lanes.settle(self._decide)  # before it waits: nobody waits for it any more
        self.lanes.turns.acquire()
        self._is_alone = True

    def join(self, meeting: Meeting, member: Any) -> None:
        """Become one of those for whom a meeting waits, until the fit ends."""

        def joins():
            self._decide()
            self.meeting, self.member = meeting, member
            meeting.members.add(self)
            if meeting not in self.lanes.meetings:
                self.lanes.meetings.append(meeting)

        self.lanes.settle(joins)

    def meet(self, work: Callable[[list[Lane]], None]) -> None:
        """Wait for all members; one of them calls `work` with all lanes, and then all go on.

        Raises
        ------
        BaseException
            What `work` raises, in all threads.
        """
        meeting = self.meeting
        assert meeting is not None
        self.lanes.settle(lambda: meeting.waiting.append(self))
        self._turn.wait()
        self._turn.clear()
        party, self._party = self._party, None
        if party is not None:
            self._do(work, party)
        if self._error is not None:
            raise self._error

    def _do(self, work, party):
        """Do the work of all, and let the others go on."""
        try:
            work(party)
        except BaseException as error:
            for lane in party:
                lane._error = error
        for lane in party[1:]:
            lane._turn.set()

    def lead(self, party: list[Lane]) -> None:
        """Let this lane's thread do the work of a meeting."""
        self._party = party
        self._turn.set()

    def _leave(self):
        if self.meeting is not None:
            self.meeting.members.discard(self)
        if self._is_alone:
            self.lanes.turns.release()
        self.fold = self.meeting = self.member = self._error = None
        self._is_alone = False
        if self.joining and not self.undecided:
            self.undecided = True
            self.lanes.undecided += 1

    def _decide(self):
        if self.undecided:
            self.undecided = False
            self.lanes.undecided -= 1


class Meeting:
    """Fits that wait for one another before each epoch, to train in one go.

    Parameters
    ----------
    data : object
        What they have in common.

    Attributes
    ----------
    members, waiting : set and list of Lane
        Those whose fits go on, and those of them who wait.
    """

    def __init__(self, data: Any):
        self.data = data
        self.members: set[Lane] = set()
        self.waiting: list[Lane] = []

    def begin_if_complete(self) -> None:
        """If all members wait, let the first of them do the work for all."""
        if self.waiting and len(self.waiting) == len(self.members):
            party, self.waiting = self.waiting, []
            party[0].lead(party)


def current() -> Lane | None:
    """Return the lane of this thread, or None."""
    return _LANE.get()


def most_threads() -> int | None:
    """Return how many threads a fit may have here; None if there is no limit."""
    lane = _LANE.get()
    return None if lane is None else lane.lanes.threads


def go_on() -> None:
    """Check that the fits of these lanes were not interrupted.

    Raises
    ------
    KeyboardInterrupt
        If they were: Python raises it in the main thread alone.
    """
    lane = _LANE.get()
    if lane is not None and lane.lanes.interrupted:
        raise KeyboardInterrupt
