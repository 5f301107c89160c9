"""A fitted estimator as a file; `fastmlp.files` documents the format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._version import __version__
from ..files import Encoder, FileError, labels, write
from ..model import PAIR, PLAIN, SHARES
from ..network import Network
from ..training import OptimizerState, Weights
from .fitted import model_of
from .parameters import check_parameters

if TYPE_CHECKING:
    from .base import BaseMLP

FORMS = {PLAIN: "plain", PAIR: "pair", SHARES: "shares"}
#: Fitted attributes besides those of the network, the labels and the features' names.
COUNTS = ("n_features_in_", "n_outputs_", "n_iter_", "t_")
NUMBERS = ("loss_", "best_loss_", "best_validation_score_", "best_iteration_")
CURVES = ("loss_curve_", "learning_rates_", "validation_loss_curve_", "validation_scores_")
#: The small part of what a later fit continues, and its types.
CONTINUED: dict[str, Any] = {
    "_in_use": dict,
    "_scored_by": str | None,
    "_no_improvement_count": int,
    "_dropout_seed": int,
}
STEPS = ("step", "earlier")
RATES = ("learning_rate", "last_rate")


def save(estimator: BaseMLP, path: str | os.PathLike[str], training: bool) -> None:
    """Write a fitted estimator to a file; see `BaseMLP.save`."""
    kind = type(estimator)
    if kind.__module__.rpartition(".")[0] != __package__:
        raise FileError(
            f"{kind.__name__} is a class of your own, which a file does not hold: pickle it, or "
            "save an MLPClassifier or MLPRegressor."
        )
    check_is_fitted(estimator)
    check_parameters(estimator)
    encoder = Encoder()
    model = model_of(estimator)
    check_widths(estimator, model.network)
    check_complete(estimator)
    parameters = estimator.get_params(deep=False)
    head = {
        "written_by": f"fastmlp {__version__}",
        "class": kind.__name__,
        "parameters": {
            name: encoder.value(value, f"parameter_{name}") for name, value in parameters.items()
        },
        "network": _network_form(encoder, model),
        "outputs": FORMS[model.output_form],
        "labels": _labels_form(estimator),
        "feature_names": _names_form(estimator),
        "attributes": _attributes_form(encoder, estimator),
        "continuation": {
            name.removeprefix("_"): encoder.value(getattr(estimator, name), f"last{name}")
            for name in CONTINUED
            if hasattr(estimator, name)
        },
        "training": _training_form(encoder, estimator) if training else None,
    }
    write(path, head, encoder.arrays)


def check_widths(estimator: BaseMLP, network: Network) -> None:
    """Check that the widths that attributes name are those of the network.

    Raises
    ------
    FileError
        If they are not, as after an edit.
    """
    for name, units in (("n_features_in_", network.units[0]), ("n_outputs_", network.units[-1])):
        if getattr(estimator, name, units) != units:
            raise FileError(f"{name} is {getattr(estimator, name)}, but the weights say {units}.")


def check_complete(estimator: BaseMLP) -> None:
    """Check that what a later fit goes on from is there completely, if some of it is.

    Raises
    ------
    FileError
        If it is not, as after an edit.
    """
    followed = getattr(estimator, "loss_curve_", None) is not None
    scored = getattr(estimator, "validation_scores_", None) is not None
    if scored and getattr(estimator, "best_validation_score_", None) is None:
        raise FileError("there are validation_scores_, but no best_validation_score_.")
    for name in ("t_", "best_loss_", "_no_improvement_count"):
        if followed and not hasattr(estimator, name):
            raise FileError(f"there is a loss_curve_, but no {name.removeprefix('_')}.")


def _network_form(encoder, model):
    """Return the JSON of a network; its weights become members."""
    for k, (weights, biases) in enumerate(zip(model.coefs, model.intercepts, strict=True)):
        encoder.member(f"coefs_{k}", _floats(weights))
        encoder.member(f"intercepts_{k}", _floats(biases))
    for k, learned in enumerate(model.learned):
        if learned is not None:
            encoder.member(f"activation_params_{k}", _floats(learned))
    network = model.network
    return {
        "units": list(map(int, network.units)),
        "activation": [encoder.value(one, "activation") for one in network.activation],
        "output_activation": encoder.value(network.output_activation, "output_activation"),
        "loss": encoder.value(network.loss, "loss"),
    }


def _floats(array):
    """Return weights as float32 or float64, whichever holds them; predictions are the same."""
    return np.asarray(array, np.float32 if np.can_cast(array.dtype, np.float32) else np.float64)


def _labels_form(estimator):
    if not hasattr(estimator, "classes_"):
        return None
    binarizer = getattr(estimator, "_label_binarizer", None)
    return {
        "type": binarizer and binarizer.y_type_,
        "sparse": bool(binarizer and binarizer.sparse_input_),
        "classes": labels(np.asarray(estimator.classes_), "classes_"),
    }


def _names_form(estimator):
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def _attributes_form(encoder, estimator):
    """Return the JSON of the attributes that there are."""
    form = {"device_": estimator.device_} if hasattr(estimator, "device_") else {}
    for name in (*COUNTS, *NUMBERS):
        if hasattr(estimator, name):
            form[name] = encoder.value(getattr(estimator, name), name)
    for name in CURVES:
        curve = getattr(estimator, name, None)
        if curve is not None:
            form[name] = encoder.member(name, np.array(curve, np.float64))
        elif hasattr(estimator, name):
            form[name] = None
    return form


def _training_form(encoder, estimator):
    """Return the JSON of the optimiser's state, and of the weights that an average is of."""
    state: OptimizerState | None = getattr(estimator, "_optimizer", None)
    last: Weights | None = getattr(estimator, "_last_weights", None)
    form: dict[str, Any] = {"optimizer": None, "last_weights": None}
    if state is not None:
        form["optimizer"] = {
            "rule": encoder.value(state.rule, "optimizer"),
            "schedule": encoder.value(state.schedule, "schedule"),
            "moments": encoder.member("moments", _floats(state.moments)),
        } | {
            name: encoder.value(getattr(state, name), name) for name in (*STEPS, *RATES)
        }  # fmt: skip
    if last is not None:
        form["last_weights"] = {
            "trained": encoder.member("trained", _floats(last.trained)),
            "averaged": encoder.member("averaged", _floats(last.averaged)),
            "total": encoder.value(float(last.total), "total"),
        }
    return form
