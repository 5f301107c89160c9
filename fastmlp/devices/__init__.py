"""The table of devices; the one place where a device is chosen.

A device holds one network's parameters where it computes, and has a handful of coarse verbs:
``train_epoch``, ``loss_and_gradient``, ``forward``, ``parameters`` and ``moments``, described in
`fastmlp.devices.cpu.CpuDevice` and defined by `fastmlp.devices.reference.ReferenceDevice`.
"""

from typing import Any

import numpy as np
from scipy.sparse import issparse

from . import costs, presence
from .costs import Work
from .cpu import single_rows
from .presence import is_on_gpu

__all__ = ["DEVICES", "Work", "choose", "forward", "is_on_gpu", "load", "present"]

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


def load(name: str) -> type[Any]:
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


def forward(
    name: str, model: Any, X: Any, out: np.ndarray, n_jobs: int | None = None
) -> np.ndarray:
    """out = the outputs of a fitted network for the rows of X, by the device called `name`.

    Parameters
    ----------
    name : str
        One of `DEVICES`.
    model : FittedNetwork
        The network and its weights.
    X : ndarray of shape (n, features) or CSR matrix
        The rows.
    out : ndarray of shape (n, outputs), float32 or float64
        Its dtype is the one everything is computed in.
    n_jobs : int or None, default=None
        Most threads, see the devices.

    Returns
    -------
    out : ndarray
    """
    device = load(name)
    if name == "cpu" and single_rows.pays(model.network.size, len(out)):
        single_rows.predict_few(model, X, out)
        return out
    made = device(model.network, model.packed(out.dtype), sparse=issparse(X), n_jobs=n_jobs)
    return made.forward(X, out)
