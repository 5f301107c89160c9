"""Threads that synchronise inside compiled code.

Each member of a team is a Python thread inside one compiled call, which lasts for a run of batches;
between the phases of a batch the members meet at a barrier. Numba's own parallel loops start and
join their threads in every loop, abort the process when two Python threads enter them at once, and
do not work in a forked child. Here no thread outlives the fit that it works for.

The memory that a team works on belongs to its first member, the caller's thread. The others *enter*
a task before they touch its memory, and *leave* it when they will never touch it again. The first
member *ends* the task: members that have not entered by then never will, and it waits for those
that have. So when a call returns or raises, only its caller uses the memory; and no call waits for
a thread that never starts.
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
from .. import lanes
from .ending import PRESENCE

# Indices into a team's state, two cache lines apart: waiting on one does not slow writing another.
_ARRIVED, _ROUND, _ENDED, _TAKEN = 0, 16, 32, 48
#: After these, one number for each member: the sum of the flags below that are set for it.
_PRESENCE = 64
_ENTERED, _LEFT, _CLOSED = 1, 2, 4
#: How often a waiting member polls the barrier before it yields its core. A barrier on idle cores
#: takes a microsecond; on a busy machine, spinning longer takes time from the awaited threads.
_PATIENCE = 2000
#: Most threads per core, whatever was asked for: more than one per core is only for experiments.
MOST_PER_CORE = 4
#: How long a new helper may take to start, before a task that needs barriers runs without it.
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
    """Add to a number of the state; return its old value."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [args[1]]), args[2], "acq_rel")

    return types.int64(state, types.intp, types.int64), codegen


@intrinsic(lambda state, place: state[place])
def _atomic_load(typingctx, state, place):
    """Return a number of the state, as last written by any member."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return types.int64(state, types.intp), codegen


@intrinsic(lambda: None)
def _yield_core(typingctx):
    """Yield the core to another thread."""
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
    """Wait for all members at a barrier; return False if one has left or the work has ended."""
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
            # A member that leaves after the last barrier has also completed this round.
            if _is_given_up(state) and _atomic_load(state, _ROUND) == this_round:
                return False
            _yield_core()
    return True


@kernel
def _is_given_up(state):
    """Check whether the work has ended or a member has left: then not all will meet again."""
    given_up = _atomic_load(state, _ENDED) != 0
    for place in range(_PRESENCE, state.size):
        given_up |= _atomic_load(state, place) & _LEFT != 0
    return given_up


@kernel
def share(member, count):
    """Return the member's share [begin, end) of `count` chunks of work."""
    return (
        member.rank * count // member.members,
        (member.rank + 1) * count // member.members,
    )


@kernel
def take(member, count):
    """Take the next of `count` chunks that nobody has taken; return `count` if none is left."""
    if _atomic_load(member.state, _ENDED) != 0:
        return count
    return min(_atomic_add(member.state, _TAKEN, 1), count)


@entry
def enter(state, rank):
    """Enter the work as a helper; return whether it may begin, that is, the work has not ended."""
    return _atomic_add(state, _PRESENCE + rank, _ENTERED) == 0


@entry
def leave(state, rank):
    """Record that a helper will not touch the work's memory any more."""
    _atomic_add(state, _PRESENCE + rank, _LEFT)


@entry
def end(state):
    """End the work: let no member enter any more, and wait until those that entered have left.

    Python handles no signals during compiled code, so no exception can interrupt this.
    """
    _atomic_add(state, _ENDED, 1)
    for place in range(_PRESENCE + 1, state.size):
        if _atomic_add(state, place, _CLOSED) == _ENTERED:
            looks = 0
            while _atomic_load(state, place) & _LEFT == 0:
                looks += 1
                if looks > _PATIENCE:
                    _yield_core()


#: The entries that may be compiled ahead.
ENTRIES = (enter, leave, end)


def alone() -> Member:
    """Return the member of a team of one."""
    return Member(0, 1, np.zeros(_PRESENCE + 1, np.int64))


