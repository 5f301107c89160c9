"""What only a GPU shows: larger networks, several users of it at once, its memory, its cache.

``python -m pytest -m gpu`` runs it, together with a part of test_cuda.py and of the laws of all
devices; ``-m cuda`` runs all of these.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from laws import EVERYTHING, REGIMES, make_data, make_optimizer, make_parameters, run_epochs
from numba.core import config
from tasks import outputs_of_a_gpu

from fastmlp import MLPRegressor, devices
from fastmlp.network import Network
from fastmlp.optimizers import SGD
from fastmlp.training import Rows

LACKING = "the simulator is no GPU" if config.ENABLE_CUDASIM else devices.lacking()
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.slow,
    pytest.mark.skipif(bool(LACKING), reason=f"no GPU: {LACKING}"),
]
CASES = {
    "one block": ((32, 100, 2), 200),
    "one block, rows in blocks": ((20, 40, 40, 3), 300),
    "cluster": ((32, 100, 2), 200),
    "cluster, rows in blocks": ((20, 40, 40, 3), 2400),
    "many blocks": ((784, 256, 128, 10), 256),
    "large tiles": ((256, 512, 512, 10), 8192),
    "narrow, many rows": ((64, 64, 64, 64, 64, 10), 65536),
    "a batch of several blocks": ((16, 8, 2), 300_000),
}


@pytest.fixture(params=CASES)
def case(request, monkeypatch):
    """Units and batch size, in the regime that the case is named after."""
    from fastmlp.devices import cuda
    from fastmlp.devices.cuda.toolkit import clusters

    named = request.param.partition(",")[0]
    regime = named if named in REGIMES else "many blocks"
    if regime == "cluster" and not clusters():
        pytest.skip("this GPU has no clusters: they begin with compute capability 9.0")
    for name, most in REGIMES[regime].items():
        monkeypatch.setattr(cuda, name, most)
    return CASES[request.param]


def test_equals_the_cpu(case):
    units, batch_size = case
    network = Network(units, "tanh", "log_loss")
    rows = min(2 * batch_size - 7, 400_000)  # the CPU takes long for the largest
    data = make_data(network, rows, np.float64)
    results = [
        run_epochs(name, network, data, batch_size=batch_size, epochs=1) for name in ("cuda", "cpu")
    ]
    for own, other in zip(*results, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-11)


def test_twenty_epochs_equal_the_cpu():
    network = Network((10, 20, 15, 3), "relu", "log_loss")
    data = make_data(network, 500, np.float64)
    results = [
        run_epochs(name, network, data, batch_size=50, epochs=20) for name in ("cuda", "cpu")
    ]
    for own, other in zip(*results, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_from_run_to_run(case, dtype):
    units, batch_size = case
    network = Network(units, "relu", "log_loss")
    data = make_data(network, min(2 * batch_size + 1, 400_000), dtype)
    settings = {"batch_size": batch_size, "regularization": EVERYTHING_FOR[len(units)]}
    first, second = (run_epochs("cuda", network, data, **settings) for _ in range(2))
    for own, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(own, other)


#: By number of layers of units: a share of dropout for all but the outputs.
EVERYTHING_FOR = {
    n: type(EVERYTHING)(l2=0.1, l1=0.02, weight_decay=0.1, dropout=(0.2,) * (n - 1))
    for n in range(2, 8)
}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_several_estimators_at_once():
    expected = [outputs_of_a_gpu(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for own, other in zip(pool.map(outputs_of_a_gpu, range(6)), expected, strict=True):
            np.testing.assert_array_equal(own, other)


SECOND = """
import sys
sys.path.insert(0, {tests!r})
from tasks import outputs_of_a_gpu
print(outputs_of_a_gpu({seed})[:3, 0].tolist())
"""


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_several_processes_at_once():
    folder = __file__.rpartition("/")[0]
    commands = [
        [sys.executable, "-W", "ignore", "-c", SECOND.format(tests=folder, seed=seed)]
        for seed in (0, 1)
    ]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    for seed, process in enumerate(processes):
        printed, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert printed.strip() == str(outputs_of_a_gpu(seed)[:3, 0].tolist())


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_kernels_of_before_are_found_on_disk():
    """A second process compiles nothing."""
    outputs_of_a_gpu(1)
    script = """
import sys
sys.path.insert(0, {tests!r})
from numba.cuda.dispatcher import _Kernel
def no_more(*arguments, **settings):
    raise AssertionError("compiled")
_Kernel.__init__ = no_more
from tasks import outputs_of_a_gpu
outputs_of_a_gpu(1)
""".format(tests=__file__.rpartition("/")[0])
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


def test_more_work_than_memory():
    rows, features = 1 << 17, 1_000_000
    network = Network((features, 1), (), "squared_error")
    parameters = np.zeros(network.size, np.float32)
    device = devices.load("cuda")(
        network, parameters, optimizer=make_optimizer("adam", parameters), batch_size=rows
    )
    X, targets = np.broadcast_to(np.float32(0), (rows, features)), np.zeros((rows, 1), np.float32)
    with pytest.raises(MemoryError, match=r"GPU has .* GB of memory left, and 52\d\.\d\d GB more"):
        device.train(Rows(X, targets, None), np.arange(rows))


def test_streamed_rows_equal_resident_ones(monkeypatch):
    from fastmlp.devices.cuda import runs

    network = Network((100, 300, 10), "relu", "log_loss")
    data = make_data(network, 50_000, np.float32)
    expected = run_epochs("cuda", network, data, batch_size=256)
    monkeypatch.setattr(runs, "SHARE", 0)
    monkeypatch.setattr(runs, "BLOCK_BYTES", 1 << 20)
    for own, other in zip(run_epochs("cuda", network, data, batch_size=256), expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6)


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_arrays_of_other_libraries(library):
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 20)).astype(np.float32)
    y = X[:, :2].sum(axis=1)
    on_gpu = module.asarray(X) if library == "cupy" else module.asarray(X).cuda()
    regressors = [
        MLPRegressor(solver="lbfgs", max_iter=20, random_state=0, device="cuda") for _ in range(2)
    ]
    with pytest.warns(match="lbfgs failed"):
        regressors[0].fit(X, y)
    with pytest.warns(match="lbfgs failed"):
        regressors[1].fit(on_gpu, y)
    np.testing.assert_array_equal(regressors[0].predict(X), regressors[1].predict(on_gpu))


def test_state_survives_many_short_calls():
    """Epoch after epoch on the same rows: what was recorded is repeated, and stays right."""
    network = Network((50, 200, 100, 3), "tanh", "log_loss")
    X, targets, weights = make_data(network, 1000, np.float64)
    devices_ = []
    for name in ("cuda", "reference"):
        parameters = make_parameters(network, np.float64)
        devices_.append(
            devices.load(name)(
                network,
                parameters,
                optimizer=make_optimizer(SGD(momentum=0.5), parameters),
                batch_size=300,
            )
        )
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(1000)
        losses = [device.train(Rows(X, targets, weights), order) for device in devices_]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)
    np.testing.assert_allclose(*(device.parameters() for device in devices_), rtol=1e-9, atol=1e-12)
