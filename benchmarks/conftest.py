"""One thread on both sides."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def one_thread():
    """Keep BLAS to one thread: fastmlp's kernels are compared with it one to one."""
    with threadpool_limits(1):
        yield
