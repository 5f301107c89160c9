"""Instructions of a cluster: each of its blocks reads and writes the shared memory of the others.

Addresses are numbers of 32 bits. GPUs have clusters from compute capability 9.0 on. Numba's
simulator has none, since it runs one block after the other: there, these functions are None.
"""

from llvmlite import ir
from numba import types

from .toolkit import intrinsic

_ADDRESS = ir.IntType(32)
_SHARED = 3  # the address space
#: Registers that hold a number, by its bits.
_REGISTERS = {32: "f", 64: "d"}


def _instruction(builder, result, text, constraints, *operands, attributes=()):
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    asm = ir.InlineAsm(kind, text, constraints, side_effect=True)
    return builder.call(asm, operands, attrs=attributes)


def _arrive(builder):
    # Convergent: all threads of a warp have to come to the same one.
    text = "barrier.cluster.arrive.release.aligned;"
    _instruction(builder, ir.VoidType(), text, "~{memory}", attributes=("convergent",))


def _wait(builder):
    text = "barrier.cluster.wait.acquire.aligned;"
    _instruction(builder, ir.VoidType(), text, "~{memory}", attributes=("convergent",))


def _without_operands(*instructions):
    def build(context, builder, sig, args):
        for instruction in instructions:
            instruction(builder)
        return context.get_dummy_value()

    return types.void(), build


@intrinsic(None)
def arrive(typing):
    """Show all that this thread has written to the threads that wait; it may go on meanwhile."""
    return _without_operands(_arrive)


@intrinsic(None)
def wait(typing):
    """Wait until all threads of the cluster have arrived."""
    return _without_operands(_wait)


@intrinsic(None)
def meet(typing):
    """Arrive and wait: a barrier of all threads of the cluster."""
    return _without_operands(_arrive, _wait)


@intrinsic(None)
def rank(typing):
    """Return which block of the cluster this is."""

    def build(context, builder, sig, args):
        return _instruction(builder, _ADDRESS, "mov.u32 $0, %cluster_ctarank;", "=r")

    return types.int32(), build


@intrinsic(None)
def address_in(typing, block, shared):
    """Return where an array of shared memory begins in a block of the cluster."""

    def build(context, builder, sig, args):
        block_type, array_type = sig.args
        data = context.make_array(array_type)(context, builder, args[1]).data
        own = builder.addrspacecast(data, ir.PointerType(data.type.pointee, _SHARED))
        own = builder.ptrtoint(own, _ADDRESS)
        number = context.cast(builder, args[0], block_type, types.uint32)
        text = "mapa.shared::cluster.u32 $0, $1, $2;"
        return _instruction(builder, _ADDRESS, text, "=r,r,r", own, number)

    return types.uint32(block, shared), build


@intrinsic(None)
def load_from(typing, shared, address):
    """Return the number at an address; it is one of the array's dtype."""
    kind = shared.dtype
    register, text = _REGISTERS[kind.bitwidth], f"ld.shared::cluster.f{kind.bitwidth} $0, [$1];"

    def build(context, builder, sig, args):
        result = context.get_data_type(kind)
        return _instruction(builder, result, text, f"={register},r", args[1])

    return kind(shared, types.uint32), build


@intrinsic(None)
def store_to(typing, address, value):
    """Store a number at an address."""
    register, text = _REGISTERS[value.bitwidth], f"st.shared::cluster.f{value.bitwidth} [$0], $1;"

    def build(context, builder, sig, args):
        _instruction(builder, ir.VoidType(), text, f"r,{register}", *args)
        return context.get_dummy_value()

    return types.void(types.uint32, value), build
