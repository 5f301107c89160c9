"""What all tests share: the compiled-only mark, and the devices at hand."""

import pytest

from fastmlp._jit import JIT_DISABLED


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "compiled: about compiled code, or too slow with kernels run as plain Python"
    )


def pytest_collection_modifyitems(items):
    if not JIT_DISABLED:
        return
    compiled = pytest.mark.skip(reason="needs compiled kernels, and NUMBA_DISABLE_JIT is set")
    same = pytest.mark.skip(reason="the reference has no kernels, and NUMBA_DISABLE_JIT is set")
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if item.get_closest_marker("compiled"):
            item.add_marker(compiled)
        elif parameters.get("device") == "reference":
            item.add_marker(same)
