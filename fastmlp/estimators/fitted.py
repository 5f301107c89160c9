"""The network that a fitted estimator predicts with, as its attributes define it.

A fit stores its network, so that parameters set afterwards do not change predictions. As in
scikit-learn, weights may also be set by hand, on an estimator that was fitted or was never fitted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .. import activations
from ..activations import Activation
from ..losses import Loss, SquaredError
from ..model import FittedNetwork
from ..network import Network

if TYPE_CHECKING:
    from .base import BaseMLP


class Latest:
    """The network that a fitted estimator predicted with last, and the attributes that said so.

    It is an attribute from the fit on: no prediction changes which attributes there are.
    """

    model: tuple[list | None, FittedNetwork | None] = (None, None)


def take_weights(estimator: BaseMLP, network: Network, parameters: np.ndarray) -> None:
    """Set the attributes that an estimator predicts from; weights are views of `parameters`."""
    estimator._latest = Latest()
    estimator._fitted_as = network
    estimator.coefs_, estimator.intercepts_ = network.views(parameters)
    estimator.activation_params_ = network.activation_views(parameters)
    estimator.n_layers_ = len(network.units)
    estimator.out_activation_ = network.output_activation.name


#: Attributes that say what network the weights are those of.
_SAID = ("_fitted_as", "out_activation_", "n_layers_")


def model_of(estimator: BaseMLP) -> FittedNetwork:
    """Return the network and weights of an estimator that has `coefs_`.

    Raises
    ------
    ValueError
        If its fitted attributes are inconsistent.
    """
    learned = getattr(estimator, "activation_params_", None)
    said = [getattr(estimator, name, None) for name in _SAID]
    latest = vars(estimator).get("_latest")
    before, model = latest.model if latest else (None, None)
    if model and before == said and model.is_of(estimator.coefs_, estimator.intercepts_, learned):
        return model
    layers = len(estimator.coefs_)
    if layers == 0 or getattr(estimator, "n_layers_", layers + 1) != layers + 1:
        raise ValueError(
            f"coefs_ has {layers} weight matrices, for which n_layers_ must be {layers + 1}, got "
            f"{getattr(estimator, 'n_layers_', None)}."
        )
    network = _network(estimator, _units_of(estimator.coefs_))
    if learned is not None and not any(network.learned):
        learned = None
    form = estimator._output_form(network)
    model = FittedNetwork(network, estimator.coefs_, estimator.intercepts_, learned, form)
    if latest and said[0] is not None:
        latest.model = said, model
    return model


def network_to_go_on_with(
    estimator: BaseMLP, loss: Loss, output: str | Activation | None
) -> Network:
    """Return the network to continue training: layer widths of the weights, current functions.

    Raises
    ------
    ValueError
        If weights, activations and `out_activation_`, which may be set by hand, are inconsistent,
        or a parameter was changed that decides how many weights there are.
    """
    units = _units_of(estimator.coefs_)
    hidden = activations.resolve_layers(estimator.activation, len(units) - 2)
    output = activations.resolve(output or loss.output_activation, activations.OUTPUT)
    fitted = getattr(estimator, "_fitted_as", None)
    parts = units, hidden, loss, output
    if fitted is not None and parts == (
        fitted.units, fitted.activation, fitted.loss, fitted.output_activation,
    ):  # fmt: skip
        network = fitted  # it has computed its sizes already
    else:
        network = Network(*parts)
        if fitted is not None:
            _check_changes(estimator, fitted, network)
    name = _output_by_hand(estimator, network)
    return network if name is None else replace(network, output_activation=name)


def _check_changes(estimator, fitted, network):
    """Raise a ValueError if a parameter set since the fit needs other weights than the fit's."""
    arrays = getattr(estimator, "activation_params_", None) or ()
    learned = [np.shape(array) for array in arrays if array is not None]
    of_the_fit = [np.shape(weights) for weights in estimator.coefs_], learned
    if of_the_fit == _shapes(fitted) != _shapes(network):
        before, now = _as_parameter(fitted.activation), _as_parameter(network.activation)
        raise _change("activation", before, now)
    # y decides how many targets there are; of these there may be as many as in the fit.
    before, now = fitted.loss.outputs_per_target, network.loss.outputs_per_target
    outputs = network.units[-1]
    if before != now and estimator.n_outputs_ * before == outputs * now:
        raise _change("loss", fitted.loss, network.loss)


def _shapes(network):
    """Return the shapes of all weights, and of what activations learn."""
    return network.shapes, [(count,) for count in network.learned if count]


def _as_parameter(kinds):
    return kinds[0] if len(set(kinds)) == 1 else list(kinds)


def _change(name, before, now):
    return ValueError(
        f"Training cannot go on: {name} was {before!r} in the fit, and is {now!r} now, which needs "
        "weights of other shapes. Set it back, or fit a clone of the estimator "
        "(sklearn.base.clone) from the start."
    )


def _units_of(coefs):
    """Return the widths of all layers, from the shapes of the weights."""
    shapes = [np.shape(weights) for weights in coefs]
    if any(len(shape) != 2 for shape in shapes):
        raise ValueError(f"coefs_ must be matrices (fan_in, fan_out), got the shapes {shapes}.")
    return (*(fan_in for fan_in, _ in shapes), shapes[-1][1])


def _output_by_hand(estimator, network):
    """Return `out_activation_` if neither this network nor the fit has it, else None."""
    fitted = getattr(estimator, "_fitted_as", None) or network
    known = network.output_activation.name, fitted.output_activation.name
    name = getattr(estimator, "out_activation_", known[0])
    return None if name in known else name


def _network(estimator, units):
    """Return the network of the last fit, with the current layers."""
    network = getattr(estimator, "_fitted_as", None)
    if network is None:  # weights were set by hand, or unpickled from an earlier version
        loss = estimator._network_loss()
        network = Network(units, estimator.activation, loss, estimator._network_output(loss))
    activation: Activation | tuple[Activation, ...] = network.activation
    if len(network.activation) != len(units) - 2 and len(set(network.activation)) == 1:
        activation = network.activation[0]  # for all hidden layers, however many there are now
    name = _output_by_hand(estimator, network)
    if name is None:
        return (
            network
            if units == network.units
            else replace(network, units=units, activation=activation)
        )
    output = activations.resolve(name, activations.OUTPUT)
    # A prediction does not depend on the loss.
    loss = network.loss if network.loss.fits(output) else SquaredError()
    return Network(units, activation, loss, output)
