"""Loops that are compiled separately and called by address.

A loop takes one tuple, which describes the data to work on. The code of an epoch calls the loop by
its address: it contains no loop's code, and need not be compiled again for each loop.
"""

from collections.abc import Callable

import numpy as np
from numba import from_dtype, types
from numba.core import cgutils
from numba.core.errors import NumbaTypeError

from ..._jit import JIT_DISABLED, addressed, entry, intrinsic
from ...optimizers import MOST_NUMBERS


def _type_of(work, dtype):
    """Return the Numba type of the tuple `work` for networks of `dtype`."""
    number = from_dtype(dtype)
    kinds = {
        np.ndarray: types.CPointer(number),
        int: types.int64,
        float: number,
        tuple: types.UniTuple(number, MOST_NUMBERS),
    }
    return types.NamedTuple([kinds[kind] for kind in work.__annotations__.values()], work)


#: If the JIT is off, addresses are indices into this list; 0 means no address.
_PLAIN: list[Callable | None] = [None]


class Loop:
    """A loop compiled for one dtype; it returns nothing, or a float64.

    Attributes
    ----------
    address : int
        Its address in this process; the code stays there until the process ends.
    """

    def __init__(self, function, work, dtype, returns=types.void):
        if JIT_DISABLED:
            _PLAIN.append(function)
            self.address = len(_PLAIN) - 1
            return
        signature = returns(_type_of(work, dtype))
        function.compile(signature)
        compiled = function.overloads[signature.args]
        name = compiled.fndesc.llvm_func_name
        self.address = compiled.library.get_pointer_to_function(name)


def _caller(returns):
    """Return a function that calls loops of this return type."""

    @intrinsic(lambda address, work: _PLAIN[address](work))
    def call(typingctx, address, work):
        dtype = np.dtype(work.types[0].dtype.name)
        if work != _type_of(work.instance_class, dtype):  # it would read the wrong memory
            raise NumbaTypeError(f"a loop cannot be called with {work}")

        def build(context, builder, signature, values):
            convention = context.call_conv
            function_type = convention.get_function_type(returns, (work,))
            target = builder.inttoptr(values[0], function_type.as_pointer())
            status, result = convention.call_function(
                builder, target, returns, (work,), (values[1],)
            )
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return context.get_dummy_value() if returns == types.void else result

        return returns(address, work), build

    return call


#: Call the loop at an address with the kind of work that it was compiled for: `call_loop` for its
#: effect, `call_sum` for the number that it returns. An exception raised by a user's function
#: propagates to the caller.
call_loop, call_sum = _caller(types.void), _caller(types.float64)


def kept_as(name):
    """Return a compiler of loops, which are kept in the disk cache under this name."""

    def compiler(loop):
        loop.__qualname__ = name
        return entry(loop, addressed)

    return compiler
