"""Translation of a kernel's LLVM IR: from numba-cuda's, for NVVM, to an image for the stand-in.

What only a GPU has becomes calls of functions in threads.c. The result is optimised; it is what a
program keeps as the kernel's "cubin".
"""

import json
import re
from itertools import count

from llvmlite import binding as llvm

from . import instructions
from .compiler import MAGIC, address_of, entry_name, host, own_name

#: Nobody's but a GPU's.
_NVVM = "llvm.nvvm."
_WAITS = re.compile(r"standin_(\w*barrier|whole_warp|cluster_wait|shuffle_\w+|mma_\w+)\b")
_BARRIER = re.compile(
    r'^ *call void (?:@"llvm\.nvvm\.barrier0"|asm sideeffect "barrier\.cluster\.wait.*)\(\).*\n',
    re.MULTILINE,
)
CLUSTER = ", of the cluster"
_DEFINITION = re.compile(r'^define .*?@"(_ZN\w+)', re.MULTILINE)
_SHARED = re.compile(
    r'^@"?(\w+)"? = (?:internal )?addrspace\(3\) global (.+) undef(?:, align (\d+))?', re.MULTILINE
)
_DYNAMIC = re.compile(r'^@"?(\w+)"? = external addrspace\(3\) global \[0 x', re.MULTILINE)
_ANNOTATION = re.compile(r'@"?([\w$.]+)"?, !"(kernel|maxntidx?)", i32 (\d+)')


def barriers_in(modules: list[str]) -> list[str]:
    """Return the functions that the barriers are in, one for each barrier.

    `CLUSTER` is appended to the name if it is a barrier of a cluster, not of a block.
    """
    return [
        own_name(_DEFINITION.findall(text[: barrier.start()])[-1])
        + (CLUSTER if "cluster" in barrier[0] else "")
        for text in modules
        for barrier in _BARRIER.finditer(text)
    ]


def _numbered(modules):
    """Return the modules with a call before each barrier, which says its number to threads.c."""
    numbers = count()

    def numbered(barrier):
        return f"  call void @standin_number(i32 {next(numbers)})\n{barrier[0]}"

    return [
        f"{_BARRIER.sub(numbered, text)}\ndeclare void @standin_number(i32)" for text in modules
    ]


def image_of(modules: list[str]) -> bytes:
    """Translate the IR of a kernel and of what it calls.

    Parameters
    ----------
    modules : list of str
        LLVM IR for NVVM.

    Returns
    -------
    bytes
        IR for the host after one line of JSON, as the stand-in's driver loads it.

    Raises
    ------
    UnknownInstructionError
        If a kernel has an instruction that `instructions` does not know.
    """
    kernels = kernels_of(modules)
    calls: dict[str, str] = {}  # functions that stand for instructions
    module, *others = (llvm.parse_assembly(_translated(text, calls)) for text in _numbered(modules))
    for other in others:
        module.link_in(other)
    for written in (*calls.values(), *(_entry(module, name) for name in kernels)):
        module.link_in(llvm.parse_assembly(f"{_triple()}{written}"))
    _check_known(module)
    header = {
        "kernels": {name: [_sizes(module, name), most] for name, most in kernels.items()},
        "arrays": _static_arrays(module, modules),
        "dynamic": [name for text in modules for name in _DYNAMIC.findall(text)],
    }
    entries = {entry_name(name) for name in kernels}
    for function in module.functions:
        if not function.is_declaration and function.name not in entries:
            function.linkage = "internal"
    _optimise(module)
    header["meets"] = bool(_WAITS.search(str(module)))
    return f"{MAGIC}{json.dumps(header)}\n{module}".encode()


def _triple():
    return f'target triple = "{host().triple}"\n'


def kernels_of(modules: list[str]) -> dict[str, int]:
    """Return the most threads of a block, by the names of kernels."""
    found = [match for text in modules for match in _ANNOTATION.findall(text)]
    most = {name: int(number) for name, what, number in found if what.startswith("maxntid")}
    return {name: most.get(name, 1024) for name, what, _ in found if what == "kernel"}


def _static_arrays(module, modules):
    """Return bytes and alignment of each static array in shared memory, by its name."""
    found = [match for text in modules for match in _SHARED.findall(text)]
    return {
        name: [_bytes(module.get_global_variable(name).global_value_type), int(align or 16)]
        for name, _, align in found
    }


def _bytes(kind):
    return host().target_data.get_abi_size(kind)


def _sizes(module, name):
    return [_bytes(argument.type) for argument in module.get_function(name).arguments]


