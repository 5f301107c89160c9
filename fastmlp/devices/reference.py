"""The reference device: every method in plain NumPy, written to be read.

It defines what the other devices compute, and is the tests' oracle and the benchmarks' baseline. On
purpose it shares no formula with them: an oracle that shares code with what it tests proves
nothing.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erf, expit, xlogy

from .device import ZERO_WEIGHT, Configured, Rows, Sums

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _normal_density(z):
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def _normal_cdf(z):
    return 0.5 * (1 + erf(z / np.sqrt(2)))


def _elu(z, alpha):
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def _elu_slope(z, alpha):
    return np.where(z > 0, 1, alpha * np.exp(np.minimum(z, 0)))


def softmax(z):
    """Return exp(z_k) over their sum, row by row; shifting z by its maximum changes nothing."""
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


# f(z) and f'(z), with the activation's constant c: a number, or one for each unit.
ACTIVATIONS = {
    "identity": (lambda z, c: z, lambda z, c: np.ones_like(z)),
    "logistic": (lambda z, c: expit(z), lambda z, c: expit(z) * expit(-z)),
    "tanh": (lambda z, c: np.tanh(z), lambda z, c: 1 - np.tanh(z) ** 2),
    "hard_sigmoid": (lambda z, c: np.clip(z / 6 + 0.5, 0, 1), lambda z, c: (np.abs(z) < 3) / 6),
    "hard_tanh": (lambda z, c: np.clip(z, -1, 1), lambda z, c: np.abs(z) < 1),
    "relu": (lambda z, c: np.maximum(z, 0), lambda z, c: z > 0),
    "leaky_relu": (lambda z, c: np.where(z > 0, z, c * z), lambda z, c: np.where(z > 0, 1, c)),
    "elu": (_elu, _elu_slope),
    "selu": (
        lambda z, c: SELU_SCALE * _elu(z, SELU_ALPHA),
        lambda z, c: SELU_SCALE * _elu_slope(z, SELU_ALPHA),
    ),
    "softplus": (lambda z, c: np.logaddexp(0, z), lambda z, c: expit(z)),
    "swish": (
        lambda z, c: z * expit(c * z),
        lambda z, c: expit(c * z) + c * z * expit(c * z) * expit(-c * z),
    ),
    "gelu": (
        lambda z, c: z * _normal_cdf(z),
        lambda z, c: _normal_cdf(z) + z * _normal_density(z),
    ),
    "step": (lambda z, c: z >= 0, lambda z, c: np.abs(z) <= 1),
    "exp": (lambda z, c: np.exp(z), lambda z, c: np.exp(z)),
}
ACTIVATIONS["prelu"] = ACTIVATIONS["leaky_relu"]

# ∂f/∂c of the activations that learn c.
CONSTANT_SLOPES = {
    "prelu": lambda z, c: np.minimum(z, 0),
    "swish": lambda z, c: z**2 * expit(c * z) * expit(-c * z),
}


class Value(NamedTuple):
    """A layer's activations of z: the values, and their derivatives by z and by c."""

    values: np.ndarray
    slopes: np.ndarray
    constant_slopes: np.ndarray | None


def activate(activation, z, constants=None):
    """Return f(z) of one layer, with its derivatives; for maxout, z and slopes have all pieces.

    A NaN in z gives a NaN in the values.
    """
    dtype = z.dtype
    name, c = activation.name, activation.constant if constants is None else constants
    if activation.pieces > 1:
        pieces = z.reshape(len(z), activation.pieces, -1)
        winner = pieces.argmax(axis=1)[:, np.newaxis]
        slopes = np.zeros_like(pieces)
        np.put_along_axis(slopes, winner, 1, axis=1)
        return Value(pieces.max(axis=1), slopes.reshape(z.shape), None)
    if activation.custom:
        f, slope = (np.vectorize(g, otypes=[dtype]) for g in _pair(activation))
        return Value(f(z), slope(z), None)
    f, slope = ACTIVATIONS[name]
    values = np.where(np.isnan(z), z, f(z, c)).astype(dtype, copy=False)
    learned = None
    if activation.learnable:
        learned = CONSTANT_SLOPES[name](z, c).astype(dtype, copy=False)
    return Value(values, slope(z, c).astype(dtype, copy=False), learned)


