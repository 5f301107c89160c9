"""How a user's rows come in: every form of array gives the same numbers.

`test_hostile.py` has what must not come in.
"""

import numpy as np
import pytest
from laws import CLOSE, DTYPES, EVERY_WAY_IN, FAST, WAYS_IN, make_data, run_epochs
from scipy import sparse

from fastmlp import devices
from fastmlp.devices.cpu.block_sizes import CHUNK
from fastmlp.devices.cpu.microkernel import ROWS
from fastmlp.devices.cpu.sources import SMALL, Sources
from fastmlp.network import Network

COLUMNS = 5
#: A network that gives its inputs: what comes in comes out.
IDENTITY = Network((COLUMNS, COLUMNS), (), "squared_error")


def read(device, X, dtype, order=None):
    """The numbers that a device reads from X."""
    parameters = IDENTITY.pack([np.eye(COLUMNS)], [np.zeros(COLUMNS)], dtype)
    made = devices.load(device)(IDENTITY, parameters, sparse=sparse.issparse(X))
    rows = X.shape[0] if order is None else len(order)
    return made.forward(X, np.empty((rows, COLUMNS), dtype), *(() if order is None else [order]))


def numbers(rows=2 * ROWS + 1):
    """Numbers that float32 has too, among them zeros for a sparse matrix to leave out."""
    X = np.random.default_rng(0).standard_normal((rows, COLUMNS)).astype(np.float32)
    X[X > 0.5] = 0
    return X


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("device", "way"), EVERY_WAY_IN)
def test_every_form_gives_the_same_numbers(device, way, dtype):
    X = numbers()
    np.testing.assert_array_equal(read(device, WAYS_IN[way](X.astype(dtype)), dtype), X)


@pytest.mark.parametrize("kind", ["?", "i1", "u8", ">i4", "f2", "g"])
@pytest.mark.parametrize("device", FAST)
def test_numbers_of_other_types(device, kind):
    X = np.random.default_rng(0).integers(0, 2, (ROWS, COLUMNS)).astype(kind)
    np.testing.assert_array_equal(read(device, X, np.float64), X.astype(float))


@pytest.mark.parametrize(("device", "way"), EVERY_WAY_IN)
def test_rows_in_any_order(device, way):
    """Also more than once, or none at all."""
    X = numbers()
    form = WAYS_IN[way](X.astype(np.float64))
    for order in ([2, 0, 2, 1], [len(X) - 1] * (ROWS + 1), []):
        order = np.array(order, np.int64)
        np.testing.assert_array_equal(read(device, form, np.float64, order), X[order])


@pytest.mark.parametrize("memory_order", "CF")
def test_rows_of_a_large_array_in_any_order(memory_order):
    X = np.asarray(numbers(SMALL // (8 * COLUMNS) + 1).astype(np.float64), order=memory_order)
    order = np.random.default_rng(0).permutation(len(X))[: 2 * CHUNK + 1]
    np.testing.assert_array_equal(read("cpu", X, np.float64, order), X[order])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("device", "way"), EVERY_WAY_IN)
def test_every_form_trains_the_same(device, way, dtype):
    network = Network((5, 4, 1), "relu", "binary_log_loss")
    X, targets, weights = make_data(network, 3 * ROWS, dtype)
    X = np.where(X > 0.5, 0, X).astype(np.float32).astype(dtype)  # the same numbers in both dtypes
    before = X.copy()
    expected = run_epochs(device, network, (X, targets, weights))
    data = WAYS_IN[way](X), np.asfortranarray(targets), weights[::-1].copy()[::-1]
    results = run_epochs(device, network, data, dtype=dtype)
    close = CLOSE[dtype] if way.startswith("csr") else {"rtol": 0, "atol": 0}
    for own, theirs in zip(results, expected, strict=True):
        np.testing.assert_allclose(own, theirs, **close)
    np.testing.assert_array_equal(X, before)


def test_what_does_not_fit_does_not_come_in():
    """Compiled code would read beyond the arrays."""
    X, targets, weights = np.zeros((6, COLUMNS)), np.zeros((6, COLUMNS)), np.ones(6)
    Sources(IDENTITY, X, targets, weights)
    for wrong, says in (
        ((X[:, 1:], targets, weights), r"X must have shape \(6, 5\), got \(6, 4\)"),
        ((X, targets[:5], weights), r"The targets must have shape \(6, 5\), got \(5, 5\)"),
        ((X, targets[:, 0], weights), r"The targets must have shape \(6, 5\), got \(6,\)"),
        ((X, targets, weights[1:]), r"The weights must have shape \(6,\), got \(5,\)"),
    ):
        with pytest.raises(ValueError, match=says):
            Sources(IDENTITY, *wrong)


def test_more_columns_than_32_bits_can_name():
    matrix = sparse.csr_matrix((1, 2**31), dtype=np.float64)
    network = Network((2**31, 1), "relu", "squared_error")
    with pytest.raises(ValueError, match="2147483648 columns, more than 2147483647"):
        Sources(network, matrix)
