"""Initial weights: rules that draw the weights of a layer, and the names in `weight_init`.

The rules scale random weights by a layer's fan_in (its number of inputs) and fan_out (its number of
units). The pieces of a maxout layer are drawn one by one, each like a separate layer. Parameters
that activations learn start from the activation's own initial values.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike

from .activations import Activation, resolve
from .network import Network
from .notices import did_you_mean


def glorot_uniform(fan_in: int, fan_out: int, random_state: np.random.RandomState) -> np.ndarray:
    """Uniform in [-b, b], b = √(6 / (fan_in + fan_out)): variance 2 / (fan_in + fan_out).

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    2010.
    """
    return _uniform(6 / (fan_in + fan_out), fan_in, fan_out, random_state)


def glorot_normal(fan_in: int, fan_out: int, random_state: np.random.RandomState) -> np.ndarray:
    """Normal with variance 2 / (fan_in + fan_out); see `glorot_uniform`."""
    return _normal(2 / (fan_in + fan_out), fan_in, fan_out, random_state)


def he_uniform(fan_in: int, fan_out: int, random_state: np.random.RandomState) -> np.ndarray:
    """Uniform in [-b, b], b = √(6 / fan_in): variance 2 / fan_in; see `he_normal`."""
    return _uniform(6 / fan_in, fan_in, fan_out, random_state)


def he_normal(
    fan_in: int, fan_out: int, random_state: np.random.RandomState, slope: float = 0.0
) -> np.ndarray:
    """Normal with variance 2 / ((1 + α²) fan_in), α the activation's slope below 0.

    He, Zhang, Ren and Sun, "Delving deep into rectifiers", 2015, equations 10 and 15.
    """
    return _normal(2 / ((1 + slope**2) * fan_in), fan_in, fan_out, random_state)


def lecun_uniform(fan_in: int, fan_out: int, random_state: np.random.RandomState) -> np.ndarray:
    """Uniform in [-b, b], b = √(3 / fan_in): variance 1 / fan_in; see `lecun_normal`."""
    return _uniform(3 / fan_in, fan_in, fan_out, random_state)


def lecun_normal(fan_in: int, fan_out: int, random_state: np.random.RandomState) -> np.ndarray:
    """Normal with variance 1 / fan_in.

    LeCun, Bottou, Orr and Müller, "Efficient backprop", 1998, section 4.6.
    """
    return _normal(1 / fan_in, fan_in, fan_out, random_state)


def orthogonal(fan_in: int, fan_out: int, random_state: np.random.RandomState) -> np.ndarray:
    """Orthonormal columns, or orthonormal rows if there are fewer rows: Wᵀ W = 1 or W Wᵀ = 1.

    Q of the QR factorisation of a normal matrix, with signs chosen so that R's diagonal is
    positive: otherwise Q would not be uniform over the orthogonal matrices. Saxe, McClelland and
    Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
    2013.
    """
    tall = random_state.standard_normal((max(fan_in, fan_out), min(fan_in, fan_out)))
    q, r = np.linalg.qr(tall)
    q *= np.where(np.diag(r) < 0, -1, 1)
    return q if fan_in >= fan_out else q.T


def zeros(fan_in: int, fan_out: int, random_state: np.random.RandomState) -> np.ndarray:
    """All 0: training starts from the same point for every seed.

    With hidden layers, all units of a layer would stay identical, so this is for linear models.
    """
    return np.zeros((fan_in, fan_out))


def _uniform(squared_bound, fan_in, fan_out, random_state):
    bound = np.sqrt(squared_bound)
    return random_state.uniform(-bound, bound, (fan_in, fan_out))


def _normal(variance, fan_in, fan_out, random_state):
    return np.sqrt(variance) * random_state.standard_normal((fan_in, fan_out))


RULES: dict[str, Callable[..., np.ndarray]] = {
    rule.__name__: rule
    for rule in (
        glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal,
        orthogonal, zeros,
    )
}  # fmt: skip

#: Names that `weight_init` accepts.
NAMES = frozenset({"glorot", "auto", *RULES} - {"glorot_uniform"})


def first_parameters(
    network: Network,
    weight_init: str | Sequence,
    random_state: np.random.RandomState,
    dtype: DTypeLike,
    activation: str | Activation | Sequence[str | Activation] = "relu",
) -> np.ndarray:
    """Return the packed parameters that training starts from.

    Parameters
    ----------
    network : Network
        Shape and activations.
    weight_init : str or (coefs, intercepts)
        One of `NAMES`: "glorot" draws weights and biases as scikit-learn does; "auto" uses for each
        layer the rule that the literature derives for its activation: `he_normal` for those like
        relu, with their slope below 0 if that part is a straight line, `lecun_normal` for selu,
        `glorot_uniform` for all others and for the output layer. Except with "glorot", biases are
        0. Or the arrays themselves, which are copied.
    random_state : RandomState
        Draws in float64, layer by layer.
    dtype : dtype
        dtype of the result.
    activation : str, Activation or sequence of these
        The estimator's parameter: scikit-learn's weights depend on it even without hidden layers.

    Raises
    ------
    ValueError
        If the name is unknown, or the arrays do not fit the network or are not finite.
    """
    if not isinstance(weight_init, str):
        return _given(network, weight_init, dtype)
    if weight_init not in NAMES:
        raise ValueError(
            f"Unknown weight_init: {weight_init!r}. Expected one of {sorted(NAMES)}, or a pair "
            f"(coefs, intercepts).{did_you_mean(weight_init, sorted(NAMES))}"
        )
    if weight_init == "glorot":
        weights, biases = _scikit_learns(network, random_state, activation)
    else:
        weights = [
            np.hstack([rule(*shape, random_state, **settings) for _ in range(pieces)])
            for shape, pieces, rule, settings in _rules(network, weight_init)
        ]
        biases = [np.zeros(fan_out) for _, fan_out in network.shapes]
    return network.pack(weights, biases, dtype)


def _rules(network, name):
    """Yield for each layer the shape of a piece, the number of pieces, the rule, its settings."""
    layers = (*network.activation, network.output_activation)
    for shape, activation in zip(network.piece_shapes, layers, strict=True):
        rule, settings = RULES[name if name != "auto" else activation.best_init], {}
        if name == "auto" and activation.slope_below:
            settings["slope"] = activation.slope_below
        yield shape, activation.pieces, rule, settings


def _scikit_learns(network, random_state, activation):
    """Uniform weights and biases in [-b, b], b = √(f / (fan_in + fan_out)).

    f is the `glorot_factor` of the layer's activation; for the output layer, that of the last
    hidden layer. Drawn layer by layer, weights before biases: this is scikit-learn's order, which
    gives the same numbers for the same seed.
    """
    acts = network.activation
    if not acts and isinstance(activation, str | Activation):
        acts = (resolve(activation),)
    weights, biases = [], []
    for layer, (shape, (_, columns)) in enumerate(
        zip(network.piece_shapes, network.shapes, strict=True)
    ):
        acting = acts[min(layer, len(acts) - 1)] if acts else Activation
        squared_bound = acting.glorot_factor / sum(shape)
        pieces = [
            _uniform(squared_bound, shape[0], shape[1], random_state)
            for _ in range(columns // shape[1])
        ]
        weights.append(np.hstack(pieces) if len(pieces) > 1 else pieces[0])
        biases.append(_uniform(squared_bound, 1, columns, random_state)[0])
    return weights, biases


def _given(network, weight_init, dtype):
    if len(weight_init) != 2:
        raise ValueError(
            f"weight_init has {len(weight_init)} entries, expected a pair (coefs, intercepts)."
        )
    coefs, intercepts = ([np.asarray(a, np.float64) for a in arrays] for arrays in weight_init)
    packed = network.pack(coefs, intercepts, dtype)
    if not np.isfinite(packed).all():
        raise ValueError("weight_init has weights that are not finite.")
    return packed
