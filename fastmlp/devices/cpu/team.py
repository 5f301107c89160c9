"""Threads that meet inside compiled code.

Each member of a team is a Python thread inside one compiled call, which lasts for a run of batches;
between the phases of a batch the members meet at a barrier. Numba's own parallel loops start and
join their threads in every loop, abort the process when two Python threads enter them at once, and
die in a forked child. Here no thread outlives the fit that it works for.
"""

import _thread
import os
import queue
import threading
import weakref
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import config

from ..._jit import JIT_DISABLED, intrinsic, kernel

# Places in a team's state, two cache lines apart: waiting on one does not slow writing another.
_ARRIVED, _ROUND, _ABORTED, _TAKEN, _WRITTEN = 0, 16, 32, 48, 64
#: After these, one place for each thing that members take: how many have finished it.
_THINGS = 80
#: Looks at the barrier before a waiting member lets other threads have the core. A meeting on idle
#: cores takes a microsecond; on a busy machine, spinning longer takes time from whoever is awaited.
_PATIENCE = 2000


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
    """Wait until all members are here; False if the team was told to give up."""
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
            if _atomic_load(state, _ABORTED) != 0:
                return False
            _yield_core()
    return True


@kernel
def share(member, count):
    """The member's share [begin, end) of `count` things."""
    return (
        member.rank * count // member.members,
        (member.rank + 1) * count // member.members,
    )


@kernel
def take(member, things):
    """A thing, of so many, that is still to be done; `things` where there is none.

    The next one that nobody has taken. After these the first member does over what another has
    taken but not finished: on a busy machine, that one may have no core for milliseconds. So the
    first never waits for a member that computes; and when it finds nothing more, all is done.
    """
    if _atomic_load(member.state, _ABORTED) != 0:
        return things
    thing = _atomic_add(member.state, _TAKEN, 1)
    if thing < things:
        return thing
    if member.rank == 0 and member.members > 1:
        for thing in range(things):
            if _atomic_load(member.state, _THINGS + thing) == 0:
                return thing
        while _atomic_load(member.state, _WRITTEN) < things:  # somebody is between the next two
            _yield_core()
    return things


@kernel
def finish(member, thing):
    """Whether this member is the first to finish a thing: then it writes the result."""
    return _atomic_add(member.state, _THINGS + thing, 1) == 0


@kernel
def written(member):
    """Say that a result is written, after `finish`."""
    _atomic_add(member.state, _WRITTEN, 1)


def alone(things: int = 0) -> Member:
    """A team of one."""
    return Member(0, 1, np.zeros(_THINGS + things, np.int64))


def usable_threads(n_jobs: int | None) -> int:
    """How many threads a fit may use: what the user asked for, within what the process may use.

    NUMBA_NUM_THREADS counts, which joblib sets in its worker processes too.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    cores = min(cores, config.NUMBA_NUM_THREADS)
    if n_jobs is None:
        return cores
    return max(1, cores + 1 + n_jobs) if n_jobs < 0 else n_jobs


class _Helpers:
    """How many helping threads all teams of this process have together.

    Fits that run at once, in threads of the user's, share the cores instead of each taking all.
    """

    def __init__(self):
        self._lock, self._busy = threading.Lock(), 0
        if hasattr(os, "register_at_fork"):  # a child has none of its parent's threads
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self):
        self._lock, self._busy = threading.Lock(), 0

    def take(self, n_jobs: int | None) -> int:
        """Reserve helpers: as many as were asked for, or as there are idle cores."""
        wanted = usable_threads(n_jobs) - 1
        with self._lock:
            granted = wanted if n_jobs is not None else max(0, wanted - self._busy)
            self._busy += granted
        return granted

    def give_back(self, count: int) -> None:
        """End a reservation."""
        with self._lock:
            self._busy -= count


_HELPERS = _Helpers()


class Team:
    """The threads that a device may use; they start when first needed and end with the device.

    Parameters
    ----------
    n_jobs : int or None
        Most members; None for as many as there are idle cores.
    """

    def __init__(self, n_jobs: int | None):
        # As plain Python, the barrier's arithmetic is not atomic.
        self._helpers = _HELPERS.take(1 if JIT_DISABLED else n_jobs)
        self._queues: list[queue.SimpleQueue] = []
        weakref.finalize(self, _dismiss, self._queues, self._helpers)

    @property
    def size(self) -> int:
        """Most members."""
        return 1 + self._helpers

    def run(self, work, members: int, things: int = 0):
        """Let each member do ``work(member)``; returns what this thread, the first, returned.

        Where members take their work from so many `things`, it does not wait for the others: they
        may still be computing what is then no longer needed.
        """
        first = alone(things)
        if members == 1:
            return work(first)
        first = first._replace(members=members)
        while len(self._queues) < members - 1:
            self._queues.append(queue.SimpleQueue())
            # `threading.Thread` waits until the new thread runs; on a busy machine, milliseconds.
            _thread.start_new_thread(_help, (self._queues[-1],))
        done = queue.SimpleQueue()
        asked = 0
        try:
            for rank in range(1, members):
                asked += 1
                self._queues[rank - 1].put((work, first._replace(rank=rank), done))
            result = work(first)
        except BaseException:
            first.state[_ABORTED] = 1  # nobody waits for a member that will not come
            raise
        finally:
            errors = []
            if not things or first.state[_ABORTED]:
                errors = [error for error in (done.get() for _ in range(asked)) if error]
        if errors:
            try:
                raise errors[0]
            finally:
                del errors  # whose traceback holds this frame, and so the team
        return result


def _help(tasks):
    """A helper's life: one task after the other, until there is none."""
    while (task := tasks.get()) is not None:
        work, member, done = task
        error = None
        try:
            work(member)
        except BaseException as caught:
            member.state[_ABORTED] = 1
            error = caught
        done.put(error)
        del task, work, member, done, error  # what a fit has used ends with the fit


def _dismiss(queues, helpers):
    for tasks in queues:
        tasks.put(None)
    _HELPERS.give_back(helpers)


#: The team for work that is too little for more than one thread.
ALONE = Team(1)
