"""Compiled code follows addresses, strides and indices: what reaches it was looked at before.

Inputs that Python lets anybody construct give an error, or the same as the reference device, which
knows no address.
"""

import copy
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from tasks import DEVICES, SPARSE_DEVICES, TASKS, outputs

from fastmlp import MLPRegressor, activations
from fastmlp.devices import cpu
from fastmlp.devices.compressed import check_indices
from fastmlp.devices.cpu import single_rows
from fastmlp.devices.cpu.sources import Sources
from fastmlp.network import Network
from fastmlp.optimizers import Adam
from fastmlp.predictor import PAIR, Predictor
from fastmlp.regularization import Regularization
from fastmlp.schedules import Constant
from fastmlp.training import OptimizerState, Rows, loss_and_gradient

SETTINGS = {"hidden_layer_sizes": (5,), "max_iter": 2, "random_state": 0}
FAST = [name for name in DEVICES if name != "reference"]
pytestmark = pytest.mark.filterwarnings("ignore")
quick = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# ---- sparse matrices -----------------------------------------------------------------------------


def meaning(matrix):
    """What the arrays of a CSR matrix say, as a dense matrix; None where they contradict it."""
    data, indices, starts = matrix.data, matrix.indices, matrix.indptr
    n, columns = matrix.shape
    if not all(array.ndim == 1 for array in (data, indices, starts)):
        return None
    if not {indices.dtype.kind, starts.dtype.kind} <= {"i", "u"} or len(starts) != n + 1:
        return None
    starts = [int(start) for start in starts]
    if starts[0] != 0 or starts != sorted(starts) or starts[-1] > min(len(data), len(indices)):
        return None
    dense = np.zeros((n, columns), data.dtype)
    for row in range(n):
        for place in range(starts[row], starts[row + 1]):
            if not 0 <= indices[place] < columns:
                return None
            dense[row, int(indices[place])] += data[place]
    return dense


def put(name, change):
    """A change of one of a matrix's arrays, past all checks of SciPy's."""

    def damage(matrix, number):
        array = getattr(matrix, name)
        if array.ndim == 1:
            vars(matrix)[name] = change(array, number)

    damage.__name__ = f"{name} {change.__name__}"
    return damage


def strided(array, number):
    wide = np.full(3 * len(array), 77, array.dtype)
    wide[::3] = array
    return wide[::3]


def backwards(array, number):
    return array[::-1].copy()[::-1]


def field(array, number):
    record = np.full(len(array), 77, [("a", "i1"), ("b", array.dtype)])
    record["b"] = array
    return record["b"]


def turned(array, number):
    return array[::-1].copy()


def short(array, number):
    return array[: max(0, len(array) - 1 - number % 3)].copy()


def long(array, number):
    return np.append(array, np.full(1 + number % 3, 1, array.dtype))


def int64(array, number):
    return array.astype(np.int64)


def unsigned(array, number):
    return array.astype(np.uint32)


def narrow(array, number):
    return array.astype(np.int8)


def broken(array, number):
    return array.astype(np.float64)


def far(array, number):
    array = array.astype(np.int64)
    array[number % len(array) if len(array) else slice(0)] = 10 ** (1 + number % 12)
    return array


def negative(array, number):
    array = array.astype(np.int64)
    array[number % len(array) if len(array) else slice(0)] = -1 - number
    return array


def next_to_last(array, number):
    array = array.astype(np.int64)
    array[number % len(array) if len(array) else slice(0)] = array.max(initial=0) + 1
    return array


def two_dimensional(array, number):
    return array[np.newaxis].copy()


def other_dtype(array, number):
    return array.astype(["f4", ">f8", "i2", "?"][number % 4])


ARRAYS = [strided, backwards, field, turned, short, long, two_dimensional]
INDICES = [int64, unsigned, narrow, broken, far, negative, next_to_last]
DAMAGES = [
    *(put("data", change) for change in [*ARRAYS, other_dtype]),
    *(put(name, change) for name in ("indices", "indptr") for change in ARRAYS + INDICES),
]


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 9))
    dense = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((rows, columns))
    dense[np.abs(dense) < draw(st.sampled_from([0.0, 0.7, 9.0]))] = 0
    matrix = sparse.csr_matrix(dense.astype(draw(st.sampled_from(["f4", "f8"]))))
    for damage in draw(st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=3)):
        damage(matrix, draw(st.integers(0, 40)))
    return matrix


