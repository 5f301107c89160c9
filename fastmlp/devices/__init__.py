"""The table of devices; the one place where a device is chosen.

`fastmlp.devices.device` defines what a device is, and what its methods do. The rest of the package
uses the names of this module, and imports nothing from the devices themselves.
"""

import sys
from functools import lru_cache
from typing import Any

from . import costs, presence
from .costs import Work
from .cpu import CpuDevice, compile_ahead, count_compiled
from .cpu.permutation import shuffler
from .cpu.single_rows import PAIR, PLAIN, SHARES, SingleRows
from .cpu.team import usable_threads
from .cpu.value import table_of, value
from .cpu.vectors import VECTOR_BYTES
from .device import PRECISIONS, check_precision
from .lanes import MOST_TOGETHER, Fold, Lane, Lanes
from .presence import is_on_gpu
from .reference import ReferenceDevice, activate

__all__ = [
    "DEVICES", "EVERYWHERE", "MOST_TOGETHER", "PAIR", "PLAIN", "PRECISIONS", "SHARES",
    "VECTOR_BYTES", "Fold", "Lane", "Lanes", "ReferenceDevice", "SingleRows", "Work", "activate",
    "choose", "compile_ahead", "count_compiled", "describe", "in_place", "is_on_gpu", "lacking",
    "load", "on_gpu", "on_host", "precision_on", "present", "shuffler", "table_of",
    "trains_together", "usable_threads", "value",
]  # fmt: skip

#: Name of the device that every machine has.
EVERYWHERE = CpuDevice.name
#: Names of the devices.
DEVICES = ("cpu", "cuda", "reference")


def present() -> list[str]:
    """Return the names of the devices that can be used here."""
    return [name for name in DEVICES if name != "cuda" or not lacking()]


@lru_cache
def lacking() -> str:
    """Return why the CUDA device cannot run here, and what to do; "" if it can."""
    return presence.lacking(_run_a_kernel)


def _run_a_kernel():
    from .cuda import toolkit  # imports CUDA's packages

    toolkit.try_out()


def choose(name: str, work: Work | None = None, *, X: Any = None) -> str:
    """Return the device's name; for "auto", that of the device that is likely the fastest.

    "auto" never fails: if a GPU would be faster but cannot be used, the CPU is chosen. If X is on a
    GPU already, only the device there can read it.

    Raises
    ------
    ValueError
        If X is on a GPU, and another device is asked for.
    """
    if is_on_gpu(X):
        if name not in ("auto", "cuda"):
            raise ValueError(
                f"X lies on a GPU, where device={name!r} cannot read it: use device='cuda' or "
                "'auto', or copy X to the host."
            )
        return "cuda"
    if name != "auto":
        return name
    pays = costs.GPU_RECORD is not None and work is not None and costs.gpu_pays(work)
    return "cuda" if pays and not lacking() else "cpu"


def trains_together(name: str, X: Any) -> bool:
    """Return whether the device that `choose` is asked for may train several networks at once.

    A GPU does; the one that "auto" chooses for a large network would train it by itself.
    """
    return name == "cuda" or is_on_gpu(X)


def load(name: str) -> type[Any]:
    """Return the class of the device called `name`.

    Raises
    ------
    RuntimeError
        If it is the CUDA device, and a requirement of it is missing.
    ValueError
        If there is no such device.
    """
    if name == "cuda" and (missing := lacking()):
        raise RuntimeError(f"device='cuda' cannot be used: {missing}")
    if name == "cpu":
        return CpuDevice
    if name == "reference":
        return ReferenceDevice
    if name == "cuda":
        # A plain import statement: tools that package programs search for these.
        from .cuda import CudaDevice

        return CudaDevice
    raise ValueError(f"there is no device {name!r}")


def precision_on(name: str, device: str, precision: str, dtype: Any) -> str:
    """Return the precision for the device called `name`, chosen by the parameter `device`.

    "auto" permits another precision than "float32", of which not every device can make use.

    Raises
    ------
    ValueError
        If the numbers are not float32, which alone has others.
    """
    check_precision(precision, dtype)
    if device == "auto" and precision not in load(name).precisions():
        return PRECISIONS[0]
    return precision


def on_host(array: Any) -> Any:
    """Return the array itself, or a copy on the host if it is on a GPU."""
    return load("cuda").to_host(array) if is_on_gpu(array) else array


def in_place(X: Any) -> Any:
    """Return X, which is on a GPU, in the form in which the device there reads it.

    Raises
    ------
    ValueError
        If it is not a matrix of floats.
    """
    return load("cuda").in_place(X)


def on_gpu(network: Any, parameters: Any, form: int) -> Any:
    """Return a predictor for the user's own kernels; see `devices.cuda.value`.

    Raises
    ------
    RuntimeError
        If the CUDA device cannot be used here.
    """
    load("cuda")
    from .cuda import value as on_cuda

    return on_cuda.on_gpu(network, parameters, form)


def describe(name: str) -> str:
    """Return how the device called `name` computes; for the CUDA device, which GPU it uses.

    Raises
    ------
    RuntimeError, ValueError
        As `load`.
    Exception
        Any error of the driver of the GPU.
    """
    module = sys.modules[load(name).__module__]
    if name == "cuda":
        return module.describe()
    summary = (module.__doc__ or "present").splitlines()[0]
    return (summary.partition(": ")[2] or summary).rstrip(".")
