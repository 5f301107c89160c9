"""scikit-learn's fitted estimators: made of ours, and taken over, ready to go on training.

Both have the same parameters, attributes and moments. scikit-learn's optimisers are objects of
private classes, so that the optimiser of a tiny fit gets the numbers.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import fields, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import sklearn.neural_network
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from .. import activations, devices, losses, optimizers
from ..model import SHARES
from ..schedules import SCIKIT_LEARNS, schedule
from .fitted import model_of, take_weights
from .parameters import check_parameters, defaults, hidden_units, is_scikit_learns
from .state import begin, next_optimizer

if TYPE_CHECKING:
    from .base import BaseMLP

_Estimator = TypeVar("_Estimator", bound="BaseMLP")

#: scikit-learn's classes, whatever is put in their place later.
CLASSIFIER = sklearn.neural_network.MLPClassifier
REGRESSOR = sklearn.neural_network.MLPRegressor

# What scikit-learn has.
_HIDDEN = {name: activations.resolve(name) for name in ("relu", "identity", "logistic", "tanh")}
_OUTPUTS = {
    activations.resolve(name, activations.OUTPUT)
    for name in ("identity", "logistic", "tanh", "relu", "softmax", "exp")
}
_LOSSES = {losses.resolve(name): name for name in ("log_loss", "squared_error", "poisson")}
#: Where its optimisers keep what is called moments here.
_MOMENTS = {"sgd": ("velocities",), "adam": ("ms", "vs")}
#: Parameters that do not change what is computed, except for its rounding.
_FREE = {"device", "precision", "n_jobs"}
#: Those for which a network is compared itself, as a parameter may be set after the fit.
_OF_NETWORKS = {"loss", "activation", "output_activation"}
#: Private attributes with the same meaning in both.
_SHARED = ("_label_binarizer", "_no_improvement_count")
#: The attributes of a fit that scikit-learn also has, besides those of the network.
_RECORDS = (
    "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "classes_", "feature_names_in_", "n_features_in_", *_SHARED,
)  # fmt: skip


# ---- made of ours -------------------------------------------------------------------------------


def to_sklearn(estimator: BaseMLP, training: bool) -> Any:
    """Return scikit-learn's estimator; see `BaseMLP.to_sklearn`."""
    check_is_fitted(estimator)
    model = model_of(estimator)
    kind: Any = CLASSIFIER if is_classifier(estimator) else REGRESSOR
    lacking, advice = _lacking_to_predict(model), ""
    if training and not lacking:
        lacking = _lacking_to_train(estimator, model.network, kind)
        advice = " For its predictions alone, write to_sklearn(training=False)."
    if lacking:
        raise ValueError(
            f"scikit-learn's {kind.__name__} lacks what this network has: "
            f"{'; '.join(lacking)}.{advice}"
        )
    theirs = kind(**_their_parameters(estimator, model.network, kind))
    for name in _RECORDS:
        if hasattr(estimator, name):
            setattr(theirs, name, deepcopy(getattr(estimator, name)))
    theirs.coefs_ = [np.array(weights) for weights in model.coefs]
    theirs.intercepts_ = [np.array(biases) for biases in model.intercepts]
    theirs.n_layers_, theirs.n_outputs_ = len(model.network.units), model.network.units[-1]
    theirs.out_activation_ = model.network.output_activation.name
    # To these its early stopping goes back if no epoch of a warm start is better.
    theirs._best_coefs = [weights.copy() for weights in theirs.coefs_]
    theirs._best_intercepts = [biases.copy() for biases in theirs.intercepts_]
    state = getattr(estimator, "_optimizer", None)
    if training and state is not None:
        theirs._optimizer = _their_optimizer(state, model.network)
    return theirs


def _lacking_to_predict(model):
    """Return what scikit-learn lacks to compute the same, as text."""
    network, lacking = model.network, []
    if _their_activation(network) is None:
        lacking.append(f"activation={list(network.activation)!r}")
    if network.output_activation not in _OUTPUTS:
        lacking.append(f"output_activation={network.output_activation!r}")
    if model.output_form == SHARES and network.units[-1] > 1:
        lacking.append("outputs that are divided by their sum")
    return lacking


def _lacking_to_train(estimator, network, kind):
    """Return what scikit-learn lacks to go on in the same way, as text."""
    ours: Any = type(estimator)
    own, usual = estimator.get_params(deep=False), defaults(ours)
    beyond = set(own) - set(kind().get_params()) - _FREE - _OF_NETWORKS
    names = [name for name in own if name in beyond and not _is(own[name], usual[name])]
    if _their_solver(estimator.solver) is None:
        names.append("solver")
    if not is_scikit_learns(estimator):
        names.append("learning_rate")
    lacking = [f"{name}={own[name]!r}" for name in names]
    if network.loss.parameter not in _LOSSES:
        lacking.append(f"loss={network.loss!r}")
    elif network.output_activation != activations.resolve(
        network.loss.output_activation, activations.OUTPUT
    ):
        lacking.append(f"output_activation={network.output_activation!r} for this loss")
    state = getattr(estimator, "_optimizer", None)
    if state is not None and (_their_solver(state.rule) is None or _their_schedule(state) is None):
        lacking.append(f"an optimiser that goes on with {state.rule!r} and {state.schedule!r}")
    if getattr(estimator, "_last_weights", None) is not None:
        lacking.append("an average of weights")
    return lacking


def _is(value, default):
    """Return whether a parameter is at its default; arrays and objects never are."""
    return value is None if default is None else isinstance(value, str | Real) and value == default