def attempt(action):
    """The result of an action, or the ValueError that it raises."""
    try:
        return action()
    except ValueError as error:
        return error


@pytest.mark.parametrize("device", SPARSE_DEVICES)
@given(matrix=matrices(), columns_first=st.booleans())
@quick
def test_sparse_matrices(device, matrix, columns_first):
    """An error, or what the same numbers give in a dense matrix."""
    expected = meaning(matrix)
    if columns_first:  # the transpose has the same arrays in CSC format
        turned = sparse.csc_matrix(matrix.shape[::-1])
        vars(turned).update({n: getattr(matrix, n) for n in ("data", "indices", "indptr")})
        matrix, expected = turned, None if expected is None else expected.T
    rows, columns = matrix.shape
    y = np.arange(rows, dtype=float)
    made = MLPRegressor(**SETTINGS, device=device)
    result = attempt(lambda: made.fit(matrix, y))
    if isinstance(result, ValueError):
        assert not hasattr(made, "coefs_")
    else:
        assert expected is not None, "fitted on a damaged matrix"
        judge = MLPRegressor(**SETTINGS, device="reference").fit(expected, y)
        np.testing.assert_allclose(made.coefs_[0], judge.coefs_[0], rtol=1e-3, atol=1e-5)
    sound = np.random.default_rng(0).standard_normal((20, columns))
    fitted = MLPRegressor(**SETTINGS, device=device).fit(sound, sound[:, 0])
    for few in (True, False):  # rows one by one, and through the walk
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(single_rows, "pays", lambda size, rows, few=few: few)
            predicted = attempt(lambda: fitted.predict(matrix))
        if not isinstance(predicted, ValueError):
            assert expected is not None, "predicted of a damaged matrix"
            np.testing.assert_allclose(predicted, fitted.predict(expected), rtol=1e-3, atol=1e-5)


@given(matrix=matrices())
@quick
def test_indices(matrix):
    """The border itself, behind which nobody looks any more."""
    expected, result = meaning(matrix), attempt(lambda: check_indices(matrix))
    assert isinstance(result, ValueError) == (expected is None)
    network = Network((matrix.shape[1], 1), "relu", "squared_error")
    result = attempt(lambda: Sources(network, matrix))
    assert isinstance(result, ValueError) == (expected is None)


@pytest.mark.parametrize("form", ["coo", "bsr", "lil", "dok", "dia"])
def test_other_formats(form):
    """They become CSR by SciPy's hand, which does not look either."""
    dense = np.arange(24.0).reshape(4, 6) * (np.arange(6) % 2)
    y = np.arange(4.0)
    expected = MLPRegressor(**SETTINGS).fit(sparse.csr_matrix(dense), y).coefs_[0]
    matrix = sparse.csr_matrix(dense).asformat(form)
    np.testing.assert_array_equal(MLPRegressor(**SETTINGS).fit(matrix, y).coefs_[0], expected)
    for name in {"coo": ("row", "col"), "bsr": ("indices", "indptr")}.get(form, ()):
        damaged = matrix.copy()
        getattr(damaged, name)[-1] = 99
        with pytest.raises(ValueError, match=f"damaged: {name}"):
            MLPRegressor(**SETTINGS).fit(damaged, y)


# ---- what a fit goes on with ---------------------------------------------------------------------

SIZE = Network((7, 5, 1), "relu", "squared_error").size


def with_moments(change):
    def edit(estimator):
        estimator._optimizer.moments = change(estimator._optimizer.moments)

    edit.__name__ = f"moments {change.__name__}"
    return edit


def with_step(step):
    def edit(estimator):
        estimator._optimizer.step = step

    edit.__name__ = f"step {step!r}"
    return edit


def with_parameter(name, value):
    def edit(estimator):
        estimator.set_params(**{name: value})

    edit.__name__ = f"{name} {value!r}"
    return edit


def in_fortran_order(m):
    return np.asfortranarray(m)


def with_gaps(m):
    return np.repeat(m, 3, axis=1)[:, ::3]


def in_float32(m):
    return m.astype(np.float32)


def in_other_bytes(m):
    return m.astype(m.dtype.newbyteorder())


def as_a_list(m):
    return m.tolist()


def one_shorter(m):
    return m[:, :-1]


