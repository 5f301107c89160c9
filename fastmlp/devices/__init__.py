"""The table of devices; the one place where a device is chosen.

A device holds one network's parameters where it computes, and has a handful of coarse verbs:
``train_epoch``, ``loss_and_gradient``, ``forward``, ``parameters`` and ``moments``, described in
`fastmlp.devices.cpu.CpuDevice` and defined by `fastmlp.devices.reference.ReferenceDevice`.
"""

from importlib import import_module

from . import costs, presence
from .costs import Work
from .presence import is_on_gpu

__all__ = ["DEVICES", "Work", "choose", "is_on_gpu", "load", "present"]

#: Names of the devices.
DEVICES = ("cpu", "cuda", "reference")
_CLASSES = {"cpu": "CpuDevice", "cuda": "CudaDevice", "reference": "ReferenceDevice"}


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
    """
    if name == "cuda" and (lacking := presence.lacking()):
        raise RuntimeError(f"device='cuda' cannot be used: {lacking}")
    return getattr(import_module(f".{name}", __name__), _CLASSES[name])
