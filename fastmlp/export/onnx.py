"""A fitted network as an ONNX model, and as a step of a pipeline that skl2onnx converts.

All operators are in operator set 13, of 2020, and exist in float64, too: onnxruntime has Elu, Erf,
Selu and others in float32 only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..estimators.base import BaseMLP
from ..estimators.problem import fitted_network
from ..formulas.activations import SELU_ALPHA, SELU_SCALE
from ..formulas.elementary import DECAYED, ERFC_DENOMINATOR, ERFC_NUMERATOR, SQRT_HALF
from ..model import PAIR, SHARES, FittedNetwork
from ._supported import import_extra, refuse_custom

#: The operator set, and the version of the file format that belongs to it: old runtimes read both.
OPERATORS, FORMAT = 13, 7
INT64 = 7  # onnx.TensorProto.INT64


class Graph(Protocol):
    """A graph that nodes are added to; a tensor is known by its name."""

    dtype: np.dtype

    def constant(self, values: Any) -> str:
        """Add a constant tensor."""
        ...

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return the name of its output, or those of several."""
        ...

    def end(self, tensor: str, output: str) -> None:
        """Make a tensor an output of the graph."""
        ...


class Maths:
    """Arithmetic in a graph, with Python numbers as constants of the network's dtype."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def __getattr__(self, operator: str) -> Callable[..., str]:
        def add(*inputs: str | float, **attributes: Any) -> str:
            return self.graph.node(operator, *map(self._tensor, inputs), **attributes)

        return add

    def _tensor(self, value: str | float) -> str:
        if isinstance(value, str):
            return value
        return self.graph.constant(np.array(value, self.graph.dtype))


def _elu(m, z, c):
    return m.Add(m.Relu(z), m.Mul(c, m.Sub(m.Exp(m.Min(z, 0.0)), 1.0)))


def _softplus(m, z, c):
    return m.Add(m.Relu(z), m.Log(m.Add(1.0, m.Exp(m.Neg(m.Abs(z))))))


def _horner(m, x, coefficients):
    *lower, value = coefficients
    for c in reversed(lower):
        value = m.Add(m.Mul(x, value), c)
    return value


def _gelu(m, z, c):
    """z Φ(z), with Φ as in `fastmlp.formulas.elementary`."""
    which = m.graph.dtype.itemsize // 8
    t = m.Clip(m.Mul(m.Abs(z), SQRT_HALF), 0.0, DECAYED[which])
    scaled = m.Div(_horner(m, t, ERFC_NUMERATOR[which]), _horner(m, t, ERFC_DENOMINATOR[which]))
    tail = m.Mul(0.5, m.Mul(scaled, m.Exp(m.Neg(m.Mul(t, t)))))
    return m.Mul(z, m.Where(m.Less(z, 0.0), tail, m.Sub(1.0, tail)))


#: f(z) as nodes, for a tensor z and the constant c: a tensor, or a number.
FUNCTIONS: dict[str, Callable] = {
    "identity": lambda m, z, c: z,
    "logistic": lambda m, z, c: m.Sigmoid(z),
    "tanh": lambda m, z, c: m.Tanh(z),
    "hard_sigmoid": lambda m, z, c: m.Clip(m.Add(m.Mul(z, 1 / 6), 0.5), 0.0, 1.0),
    "hard_tanh": lambda m, z, c: m.Clip(z, -1.0, 1.0),
    "relu": lambda m, z, c: m.Relu(z),
    "leaky_relu": lambda m, z, c: m.Add(m.Relu(z), m.Mul(c, m.Min(z, 0.0))),
    "elu": _elu,
    "selu": lambda m, z, c: m.Mul(SELU_SCALE, _elu(m, z, SELU_ALPHA)),
    "softplus": _softplus,
    "swish": lambda m, z, c: m.Mul(z, m.Sigmoid(m.Mul(c, z))),
    "gelu": _gelu,
    "step": lambda m, z, c: m.Where(m.Less(z, 0.0), 0.0, 1.0),
    "exp": lambda m, z, c: m.Exp(z),
}
FUNCTIONS["prelu"] = FUNCTIONS["leaky_relu"]
#: For outputs that are compared and divided when all are near 0, where onnxruntime's Sigmoid is
#: the same for all z below a bound.
OF_SHARES = FUNCTIONS | {"logistic": lambda m, z, c: m.Div(1.0, m.Add(1.0, m.Exp(m.Neg(z))))}


def _activated(graph, kind, z, learned, units, functions):
    """Add a layer's activation."""
    if kind.whole_row:
        return graph.node("Softmax", z, axis=1)
    if kind.pieces > 1:
        sizes = graph.constant(np.full(kind.pieces, units, np.int64))
        return graph.node("Max", *graph.node("Split", z, sizes, outputs=kind.pieces, axis=1))
    maths = Maths(graph)
    constant = kind.constant if learned is None else graph.constant(learned.astype(graph.dtype))
    return functions[kind.name](maths, z, constant)


def add_network(graph: Graph, model: FittedNetwork, x: str) -> str:
    """Add all layers of a network; return its outputs."""
    network = model.network
    kinds = (*network.activation, network.output_activation)
    layers = zip(model.coefs, model.intercepts, kinds, [*model.learned, None], strict=True)
    for layer, (weights, biases, kind, learned) in enumerate(layers):
        parts = (graph.constant(np.asarray(part, graph.dtype)) for part in (weights, biases))
        z = graph.node("Gemm", x, *parts)
        shared = model.output_form == SHARES and layer == len(model.coefs) - 1
        functions = OF_SHARES if shared else FUNCTIONS
        x = _activated(graph, kind, z, learned, network.units[layer + 1], functions)
    return x


