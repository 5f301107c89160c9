"""Writes a saved network in the form of another program."""

import os
import pickle
from collections.abc import Callable
from typing import Any

from ..estimators import load
from ..export import to_c, to_onnx
from ..files import whole_file


def _onnx(estimator):
    return to_onnx(estimator).SerializeToString()


def _c(estimator, **settings):
    return to_c(estimator, **settings).encode()


def _sklearn(estimator):
    return pickle.dumps(estimator.to_sklearn(training=False), protocol=5)


#: What each format is written by.
FORMATS: dict[str, Callable[..., bytes]] = {"onnx": _onnx, "c": _c, "sklearn": _sklearn}


def write(
    path: str | os.PathLike[str], form: str, target: str | os.PathLike[str], **settings: Any
) -> None:
    """Read a saved network and write it, whole or not at all.

    Parameters
    ----------
    path : str or Path
        A file that the method `save` of an estimator has written.
    form : {"onnx", "c", "sklearn"}
        A model of ONNX, a source file in C99, or a pickle of scikit-learn's estimator, which is for
        predictions alone: it has no moments of the optimiser.
    target : str or Path
        The file to write.
    **settings : dict
        For "c", the `name` that `to_c` takes.
    """
    content = FORMATS[form](load(path), **settings)
    with whole_file(target) as file:
        file.write(content)
    print(target)
