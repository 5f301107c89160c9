"""The constructor's parameters: allowed values, and the errors for other values."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from inspect import signature
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
import sklearn.neural_network
from sklearn.base import is_regressor
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import (
    InvalidParameterError,
    validate_parameter_constraints,
)

from .. import activations, devices, initializers
from ..activations import Activation
from ..losses import Loss
from ..notices import did_you_mean, warn
from ..optimizers import OPTIMIZERS, Optimizer
from ..schedules import SCHEDULES, SCIKIT_LEARNS, Schedule
from .types import SharesLike, SizesLike

if TYPE_CHECKING:
    from .base import BaseMLP

_THEIRS = sklearn.neural_network.MLPClassifier._parameter_constraints
_AT_LEAST_0, _ABOVE_0 = _THEIRS["alpha"], _THEIRS["epsilon"]
SHARE = _THEIRS["validation_fraction"]  # at least 0, below 1
#: Constraints of the parameters that scikit-learn's classes do not have, or that allow more here.
#: A string is then looked up among the parameter's names.
OWN_CONSTRAINTS = {
    "activation": [str, Activation, list, tuple],
    "loss": [str, Loss],
    "solver": [str, Optimizer],
    "learning_rate": [str, Schedule],
    "output_activation": [str, Activation, None],
    "weight_init": [str, list, tuple],
    "l1": _AT_LEAST_0,
    "weight_decay": _AT_LEAST_0,
    "clip_norm": [*_ABOVE_0, None],
    "max_norm": [*_ABOVE_0, None],
    "dropout": [*SHARE, "array-like"],
    "input_dropout": SHARE,
    "scoring": [str, callable, None],
    "averaging": [str, None],
    "averaging_decay": SHARE,
    "averaging_start": [*SHARE, *_THEIRS["max_iter"]],
    "device": [str],
    "precision": [str],
    "n_jobs": [Integral, None],
}


@lru_cache
def defaults(kind: type[BaseMLP]) -> dict[str, Any]:
    """Return the parameters of an estimator's class with their default values."""
    return {name: each.default for name, each in signature(kind).parameters.items()}


def _satisfied(kind, parameters):
    validate_parameter_constraints(kind._parameter_constraints, parameters, kind.__name__)


@lru_cache
def _valid_defaults(kind):
    """Return each parameter's default value; for one that is invalid, something that is no value.

    The names are in scikit-learn's order.
    """
    valid = {}
    for name in kind._get_param_names():
        valid[name] = defaults(kind)[name]
        try:
            _satisfied(kind, {name: valid[name]})
        except ValueError:  # a subclass may have it, for others to replace
            valid[name] = object()
    return valid


def _changed(estimator, kind):
    """Return the parameters that are not at valid defaults.

    scikit-learn's check of all of them takes longer than an epoch of a small network.
    """
    return {
        name: value
        for name, default in _valid_defaults(kind).items()
        if (value := getattr(estimator, name)) is not default
    }


def check_parameters(estimator: BaseMLP) -> None:
    """Run scikit-learn's own validation, and check the parameters that it does not have.

    Raises
    ------
    InvalidParameterError
        If a parameter is invalid. It is scikit-learn's, both a ValueError and a TypeError.
    """
    if sklearn.get_config()["skip_parameter_validation"]:
        return
    try:
        kind: Any = type(estimator)
        _satisfied(kind, _changed(estimator, kind))
    except ValueError as error:
        if hint := _hint(estimator) or _hint_of_names(estimator, str(error)):
            raise type(error)(f"{error} {hint}") from None
        raise
    for parameter, names in _names(estimator).items():
        _check_name(estimator, parameter, names)
    if isinstance(estimator.scoring, str):  # the names are looked up only then
        _check_name(estimator, "scoring", {"loss", *get_scorer_names()})
    if estimator.n_jobs == 0:
        raise InvalidParameterError(
            f"The 'n_jobs' parameter of {type(estimator).__name__} must be None or a number of "
            "threads, -1 for all; 0 has no meaning."
        )


def _names(estimator):
    """Return the names that each parameter takes if it is a string."""
    return {
        "activation": activations.HIDDEN,
        "output_activation": activations.OUTPUT,
        "loss": estimator._losses,
        "solver": {"lbfgs", *OPTIMIZERS},
        "learning_rate": SCHEDULES,
        "weight_init": initializers.NAMES,
        "class_weight": {"balanced"},
        "averaging": {"ema", "swa"},
        "device": {"auto", *devices.DEVICES},
        "precision": devices.PRECISIONS,
    }


def _listed(names):
    return ", ".join(map(repr, sorted(names)))


def _check_name(estimator, parameter, names):
    """Check that a parameter, if it is a string, is one of the names."""
    value = getattr(estimator, parameter, None)  # not every parameter is one of both estimators
    if isinstance(value, str) and value not in names:
        raise InvalidParameterError(
            f"The {parameter!r} parameter of {type(estimator).__name__} must be a str among "
            f"{{{_listed(names)}}}. Got {value!r} instead.{did_you_mean(value, sorted(names))}"
        )


