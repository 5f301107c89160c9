"""The choice of how many rows one compiled call works on, and with how many threads."""

import time

from .. import lanes
from .cores import idle_cores


class Pace:
    """Cuts a walk over rows into compiled calls, and measures how many threads are fastest.

    No call lasts longer than about a fifth of a second: it cannot react to Ctrl-C, but Python does,
    between two calls. As results do not depend on the number of threads, it may change from call to
    call. One thread begins, unless `together` is called. Soon a team is tried, if there are idle
    cores for it. If it is faster, it takes over, and one thread is the alternative that is tried.
    On a busy machine, a member waits at each barrier for a member that has no core, thousands of
    times longer than a barrier normally takes: hence the caution.

    Parameters
    ----------
    step : int
        Rows of a step, that is, a batch; a call does a whole number of steps.
    members : int, default=1
        Threads of the largest team.
    """

    seconds = 0.2
    notice = 0.02  # of a call while nothing was tried: an idle core is soon used
    soon = 0.004  # seconds until the first trial
    patience = 1.0  # the same where the system does not tell whether cores are idle
    trial = 0.003  # seconds: waking the team takes less than a tenth of it
    loss = 0.02  # share of the total time that trials may lose
    gain = 0.95  # a team must take less than this share of one thread's time
    alarm = 1.3  # a team that takes more than this share of it has lost its cores

    def __init__(self, step: int, members: int = 1):
        self.step, self.steps = step, 1
        self._members = members
        self.current, self.other = 1, members  # the number of threads in use, and the one on trial
        self._alone: list[float] = []  # the last two costs of one thread, in seconds per step
        self._team: list[float] = []  # and of the team
        self._time = self._lost = 0.0
        self._longer = 1  # trials, after some that were won

    def together(self) -> None:
        """Begin with a team, of as many members as the system tells that there are cores for."""
        if self.other > 1 and self._gather() is not False:
            self.current, self.other = self.other, 1

    def runs(self, begin: int, end: int):
        """Yield (begin, end, members) of runs of whole steps, each timed."""
        while begin < end:
            lanes.go_on()
            trial = self._may_try()
            members = self.other if trial else self.current
            steps = self._trial_steps() if trial else self.steps
            steps = min(steps, -(-(end - begin) // self.step))
            stop = min(end, begin + steps * self.step)
            start = time.perf_counter()
            yield begin, stop, members
            self._learn(members, steps, time.perf_counter() - start, trial)
            begin = stop

    def _gather(self):
        """Let the team be as large as there are cores for; return whether there are, if known."""
        idle = idle_cores()
        if idle:
            members = min(self._members, 1 + idle)
            if members != self.other:
                self.other, self._team = members, []
        return None if idle is None else idle > 0

    def _may_try(self) -> bool:
        if self.current == self.other or self._time <= self.soon:
            return False
        if self._lost > self.loss * self._time:
            return False
        if self.other == 1:
            return True
        some = self._gather()
        return self._time > self.patience if some is None else some

    def _trial_steps(self):
        cost = max(min(self._costs(self.current)), 1e-12)
        return max(2, min(int(self._longer * self.trial / cost), self.steps))

    def _costs(self, members):
        return self._alone if members == 1 else self._team

    def _learn(self, members, steps, seconds, trial):
        cost, costs = seconds / steps, self._costs(members)
        costs[:] = [*costs, cost][-2:]
        self._time += seconds
        if trial:
            self._judge(cost, steps, seconds)
            return
        tried = self.current == self.other or (self._alone and self._team)
        longest = self.seconds if tried else self.notice
        self.steps = max(1, min(8 * self.steps, int(longest / max(cost, 1e-12))))
        if members > 1 and self._alone:
            self._watch(cost, steps, seconds)

    def _judge(self, cost, steps, seconds):
        """Learn from a trial."""
        usual = min(self._costs(self.current))
        self._lost += max(0.0, seconds - steps * usual)
        if cost < usual:
            self._decide()
            self._longer *= 2
        else:  # it is tried again after a pause that makes up for the loss
            self._longer = 1

    def _decide(self):
        """Choose the faster number, by the lower of two times: other load only adds to a time."""
        team = max(self.current, self.other)
        pays = min(self._team) < self.gain * min(self._alone)
        self.current, self.other = (team, 1) if pays else (1, team)

    def _watch(self, cost, steps, seconds):
        """Go back to one thread if the team has lost its cores, not only for a moment."""
        most = self.alarm * min(self._alone)
        twice = len(self._team) == 2 and min(self._team) > most
        if cost > most and (twice or not idle_cores()):
            self._lost += seconds - steps * min(self._alone)
            self.current, self.other, self._longer = 1, self.current, 1
