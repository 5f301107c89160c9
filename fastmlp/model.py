"""A fitted network: its shape and functions, and its weights, wherever they lie."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .devices.cpu.single_rows import PAIR, PLAIN, SHARES
from .devices.kept import Kept
from .network import Network

__all__ = ["FLOATS", "PAIR", "PLAIN", "SHARES", "FittedNetwork"]

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A network and its weights, as arrays for each layer, and what its outputs are.

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
    output_form : {PLAIN, PAIR, SHARES}, default=PLAIN
        What an estimator makes of a row's outputs: nothing; of a single one p, [1 - p, p]; or
        shares of their sum, which are probabilities where the outputs are not.

    Raises
    ------
    ValueError
        If an array is none of numbers, or its shape does not fit the network.
    """

    network: Network
    coefs: list
    intercepts: list
    learned: list | None = None
    output_form: int = PLAIN

    def __post_init__(self):
        network = self.network
        given = _all(self.coefs, self.intercepts, self.learned)
        object.__setattr__(self, "_given", given)
        object.__setattr__(self, "_layouts", [_layout(array) for array in given])
        learned = network.initial_activations() if self.learned is None else self.learned
        coefs = [_numbers(array) for array in self.coefs]
        learned = [None if array is None else _numbers(array) for array in learned]
        given = [array.shape for array in coefs]
        if given != network.shapes or len(self.intercepts) != len(coefs):
            raise ValueError(
                f"There are weights of shapes {given} and {len(self.intercepts)} vectors of "
                f"biases, expected {network.shapes} and as many vectors."
            )
        given = [0 if array is None else array.shape for array in learned]
        if given != [count and (count,) for count in network.learned]:
            raise ValueError(
                f"What activations have learned has shapes {given}, expected {network.learned} "
                "numbers."
            )
        biases = [_biases(b, w) for b, w in zip(self.intercepts, coefs, strict=True)]
        for name, value in (("coefs", coefs), ("intercepts", biases), ("learned", learned)):
            object.__setattr__(self, name, value)

    @property
    def dtype(self) -> np.dtype:
        """float32 if all weights are, else float64."""
        return FLOATS[all(w.dtype == np.float32 for w in self.coefs)]

    def dtype_with(self, X) -> np.dtype:
        """The dtype of the outputs for X: what X and the weights promote to."""
        promoted = np.result_type(X.dtype, *(w.dtype for w in self.coefs))
        return promoted if promoted in FLOATS else FLOATS[0]

    def is_of(self, coefs, intercepts, learned) -> bool:
        """Whether it was made from these very arrays, and they still lie as they did.

        Their numbers may have changed: those are read at each prediction.
        """
        given = _all(coefs, intercepts, learned)
        return (
            len(given) == len(self._given)
            and all(own is other for own, other in zip(self._given, given, strict=True))
            and None not in self._layouts
            and self._layouts == [_layout(array) for array in given]
        )

    def forward(self, X, out, device: str = "cpu", n_jobs: int | None = None) -> np.ndarray:
        """out = the outputs for the rows of X.

        Parameters
        ----------
        X : ndarray of shape (n, features) or CSR matrix
            The rows.
        out : ndarray of shape (n, outputs), float32 or float64
            Its dtype is the one everything is computed in.
        device : str, default="cpu"
            One of `fastmlp.devices.DEVICES`. What it was made from is kept until the next call,
            which uses it again if the weights have not changed.
        n_jobs : int or None, default=None
            Most threads, see the devices.

        Returns
        -------
        out : ndarray

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

    def packed(self, dtype=None) -> np.ndarray:
        """A copy of all weights as one packed vector."""
        return np.concatenate([part.ravel() for part in self.parts()], dtype=dtype or self.dtype)

    def parts(self) -> tuple[np.ndarray, ...]:
        """All arrays, in the order of the packed vector, where they lie."""
        return _all(self.coefs, self.intercepts, self.learned)


def _all(coefs, intercepts, learned):
    """All arrays, in the order of the packed vector."""
    return *coefs, *intercepts, *(array for array in learned or () if array is not None)


def _layout(array):
    """How an array lies in memory; None of what is no array, which cannot be recognised."""
    return (array.shape, array.strides, array.dtype) if type(array) is np.ndarray else None


def _numbers(array):
    """An array of real numbers."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"Weights must be real numbers, got an array of dtype {array.dtype}.")
    return array


def _biases(biases, weights):
    """A layer's biases, which scikit-learn broadcasts to the rows that they are added to."""
    biases = _numbers(biases)
    if biases.shape == weights.shape[1:]:
        return biases
    try:
        return np.broadcast_to(biases, (1, weights.shape[1]))[0]
    except ValueError:
        raise ValueError(
            f"The biases of a layer with weights of shape {weights.shape} have shape "
            f"{biases.shape}, expected {weights.shape[1:]}."
        ) from None
