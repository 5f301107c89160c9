"""The table of devices; the one place where a device is chosen.

A device holds one network's parameters where it computes, and has a handful of coarse verbs:
``train_epoch``, ``loss_and_gradient``, ``forward``, ``parameters`` and ``moments``, described in
`fastmlp.devices.cpu.CpuDevice` and defined by `fastmlp.devices.reference.ReferenceDevice`.
"""

from .cpu import CpuDevice
from .reference import ReferenceDevice

DEVICES = {"cpu": CpuDevice, "reference": ReferenceDevice}


def choose(name: str) -> str:
    """The device that `name` stands for: itself, or for "auto" the fastest one present."""
    return "cpu" if name == "auto" else name


def load(name: str) -> type:
    """The class of the device called `name`."""
    return DEVICES[name]
