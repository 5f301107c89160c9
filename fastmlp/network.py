"""The shape of a network, and its parameters as one packed vector.

The packed vector holds all weight matrices, then all biases (scikit-learn's order for L-BFGS), then
the parameters that activations learn. Moments, gradients and saved weights use the same layout, so
that an optimiser, a copy or a file deals with one array.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import activations, losses
from .activations import Activation
from .losses import Loss


@dataclass(frozen=True, init=False)
class Network:
    """Layer widths, activations and loss.

    Parameters
    ----------
    units : tuple of int
        Width of every layer: features, hidden layers, outputs.
    activation : str, Activation, or sequence of these
        One for all hidden layers, or one for each. Stored as a tuple of objects.
    loss : str or Loss
        Stored as an object.
    output_activation : str or Activation, optional
        Default: the loss's own. Stored as an object.

    Raises
    ------
    ValueError
        If a name is unknown, there is not one activation for each hidden layer, or the output
        activation cannot be used with the loss.
    """

    units: tuple[int, ...]
    activation: tuple[Activation, ...]
    loss: Loss
    output_activation: Activation

    # Written by hand: it accepts names as well, while the fields hold objects.
    def __init__(
        self,
        units: tuple[int, ...],
        activation: str | Activation | Sequence[str | Activation],
        loss: str | Loss,
        output_activation: str | Activation | None = None,
    ):
        hidden = activations.resolve_layers(activation, len(units) - 2)
        loss = losses.resolve(loss)
        output = activations.resolve(
            output_activation or loss.output_activation, activations.OUTPUT
        )
        loss.check_output(output, units[-1])
        for name, value in (
            ("units", units), ("activation", hidden), ("loss", loss), ("output_activation", output),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def canonical(self) -> bool:
        """Whether ∂L/∂z of the last layer is the prediction minus the target."""
        paired = self.output_activation.name == self.loss.output_activation
        return self.loss.canonical and paired

    @property
    def custom(self) -> bool:
        """Whether it contains user-defined functions."""
        parts: tuple[Activation | Loss, ...] = (
            *self.activation, self.output_activation, self.loss,
        )  # fmt: skip
        return any(part.custom for part in parts)

    @property
    def piece_shapes(self) -> list[tuple[int, int]]:
        """(fan_in, units) of every layer: the shape of its weights; for maxout, of each piece."""
        return list(pairwise(self.units))

    @cached_property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_in, fan_out) of every layer's weights; a maxout unit has several columns."""
        pieces = [activation.pieces for activation in self.activation] + [1]
        return [
            (fan_in, units * k)
            for (fan_in, units), k in zip(self.piece_shapes, pieces, strict=True)
        ]

    @cached_property
    def learned(self) -> list[int]:
        """Number of parameters that the activation of each hidden layer learns."""
        return [
            units if activation.learnable else 0
            for units, activation in zip(self.units[1:-1], self.activation, strict=True)
        ]

    @cached_property
    def size(self) -> int:
        """Number of parameters."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes) + sum(self.learned)

    def checked(self, vector: ArrayLike, dtype: DTypeLike, what: str = "parameters") -> np.ndarray:
        """Return a packed vector in the form for compiled code: contiguous, of this dtype.

        Parameters
        ----------
        vector : array-like of shape (size,)
            Returned itself, without a copy, if nothing has to be changed.
        dtype : dtype
            dtype of the result.
        what : str, default="parameters"
            Name of the vector in the error message.

        Raises
        ------
        ValueError
            If it has the wrong shape: compiled code would read beyond its end.
        """
        if np.shape(vector) != (self.size,):
            raise ValueError(
                f"The {what} of this network are {self.size} numbers in a vector, got an array of "
                f"shape {np.shape(vector)}."
            )
        return np.ascontiguousarray(vector, dtype)

    def views(self, packed: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return weight matrices (fan_in, fan_out) and biases (fan_out,) as views into `packed`."""
        weights, biases, start = [], [], 0
        for fan_in, fan_out in self.shapes:
            stop = start + fan_in * fan_out
            weights.append(packed[start:stop].reshape(fan_in, fan_out))
            start = stop
        for _, fan_out in self.shapes:
            biases.append(packed[start : start + fan_out])
            start += fan_out
        return weights, biases

    def activation_views(self, packed: np.ndarray) -> list[np.ndarray | None]:
        """Return what each hidden layer's activation learns as views into `packed`, or None."""
        views, start = [], self.size - sum(self.learned)
        for count in self.learned:
            views.append(packed[start : start + count] if count else None)
            start += count
        return views

    def initial_activations(self) -> list[np.ndarray | None]:
        """Return the initial values of what each hidden layer's activation learns, or None."""
        return [
            np.full(count, activation.constant) if count else None
            for count, activation in zip(self.learned, self.activation, strict=True)
        ]

    def pack(
        self,
        weights: Sequence[ArrayLike],
        biases: Sequence[ArrayLike],
        dtype: DTypeLike,
        activation_parameters: Sequence[ArrayLike | None] | None = None,
    ) -> np.ndarray:
        """Copy the given arrays into one packed vector of `dtype`.

        If no activation parameters are given, they get their initial values.

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
        if activation_parameters is None:
            activation_parameters = self.initial_activations()
        learned = [
            np.shape(array)[0] if array is not None else 0 for array in activation_parameters
        ]
        if learned != self.learned:
            raise ValueError(
                f"The activations have {learned} learned parameters, expected {self.learned}."
            )
        arrays = *weights, *biases, *(a for a in activation_parameters if a is not None)
        return np.concatenate([np.ravel(array) for array in arrays], dtype=dtype)
