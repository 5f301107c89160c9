"""The CPU device's inner loops on their own: the same functions that training calls.

Products live in a network of three widths, (1, fan_in, fan_out), whose second layer is the one that
is measured, so that they run over the buffers, panels and chunks of rows that training uses. All
are called with a number of repetitions, which are compiled too: training does not come back to
Python between two products either.
"""

import numpy as np

from fastmlp import optimizers
from fastmlp._jit import called
from fastmlp.devices.cpu import CpuDevice
from fastmlp.devices.cpu.block_sizes import CHUNK
from fastmlp.devices.cpu.buffers import pointers
from fastmlp.devices.cpu.epoch import add_gradient, transpose
from fastmlp.devices.cpu.gradients import add_job_gradient
from fastmlp.devices.cpu.layers import backward, deltas_of, multiply
from fastmlp.devices.cpu.layout import Layout, exchange
from fastmlp.devices.cpu.optimizer import PENALISED, Step, update, update_loop
from fastmlp.devices.cpu.sources import FEATURES, Sources, gather
from fastmlp.devices.cpu.team import alone
from fastmlp.devices.cpu.vectors import VECTORS, lanes
from fastmlp.formulas import elementary
from fastmlp.network import Network


class Products:
    """The three products of one layer, over a batch of random values.

    Parameters
    ----------
    rows, fan_in, fan_out : int
        Shape of the product A W.
    dtype : dtype
        Of all values.

    Attributes
    ----------
    A, W, D : ndarray
        The layer's inputs (rows, fan_in) and weights (fan_in, fan_out), and its deltas (rows,
        fan_out), as NumPy wants them.
    """

    def __init__(self, rows, fan_in, fan_out, dtype):
        random = np.random.default_rng(0)
        network = Network((1, fan_in, fan_out), "relu", "squared_error")
        place = Layout(network, dtype, rows, sparse=False)
        self._layers, (buffers, memory) = place.layers, place.buffers(moments=0)
        gradient = place.whole_gradient()
        self._buffers = buffers._replace(gradient=gradient)
        self._memory = memory.put(gradient=gradient)
        self._network, self._rows = network, rows
        self._sources = Sources(network, np.zeros((1, 1), dtype)).table
        packed = random.uniform(-1, 1, network.size).astype(dtype)
        exchange(self._layers, self._buffers.weights, packed, False)
        transpose(self._layers, self._memory)
        self.W, self.bias = (views[1] for views in network.views(packed))
        self.A = random.uniform(-1, 1, (rows, fan_in)).astype(dtype).clip(0)
        self.D = random.uniform(-1, 1, (rows, fan_out)).astype(dtype)
        self._write("inputs", 1, self.A)

    def _panels(self, name, index, columns):
        """Views of the panels that hold a layer's values or deltas, with their columns."""
        layer, buffer = self._layers[index], getattr(self._buffers, name)
        full = VECTORS * lanes(buffer.dtype)
        for j in range(0, columns, full):
            start = layer[name] + j // full * layer[f"{name}_panel"]
            panel = buffer[start : start + self._rows * full].reshape(self._rows, full)
            stop = min(j + full, columns)
            yield slice(j, stop), panel[:, : stop - j]

    def _write(self, name, index, values):
        for columns, panel in self._panels(name, index, values.shape[1]):
            panel[...] = values[:, columns]

    def _read(self, name, index, columns):
        return np.hstack([panel for _, panel in self._panels(name, index, columns)])

    def set_deltas(self):
        """Put the deltas where `forward` writes its output."""
        self._write("deltas", 1, self.D)

    def forward(self, times=1):
        """A W + b."""
        _forward(self._layers, self._memory, self._sources, self._rows, times)

    def output(self):
        """What `forward` has computed."""
        return self._read("deltas", 1, self.D.shape[1])

    def delta(self, times=1):
        """D Wᵀ ⊙ relu'(A)."""
        _delta(self._layers, self._memory, self._rows, times)

    def deltas_before(self):
        """What `delta` has computed."""
        return self._read("deltas", 0, self.A.shape[1])

    def gradient(self, times=1):
        """Add Aᵀ D, and the sums of D for the biases, to the gradient."""
        _gradient(self._layers, self._memory, self._sources, self._rows, times)

    def take_gradient(self):
        """The gradient added up so far, which begins again at 0."""
        packed = np.empty(self._network.size, self.A.dtype)
        exchange(self._layers, self._buffers.gradient, packed, True)
        self._buffers.gradient[:] = 0
        return self._network.views(packed)[0][1]


