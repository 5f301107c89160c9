"""`numba.cuda` in Numba's simulator, for kernels whose functions stand in several modules.

The simulator lets the name `cuda` stand for the block that runs in the module of the kernel alone.
"""

import sys
import threading

import numpy as np
from numba.cuda.simulator.kernel import _get_kernel_context
from numba.np.numpy_support import as_dtype


class Simulated:
    """`numba.cuda` outside of kernels; the block that runs inside of them."""

    def __init__(self, outside):
        self._outside = outside

    def __getattr__(self, name):
        return getattr(_get_kernel_context() or self._outside, name)

    @property
    def shared(self):
        """Shared memory of the block that runs."""
        return _Shared(_get_kernel_context().shared)


class _Shared:
    """Shared memory as the simulator has it, but for static arrays.

    Those it finds by their line in the source, yet not in one piece: of two threads at the same
    line, each might get an array of its own.
    """

    _lock = threading.Lock()

    def __init__(self, of_block):
        self._of_block = of_block

    def array(self, shape, dtype, alignment=None):
        """The dynamic array, or the static one of the line that calls."""
        if shape == 0:
            return self._of_block.array(shape, dtype)
        frame = sys._getframe(1)
        place = frame.f_code, frame.f_lineno
        with self._lock:
            arrays = self._of_block._allocations
            if place not in arrays:
                arrays[place] = np.full(shape, np.nan, as_dtype(dtype))
            return arrays[place]