def _pair(custom):
    return custom.function, custom.derivative


def _clipped(p):
    epsilon = np.finfo(p.dtype).eps
    return np.clip(p, epsilon, 1 - epsilon)


def _positive(p):
    return np.maximum(p, np.finfo(p.dtype).eps ** 4)


def _other(p):
    return np.maximum(1 - p, np.finfo(p.dtype).eps)


def _pinball(p, t, tau):
    return np.where(t >= p, tau * (t - p), (tau - 1) * (t - p))


def _huber(p, t, d):
    size = np.abs(p - t)
    return np.where(size <= d, 0.5 * size**2, d * (size - 0.5 * d))


def _tweedie(p, t, c):
    q = _positive(p)
    return t ** (2 - c) / ((1 - c) * (2 - c)) - t * q ** (1 - c) / (1 - c) + q ** (2 - c) / (2 - c)


def _focal(p, t, c):
    return -t * _other(p) ** c * np.log(_positive(p))


def _focal_slope(p, t, c):
    q, other = _positive(p), _other(p)
    return t * (c * other ** (c - 1) * np.log(q) - other**c / q)


def _binary_focal(p, t, c):
    q, other = _positive(p), _other(p)
    return -t * other**c * np.log(q) - (1 - t) * q**c * np.log(other)


def _binary_focal_slope(p, t, c):
    q, other = _positive(p), _other(p)
    return _focal_slope(p, t, c) - (1 - t) * (c * q ** (c - 1) * np.log(other) - q**c / other)


# The loss of each output and its derivative by p, for predictions p and targets t of shape
# (rows, outputs), and the loss's constants c of shape (outputs,).
LOSSES = {
    "squared_error": (lambda p, t, c: 0.5 * (p - t) ** 2, lambda p, t, c: p - t),
    "absolute_error": (lambda p, t, c: np.abs(p - t), lambda p, t, c: np.sign(p - t)),
    "huber": (_huber, lambda p, t, c: np.clip(p - t, -c, c)),
    "quantile": (_pinball, lambda p, t, c: np.where(t > p, -c, np.where(t < p, 1 - c, 0))),
    "poisson": (
        lambda p, t, c: xlogy(t, t / _positive(p)) - t + p,
        lambda p, t, c: 1 - t / _positive(p),
    ),
    "gamma": (
        lambda p, t, c: t / _positive(p) - np.log(t / _positive(p)) - 1,
        lambda p, t, c: (1 - t / _positive(p)) / _positive(p),
    ),
    "tweedie": (_tweedie, lambda p, t, c: _positive(p) ** (1 - c) - t * _positive(p) ** -c),
    "focal": (_focal, _focal_slope),
    "binary_focal": (_binary_focal, _binary_focal_slope),
    "log_loss": (lambda p, t, c: -xlogy(t, _clipped(p)), lambda p, t, c: -t / _clipped(p)),
    "binary_log_loss": (
        lambda p, t, c: -(xlogy(t, _clipped(p)) + xlogy(1 - t, 1 - _clipped(p))),
        lambda p, t, c: (p - t) / (_clipped(p) * (1 - _clipped(p))),
    ),
}


def output_loss(network, p, t):
    """Return the loss of each row, and its derivative by each prediction."""
    if network.loss.custom:
        f, slope = (np.vectorize(g, otypes=[p.dtype]) for g in _pair(network.loss))
        return f(p, t).sum(axis=1), slope(p, t)
    f, slope = LOSSES[network.loss.name]
    constants = np.array(network.loss.constants(network.units[-1]), p.dtype)
    losses = f(p, t, constants)
    over_outputs = losses.mean if network.loss.mean_over_outputs else losses.sum
    return over_outputs(axis=1), slope(p, t, constants).astype(p.dtype, copy=False)


