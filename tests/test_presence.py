"""Which device "auto" is, and what is said where something lacks that the CUDA device needs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from fastmlp import MLPClassifier, MLPRegressor, activations, devices
from fastmlp._jit import JIT_DISABLED
from fastmlp.devices import Work, costs, presence

SMALL = Work(size=2_000, rows=10_000, features=20, batch_rows=200, epochs=200, itemsize=4)
LARGE = Work(size=2_000_000, rows=1_000_000, features=784, batch_rows=4096, epochs=200, itemsize=4)


@pytest.fixture
def gpu(monkeypatch):
    """As if nothing were lacking, and the CUDA tests had passed on a GPU."""
    monkeypatch.setattr(presence, "lacking", lambda: "")
    monkeypatch.setattr(costs, "GPU_RECORD", "gpu-tests.json")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(presence, "lacking", lambda: "there is none.")


def test_auto_takes_the_gpu_where_it_pays(gpu):
    assert devices.choose("auto") == "cpu"
    assert devices.choose("auto", SMALL) == "cpu"
    assert devices.choose("auto", LARGE) == "cuda"


def test_auto_is_the_cpu_until_the_tests_have_passed_on_a_gpu(gpu, monkeypatch):
    monkeypatch.setattr(costs, "GPU_RECORD", None)
    assert devices.choose("auto", LARGE) == "cpu"
    assert devices.choose("cuda", LARGE) == "cuda"


def test_the_record_of_the_run_on_a_gpu_is_there():
    """Whoever lets "auto" take the GPU shows on which machine, when and with what it was tried."""
    results = Path(__file__).parents[1] / "benchmarks" / "results"
    if costs.GPU_RECORD is None:
        assert not list(results.glob("gpu*.json")), "a record lies there, but is not in use"
    else:
        assert {"machine", "date", "versions"} <= json.loads(
            (results / costs.GPU_RECORD).read_text()
        ).keys()


def test_auto_is_the_cpu_without_a_gpu(no_gpu):
    assert devices.choose("auto", LARGE) == "cpu"
    assert devices.present() == ["cpu", "reference"]


def test_auto_does_not_look_for_a_gpu_where_it_would_not_pay(gpu, monkeypatch):
    monkeypatch.setattr(presence, "lacking", lambda: pytest.fail("looked"))
    assert devices.choose("auto", SMALL) == "cpu"


def test_a_prediction_pays_less_than_a_fit(gpu):
    assert costs.gpu_pays(LARGE)
    assert not costs.gpu_pays(LARGE._replace(epochs=0, rows=10_000))


@pytest.mark.parametrize("name", devices.DEVICES)
def test_a_name_stands_for_itself(name, gpu):
    assert devices.choose(name, SMALL) == devices.choose(name, LARGE) == name


def chosen(X, **settings):
    """The device of an estimator whose work would pay."""
    estimator = MLPRegressor(**settings)
    names = []
    choose = devices.choose

    def note(name, work=None):
        # As if the data were large.
        names.append(choose(name, LARGE if work else None))
        return "reference"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "choose", note)
        estimator.partial_fit(X, np.arange(X.shape[0]))
    return names[0]


def half(z):
    return 0.5 * z


def test_auto_keeps_to_the_cpu_what_a_gpu_may_not_take(gpu):
    X = np.eye(4)
    own = activations.Custom(half, half)
    assert chosen(X) == "cuda"
    assert chosen(sparse.csr_matrix(X)) == "cpu"
    assert chosen(X, activation=own) == "cpu"


def test_named_device_is_an_error_without_a_gpu(no_gpu):
    X, y = np.eye(4), [0, 1, 0, 1]
    for estimator in (MLPClassifier(device="cuda"), MLPRegressor(device="cuda")):
        with pytest.raises(RuntimeError, match="device='cuda' cannot be used: there is none"):
            estimator.fit(X, y)
        assert not hasattr(estimator, "coefs_")
    fitted = MLPClassifier((2,), solver="lbfgs", random_state=0).fit(X, y).set_params(device="cuda")
    with pytest.raises(RuntimeError, match="cannot be used"):
        fitted.predict(X)


def fail(error):
    def failing(*arguments):
        raise error

    return failing


@pytest.mark.parametrize(
    ("lack", "says"),
    [
        (("find_spec", lambda name: None), r"numba-cuda is not installed: .*fastmlp\[cuda13\]"),
        (("_has_driver", lambda: False), r"no NVIDIA driver is found: install.*--gpus all"),
        (("_try_out", fail(OSError("libnvvm.so: not there"))), r"compiler does not work \(libnvvm"),
        (("_try_out", fail(RuntimeError("no\ndevice"))), r"GPU cannot be used \(no device\)"),
        (("_try_out", lambda: None), r"^$"),
    ],
    ids=["package", "driver", "compiler", "GPU", "nothing"],
)
@pytest.mark.skipif(JIT_DISABLED, reason="that comes first: NUMBA_DISABLE_JIT is set")
def test_what_is_lacking(lack, says, monkeypatch):
    for name, value in {
        "find_spec": lambda name: name,
        "_has_driver": lambda: True,
        "_try_out": lambda: None,
    }.items():
        monkeypatch.setattr(presence, name, value)
    monkeypatch.setattr(presence.config, "ENABLE_CUDASIM", 0)
    monkeypatch.setattr(presence, *lack)
    text = presence.lacking.__wrapped__()
    assert re.search(says, text)


@pytest.mark.skipif(not JIT_DISABLED, reason="about NUMBA_DISABLE_JIT")
def test_nothing_is_compiled_with_the_jit_off():
    assert "NUMBA_DISABLE_JIT is set" in presence.lacking.__wrapped__()


IMPORTS = """
import sys
import numpy as np
import fastmlp
fastmlp.MLPClassifier((3,), solver="lbfgs", max_iter=2).fit(np.eye(4), [0, 1, 0, 1])
assert not [name for name in sys.modules if name.startswith(("numba.cuda", "cuda", "numba_cuda"))]
"""


def test_cuda_is_not_imported_unless_asked_for():
    subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORTS], check=True)
