"""Runs an unchanged program with our classes in the place of scikit-learn's."""

import io
import os
import runpy
import sys
import zipfile
from types import ModuleType, TracebackType

from .. import replacement


def run(program: list[str], as_module: bool = False) -> None:
    """Run a script or a module as Python itself would, as ``__main__``.

    Parameters
    ----------
    program : list of str
        The script, or a folder or zip file with a ``__main__.py``, or the module's name; then the
        program's own arguments.
    as_module : bool, default=False
        Whether the first one names a module, as in ``python -m``.

    Raises
    ------
    SystemExit
        With the program's own status, or after an error 1; 130 after Ctrl-C.
    """
    replacement.patch_sklearn()
    print(
        "fastmlp: sklearn.neural_network has fastmlp's MLPClassifier and MLPRegressor.",
        file=sys.stderr,
    )
    sys.argv = program
    try:
        if as_module:
            _first_place_of_imports(os.getcwd())
            runpy.run_module(program[0], run_name="__main__", alter_sys=True)
        else:
            _run_path(program[0])
    except SystemExit:
        raise
    except BaseException as error:
        error.__traceback__ = _of_the_program(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None


def _run_path(path):
    """Run a script, or what a folder or a zip file has as ``__main__.py``."""
    if os.path.isdir(path) or zipfile.is_zipfile(path):
        if not sys.flags.safe_path:
            del sys.path[0]  # in whose place comes the path
        runpy.run_path(path, run_name="__main__")
        return
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        print(f"{sys.executable}: can't open file {path!r}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    _run_script(path, source)


def _run_script(path, source):
    """Run a script in a module ``__main__`` that stays, as what it defined may be used at exit."""
    absolute = os.path.abspath(path)
    _first_place_of_imports(os.path.dirname(os.path.realpath(path)))
    module = ModuleType("__main__")
    vars(module).update(__file__=absolute, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    exec(compile(source, absolute, "exec", dont_inherit=True), vars(module))


def _first_place_of_imports(folder):
    """Set the first entry of the path, which Python has set for ``python -m fastmlp``."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _of_the_program(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins in the program, if it has begun."""
    ours = {__name__, "runpy"}
    while traceback is not None and traceback.tb_frame.f_globals.get("__name__") in ours:
        traceback = traceback.tb_next
    return traceback