def sgd(g, moments, rate, rule, t):
    """Return the parameters' change, and the new velocity."""
    velocity = rule.momentum * moments[0] - rate * g
    change = rule.momentum * velocity - rate * g if rule.nesterov else velocity
    return change, velocity[np.newaxis]


def _averages(g, moments, rule):
    """Return the new averages of gradients and of their squares."""
    m = rule.beta_1 * moments[0] + (1 - rule.beta_1) * g
    v = rule.beta_2 * moments[1] + (1 - rule.beta_2) * g**2
    return np.stack([m, v])


def adam(g, moments, rate, rule, t):
    """Return the parameters' change, and the new averages."""
    m, v = after = _averages(g, moments, rule)
    rate *= math.sqrt(1 - rule.beta_2**t) / (1 - rule.beta_1**t)
    return -rate * m / (np.sqrt(v) + rule.epsilon), after


def adamw(g, moments, rate, rule, t):
    """Return the parameters' change without their decay, and the new averages."""
    m, v = after = _averages(g, moments, rule)
    root = np.sqrt(v / (1 - rule.beta_2**t))
    return -rate / (1 - rule.beta_1**t) * m / (root + rule.epsilon), after


def nadam(g, moments, rate, rule, t):
    """Return the parameters' change, and the new averages."""
    m, v = after = _averages(g, moments, rule)
    momentum = rule.beta_1 * (1 - 0.96 ** (np.arange(1, t + 2) * rule.momentum_decay) / 2)
    by_gradient = float((1 - momentum[-2]) / (1 - momentum[:-1].prod()))
    by_momentum = float(momentum[-1] / (1 - momentum.prod()))
    root = np.sqrt(v / (1 - rule.beta_2**t))
    return -rate * (by_gradient * g + by_momentum * m) / (root + rule.epsilon), after


def radam(g, moments, rate, rule, t):
    """Return the parameters' change, and the new averages."""
    m, v = after = _averages(g, moments, rule)
    power, most = rule.beta_2**t, 2 / (1 - rule.beta_2) - 1
    rho = most - 2 * t * power / (1 - power)
    rate /= 1 - rule.beta_1**t
    if rho <= 5:
        return -rate * m, after
    rate *= math.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
    return -rate * math.sqrt(1 - power) * m / (np.sqrt(v) + rule.epsilon), after


def rmsprop(g, moments, rate, rule, t):
    """Return the parameters' change, and the new average of the squared gradients."""
    v = rule.rho * moments[0] + (1 - rule.rho) * g**2
    return -rate * g / (np.sqrt(v) + rule.epsilon), v[np.newaxis]


def adagrad(g, moments, rate, rule, t):
    """Return the parameters' change, and the new sum of the squared gradients."""
    total = moments[0] + g**2
    return -rate * g / (np.sqrt(total) + rule.epsilon), total[np.newaxis]


def lion(g, moments, rate, rule, t):
    """Return the parameters' change without their decay, and the new average of the gradients."""
    direction = np.sign(rule.beta_1 * moments[0] + (1 - rule.beta_1) * g)
    average = rule.beta_2 * moments[0] + (1 - rule.beta_2) * g
    return -rate * direction, average[np.newaxis]


# Step t = 1, 2, ... from the gradient g, the moments of shape (moments, size), the learning rate,
# and the optimiser with its hyperparameters.
OPTIMIZERS = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "nadam": nadam,
    "radam": radam,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "lion": lion,
}


def threefry(key, counter):
    """Return the first word of Threefry-2x32, 20 rounds, for two keys and two counters below 2^32.

    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
    """
    words = [np.asarray(k, np.uint32) for k in key]
    words.append(words[0] ^ words[1] ^ np.uint32(0x1BD11BDA))
    x, y = (np.asarray(c, np.uint32) + k for c, k in zip(counter, words[:2], strict=True))
    rotations = [(13, 15, 26, 6), (17, 29, 16, 24)]
    with np.errstate(over="ignore"):
        for group in range(5):
            for r in rotations[group % 2]:
                x = x + y
                y = (y << np.uint32(r)) | (y >> np.uint32(32 - r))
                y = y ^ x
            x = x + words[(group + 1) % 3]
            y = y + words[(group + 2) % 3] + np.uint32(group + 1)
    return x