@called
def _forward(layers, memory, sources, rows, times):
    buffers = pointers(memory)
    layer = layers[1]
    for _ in range(times):
        for first in range(0, rows, CHUNK):
            count = min(CHUNK, rows - first)
            Z = deltas_of(layer, buffers, first, count)
            multiply(layer, buffers, sources, 0, None, first, Z, Z, False)


@called
def _delta(layers, memory, rows, times):
    buffers = pointers(memory)
    for _ in range(times):
        for first in range(0, rows, CHUNK):
            count = min(CHUNK, rows - first)
            backward(layers[1], layers[0], buffers, first, count, None)


@called
def _gradient(layers, memory, sources, rows, times):
    buffers = pointers(memory)
    layer = layers[1]
    for _ in range(times):
        for job in range(layer["jobs"]):
            add_job_gradient(layer, buffers, sources, 0, None, rows, job)


def _elementwise(function):
    @called
    def loop(x, y, times):
        for _ in range(times):
            for i in range(x.size):
                y[i] = function(x[i])

    return loop


#: Loops over each elementary function, called as ``loop(x, y, times)``.
ELEMENTARY = {
    name: _elementwise(getattr(elementary, name)) for name in ("exp", "log", "tanh", "logistic")
}


class Update:
    """The update of `size` parameters by one optimiser, with scikit-learn's defaults."""

    def __init__(self, optimizer, size, dtype):
        random = np.random.default_rng(0)
        place = Layout(Network((1, 1), "relu", "squared_error"), dtype, 1, sparse=False)
        self.weights, self.gradient = random.uniform(-1, 1, (2, size)).astype(dtype)
        self._moments = np.zeros((2, size), dtype)
        self._memory = place.buffers(moments=0)[1].put(
            weights=self.weights,
            gradient=self.gradient,
            first=self._moments[0],
            second=self._moments[1],
        )
        rule = optimizers.resolve(optimizer)
        numbers = rule.table(first_step=0, count=1)[0].astype(dtype)
        others = (dtype(number) for number in (1e-4, 0, 1, 1, 1 / 200))
        address = update_loop(rule, np.dtype(dtype)).address
        self._step = Step(address, dtype(0.001), tuple(numbers), *others)

    def __call__(self, times=1):
        """Some steps with the same gradient."""
        _update(self._step, self._memory, self.weights.size, times)


@called
def _update(step, memory, size, times):
    for _ in range(times):
        update(step, pointers(memory), 0, size, 0, PENALISED)


class Gather:
    """Copying rows of X in a given order."""

    def __init__(self, X, order):
        self._sources = Sources(Network((X.shape[1], 1), "relu", "squared_error"), X)
        self._order = order
        self.out = np.empty((len(order), X.shape[1]), X.dtype)

    def __call__(self, times=1):
        """Copy all rows."""
        _gather(self._sources.table, self._order, self.out.reshape(-1), times)


@called
def _gather(sources, order, out, times):
    source = sources[FEATURES]
    for _ in range(times):
        for i in range(order.size):
            gather(source, order[i], 0, source["columns"], out, i * source["columns"])


class LossAndGradient:
    """Loss and gradient over all rows, as often as wanted without coming back to Python.

    Parameters
    ----------
    network : Network
        Its parameters are the packed ones.
    parameters : ndarray of shape (network.size,)
        Where to take the gradient.
    X, targets : ndarray
        At most a batch of rows.
    """

    def __init__(self, network, parameters, X, targets):
        device = CpuDevice(network, parameters, batch_size=len(X), n_jobs=1)
        self._network, self._layers, self._rows = network, device._layout.layers, len(X)
        self._device = device  # whose compiled loops the layers' table has the addresses of
        gradient = device._layout.whole_gradient()
        self._buffers = device._buffers._replace(gradient=gradient)
        self._memory = device._memory.copy().put(gradient=gradient)
        self._sources, self._settings = Sources(network, X, targets), device._settings()
        transpose(self._layers, self._memory)

    def __call__(self, times=1):
        """Mean loss, and the packed gradient of it, of the last time."""
        loss = _loss_and_gradient(
            self._layers, self._memory, self._buffers.gradient, self._sources.table, self._settings,
            alone(), self._rows, times,
        )  # fmt: skip
        packed = np.empty(self._network.size, self._buffers.weights.dtype)
        exchange(self._layers, self._buffers.gradient, packed, True)
        return loss / self._rows, packed / packed.dtype.type(self._rows)


@called
def _loss_and_gradient(layers, memory, gradient, sources, settings, member, rows, times):
    for _ in range(times):
        gradient[:] = 0
        settings[0]["loss_sum"] = 0
        add_gradient(layers, memory, sources, settings, member, 0, rows, None)
    return settings[0]["loss_sum"]