def _hint(estimator):
    """Return advice about a parameter of the wrong type, or an empty string."""
    loss = estimator.loss
    is_sizes = isinstance(loss, Integral | list | tuple | np.ndarray)
    if is_sizes and is_regressor(estimator):
        return f"The first parameter is the loss: write hidden_layer_sizes={loss!r}."
    for value in (estimator.activation, estimator.output_activation):
        if hint := activations.hint(value):
            return hint
    for value in (loss, estimator.solver, estimator.learning_rate):
        if isinstance(value, type) and issubclass(value, Loss | Optimizer | Schedule):
            return f"That is a class: write {value.__name__}()."
    return hint_of_rate(estimator.learning_rate)


def _hint_of_names(estimator, message):
    """Return the names of the parameter that an error speaks of, or an empty string."""
    for parameter, names in _names(estimator).items():
        if message.startswith(f"The {parameter!r} parameter"):
            return f"Its names are {_listed(names)}."
    return ""


def hint_of_rate(learning_rate: object) -> str:
    """Return advice about a number as `learning_rate`, or an empty string."""
    if not isinstance(learning_rate, Real):
        return ""
    return (
        "learning_rate is the schedule of the rate. For a number, write "
        f"learning_rate_init={learning_rate}."
    )


def name_the_nearest(error: ValueError, estimator: BaseMLP, names: Iterable[str]) -> None:
    """Append to an error of `set_params` the parameter that the first unknown name resembles."""
    known = estimator.get_params(deep=False)
    heads = (name.partition("__")[0] for name in names)
    unknown = next((head for head in heads if head not in known), None)
    error.args = (f"{error}{did_you_mean(unknown, known)}",)


def is_scikit_learns(estimator: BaseMLP) -> bool:
    """Return whether `learning_rate` is one of scikit-learn's three names."""
    return isinstance(estimator.learning_rate, str) and estimator.learning_rate in SCIKIT_LEARNS


def check_schedule_of_lbfgs(estimator: BaseMLP) -> None:
    """Check that "lbfgs", which finds the lengths of its steps itself, is not given a schedule.

    As in scikit-learn, it ignores the schedules that scikit-learn has.

    Raises
    ------
    ValueError
        If `learning_rate` is another name, or an object.
    """
    if not is_scikit_learns(estimator):
        raise ValueError(
            "solver='lbfgs' chooses the lengths of its steps itself: "
            f"learning_rate={estimator.learning_rate!r} needs a stochastic solver, such as 'adam' "
            "or 'sgd'."
        )


def batch_rows(estimator: BaseMLP, n: int) -> int:
    """Return the number of rows in a batch, at most the n rows to train on.

    The parameter is also checked here, as it may have been set after the first `partial_fit`.

    Raises
    ------
    ValueError
        If `batch_size` is not a valid number of rows.
    """
    size = estimator.batch_size
    if isinstance(size, str) and size == "auto":
        return min(200, n)
    rows = int(size) if isinstance(size, Integral) else 0
    if rows < 1:
        raise ValueError(
            f"The 'batch_size' parameter of {type(estimator).__name__} must be a str among "
            f"{{'auto'}} or an int in the range [1, inf). Got {size!r} instead."
        )
    if rows > n:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return min(rows, n)


def hidden_units(sizes: SizesLike) -> list[int]:
    """Return the number of units of each hidden layer, from `hidden_layer_sizes`.

    Raises
    ------
    ValueError, TypeError
        If they are not positive integers, with scikit-learn's messages.
    """
    if type(sizes) is tuple and all(type(size) is int and size > 0 for size in sizes):
        return list(sizes)
    sizes = list(sizes) if isinstance(sizes, Iterable) else [sizes]
    if np.any(np.array(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    for size in sizes:
        if not isinstance(size, Integral) or isinstance(size, bool):
            raise TypeError(f"hidden_layer_sizes must be integers, got {sizes}.")
    return [int(size) for size in sizes]


def per_layer(dropout: SharesLike, layers: int) -> list[float]:
    """Return the dropout fraction of each hidden layer, from one for all or one for each.

    Raises
    ------
    ValueError
        If there are too many or too few, or one is not in [0, 1).
    """
    shares = list(dropout) if isinstance(dropout, Iterable) else [dropout] * layers
    if len(shares) != layers:
        raise ValueError(
            f"dropout has {len(shares)} entries, expected one for each of {layers} hidden layer(s),"
            " or a single one for all of them."
        )
    for share in shares:
        if not (isinstance(share, Real) and 0 <= float(share) < 1):
            raise ValueError(f"dropout must be at least 0 and less than 1, got {share!r}.")
    return shares
