"""What is said where something is missing that the CUDA device needs."""

import re
import subprocess
import sys

import numpy as np
import pytest

from fastmlp import MLPClassifier, MLPRegressor, devices
from fastmlp._jit import JIT_DISABLED
from fastmlp.devices import presence


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(devices, "lacking", lambda: "there is none.")


def test_named_device_is_an_error_without_a_gpu(no_gpu):
    X, y = np.eye(4), [0, 1, 0, 1]
    for estimator in (MLPClassifier(device="cuda"), MLPRegressor(device="cuda")):
        with pytest.raises(RuntimeError, match="device='cuda' cannot be used: there is none"):
            estimator.fit(X, y)
        assert not hasattr(estimator, "coefs_")
    fitted = MLPClassifier((2,), solver="lbfgs", random_state=0).fit(X, y).set_params(device="cuda")
    with pytest.raises(RuntimeError, match="cannot be used"):
        fitted.predict(X)


def not_called():
    pytest.fail("a kernel was run")


@pytest.mark.parametrize(
    ("lack", "says"),
    [
        (("find_spec", lambda name: None), r"numba-cuda is not installed: .*fastmlp\[cuda13\]"),
        (("_has_driver", lambda: False), r"no NVIDIA driver is found: install.*--gpus all"),
    ],
    ids=["package", "driver"],
)
@pytest.mark.skipif(JIT_DISABLED, reason="that comes first: NUMBA_DISABLE_JIT is set")
def test_what_is_lacking(lack, says, monkeypatch):
    """Without the package or a driver, no kernel is run, for which CUDA would be imported."""
    complete(monkeypatch)
    monkeypatch.setattr(presence, *lack)
    assert re.search(says, presence.lacking(not_called))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError("libnvvm.so: not there"), r"compiler does not work \(libnvvm"),
        (RuntimeError("no\ndevice"), r"GPU cannot be used \(no device\)"),
        (None, r"^$"),
    ],
    ids=["compiler", "GPU", "nothing"],
)
@pytest.mark.skipif(JIT_DISABLED, reason="that comes first: NUMBA_DISABLE_JIT is set")
def test_a_kernel_is_tried_out(error, says, monkeypatch):
    complete(monkeypatch)
    tried = []

    def try_out():
        tried.append(error)
        if error:
            raise error

    assert re.search(says, presence.lacking(try_out))
    assert tried == [error]


def complete(monkeypatch):
    """As if package and driver were there."""
    monkeypatch.setattr(presence, "find_spec", lambda name: name)
    monkeypatch.setattr(presence, "_has_driver", lambda: True)
    monkeypatch.setattr(presence.config, "ENABLE_CUDASIM", 0)


@pytest.mark.skipif(not JIT_DISABLED, reason="about NUMBA_DISABLE_JIT")
def test_nothing_is_compiled_with_the_jit_off():
    assert "NUMBA_DISABLE_JIT is set" in presence.lacking(not_called)


IMPORTS = """
import sys
import numpy as np
import fastmlp
fastmlp.MLPClassifier((3,), solver="lbfgs", max_iter=2).fit(np.eye(4), [0, 1, 0, 1])
assert not [name for name in sys.modules if name.startswith(("numba.cuda", "cuda", "numba_cuda"))]
"""


@pytest.mark.slow
def test_cuda_is_not_imported_unless_asked_for():
    subprocess.run([sys.executable, "-W", "ignore", "-c", IMPORTS], check=True)
