"""The table of devices; the one place where a device is chosen.

What a device is, and what its verbs do, is written down in `fastmlp.devices.device`.
"""

from . import costs, presence
from .costs import Work
from .presence import is_on_gpu

__all__ = ["DEVICES", "Work", "choose", "is_on_gpu", "load", "present"]

#: Names of the devices.
DEVICES = ("cpu", "cuda", "reference")


def present() -> list[str]:
    """Names of the devices that can be used here."""
    return [name for name in DEVICES if name != "cuda" or not presence.lacking()]


def choose(name: str, work: Work | None = None) -> str:
    """The device that `name` stands for: itself, or for "auto" the one that is likely the fastest.

    "auto" never fails: where a GPU would pay but cannot be used, it is the CPU. So it is everywhere
    until the CUDA tests have passed on a GPU, see `costs.GPU_RECORD`.
    """
    if name != "auto":
        return name
    pays = costs.GPU_RECORD is not None and work is not None and costs.gpu_pays(work)
    return "cuda" if pays and not presence.lacking() else "cpu"


def load(name: str) -> type:
    """The class of the device called `name`.

    Raises
    ------
    RuntimeError
        If it is the CUDA device, and something that it needs is missing.
    ValueError
        If there is no such device.
    """
    if name == "cuda" and (lacking := presence.lacking()):
        raise RuntimeError(f"device='cuda' cannot be used: {lacking}")
    # Import statements, since tools that pack programs look for them.
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
