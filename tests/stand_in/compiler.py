"""The stand-in's compiler: from an image, which `translation` makes, to machine code of the host.

It needs nothing but llvmlite, which Numba is built upon.
"""

import ctypes
import ctypes.util
import json
import re
from functools import cache

from llvmlite import binding as llvm

#: The first bytes of an image; what a driver has to know of its kernels follows as JSON.
MAGIC = "; stand-in "
#: Bytes after each array in shared memory that nobody may write to: those of threads.c.
GUARD = 64
#: What a launch may have of shared memory without asking for more.
_SHARED_UNASKED = 48 << 10


def _machine():
    """Return the machine that code is compiled for: the one at hand."""
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=2, jit=True
    )


@cache
def host():
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return _machine()


@cache
def _mathematics():
    return ctypes.CDLL(ctypes.util.find_library("m"))


#: Functions of NVIDIA's that C has by another name, or not at all.
_OWN = {
    "__nv_fast_fdividef": "standin_fast_divide",
    "__nv_isnand": "standin_isnan",
    "__nv_isnanf": "standin_isnanf",
}


@cache
def driver() -> ctypes.CDLL:
    """Return the stand-in's driver: `LD_LIBRARY_PATH` must lead to it."""
    return ctypes.CDLL("libcuda.so.1")


def address_of(name):
    """Return the address of a function of the stand-in, or of C's for one of NVIDIA's; or None."""
    own = _OWN.get(name, name)
    library = driver() if own.startswith("standin_") else _mathematics()
    function = getattr(library, own.removeprefix("__nv_"), None)
    return function and ctypes.cast(function, ctypes.c_void_p).value


def entry_name(kernel: str) -> str:
    """Return the name of the function that loads a kernel's parameters, and calls it."""
    return f"{kernel} entry"


def own_name(mangled: str) -> str:
    """Return a function's own name: in a mangled one, parts come after their lengths."""
    part, rest = mangled, mangled.removeprefix("_ZN")
    while found := re.match(r"\d+", rest):
        end = found.end() + int(found[0])
        part, rest = rest[found.end() : end], rest[end:]
    return part


class Kernel(ctypes.Structure):
    """The driver's record of a kernel: `Kernel` in stand_in.h."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("own_name", ctypes.c_char_p),
        ("run", ctypes.c_void_p),
        ("parameters", ctypes.c_int),
        ("sizes", ctypes.POINTER(ctypes.c_int)),
        ("most_threads", ctypes.c_int),
        ("meets", ctypes.c_int),
        ("arrays", ctypes.c_int),
        ("places", ctypes.POINTER(ctypes.c_int)),
        ("lengths", ctypes.POINTER(ctypes.c_int)),
        ("static_bytes", ctypes.c_int),
        ("dynamic_place", ctypes.c_int),
        ("dynamic_bytes", ctypes.c_int),
    ]


_KEPT: list = []  # machine code, and what records point at: as long as the process lives


def kernels_in(image: str) -> list[Kernel]:
    """Compile an image; return its kernels as the driver wants them."""
    header, _, text = image.partition("\n")
    header = json.loads(header.removeprefix(MAGIC))
    host()  # initialises LLVM
    module = llvm.parse_assembly(text)
    for function in module.functions:
        if function.is_declaration and (address := address_of(function.name)):
            llvm.add_symbol(function.name, address)
    engine = llvm.create_mcjit_compiler(module, _machine())
    places, end = _placed(header["arrays"])
    shared = places | dict.fromkeys(header["dynamic"], end)
    driver().standin_window.restype = ctypes.c_void_p
    window = driver().standin_window()
    for variable in module.global_variables:
        if variable.name in shared:
            engine.add_global_mapping(variable, window + shared[variable.name])
    engine.finalize_object()
    lengths = [length for length, _ in header["arrays"].values()]
    kernels = []
    for name, (sizes, most_threads) in header["kernels"].items():
        kernels += [
            Kernel(
                name=name.encode(), own_name=own_name(name).encode(),
                run=engine.get_function_address(entry_name(name)),
                parameters=len(sizes), sizes=_integers(sizes), most_threads=most_threads,
                meets=header["meets"],
                arrays=len(places), places=_integers(places.values()), lengths=_integers(lengths),
                static_bytes=sum(lengths), dynamic_place=end,
                dynamic_bytes=_SHARED_UNASKED - sum(lengths),
            )
        ]  # fmt: skip
    _KEPT.append((engine, kernels))
    return kernels


def _placed(arrays):
    """Return the place of each static array in the window, and where dynamic ones may begin."""
    places, end = {}, 0
    for name, (length, align) in arrays.items():
        places[name] = -(-end // align) * align
        end = places[name] + length + GUARD
    return places, -(-end // GUARD) * GUARD


def _integers(values):
    values = list(values)
    return (ctypes.c_int * len(values))(*values)
