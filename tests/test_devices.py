"""Every device under the same laws: activations, losses, optimisers, dtypes, awkward shapes."""

from inspect import signature

import numpy as np
import pytest
from designs import covering
from laws import (
    ACTIVATIONS,
    CLOSE,
    DTYPES,
    EVERYTHING,
    FAST,
    FEW,
    LOSSES,
    PAIRS,
    REGULARIZED,
    WIDE,
    assert_equals_reference,
    make_data,
    make_optimizer,
    make_parameters,
    run_epochs,
)
from scipy import sparse

from fastmlp import activations, devices
from fastmlp._jit import JIT_DISABLED
from fastmlp.devices import cpu
from fastmlp.devices.cpu.block_sizes import DEPTH, GROUP
from fastmlp.devices.cpu.microkernel import ROWS
from fastmlp.devices.device import Device
from fastmlp.network import Network
from fastmlp.optimizers import OPTIMIZERS
from fastmlp.regularization import Regularization
from fastmlp.training import Rows, loss_and_gradient

# A step's slope is a stand-in for one that is 0: it has a test of its own.
SMOOTH = [activation for activation in ACTIVATIONS if activation.name != "step"]
#: All that compute here; without the JIT, the reference's own laws have nothing to add.
PRESENT = FAST if JIT_DISABLED else devices.present()
#: Of activations, losses and optimisers, in this order in the laws below. They share no code on
#: the CPU, but a kernel on a GPU has one of each; kernels as plain Python are too slow for all.
APART = [{0, 1, 2}] if JIT_DISABLED else []
# For laws that need thousands of evaluations: where the JIT is off, the others show the same.
QUICK = [] if JIT_DISABLED else FAST
#: Of every device the forms that X may have; the CUDA device takes no sparse one.
FORMS = [
    (device, form)
    for device in FAST
    for form in (np.asarray, sparse.csr_matrix)
    if device != "cuda" or form is np.asarray
]
# One panel of float32, one row of tiles, and their neighbours; primes.
SHAPES = [
    (1, 1),
    (3, 2, 1),
    (7, ROWS - 1, 3),
    (ROWS - 1, ROWS, ROWS + 1, 2),
    (WIDE, WIDE + 1, 5),
    (WIDE - 1, 2 * WIDE - 1, WIDE, WIDE + 7),
    (2, 1, 1, 1, 2),
    (GROUP + 1, DEPTH + 1, 2),
]
BATCHES = [1, ROWS, 5 * ROWS + 1]
if JIT_DISABLED:  # a kernel in plain Python takes a microsecond for what is a nanosecond compiled
    SHAPES, BATCHES = [(1, 1), (3, 2, 1), (4, ROWS, 3), (3, WIDE + 1, 2, 2)], [1, ROWS + 2]


@covering(
    "activation, loss, optimizer, device, dtype, weighted, regularization",
    ACTIVATIONS,
    LOSSES,
    OPTIMIZERS,
    FAST,
    DTYPES,
    [False, True],
    REGULARIZED,
    apart=APART,
)
def test_training_equals_reference(
    device, activation, loss, optimizer, dtype, weighted, regularization
):
    network = Network((5, 7, 4, 3), activation, loss)
    X, targets, weights = make_data(network, FEW, dtype)
    data = X, targets, weights if weighted else None
    settings = {"optimizer": optimizer, "regularization": REGULARIZED[regularization]}
    assert_equals_reference(device, network, data, CLOSE[dtype], **settings)


@pytest.mark.parametrize("device", ["reference", *FAST])
def test_second_moments_are_not_biased_in_float32(device):
    """1 - 0.999, subtracted in float32, is 1e-5 too large, and so would be every second moment."""
    network = Network((3, 4, 2), "tanh", "log_loss")
    X, targets, _ = make_data(network, 5, np.float64)
    moments = [
        run_epochs(device, network, (X.astype(dtype), targets, None), batch_size=5, epochs=1)[2]
        for dtype in DTYPES
    ]
    ratio = moments[0][1].sum(dtype=np.float64) / moments[1][1].sum()
    assert abs(ratio - 1) < 2e-6


@covering("units, batch_size, dtype, device", SHAPES, BATCHES, DTYPES, FAST)
def test_awkward_shapes(device, units, batch_size, dtype):
    network = Network(units, "tanh", "squared_error")
    X, targets, _ = make_data(network, max(2 * batch_size - 1, 2), dtype)
    settings = {"batch_size": batch_size, "epochs": 1, "optimizer": "sgd"}
    assert_equals_reference(device, network, (X, targets, None), CLOSE[dtype], **settings)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "output"), PAIRS)
