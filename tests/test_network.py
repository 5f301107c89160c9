"""The shape of a network, and its parameters in one packed vector."""

import numpy as np
import pytest
from laws import make_parameters

from fastmlp import activations
from fastmlp.losses import Huber
from fastmlp.network import Network

NETWORKS = {
    "one layer": Network((3, 2), (), "squared_error"),
    "one unit a layer": Network((1, 1, 1), "tanh", "squared_error"),
    "deep": Network((5, 7, 4, 3), ("relu", "tanh"), "log_loss"),
    "maxout": Network((5, 7, 4, 3), (activations.Maxout(pieces=3), "relu"), "log_loss"),
    "learned": Network((5, 7, 4, 3), ("prelu", "relu"), "log_loss"),
    "both": Network((2, 3, 4, 1), (activations.Maxout(), "prelu"), "binary_log_loss"),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def arrays(network, packed):
    """All arrays of a packed vector, in its order."""
    learned = [view for view in network.activation_views(packed) if view is not None]
    weights, biases = network.views(packed)
    return [*weights, *biases, *learned]


def test_shapes():
    network = NETWORKS["both"]
    assert network.shapes == [(2, 6), (3, 4), (4, 1)]  # two pieces for each of three units
    assert network.learned == [0, 4]
    assert network.size == 3 * 6 + 4 * 4 + 5 * 1 + 4


@every_network
def test_views_share_out_the_packed_vector(network):
    """Weights, then biases, then what activations learn: each number once, without a copy."""
    packed = np.arange(network.size)
    parts = arrays(network, packed)
    assert np.concatenate([part.ravel() for part in parts]).tolist() == packed.tolist()
    assert all(np.shares_memory(part, packed) for part in parts)
    weights, biases = network.views(packed)
    assert [w.shape for w in weights] == network.shapes
    assert [b.shape for b in biases] == [(columns,) for _, columns in network.shapes]


@every_network
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_packing_is_the_inverse_of_views(network, dtype):
    packed = make_parameters(network, np.float64)
    learned = network.activation_views(packed)
    again = network.pack(*network.views(packed), dtype, learned)
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, packed.astype(dtype))
    assert not np.shares_memory(again, packed)


def test_packing_without_what_activations_learn_takes_their_first_values():
    network = Network((2, 3, 4, 1), ("relu", activations.Swish(1.5, True)), "squared_error")
    packed = network.pack(*network.views(np.zeros(network.size)), np.float64)
    first, second = network.activation_views(packed)
    assert first is None
    assert second.tolist() == [1.5] * 4
    assert not packed[:-4].any()


@pytest.mark.parametrize(
    ("weights", "biases", "learned", "says"),
    [
        ([(3, 4)], [4, 2], [4], r"expected \[\(3, 4\), \(4, 2\)\]"),
        ([(4, 3), (4, 2)], [4, 2], [4], r"expected \[\(3, 4\), \(4, 2\)\]"),
        ([(3, 4), (4, 2)], [4, 1], [4], r"expected .* \[\(4,\), \(2,\)\]"),
        ([(3, 4), (4, 2)], [4, 2], [3], r"\[3\] learned parameters, expected \[4\]"),
        ([(3, 4), (4, 2)], [4, 2], [], r"\[\] learned parameters, expected \[4\]"),
    ],
)
def test_arrays_that_do_not_fit_are_not_packed(weights, biases, learned, says):
    network = Network((3, 4, 2), "prelu", "squared_error")
    parts = (list(map(np.zeros, shapes)) for shapes in (weights, biases, learned))
    weights, biases, learned = parts
    with pytest.raises(ValueError, match=says):
        network.pack(weights, biases, np.float64, learned)


def test_checked_vectors():
    """As they are where they fit; else a copy, or an error where the shape is another."""
    network = Network((3, 2), (), "squared_error")
    vector = np.arange(8.0)
    assert network.checked(vector, np.float64) is vector
    for other in (vector.astype("f4"), np.repeat(vector, 2)[::2], vector.tolist()):
        made = network.checked(other, np.float64)
        assert made.flags.c_contiguous
        np.testing.assert_array_equal(made, vector)
    for wrong in (vector[1:], vector[np.newaxis], 8.0, None):
        with pytest.raises(ValueError, match="The moments of this network are 8 numbers"):
            network.checked(wrong, np.float64, "moments")


def test_names_become_objects():
    network = Network((2, 3, 4, 1), ("relu", activations.Tanh()), "huber")
    assert network.activation == (activations.ReLU(), activations.Tanh())
    assert network.loss == Huber()
    assert network.output_activation == activations.Identity()
    assert Network((2, 3, 4, 1), "relu", "huber").activation == (activations.ReLU(),) * 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (((2, 3, 1), "sine", "huber"), "sine"),
        (((2, 3, 1), "softmax", "huber"), "softmax"),
        (((2, 3, 1), ("relu", "relu"), "huber"), "2 entries, expected one for each of 1"),
        (((2, 3, 1), "relu", "nonsense"), "nonsense"),
        (((2, 3, 1), "relu", "huber", "maxout"), "maxout"),
        (((2, 3, 1), "relu", "huber", "softmax"), "Softmax needs several outputs"),
        (((2, 3, 2), "relu", "poisson", "identity"), "does not fit the output activation"),
    ],
    ids=str,
)
def test_networks_that_cannot_be(arguments, says):
    with pytest.raises(ValueError, match=says):
        Network(*arguments)


def test_equal_networks_are_one_key():
    """Compiled layouts are looked up by the network."""
    one, other = (Network((2, 3, 1), name, "huber") for name in ("relu", (activations.ReLU(),)))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Network((2, 3, 1), "tanh", "huber")