def only_one(m):
    return m[:1]


def of_three(m):
    return np.vstack([m, m[:1]])


def of_one_dimension(m):
    return m.ravel()


def of_nothing(m):
    return None


def of_text(m):
    return m.astype("U")


VALUES = {
    "batch_size": [1, 7, np.uint8(30), 10**9, 0, -5, 2.5, None, "all"],
    "dropout": [0.5, [0.5], 1.0, -0.1, np.nan, [0.1, 0.1], "half"],
    "input_dropout": [0.5, 1.5, np.inf, -1],
    "n_jobs": [0, -50, 10**6, np.uint8(2)],
    "hidden_layer_sizes": [(9,), (5, 5)],
    "alpha": [-1.0, np.float32(0.1)],
}
EDITS = [
    *map(with_moments, [
        in_fortran_order, with_gaps, in_float32, in_other_bytes, as_a_list, one_shorter, only_one,
        of_three, of_one_dimension, of_nothing, of_text,
    ]),
    *map(with_step, [0, 5, np.int8(3), -1, 2**70, 1.5, None, "1"]),
    *(with_parameter(name, value) for name, values in VALUES.items() for value in values),
]  # fmt: skip


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("device", FAST)
def test_what_partial_fit_goes_on_with(device, edit):
    X, y, weights = TASKS["squared_error"].data(rows=40)
    results = []
    for name in (device, "reference"):
        settings = SETTINGS | {"n_jobs": None, "device": name}
        estimator = MLPRegressor(**settings).partial_fit(X, y, weights)
        edit(estimator)
        before = copy.deepcopy(vars(estimator))
        result = attempt(lambda e=estimator: e.partial_fit(X, y, weights))
        if isinstance(result, ValueError):
            assert vars(estimator).keys() == before.keys()
            np.testing.assert_array_equal(estimator.coefs_[0], before["coefs_"][0])
            results.append(str(result))
        else:
            results.append(np.concatenate([w.ravel() for w in result.coefs_]))
    if isinstance(results[0], str):
        assert results[0] == results[1]
    else:
        np.testing.assert_allclose(*results, rtol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@given(data=st.data())
@quick
def test_an_estimators_state(device, data):
    """Whatever somebody, or an old pickle, has put there."""
    X, y, _ = TASKS["squared_error"].data(rows=30)
    estimator = MLPRegressor(**SETTINGS, activation="prelu", device=device).partial_fit(X, y)
    shapes = st.sampled_from([(7, 5), (5, 1), (5,), (1,), (6, 5), (), (0, 5), (7, 0), (1, 5)])
    dtypes = st.sampled_from(["f4", "f8", ">f8", "i8", "?", "f2", "c16", "U1", "O"])
    orders = st.sampled_from("CF")

    def array():
        shape, dtype = data.draw(shapes), data.draw(dtypes)
        values = np.random.default_rng(0).integers(-2, 3, shape)
        return values.astype(dtype, order=data.draw(orders))

    edits = {
        "coefs_": lambda: estimator.coefs_.__setitem__(data.draw(st.integers(0, 1)), array()),
        "intercepts_": lambda: estimator.intercepts_.__setitem__(
            data.draw(st.integers(0, 1)), array()
        ),
        "activation_params_": lambda: estimator.activation_params_.__setitem__(0, array()),
        "moments": lambda: setattr(estimator._optimizer, "moments", array()),
        "n_outputs_": lambda: setattr(estimator, "n_outputs_", data.draw(st.integers(-1, 3))),
        "n_features_in_": lambda: setattr(
            estimator, "n_features_in_", data.draw(st.integers(0, 9))
        ),
    }
    for name in data.draw(st.lists(st.sampled_from(list(edits)), min_size=1, max_size=3)):
        edits[name]()
    judge = copy.deepcopy(estimator).set_params(device="reference")
    for action in (
        lambda e: outputs(e, X),
        lambda e: outputs(e, X[:1]),
        lambda e: e.compiled_predictor()(X),
        lambda e: e.partial_fit(X, y).coefs_[0],
    ):
        own, other = (attempt(partial(action, each)) for each in (estimator, judge))
        if isinstance(other, ValueError):
            assert isinstance(own, ValueError)
        else:
            np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-6)


# ---- specifications, and the devices' own border -------------------------------------------------


