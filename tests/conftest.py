"""What all tests share: the compiled-only mark, and the devices at hand."""

import pytest

from fastmlp._jit import JIT_DISABLED


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "compiled: about compiled code, or too slow with kernels run as plain Python"
    )


def pytest_collection_modifyitems(items):
    if JIT_DISABLED:
        skip = pytest.mark.skip(reason="needs compiled kernels, and NUMBA_DISABLE_JIT is set")
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(skip)
