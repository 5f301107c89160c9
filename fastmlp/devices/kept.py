"""Devices that are kept from one prediction to the next, with a network's weights.

Copying weights into a device's layout, or to a GPU, takes longer than a short prediction. A device
is reused as long as the weights are the ones it was made from: each prediction compares them.
"""

import os

import numpy as np
from scipy.sparse import issparse

from . import load
from .cpu import single_rows


def packed(parts, dtype):
    """Return a copy of all arrays as one vector."""
    return np.concatenate([part.ravel() for part in parts], dtype=dtype)


class Kept:
    """Predictions of one network, whose weights may be edited between them.

    Threads may share it: a device is taken out while in use, and a thread that finds none makes
    one.

    Parameters
    ----------
    network : Network
        Shape, activations and loss.
    parts : sequence of ndarray
        All weights, all biases, and the activations' learned parameters, in the order of the packed
        vector. They are read in place, at each prediction.
    """

    def __init__(self, network, parts):
        self._network, self._parts = network, parts
        self._rows, self._device = {}, {}  # at most one entry each

    def forward(self, name, X, out, n_jobs=None):
        """Write the network's outputs for the rows of X to `out`, on the device called `name`.

        Parameters
        ----------
        name : str
            One of `fastmlp.devices.DEVICES`.
        X : ndarray of shape (n, features) or CSR matrix
            The rows.
        out : ndarray of shape (n, outputs), float32 or float64
            Where to write; its dtype is that of all computations.
        n_jobs : int or None, default=None
            Most threads, see the devices.

        Returns
        -------
        out : ndarray

        Raises
        ------
        FloatingPointError
            If a dense X on the host contains NaN or infinity.
        """
        if name == "cpu" and single_rows.pays(self._network.size, len(out)):
            self._single_rows(out.dtype).forward(X, out)
            return out
        key = name, out.dtype, issparse(X), n_jobs, os.getpid()  # a forked process needs its own
        device, weights = self._device.pop(key, (None, None))
        if device is None or not self._are(weights):
            weights = packed(self._parts, out.dtype)
            device = load(name)(self._network, weights, sparse=key[2], n_jobs=n_jobs)
        device.forward(X, out)
        if not self._network.custom:  # custom functions may read changed globals next time
            self._device = {key: (device, weights)}
        return out

    def _are(self, weights):
        """Check whether the weights are still these."""
        start = 0
        for part in self._parts:
            if not np.array_equal(part.ravel(), weights[start : start + part.size]):
                return False
            start += part.size
        return True

    def _single_rows(self, dtype):
        """Return the walk for few rows, which reads weights of this dtype in place."""
        rows = self._rows.get(dtype)
        if rows is None:
            arrays = [np.ascontiguousarray(part, dtype) for part in self._parts]
            rows = single_rows.SingleRows(self._network, arrays)
            in_place = all(own is part for own, part in zip(arrays, self._parts, strict=True))
            if in_place and not self._network.custom:
                self._rows = {dtype: rows}
        return rows
