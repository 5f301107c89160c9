"""The reference device: every verb in plain NumPy, written to be read.

It is the definition of what the other devices compute, the tests' oracle and the benchmarks'
baseline. It shares no formula with them on purpose: an oracle that shares code with what it judges
proves nothing.
"""

import numpy as np
from scipy.special import expit, xlogy

ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
}

# f'(z), written with a = f(z).
SLOPES = {
    "identity": lambda a: np.ones_like(a),
    "logistic": lambda a: a * (1 - a),
    "tanh": lambda a: 1 - a**2,
    "relu": lambda a: (a != 0).astype(a.dtype),
}


def softmax(z):
    """Row by row, exp(z_k) over the sum of these; shifting z by its maximum changes nothing."""
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


OUTPUT_ACTIVATIONS = {
    "squared_error": lambda z: z,
    "poisson": np.exp,
    "log_loss": softmax,
    "binary_log_loss": expit,
}


def _clipped(p):
    epsilon = np.finfo(p.dtype).eps
    return np.clip(p, epsilon, 1 - epsilon)


# The loss of each row, for predictions p and targets t of shape (rows, outputs).
LOSSES = {
    "squared_error": lambda p, t: 0.5 * ((p - t) ** 2).mean(axis=1),
    "poisson": lambda p, t: (xlogy(t, t / p) - t + p).sum(axis=1),
    "log_loss": lambda p, t: -xlogy(t, _clipped(p)).sum(axis=1),
    "binary_log_loss": lambda p, t: (
        -(xlogy(t, _clipped(p)) + xlogy(1 - t, 1 - _clipped(p))).sum(axis=1)
    ),
}


class ReferenceDevice:
    """One network in NumPy; parameters and methods are those of every device.

    See `fastmlp.devices.cpu.CpuDevice`.
    """

    name = "reference"

    def __init__(
        self,
        network,
        parameters,
        *,
        optimizer=None,
        alpha=0.0,
        batch_size=None,
        sparse=False,
        n_jobs=None,
    ):
        self.network, self.optimizer = network, optimizer
        self.alpha, self.batch_size = alpha, batch_size
        self.dtype = parameters.dtype
        self._packed = parameters.copy()
        if optimizer is not None:
            self._moments = optimizer.moments.copy()

    def train_epoch(self, X, targets, weights, order):
        """One pass over the rows in `order`, batch by batch; returns their mean loss."""
        loss_sum = 0.0
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch_weights = None if weights is None else weights[rows]
            loss, gradient = self._backprop(self._packed, X[rows], targets[rows], batch_weights)
            loss_sum += loss * len(rows)
            self._update(gradient)
        return loss_sum / len(order)

    def loss_and_gradient(self, parameters, X, targets, weights):
        """Mean loss over all rows, with penalty, and its gradient, at the given parameters."""
        return self._backprop(parameters, X, targets, weights)

    def forward(self, X, out, order=None):
        """out = the network's outputs for the rows in `order`, or for all rows."""
        X = X if order is None else X[order]
        out[...] = self._values(self._packed, X)[-1]
        return out

    def parameters(self):
        """The parameters now, packed."""
        return self._packed.copy()

    def moments(self):
        """The optimiser's moments now, each packed."""
        return self._moments.copy()

    def _values(self, parameters, X):
        """Inputs, hidden values and outputs: A₀ = X, A₁, ..., each of shape (rows, width)."""
        values = [X.astype(parameters.dtype, copy=False)]
        matrices, biases = self.network.views(parameters)
        for matrix, bias in zip(matrices, biases, strict=True):
            z = values[-1] @ matrix + bias
            last = len(values) == len(matrices)
            if last:
                values.append(OUTPUT_ACTIVATIONS[self.network.loss](z))
            else:
                values.append(ACTIVATIONS[self.network.activation](z))
        return values

    def _backprop(self, parameters, X, targets, weights):
        """Mean loss with penalty, and its gradient, over the given rows."""
        dtype = parameters.dtype
        targets = targets.astype(dtype, copy=False)
        weights = np.ones(len(targets), dtype) if weights is None else weights.astype(dtype)
        total_weight = weights.sum(dtype=np.float64)
        if total_weight == 0:
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        matrices, _ = self.network.views(parameters)
        values = self._values(parameters, X)

        losses = LOSSES[self.network.loss](values[-1], targets)
        penalty = 0.5 * self.alpha * sum(float(np.vdot(w, w)) for w in matrices)
        loss = (np.dot(weights, losses.astype(np.float64)) + penalty) / total_weight

        gradient = np.empty_like(parameters)
        matrix_gradients, bias_gradients = self.network.views(gradient)
        delta = (values[-1] - targets) * weights[:, np.newaxis]
        for layer in reversed(range(len(matrices))):
            matrix_gradients[layer][...] = values[layer].T @ delta + self.alpha * matrices[layer]
            bias_gradients[layer][...] = delta.sum(axis=0)
            if layer > 0:
                slope = SLOPES[self.network.activation](values[layer])
                delta = (delta @ matrices[layer].T) * slope
        return loss, gradient / dtype.type(total_weight)

    def _update(self, gradient):
        optimizer = self.optimizer
        optimizer.step += 1
        first, second = self._moments
        if optimizer.name == "sgd":
            velocity = optimizer.momentum * first - optimizer.learning_rate * gradient
            first[...] = velocity
            if optimizer.nesterov:
                velocity = optimizer.momentum * velocity - optimizer.learning_rate * gradient
            self._packed += velocity
        else:
            beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
            first[...] = beta_1 * first + (1 - beta_1) * gradient
            second[...] = beta_2 * second + (1 - beta_2) * gradient**2
            correction = np.sqrt(1 - beta_2**optimizer.step) / (1 - beta_1**optimizer.step)
            rate = optimizer.learning_rate * correction
            self._packed -= (rate * first / (np.sqrt(second) + optimizer.epsilon)).astype(
                self._packed.dtype
            )