@pytest.mark.parametrize("device", FAST)
def test_other_output_activations_equal_reference(device, loss, output, dtype):
    network = Network((5, 7, 3), "tanh", loss, output)
    data = make_data(network, FEW, dtype)
    assert_equals_reference(device, network, data, CLOSE[dtype])


def assert_gradient_is_numerical(device, network, weighted):
    X, targets, weights = make_data(network, 6, np.float64)
    weights = weights if weighted else None
    parameters = make_parameters(network, np.float64)
    settings = {"regularization": Regularization(l2=0.1, l1=0.05), "batch_size": 6}
    device = devices.load(device)(network, parameters, **settings)

    def loss_at(p):
        return loss_and_gradient(device, p, Rows(X, targets, weights))[0]

    _, gradient = loss_and_gradient(device, parameters, Rows(X, targets, weights))
    step = 1e-6
    numerical = np.array(
        [
            (loss_at(parameters + step * unit) - loss_at(parameters - step * unit)) / (2 * step)
            for unit in np.eye(parameters.size)
        ]
    )
    np.testing.assert_allclose(gradient, numerical, rtol=1e-6, atol=1e-8)


# A gradient is a chain of slopes, of which none depends on which the others are.
@covering("activation, loss, device", SMOOTH, LOSSES, ["reference", *QUICK], apart=[{0, 1}])
def test_gradient_equals_central_difference(device, activation, loss):
    outputs = 1 if loss.name == "squared_error" else 3
    network = Network((3, 4, 2, outputs), activation, loss if outputs == 3 else "squared_error")
    weighted = outputs == 3  # of one output, all rows alike
    assert_gradient_is_numerical(device, network, weighted)


# Squared error's mean over several outputs has the gradient of the sum: scikit-learn's definition.
@pytest.mark.parametrize(("loss", "output"), [p for p in PAIRS if p != PAIRS[1]])
@pytest.mark.parametrize("device", ["reference", *QUICK])
def test_gradient_of_other_output_activations(device, loss, output):
    outputs = 1 if loss == "squared_error" else 3
    assert_gradient_is_numerical(device, Network((3, 4, outputs), "tanh", loss, output), True)


@pytest.mark.parametrize("device", devices.present())
def test_step_is_learned_straight_through(device):
    """Of a step, the weights after it have a true gradient; those before have hard_tanh's slope."""
    results = []
    for activation in ("step", "hard_tanh"):
        network = Network((3, 4, 1), activation, "squared_error")
        X, targets, _ = make_data(network, 6, np.float64)
        made = devices.load(device)(network, make_parameters(network, np.float64), batch_size=6)
        parameters = make_parameters(network, np.float64)
        parameters[network.views(np.arange(network.size))[1][1]] = 1e6  # the outputs' bias
        gradient = loss_and_gradient(made, parameters, Rows(X, targets, None))[1]
        results.append(network.views(gradient))
    (step, _), (hard, _) = results
    assert np.abs(step[0]).max() > 1e5
    np.testing.assert_allclose(step[0] / 1e6, hard[0] / 1e6, atol=1e-4)
    assert np.abs(step[1] - hard[1]).max() > 1e4


