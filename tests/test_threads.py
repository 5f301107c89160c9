"""Threads: the same bits for any number of them, and nothing that hangs, aborts or takes over."""

import _thread
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from functools import partial

import numpy as np
import pytest
from laws import make_data, make_optimizer, make_parameters
from scipy import sparse

from fastmlp._jit import called, plain
from fastmlp.activations import Maxout, Swish
from fastmlp.devices import cpu
from fastmlp.devices.cpu import team
from fastmlp.devices.cpu.microkernel import ROWS
from fastmlp.devices.cpu.pace import Pace
from fastmlp.devices.cpu.team import Team, usable_threads
from fastmlp.network import Network
from fastmlp.regularization import Regularization
from fastmlp.training import Rows, loss_and_gradient

pytestmark = pytest.mark.compiled

meet, take = called(plain(team.meet)), called(plain(team.take))

NETWORKS = [
    Network((20, 100, 1), "relu", "binary_log_loss"),
    Network((9, 70, 130, 3), "tanh", "log_loss"),
    Network((3, 2, 2), "logistic", "squared_error"),
    Network((9, 70, 40, 3), (Maxout(), Swish(learnable=True)), "huber"),
]


class AllTogether(Pace):
    """No trials: all members, always."""

    def __init__(self, step, members=1):
        super().__init__(step, members)
        self.current = self.other = members


@pytest.fixture(autouse=True, scope="module")
def nothing_of_before_is_collected():
    """What other modules have left takes a second of each `gc.collect`."""
    gc.collect()  # an exception that pytest keeps may hold another test's team
    gc.freeze()


@pytest.fixture
def crowd(monkeypatch):
    """Make every device use as many threads as it is given, however small its work."""
    monkeypatch.setattr(cpu, "TEAM_WORK", 0)
    monkeypatch.setattr(cpu, "PREDICTION_TEAM_WORK", 0)
    monkeypatch.setattr(cpu, "Pace", AllTogether)


def everything(network, members, form):
    """Training, whole gradient and outputs, by so many threads."""
    X, targets, weights = make_data(network, 11 * ROWS + 5, np.float32)
    parameters = make_parameters(network, np.float32)
    X = form(X)
    dropout = (0.2,) * (len(network.units) - 1)
    settings = {
        "regularization": Regularization(l2=0.01, l1=0.01, dropout=dropout),
        "dropout_seed": 5,
        "sparse": sparse.issparse(X),
        "n_jobs": members,
    }
    trained = cpu.CpuDevice(
        network,
        parameters,
        optimizer=make_optimizer("adam", parameters),
        batch_size=7 * ROWS,
        **settings,
    )
    assert trained._team.size == members
    losses = [trained.train(Rows(X, targets, weights), np.arange(X.shape[0])) for _ in range(3)]
    other = cpu.CpuDevice(network, parameters, batch_size=5 * ROWS, **settings)
    loss, gradient = loss_and_gradient(other, parameters, Rows(X, targets, weights))
    outputs = other.forward(X, np.empty((X.shape[0], network.units[-1]), np.float32))
    return losses, trained.parameters(), trained.moments(), loss, gradient, outputs


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("network", NETWORKS)
def test_same_bits_for_any_number_of_threads(network, form):
    alone = everything(network, 1, form)
    for members in (2, 3, 5):
        for own, expected in zip(everything(network, members, form), alone, strict=True):
            np.testing.assert_array_equal(own, expected)


PATHS = {
    "updates at once": {},
    "a batch in blocks": {"batch_size": 40 * ROWS},
    "clipped": {"regularization": Regularization(clip_norm=0.1)},
    "bounded": {"regularization": Regularization(max_norm=0.5)},
    "L-BFGS": {"batch_size": 3 * ROWS},
}


