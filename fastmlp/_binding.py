"""Machine code that is bound to its own copies of the functions that it calls.

Numba links a copy of every function that an entry calls into the entry's machine code, and lets the
loader choose among all copies in the process that have the same name. Just after compiling, that is
the copy of the function compiled on its own; loaded from the disk cache, it is the entry's, which
LLVM has optimised once more and which may round differently. Files that two processes have written
may even have the same name for two functions. Copies that only their own entry can see leave
nothing to choose.
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
        with contextlib.suppress(Exception):  # a Numba that has changed inside binds as it does
            for function in self._final_module.functions:
                if not function.is_declaration and function.linkage == Linkage.linkonce_odr:
                    function.linkage = Linkage.internal
        super()._finalize_final_module()


@register_pass(mutates_CFG=False, analysis_only=True)
class _MakeLibrary(AnalysisPass):
    """Make the library that lowering would else make of the usual kind."""

    _name = "library_of_own_copies"

    def __init__(self):
        AnalysisPass.__init__(self)

    def run_pass(self, state):
        with contextlib.suppress(Exception):  # lowering then makes its own
            library = _OwnCopies(state.targetctx.codegen(), state.func_id.func_qualname)
            library.enable_object_caching()
            state.library = library
        return False


class EntryCompiler(CompilerBase):
    """Numba's compiler of nopython mode, for functions that no compiled function calls."""

    def define_pipelines(self):
        """The usual passes, and the one above before code is generated."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.add_pass_after(_MakeLibrary, IRLegalization)
        passes.finalize()
        return [passes]