def _their_parameters(estimator, network, kind):
    """Return the parameters; for those that it lacks, which no prediction needs, its defaults."""
    own, usual = estimator.get_params(deep=False), kind().get_params()
    parameters = {name: deepcopy(own[name]) for name in usual if name in own}
    parameters["activation"] = _their_activation(network)
    if hidden_units(own["hidden_layer_sizes"]) != list(network.units[1:-1]):
        parameters["hidden_layer_sizes"] = network.units[1:-1]
    if "loss" in usual:
        parameters["loss"] = _LOSSES.get(network.loss, usual["loss"])
    parameters |= _their_solver(own["solver"]) or {"solver": usual["solver"]}
    if not is_scikit_learns(estimator):
        parameters["learning_rate"] = usual["learning_rate"]
    return parameters


def _their_activation(network):
    """Return the name of the one activation of all hidden layers, or None."""
    kinds = set(network.activation)
    return next((name for name, one in _HIDDEN.items() if kinds <= {one}), None)


def _their_solver(solver):
    """Return the parameters of scikit-learn for a solver, or None if it lacks it."""
    if isinstance(solver, str):
        return {"solver": solver} if solver in ("lbfgs", *_MOMENTS) else None
    for name in _MOMENTS:
        kind = optimizers.OPTIMIZERS[name]
        if type(solver) is kind:
            own = {theirs: getattr(solver, field) for field, theirs in kind.parameters.items()}
            return {"solver": name} | own
    return None


def _their_schedule(state):
    """Return the parameters of scikit-learn for the schedule of an optimiser, or None."""
    own = state.schedule
    power = getattr(own, "power", 0.5)
    for name in SCIKIT_LEARNS:
        if own == schedule(name, own.initial, power):
            return {"learning_rate": name, "learning_rate_init": own.initial, "power_t": power}
    return None


def _their_optimizer(state, network):
    """Return scikit-learn's optimiser in the state of ours."""
    settings = _their_solver(state.rule) | _their_schedule(state)
    tiny = REGRESSOR(hidden_layer_sizes=(1,), **settings).partial_fit([[0.0]], [0.0])
    optimizer = tiny._optimizer
    optimizer.learning_rate = state.learning_rate
    if hasattr(optimizer, "t"):
        optimizer.t = state.step
    for name, moment in zip(_MOMENTS[settings["solver"]], state.moments, strict=True):
        weights, biases = network.views(moment.copy())
        setattr(optimizer, name, weights + biases)
    return optimizer


# ---- taken over ---------------------------------------------------------------------------------


def taken_over(kind: type[_Estimator], theirs: Any) -> _Estimator:
    """Return an estimator that predicts and goes on as scikit-learn's.

    Parameters
    ----------
    kind : type
        Our class.
    theirs : sklearn.neural_network.MLPClassifier or MLPRegressor
        The fitted estimator, which is not changed.

    Raises
    ------
    ValueError
        If its parameters are not valid, or its attributes contradict each other.
    """
    check_is_fitted(theirs)
    estimator = kind(**deepcopy(theirs.get_params(deep=False)))
    check_parameters(estimator)
    for name in _RECORDS:
        if hasattr(theirs, name):
            setattr(estimator, name, deepcopy(getattr(theirs, name)))
    estimator.coefs_, estimator.intercepts_ = theirs.coefs_, theirs.intercepts_
    estimator.n_outputs_, estimator.out_activation_ = theirs.n_outputs_, theirs.out_activation_
    model = model_of(estimator)
    parameters = model.packed()
    take_weights(estimator, model.network, parameters)
    estimator.device_ = devices.EVERYWHERE
    begin(estimator)
    _complete_records(estimator, theirs)
    if hasattr(theirs, "_optimizer"):
        estimator._optimizer = _our_optimizer(estimator, theirs._optimizer, parameters)
    return estimator


def _complete_records(estimator, theirs):
    """Set what scikit-learn does not record: unknown numbers are NaN."""
    estimator.validation_loss_curve_ = estimator.best_iteration_ = None
    if not hasattr(theirs, "loss_curve_"):
        return
    fixed = theirs.solver == "adam" or theirs.learning_rate == "constant"
    rate = float(theirs.learning_rate_init) if fixed else math.nan
    estimator.learning_rates_ = [rate] * len(theirs.loss_curve_)
    estimator._scored_by = estimator._last_weights = None
    scores = theirs.validation_scores_
    if scores:
        estimator.validation_loss_curve_ = [math.nan] * len(scores)
        best = [epoch for epoch, score in enumerate(scores, 1) if score == max(scores)]
        estimator.best_iteration_ = best[0] if best else None


def _our_optimizer(estimator, theirs, parameters):
    """Return our optimiser in the state of scikit-learn's."""
    state = next_optimizer(estimator, parameters, fresh=True, incremental=False, batches=1)
    name = "sgd" if hasattr(theirs, "velocities") else "adam"
    rule = optimizers.resolve(name)
    own = {field.name: getattr(theirs, field.name) for field in fields(rule)}
    state.rule = replace(rule, **own)
    initial, power = float(theirs.learning_rate_init), getattr(theirs, "power_t", 0.5)
    state.schedule = schedule(getattr(theirs, "lr_schedule", "constant"), initial, power)
    # Adam's has been corrected for the moments, which ours does in each step.
    state.learning_rate = float(theirs.learning_rate) if name == "sgd" else initial
    state.step = getattr(theirs, "t", 0)
    state.moments = np.stack(
        [np.concatenate([part.ravel() for part in getattr(theirs, at)]) for at in _MOMENTS[name]]
    )
    return state
