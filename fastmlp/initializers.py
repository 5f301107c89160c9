"""First weights."""

import numpy as np

from .network import Network


def glorot_uniform(network: Network, random_state: np.random.RandomState, dtype) -> np.ndarray:
    """Uniform weights and biases in [-b, b], b = √(f / (fan_in + fan_out)), as a packed vector.

    f is 2 for logistic hidden units, else 6 (Glorot and Bengio, "Understanding the difficulty of
    training deep feedforward neural networks", 2010). Drawn in float64 layer by layer, weights
    before biases, and cast afterwards: scikit-learn's order, hence its numbers for the same seed.
    """
    factor = 2.0 if network.activation == "logistic" else 6.0
    packed = np.empty(network.size, dtype)
    for weights, biases in zip(*network.views(packed), strict=True):
        bound = np.sqrt(factor / sum(weights.shape))
        weights[...] = random_state.uniform(-bound, bound, weights.shape)
        biases[...] = random_state.uniform(-bound, bound, biases.shape)
    return packed
