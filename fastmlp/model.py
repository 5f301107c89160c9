"""A fitted network: its shape and functions, and its weights, wherever they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .network import Network

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True, init=False)
class FittedNetwork:
    """A network and its weights, as arrays for each layer.

    Parameters
    ----------
    network : Network
        Widths, activations and loss.
    coefs : list of array-like of shape (fan_in, fan_out)
        Weights of each layer. They are used where they lie.
    intercepts : list of array-like, each broadcast to (1, fan_out)
        Biases of each layer.
    learned : list of (array-like of shape (units,) or None), default=None
        What each hidden layer's activation has learned; the first values by default.

    Raises
    ------
    ValueError
        If an array is none of numbers, or its shape does not fit the network.
    """

    network: Network
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    learned: list[np.ndarray | None]

    # By hand, since all that can be made an array is taken, and the fields have arrays.
    def __init__(
        self,
        network: Network,
        coefs: Sequence[ArrayLike],
        intercepts: Sequence[ArrayLike],
        learned: Sequence[ArrayLike | None] | None = None,
    ):
        weights = [_numbers(array) for array in coefs]
        shapes = [array.shape for array in weights]
        if shapes != network.shapes or len(intercepts) != len(weights):
            raise ValueError(
                f"There are weights of shapes {shapes} and {len(intercepts)} vectors of "
                f"biases, expected {network.shapes} and as many vectors."
            )
        if learned is None:
            learned = network.initial_activations()
        constants = [None if array is None else _numbers(array) for array in learned]
        given = [0 if array is None else array.shape for array in constants]
        if given != [count and (count,) for count in network.learned]:
            raise ValueError(
                f"What activations have learned has shapes {given}, expected {network.learned} "
                "numbers."
            )
        biases = [_biases(b, w) for b, w in zip(intercepts, weights, strict=True)]
        for name, value in (
            ("network", network), ("coefs", weights), ("intercepts", biases),
            ("learned", constants),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def dtype(self) -> np.dtype:
        """float32 if all weights are, else float64."""
        return FLOATS[all(w.dtype == np.float32 for w in self.coefs)]

    def dtype_with(self, X: Any) -> np.dtype:
        """The dtype of the outputs for X: what X and the weights promote to."""
        promoted = np.result_type(X.dtype, *(w.dtype for w in self.coefs))
        return promoted if promoted in FLOATS else FLOATS[0]

    def arrays(self, dtype: DTypeLike) -> list[np.ndarray]:
        """All arrays, in the order of the packed vector, without gaps and of this dtype.

        Those that are so already are not copied.
        """
        return [np.ascontiguousarray(part, dtype) for part in self._parts()]

    def packed(self, dtype: DTypeLike | None = None) -> np.ndarray:
        """A copy of all weights as one packed vector."""
        return np.concatenate([part.ravel() for part in self._parts()], dtype=dtype or self.dtype)

    def _parts(self) -> tuple[np.ndarray, ...]:
        return *self.coefs, *self.intercepts, *(a for a in self.learned if a is not None)


def _numbers(numbers: ArrayLike) -> np.ndarray:
    """An array of real numbers."""
    array = np.asarray(numbers)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"Weights must be real numbers, got an array of dtype {array.dtype}.")
    return array


def _biases(given: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """A layer's biases, which scikit-learn broadcasts to the rows that they are added to."""
    biases = _numbers(given)
    if biases.shape == weights.shape[1:]:
        return biases
    try:
        return np.broadcast_to(biases, (1, weights.shape[1]))[0]
    except ValueError:
        raise ValueError(
            f"The biases of a layer with weights of shape {weights.shape} have shape "
            f"{biases.shape}, expected {weights.shape[1:]}."
        ) from None
