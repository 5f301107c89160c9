"""The definition of a device: the contract between training and the hardware.

A device holds one network's parameters in its own memory. It has a few coarse methods, since a call
for each layer would take longer than the arithmetic of a small network. It returns plain sums over
rows: means and penalties are computed from them in one place, `fastmlp.training.objective`, whether
the rows are on one device or on many.
"""

from numbers import Integral
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from ..regularization import Regularization

#: How factors of matrix products may be rounded, if all else is float32: see `Configured`.
PRECISIONS = "float32", "tf32", "bf16"
ZERO_WEIGHT = "Weights sum to zero, can't be normalized"
NOT_FINITE = "X contains NaN or infinity."


class Rows(NamedTuple):
    """Rows of data: features, targets, and weights or None.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n, features)
    targets : ndarray of shape (n, outputs)
    weights : ndarray of shape (n,) or None
    """

    X: Any
    targets: np.ndarray
    weights: np.ndarray | None = None


class Sums(NamedTuple):
    """Sums over rows.

    Attributes
    ----------
    loss : float
        Σ_i w_i L_i, without penalty.
    weight : float
        Σ_i w_i.
    gradient : ndarray of shape (network.size,) or None
        Packed: the derivative of `loss` with respect to each parameter.
    """

    loss: float
    weight: float
    gradient: np.ndarray | None


class Device(Protocol):
    """One network on one kind of hardware.

    `fastmlp.devices.reference` defines what the others compute. Results do not depend on the
    number of threads, and are the same from run to run.
    """

    name: ClassVar[str]
    network: Any
    optimizer: Any
    regularization: Regularization
    dropout_seed: int
    batch_size: int | None
    dtype: np.dtype

    def train(self, rows: Rows, order: np.ndarray) -> float:
        """Do one update for each batch of the rows in `order`, one batch after the other.

        The last batch has the remaining rows. Moments and parameters stay on the device; the step
        count of the optimiser's state is updated.

        Returns
        -------
        loss : float
            Σ over the rows of their batch's mean loss, with penalty, before its update.

        Raises
        ------
        ZeroDivisionError
            If the weights of a batch sum to zero.
        """

    def sums(
        self,
        rows: Rows,
        parameters: np.ndarray | None = None,
        gradient: bool = True,
        out: np.ndarray | None = None,
    ) -> Sums:
        """Return the sums over all rows, at the given parameters or at the current ones.

        Given parameters replace the current ones. Without `gradient` only losses are computed. The
        network's outputs, (n, outputs), are also written to `out` if it is given.
        """

    def forward(self, X: Any, out: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
        """Write the network's outputs to `out`, for the rows of X in `order` or for all rows.

        Raises
        ------
        FloatingPointError
            If a dense X on the host contains NaN or infinity: whoever predicts need not look.
        """

    def resume(self, parameters: np.ndarray, moments: np.ndarray) -> None:
        """Go on from other parameters and moments, each packed as these methods return them."""

    def parameters(self) -> np.ndarray:
        """Return the current parameters, packed."""

    def moments(self) -> np.ndarray:
        """Return the optimiser's current moments, each packed: (moments, network.size)."""


class Configured:
    """The base class of devices, with the checked settings that all of them have.

    Parameters
    ----------
    network : Network
        Shape, activations and loss.
    parameters : ndarray of shape (network.size,)
        Packed initial parameters; their dtype is that of all computations.
    optimizer : OptimizerState, optional
        The optimiser for `train`. Its moments are copied, its step count is updated.
    regularization : Regularization, optional
        Penalties, bounds and dropout; none by default.
    dropout_seed : int, default=0
        Key of the random generator of the dropout masks, below 2^32.
    batch_size : int, optional
        Rows of a training batch, or of a block of rows whose gradient is summed; a device that only
        predicts needs none.
    sparse : bool, default=False
        Whether X will be a sparse matrix.
    n_jobs : int or None, default=None
        Most threads; None for one for each idle core. Results do not depend on it.
    precision : {"float32", "tf32", "bf16"}, default="float32"
        What the factors of matrix products may be rounded to.

    Raises
    ------
    ValueError
        If the device cannot compute with this precision.
    ValueError
        If parameters, moments, batch size or dropout do not match the network: compiled code would
        read or write outside its memory.
    """

    name: ClassVar[str]

    def __init__(
        self,
        network,
        parameters,
        *,
        optimizer=None,
        regularization=None,
        dropout_seed=0,
        batch_size=None,
        sparse=False,
        n_jobs=None,
        precision="float32",
    ):
        check_precision(precision, parameters.dtype)
        if precision not in self.precisions():
            raise ValueError(
                f"device={self.name!r} cannot compute with precision={precision!r} here: that "
                "needs device='cuda' and a GPU of compute capability 8.0 or newer. Use "
                "precision='float32', or device='auto', which makes use of it where it can."
            )
        self.precision = precision
        self.network, self.optimizer = network, optimizer
        self.regularization = regularization or Regularization()
        self.regularization.check(network)
        self.dropout_seed = dropout_seed
        self.batch_size = None if batch_size is None else checked_batch_size(batch_size)
        self.dtype, self.sparse, self.n_jobs = parameters.dtype, sparse, n_jobs
        parameters = network.checked(parameters, self.dtype)
        moments = None if optimizer is None else optimizer.packed_moments(network, self.dtype)
        self._load(parameters, moments)

    @staticmethod
    def precisions():
        """Return those of `PRECISIONS` that the device can compute with here."""
        return PRECISIONS[:1]

    def resume(self, parameters, moments):
        """Go on from other parameters and moments; see `Device`."""
        self._replace(
            self.network.checked(parameters, self.dtype),
            [self.network.checked(moment, self.dtype, "moments") for moment in moments],
        )

    def _load(self, parameters, moments):
        """Take over packed parameters, and packed moments or None."""
        raise NotImplementedError

    def _replace(self, parameters, moments):
        """Take over other packed parameters and moments, of the same number."""
        raise NotImplementedError


def check_finite(X: Any) -> None:
    """Check that no number of X is NaN or infinite, unless it is a sparse matrix.

    Raises
    ------
    FloatingPointError
        If there is one.
    """
    if isinstance(X, np.ndarray) and not all_finite(X):
        raise FloatingPointError(NOT_FINITE)


def all_finite(X: np.ndarray) -> bool:
    """Return whether no number of X is NaN or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        quick = np.isfinite(X.sum())  # a sum may also overflow
    return bool(quick or np.isfinite(X).all())


def check_precision(precision: str, dtype: np.dtype) -> None:
    """Check that a precision other than "float32" is for numbers of float32.

    Raises
    ------
    ValueError
        If it is for others.
    """
    if precision != "float32" and dtype != np.float32:
        raise ValueError(
            f"precision={precision!r} is for float32, and X is {np.dtype(dtype).name}: pass "
            "X.astype(np.float32), or use precision='float32'."
        )


def checked_batch_size(batch_size: object) -> int:
    """Return the batch size, checked: compiled code steps through the rows by this number.

    Raises
    ------
    ValueError
        If it is not a positive integer.
    """
    rows = int(batch_size) if isinstance(batch_size, Integral) else 0
    if rows < 1:
        raise ValueError(f"batch_size must be an int of at least 1, got {batch_size!r}.")
    return rows
