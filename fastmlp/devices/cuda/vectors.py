"""Loads and stores of 16 bytes, in one instruction each: from and to shared memory.

A place in shared memory is a number of bytes from its beginning, of 32 bits. Thus neither Numba's
test for negative indices nor a multiplication comes before a load.
"""

from llvmlite import ir
from numba import types

from .shared import VECTOR
from .toolkit import intrinsic


def _numbers(shared, place):
    if place % VECTOR:
        raise IndexError(f"{place} is no multiple of {VECTOR} bytes")
    first, count = place // shared.itemsize, VECTOR // shared.itemsize
    if not 0 <= first <= len(shared) - count:
        raise IndexError(f"{place} is not in {len(shared)} numbers")
    return slice(first, first + count), count


def _load_numbers(registers, first, shared, place):
    numbers, count = _numbers(shared, place)
    registers[first : first + count] = shared[numbers]


def _store_numbers(shared, place, registers, first):
    numbers, count = _numbers(shared, place)
    shared[numbers] = registers[first : first + count]


def _data(context, builder, array_type, array):
    return context.make_array(array_type)(context, builder, array).data


def _vector_at(context, builder, array_type, array, place):
    """Return a pointer to the 16 bytes at a place, and how many numbers they are."""
    data = _data(context, builder, array_type, array)
    count = VECTOR * 8 // array_type.dtype.bitwidth
    at = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [place])
    return builder.bitcast(at, ir.VectorType(data.type.pointee, count).as_pointer()), count


def _number_at(context, builder, array_type, array, index_type, index, q):
    data = _data(context, builder, array_type, array)
    at = context.cast(builder, index, index_type, types.intp)
    return builder.gep(data, [builder.add(at, at.type(q))])


@intrinsic(_load_numbers)
def load(typing, registers, first, shared, place):
    """Load the numbers at a place into registers[first], registers[first + 1], ..."""

    def build(context, builder, sig, args):
        pointer, count = _vector_at(context, builder, sig.args[2], *args[2:])
        vector = builder.load(pointer)
        vector.align = VECTOR
        for q in range(count):
            number = builder.extract_element(vector, ir.IntType(32)(q))
            at = _number_at(context, builder, sig.args[0], args[0], sig.args[1], args[1], q)
            builder.store(number, at)
        return context.get_dummy_value()

    return types.void(registers, first, shared, types.int32), build


@intrinsic(_store_numbers)
def store(typing, shared, place, registers, first):
    """Store registers[first], registers[first + 1], ... at a place."""

    def build(context, builder, sig, args):
        pointer, count = _vector_at(context, builder, sig.args[0], *args[:2])
        vector = ir.Constant(pointer.type.pointee, ir.Undefined)
        for q in range(count):
            at = _number_at(context, builder, sig.args[2], args[2], sig.args[3], args[3], q)
            vector = builder.insert_element(vector, builder.load(at), ir.IntType(32)(q))
        builder.store(vector, pointer).align = VECTOR
        return context.get_dummy_value()

    return types.void(shared, types.int32, registers, first), build
