"""A fitted network alone: one row in, its outputs out, in microseconds."""

import numpy as np
from numpy.typing import ArrayLike

from .devices.cpu.ending import PRESENCE
from .devices.cpu.loops import layer_loops
from .devices.cpu.single_rows import plan_of, predict_rows
from .model import FLOATS, PAIR, PLAIN, SHARES

__all__ = ["PAIR", "PLAIN", "SHARES", "Predictor"]


class Predictor:
    """The weights of a fitted estimator, bound to compiled code that computes row by row.

    Made by an estimator's `compiled_predictor`. It has a copy of the weights, so that later fits do
    not change it, and nothing else: no validation of feature names or finite values, no threads, no
    batches. Several threads may call it at once. Of many rows, `predict` makes less work.

    Parameters
    ----------
    network : Network
        Shape, activations and loss.
    parameters : ndarray of shape (network.size,), float32 or float64
        Packed parameters, which are copied; the dtype that everything is computed in.
    form : {PLAIN, PAIR, SHARES}, default=PLAIN
        What is made of a row's outputs: nothing; of a single one p, [1 - p, p]; or shares of their
        sum, which are probabilities where the outputs are not.
    flat : bool, default=False
        Whether the one output of each row of a matrix is given as a vector.

    Raises
    ------
    ValueError
        If the parameters are not those of the network, or the form does not fit its outputs.

    See Also
    --------
    MLPClassifier.compiled_predictor : Makes one that gives probabilities.
    MLPRegressor.compiled_predictor : Makes one that gives predictions.

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

    def __init__(self, network, parameters: np.ndarray, form: int = PLAIN, flat: bool = False):
        self.network, self.dtype = network, parameters.dtype
        if self.dtype not in FLOATS or form not in (PLAIN, PAIR, SHARES):
            raise ValueError(f"There is no predictor of dtype {self.dtype} and form {form!r}.")
        if network.units[-1] != 1 and (form == PAIR or flat):
            raise ValueError(f"Of {network.units[-1]} outputs, none is a single one.")
        self._parameters = network.checked(parameters, self.dtype).copy()
        # The plan has their addresses, in this process: it is made anew where they are.
        self._loops = layer_loops(network, self.dtype)
        coefs, intercepts = network.views(self._parameters)
        learned = [a for a in network.activation_views(self._parameters) if a is not None]
        self._plan = plan_of(network, [*coefs, *intercepts, *learned], self._loops)
        self._form, self._flat = form, flat
        columns = 2 if form == PAIR else network.units[-1]
        self._features, self._row_outputs = (network.units[0],), (columns,)
        self._more_outputs = () if flat else (columns,)

    def __call__(self, X: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
        """Compute the outputs of one row, or of some.

        Parameters
        ----------
        X : array-like of shape (n_features,) or (n_samples, n_features)
            One row, or rows. Arrays of the predictor's dtype without gaps are read in place, others
            are converted.
        out : ndarray, default=None
            Where to put the result: a contiguous array of the result's shape and dtype.

        Returns
        -------
        outputs : ndarray of shape (n_outputs,), (n_samples, n_outputs) or (n_samples,)
            Of one row, the vector of its outputs; of a matrix, what `predict` of a regressor or
            `predict_proba` of a classifier gives. It is `out`, where that was given.

        Raises
        ------
        ValueError
            If the shape of X is another, or the shape, dtype or memory of `out`.
        """
        X = np.asarray(X, self.dtype, order="C")
        if not X.flags.carray:  # read-only or unaligned, for which code would be compiled anew
            X = X.copy()
        if X.shape == self._features:
            shape = self._row_outputs
        elif X.ndim == 2 and X.shape[1:] == self._features:
            shape = (X.shape[0], *self._more_outputs)
        else:
            raise ValueError(
                f"X has shape {X.shape}, expected {self._features} or (n, {self._features[0]})."
            )
        if out is None:
            out = np.empty(shape, self.dtype)
        else:
            self._check_place(out, shape)
        if X.ndim == 1:
            predict_rows(self._plan, X, out, self._form)
        else:
            with PRESENCE:
                predict_rows(self._plan, X.reshape(-1), out.reshape(-1), self._form)
        return out

    def _check_place(self, out, shape):
        """Whether compiled code may write a result of this shape there: it does not look."""
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
