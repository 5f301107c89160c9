"""A stand-in for a GPU and its driver: the CUDA device without one, real but for the machine code.

Numba's simulator runs kernels as Python. Here everything is what runs on a GPU: numba-cuda and its
LLVM IR, streams, graphs and copies. Only two things are not. A library called ``libcuda.so.1``,
built from two files in C, answers the driver's functions from host memory; and kernels are compiled
for the host, from the same IR. What CUDA leaves open happens in an order that `inside.orders`
chooses: of threads, of blocks and of streams. What nobody wrote is NaN.

So it finds missing barriers and waits, accesses beyond the end of an array or to freed memory, and
captures that a driver would refuse. It knows nothing of time, registers and a GPU's rounding.

In the folder of tests, this runs a program with it:

    python -m stand_in -m pytest -m gpu test_gpu.py
"""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from numba.core import config

HERE = Path(__file__).parent
SOURCES = [HERE / "driver.c", HERE / "threads.c"]
#: Without fortified functions: those refuse to jump between the stacks of fibers.
FLAGS = ["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-U_FORTIFY_SOURCE"]


@cache
def missing() -> str:
    """Return why there can be no stand-in here; "" where there can."""
    if config.DISABLE_JIT or config.ENABLE_CUDASIM:
        return "kernels run as plain Python: NUMBA_DISABLE_JIT or NUMBA_ENABLE_CUDASIM is set"
    if not sys.platform.startswith("linux"):
        return "the stand-in's driver is for Linux"
    if not find_spec("numba_cuda"):
        return "numba-cuda is not installed"
    if not _compiler():
        return "no C compiler is found"
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib

    try:
        load_nvidia_dynamic_lib("nvvm")  # numba-cuda asks it for the layout of data
    except DynamicLibNotFoundError:
        return "libnvvm is not found"
    return ""


def _compiler():
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    return next(filter(None, map(shutil.which, names)), None)


def build(folder: Path) -> Path:
    """Build ``libcuda.so.1`` in a folder, and return the folder."""
    library = folder / "libcuda.so.1"
    command = [_compiler(), *FLAGS, "-o", library, *SOURCES, "-Wl,-soname,libcuda.so.1", "-lm"]
    subprocess.run([*command, "-lpthread"], check=True)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of programs that use the driver in a folder."""
    paths = {
        "LD_LIBRARY_PATH": [str(folder)],
        "PYTHONPATH": [str(HERE.parent), str(HERE.parents[1])],
    }
    joined = {
        name: os.pathsep.join([*own, *filter(None, [os.environ.get(name)])])
        for name, own in paths.items()
    }
    # Machine code of the stand-in is not for a GPU, nor the other way round.
    return os.environ | joined | {"FASTMLP_CACHE_DIR": str(folder / "cache")}


def run(folder: Path, program: str) -> list[dict]:
    """Run a function of a module of this package in a process that has the stand-in of a folder.

    Returns what it prints, a line of JSON for each result.
    """
    module, _, function = program.partition(".")
    code = f"""
from stand_in import inside
inside.install()
from stand_in import {module}
{module}.{function}()
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))