def walked(path, clock, members):
    """What one path through the device gives, when the clock says so.

    In float64: sums of float32 losses are exact, in whatever order.
    """
    network = Network((9, 40, 3), "tanh", "log_loss")
    X, targets, weights = make_data(network, 100 * ROWS + 5, np.float64)
    parameters = make_parameters(network, np.float64)
    settings = {"batch_size": 7 * ROWS, "n_jobs": members} | PATHS[path]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter", clock)
        patch.setattr(cpu, "LONGEST_BATCH", 5 * ROWS)
        if path == "L-BFGS":
            device = cpu.CpuDevice(network, parameters, **settings)
            return loss_and_gradient(device, parameters, Rows(X, targets, weights))
        optimizer = make_optimizer("adam", parameters)
        device = cpu.CpuDevice(network, parameters, optimizer=optimizer, **settings)
        order = np.random.default_rng(3).permutation(len(X))
        losses = [device.train(Rows(X, targets, weights), order) for _ in range(4)]
        return losses, device.parameters(), device.moments()


def erratic(seed):
    """A clock by which calls take anything from nothing to an hour."""
    rng, now = np.random.default_rng(seed), [0.0]

    def clock():
        now[0] += 10.0 ** rng.uniform(-7, 3.5)
        return now[0]

    return clock


@pytest.mark.parametrize("path", PATHS)
def test_same_bits_whatever_the_clock_says(monkeypatch, path):
    """How many batches a call does, and by how many threads, is no matter for any sum."""
    monkeypatch.setattr(cpu, "TEAM_WORK", 0)
    expected = walked(path, time.perf_counter, 1)
    for seed in range(6):
        for own, other in zip(walked(path, erratic(seed), 1 + seed % 3), expected, strict=True):
            np.testing.assert_array_equal(own, other)


@pytest.mark.usefixtures("crowd")
def test_a_batch_of_zero_weight_stops_all_threads():
    network = NETWORKS[0]
    X, targets, _ = make_data(network, 8, np.float64)
    parameters = make_parameters(network, np.float64)
    device = cpu.CpuDevice(
        network, parameters, optimizer=make_optimizer("sgd", parameters), batch_size=4, n_jobs=3
    )
    with pytest.raises(ZeroDivisionError):
        device.train(Rows(X, targets, np.array([1.0, 1, 1, 1, 1, -1, 2, -2])), np.arange(8))
    device.train(Rows(X, targets, None), np.arange(8))  # and the team goes on working


def test_a_failing_member_does_not_leave_the_others_waiting():
    def work(failing, member):
        if member.rank == failing:
            raise MemoryError("no room")
        while meet(member):
            pass

    for failing in (0, 1, 2):
        with pytest.raises(MemoryError, match="no room"):
            Team(3).run(partial(work, failing), 3)


def test_everything_is_done_once():
    done = []

    def work(member):
        while (job := take(member, 200)) < 200:
            done.append(job)

    for members in (1, 3):
        Team(3).run(work, members, meets=False)
        assert sorted(done) == list(range(200))
        done.clear()


def test_nothing_is_taken_after_a_failure():
    def work(member):
        if member.rank == 0:
            raise KeyboardInterrupt
        while take(member, 10**7) < 10**7:
            pass

    with pytest.raises(KeyboardInterrupt):
        Team(3).run(work, 3, meets=False)


@pytest.mark.parametrize("fails", [False, True])
def test_a_call_returns_when_all_have_left(fails):
    """A helper that has no core for a while still has the caller's memory."""
    begun, left = threading.Event(), []

    def work(member):
        if member.rank:
            begun.set()
            time.sleep(0.1)
            left.append(member.rank)
            return
        begun.wait(10)
        if fails:
            raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            Team(2).run(work, 2, meets=False)
    else:
        Team(2).run(work, 2, meets=False)
    assert left == [1]


def test_who_comes_too_late_does_not_begin(monkeypatch):
    """A call does not wait for a helper that has not begun, and then it never does."""
    woken, tried, ranks = threading.Event(), threading.Event(), []
    take_part = team._take_part

    def late(*task):
        woken.wait(10)
        take_part(*task)
        tried.set()

    monkeypatch.setattr(team, "_take_part", late)
    crew = Team(2)
    assert crew.run(lambda member: ranks.append(member.rank) or "done", 2, meets=False) == "done"
    woken.set()
    assert tried.wait(10)
    assert ranks == [0]
    assert crew.run(lambda member: meet(member), 2)  # and it takes part in the next one


def refuse_to_start(function, arguments):
    raise RuntimeError("can't start new thread")


