"""The choice of how many rows one compiled call works on, and with how many threads."""

import time


class Pace:
    """Cuts a walk over rows into compiled calls, and measures how many threads are fastest.

    No call lasts longer than about a fifth of a second: it cannot react to Ctrl-C, but Python does,
    between two calls. As results do not depend on the number of threads, it may change from call to
    call. One thread begins. After a while the whole team is tried: for a few steps, then for twice
    as many each time, as long as it is not slower. If it is faster, it takes over, and one thread
    is the alternative that is tried. On a busy machine, a member waits at each barrier for a member
    that has no core, thousands of times longer than a barrier normally takes: hence the caution.

    Parameters
    ----------
    step : int
        Rows of a step, that is, a batch; a call does a whole number of steps.
    members : int, default=1
        Threads of the whole team.
    """

    seconds = 0.2
    patience = 1.0  # seconds without a trial: a shorter fit has little to gain
    first_trial = 8  # steps: waking the team takes as long as a few small steps
    loss = 0.02  # share of the total time that trials may lose
    gain = 0.95  # more threads must take less than this share of one thread's time

    def __init__(self, step: int, members: int = 1):
        self.step, self.steps = step, 1
        self.current, self.other = 1, members  # the number of threads in use, and the one on trial
        self._costs = {number: [] for number in (1, members)}  # the last two, in seconds per step
        self._time = self._lost = 0.0
        self._trial_steps = self.first_trial

    def runs(self, begin: int, end: int):
        """Yield (begin, end, members) of runs of whole steps, each timed."""
        while begin < end:
            trial = self._may_try()
            members = self.other if trial else self.current
            steps = min(self._trial_steps if trial else self.steps, -(-(end - begin) // self.step))
            stop = min(end, begin + steps * self.step)
            start = time.perf_counter()
            yield begin, stop, members
            self._learn(members, steps, time.perf_counter() - start, trial)
            begin = stop

    def _may_try(self) -> bool:
        lossless = self._lost <= self.loss * self._time
        return self.current != self.other and self._time > self.patience and lossless

    def _learn(self, members, steps, seconds, trial):
        cost = seconds / steps
        self._costs[members] = [*self._costs[members], cost][-2:]
        self._time += seconds
        if not trial:
            self.steps = max(1, min(8 * self.steps, int(self.seconds / max(cost, 1e-12))))
            return
        usual = min(self._costs[self.current])
        self._lost += max(0.0, seconds - steps * usual)
        won = cost < usual
        if won and steps >= min(8, self.steps):
            self._decide()
        # A slower number is tried again, after a pause that makes up for the loss. After a large
        # loss, which shows a busy machine, the next trial is as short as possible.
        if won:
            self._trial_steps = min(2 * steps, self.steps)
        else:
            self._trial_steps = 2 if cost > 4 * usual else self.first_trial

    def _decide(self):
        """Choose the faster number, by the lower of two times: other load only adds to a time."""
        if all(len(costs) == 2 for costs in self._costs.values()):
            one, team = self._costs
            pays = min(self._costs[team]) < self.gain * min(self._costs[one])
            self.current, self.other = (team, one) if pays else (one, team)
