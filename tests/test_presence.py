"""What is said where something is missing that the CUDA device needs."""

import re
import subprocess
import sys

import numpy as np
import pytest

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._jit import JIT_DISABLED
from fastmlp.devices import presence


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(presence, "lacking", lambda: "there is none.")


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
