"""Converters for skl2onnx, so that pipelines with a network as their last step are converted."""

from typing import Any

import numpy as np

from ..estimators import MLPClassifier, MLPRegressor
from ..estimators.problem import fitted_network
from ..model import PAIR
from ._supported import import_extra, refuse_custom
from .onnx import OPERATORS, add_estimator, labels_of


class _Container:
    """A graph of skl2onnx that is being made."""

    def __init__(self, scope, container, dtype, types):
        self.scope, self.container, self.dtype, self.types = scope, container, dtype, types

    def constant(self, values):
        name = self.scope.get_unique_variable_name("constant")
        text = values.dtype.kind == "U"
        kind = self.types["text"] if text else self.types[values.dtype]
        flat = [label.encode() for label in values] if text else values.ravel()
        self.container.add_initializer(name, kind, list(values.shape), flat)
        return name

    def node(self, operator, *inputs, outputs=1, **attributes):
        names = [self.scope.get_unique_variable_name(operator) for _ in range(outputs)]
        self._add(operator, inputs, names, **attributes)
        return names if outputs > 1 else names[0]

    def end(self, tensor, output):
        self._add("Identity", [tensor], [output])

    def _add(self, operator, inputs, outputs, **attributes):
        name = self.scope.get_unique_operator_name(operator)
        self.container.add_node(
            operator, list(inputs), outputs, name=name, op_version=OPERATORS, **attributes
        )


def register_skl2onnx() -> None:
    """Let skl2onnx convert pipelines and searches whose networks are those of fastmlp.

    Call it once, before ``skl2onnx.to_onnx``. As for scikit-learn's own networks, the option
    ``{"zipmap": False}`` makes the probabilities a matrix. Float inputs give float32 weights.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    Examples
    --------
    >>> from fastmlp.export import register_skl2onnx
    >>> register_skl2onnx()  # doctest: +SKIP
    """
    skl2onnx = import_extra("skl2onnx", "register_skl2onnx")
    yes_or_no = [True, False]
    options = {
        "zipmap": [*yes_or_no, "columns"], "nocl": yes_or_no, "output_class_labels": yes_or_no,
    }  # fmt: skip
    for estimator, given in ((MLPClassifier, options), (MLPRegressor, None)):
        skl2onnx.update_registered_converter(
            estimator, f"Fastmlp{estimator.__name__}", _shapes, _convert, options=given
        )


def _shapes(operator):
    """Tell skl2onnx the types and shapes of the outputs."""
    data_types = import_extra("skl2onnx", "register_skl2onnx").common.data_types
    model, labels = _parts(operator)
    rows = operator.inputs[0].get_first_dimension()
    double = isinstance(operator.inputs[0].type, data_types.DoubleTensorType)
    number = data_types.DoubleTensorType if double else data_types.FloatTensorType
    columns = 2 if model.output_form == PAIR else model.network.units[-1]
    operator.outputs[-1].set_type(number([rows, columns]))
    if labels is not None:
        text = labels.classes.dtype.kind == "U" and not labels.several
        kind = data_types.StringTensorType if text else data_types.Int64TensorType
        operator.outputs[0].set_type(kind([rows, columns] if labels.several else [rows]))


def _convert(scope, operator, container):
    """Add the nodes of a network to the graph of skl2onnx."""
    onnx = import_extra("onnx", "register_skl2onnx")
    data_types = import_extra("skl2onnx", "register_skl2onnx").common.data_types
    model, labels = _parts(operator)
    refuse_custom(model.network, "ONNX")
    kind = operator.inputs[0].type
    dtype = np.dtype(np.float64 if isinstance(kind, data_types.DoubleTensorType) else np.float32)
    types: dict[Any, int] = {"text": onnx.TensorProto.STRING}
    for known in (dtype, np.dtype(np.int64)):
        types[known] = onnx.helper.np_dtype_to_tensor_dtype(known)
    graph = _Container(scope, container, dtype, types)
    x = graph.node("Cast", operator.inputs[0].full_name, to=types[dtype])
    names = [output.full_name for output in operator.outputs]
    add_estimator(graph, model, labels, x, names)


def _parts(operator):
    estimator = operator.raw_operator
    model = fitted_network(estimator)
    return model, labels_of(estimator, model)
