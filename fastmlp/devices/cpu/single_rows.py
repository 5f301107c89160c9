"""Prediction of one row at a time, on the weights in place: nothing is rearranged or copied."""

import numpy as np

from ..._jit import entry, kernel
from ...formulas.results import PAIR, PLAIN, SHARES, formed
from ..device import check_finite
from .ending import PRESENCE, present
from .loops import layer_loops
from .row import (
    ONE,
    PLAN,
    activate_row,
    affine_sparse,
    forward_row,
    rooms,
)
from .row_gradients import gradient_rows
from .row_inspection import integrate, record_rows
from .sources import FEATURES, Sources, gather
from .vectors import ZERO, beyond, keep, pointer

__all__ = ["PAIR", "PLAIN", "SHARES", "SingleRows", "pays", "predict_rows", "predict_sources"]

#: Up to this many rows, or parameters times rows, copying the weights takes longer than it saves.
FEW_ROWS, FEW_ROWS_WORK = 16, 300_000


@kernel
def predict_each(plan, X, rows, out, form, scratch):
    """Predict rows, which lie one after the other from `X` on; `scratch` has room for one."""
    features, outputs = plan[0]["fan_in"], plan[plan.size - 1]["outputs"]
    size, longest = rooms(plan)
    z, columns = beyond(scratch, size), 2 if form == PAIR else outputs
    for r in range(rows):
        for j in range(features):
            scratch[j] = X[r * features + j]
        x = forward_row(plan, ZERO, scratch, ZERO, z, beyond(z, longest), ZERO)
        formed(scratch, x, outputs, form, out, r * columns)


@kernel
def room_of_a_row(plan):
    """Return how many numbers the walk of a row needs: values, z and an unread place."""
    size, longest = rooms(plan)
    return size + 2 * longest


@entry
def predict_rows(plan, X, out, form):
    """Predict the rows of X into `out`, in one of the forms above; both are flat."""
    # Private to each call, so that calls may run at the same time.
    scratch = np.empty(room_of_a_row(plan), out.dtype)
    rows = X.size // plan[0]["fan_in"]
    predict_each(plan, pointer(X), rows, pointer(out), form, pointer(scratch))
    keep(scratch)


@entry
def predict_sources(plan, sources, out, sparse):
    """Predict all rows of the user's X into `out`, (rows, outputs).

    `sparse` is True, or None for a dense X: Numba then leaves out the code of sparse rows.
    """
    source = sources[FEATURES]
    size, longest = rooms(plan)
    scratch = np.empty(room_of_a_row(plan), out.dtype)
    a = pointer(scratch)
    z = beyond(a, size)
    unread, outputs = beyond(z, longest), out.shape[1]
    for r in range(out.shape[0]):
        if sparse is not None:
            affine_sparse(plan[0], source, r, z)
            activate_row(plan[0], a, ZERO, z, unread)
            x = forward_row(plan, ONE, a, ZERO, z, unread, ZERO)
        else:
            gather(source, r, ZERO, plan[0]["fan_in"], a, ZERO)
            x = forward_row(plan, ZERO, a, ZERO, z, unread, ZERO)
        for k in range(outputs):
            out[r, k] = a[x + k]
    keep(scratch)


def plan_of(network, arrays, loops) -> np.ndarray:
    """Return the data of a network for the walk of a row.

    Parameters
    ----------
    network : Network
        The network with these layers.
    arrays : list of ndarray
        In the order of the packed vector. The plan stores their addresses, but does not keep them
        alive.
    loops : list of Loop or None
        The loop of each layer's activation.
    """
    kinds = (*network.activation, network.output_activation)
    addresses = [array.ctypes.data for array in arrays]
    count = len(kinds)
    learned = iter(addresses[2 * count :])
    return np.array(
        [
            (
                *network.shapes[i],
                network.units[i + 1],
                loops[i].address if loops[i] else 0,
                kind.pieces,
                kind.learnable,
                addresses[i],
                addresses[count + i],
                next(learned) if kind.learnable else 0,
                kind.constant,
            )
            for i, kind in enumerate(kinds)
        ],
        PLAN,
    )


def pays(size: int, rows: int) -> bool:
    """Check whether so few rows are best predicted one by one."""
    return rows <= FEW_ROWS or rows * size <= FEW_ROWS_WORK


class SingleRows:
    """The walk of single rows, bound to weights in place.

    Parameters
    ----------
    network : Network
        Shape, activations and loss.
    arrays : list of ndarray
        All weights, all biases, and the activations' learned parameters: in C order, and of the
        dtype of all computations. Later changes of their values take effect.
    """

    def __init__(self, network, arrays):
        self._network, self._arrays = network, arrays
        self._loops = layer_loops(network, arrays[0].dtype)
        self.plan = plan_of(network, arrays, self._loops)

    @present
    def forward(self, X, out):
        """Predict the rows of X, an ndarray or CSR matrix, into `out`, one by one.

        Raises
        ------
        FloatingPointError
            If a dense X contains NaN or infinity.
        """
        check_finite(X)
        sources = Sources(self._network, X)
        predict_sources(self.plan, sources.table, out, True if sources.sparse else None)

    def predict(self, X, out, form):
        """Predict contiguous rows, or a single one, into `out`, in one of the forms above.

        Nothing is checked, to save time: X and `out` are C-contiguous, of the dtype of the weights,
        and of matching shapes.
        """
        if X.ndim == 1:  # for so short a call, entering the context would cost too much
            predict_rows(self.plan, X, out, form)
        else:
            with PRESENCE:
                predict_rows(self.plan, X.reshape(-1), out.reshape(-1), form)

    def gradient(self, X, out, form, output):
        """Write the gradients by X of one result, numbered by `output`, to `out`, unchecked."""
        with PRESENCE:
            gradient_rows(self.plan, X.reshape(-1), out.reshape(-1), form, output)

    @present
    def record(self, X, z, a):
        """Write z and f(z) of all layers, for the rows of X, an ndarray or CSR matrix.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (n, features)
            The rows.
        z : ndarray of shape (n, sum of fan_out)
            Receives the z of all layers, one after the other.
        a : ndarray of shape (n, sum of units)
            Receives the activations of all layers.
        """
        sources = Sources(self._network, X)
        record_rows(self.plan, sources.table, z, a, bool(sources.sparse))

    @present
    def integrate(self, baseline, x, out, form, output, tolerance):
        """Integrate a result's gradient from a baseline to x; see `row_inspection.integrate`.

        Parameters
        ----------
        baseline, x, out : ndarray of shape (features,), float64
            Two points, and the place of the integrals. The weights must be float64, too.
        form, output : int
            The form of a row's results, and which of them.
        tolerance : float
            Largest error of an interval of the path.

        Returns
        -------
        error : float
            Sum of the integrals, less the difference of the results.
        """
        return integrate(self.plan, baseline, x, out, form, output, tolerance)