def usable_threads(n_jobs: int | None) -> int:
    """Return how many threads a fit may use: the user's wish, within the process's limits.

    NUMBA_NUM_THREADS is one of these limits; joblib also sets it in its worker processes. Another
    one is the share of a fit that goes on beside others.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    cores = min(cores, config.NUMBA_NUM_THREADS)
    most = lanes.most_threads()
    if n_jobs is None:
        return cores if most is None else min(cores, most)
    wanted = cores + 1 + int(n_jobs) if n_jobs < 0 else int(n_jobs)
    return max(1, min(wanted, MOST_PER_CORE * cores if most is None else most))


class _Reservations:
    """The number of helper threads of all teams in this process.

    Fits that run at the same time, in the user's own threads, share the cores instead of each
    taking all. A reservation ends with its team, however the team ends.
    """

    def __init__(self):
        self._forget()
        if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self):
        self._lock, self._counts = threading.Lock(), weakref.WeakKeyDictionary()

    def reserve(self, team, n_jobs: int | None) -> int:
        """Reserve helpers for a team: as many as requested, or one for each idle core."""
        wanted = usable_threads(n_jobs) - 1
        with self._lock:
            granted = wanted if n_jobs is not None else max(0, wanted - self.busy())
            self._counts[team] = granted
        return granted

    def busy(self) -> int:
        """Return how many helpers are reserved."""
        return sum(self._counts.values())


_RESERVED = _Reservations()


class _Helper:
    """A thread that runs the tasks it is given, one after the other, until it is given None."""

    def __init__(self):
        self.tasks = queue.SimpleQueue()
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self._patience = _START_SECONDS

    def start(self):
        # `threading.Thread` waits until the new thread runs: for milliseconds on a busy machine,
        # and for ever if there is no memory for its first frame.
        _thread.start_new_thread(self._live, ())

    def is_awake(self) -> bool:
        """Check whether the thread runs; wait for a new one, but only once."""
        if self._asleep is None:
            return True
        if self._asleep.acquire(timeout=self._patience):
            self._asleep = None
        self._patience = 0
        return self._asleep is None

    def _live(self):
        self._asleep.release()
        while (task := self.tasks.get()) is not None:
            with contextlib.suppress(BaseException):  # out of memory: it has left
                _take_part(*task)
            del task  # so that a fit's memory is freed when the fit ends


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
        Most members; None for one for each idle core.
    """

    def __init__(self, n_jobs: int | None):
        self._helpers: list[_Helper] = []
        self._process = os.getpid()
        weakref.finalize(self, _dismiss, self._helpers)
        # In plain Python, the barrier's arithmetic is not atomic.
        self._most = _RESERVED.reserve(self, 1 if JIT_DISABLED else n_jobs)

    @property
    def size(self) -> int:
        """Most members."""
        return 1 + self._most

    def run(self, work, members: int, meets: bool = True):
        """Run ``work(member)`` for each member; return the result of this thread, the first member.

        If the work has barriers (`meets`), all members must be present, so the team leaves out
        those that cannot be started, and `work` sees fewer members. Otherwise, any number of
        members may enter before the first one has ended. When this returns or raises, no other
        member is at work.
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
                del errors  # their traceback refers to this frame, and so to the team
        return result

    def _awake(self, count, meets):
        """Return up to `count` helpers; only those known to run if the members have barriers."""
        if self._process != os.getpid():  # helpers from before a fork are not in this process
            self._helpers.clear()
            self._process = os.getpid()
        while len(self._helpers) < count:
            compile_all()
            self._helpers.append(_Helper())
            try:
                self._helpers[-1].start()
            except (RuntimeError, MemoryError):  # the system has no more threads or memory
                self._helpers.pop()
                break
        helpers = self._helpers[:count]
        return [helper for helper in helpers if helper.is_awake()] if meets else helpers


def compile_all():
    """Compile the functions whose first call must not be interrupted."""
    state = np.zeros(_PRESENCE + 1, np.int64)
    enter(state, 0)
    leave(state, 0)
    end(state)


def _dismiss(helpers):
    for helper in helpers:
        helper.tasks.put(None)


#: The team for work that is too small for more than one thread.
ALONE = Team(1)
