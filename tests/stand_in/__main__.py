"""Run a program with the stand-in: its file and arguments, or those of a module after -m."""

import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import stand_in

#: What says that the stand-in's driver is there: libraries are looked for when a process begins.
INSIDE = "FASTMLP_STAND_IN"


def main() -> None:
    """Run the program in a process that has the stand-in, or, there, in this one."""
    if INSIDE not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            environment = stand_in.environment(stand_in.build(Path(folder))) | {INSIDE: folder}
            command = [sys.executable, "-m", "stand_in", *sys.argv[1:]]
            sys.exit(subprocess.run(command, env=environment, check=False).returncode)
    from stand_in import inside

    inside.install()
    of_module = sys.argv[1] == "-m"
    sys.argv = sys.argv[1 + of_module :]
    if of_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    if lacks := stand_in.missing():
        sys.exit(f"There can be no stand-in: {lacks}.")
    main()