def _translated(text, calls):
    """Return a module for the host. What it calls instead of instructions is added to `calls`."""
    text = re.sub(r"^target .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r'^@"llvm\.used".*\n', "", text, flags=re.MULTILINE)
    text = re.sub(r"^!nvvm.*\n", "", text, flags=re.MULTILINE)
    # A linker leaves out what is linkonce and not needed yet.
    text = re.sub(r"^define linkonce_odr", "define weak_odr", text, flags=re.MULTILINE)
    # The driver says where arrays are: at known places in its window.
    text = _SHARED.sub(r'@"\1" = external addrspace(3) global \2', text)
    text = re.sub(
        r"^declare .*$", lambda match: _declaration(match[0], calls), text, flags=re.MULTILINE
    )
    text = text.replace(f'@"{_NVVM}', '@"nvvm.')
    return _with_calls(f"{_triple()}{text}", calls)


def _declaration(line, calls):
    """Return the declaration of what is no intrinsic of the host's LLVM."""
    found = re.fullmatch(r'declare (.+) @"(llvm\.nvvm\.([\w.]+))"\((.*)\)(.*)', line)
    if not found:
        return line
    result, _, name, parameters, _ = found.groups()
    own = f"nvvm.{name}"
    if register := instructions.REGISTERS.get(name.removeprefix("read.ptx.sreg.")):
        calls[own] = _register(own, register)
    elif function := instructions.INTRINSICS.get(name):
        kinds = [kind.strip().split(" ")[0] for kind in parameters.split(",") if kind.strip()]
        calls[own] = _call(own, result, kinds, function, ())
    return f'declare {result} @"{own}"({parameters})'


def _register(name, function):
    # Of a thread, these are constants: the optimiser may read one once.
    return (
        f"declare i32 @{function}() nounwind willreturn memory(none)\n"
        f'define i32 @"{name}"() alwaysinline {{\n'
        f"  %r = call i32 @{function}()\n  ret i32 %r\n}}"
    )


def _call(name, result, kinds, function, numbers):
    """Return IR for an instruction: a function of its registers, which are slots for ours."""
    kinds_of_results = re.findall(r"[\w*]+", result) if result != "void" else []
    parameters = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(kinds))
    lines = [f'define {result} @"{name}"({parameters}) alwaysinline {{']
    lines += [f"  %out = alloca [{max(1, len(kinds_of_results))} x i64]"]
    lines += [f"  %in = alloca [{max(1, len(kinds))} x i64]"]
    for i, kind in enumerate(kinds):
        lines += [f"  %i{i} = getelementptr i64, ptr %in, i64 {i}"]
        lines += [f"  store i64 0, ptr %i{i}", f"  store {kind} %a{i}, ptr %i{i}"]
    given = "".join(f", i32 {number}" for number in numbers)
    lines += [f"  call void @{function}(ptr %out, ptr %in{given})"]
    for i, kind in enumerate(kinds_of_results):
        lines += [f"  %o{i} = getelementptr i64, ptr %out, i64 {i}"]
        lines += [f"  %r{i} = load {kind}, ptr %o{i}"]
    if result.startswith("{"):
        whole = "poison"
        for i, kind in enumerate(kinds_of_results):
            lines += [f"  %s{i} = insertvalue {result} {whole}, {kind} %r{i}, {i}"]
            whole = f"%s{i}"
        lines += [f"  ret {result} {whole}"]
    else:
        lines += [f"  ret {result}{' %r0' if kinds_of_results else ''}"]
    declared = ", ".join(["ptr", "ptr", *["i32"] * len(numbers)])
    return f"declare void @{function}({declared})\n" + "\n".join([*lines, "}"])


_ASM = re.compile(
    r'call (?P<result>void|\w+\*?|\{[^}]*\}) asm (?:sideeffect )?"(?P<ptx>(?:[^"\\]|\\.)*)", '
    r'"[^"]*"\((?P<arguments>[^()]*(?:\([^()]*\)[^()]*)*)\)'
)


def _with_calls(text, calls):
    """Replace inline PTX by calls of functions of the same name."""

    def replaced(match):
        result, arguments = match["result"], match["arguments"]
        ptx = re.sub(r"\\([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), match["ptx"])
        kinds = [argument.rsplit(" ", 1)[0] for argument in arguments.split(", ") if argument]
        said = " ".join(re.sub(r"[^\w.$%:]", " ", ptx).split())
        name = re.sub(r"[^\w.$: ]", "_", f"ptx {said} {result} {' '.join(kinds)}")
        if register := instructions.register_of(ptx):
            calls[name] = _register(name, register)
        else:
            calls[name] = _call(name, result, kinds, *instructions.function_of(ptx))
        declared.add(f'declare {result} @"{name}"({", ".join(kinds)})')
        return f'call {result} @"{name}"({arguments})'

    declared: set[str] = set()
    text = _ASM.sub(replaced, text)
    return "\n".join([text, *sorted(declared)])


def _entry(module, name):
    """Return IR for a function that calls a kernel with the parameters that pointers point at."""
    kinds = [str(argument.type) for argument in module.get_function(name).arguments]
    lines = [f'declare void @"{name}"({", ".join(kinds)})']
    lines += [f'define void @"{entry_name(name)}"(ptr %parameters) {{']
    for i, kind in enumerate(kinds):
        lines += [f"  %p{i} = getelementptr ptr, ptr %parameters, i64 {i}"]
        lines += [f"  %q{i} = load ptr, ptr %p{i}", f"  %a{i} = load {kind}, ptr %q{i}"]
    arguments = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(kinds))
    return "\n".join([*lines, f'  call void @"{name}"({arguments})', "  ret void", "}"])


def _check_known(module):
    """Name what the host cannot do before it is needed, since a linker would end the process."""
    unknown = [
        function.name
        for function in module.functions
        if function.is_declaration
        and not function.name.startswith("llvm.")
        and not address_of(function.name)
    ]
    if unknown:
        raise instructions.UnknownInstructionError(", ".join(unknown))


def _optimise(module):
    module.data_layout = str(host().target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False  # takes time, and saves little
    builder = llvm.create_pass_builder(host(), options)
    builder.getModulePassManager().run(module, builder)
