"""A network's weights on devices that are kept from one prediction to the next.

To lay weights out, or to send them to a GPU, takes longer than a short prediction. A device is used
again as long as the weights are what it was made from: each prediction compares them.
"""

import os

import numpy as np
from scipy.sparse import issparse

from . import load
from .cpu import single_rows


class Kept:
    """Predictions of one network, whose weights may be edited between them.

    Threads may share it: a device is taken out while it is in use, and who finds none makes one.

    Parameters
    ----------
    network : Network
        Shape, activations and loss.
    parts : sequence of ndarray
        All weights, all biases, and what activations have learned, in the order of the packed
        vector. They are read where they lie, at each prediction.
    """

    def __init__(self, network, parts):
        self._network, self._parts = network, parts
        self._rows, self._device = {}, {}  # at most one entry each

    def forward(self, name, X, out, n_jobs=None):
        """out = the network's outputs for the rows of X, by the device called `name`.

        Parameters
        ----------
        name : str
            One of `fastmlp.devices.DEVICES`.
        X : ndarray of shape (n, features) or CSR matrix
            The rows.
        out : ndarray of shape (n, outputs), float32 or float64
            Its dtype is the one everything is computed in.
        n_jobs : int or None, default=None
            Most threads, see the devices.

        Returns
        -------
        out : ndarray
        """
        if name == "cpu" and single_rows.pays(self._network.size, len(out)):
            self._single_rows(out.dtype).forward(X, out)
            return out
        key = name, out.dtype, issparse(X), n_jobs, os.getpid()  # a fork has a GPU of its own
        device, packed = self._device.pop(key, (None, None))
        if device is None or not self._are(packed):
            packed = np.concatenate([part.ravel() for part in self._parts], dtype=out.dtype)
            device = load(name)(self._network, packed, sparse=key[2], n_jobs=n_jobs)
        device.forward(X, out)
        if not self._network.custom:  # whose functions may read other globals the next time
            self._device = {key: (device, packed)}
        return out

    def _are(self, packed):
        """Whether the weights are still these."""
        start = 0
        for part in self._parts:
            if not np.array_equal(part.ravel(), packed[start : start + part.size]):
                return False
            start += part.size
        return True

    def _single_rows(self, dtype):
        """The walk for few rows, which reads weights of this dtype where they lie."""
        rows = self._rows.get(dtype)
        if rows is None:
            arrays = [np.ascontiguousarray(part, dtype) for part in self._parts]
            rows = single_rows.SingleRows(self._network, arrays)
            in_place = all(own is part for own, part in zip(arrays, self._parts, strict=True))
            if in_place and not self._network.custom:
                self._rows = {dtype: rows}
        return rows
