"""The table of devices; the one place where a device is chosen.

`fastmlp.devices.device` defines what a device is, and what its methods do.
"""

from typing import Any

from . import costs, presence
from .costs import Work
from .presence import is_on_gpu

__all__ = ["DEVICES", "Work", "choose", "is_on_gpu", "load", "present"]

#: Names of the devices.
DEVICES = ("cpu", "cuda", "reference")


def present() -> list[str]:
    """Return the names of the devices that can be used here."""
    return [name for name in DEVICES if name != "cuda" or not presence.lacking()]


def choose(name: str, work: Work | None = None) -> str:
    """Return the device's name; for "auto", that of the device that is likely the fastest.

    "auto" never fails: if a GPU would be faster but cannot be used, the CPU is chosen.
    """
    if name != "auto":
        return name
    pays = costs.GPU_RECORD is not None and work is not None and costs.gpu_pays(work)
    return "cuda" if pays and not presence.lacking() else "cpu"


def load(name: str) -> type[Any]:
    """Return the class of the device called `name`.

    Raises
    ------
    RuntimeError
        If it is the CUDA device, and a requirement of it is missing.
    ValueError
        If there is no such device.
    """
    if name == "cuda" and (lacking := presence.lacking()):
        raise RuntimeError(f"device='cuda' cannot be used: {lacking}")
    # Plain import statements, since tools that package programs search for these.
    if name == "cpu":
        from .cpu import CpuDevice

        return CpuDevice
    if name == "cuda":
        from .cuda import CudaDevice

        return CudaDevice
    if name == "reference":
        from .reference import ReferenceDevice

        return ReferenceDevice
    raise ValueError(f"there is no device {name!r}")
