"""Run a program with the stand-in: its file and arguments, or those of a module after -m."""

import os
import runpy
import sys
import tempfile
from pathlib import Path

import stand_in

if __name__ == "__main__":
    if "STAND_IN" not in os.environ:  # where libraries are is decided when a process begins
        folder = stand_in.build(Path(tempfile.mkdtemp()))
        found = stand_in.environment(folder) | {"STAND_IN": str(folder)}
        os.execve(sys.executable, [sys.executable, "-m", "stand_in", *sys.argv[1:]], found)
    from stand_in import inside

    inside.install()
    sys.argv = sys.argv[1:]
    if sys.argv[0] == "-m":
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
