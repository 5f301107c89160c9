"""Machine code is bound to its own copies of what it calls: the same bits, compiled or loaded."""

import os
import subprocess
import sys

import numpy as np
import pytest
from llvmlite.binding import Linkage
from numba import njit

from fastmlp._jit import entry, kernel, never_inlined

pytestmark = pytest.mark.compiled


@kernel
def total(x):
    never_inlined()
    result = 0.0
    for i in range(x.size):
        result += x[i]
    return result


@entry
def twice(x, y):
    return total(x) + total(y)


def test_nothing_that_an_entry_calls_can_be_another_copy():
    """Of each function that its object file defines, nobody else sees any but the entry itself."""
    twice(np.ones(3), np.ones(3))
    twice.recompile()  # what comes from the disk does not show its functions
    (compiled,) = twice.overloads.values()
    defined = [f for f in compiled.library._final_module.functions if not f.is_declaration]
    hidden = [f.name for f in defined if f.linkage == Linkage.internal]
    assert any("total" in name for name in hidden)
    for function in defined:
        assert function.linkage == Linkage.internal or "twice" in function.name
    kernels = [f for f in total.overloads.values() for f in f.library._final_module.functions]
    assert any(f.linkage == Linkage.external for f in kernels)  # which others link


@njit
def users_own(x):
    return twice_over(x) + total(x)


@kernel
def twice_over(x):
    return 2 * total(x)


def test_a_users_own_function_may_call_a_part_that_calls_another():
    assert users_own(np.ones(3)) == 9


def test_python_cannot_call_a_part():
    with pytest.raises(TypeError):
        total(np.ones(3))


#: Two entries that share kernels, each of which could take up the other's copy.
PROGRAM = """
import hashlib
import numpy as np
from numba.core import event
from fastmlp.devices import load
from fastmlp.network import Network
from fastmlp.training import Rows
network = Network((23, 70, 40, 3), "relu", "log_loss")
rng = np.random.default_rng(0)
X, targets = rng.standard_normal((300, 23)), np.eye(3)[rng.integers(0, 3, 300)]
parameters = rng.standard_normal(network.size) / 5
with event.install_recorder("numba:compile") as recorder:
    device = load("cpu")(network, parameters, batch_size=100)
    gradient = device.sums(Rows(X, targets, None)).gradient
    outputs = device.forward(X, np.empty((300, 3)))
print(bool(recorder.buffer), hashlib.sha256(gradient.tobytes() + outputs.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_code_compiled_now_and_the_same_code_loaded_give_the_same_bits(tmp_path):
    environment = os.environ | {"FASTMLP_CACHE_DIR": str(tmp_path)}
    printed = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]  # fmt: skip
    (compiled, bits), (compiled_again, bits_again) = printed
    assert (compiled, compiled_again) == ("True", "False")
    assert bits == bits_again