def _probabilities(graph, model, outputs):
    """Add what makes the outputs probabilities: see `FittedNetwork.output_form`."""
    maths = Maths(graph)
    if model.output_form == PAIR:
        return graph.node("Concat", maths.Sub(1.0, outputs), outputs, axis=1)
    if model.output_form != SHARES:
        return outputs
    axis = graph.constant(np.array([1], np.int64))
    total = graph.node("ReduceSum", outputs, axis, keepdims=1)
    has_sum, evenly = maths.Greater(total, 0.0), 1 / model.network.units[-1]
    return maths.Where(has_sum, maths.Div(outputs, maths.Where(has_sum, total, 1.0)), evenly)


class Labels(NamedTuple):
    """The labels of a classifier.

    Attributes
    ----------
    classes : ndarray of int64 or str
        The labels; skl2onnx, too, makes integers of whole floats and of booleans.
    several : bool
        Whether a row has a value for each label.
    """

    classes: np.ndarray
    several: bool


def labels_of(estimator: BaseMLP, model: FittedNetwork) -> Labels | None:
    """Return the labels of a classifier, or None for a regressor.

    Raises
    ------
    ValueError
        If they are neither text nor whole numbers.
    """
    given = getattr(estimator, "classes_", None)
    if given is None:
        return None
    classes = np.asarray(given)
    softmax = model.network.output_activation.whole_row
    several = model.output_form not in (PAIR, SHARES) and not softmax
    if all(isinstance(label, str) for label in classes):
        return Labels(classes.astype(str), several)
    try:
        whole = classes.astype(np.int64)
        fits = bool((whole == classes).all())
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(f"ONNX has labels of text or whole numbers, not {classes!r}.")
    return Labels(whole, several)


def _label(graph, labels, outputs, single):
    """Add the choice of a label; it is made as `predict` does, from the network's outputs."""
    if labels.several or single:
        index = graph.node("Cast", Maths(graph).Greater(outputs, 0.5), to=INT64)
        if labels.several:
            return index
        index = graph.node("Reshape", index, graph.constant(np.array([-1], np.int64)))
    else:
        index = graph.node("ArgMax", outputs, axis=1, keepdims=0)
    return graph.node("Gather", graph.constant(labels.classes), index, axis=0)


def add_estimator(
    graph: Graph, model: FittedNetwork, labels: Labels | None, x: str, names: list[str]
) -> None:
    """Add a whole estimator: of a classifier, the label and the probabilities."""
    outputs = add_network(graph, model, x)
    if labels is None:
        graph.end(outputs, names[0])
        return
    graph.end(_label(graph, labels, outputs, model.output_form == PAIR), names[0])
    graph.end(_probabilities(graph, model, outputs), names[1])


class _Collected:
    """A graph whose nodes are collected, for `to_onnx`."""

    def __init__(self, onnx, dtype):
        self.onnx, self.dtype = onnx, dtype
        self.nodes, self.constants = [], []

    def constant(self, values):
        name = f"constant_{len(self.constants)}"
        values = values.astype(object) if values.dtype.kind == "U" else values
        self.constants.append(self.onnx.numpy_helper.from_array(values, name))
        return name

    def node(self, operator, *inputs, outputs=1, **attributes):
        names = [f"{operator}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, names, **attributes))
        return names if outputs > 1 else names[0]

    def end(self, tensor, output):
        self.nodes.append(self.onnx.helper.make_node("Identity", [tensor], [output]))


def to_onnx(estimator: BaseMLP) -> Any:
    """Return a fitted network as an ONNX model.

    The input is ``X``, (n, n_features), in the dtype of the weights. The outputs have the names
    that skl2onnx gives them without ZipMap: of a regressor ``variable``, (n, n_outputs); of a
    classifier ``label``, (n,) text or int64, and ``probabilities``, (n, n_classes). For labels,
    ``label`` is an indicator matrix.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator. For a pipeline, see `register_skl2onnx`.

    Returns
    -------
    model : onnx.ModelProto
        Write it to a file with ``onnx.save(model, path)``.

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError
        If it is not an estimator of fastmlp.
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If an activation is a function of your own, or labels are neither text nor whole numbers.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.export import to_onnx
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> network = MLPClassifier((5,), solver="lbfgs", tol=0.01, random_state=0).fit(X, y)
    >>> model = to_onnx(network)  # doctest: +SKIP
    >>> [output.name for output in model.graph.output]  # doctest: +SKIP
    ['label', 'probabilities']
    """
    model = fitted_network(estimator)
    refuse_custom(model.network, "ONNX")
    labels = labels_of(estimator, model)
    onnx = import_extra("onnx", "to_onnx")
    graph = _Collected(onnx, model.dtype)
    names = ["variable"] if labels is None else ["label", "probabilities"]
    add_estimator(graph, model, labels, "X", names)
    number = onnx.helper.np_dtype_to_tensor_dtype(model.dtype)
    columns = 2 if model.output_form == PAIR else model.network.units[-1]
    shapes = {"X": (number, ["n", model.network.units[0]]), names[-1]: (number, ["n", columns])}
    if labels is not None:
        text, integer = onnx.TensorProto.STRING, onnx.TensorProto.INT64
        kind = text if labels.classes.dtype.kind == "U" and not labels.several else integer
        shapes["label"] = kind, ["n", columns] if labels.several else ["n"]
    tensors = {
        name: onnx.helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()
    }
    whole = onnx.helper.make_graph(
        graph.nodes, "fastmlp", [tensors["X"]], [tensors[name] for name in names], graph.constants
    )
    return onnx.helper.make_model(
        whole,
        opset_imports=[onnx.helper.make_opsetid("", OPERATORS)],
        ir_version=FORMAT,
        producer_name="fastmlp",
    )
