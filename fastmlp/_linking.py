"""How the machine code of an entry is put together: from parts, each of which is optimised once.

Numba optimises every function by itself, with all that it calls, and makes machine code of it; then
again with each of its callers, up to the entry. Of all this only the entry's machine code is ever
run. Here a function that only compiled code calls stays a *part*, LLVM's code as Numba made it, and
an entry is the *whole*: it links all parts that it needs, is optimised once, and becomes machine
code. That takes half the time.

The whole also hides its copies of the parts. The loader of machine code would otherwise choose
among all copies in the process with the same name, and these need not round in the same way, nor,
if two processes wrote the cache, be copies of the same function.

All of this relies on Numba's internals. If they change, its own way applies.
"""

import contextlib
import gc
import inspect
import operator
from functools import cached_property, partial
from typing import ClassVar

from llvmlite.binding import Linkage
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.options import DefaultOptions
from numba.core.typed_passes import IRLegalization, NativeLowering

#: An option of parts, which allocate nothing. To count references to each argument, and to every
#: member of each tuple, would be a tenth of all code that Numba generates.
UNCOUNTED = {"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}
#: Passes that find nothing to do in this package's functions, and take a tenth of Numba's time:
#: those for closures, operations on whole arrays, tuples of several types, and diagnostics.
_IDLE = {
    "Rewrite dynamic raises", "LiteralPropagation", "dump_parfor_diagnostics", "find_literally",
    "inline_closure_likes", "literal_unroll", "make_function_op_code_to_jit_function",
    "nopython_rewrites", "with_lifting",
}  # fmt: skip


_OPERATIONS = {each for each in vars(operator).values() if inspect.isbuiltin(each)}
_NUMBERS = types.Number, types.Boolean


class _Part(JITCodeLibrary):
    """The code of a function that only other compiled code calls: linked as it is, never run."""

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self):
        self._final_module.verify()
        self._finalized = True

    def alone(self):
        """Return the code without that of the parts that it calls."""
        return super()._get_module_for_linking()

    @cached_property
    def _together(self):
        module = self.alone().clone()
        for _, code in _linked(self):
            module.link_in(code, preserve=True)
        return module

    def _get_module_for_linking(self):
        return self._together  # for the caller of a standard library, which links only this


class _Whole(JITCodeLibrary):
    """The code of an entry, with its own hidden copies of all that it calls."""

    def _optimize_functions(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self):
        for library, code in _linked(self):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(code, preserve=True)
        self._linking_libraries = []
        super().finalize()

    def _finalize_final_module(self):
        with contextlib.suppress(Exception):
            for function in self._final_module.functions:
                if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                    function.linkage = Linkage.internal
        super()._finalize_final_module()


def _linked(library):
    """Return the libraries that one links, and those that its parts link, and the code of each."""
    found, ahead = {}, list(library._linking_libraries)
    while ahead:
        linked = ahead.pop()
        if linked not in found:
            part = isinstance(linked, _Part)
            found[linked] = linked.alone() if part else linked._get_module_for_linking()
            ahead += linked._linking_libraries if part else ()
    return found.items()


def _library(kind, state):
    """Return a new library for the function that is compiled, or None."""
    with contextlib.suppress(Exception):
        library = kind(state.targetctx.codegen(), state.func_id.func_qualname)
        library.enable_object_caching()
        return library
    return None


@contextlib.contextmanager
def _garbage_kept():
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@register_pass(mutates_CFG=False, analysis_only=True)
class _BeginWhole(AnalysisPass):
    """Create the library of an entry; lowering would otherwise create a standard one."""

    _name = "library_of_a_whole"

    def __init__(self):
        AnalysisPass.__init__(self)

    def run_pass(self, state):
        state.library = _library(_Whole, state)
        return False


@register_pass(mutates_CFG=True, analysis_only=False)
class _LowerPart(NativeLowering):
    """Generate LLVM's code of a part, without machine code."""

    _name = "lowering_of_a_part"

    def run_pass(self, state):
        state.library = _library(_Part, state)
        if state.library is None:
            return super().run_pass(state)
        state.flags.no_compile = True
        super().run_pass(state)
        # Callers find the part by what Python would call, a builtin of its own. This one raises a
        # TypeError, since all arguments together are not a text.
        called = object().__format__
        state.targetctx.insert_user_function(called, state["cr"].fndesc, [state.library])
        state["cr"] = state["cr"]._replace(cfunc=called)
        return True


class _Remembering:
    """Numba's typing context, which looks up the types of an operation on numbers only once.

    Numba itself tries one rule after the other, also those for arrays and dates, each time that it
    comes to an operation: a twelfth of all time.
    """

    _signatures: ClassVar[dict] = {}

    def __init__(self, context):
        self._context = context

    def __getattr__(self, name):
        return getattr(self._context, name)

    def resolve_function_type(self, func, args, kws):
        look_up = partial(self._context.resolve_function_type, func, args, kws)
        operation = getattr(func, "typing_key", None)
        if kws or operation not in _OPERATIONS or not all(isinstance(a, _NUMBERS) for a in args):
            return look_up()
        key = func, args  # which keeps `func`, the place of what Numba found
        if key not in self._signatures:
            self._signatures[key] = look_up()
        return self._signatures[key]


def _usual_passes(state, idle):
    """Return Numba's passes, without the idle ones."""
    state.typingctx = _Remembering(state.typingctx)
    passes = DefaultPassBuilder.define_nopython_pipeline(state)
    passes.passes = [(kind, why) for kind, why in passes.passes if kind._name not in idle]
    return passes


class EntryCompiler(CompilerBase):
    """Numba's nopython compiler, for functions that no other compiled function calls."""

    def compile_extra(self, func):
        """Compile a function, and all that it calls, without collecting garbage meanwhile.

        Compiling makes many objects that live until its end: to look at them again and again takes
        a tenth of the time.
        """
        with _garbage_kept():
            return super().compile_extra(func)

    def define_pipelines(self):
        """Return the usual passes, with `_BeginWhole` added before code generation."""
        passes = _usual_passes(self.state, _IDLE)
        passes.add_pass_after(_BeginWhole, IRLegalization)
        passes.finalize()
        return [passes]


class PartCompiler(CompilerBase):
    """Numba's nopython compiler, for functions that only compiled code calls."""

    idle = _IDLE

    def define_pipelines(self):
        """Return the usual passes, with `_LowerPart` for code generation."""
        passes = _usual_passes(self.state, self.idle)
        passes.passes = [
            (_LowerPart if kind is NativeLowering else kind, description)
            for kind, description in passes.passes
        ]
        passes.finalize()
        return [passes]


class UsersPartCompiler(PartCompiler):
    """The same for users' functions, which may contain anything."""

    idle = frozenset()
