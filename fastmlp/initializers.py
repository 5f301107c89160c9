"""First weights."""

import numpy as np

from .network import Network


def glorot_uniform(network: Network, random_state: np.random.RandomState, dtype) -> np.ndarray:
    """Uniform weights and biases in [-b, b], b = √(f / (fan_in + fan_out)), as a packed vector.

    f is 2 for logistic hidden units, else 6 (Glorot and Bengio, "Understanding the difficulty of
    training deep feedforward neural networks", 2010). Drawn in float64 layer by layer, weights
    before biases, and cast afterwards: scikit-learn's order, hence its numbers for the same seed.
    """
    packed = np.empty(network.size, dtype)
    activations = network.activation or (network.output_activation,)
    for layer, (weights, biases) in enumerate(zip(*network.views(packed), strict=True)):
        activation = activations[min(layer, len(activations) - 1)]
        factor = 2.0 if activation.name == "logistic" else 6.0
        bound = np.sqrt(factor / sum(weights.shape))
        weights[...] = random_state.uniform(-bound, bound, weights.shape)
        biases[...] = random_state.uniform(-bound, bound, biases.shape)
    for view, first in zip(
        network.activation_views(packed), network.initial_activations(), strict=True
    ):
        if view is not None:
            view[...] = first
    return packed
