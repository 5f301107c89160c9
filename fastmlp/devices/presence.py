"""Detection of a usable GPU, and of what is missing for it."""

import ctypes
import sys
from collections.abc import Callable
from importlib.util import find_spec

from numba.core import config

_INSTALL = (
    "python -m pip install 'fastmlp[cuda13]', or 'fastmlp[cuda12]' for drivers older than 580"
)


def is_on_gpu(array: object) -> bool:
    """Check whether an array is on a GPU, that is, has ``__cuda_array_interface__``."""
    return hasattr(array, "__cuda_array_interface__")


def lacking(try_out: Callable[[], None]) -> str:
    """Return why the CUDA device cannot run here, and what to do; "" if it can.

    Parameters
    ----------
    try_out : callable
        Runs a kernel, and raises an error if that fails. It is called only if there is a driver.
    """
    if find_spec("numba_cuda") is None:
        return f"the package numba-cuda is not installed: {_INSTALL}."
    if config.ENABLE_CUDASIM:
        return ""
    if config.DISABLE_JIT:
        return "NUMBA_DISABLE_JIT is set, with which nothing is compiled for it."
    if not _has_driver():
        return (
            "no NVIDIA driver is found: install the one for the GPU; in a container, start it with "
            "the GPU visible (docker run --gpus all)."
        )
    try:
        try_out()
    except Exception as error:  # drivers and compilers raise many types of errors
        text = " ".join(str(error).split()) or repr(error)
        compiler = any(part in text.lower() for part in ("nvvm", "nvrtc", "nvjitlink", "libdevice"))
        if compiler:
            return f"CUDA's compiler does not work ({text}): {_INSTALL}."
        return (
            f"the GPU cannot be used ({text}): see that `nvidia-smi` lists it, and that the "
            f"packages fit the driver: {_INSTALL}."
        )
    return ""


def _has_driver():
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
