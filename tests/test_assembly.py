"""Compiled code is what it should be: the instructions of its innermost loops."""

import platform
import re
from typing import NamedTuple

import numpy as np
import pytest
from laws import DTYPES, FUSED, LOOPS, X86, computed
from numba import from_dtype, types

from fastmlp._jit import called
from fastmlp.devices.cpu import loops
from fastmlp.devices.cpu.calls import Loop
from fastmlp.devices.cpu.microkernel import ROWS, STORE, UNROLL
from fastmlp.devices.cpu.optimizer import Update, updating
from fastmlp.devices.cpu.panels import Panels, panel_width, transposed
from fastmlp.devices.cpu.products import exact_product, panel_product
from fastmlp.devices.cpu.vectors import VECTOR_BYTES, VECTORS, lanes, pointer
from fastmlp.formulas.activations import PAIRS

ARM = platform.machine() in {"aarch64", "arm64"}

pytestmark = [
    pytest.mark.compiled,
    pytest.mark.slow,
    pytest.mark.skipif(not (X86 or ARM), reason="reads the assembly of x86 and ARM"),
    pytest.mark.skipif(not FUSED, reason="the processor compiled for has no fused vectors"),
]
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


class Words(NamedTuple):
    """What a processor's assembly calls things, for one dtype: regular expressions."""

    vector: str  # a register as wide as the tile's
    usual: str  # or as wide as LLVM makes loops: on some x86 half of what there is
    fused: str
    root: str
    quotient: str
    single: str  # arithmetic on one number
    foreign: str  # arithmetic on the other dtype, and conversions
    call: str
    stack: str


def x86_words(own, other):
    names = {16: "xmm", 32: "ymm", 64: "zmm"}
    operation = r"v?(add|sub|mul|div|sqrt|min|max|round|rndscale|fn?m(add|sub)\d+)"
    return Words(
        vector=f"%{names[VECTOR_BYTES]}",
        usual=f"%({names[VECTOR_BYTES]}|{names[max(16, VECTOR_BYTES // 2)]})",
        fused=rf"vfn?m(add|sub)\d+p{own}",
        root=rf"v?sqrtp{own}",
        quotient=rf"v?divp{own}",
        single=rf"{operation}s{own}",
        foreign=rf"{operation}[sp]{other}|v?cvt(p?[sd])+2",
        call="call",
        stack=r"\(%rsp",
    )


def arm_words(own, other):
    """Apple writes ``fmla.4s v0, v1, v2``, others ``fmla v0.4s, v1.4s, v2.4s``; z is SVE's."""

    def packed(name, size=own):
        return rf"{name}(\.\d{size}\s+v|\s+v\d+\.\d{size}|\s+z\d+\.{size})"

    return Words(
        vector=r"\b[vqz]\d",
        usual=r"\b[vqz]\d",
        fused=packed("fml[as]"),
        root=packed("fsqrt"),
        quotient=packed("fdiv"),
        single=rf"f[a-z]+\s+{own}\d",
        foreign=rf"{packed('f[a-z]+', other)}|f[a-z]+\s+{other}\d|fcvt",
        call=r"blr?\s",
        stack=r"\[sp",
    )


def words(dtype):
    return (arm_words if ARM else x86_words)(*("sd" if dtype == np.float32 else "ds"))


def loops_of(assembly):
    """The innermost loops without branches: from a label to the jump back to it, none between."""
    for block in re.split(r"^(?=\.?LBB\w+:)", assembly, flags=re.MULTILINE)[1:]:
        label, _, lines = block.partition(":")
        body = []
        for line in map(str.strip, lines.splitlines()):
            if re.fullmatch(rf"[jbct].*\s{re.escape(label)}", line):
                yield body
                break
            body.append(line)


def count(loop, instruction, register=""):
    """How many instructions of a loop are of this kind, and use such registers."""
    return sum(re.match(rf"({instruction}).*{register}", line) is not None for line in loop)


def vector_loops(assembly, dtype):
    """The processor's words, and the loops that multiply and add in whole vectors."""
    word = words(dtype)
    found = [body for body in loops_of(assembly) if count(body, word.fused, word.usual)]
    assert found
    return word, found