class Forward(NamedTuple):
    """The results of a forward pass: each layer's inputs, z and activations, and the outputs."""

    inputs: list
    z: list
    activated: list
    outputs: np.ndarray


class ReferenceDevice(Configured):
    """One network in NumPy; see `Device`."""

    name = "reference"

    def _load(self, parameters, moments):
        self._packed = parameters.copy()
        self._moments = None if moments is None else np.stack(moments)

    def _replace(self, parameters, moments):
        self._packed = parameters.copy()
        self._moments[...] = moments

    def train(self, rows, order):
        """Do one update for each batch of the rows in `order`; see `Device`."""
        total = 0.0
        starts = range(0, len(order), self.batch_size)
        rates = self.optimizer.rates(len(starts)).tolist()  # Python floats keep float32 as it is
        for start, rate in zip(starts, rates, strict=True):
            visited = order[start : start + self.batch_size]
            batch = Rows(*(None if part is None else part[visited] for part in rows))
            sums = self.backprop(self._packed, batch, self._masks(len(visited)))
            total += self.step(sums, rate) * len(visited)
        return total

    def step(self, sums, rate):
        """Do the update for a batch, given its sums; return its mean loss with penalty before."""
        if sums.weight == 0:
            raise ZeroDivisionError(ZERO_WEIGHT)
        loss = (sums.loss + self._penalty()) / sums.weight
        gradient = sums.gradient + self._penalty_slopes()
        self._update(gradient / self.dtype.type(sums.weight), rate)
        return loss

    def sums(self, rows, parameters=None, gradient=True):
        """Return the sums over all rows; see `Device`."""
        if parameters is not None:
            self._packed = self.network.checked(parameters, self.dtype).copy()
        sums = self.backprop(self._packed, rows)
        return sums if gradient else sums._replace(gradient=None)

    def forward(self, X, out, order=None):
        """Write the network's outputs to `out`, for the rows in `order` or for all rows."""
        X = X if order is None else X[order]
        out[...] = self.propagate(self._packed, X).outputs
        return out

    def parameters(self):
        """Return the current parameters, packed."""
        return self._packed.copy()

    def moments(self):
        """Return the optimiser's current moments, each packed."""
        return self._moments.copy()

    def _masks(self, rows):
        """Return the dropout factors of each layer's inputs in the next step, (rows, units)."""
        if not self.regularization.dropout:
            return None
        masks, first = [], 0
        for layer, units in enumerate(self.network.units[:-1]):
            share = self.regularization.dropped(layer)
            counter = np.arange(rows)[:, np.newaxis], first + np.arange(units)
            word = threefry((self.dropout_seed, self.optimizer.step), counter)
            kept = word >= np.uint32(share * 2**32)
            masks.append(kept.astype(self.dtype) * self.dtype.type(1 / (1 - share)))
            first += units
        return masks

    def propagate(self, parameters, X, masks=None):
        """Run rows through all layers."""
        network = self.network
        matrices, biases = network.views(parameters)
        learned = network.activation_views(parameters)
        passed = Forward([], [], [], None)
        values = X.astype(parameters.dtype, copy=False)
        for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
            if masks is not None:
                values = _masked(values, masks[layer])
            passed.inputs.append(values)
            passed.z.append(values @ matrix + bias)
            if layer < len(matrices) - 1:
                passed.activated.append(
                    activate(network.activation[layer], passed.z[-1], learned[layer])
                )
                values = passed.activated[-1].values
        if network.output_activation.whole_row:
            return passed._replace(outputs=softmax(passed.z[-1]))
        passed.activated.append(activate(network.output_activation, passed.z[-1]))
        return passed._replace(outputs=passed.activated[-1].values)

    def output_delta(self, passed, targets):
        """Return each row's loss, and its derivative by the last layer's z."""
        p = passed.outputs
        losses, slopes = output_loss(self.network, p, targets)
        if self.network.canonical:
            return losses, p - targets
        if self.network.output_activation.whole_row:
            return losses, p * (slopes - (p * slopes).sum(axis=1, keepdims=True))
        return losses, slopes * passed.activated[-1].slopes

    def deltas(self, parameters, passed, delta, masks=None):
        """Return all layers' deltas from the last layer's, and ∂loss/∂c of each activation."""
        network = self.network
        matrices, _ = network.views(parameters)
        deltas, learning = [delta], []
        for layer in reversed(range(1, len(matrices))):
            upstream = deltas[0] @ matrices[layer].T
            if masks is not None:
                upstream = upstream * masks[layer]
            _, slopes, constant_slopes = passed.activated[layer - 1]
            pieces = network.activation[layer - 1].pieces
            deltas.insert(0, np.tile(upstream, pieces) * slopes)
            learning.insert(0, None if constant_slopes is None else upstream * constant_slopes)
        return deltas, learning

    def backprop(self, parameters, rows, masks=None):
        """Return the sums over the given rows, by backpropagation."""
        dtype = parameters.dtype
        targets = rows.targets.astype(dtype, copy=False)
        weights = np.ones(len(targets)) if rows.weights is None else rows.weights
        weights = weights.astype(dtype)
        passed = self.propagate(parameters, rows.X, masks)
        losses, delta = self.output_delta(passed, targets)
        deltas, learning = self.deltas(parameters, passed, delta * weights[:, np.newaxis], masks)
        loss = float(np.dot(weights, losses.astype(np.float64)))

        gradient = np.empty_like(parameters)
        matrix_gradients, bias_gradients = self.network.views(gradient)
        for layer, inputs in enumerate(passed.inputs):
            matrix_gradients[layer][...] = inputs.T @ deltas[layer]
            bias_gradients[layer][...] = deltas[layer].sum(axis=0)
        for view, each_row in zip(self.network.activation_views(gradient), learning, strict=True):
            if view is not None:
                view[...] = each_row.sum(axis=0)
        return Sums(loss, float(weights.sum(dtype=np.float64)), gradient)

    def _penalty(self):
        l1, l2 = self.regularization.l1, self.regularization.l2
        matrices, _ = self.network.views(self._packed)
        return sum(0.5 * l2 * float(np.vdot(w, w)) + l1 * float(np.abs(w).sum()) for w in matrices)

    def _penalty_slopes(self):
        l1, l2 = self.regularization.l1, self.regularization.l2
        slopes = np.zeros_like(self._packed)
        matrices = self.network.views(self._packed)[0]
        for slope, w in zip(self.network.views(slopes)[0], matrices, strict=True):
            slope[...] = l2 * w + l1 * np.sign(w)
        return slopes

    def _update(self, gradient, rate):
        regularization = self.regularization
        norm = np.linalg.norm(gradient.astype(np.float64))
        if norm > regularization.clip_norm:
            gradient = gradient * self.dtype.type(regularization.clip_norm / norm)
        step = self._step(gradient, rate)
        matrices, biases = self.network.views(self._packed)
        learned = [c for c in self.network.activation_views(self._packed) if c is not None]
        of_all, of_weights = self.optimizer.rule.weight_decay, regularization.weight_decay
        for arrays, decay in (matrices, of_all + of_weights), (biases + learned, of_all):
            for w in arrays:
                w *= self.dtype.type(1 - rate * decay)
        self._packed += step.astype(self.dtype)
        for w in matrices:
            norms = np.sqrt((w * w).sum(axis=0))
            shrunk = regularization.max_norm / np.maximum(norms, np.finfo(self.dtype).tiny)
            w *= np.where(norms > regularization.max_norm, shrunk, 1).astype(self.dtype)

    def _step(self, gradient, rate):
        """Return the parameters' change; store the new moments."""
        rule = self.optimizer.rule
        self.optimizer.step += 1
        change, self._moments = OPTIMIZERS[rule.name](
            gradient, self._moments, rate, rule, self.optimizer.step
        )
        return change


def _masked(values, mask):
    return values * mask if isinstance(values, np.ndarray) else values.multiply(mask).tocsr()