def start_and_die(function, arguments):
    """A thread whose first frame finds no memory."""


def start_but_die_of_work(function, arguments):
    def live(helper):
        helper._asleep.release()
        helper.tasks.get()

    _thread.start_new_thread(live, (function.__self__,))


@pytest.mark.parametrize("start", [refuse_to_start, start_and_die])
@pytest.mark.usefixtures("crowd")
def test_helpers_that_do_not_start_are_done_without(monkeypatch, start):
    expected = everything(NETWORKS[0], 1, np.asarray)

    class Threads:
        start_new_thread = staticmethod(start)

    monkeypatch.setattr(team, "_thread", Threads)
    monkeypatch.setattr(team, "_START_SECONDS", 0.01)
    for own, other in zip(everything(NETWORKS[0], 3, np.asarray), expected, strict=True):
        np.testing.assert_array_equal(own, other)


def test_an_exception_while_work_is_handed_over_is_raised(monkeypatch):
    """A signal's handler may raise anywhere; here between two helpers."""
    replace = team.Member._replace

    def interrupted(self, **changes):
        if changes.get("rank") == 2:
            raise KeyboardInterrupt
        return replace(self, **changes)

    crew = Team(3)
    with monkeypatch.context() as patch:
        patch.setattr(team.Member, "_replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            crew.run(meet, 3)
    assert crew.run(meet, 3)  # and the team goes on working


def test_memory_that_runs_out_in_a_helper_ends_the_work(monkeypatch):
    """Even where there is not enough to note the error down."""

    class NoRoom(list):
        def append(self, error):
            raise MemoryError

    put = team.queue.SimpleQueue.put

    class Tasks(team.queue.SimpleQueue):
        def put(self, task):
            put(self, task and (*task[:2], NoRoom()))

    def work(member):
        if member.rank:
            raise MemoryError
        return meet(member)

    with monkeypatch.context() as patch:
        patch.setattr(team.queue, "SimpleQueue", Tasks)
        crew = Team(2)
        assert not crew.run(work, 2)
    assert crew.run(lambda member: meet(member), 2)


def test_threads_end_with_their_team():
    gc.collect()  # the same of this module
    busy = team._RESERVED.busy()
    crew = Team(3)
    assert crew.run(lambda member: member.rank, 3) == 0
    assert team._RESERVED.busy() == busy + 2
    helpers = [weakref.ref(helper) for helper in crew._helpers]  # alive while their threads are
    assert len(helpers) == 2
    del crew
    wait_until(lambda: not any(helper() for helper in helpers))
    assert team._RESERVED.busy() == busy


def wait_until(holds):
    limit = time.monotonic() + 30
    while not holds() and time.monotonic() < limit:
        time.sleep(0.001)
    assert holds()


@pytest.mark.usefixtures("crowd")
def test_a_predictions_threads_end_with_it(monkeypatch):
    helpers = []

    class Noted(Team):
        def run(self, *arguments, **settings):
            result = super().run(*arguments, **settings)
            helpers.extend(weakref.ref(helper) for helper in self._helpers)
            return result

    monkeypatch.setattr(cpu, "Team", Noted)
    network = NETWORKS[0]
    X, _, _ = make_data(network, 500, np.float32)
    gc.collect()
    busy = team._RESERVED.busy()
    device = cpu.CpuDevice(network, make_parameters(network, np.float32), n_jobs=3)
    device.forward(X, np.empty((500, 1), np.float32))
    assert len(helpers) == 2
    wait_until(lambda: not any(helper() for helper in helpers))
    assert team._RESERVED.busy() == busy


@pytest.mark.parametrize("failing", ["WeakKeyDictionary.__setitem__", "finalize", "usable_threads"])
def test_an_interrupt_while_a_team_is_made_keeps_no_helper_reserved(monkeypatch, failing):
    gc.collect()
    busy = team._RESERVED.busy()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    place = team if failing == "usable_threads" else team.weakref
    monkeypatch.setattr(f"{place.__name__}.{failing}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Team(5)
    monkeypatch.undo()
    gc.collect()
    assert team._RESERVED.busy() == busy


def test_idle_cores_are_shared(monkeypatch):
    monkeypatch.setattr(team, "_RESERVED", team._Reservations())
    monkeypatch.setattr(team, "usable_threads", lambda n_jobs: 4 if n_jobs is None else n_jobs)
    first, second, third = Team(None), Team(None), Team(2)
    assert [first.size, second.size, third.size] == [4, 1, 2]
    del first
    assert Team(None).size == 3


def test_usable_threads(monkeypatch):
    monkeypatch.setattr(team.config, "NUMBA_NUM_THREADS", 6)
    monkeypatch.setattr(team.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert [usable_threads(n) for n in (None, 1, 3, 9, -1, -2, -20)] == [6, 1, 3, 9, 6, 5, 1]
    # Set after the parameters were validated, or far too large, or of a type that overflows.
    assert [usable_threads(n) for n in (0, 10**6, np.uint8(3), np.int8(-2))] == [1, 24, 3, 5]
    monkeypatch.setattr(team.config, "NUMBA_NUM_THREADS", 1)
    assert usable_threads(None) == 1


PROGRAM = """
import warnings; warnings.simplefilter("ignore")
import multiprocessing, os, sys, threading, time
import numpy as np
from joblib import Parallel, cpu_count, delayed, parallel_config
from sklearn.model_selection import GridSearchCV
from fastmlp import MLPClassifier
from fastmlp.devices import cpu
from fastmlp.devices.cpu import team

rng = np.random.default_rng(0)
X = rng.standard_normal((3000, 30)).astype("f4")
y = (X[:, 0] * X[:, 1] > 0).astype(int)

class AllTogether(cpu.Pace):
    def __init__(self, step, members=1):
        super().__init__(step, members)
        self.current = self.other = members

def fit(n_jobs=2):
    cpu.TEAM_WORK = 0
    cpu.Pace = AllTogether
    model = MLPClassifier((64,), max_iter=4, random_state=0, n_jobs=n_jobs).fit(X, y)
    return model.loss_curve_

expected = fit(1)
assert fit() == expected
"""
#: What leaves a process as it was, one after the other in the same: importing takes longer.
TOGETHER = {
    "python_threads": """
results = []
threads = [threading.Thread(target=lambda: results.append(fit())) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
assert results == [expected] * 4
""",
    "fork_after_a_fit": """
child = os.fork()
if child == 0:
    os._exit(0 if fit() == expected and fit(None) == expected else 1)
assert os.waitpid(child, 0)[1] == 0
""",
    "fork_during_a_fit": """
forked = threading.Event()
thread = threading.Thread(target=lambda: [fit() for _ in iter(forked.is_set, True)])
thread.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if fit() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
forked.set()
thread.join()
""",
    "multiprocessing_fork": """
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(fit, [2, 2, 2]) == [expected] * 3
""",
    "joblib_threading": """
with parallel_config("threading"):
    assert Parallel(n_jobs=3)(delayed(fit)() for _ in range(6)) == [expected] * 6
""",
    "a_team_of_before_the_fork": """
from fastmlp._jit import called, plain
meet = called(plain(team.meet))
crew = team.Team(2)
assert crew.run(meet, 2)
child = os.fork()
if child == 0:
    os._exit(0 if crew.run(meet, 2) and team._RESERVED.busy() == 0 else 1)
assert os.waitpid(child, 0)[1] == 0
assert crew.run(meet, 2)
""",
    "a_fork_while_helpers_work": """
# The child of a thread's own making: it has no helpers, keeps no rows, and predicts the same.
model = MLPClassifier((64,), max_iter=1, random_state=0, n_jobs=2).fit(X, y)
cpu.PREDICTION_TEAM_WORK = 0
rows = np.tile(X, (100, 1))
probabilities = model.predict_proba(rows)
child = os.fork()
if child == 0:
    import resource
    # Python's own count still has those that were ending when this process was forked.
    tasks = "/proc/self/task"
    assert not os.path.exists(tasks) or len(os.listdir(tasks)) == 1
    assert (model.predict_proba(rows) == probabilities).all()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        model.predict_proba(rows.copy())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    os._exit(0 if grown < 5 * rows.nbytes / 1024 else 1)
assert os.waitpid(child, 0)[1] == 0
""",
    "far_too_many_threads": """
assert fit(10**6) == expected
assert team.Team(10**6).size <= team.MOST_PER_CORE * os.cpu_count()
""",
    "joblib_loky": """
def fit_in_worker(n_jobs):
    return fit(n_jobs), team.Team(None).size

share = max(1, cpu_count() // 2)
for n_jobs in (2, None):
    for curve, size in Parallel(n_jobs=2)(delayed(fit_in_worker)(n_jobs) for _ in range(4)):
        assert curve == expected
        assert size <= share
""",
    "grid_search": """
search = GridSearchCV(
    MLPClassifier((32,), max_iter=3, random_state=0), {"alpha": [0.0, 1.0]}, n_jobs=2, cv=2
)
assert search.fit(X, y).best_score_ > 0.4
""",
}
#: What changes the process for good, or wants one of a kind.
ALONE = {
    "fits_at_once_share_the_cores": """
team.usable_threads = lambda n_jobs: 4 if n_jobs is None else n_jobs
seen, take_part = [], team._take_part

def counted(*task):
    seen.append(threading.active_count())
    take_part(*task)

team._take_part = counted
results = []
threads = [threading.Thread(target=lambda: results.append(fit(None))) for _ in range(2)]
[t.start() for t in threads]; [t.join() for t in threads]
assert results == [expected] * 2
assert seen and max(seen) <= 1 + len(threads) + 3  # this one, theirs, and three idle cores' helpers
""",
    "a_fit_in_a_daemon_thread_at_exit": """
began = threading.Event()

def work():
    while True:
        fit()
        began.set()

cpu.ending.LIMIT = float("inf")  # on a busy machine, seconds may pass in which nothing runs
threading.Thread(target=work, daemon=True).start()
began.wait()
child = os.fork()  # which has no such thread, and so waits for none
if child == 0:
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
""",
    "interrupts_at_any_time": """
# No fit hangs, and none leaves a helper at work or reserved.
import _thread, gc, random, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job may be born to ignore it
fit()
random.seed(0)
for _ in range(60):
    deadline = time.monotonic() + 20
    interrupt = threading.Timer(random.uniform(0, 0.03), os.kill, (os.getpid(), signal.SIGINT))
    try:
        interrupt.start()  # which may be heard before it returns
        while fit() == expected:  # a fit that was interrupted ends early
            assert time.monotonic() < deadline, "the interrupt was not heard"
    except KeyboardInterrupt:
        pass
gc.collect()
deadline = time.monotonic() + 20
while _thread._count() and time.monotonic() < deadline:
    time.sleep(0.01)
assert _thread._count() == 0
assert team._RESERVED.busy() == 0
assert fit() == expected
""",
    "a_limit_of_memory": """
import resource
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for room in (1 << 20, 4 << 20, 8 << 20, 9 << 20, 16 << 20, 40 << 20):
    resource.setrlimit(resource.RLIMIT_AS, (size + room, -1))
    try:
        assert fit() == expected
    except MemoryError:
        pass
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
assert fit() == expected
""",
    "one_numba_thread": """
assert team.usable_threads(None) == 1
assert fit(None) == expected
""",
}


def assert_runs(cases, folder, **variables):
    """Run programs in a process of their own, each behind a line that says which it is."""
    file = folder / "program.py"
    file.write_text(
        PROGRAM + "".join(f"print({name!r}, flush=True)\n{code}" for name, code in cases.items())
    )
    done = subprocess.run(
        [sys.executable, file], env=os.environ | {"OPENBLAS_NUM_THREADS": "1"} | variables,
        timeout=240, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def possible(cases):
    return {name: code for name, code in cases.items() if "fork" not in code or hasattr(os, "fork")}


@pytest.mark.slow
def test_with_other_threads_and_processes(tmp_path):
    assert_runs(possible(TOGETHER), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", possible(ALONE))
def test_in_a_process_of_its_own(case, tmp_path):
    threads = {"NUMBA_NUM_THREADS": "1"} if case == "one_numba_thread" else {}
    assert_runs({case: ALONE[case]}, tmp_path, **threads)
