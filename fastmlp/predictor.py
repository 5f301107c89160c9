"""Prediction of single rows in microseconds, without the estimator."""

from functools import cached_property
from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .devices import PAIR, PLAIN, SHARES, SingleRows, on_gpu, table_of, value
from .model import FLOATS
from .network import Network

__all__ = ["PAIR", "PLAIN", "SHARES", "Predictor"]


@value
class Predictor:
    """The weights of a fitted estimator, bound to compiled code that computes row by row.

    Created by an estimator's `compiled_predictor`. It holds a copy of the weights, so that later
    fits do not change it. It does not check feature names or finite values, and uses no threads and
    no batches. Several threads may call it at once. For many rows, `predict` is more efficient.

    Parameters
    ----------
    network : Network
        Shape, activations and loss.
    parameters : ndarray of shape (network.size,), float32 or float64
        Packed parameters, which are copied. Everything is computed in their dtype.
    form : {PLAIN, PAIR, SHARES}, default=PLAIN
        How a row's outputs are transformed. PLAIN: not at all. PAIR: a single output p becomes
        [1 - p, p]. SHARES: the outputs are divided by their sum, which makes them probabilities if
        they are not.
    flat : bool, default=False
        Whether the result for a matrix is a vector, if each row has a single output.

    Raises
    ------
    ValueError
        If the parameters do not fit the network, or the form does not fit its outputs.

    See Also
    --------
    MLPClassifier.compiled_predictor : Creates one that returns probabilities.
    MLPRegressor.compiled_predictor : Creates one that returns predictions.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((20,), solver="lbfgs", random_state=0).fit(X, y)
    >>> predictor = classifier.compiled_predictor()
    >>> predictor
    Predictor((4, 20, 3), activation='relu', loss='log_loss', dtype='float64')
    >>> predictor(X[0]).argmax()
    np.int64(0)
    """

    def __init__(
        self, network: Network, parameters: np.ndarray, form: int = PLAIN, flat: bool = False
    ):
        self.network, self.dtype = network, parameters.dtype
        if self.dtype not in FLOATS or form not in (PLAIN, PAIR, SHARES):
            raise ValueError(f"There is no predictor of dtype {self.dtype} and form {form!r}.")
        if network.units[-1] != 1 and (form == PAIR or flat):
            raise ValueError(f"Of {network.units[-1]} outputs, none is a single one.")
        self._parameters = network.checked(parameters, self.dtype).copy()
        coefs, intercepts = network.views(self._parameters)
        learned = [a for a in network.activation_views(self._parameters) if a is not None]
        # It holds addresses in this process; unpickling creates a new one.
        self._rows = SingleRows(network, [*coefs, *intercepts, *learned])
        self._form, self._flat = form, flat
        columns = 2 if form == PAIR else network.units[-1]
        self._features, self._row_outputs = (network.units[0],), (columns,)
        self._more_outputs = () if flat else (columns,)

    def __call__(self, X: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Compute the outputs of one row or of several.

        Parameters
        ----------
        X : array-like of shape (n_features,) or (n_samples, n_features)
            One row, or several. Contiguous arrays of the predictor's dtype are read in place,
            others are converted.
        out : ndarray, default=None
            Where to write the result: a contiguous array of the result's shape and dtype.

        Returns
        -------
        outputs : ndarray of shape (n_outputs,), (n_samples, n_outputs) or (n_samples,)
            For one row, the vector of its outputs; for a matrix, the result of a regressor's
            `predict` or a classifier's `predict_proba`. This is `out` if it was given.

        Raises
        ------
        ValueError
            If X has the wrong shape or is sparse, or `out` has the wrong shape, dtype or memory
            layout.
        """
        rows = self._rows_in_place(X)
        shape = self._row_outputs if rows.shape == self._features else self._shape_of_result(rows)
        if out is None:
            out = np.empty(shape, self.dtype)
        else:
            self._check_place(out, shape)
        self._rows.predict(rows, out, self._form)
        return out

    def predict(self, X: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Compute the outputs of one row or of several; the same as calling the predictor.

        In compiled code, X and `out` are C-contiguous arrays of the predictor's dtype. `out` has
        one dimension for a single row, and one or two for several rows with a single output.
        """
        return self(X, out)

    def gradient(self, X: ArrayLike, out: np.ndarray | None = None, output: int = 0) -> np.ndarray:
        """Compute the derivatives of one output by the inputs, for one row or for several.

        Where an activation jumps or has a kink, they are those that training uses.

        Parameters
        ----------
        X : array-like of shape (n_features,) or (n_samples, n_features)
            One row, or several.
        out : ndarray, default=None
            Where to write the result: a contiguous array of X's shape and the predictor's dtype.
            Required in compiled code.
        output : int, default=0
            Which output: the column of `predict`'s result.

        Returns
        -------
        gradient : ndarray of the shape of X
            This is `out` if it was given. In compiled code, nothing is returned.

        Raises
        ------
        ValueError
            If X has the wrong shape, `out` the wrong shape, dtype or memory layout, or there is no
            such output.

        Examples
        --------
        >>> import numpy as np
        >>> from fastmlp import MLPRegressor
        >>> X = np.random.default_rng(0).standard_normal((50, 2))
        >>> line = MLPRegressor(hidden_layer_sizes=(), alpha=0, solver="lbfgs", tol=1e-8)
        >>> line = line.fit(X, 3 * X[:, 0] - X[:, 1])
        >>> line.compiled_predictor().gradient(X[0]).round(3)
        array([ 3., -1.])
        """
        rows = self._rows_in_place(X)
        self._shape_of_result(rows)
        number = index(output)
        if not 0 <= number < self._row_outputs[0]:
            raise ValueError(f"There are {self._row_outputs[0]} outputs from 0 on, got {output}.")
        if out is None:
            out = np.empty(rows.shape, self.dtype)
        else:
            self._check_place(out, rows.shape)
        self._rows.gradient(rows, out, self._form, number)
        return out

    def on_gpu(self) -> Any:
        """Copy the weights to an NVIDIA GPU, for kernels of your own.

        Returns
        -------
        gpu : named tuple
            ``gpu.predict(data, x, out)`` and ``gpu.gradient(data, x, out, output)`` are functions
            for `numba.cuda` kernels, in which a thread computes one row; ``gpu.data`` is passed
            to the kernel as an argument. A kernel is compiled for one network.

        Raises
        ------
        RuntimeError
            If there is no GPU that can be used; the message says what is missing.

        Examples
        --------
        >>> from numba import cuda  # doctest: +SKIP
        >>> gpu = predictor.on_gpu()  # doctest: +SKIP
        >>> @cuda.jit  # doctest: +SKIP
        ... def kernel(data, X, out):
        ...     row = cuda.grid(1)
        ...     if row < len(X):
        ...         gpu.predict(data, X[row], out[row])
        >>> kernel[blocks, threads](gpu.data, X, out)  # doctest: +SKIP
        """
        return on_gpu(self.network, self._parameters, self._form)

    @cached_property
    def _table(self):
        return table_of(self._rows.plan, self._form, self.dtype)

    @cached_property
    def _table_address(self):
        """Where compiled code finds everything; see `fastmlp.devices.value`."""
        return self._table.ctypes.data

    def _rows_in_place(self, X):
        """Return X in the form for compiled code."""
        try:
            X = np.asarray(X, self.dtype, order="C")
        except ValueError as error:
            if hasattr(X, "tocsr"):
                raise ValueError("A predictor takes no sparse X: pass X.toarray().") from error
            raise
        # Read-only or unaligned arrays would need a new compilation.
        return X if X.flags.carray else X.copy()

    def _shape_of_result(self, X):
        """Return the shape of the outputs for X, after checking that of X."""
        if X.shape == self._features:
            return self._row_outputs
        if X.ndim == 2 and X.shape[1:] == self._features:
            return (X.shape[0], *self._more_outputs)
        raise ValueError(
            f"X has shape {X.shape}, expected {self._features} or (n, {self._features[0]})."
        )

    def _check_place(self, out, shape):
        """Check that a result of this shape can be written to `out`: compiled code does not."""
        if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != self.dtype:
            raise ValueError(f"out must be an array of shape {shape} and dtype {self.dtype}.")
        if not out.flags.carray:
            raise ValueError("out must be writeable, aligned and C-contiguous.")

    def __reduce__(self):
        return Predictor, (self.network, self._parameters, self._form, self._flat)

    def __repr__(self):
        network = self.network
        hidden = [activation.name for activation in network.activation]
        activation = hidden[0] if len(set(hidden)) == 1 else tuple(hidden)
        return (
            f"Predictor({network.units}, activation={activation!r}, "
            f"loss={network.loss.name!r}, dtype={self.dtype.name!r})"
        )
