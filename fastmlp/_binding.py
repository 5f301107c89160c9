"""Bind machine code to its own copies of the functions that it calls.

Numba links a copy of every function that an entry calls into the entry's machine code, and lets the
loader choose among all copies in the process with the same name. Just after compilation, the loader
chooses the copy of the function that was compiled separately. After loading from the disk cache, it
chooses the entry's copy, which LLVM has optimised again and which may round differently. Cache
files written by two processes may even use the same name for two different functions. If each copy
is visible only to its own entry, the loader has no choice to make.
"""

import contextlib

from llvmlite.binding import Linkage
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.typed_passes import IRLegalization


class _OwnCopies(JITCodeLibrary):
    """A library of machine code that hides the functions linked into it."""

    def _finalize_final_module(self):
        with contextlib.suppress(Exception):  # if Numba's internals change, its own binding applies
            for function in self._final_module.functions:
                if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                    function.linkage = Linkage.internal
        super()._finalize_final_module()


@register_pass(mutates_CFG=False, analysis_only=True)
class _MakeLibrary(AnalysisPass):
    """Create an `_OwnCopies` library; lowering would otherwise create a standard one."""

    _name = "library_of_own_copies"

    def __init__(self):
        AnalysisPass.__init__(self)

    def run_pass(self, state):
        with contextlib.suppress(Exception):  # lowering then creates its own
            library = _OwnCopies(state.targetctx.codegen(), state.func_id.func_qualname)
            library.enable_object_caching()
            state.library = library
        return False


class EntryCompiler(CompilerBase):
    """Numba's nopython compiler, for functions that no other compiled function calls."""

    def define_pipelines(self):
        """Return the usual passes, with `_MakeLibrary` added before code generation."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_MakeLibrary, IRLegalization)
        passes.finalize()
        return [passes]
