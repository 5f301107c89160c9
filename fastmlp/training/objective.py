"""The objective J that training minimises, computed from a device's sums over rows.

With λ₂ and λ₁ of `fastmlp.regularization`, weights w_i of the rows, and W all weight matrices:

    J = (Σ_i w_i L_i + λ₂/2 ‖W‖² + λ₁ |W|) / Σ_i w_i
"""

import numpy as np

from ..devices.device import ZERO_WEIGHT, Device, Rows


def loss_and_gradient(
    device: Device, parameters: np.ndarray, rows: Rows
) -> tuple[float, np.ndarray]:
    """Return J over all rows, and its gradient.

    Parameters
    ----------
    device : Device
        Computes the sums with these parameters.
    parameters : ndarray of shape (network.size,)
        Packed parameters.
    rows : Rows
        The data.

    Returns
    -------
    loss : float
    gradient : ndarray of shape (network.size,)
        Packed, in the dtype of the device.

    Raises
    ------
    ZeroDivisionError
        If the weights of the rows sum to zero.
    """
    sums = device.sums(rows, parameters)
    if sums.weight == 0:
        raise ZeroDivisionError(ZERO_WEIGHT)
    gradient = sums.gradient
    assert gradient is not None  # it was requested
    penalty = device.regularization.add_penalty(device.network, parameters, gradient)
    gradient /= device.dtype.type(sums.weight)
    return (sums.loss + penalty) / sums.weight, gradient
