"""What all tests share: the compiled-only mark, and the devices at hand."""

import sys
from types import SimpleNamespace

import pytest
from numba.core import config

from fastmlp._jit import JIT_DISABLED

#: What stands for the parameters of a test that has none.
NOTHING = SimpleNamespace(params={})


if config.ENABLE_CUDASIM:
    # The simulator's threads are Python's, and meet at every turn: at once, rather than when the
    # five milliseconds of whoever runs are over.
    sys.setswitchinterval(2e-5)


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "compiled: about compiled code, or too slow with kernels run as plain Python"
    )
    config.addinivalue_line("markers", "gpu: about the CUDA device, on a GPU or in the simulator")


def pytest_collection_modifyitems(items):
    for item in items:
        if "cuda" in getattr(item, "callspec", NOTHING).params.values():
            item.add_marker("gpu")
    if JIT_DISABLED:
        skip = pytest.mark.skip(reason="needs compiled kernels, and NUMBA_DISABLE_JIT is set")
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(skip)
