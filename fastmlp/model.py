"""A fitted network: its shape, its functions, and its weights, which are used in place."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .devices import PAIR, PLAIN, SHARES
from .devices.kept import Kept, packed
from .network import Network

__all__ = ["FLOATS", "PAIR", "PLAIN", "SHARES", "FittedNetwork"]

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True, init=False, eq=False)
class FittedNetwork:
    """A network, its weights as arrays for each layer, and how to interpret its outputs.

    Parameters
    ----------
    network : Network
        Widths, activations and loss.
    coefs : list of array-like of shape (fan_in, fan_out)
        Weights of each layer. They are used in place.
    intercepts : list of array-like, each broadcast to (1, fan_out)
        Biases of each layer.
    learned : list of (array-like of shape (units,) or None), default=None
        Parameters that each hidden layer's activation has learned; by default the initial values.
    output_form : {PLAIN, PAIR, SHARES}, default=PLAIN
        How an estimator transforms a row's outputs. PLAIN: not at all. PAIR: a single output p
        becomes [1 - p, p]. SHARES: the outputs are divided by their sum, which makes them
        probabilities if they are not.

    Raises
    ------
    ValueError
        If an array does not hold real numbers, or its shape does not fit the network.
    """

    network: Network
    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    learned: list[np.ndarray | None]
    output_form: int
    _given: tuple[ArrayLike, ...] = field(init=False, repr=False)
    _layouts: list[tuple | None] = field(init=False, repr=False)

    # Written by hand: it accepts everything array-like, while the fields hold arrays.
    def __init__(
        self,
        network: Network,
        coefs: Sequence[ArrayLike],
        intercepts: Sequence[ArrayLike],
        learned: Sequence[ArrayLike | None] | None = None,
        output_form: int = PLAIN,
    ):
        given = _all(coefs, intercepts, learned)
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
        sizes = [0 if array is None else array.shape for array in constants]
        if sizes != [count and (count,) for count in network.learned]:
            raise ValueError(
                f"What activations have learned has shapes {sizes}, expected {network.learned} "
                "numbers."
            )
        biases = [_biases(b, w) for b, w in zip(intercepts, weights, strict=True)]
        for name, value in (
            ("network", network), ("coefs", weights), ("intercepts", biases),
            ("learned", constants), ("output_form", output_form),
            ("_given", given), ("_layouts", [_layout(array) for array in given]),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def dtype(self) -> np.dtype:
        """float32 if all weights are float32, else float64."""
        return FLOATS[all(w.dtype == np.float32 for w in self.coefs)]

    def dtype_with(self, X: Any) -> np.dtype:
        """Return the dtype of the outputs for X: the one that X and the weights promote to."""
        promoted = np.result_type(X.dtype, *(w.dtype for w in self.coefs))
        return promoted if promoted in FLOATS else FLOATS[0]

    def is_of(
        self,
        coefs: Sequence[ArrayLike],
        intercepts: Sequence[ArrayLike],
        learned: Sequence[ArrayLike | None] | None,
    ) -> bool:
        """Return whether it was made from these same arrays, with unchanged memory layout.

        Their values may have changed: these are read at each prediction.
        """
        given = _all(coefs, intercepts, learned)
        return (
            len(given) == len(self._given)
            and all(own is other for own, other in zip(self._given, given, strict=True))
            and None not in self._layouts
            and self._layouts == [_layout(array) for array in given]
        )

    def forward(
        self, X: Any, out: np.ndarray, device: str = "cpu", n_jobs: int | None = None
    ) -> np.ndarray:
        """Compute the outputs for the rows of X into `out`.

        Parameters
        ----------
        X : ndarray of shape (n, features) or CSR matrix
            The rows.
        out : ndarray of shape (n, outputs), float32 or float64
            Receives the outputs. Everything is computed in its dtype.
        device : str, default="cpu"
            One of `fastmlp.devices.DEVICES`. The loaded device is kept, and the next call uses it
            again if the weights have not changed.
        n_jobs : int or None, default=None
            Maximum number of threads; see the devices.

        Returns
        -------
        out : ndarray

        Raises
        ------
        FloatingPointError
            If a dense X on the host contains NaN or infinity.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp.network import Network
        >>> line = FittedNetwork(Network((1, 1), (), "squared_error"), [[[2.0]]], [[1.0]])
        >>> line.forward(np.array([[3.0]]), np.empty((1, 1)))
        array([[7.]])
        """
        return self._kept.forward(device, X, out, n_jobs)

    @cached_property
    def _kept(self):
        return Kept(self.network, self.parts())

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def packed(self) -> np.ndarray:
        """Return a copy of all parameters as one packed vector, of the weights' dtype."""
        return packed(self.parts(), self.dtype)

    def parts(self) -> tuple[np.ndarray, ...]:
        """Return all arrays in the order of the packed vector, without copying them."""
        return _all(self.coefs, self.intercepts, self.learned)


def _all(coefs, intercepts, learned):
    """Return all arrays in the order of the packed vector."""
    return *coefs, *intercepts, *(array for array in learned or () if array is not None)


def _layout(array):
    """Return an array's memory layout; None for other objects, which cannot be compared."""
    return (array.shape, array.strides, array.dtype) if type(array) is np.ndarray else None


def _numbers(numbers: ArrayLike) -> np.ndarray:
    """Convert to an array of real numbers, or raise a ValueError."""
    array = np.asarray(numbers)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"Weights must be real numbers, got an array of dtype {array.dtype}.")
    return array


def _biases(given: ArrayLike, weights: np.ndarray) -> np.ndarray:
    """Return a layer's biases as a vector, broadcast as in scikit-learn."""
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