@covering(
    "loss, rows, dtype, device",
    LOSSES,
    [1, ROWS + 1] if JIT_DISABLED else [1, ROWS + 1, 2500],  # which would take minutes
    DTYPES,
    FAST,
)
def test_whole_gradient_equals_reference(device, rows, loss, dtype):
    network = Network((4, WIDE + 3, 3), "relu", loss)
    X, targets, weights = make_data(network, rows, dtype)
    parameters = make_parameters(network, dtype)
    settings = {"regularization": Regularization(l2=0.1), "batch_size": min(rows, 1024)}
    results = []
    for name in (device, "reference"):
        made = devices.load(name)(network, np.zeros_like(parameters), **settings)
        loss_and_gradient(
            made, np.full_like(parameters, 0.01), Rows(X, targets, weights)
        )  # no trace
        results.append(loss_and_gradient(made, parameters, Rows(X, targets, weights)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-5)
    np.testing.assert_allclose(results[0][1], results[1][1], **CLOSE[dtype])
    assert results[0][1].dtype == dtype


@pytest.mark.parametrize(("device", "form"), FORMS)
def test_sparse_shapes(device, form):
    """Empty rows, empty columns, no stored value at all; wider than a panel."""
    network = Network((WIDE + 2, WIDE + 3, 2), "relu", "squared_error")
    X, targets, _ = make_data(network, ROWS + 3, np.float64)
    X[:, 3] = X[4] = X[0] = 0
    for matrix in (X, np.zeros_like(X)):
        data = form(matrix), targets, None
        assert_equals_reference(device, network, data, CLOSE[np.float64], epochs=1)


@covering(
    "optimizer, activation, weighted, dtype",
    OPTIMIZERS,
    ["tanh", (activations.Maxout(), "prelu")],
    [False, True],
    DTYPES,
    apart=[{0, 1}, {0, 2}, {0, 3}] if JIT_DISABLED else [],
)
def test_long_batches_are_cut_into_blocks(monkeypatch, optimizer, activation, weighted, dtype):
    """A batch that is too long for one compiled call gives the same, block by block."""
    network = Network((5, WIDE + 3, ROWS, 2), activation, "log_loss")
    X, targets, weights = make_data(network, 7 * ROWS, dtype)
    data = X, targets, weights if weighted else None
    monkeypatch.setattr(cpu, "LONGEST_BATCH", ROWS + 1)
    settings = {"batch_size": 3 * ROWS, "optimizer": optimizer, "regularization": EVERYTHING}
    assert_equals_reference("cpu", network, data, CLOSE[dtype], **settings)


@covering(
    "optimizer, device form, regularization, dtype",
    OPTIMIZERS,
    FORMS,
    ["without limits", "everything"],
    DTYPES,
    apart=[{0, 1}, {0, 2}, {0, 3}] if JIT_DISABLED else [],
)
def test_regularization_equals_reference(device, form, optimizer, regularization, dtype):
    """Penalties, decay, limits and dropout, through more than a panel and in several chunks."""
    network = Network((5, WIDE + 3, 3, 2), (activations.Maxout(), "swish"), "huber")
    X, targets, weights = make_data(network, 5 * ROWS, dtype)
    settings = {"optimizer": optimizer, "batch_size": 2 * ROWS + 1}
    settings["regularization"] = REGULARIZED[regularization]
    data = form(X), targets, weights
    assert_equals_reference(device, network, data, CLOSE[dtype], **settings)


@pytest.mark.parametrize("device", devices.present())
def test_batch_of_zero_weight(device):
    network = Network((2, 2, 1), "relu", "squared_error")
    X, targets, weights = make_data(network, 8, np.float64)
    weights[:4] = [1, -1, 2, -2]
    parameters = make_parameters(network, np.float64)
    made = devices.load(device)(
        network, parameters, optimizer=make_optimizer("adam", parameters), batch_size=4
    )
    with pytest.raises(ZeroDivisionError, match="Weights sum to zero, can't be normalized"):
        made.train(Rows(X, targets, weights), np.arange(8))
    with pytest.raises(ZeroDivisionError, match="Weights sum to zero, can't be normalized"):
        loss_and_gradient(made, parameters, Rows(X[:4], targets[:4], weights[:4]))


@covering(
    "activation, loss, device, dtype",
    ACTIVATIONS,
    LOSSES,
    PRESENT,
    DTYPES,
    apart=APART and [{0, 1}],
)
def test_saturated_units_stay_finite(device, activation, loss, dtype):
    overflows = loss.output_activation == "exp" and activation.most == np.inf
    scale = 1.0 if overflows else 1e4
    network = Network((3, 4, 3), activation, loss)
    X, targets, weights = make_data(network, 6, dtype)
    _, parameters, _, outputs = run_epochs(
        device, network, (X * dtype(scale), targets, weights), epochs=1
    )
    assert np.isfinite(parameters).all()
    assert np.isfinite(outputs).all()


@covering(
    "activation, loss, optimizer, device, dtype",
    ACTIVATIONS,
    LOSSES,
    OPTIMIZERS,
    PRESENT,
    DTYPES,
    apart=[{0, 1, 2}],
)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_divergence_shows(device, activation, loss, optimizer, dtype):
    """A NaN goes through every activation, loss and update: a diverged fit must be noticed."""
    network = Network((3, 4, 3), activation, loss)
    X, targets, weights = make_data(network, 6, dtype)
    X[2, 1] = np.nan
    parameters = make_parameters(network, dtype)
    own = devices.load(device)(
        network, parameters, optimizer=make_optimizer(optimizer, parameters), batch_size=4
    )
    assert np.isnan(own.train(Rows(X, targets, weights), np.arange(6)))
    assert np.isnan(own.parameters()).any()


@pytest.mark.parametrize("device", devices.present())
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_rows_to_predict_are_finite(device, bad):
    network = Network((3, 4, 2), "relu", "log_loss")
    X, _, _ = make_data(network, 6, np.float32)
    out = np.empty((6, 2), np.float32)
    own = devices.load(device)(network, make_parameters(network, np.float32))
    expected = own.forward(X, out).copy()
    X[5, 1], good = bad, X[5, 1]
    with pytest.raises(FloatingPointError, match="NaN or infinity"):
        own.forward(X, out)
    X[5, 1] = good
    np.testing.assert_array_equal(own.forward(X, out), expected)


def test_moments_and_step_continue():
    """A device that takes over parameters and moments goes on as if nothing had happened."""
    network = Network((3, 4, 2), "tanh", "log_loss")
    X, targets, weights = make_data(network, 10, np.float64)
    order = np.arange(10)
    for name in devices.present():
        load = devices.load(name)
        parameters = make_parameters(network, np.float64)
        whole = load(
            network, parameters, optimizer=make_optimizer("adam", parameters), batch_size=3
        )
        for _ in range(2):
            whole.train(Rows(X, targets, weights), order)
        optimizer = make_optimizer("adam", parameters)
        first = load(network, parameters, optimizer=optimizer, batch_size=3)
        first.train(Rows(X, targets, weights), order)
        optimizer.moments = first.moments()
        second = load(network, first.parameters(), optimizer=optimizer, batch_size=3)
        second.train(Rows(X, targets, weights), order)
        assert optimizer.step == 8, name
        np.testing.assert_array_equal(second.parameters(), whole.parameters())
        second.resume(first.parameters(), first.moments())
        optimizer.step = 4
        second.train(Rows(X, targets, weights), order)
        np.testing.assert_array_equal(second.parameters(), whole.parameters())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("device", devices.present())
def test_sums(device, weighted, dtype):
    """Plain sums over rows: those of parts add up, and losses alone are the same."""
    network = Network((5, WIDE + 1, WIDE + 2, 3), "swish", "huber")
    X, targets, weights = make_data(network, 2 * ROWS + 3, dtype)
    rows, parameters = (
        Rows(X, targets, weights if weighted else None),
        make_parameters(network, dtype),
    )
    made = devices.load(device)(network, np.zeros_like(parameters), batch_size=ROWS)
    whole = made.sums(rows, parameters)
    assert whole.gradient.dtype == dtype
    assert whole.weight == pytest.approx(weights.sum() if weighted else len(X), rel=1e-6)
    alone = made.sums(rows, gradient=False)
    assert alone.gradient is None
    assert (alone.loss, alone.weight) == (whole.loss, whole.weight)
    out = np.empty((len(X), 3), dtype)
    assert made.sums(rows, gradient=False, out=out) == alone
    np.testing.assert_array_equal(out, made.forward(X, np.empty_like(out)))
    with pytest.raises(ValueError, match="shape"):
        made.sums(rows, out=out[1:])
    parts = []
    for part in (slice(0, ROWS + 1), slice(ROWS + 1, None)):
        own = Rows(X[part], targets[part], weights[part] if weighted else None)
        parts.append(devices.load(device)(network, parameters, batch_size=ROWS).sums(own))
    assert parts[0].loss + parts[1].loss == pytest.approx(whole.loss, rel=1e-5)
    np.testing.assert_allclose(
        parts[0].gradient + parts[1].gradient, whole.gradient, rtol=1e-4, atol=1e-4
    )


VERBS = [name for name in vars(Device) if not name.startswith("_") and callable(vars(Device)[name])]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("device", devices.present())
def test_every_device_has_the_contracts_verbs(device, verb):
    own, said = (signature(getattr(kind, verb)) for kind in (devices.load(device), Device))
    assert [(p.name, p.default) for p in own.parameters.values()] == [
        (p.name, p.default) for p in said.parameters.values()
    ]


@pytest.mark.parametrize(
    ("units", "activation", "form", "plain"),
    [
        ((3, 20, DEPTH + 1, 2), "relu", np.asarray, True),
        ((3, 20, DEPTH + 1, 2), "tanh", np.asarray, False),  # the product is in two parts
        ((3, 20, 20, 2), "tanh", np.asarray, True),
        ((3, 20, 2), activations.Maxout(), np.asarray, False),
        ((3, 20, 2), activations.Swish(learnable=True), np.asarray, False),
        ((3, 20, 2), "relu", sparse.csr_array, False),
    ],
)
def test_plain_networks_have_less_to_compile(units, activation, form, plain):
    """And compute the same as with the code of all networks."""
    network = Network(units, activation, "squared_error")
    X, targets, weights = make_data(network, 50, np.float64)
    X = form(X)
    device = cpu.CpuDevice(
        network, make_parameters(network, np.float64), batch_size=50, sparse=sparse.issparse(X)
    )
    assert device._general is (None if plain else True)
    rows, results = Rows(X, targets, weights), []
    for _ in range(2):
        sums = device.sums(rows)
        results.append((sums.loss, sums.gradient))
        device._general = True
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-13)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-12, atol=1e-14)
