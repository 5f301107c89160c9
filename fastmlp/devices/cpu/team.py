"""Threads that meet inside compiled code.

Each member of a team is a Python thread inside one compiled call, which lasts for a run of batches;
between the phases of a batch the members meet at a barrier. Numba's own parallel loops start and
join their threads in every loop, abort the process when two Python threads enter them at once, and
die in a forked child. Here no thread outlives the fit that it works for.

What a team works on belongs to its first member, the caller's thread. The others *enter* a piece of
work before they touch its memory, and *leave* it when they never will again. The first member
*ends* it: who has not entered by then never will, and who has entered is waited for. So a call
returns, by whatever way, only when its memory is its caller's alone; and no call waits for a thread
that never starts.
"""

import _thread
import contextlib
import os
import queue
import threading
import weakref
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config

from ..._jit import JIT_DISABLED, entry, intrinsic, kernel
from .ending import PRESENCE

# Places in a team's state, two cache lines apart: waiting on one does not slow writing another.
_ARRIVED, _ROUND, _ENDED, _TAKEN = 0, 16, 32, 48
#: After these, one place for each member: the sum of what has become of its presence.
_PRESENCE = 64
_ENTERED, _LEFT, _CLOSED = 1, 2, 4
#: Looks at the barrier before a waiting member lets other threads have the core. A meeting on idle
#: cores takes a microsecond; on a busy machine, spinning longer takes time from whoever is awaited.
_PATIENCE = 2000
#: Most threads for each core, whatever was asked for: more than one a core is for trying out.
MOST_PER_CORE = 4
#: How long a new helper may take until it runs, before a meeting does without it.
_START_SECONDS = 1.0


class Member(NamedTuple):
    """One thread's place in its team."""

    rank: int
    members: int
    state: np.ndarray


def _add_python(state, place, value):
    state[place] += value
    return state[place] - value


@intrinsic(_add_python)
def _atomic_add(typingctx, state, place, value):
    """Add to a number of the state; returns what it was before."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [args[1]]), args[2], "acq_rel")

    return types.int64(state, types.intp, types.int64), codegen


@intrinsic(lambda state, place: state[place])
def _atomic_load(typingctx, state, place):
    """A number of the state, as the other members have left it."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return types.int64(state, types.intp), codegen


@intrinsic(lambda: None)
def _yield_core(typingctx):
    """Let another thread have the core."""
    name = "SwitchToThread" if os.name == "nt" else "sched_yield"

    def codegen(context, builder, signature, args):
        function_type = ir.FunctionType(ir.IntType(32), [])
        module = builder.module
        function = module.globals.get(name) or ir.Function(module, function_type, name)
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@kernel
def meet(member):
    """Wait until all members are here; False if one has left, or the first has ended the work."""
    state = member.state
    if member.members == 1:
        return True
    this_round = _atomic_load(state, _ROUND)
    if _atomic_add(state, _ARRIVED, 1) == member.members - 1:
        _atomic_add(state, _ARRIVED, -member.members)
        _atomic_add(state, _ROUND, 1)
        return True
    looks = 0
    while _atomic_load(state, _ROUND) == this_round:
        looks += 1
        if looks > _PATIENCE:
            # Who leaves after the last meeting leaves after this round, too.
            if _is_given_up(state) and _atomic_load(state, _ROUND) == this_round:
                return False
            _yield_core()
    return True


@kernel
def _is_given_up(state):
    """Whether the work has ended, or a member has left it: then not all will ever meet again."""
    given_up = _atomic_load(state, _ENDED) != 0
    for place in range(_PRESENCE, state.size):
        given_up |= _atomic_load(state, place) & _LEFT != 0
    return given_up


@kernel
def share(member, count):
    """The member's share [begin, end) of `count` chunks of work."""
    return (
        member.rank * count // member.members,
        (member.rank + 1) * count // member.members,
    )


@kernel
def take(member, count):
    """The next of `count` chunks that nobody has taken yet; `count` where there is none."""
    if _atomic_load(member.state, _ENDED) != 0:
        return count
    return min(_atomic_add(member.state, _TAKEN, 1), count)


@entry
def enter(state, rank):
    """Whether a helper may begin: the work has not ended."""
    return _atomic_add(state, _PRESENCE + rank, _ENTERED) == 0


@entry
def leave(state, rank):
    """Say that a helper will not touch the work's memory any more."""
    _atomic_add(state, _PRESENCE + rank, _LEFT)


@entry
def end(state):
    """End the work: let nobody enter any more, and wait until all who have entered have left.

    Python hears no signal in compiled code, so that no exception can cut this short.
    """
    _atomic_add(state, _ENDED, 1)
    for place in range(_PRESENCE + 1, state.size):
        if _atomic_add(state, place, _CLOSED) == _ENTERED:
            looks = 0
            while _atomic_load(state, place) & _LEFT == 0:
                looks += 1
                if looks > _PATIENCE:
                    _yield_core()


#: What may be compiled ahead.
ENTRIES = (enter, leave, end)


