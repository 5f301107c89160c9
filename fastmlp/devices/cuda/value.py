"""A predictor in the user's own kernels: functions of one row, and the data that they read."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...formulas.results import formed, output_weights, through_softmax
from ...regularization import Regularization
from .elements import Kind, State, elements
from .layout import Layout, kind_of, layer_at, layout
from .toolkit import cuda, device


class Data(NamedTuple):
    """What the functions read, on the GPU: an argument of the user's kernel."""

    parameters: Any
    layers: Any
    numbers: Any


class GpuPredictor(NamedTuple):
    """A predictor for kernels of the user, each thread of which computes rows of its own.

    Attributes
    ----------
    predict : device function of (data, x, out)
        Writes the outputs of one row x to `out`.
    gradient : device function of (data, x, out, output)
        Writes the derivatives of one output by the inputs to `out`.
    data : Data
        An argument for the kernel, which passes it on.
    """

    predict: Callable
    gradient: Callable
    data: Data


def functions_of(network, dtype, form) -> tuple[Callable, Callable, Layout]:
    """Return `predict` and `gradient` of a network, and the tables that they read."""
    kind = Kind(
        dtype=dtype,
        activations=tuple(
            dict.fromkeys(map(kind_of, (*network.activation, network.output_activation)))
        ),
        softmax=network.output_activation.whole_row,
        loss="squared_error",  # no function here needs one
        canonical=True,
        dropping=False,
        optimizer="adam",
    )
    tables = layout(network, kind.activations, dtype, 1, Regularization())
    forward = _forward(kind, len(network.units))
    rooms = tables.work_size, network.units[-1]
    return _predict(forward, rooms, kind, form), _gradient(forward, rooms, kind, form), tables


def on_gpu(network, parameters, form) -> GpuPredictor:
    """Copy a network to the GPU, and return the functions that compute its rows there."""
    predict, gradient, tables = functions_of(network, parameters.dtype, form)
    arrays = parameters, tables.layers, tables.numbers
    return GpuPredictor(predict, gradient, Data(*(cuda.to_device(array) for array in arrays)))


def _forward(kind, count):
    """Return the walk of a row through all layers, which returns the last one."""
    parts = elements(kind)

    @device
    def forward(data, x, work):
        state = State(data.parameters, data.parameters, 0, work, 0, 0, 0)
        layer = layer_at(data.layers, data.numbers, 0)
        for j in range(layer.units):
            parts.gather(state, layer, 0, j, x[j])
        for index in range(1, count):
            layer = layer_at(data.layers, data.numbers, index)
            for j in range(layer.fan_out):
                z = data.parameters[layer.biases + j]
                for i in range(layer.fan_in):
                    weight = data.parameters[layer.weights + i * layer.fan_out + j]
                    z += work[layer.inputs + i] * weight
                parts.leave(state, layer, 0, j, z)
            if layer.pieces > 1:
                for j in range(layer.units):
                    parts.choose_piece(state, layer, 0, j)
        parts.finish_outputs(state, layer, 0)
        return layer

    return forward


def _predict(forward, rooms, kind, form):
    (size, _), dtype = rooms, kind.dtype

    @device
    def predict(data, x, out):
        work = cuda.local.array(size, dtype)
        layer = forward(data, x, work)
        formed(work, layer.outputs, layer.units, form, out, 0)

    return predict


def _gradient(forward, rooms, kind, form):
    size, outputs = rooms
    dtype, softmax = kind.dtype, kind.softmax

    @device
    def gradient(data, x, out, output):
        work = cuda.local.array(size, dtype)
        upstream = cuda.local.array(outputs, dtype)
        delta = cuda.local.array(outputs, dtype)
        layer = forward(data, x, work)
        output_weights(work, layer.outputs, outputs, form, output, upstream)
        if softmax:
            through_softmax(work, layer.outputs, outputs, upstream, delta)
        for k in range(outputs):
            slope = work[layer.slopes + k]
            work[layer.slopes + k] = delta[k] if softmax else upstream[k] * slope
        for index in range(len(data.layers) - 1, 0, -1):
            layer = layer_at(data.layers, data.numbers, index)
            below = layer_at(data.layers, data.numbers, index - 1)
            for i in range(layer.fan_in):
                first, total = layer.weights + i * layer.fan_out, type(layer.constant)(0)
                for k in range(layer.fan_out):
                    total += data.parameters[first + k] * work[layer.slopes + k]
                if index == 1:
                    out[i] = total
                    continue
                for piece in range(below.pieces):
                    work[below.slopes + piece * below.units + i] *= total

    return gradient
