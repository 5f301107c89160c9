"""A predictor as a value in the user's own compiled code.

In there it is the address of a table, which has the addresses of everything else: one type for all
networks of a dtype, and nothing of this process in the code, which can be kept on disk. Predictions
and gradients are compiled on their own and called by address, as the loops of activations are: the
user's code contains nothing of them, and takes no time to compile.
"""

from typing import NamedTuple

import numpy as np
from numba import from_dtype, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import (
    NativeValue,
    box,
    models,
    overload_method,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.numpy_support import as_dtype

from ..._cache import CACHE
from ..._jit import addressed, entry, intrinsic
from ...formulas.results import PAIR
from .calls import Loop, call_loop
from .row import array_at, plan_at
from .row_gradients import gradient_each, room_for_both
from .single_rows import predict_each, room_of_a_row
from .vectors import keep, pointer

#: Places in the table: the plan and its layers, a row's numbers, and the two compiled functions.
_PLAN, _LAYERS, _FORM, _FEATURES, _COLUMNS, _PREDICT, _GRADIENT, _PLACES = range(8)
_INT64 = np.int64(0)


class Rows(NamedTuple):
    """The data of a call: rows from `X` on, one after the other, and the place of the results."""

    X: np.ndarray
    out: np.ndarray
    table: int
    rows: int
    output: int
    zero: float


def _predict(work):
    table = array_at(work.table, _PLACES, _INT64)
    plan = plan_at(table[_PLAN], table[_LAYERS])
    scratch = np.empty(room_of_a_row(plan), type(work.zero))
    predict_each(plan, work.X, work.rows, work.out, table[_FORM], pointer(scratch))
    keep(scratch)


def _gradient(work):
    table = array_at(work.table, _PLACES, _INT64)
    plan = plan_at(table[_PLAN], table[_LAYERS])
    scratch = np.empty(room_for_both(plan), type(work.zero))
    room, form, output = pointer(scratch), table[_FORM], work.output
    gradient_each(plan, work.X, work.rows, work.out, form, output, room)
    keep(scratch)


#: What `warmup` compiles.
LOOPS = entry(_predict, addressed), entry(_gradient, addressed)


def compile_all(dtype: np.dtype) -> list[Loop]:
    """Compile both functions, or load them from the disk cache."""
    return [Loop(loop, Rows, dtype) for loop in LOOPS]


def table_of(plan: np.ndarray, form: int, dtype: np.dtype) -> np.ndarray:
    """Return the table of a predictor, whose plan must stay where it is."""
    predict, gradient = (loop.address for loop in compile_all(dtype))
    columns = 2 if form == PAIR else plan[-1]["outputs"]
    at = plan.ctypes.data
    places = at, plan.size, form, plan[0]["fan_in"], columns, predict, gradient
    return np.array(places, np.int64)


class PredictorType(types.Type):
    """Numba's type of a predictor.

    Its name has the version of this package's code: the user's own functions, which Numba keeps on
    disk until their source changes, are compiled again for another version.
    """

    def __init__(self, dtype):
        self.dtype = dtype
        super().__init__(f"Predictor({dtype}, {CACHE.version})")


@register_model(PredictorType)
class _Model(models.StructModel):
    """The address of the table, and the Python object, which is kept alive by `owner`."""

    def __init__(self, dmm, fe_type):
        owner = types.MemInfoPointer(types.int64)
        members = [("owner", owner), ("object", types.voidptr), ("table", types.int64)]
        super().__init__(dmm, fe_type, members)


@unbox(PredictorType)
def _unbox(kind, obj, c):
    value = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    table = c.pyapi.object_getattr_string(obj, "_table_address")
    failed = cgutils.is_null(c.builder, table)
    with c.builder.if_then(c.builder.not_(failed)):
        value.table = c.pyapi.long_as_longlong(table)
        c.pyapi.decref(table)
        value.object = obj
        value.owner = c.pyapi.nrt_meminfo_new_from_pyobject(obj, obj)
    return NativeValue(value._getvalue(), is_error=failed)


@box(PredictorType)
def _box(kind, native, c):
    obj = cgutils.create_struct_proxy(kind)(c.context, c.builder, value=native).object
    c.pyapi.incref(obj)
    c.context.nrt.decref(c.builder, kind, native)
    return obj


@intrinsic(None)
def _table(typingctx, predictor):
    """Return the address of a predictor's table."""

    def codegen(context, builder, signature, args):
        kind = signature.args[0]
        return cgutils.create_struct_proxy(kind)(context, builder, value=args[0]).table

    return types.int64(predictor), codegen


def _check_type(name, array, predictor):
    """Check the type of an array while the user's function is compiled."""
    fits = (
        isinstance(array, types.Array)
        and array.dtype == predictor.dtype
        and array.ndim in (1, 2)
        and array.layout == "C"
        and array.aligned
    )
    if not fits or (name == "out" and not array.mutable):
        writeable = "writeable, " if name == "out" else ""
        raise TypingError(
            f"{name} must be a {writeable}C-contiguous array of {predictor.dtype} with one "
            f"dimension or two, as np.ascontiguousarray({name}) has, got {array}."
        )


def _check_types(predictor, X, out):
    _check_type("X", X, predictor)
    _check_type("out", out, predictor)
    if out.ndim > X.ndim:
        raise TypingError("X is a single row, for which out has one dimension.")


@overload_method(PredictorType, "predict")
def _predict_in_compiled_code(predictor, X, out):
    _check_types(predictor, X, out)
    zero, single, last = as_dtype(predictor.dtype).type(0), X.ndim == 1, X.ndim - 1

    def predict(predictor, X, out):
        address = _table(predictor)
        table, rows = array_at(address, _PLACES, _INT64), 1 if single else len(X)
        if X.shape[last] != table[_FEATURES]:
            raise ValueError("X has another number of features than the network.")
        if out.size != rows * table[_COLUMNS] or not (single or len(out) == rows):
            raise ValueError("out does not have the shape of the predictions of X.")
        work = Rows(pointer(X), pointer(out), address, rows, _INT64, zero)
        call_loop(table[_PREDICT], work)

    return predict


@overload_method(PredictorType, "gradient")
def _gradient_in_compiled_code(predictor, X, out, output=0):
    _check_types(predictor, X, out)
    if X.ndim != out.ndim:
        raise TypingError("out must have as many dimensions as X.")
    zero, single, last = as_dtype(predictor.dtype).type(0), X.ndim == 1, X.ndim - 1

    def gradient(predictor, X, out, output=0):
        address = _table(predictor)
        table, rows = array_at(address, _PLACES, _INT64), 1 if single else len(X)
        if X.shape[last] != table[_FEATURES]:
            raise ValueError("X has another number of features than the network.")
        if out.shape != X.shape:
            raise ValueError("out does not have the shape of X.")
        if output < 0 or output >= table[_COLUMNS]:
            raise ValueError("There is no output of this number.")
        work = Rows(pointer(X), pointer(out), address, rows, np.int64(output), zero)
        call_loop(table[_GRADIENT], work)

    return gradient


def value(predictor_class: type) -> type:
    """Decorate a class of predictors, which compiled code then takes as arguments.

    An object needs a `dtype`, and the address of its table as `_table_address`.
    """

    @typeof_impl.register(predictor_class)
    def kind_of(predictor, context):
        return _KINDS[predictor.dtype]

    return predictor_class


_KINDS = {np.dtype(kind): PredictorType(from_dtype(np.dtype(kind))) for kind in ("f4", "f8")}
