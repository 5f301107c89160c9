"""The compiler options: what is compiled, and when, and what the compiler may assume."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastmlp import _jit
from fastmlp._jit import FASTMATH, called
from fastmlp.devices.cpu.vectors import keep, pointer

pytestmark = pytest.mark.compiled
LIMIT = 60  # seconds a process may take: far more than it does, for a machine that is busy


# What is compiled, and when


def test_importing_compiles_nothing_and_leaves_cuda_alone():
    program = """
import gc, sys
from numba.core import event
from numba.core.dispatcher import Dispatcher
with event.install_recorder("numba:compile") as recorder:
    import fastmlp, fastmlp.devices.cpu
assert not recorder.buffer
ours = [each for each in gc.get_objects() if isinstance(each, Dispatcher)
        and each.py_func.__module__.startswith("fastmlp")]
assert len(ours) > 20
assert not any(each.overloads for each in ours)
print([name for name in sys.modules if name.startswith(("numba.cuda", "numba_cuda", "cuda"))])
"""
    environment = {name: value for name, value in os.environ.items() if name[:6] != "NUMBA_"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=Path(_jit.__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


# What the compiler may assume


def test_fastmath_leaves_out_what_would_harm():
    assert FASTMATH.isdisjoint({"fast", "nnan", "ninf", "arcp", "afn"})


@called
def has_nan(x):
    found = False
    for i in range(x.size):
        found |= x[i] != x[i]
    return found


@called
def quotients(x, y, z):
    for i in range(x.size):
        z[i] = x[i] / y[i]


@called
def inverse_roots(x, y, z):
    for i in range(x.size):
        z[i] = x[i] / np.sqrt(y[i])


every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@every_dtype
def test_nan_is_noticed(dtype):
    x = np.ones(67, dtype)
    assert not has_nan(x)
    x[65] = np.nan
    assert has_nan(x)


@every_dtype
@pytest.mark.parametrize("function", [quotients, inverse_roots])
def test_division_and_root_are_right_at_infinity(dtype, function):
    largest, tiny = np.finfo(dtype).max, np.finfo(dtype).tiny
    y = np.resize(np.array([np.inf, 0, largest, tiny, 3, 1], dtype), 67)
    x, z = np.ones_like(y), np.empty_like(y)
    with np.errstate(divide="ignore"):
        function(x, y, z)
        expected = x / (y if function is quotients else np.sqrt(y))
    np.testing.assert_array_max_ulp(z, expected, 1)


# What the compiler frees


@called
def first_of_two(size):
    a = np.empty(size)
    p = pointer(a)
    b = np.empty(size)
    q = pointer(b)
    p[0], q[0] = 1.0, 2.0
    result = p[0]
    keep(a)
    keep(b)
    return result


def test_memory_behind_a_pointer_is_kept():
    """Without `keep`, b would get the memory of a, which is not used any more."""
    assert first_of_two(100) == 1.0
