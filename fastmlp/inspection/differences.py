"""Central differences of the objective, and which of them cross a kink."""

import numpy as np

from ..devices import ReferenceDevice
from ..estimators.problem import regularization_of

#: Step at which the errors of truncation, ~h², and rounding, ~ε/h, are about the same.
STEP = float(np.cbrt(np.finfo(np.float64).eps))


def central_differences(estimator, problem, step):
    """Return the packed gradient in float64, and a mask of parameters that cross a kink."""
    if not 0 < step < np.inf:
        raise ValueError(f"step must be a finite number greater than 0, got {step!r}.")
    objective = objective_of(estimator, problem)
    moved = problem.parameters.astype(np.float64)
    numerical, crossed = np.empty_like(moved), np.empty(moved.size, bool)
    for i, parameter in enumerate(moved.copy()):
        ahead, behind = parameter + step, parameter - step
        moved[i] = ahead
        J_ahead, pieces_ahead = objective(moved)
        moved[i] = behind
        J_behind, pieces_behind = objective(moved)
        moved[i] = parameter
        numerical[i] = (J_ahead - J_behind) / (ahead - behind)
        crossed[i] = (pieces_ahead != pieces_behind).any()
    return numerical, crossed


def objective_of(estimator, problem):
    """Return a function from float64 parameters to J and the pieces that values lie on."""
    network, parameters = problem.network, problem.parameters
    X, targets = problem.X.astype(np.float64), problem.targets.astype(np.float64)
    weights = np.ones(len(targets)) if problem.weights is None else problem.weights
    penalties = regularization_of(estimator, network)
    device = ReferenceDevice(network, parameters)

    def objective(parameters):
        passed = device.propagate(parameters, X)
        losses, _ = device.output_delta(passed, targets)
        penalty = sum(
            0.5 * penalties.l2 * (w**2).sum() + penalties.l1 * np.abs(w).sum()
            for w in network.views(parameters)[0]
        )
        value = (weights @ summed(network, losses) + penalty) / weights.sum()
        pieces = _pieces(network, passed, targets)
        if penalties.l1:
            pieces += [np.sign(w) for w in network.views(parameters)[0]]
        return value, np.concatenate([piece.ravel() for piece in pieces])

    return objective


def summed(network, losses):
    """Return each row's loss as a sum over the outputs; squared error is given as their mean."""
    return losses * (network.units[-1] if network.loss.mean_over_outputs else 1)


def _pieces(network, passed, targets):
    """Return the linear piece that each z, and each error, lies on."""
    pieces = []
    for activation, z in zip(
        (*network.activation, network.output_activation), passed.z, strict=True
    ):
        if activation.pieces > 1:
            pieces.append(z.reshape(len(z), activation.pieces, -1).argmax(axis=1))
        else:
            pieces.append(np.searchsorted(activation.kinks, z))
    pieces.append(np.searchsorted(network.loss.kinks, passed.outputs - targets))
    return pieces
