"""An estimator from the content of a file, none of which is believed; see `saving.py`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from .. import devices
from ..files import Decoder, FileError, brief, known_labels
from ..model import FittedNetwork
from ..network import Network
from ..training import OptimizerState, Weights
from .fitted import Latest, model_of
from .parameters import check_parameters, defaults
from .saving import (
    CONTINUED,
    COUNTS,
    CURVES,
    FORMS,
    NUMBERS,
    RATES,
    STEPS,
    check_complete,
    check_widths,
)

if TYPE_CHECKING:
    from .base import BaseMLP

_Estimator = TypeVar("_Estimator", bound="BaseMLP")


def restored(
    kind: type[_Estimator], head: dict[str, Any], arrays: dict[str, np.ndarray]
) -> _Estimator:
    """Return the estimator that a file is of.

    Parameters
    ----------
    kind : type
        Its class.
    head : dict
        The file's JSON, with the keys of `fastmlp.files.KEYS`.
    arrays : dict of ndarray
        Its arrays.

    Raises
    ------
    FileError
        If they contradict each other, or something in them cannot be.
    """
    decoder = Decoder(arrays)
    estimator = _with_parameters(
        kind, {name: decoder.value(value) for name, value in head["parameters"].items()}
    )
    form = head["network"]
    network = Network(
        tuple(_counts(form["units"])),
        decoder.value(form["activation"]),
        decoder.value(form["loss"]),
        decoder.value(form["output_activation"]),
    )
    _take_attributes(estimator, head["attributes"], decoder)
    _take_continuation(estimator, head["continuation"], decoder)
    _take_network(estimator, network, arrays)
    _take_labels(estimator, head["labels"], network)
    _take_names(estimator, head["feature_names"], network)
    if FORMS[model_of(estimator).output_form] != head["outputs"]:
        raise FileError(f"its outputs are not {brief(head['outputs'])!r}.")
    if head["training"] is not None:
        _take_training(estimator, head["training"], network, decoder)
    check_complete(estimator)
    return estimator


def _counts(given):
    if len(given) < 2 or not all(type(count) is int and count > 0 for count in given):
        raise FileError(f"widths of layers are {brief(given)}.")
    return given


def _with_parameters(kind, given):
    """Return an estimator with valid parameters; those that a file lacks have their defaults."""
    unknown = [name for name in given if name not in defaults(kind)]
    if unknown:
        raise FileError(
            f"{kind.__name__} has no parameter {brief(repr(unknown[0]))}: a newer fastmlp may have "
            "it. Update fastmlp."
        )
    estimator = kind(**given)
    check_parameters(estimator)
    return estimator


def _take_attributes(estimator, given, decoder):
    for name in COUNTS:
        if name in given:
            if type(given[name]) is not int or given[name] < 0:
                raise FileError(f"{name} is {brief(repr(given[name]))}.")
            setattr(estimator, name, given[name])
    for name in NUMBERS:
        if name in given:
            value = decoder.value(given[name])
            if not isinstance(value, int | float | None):
                raise FileError(f"{name} is {brief(repr(value))}.")
            setattr(estimator, name, value)
    for name in CURVES:
        if name in given:
            curve = decoder.value(given[name])
            missing = curve is None and name.startswith("validation")
            setattr(estimator, name, None if missing else _vector(curve).tolist())
    if "device_" in given:
        if given["device_"] not in devices.DEVICES:
            raise FileError(f"device_ is {brief(repr(given['device_']))}.")
        estimator.device_ = given["device_"]


def _take_continuation(estimator, given, decoder):
    for name, kinds in CONTINUED.items():
        key = name.removeprefix("_")
        if key in given:
            value = decoder.value(given[key])
            if not isinstance(value, kinds) or (isinstance(value, int) and not 0 <= value < 2**32):
                raise FileError(f"{key} is {brief(repr(value))}.")
            setattr(estimator, name, value)
    if "_in_use" in vars(estimator):
        _with_parameters(type(estimator), estimator._in_use)


def _vector(array):
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != np.float64:
        raise FileError("a curve is not a vector of float64.")
    return array


def _take_labels(estimator, given, network):
    """Set the labels, which must be sorted and as many as there are outputs."""
    if given is None:
        return
    if not hasattr(estimator, "predict_proba"):
        raise FileError(f"a {type(estimator).__name__} has no labels.")
    classes, outputs = known_labels(given["classes"]), network.units[-1]
    binarizer = LabelBinarizer()
    binarizer.classes_, binarizer.y_type_ = classes, given["type"]
    binarizer.sparse_input_ = bool(given["sparse"])
    estimator.classes_ = classes
    fits = {
        None: len(classes) == outputs or outputs == 1,
        "binary": len(classes) in (1, 2) and outputs == 1,
        "multiclass": len(classes) == outputs > 2,
        "multilabel-indicator": len(classes) == outputs,
    }
    known = given["type"] is None or all(a < b for a, b in pairwise(classes.tolist()))
    if not fits.get(given["type"]) or not known:
        raise FileError(f"{len(classes)} labels of type {given['type']!r} do not fit the outputs.")
    if given["type"] is not None:
        estimator._label_binarizer = binarizer


def _take_names(estimator, names, network):
    if names is None:
        return
    if [type(name) for name in names] != [str] * network.units[0]:
        raise FileError("there is not a name for each feature.")
    estimator.feature_names_in_ = np.array(names, object)


def _take_network(estimator, network, arrays):
    """Set the network and its weights, whose shapes `FittedNetwork` compares."""
    layers = range(len(network.units) - 1)
    coefs = [arrays[f"coefs_{k}"] for k in layers]
    intercepts = [arrays[f"intercepts_{k}"] for k in layers]
    learned = [
        arrays[f"activation_params_{k}"] if count else None
        for k, count in enumerate(network.learned)
    ]
    if [b.shape for b in intercepts] != [w.shape[1:] for w in coefs]:
        raise FileError("biases do not have the shapes of the weights.")
    FittedNetwork(network, coefs, intercepts, learned)
    estimator._latest, estimator._fitted_as = Latest(), network
    estimator.coefs_, estimator.intercepts_ = coefs, intercepts
    estimator.activation_params_ = learned
    estimator.n_layers_ = len(network.units)
    estimator.out_activation_ = network.output_activation.name
    check_widths(estimator, network)


def _take_training(estimator, given, network, decoder):
    form, last = given["optimizer"], given["last_weights"]
    if form is not None:
        counts, rates = ([form[name] for name in names] for names in (STEPS, RATES))
        real = all(type(rate) in (int, float) for rate in rates)
        if not real or not all(type(count) is int and count >= 0 for count in counts):
            raise FileError("the optimiser's state has no valid numbers.")
        state = OptimizerState(
            decoder.value(form["rule"]),
            decoder.value(form["schedule"]),
            moments=decoder.value(form["moments"]),
            **{name: form[name] for name in (*STEPS, *RATES)},
        )
        state.packed_moments(network, state.moments.dtype)
        estimator._optimizer = state
    estimator._last_weights = last and Weights(
        network.checked(decoder.value(last["trained"]), estimator.coefs_[0].dtype),
        network.checked(decoder.value(last["averaged"]), estimator.coefs_[0].dtype),
        float(last["total"]),
    )
