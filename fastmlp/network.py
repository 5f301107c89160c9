"""The shape of a network, and its parameters as one packed vector.

The packed vector holds all weight matrices, then all biases: scikit-learn's order in L-BFGS.
Moments, gradients and saved weights share it, so that an optimiser, a copy or a file deals with
one array.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .formulas.losses import OUTPUT_ACTIVATIONS


@dataclass(frozen=True)
class Network:
    """Layer widths and what acts between them.

    Parameters
    ----------
    units : tuple of int
        Width of every layer: features, hidden layers, outputs.
    activation : {"identity", "logistic", "tanh", "relu"}
        Activation of the hidden layers.
    loss : {"squared_error", "poisson", "log_loss", "binary_log_loss"}
        Loss; it decides the output activation.
    """

    units: tuple[int, ...]
    activation: str
    loss: str

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_in, fan_out) of every layer."""
        return list(pairwise(self.units))

    @property
    def output_activation(self) -> str:
        """The output activation that goes with the loss."""
        return OUTPUT_ACTIVATIONS[self.loss]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes)

    def views(self, packed: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Weight matrices (fan_in, fan_out) and biases (fan_out,), as views into `packed`."""
        weights, biases, start = [], [], 0
        for fan_in, fan_out in self.shapes:
            stop = start + fan_in * fan_out
            weights.append(packed[start:stop].reshape(fan_in, fan_out))
            start = stop
        for _, fan_out in self.shapes:
            biases.append(packed[start : start + fan_out])
            start += fan_out
        return weights, biases

    def pack(self, weights: Sequence, biases: Sequence, dtype) -> np.ndarray:
        """The packed vector of the given weights and biases, a copy of `dtype`.

        Raises
        ------
        ValueError
            If an array's shape does not fit the network.
        """
        given = [np.shape(array) for array in (*weights, *biases)]
        expected = [*self.shapes, *((fan_out,) for _, fan_out in self.shapes)]
        if len(weights) != len(biases) or given != expected:
            raise ValueError(
                f"The weights and biases have shapes {given[: len(weights)]} and "
                f"{given[len(weights) :]}, expected {self.shapes} and "
                f"{expected[len(self.shapes) :]}."
            )
        return np.concatenate([np.ravel(a) for a in (*weights, *biases)], dtype=dtype)
