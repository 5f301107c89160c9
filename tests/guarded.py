"""Arrays that end where the process has no memory: reading or writing one number more ends it.

Run as a program, it lets the CPU device work with such arrays alone.
"""

import ctypes
import mmap
import sys

import numpy as np

from fastmlp.training import Rows, loss_and_gradient

PAGE = mmap.PAGESIZE
PROT_NONE, PROT_BOTH = 0, mmap.PROT_READ | mmap.PROT_WRITE


def zeros(size, dtype):
    """Zeros whose last byte is followed by a page that nobody may touch; so is the first page."""
    count = int(size) * np.dtype(dtype).itemsize
    pages = -(-count // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for page in (start, start + (pages + 1) * PAGE):
        if protect(page, PAGE, PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    begin = (pages + 1) * PAGE - count
    return np.frombuffer(memory, dtype, int(size), begin)


def guarded(array):
    """A copy of an array in such memory."""
    copy = zeros(array.size, array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def main():
    from laws import EVERYTHING, make_data, make_optimizer, make_parameters
    from scipy import sparse

    from fastmlp.activations import Maxout, Swish
    from fastmlp.devices import cpu
    from fastmlp.devices.cpu import layout, single_rows
    from fastmlp.model import FittedNetwork
    from fastmlp.network import Network
    from fastmlp.regularization import Regularization

    if sys.argv[1:] == ["beyond"]:  # whether this would be noticed at all
        print(float(zeros(7, "f4")[6:].ctypes.data_as(ctypes.POINTER(ctypes.c_float))[1]))
    layout.aligned_zeros = lambda size, dtype: zeros(size, dtype)
    networks = [
        Network((1, 1), "relu", "squared_error"),
        Network((5, 3, 2), "tanh", "huber", "softmax"),
        Network((17, 33, 15, 4), ("gelu", Maxout(pieces=3)), "log_loss"),
        Network((130, 64, 1), "prelu", "binary_log_loss"),
        Network((9, 70, 40, 3), (Maxout(), Swish(learnable=True)), "poisson"),
    ]
    for network, dtype in ((network, dtype) for network in networks for dtype in ("f4", "f8")):
        for form in (np.ascontiguousarray, np.asfortranarray, sparse.csr_matrix):
            X, targets, weights = make_data(network, 131, np.dtype(dtype))
            X = form(X)
            if sparse.issparse(X):
                for name in ("data", "indices", "indptr"):
                    setattr(X, name, guarded(getattr(X, name)))
            else:
                X = guarded(X.T).T if X.flags.f_contiguous else guarded(X)
            targets, weights = guarded(targets), guarded(weights)
            parameters = guarded(make_parameters(network, np.dtype(dtype)))
            shares = (0.2,) * len(network.shapes)
            everything = Regularization(l1=0.1, l2=0.1, weight_decay=0.1, dropout=shares)
            limits = Regularization(clip_norm=EVERYTHING.clip_norm, max_norm=EVERYTHING.max_norm)
            for regularization, batch in ((everything, 1), (everything, 67), (limits, 131)):
                device = cpu.CpuDevice(
                    network, parameters, optimizer=make_optimizer("adam", parameters),
                    regularization=regularization, batch_size=batch, sparse=sparse.issparse(X),
                    n_jobs=2,
                )  # fmt: skip
                device.train(Rows(X, targets, weights), guarded(np.arange(131)[::-1]))
                device.moments()
            loss_and_gradient(device, device.parameters(), Rows(X, targets, weights))
            out = zeros(131 * network.units[-1], dtype).reshape(131, -1)
            device.forward(X, out)
            views = *network.views(parameters), network.activation_views(parameters)
            parts = FittedNetwork(network, *views).parts()
            single_rows.SingleRows(network, parts).forward(X, out)
    print("done")


if __name__ == "__main__":
    main()