def alone() -> Member:
    """A team of one."""
    return Member(0, 1, np.zeros(_PRESENCE + 1, np.int64))


def usable_threads(n_jobs: int | None) -> int:
    """How many threads a fit may use: what the user asked for, within what the process may use.

    NUMBA_NUM_THREADS counts, which joblib sets in its worker processes too.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    cores = min(cores, config.NUMBA_NUM_THREADS)
    if n_jobs is None:
        return cores
    wanted = cores + 1 + int(n_jobs) if n_jobs < 0 else int(n_jobs)
    return max(1, min(wanted, MOST_PER_CORE * cores))


class _Reservations:
    """How many helping threads all teams of this process have together.

    Fits that run at once, in threads of the user's, share the cores instead of each taking all. A
    reservation ends with its team, whatever becomes of it.
    """

    def __init__(self):
        self._forget()
        if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self):
        self._lock, self._counts = threading.Lock(), weakref.WeakKeyDictionary()

    def reserve(self, team, n_jobs: int | None) -> int:
        """Reserve helpers for a team: as many as were asked for, or as there are idle cores."""
        wanted = usable_threads(n_jobs) - 1
        with self._lock:
            granted = wanted if n_jobs is not None else max(0, wanted - self.busy())
            self._counts[team] = granted
        return granted

    def busy(self) -> int:
        """How many helpers are reserved."""
        return sum(self._counts.values())


_RESERVED = _Reservations()


class _Helper:
    """A thread that does what it is given, one piece of work after the other, until it is None."""

    def __init__(self):
        self.tasks = queue.SimpleQueue()
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self._patience = _START_SECONDS

    def start(self):
        # `threading.Thread` waits until the new thread runs: on a busy machine for milliseconds,
        # and for ever where its first frame finds no memory.
        _thread.start_new_thread(self._live, ())

    def is_awake(self) -> bool:
        """Whether the thread runs; a new one is waited for, but only once."""
        if self._asleep is None:
            return True
        if self._asleep.acquire(timeout=self._patience):
            self._asleep = None
        self._patience = 0
        return self._asleep is None

    def _live(self):
        self._asleep.release()
        while (task := self.tasks.get()) is not None:
            with contextlib.suppress(BaseException):  # of memory that has run out: it has left
                _take_part(*task)
            del task  # what a fit has used ends with the fit


def _take_part(work, member, errors):
    if enter(member.state, member.rank):
        try:
            work(member)
        except BaseException as error:
            errors.append(error)
        finally:
            leave(member.state, member.rank)


class Team:
    """The threads that a device may use; they start when first needed and end with the device.

    Parameters
    ----------
    n_jobs : int or None
        Most members; None for as many as there are idle cores.
    """

    def __init__(self, n_jobs: int | None):
        self._helpers: list[_Helper] = []
        self._process = os.getpid()
        weakref.finalize(self, _dismiss, self._helpers)
        # As plain Python, the barrier's arithmetic is not atomic.
        self._most = _RESERVED.reserve(self, 1 if JIT_DISABLED else n_jobs)

    @property
    def size(self) -> int:
        """Most members."""
        return 1 + self._most

    def run(self, work, members: int, meets: bool = True):
        """Let each member do ``work(member)``; returns what this thread, the first, returned.

        Members that `meet` must all be there; so those that cannot be started are done without, and
        `work` finds fewer members. Of others, any number may enter before the first one has ended.
        When this returns or raises, no other member is at work.
        """
        PRESENCE.check()
        helpers = self._awake(members - 1, meets) if members > 1 else []
        if not helpers:
            return work(alone())
        state = np.zeros(_PRESENCE + 1 + len(helpers), np.int64)
        first = Member(0, 1 + len(helpers), state)
        errors = []
        try:
            for rank, helper in enumerate(helpers, 1):
                helper.tasks.put((work, first._replace(rank=rank), errors))
            result = work(first)
        finally:
            end(state)
        if errors:
            try:
                raise errors[0]
            finally:
                del errors  # whose traceback holds this frame, and so the team
        return result

    def _awake(self, count, meets):
        """Up to `count` helpers; where members meet, those that are known to run."""
        if self._process != os.getpid():  # the helpers of before the fork are not in this process
            self._helpers.clear()
            self._process = os.getpid()
        while len(self._helpers) < count:
            compile_all()
            self._helpers.append(_Helper())
            try:
                self._helpers[-1].start()
            except (RuntimeError, MemoryError):  # the system has no thread, or no memory to give
                self._helpers.pop()
                break
        helpers = self._helpers[:count]
        return [helper for helper in helpers if helper.is_awake()] if meets else helpers


def compile_all():
    """Compile what nothing may interrupt later."""
    state = np.zeros(_PRESENCE + 1, np.int64)
    enter(state, 0)
    leave(state, 0)
    end(state)


def _dismiss(helpers):
    for helper in helpers:
        helper.tasks.put(None)


#: The team for work that is too little for more than one thread.
ALONE = Team(1)