def compiled_for(loop, dtype):
    """The assembly of a kernel that was called with an array of this dtype first."""
    scalar = from_dtype(np.dtype(dtype))
    return loop.inspect_asm(next(s for s in loop.signatures if s[0].dtype == scalar))


# The update of parameters


def updates(name, dtype):
    """The assembly of an optimiser's update loop."""
    function = updating(name, called)
    Loop(function, Update, np.dtype(dtype), returns=types.float64)
    return function.inspect_asm(function.signatures[0])


@every_dtype
def test_adam_updates_in_vectors(dtype):
    word, found = vector_loops(updates("adam", dtype), dtype)
    found = [body for body in found if count(body, word.root, word.usual)]
    assert found
    for body in found:
        numbers = count(body, word.root)
        assert count(body, word.root, word.usual) == numbers
        assert count(body, word.quotient, word.usual) == numbers
        # the gradient with its penalty, two moments, the weight with its decay, twice the penalty
        assert 5 * numbers <= count(body, word.fused, word.usual) <= 6 * numbers
        assert not count(body, f"{word.single}|{word.foreign}|{word.call}")


@every_dtype
def test_sgd_updates_in_vectors(dtype):
    word, found = vector_loops(updates("sgd", dtype), dtype)
    assert found
    for body in found:
        assert not count(body, f"{word.single}|{word.foreign}|{word.call}|{word.quotient}")


# Elementary functions


@every_dtype
@pytest.mark.parametrize("name", LOOPS)
def test_elementary_functions_are_vectors_of_their_own_dtype(name, dtype):
    computed(name, np.ones(8, dtype))
    text = compiled_for(LOOPS[name], dtype)
    word, found = vector_loops(text, dtype)
    # What remains of an array, number by number, may have something in vectors too.
    assert any(not count(body, f"{word.single}|{word.foreign}|{word.call}") for body in found)
    # A function left as a call would be loaded by its address.
    assert not re.search(r"\$(exp|log|tanh|erfc?|fma|floor)f?\b", text)


@every_dtype
@pytest.mark.parametrize("name", sorted(PAIRS.keys() - {"step"}))  # which only compares
def test_activations_fill_the_registers(name, dtype):
    # Compiled here: what comes from the cache on disk cannot be looked into.
    function = loops.elementwise(PAIRS[name], called)
    Loop(function, loops.Units, np.dtype(dtype))
    text = function.inspect_asm(function.signatures[0])
    word = words(dtype)
    assert any(
        count(body, ".*", word.vector) and not count(body, f"{word.single}|{word.call}")
        for body in loops_of(text)
    )


# The register tile


@called
def multiply(C, X, Y, flip):
    """C = X Y or Xᵀ Y on flat arrays, one panel each."""
    rows, full = X.size // panel_width(X), panel_width(X)
    C, X = Panels(pointer(C), 0, rows, full, full, 0), Panels(pointer(X), 0, rows, full, full, 0)
    Y = Panels(pointer(Y), 0, rows, full, full, 0)
    if flip:
        exact_product(C, transposed(X), Y, 0, STORE)
    else:
        panel_product(C, X, Y, STORE, C)


def tiles(dtype):
    """The words, and the loops of one step and of `UNROLL` steps along the shared dimension."""
    one = np.ones((VECTORS * lanes(dtype)) ** 2, dtype)
    multiply(one, one, one, False)
    word, found = vector_loops(compiled_for(multiply, dtype), dtype)
    sums = ROWS * VECTORS
    return word, *([b for b in found if count(b, word.fused) == sums * n] for n in (1, UNROLL))


@every_dtype
def test_tiles_are_whole_vectors(dtype):
    word, single, unrolled = tiles(dtype)
    assert single
    assert unrolled
    for body in single + unrolled:
        assert count(body, word.fused, word.vector) == count(body, word.fused)
        assert not count(body, f"{word.single}|{word.foreign}|{word.call}")


@every_dtype
def test_tiles_stay_in_registers(dtype):
    word, single, unrolled = tiles(dtype)
    for body in single + unrolled:
        vectors = [line for line in body if re.search(word.vector, line)]
        assert not [line for line in vectors if re.search(word.stack, line)]
