"""`numba.cuda` in Numba's simulator, for kernels whose functions are in several modules.

The simulator makes the name `cuda` refer to the running block only in the kernel's own module.
"""

import sys
import threading

import numpy as np
from numba.cuda.simulator.kernel import BlockThread, _get_kernel_context
from numba.np.numpy_support import as_dtype


class Simulated:
    """`numba.cuda` outside of kernels; the running block inside of them."""

    def __init__(self, outside):
        self._outside = outside

    def __getattr__(self, name):
        # Other threads may allocate and copy while a kernel runs.
        inside = isinstance(threading.current_thread(), BlockThread)
        return getattr(_get_kernel_context() if inside else self._outside, name)

    @property
    def shared(self):
        """Shared memory of the running block."""
        return _Shared(_get_kernel_context().shared)


class _Shared:
    """Shared memory like the simulator's, except for static arrays.

    The simulator identifies static arrays by their source line, but not atomically: two threads at
    the same line might each get their own array.
    """

    _lock = threading.Lock()

    def __init__(self, of_block):
        self._of_block = of_block

    def array(self, shape, dtype, alignment=None):
        """Return the dynamic array, or the static one of the calling line."""
        if shape == 0:
            return self._of_block.array(shape, dtype)
        frame = sys._getframe(1)
        place = frame.f_code, frame.f_lineno
        with self._lock:
            arrays = self._of_block._allocations
            if place not in arrays:
                arrays[place] = np.full(shape, np.nan, as_dtype(dtype))
            return arrays[place]
