"""A JIT-compiled multi-layer perceptron behind scikit-learn's interface."""

from importlib import import_module
from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .cli.info import show_versions
    from .estimators import MLPClassifier, MLPRegressor, fit_many, from_sklearn, load, trusted_types
    from .files import FileError
    from .replacement import patch_sklearn, unpatch_sklearn

__all__ = [
    "FileError",
    "MLPClassifier",
    "MLPRegressor",
    "__version__",
    "fit_many",
    "from_sklearn",
    "load",
    "patch_sklearn",
    "show_versions",
    "trusted_types",
    "unpatch_sklearn",
]

#: Modules of the names that are imported on first use: importing the compiler and scikit-learn
#: takes a second or two, and ``fastmlp --version`` needs neither.
_PLACES = {
    "FileError": ".files",
    "MLPClassifier": ".estimators",
    "MLPRegressor": ".estimators",
    "fit_many": ".estimators",
    "from_sklearn": ".estimators",
    "load": ".estimators",
    "patch_sklearn": ".replacement",
    "show_versions": ".cli.info",
    "trusted_types": ".estimators",
    "unpatch_sklearn": ".replacement",
}
_MODULES = {
    "activations", "callbacks", "cli", "devices", "displays", "estimators", "export", "files",
    "formulas", "initializers", "inspect", "inspection", "losses", "model", "network", "optimizers",
    "predictor", "regularization", "replacement", "schedules", "training",
}  # fmt: skip
#: A module that needs an extra is also an attribute, but not in `__dir__`: `help` reads all there.
_EXTRAS = {"dask"}
#: Former names of modules, which still work as attributes: ``fastmlp.info``.
_FORMER = {name: f".cli.{name}" for name in ("demo", "gallery", "info", "warmup")}


def __getattr__(name):
    if name in _PLACES:
        value = getattr(import_module(_PLACES[name], __name__), name)
    elif name in _MODULES | _EXTRAS:
        value = import_module(f".{name}", __name__)
    elif name in _FORMER:
        value = import_module(_FORMER[name], __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_PLACES, *_MODULES})
