"""CUDA kernels compiled without a GPU, to look at what became of them.

numba-cuda makes PTX of a kernel (with libnvvm and libnvrtc), ptxas makes machine code of that, and
nvdisasm writes its instructions (SASS) down. None of them needs a GPU or its driver.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from numba.core import config

AMPERE, HOPPER = GPUS = (8, 0), (9, 0)
DOUBLE = r"D(ADD|MUL|FMA|SETP|MNMX|MMA)\b|MUFU\.\w*64H|(F2F|F2I|I2F|FRND)\..*F64"


@dataclass(frozen=True)
class Code:
    """A compiled kernel: bytes of local and of static shared memory, and its machine code."""

    registers: int
    spills: int  # loads and stores
    stack: int
    shared: int
    ptx: str
    binary: bytes

    @cached_property
    def _lines(self):
        """The SASS's instructions and labels, made when first looked at: it takes a second."""
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(self.binary)
            file.flush()
            sass = _run(_tool("nvdisasm"), file.name).stdout
        return re.findall(r"^(\.L\w+):|^\s+/\*[0-9a-f]{4,}\*/\s+(.*?);", sass, re.MULTILINE)

    @cached_property
    def instructions(self):
        """A counter of the SASS's mnemonics."""
        return Counter(_mnemonic(line) for _, line in self._lines if line)

    @cached_property
    def inner_loops(self):
        """Of each loop that has no other one inside, a counter of its mnemonics."""
        begun, names, loops = {}, [], {}
        for label, line in self._lines:
            if label:
                begun[label] = len(names)
                continue
            names.append(_mnemonic(line))
            back = re.search(r"\bBRA\b.*`\((\.L\w+)\)", line)
            if back and back[1] in begun:
                loops[begun[back[1]]] = len(names)
        return [
            Counter(names[begin:end])
            for begin, end in loops.items()
            if not any(begin < other < end for other in loops)
        ]

    def count(self, prefix):
        """How many instructions begin like this: LDG, MUFU.RCP."""
        return sum(n for name, n in self.instructions.items() if name.startswith(prefix))

    @property
    def local(self):
        """Loads from and stores to local memory, which is as far away as global memory."""
        return self.count("LDL") + self.count("STL")

    @property
    def fp64(self):
        """Instructions that compute in float64, or convert from or to it."""
        return sum(n for name, n in self.instructions.items() if re.match(DOUBLE, name))


class ToolError(Exception):
    """What a program of the toolkit says that does not do its work."""


def _mnemonic(line):
    return re.match(r"(?:@!?U?P\w+ )?([A-Z][\w.]+)", line)[1]


def _run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(done.stderr)
    return done


def _tool(name):
    """The path of one of the toolkit's programs, or None.

    The wheels' come first: they belong to the wheels' NVVM, and an older ptxas refuses its PTX.
    """
    wheels = [str(path) for base in sys.path for path in Path(base).glob("nvidia/cu*/bin")]
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    toolkits = [os.path.join(home, "bin") for home in [*homes, "/usr/local/cuda"]]
    return shutil.which(name, path=os.pathsep.join([*wheels, os.environ["PATH"], *toolkits]))


@cache
def missing():
    """Return why kernels cannot be compiled here, or nothing where they can."""
    if config.DISABLE_JIT or config.ENABLE_CUDASIM:
        return "kernels run as plain Python: NUMBA_DISABLE_JIT or NUMBA_ENABLE_CUDASIM is set"
    if not find_spec("numba_cuda"):
        return "numba-cuda is not installed"
    from cuda.pathfinder import DynamicLibNotFoundError, load_nvidia_dynamic_lib

    for library in ("nvvm", "nvrtc"):
        try:
            load_nvidia_dynamic_lib(library)
        except DynamicLibNotFoundError:
            return f"lib{library} is not found"
    if absent := [name for name in ("ptxas", "nvdisasm") if not _tool(name)]:
        return f"not found: {', '.join(absent)}"
    try:
        compiled(lambda: None, (), HOPPER)
    except ToolError as error:
        return f"ptxas does not take NVVM's PTX: {error}"
    return ""


def _ptx(kernel, signature, cc):
    from fastmlp.devices.cuda.toolkit import cuda

    # A kernel that calls a device function asks for the device at hand.
    device = SimpleNamespace(compute_capability=cc)
    options = getattr(kernel, "targetoptions", {})
    options = {name: options[name] for name in ("fastmath", "launch_bounds") if name in options}
    function = getattr(kernel, "py_func", kernel)
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        ptx, _ = cuda.compile_ptx(function, signature, cc=cc, **options)
    return ptx


def compiled(kernel, signature, cc):
    """Compile a kernel for a compute capability.

    Parameters
    ----------
    kernel : function or dispatcher
        Of a dispatcher, with its launch bounds.
    signature : tuple of Numba types
        Those of its arguments.
    cc : (int, int)
        `AMPERE`, `HOPPER`, or another.

    Returns
    -------
    Code
    """
    ptx = _ptx(kernel, signature, cc)
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        arch = f"-arch=sm_{cc[0]}{cc[1]}"
        said = _run(_tool("ptxas"), "-v", arch, source, "-o", binary).stderr

        def numbers(pattern):  # one for the kernel, and one for each function not inlined
            return [int(number) for number in re.findall(pattern, said)]

        return Code(
            registers=max(numbers(r"Used (\d+) registers")),
            spills=sum(numbers(r"(\d+) bytes spill")),
            stack=sum(numbers(r"(\d+) bytes stack frame")),
            shared=sum(numbers(r"(\d+) bytes smem")),
            ptx=ptx,
            binary=binary.read_bytes(),
        )
