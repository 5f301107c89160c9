"""A network in C: the file that `to_c` writes, compiled, and called in a loop in C."""

import ctypes
import subprocess
import tempfile
from pathlib import Path

import numpy as np

#: In a file of its own, so that no compiler can leave out a call.
REPEATED = """
void network_predict(const float *x, float *out);
void repeated(const float *x, float *out, long times)
{
    for (long k = 0; k < times; k++)
        network_predict(x, out);
}
"""


class InC:
    """A float32 network in C, which predicts one row again and again.

    Parameters
    ----------
    text : str
        What `to_c` returns.
    flags : list of str
        How the compiler optimises.
    row, out : ndarray
        The row, and where its results go.

    Attributes
    ----------
    compiled_bytes : int
        The size of the network's object file.
    """

    def __init__(self, text: str, flags: list[str], row: np.ndarray, out: np.ndarray):
        self.row, self.out = row, out
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "network.c").write_text(text)
            (folder / "repeated.c").write_text(REPEATED)
            for arguments in (
                ["-c", "network.c", "repeated.c"],
                ["-shared", "network.o", "repeated.o", "-o", "network.so", "-lm"],
            ):
                command = ["cc", "-std=c99", "-fPIC", *flags, *arguments]
                subprocess.run(command, cwd=folder, check=True)
            self.compiled_bytes = (folder / "network.o").stat().st_size
            self._repeated = ctypes.CDLL(str(folder / "network.so")).repeated

    def __call__(self, times: int) -> None:
        """Predict the row this many times."""
        addresses = [ctypes.c_void_p(array.ctypes.data) for array in (self.row, self.out)]
        self._repeated(*addresses, ctypes.c_long(times))
