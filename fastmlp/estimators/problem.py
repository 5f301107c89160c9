"""A fitted estimator and rows to inspect it with, in the form that networks and devices use.

Inspection works on these; the private parts of an estimator stay in this package.
"""

from copy import copy
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..devices.device import Device
from ..model import FittedNetwork
from ..network import Network
from ..regularization import Regularization
from .base import BaseMLP
from .fitted import model_of
from .types import LabelsLike, MatrixLike, WeightsLike
from .validation import row_access, validated


class Problem(NamedTuple):
    """A fitted network, and the rows over which its objective is computed.

    Attributes
    ----------
    network : Network
        Widths, activations and the loss of the fit.
    parameters : ndarray of shape (network.size,)
        A copy of the packed parameters.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Rows in the dtype of the parameters.
    targets : ndarray of shape (n_samples, n_outputs)
        Encoded targets as the loss uses them, in the same dtype.
    weights : ndarray of shape (n_samples,) or None
        Weight of each row.
    """

    network: Network
    parameters: np.ndarray
    X: Any
    targets: np.ndarray
    weights: np.ndarray | None


def problem_of(
    estimator: BaseMLP, X: MatrixLike, y: LabelsLike, sample_weight: WeightsLike | None = None
) -> Problem:
    """Return the network of a fitted estimator, with rows validated and encoded as in its fit.

    The estimator is not changed, and y need not contain every class.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Data.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels or targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row; the classifier's `class_weight` is multiplied with it.

    Returns
    -------
    problem : Problem
        Copies, except for X if it has the right dtype already.

    Raises
    ------
    TypeError
        If it is not an estimator of fastmlp.
    NotFittedError
        If it has not been fitted.
    ValueError
        If the data do not fit it, or are not finite.
    """
    check_fitted(estimator)
    # A copy, since parameters may have been set after the fit.
    model, encoder = model_of(estimator), copy(estimator)
    network = model.network
    encoder.loss = network.loss.parameter
    rows, y = encoder._validated(X, y, reset=False)
    encoder._check_known(y, "y")
    targets, weights = encoder._targets(y, rows.dtype), encoder._row_weights(sample_weight, rows, y)
    if targets.shape[1] != estimator.n_outputs_:
        raise ValueError(
            f"y has {targets.shape[1]} output(s), but the network was fitted with "
            f"{estimator.n_outputs_}."
        )
    parameters = model.packed()
    dtype = parameters.dtype
    rows = row_access(rows).astype(dtype, copy=False)
    return Problem(network, parameters, rows, targets.astype(dtype), weights)


def fitted_network(estimator: BaseMLP) -> FittedNetwork:
    """Return the network and weights of a fitted estimator, which are not copied.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.

    Raises
    ------
    TypeError, NotFittedError, ValueError
        As in `problem_of`.
    """
    check_fitted(estimator)
    return model_of(estimator)


def model_and_rows(estimator: BaseMLP, X: MatrixLike) -> tuple[FittedNetwork, Any]:
    """Return the network and weights of a fitted estimator, and X validated for a prediction.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Data.

    Returns
    -------
    model : FittedNetwork
        The network and its weights, which are not copied.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated rows in the dtype of the weights.

    Raises
    ------
    TypeError, NotFittedError, ValueError
        As in `problem_of`.
    """
    model = fitted_network(estimator)
    rows = row_access(validated(estimator, X, reset=False))
    return model, rows.astype(model.dtype, copy=False)


def regularization_of(estimator: BaseMLP, network: Network) -> Regularization:
    """Return the regularisation that is part of the estimator's objective: its penalties.

    Dropout, weight decay, and bounds of gradients and weights act on single training steps and are
    left out.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        An estimator, whose parameters are read.
    network : Network
        Its network.

    Returns
    -------
    regularization : Regularization

    Raises
    ------
    ValueError
        If the estimator's parameters do not fit the network.
    """
    return estimator._regularization(network).penalties


def device_of(estimator: BaseMLP, problem: Problem) -> Device:
    """Return the estimator's own device, loaded with a problem's parameters and the penalties.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator, which chooses the device.
    problem : Problem
        From `problem_of`.

    Returns
    -------
    device : Device
        One of the classes of `fastmlp.devices`.

    Raises
    ------
    RuntimeError
        If the device cannot be used here.
    """
    network, parameters, X, *_ = problem
    return estimator._device(
        network,
        parameters,
        X,
        regularization=regularization_of(estimator, network),
        batch_size=min(X.shape[0], 1024),
    )


def check_ours(estimator: object) -> None:
    """Check that an object is an estimator of this package.

    Raises
    ------
    TypeError
        If it is not. The message has advice about pipelines, classes, and scikit-learn's own.
    """
    if isinstance(estimator, BaseMLP):
        return
    kind = estimator if isinstance(estimator, type) else type(estimator)
    advice = "Of a pipeline, give the last step and the data as the steps before transform them."
    if kind is estimator:
        advice = f"That is a class: write {kind.__name__}()."
    elif kind.__module__.startswith("sklearn.neural_network"):
        advice = "fastmlp.from_sklearn makes one of a fitted one of scikit-learn's."
    raise TypeError(
        f"Expected an MLPClassifier or MLPRegressor of fastmlp, got {kind.__name__}. {advice}"
    )


def check_fitted(estimator: object) -> None:
    """Check that an object is an estimator of this package that has been fitted.

    Raises
    ------
    TypeError, NotFittedError
        If it is not.
    """
    check_ours(estimator)
    check_is_fitted(estimator)
