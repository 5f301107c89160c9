"""The reference device: every method in plain NumPy, written to be read.

It defines what the other devices compute, and is the tests' oracle and the benchmarks' baseline. On
purpose it shares no formula with them: an oracle that shares code with what it tests proves
nothing.
"""

from typing import NamedTuple

import numpy as np

from .. import lanes
from ..device import ZERO_WEIGHT, Configured, Rows, Sums, check_finite
from .activations import activate, softmax
from .losses import output_loss
from .optimizers import OPTIMIZERS
from .random import threefry


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
            lanes.go_on()
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

    def sums(self, rows, parameters=None, gradient=True, out=None):
        """Return the sums over all rows; see `Device`."""
        lanes.go_on()
        if parameters is not None:
            self._packed = self.network.checked(parameters, self.dtype).copy()
        sums = self.backprop(self._packed, rows)
        if out is not None:
            self.forward(rows.X, out)
        return sums if gradient else sums._replace(gradient=None)

    def forward(self, X, out, order=None):
        """Write the network's outputs to `out`, for the rows in `order` or for all rows."""
        X = X if order is None else X[order]
        check_finite(X)
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
