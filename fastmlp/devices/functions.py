"""Custom functions: keys of their contents, as far as a compiler sees them.

When a function is compiled, everything that it reads is frozen: constants, defaults, variables of
enclosing functions, globals, attributes of modules. So all of these are the key of compiled code:
the same function, defined again or sent to another process, finds it, and a function whose globals
have changed does not.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from .._jit import plain


def contents(function: Callable) -> tuple:
    """Return a function's contents: equal if functions compile to the same code, and hashable.

    Parameters
    ----------
    function : function
        A Python function, or one that Numba has compiled, with its options.
    """
    return _of(function, frozenset())


@dataclass(frozen=True)
class Own:
    """A custom activation or loss; two are equal if their contents are equal."""

    custom: Any = field(compare=False)
    made_of: tuple

    @classmethod
    def of(cls, custom) -> "Own":
        """Return `custom` with the current contents of its two functions."""
        return cls(custom, (contents(custom.function), contents(custom.derivative)))


class _Same:
    """An object without contents to compare: it equals only itself."""

    def __init__(self, value):
        self._value = value

    def __eq__(self, other):
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self):
        return id(self._value)


def _of(value, seen):
    """Return a value's contents; `seen` has the functions on the way to it, for recursion."""
    if hasattr(value, "targetoptions"):
        return "compiled", repr(sorted(value.targetoptions.items())), _of(plain(value), seen)
    if isinstance(value, FunctionType):
        return ("function",) if value in seen else _of_function(value, seen | {value})
    if isinstance(value, CodeType):
        return _of_code(value, seen)
    if isinstance(value, tuple | frozenset):
        return type(value).__name__, *(_of(part, seen) for part in value)
    if isinstance(value, bool | int | float | complex | str | bytes | type(None) | type(...)):
        return type(value).__name__, repr(value)  # -0.0 differs from 0.0, NaN equals NaN
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.hasobject:
            return ("object", _Same(value))
        digest = hashlib.sha256(np.ascontiguousarray(value)).hexdigest()
        return "array", value.dtype.str, value.shape, digest
    if isinstance(value, ModuleType):
        return "module", value.__name__
    if isinstance(value, type | BuiltinFunctionType | np.ufunc):
        return "name", getattr(value, "__module__", None), value.__name__
    return "object", _Same(value)


def _of_function(function, seen):
    cells = [_in_cell(cell) for cell in function.__closure__ or ()]
    return (
        "function",
        _of_code(function.__code__, seen),
        *(_of(value, seen) for value in (function.__defaults__, *cells)),
        *(_of_global(name, function, seen) for name in sorted(_names(function.__code__))),
    )


def _in_cell(cell):
    try:
        return cell.cell_contents
    except ValueError:  # the cell is still empty
        return None


def _of_code(code, seen):
    """Return everything except where the code was written."""
    return (
        "code",
        code.co_code,
        code.co_flags,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        *(_of(constant, seen) for constant in code.co_consts),
    )


def _names(code):
    """Return the names of globals and attributes in a code object and those nested in it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _of_global(name, function, seen):
    """Return a global's contents; of a module, the attributes that the function may read."""
    if name not in function.__globals__:
        return name, "builtin or attribute"
    value = function.__globals__[name]
    if not isinstance(value, ModuleType):
        return name, _of(value, seen)
    attributes = sorted(_names(function.__code__) & vars(value).keys())
    return name, value.__name__, *((each, _of(vars(value)[each], seen)) for each in attributes)
