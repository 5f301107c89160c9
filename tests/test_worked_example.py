"""A network of 2-2-2 logistic units, worked through by hand: its figures, by public API alone.

Inputs .05 and .10, targets .01 and .99; weights .15 and .20 into h1, .25 and .30 into h2, .40 and
.45 into o1, .50 and .55 into o2; biases .35 and .60. Half the squared error, summed over the
outputs; learning rate 0.5, one sample a step, no momentum, no penalty.
"""

import numpy as np
import pytest

from fastmlp import MLPRegressor, devices
from fastmlp.inspection import (
    check_gradients,
    gradients,
    input_gradients,
    numerical_gradients,
    trace,
)

X, Y = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
COEFS = [np.array([[0.15, 0.25], [0.20, 0.30]]), np.array([[0.40, 0.50], [0.45, 0.55]])]
INTERCEPTS = [np.array([0.35, 0.35]), np.array([0.60, 0.60])]
DEVICES = [
    pytest.param(name, marks=pytest.mark.compiled if name == "cpu" else [])
    for name in devices.present()
]


def example(device, learning_rate=0.5, steps=10_000):
    """The network, not yet trained; a fit with learning rate 0 would leave it as it is."""
    return MLPRegressor(
        hidden_layer_sizes=(2,),
        activation="logistic",
        output_activation="logistic",
        weight_init=(COEFS, INTERCEPTS),
        solver="sgd",
        momentum=0,
        nesterovs_momentum=False,
        alpha=0,
        learning_rate_init=learning_rate,
        batch_size=1,
        max_iter=steps,
        tol=0,
        n_iter_no_change=np.inf,
        device=device,
    )


def untrained(device):
    """The network as it is given: fitted with a step too small to change a weight."""
    network = example(device, learning_rate=1e-300).partial_fit(X, Y)
    for fitted, given in zip(network.coefs_, COEFS, strict=True):
        np.testing.assert_array_equal(fitted, given)
    return network


def error(network):
    return 0.5 * np.square(network.predict(X) - Y).sum()


def hold_biases(network):
    network.intercepts_ = [bias.copy() for bias in INTERCEPTS]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def test_before_training(device):
    network = untrained(device)
    np.testing.assert_allclose(network.predict(X), [[0.75136507, 0.772928465]], atol=5e-9)
    assert error(network) == pytest.approx(0.298371109, abs=5e-10)
    assert network.loss_ == pytest.approx(0.298371109 / 2, abs=5e-10)  # the mean of two outputs


def test_trace(device):
    path = trace(untrained(device), X[0], Y[0])
    hidden, outputs = path.layers
    assert path.loss == pytest.approx(0.298371109, abs=5e-10)
    np.testing.assert_array_equal(path.target, Y[0])
    np.testing.assert_array_equal(hidden.inputs, X[0])
    np.testing.assert_allclose(hidden.z, [0.3775, 0.3925], atol=5e-9)
    np.testing.assert_allclose(hidden.a, [0.593269992, 0.596884378], atol=5e-10)
    np.testing.assert_allclose(outputs.z, [1.105905967, 1.224921404], atol=5e-10)
    np.testing.assert_allclose(outputs.a, [0.75136507, 0.772928465], atol=5e-10)
    np.testing.assert_allclose(outputs.delta, [0.138498562, -0.038098236], atol=1e-9)
    # The way of o2's error to h1, over the weight of .50 in between.
    assert outputs.delta[1] * COEFS[1][0, 1] == pytest.approx(-0.019049119, abs=1e-9)
    # dE/dw5, and the step that it makes.
    assert outputs.gradient.coefs[0, 0] == pytest.approx(0.082167041, abs=5e-10)
    assert 0.40 - 0.5 * outputs.gradient.coefs[0, 0] == pytest.approx(0.358916480, abs=5e-10)
    # dE/dw1.
    assert hidden.gradient.coefs[0, 0] == pytest.approx(0.000438568, abs=5e-10)


def test_gradients(device):
    network = untrained(device)
    reverse, numerical = gradients(network, X, Y), numerical_gradients(network, X, Y)
    for of_trace, ours, theirs in zip(
        trace(network, X[0], Y[0]).layers, reverse, numerical, strict=True
    ):
        for name in ("coefs", "intercepts"):
            exact = getattr(ours, name)
            np.testing.assert_allclose(getattr(of_trace.gradient, name), exact, rtol=1e-12)
            np.testing.assert_allclose(getattr(theirs, name), exact, rtol=1e-6)
    assert check_gradients(network, X, Y).agrees


def test_input_gradients(device):
    """The chain rule, written out for two layers."""
    network = untrained(device)
    hidden, outputs = trace(network, X[0], Y[0]).layers
    by_hidden = COEFS[1] * outputs.a * (1 - outputs.a)
    by_inputs = COEFS[0] * hidden.a * (1 - hidden.a) @ by_hidden
    np.testing.assert_allclose(input_gradients(network, X)[0], by_inputs.T, rtol=1e-12)


def test_first_step(device):
    network = example(device).partial_fit(X, Y)
    np.testing.assert_allclose(
        network.coefs_[1], [[0.35891648, 0.511301270], [0.408666186, 0.561370121]], atol=5e-9
    )
    np.testing.assert_allclose(
        network.coefs_[0], [[0.149780716, 0.24975114], [0.19956143, 0.29950229]], atol=5e-9
    )
    assert error(network) == pytest.approx(0.280471447, abs=5e-10)
    hold_biases(network)
    assert error(network) == pytest.approx(0.2910278, abs=5e-8)


@pytest.mark.slow
def test_ten_thousand_steps_with_biases_held(device):
    network = example(device)
    for _ in range(10_000):
        network.partial_fit(X, Y)
        hold_biases(network)
    assert error(network) == pytest.approx(0.0000351, abs=5e-8)
    np.testing.assert_allclose(network.predict(X), [[0.015914, 0.984064]], atol=1e-6)


@pytest.mark.slow
def test_ten_thousand_steps_in_one_fit(device):
    network = example(device)
    with pytest.warns(UserWarning, match="hasn't converged"):
        network.fit(X, Y)
    assert network.n_iter_ == network.t_ == 10_000
    assert network.loss_curve_[0] == pytest.approx(0.298371109 / 2, abs=5e-10)
    assert network.loss_curve_[1] == pytest.approx(0.280471447 / 2, abs=5e-10)
    assert error(network) < 0.0000351  # the biases help


def test_one_fit_is_a_run_of_partial_fits(device):
    whole, stepwise = example(device, steps=500), example(device)
    with pytest.warns(UserWarning, match="hasn't converged"):
        whole.fit(X, Y)
    for _ in range(500):
        stepwise.partial_fit(X, Y)
    assert whole.loss_curve_ == stepwise.loss_curve_
    for ours, theirs in zip(
        whole.coefs_ + whole.intercepts_, stepwise.coefs_ + stepwise.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
