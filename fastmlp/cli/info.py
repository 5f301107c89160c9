"""The environment of fastmlp: versions, processor, threads, cache and devices."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib
import numba
from llvmlite import binding
from threadpoolctl import threadpool_info

from .. import devices
from .._cache import CACHE
from .._jit import JIT_DISABLED

PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "llvmlite", "threadpoolctl", "numba-cuda")


def show_versions() -> None:
    """Print the information for a bug report: versions, machine, threads, cache, devices.

    ``python -m fastmlp info`` prints the same.
    """
    sections = {
        "versions": versions(),
        "machine": _machine(),
        "threads": _threads(),
        "compiled code": _compiled_code(),
        "devices": _devices(),
    }
    width = max(len(name) for entries in sections.values() for name in entries)
    for title, entries in sections.items():
        print(title)
        for name, text in entries.items():
            print(f"  {name:{width}}  {text}")


def versions() -> dict[str, str]:
    """Return the versions of fastmlp, Python and the packages that it depends on."""
    # Looked up rather than imported: the package itself imports this module.
    fastmlp = sys.modules[__package__.rpartition(".")[0]]
    found = {"fastmlp": fastmlp.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def cpu_name() -> str:
    """Return the processor's name, as given by its manufacturer and by the compiler."""
    return f"{_marketing_name()} ({binding.get_host_cpu_name()})"


def _marketing_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpus() -> str:
    """Return how many CPUs there are, and how many of them this process may use."""
    # joblib respects affinity and a container's quota; os.cpu_count() ignores both.
    return f"{joblib.cpu_count()} usable of {os.cpu_count()}"


def vectors() -> str:
    """Return the width of the vectors that the CPU device computes with."""
    return f"{8 * devices.VECTOR_BYTES} bits"


def _machine():
    return {
        "system": platform.platform(),
        "processor": cpu_name(),
        "CPUs": cpus(),
        "vectors": vectors(),
    }


def _threads():
    threads = {"numba": str(numba.config.NUMBA_NUM_THREADS)}
    # NumPy and SciPy may each include a copy of the same library.
    for pool in threadpool_info():
        threads[pool["internal_api"]] = str(pool["num_threads"])
    return threads


def cache_files() -> dict[str, Path]:
    """Return the files of compiled code for this version of the sources, by name."""
    return {} if JIT_DISABLED else CACHE.files()


def _compiled_code():
    if JIT_DISABLED:
        return {"cache": "not in use: NUMBA_DISABLE_JIT is set, kernels run as plain Python"}
    files, folders = cache_files(), [str(folder.path) for folder in CACHE.readable]
    megabytes = sum(file.stat().st_size for file in files.values()) / 1e6
    return {
        "cache": str(
            CACHE.path or "none: no folder is writable; set FASTMLP_CACHE_DIR to one that is"
        ),
        "read from": "\n".ljust(19).join(folders) or "no folder",
        "files": f"{len(files)}, {megabytes:.1f} MB",
    }


def _devices():
    return {name: _device(name) for name in devices.DEVICES} | {"auto": devices.choose("auto")}


def _device(name):
    """Return how the device computes, or why it cannot be used."""
    if name == "cuda" and (missing := devices.lacking()):
        return f"not usable: {missing}"
    try:
        return devices.describe(name)
    except Exception as error:  # the user wants to know any problem of a driver or package
        return f"not usable: {error}"