@pytest.mark.parametrize("learnable", [2, 1, 0, "yes", None, 1.0])
def test_learnable_is_true_or_false(learnable):
    """The number of its parameters was multiplied with it."""
    with pytest.raises(ValueError, match="learnable must be True or False"):
        activations.Swish(learnable=learnable)
    assert activations.Swish(learnable=np.True_) == activations.Swish(learnable=True)


@pytest.mark.parametrize("device", DEVICES)
def test_pieces_of_a_small_integer_type(device):
    X, y, _ = TASKS["squared_error"].data()
    results = [
        MLPRegressor(**SETTINGS, activation=activations.Maxout(k), device=device).fit(X, y)
        for k in (np.uint8(100), 100)
    ]
    np.testing.assert_array_equal(results[0].coefs_[0], results[1].coefs_[0])
    assert results[0].coefs_[0].shape == (7, 500)


NETWORK = Network((3, 4, 2), "relu", "squared_error")
DATA = np.zeros((6, 3)), np.zeros((6, 2)), np.ones(6)


def device(**changes):
    parameters = changes.pop("parameters", np.zeros(NETWORK.size))
    moments = changes.pop("moments", np.zeros((2, NETWORK.size)))
    optimizer = OptimizerState(Adam(), Constant(0.01), 0.01, moments)
    return cpu.CpuDevice(NETWORK, parameters, optimizer=optimizer, **{"batch_size": 4} | changes)


def epoch(made, X=DATA[0], targets=DATA[1], weights=DATA[2], order=(0, 1, 2, 3, 4, 5)):
    return made.train(Rows(X, targets, weights), np.array(order))


BEYOND = {
    "parameters": lambda: device(parameters=np.zeros(3)),
    "moments": lambda: device(moments=np.zeros((2, 3))),
    "one moment": lambda: device(moments=np.zeros((1, NETWORK.size))),
    "dropout": lambda: device(regularization=Regularization(dropout=(0.5,))),
    "batch size": lambda: device(batch_size=0),
    "features": lambda: epoch(device(), X=np.zeros((6, 2))),
    "targets": lambda: epoch(device(), targets=np.zeros((6, 3))),
    "rows of targets": lambda: epoch(device(), targets=np.zeros((5, 2))),
    "weights": lambda: epoch(device(), weights=np.ones(5)),
    "outputs": lambda: device().forward(DATA[0], np.empty((6, 3))),
    "rows of outputs": lambda: device().forward(DATA[0], np.empty((7, 2))),
    "order of outputs": lambda: device().forward(DATA[0], np.empty((6, 2)), np.arange(5)),
    "gradient": lambda: loss_and_gradient(device(), np.zeros(5), Rows(*DATA)),
    "predictor": lambda: Predictor(NETWORK, np.zeros(5)),
    "predictor of pairs": lambda: Predictor(NETWORK, np.zeros(NETWORK.size), PAIR),
    "predictor of integers": lambda: Predictor(NETWORK, np.zeros(NETWORK.size, int)),
    "predictor's form": lambda: Predictor(NETWORK, np.zeros(NETWORK.size), 7),
}


@pytest.mark.parametrize("what", BEYOND)
def test_the_devices_border(what):
    epoch(device())
    with pytest.raises(ValueError, match=r"."):
        BEYOND[what]()


@pytest.mark.parametrize("order", [(0, 6), (-1, 0), (2**62, 0), (-(2**62), 1)])
def test_an_order_of_rows_that_are_not_there(order):
    for n_jobs in (1, 3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cpu, "TEAM_WORK", 0)
            with pytest.raises(IndexError, match="the order names rows that X does not have"):
                epoch(device(n_jobs=n_jobs), order=order)
    with pytest.raises(IndexError, match="the order names rows that X does not have"):
        device().forward(DATA[0], np.empty((2, 2)), np.array(order))


# ---- real memory ---------------------------------------------------------------------------------

HERE = Path(__file__).parent
posix = pytest.mark.skipif(os.name != "posix", reason="protects pages as POSIX does")


def run_guarded(*arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent)))}
    return subprocess.run(
        [sys.executable, "-W", "ignore", HERE / "guarded.py", *arguments],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
@posix
@pytest.mark.compiled
def test_no_number_beyond_any_array_is_touched():
    done = run_guarded()
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.slow
@posix
def test_touching_one_would_be_noticed():
    assert run_guarded("beyond").returncode < 0
