"""A fitted network as one file of C99."""

import json
import math
import re
from collections.abc import Iterable

import numpy as np

from ..activations import Activation
from ..estimators.base import BaseMLP
from ..estimators.problem import fitted_network
from ..formulas.activations import SELU_ALPHA, SELU_SCALE
from ..model import PAIR, SHARES, FittedNetwork
from ._supported import refuse_custom

#: f(z) in C. Capitals stand for what depends on the type: T for its name, F after a function of
#: math.h, and N(...) around a number. Some take a constant c. NaN stays NaN.
FUNCTIONS = {
    "identity": "return z;",
    "logistic": "T e = expF(-fabsF(z));\nreturn (z < 0 ? e : 1) / (1 + e);",
    "tanh": "return tanhF(z);",
    "hard_sigmoid": "T a = z / 6 + N(0.5);\nreturn a < 0 ? 0 : a > 1 ? 1 : a;",
    "hard_tanh": "return z < -1 ? -1 : z > 1 ? 1 : z;",
    "relu": "return z < 0 ? 0 : z;",
    "leaky_relu": "return z > 0 ? z : c * z;",
    "prelu": "return z > 0 ? z : c * z;",
    "elu": "return z > 0 ? z : c * expm1F(z);",
    "selu": f"return N({SELU_SCALE}) * (z > 0 ? z : N({SELU_ALPHA}) * expm1F(z));",
    "softplus": "return (z < 0 ? 0 : z) + log1pF(expF(-fabsF(z)));",
    "swish": "T e = expF(-fabsF(c * z));\nreturn z * ((c * z < 0 ? e : 1) / (1 + e));",
    "gelu": f"return z * (erfcF(-z * N({math.sqrt(0.5)})) / 2);",
    "step": "return z < 0 ? 0 : z >= 0 ? 1 : z;",
    "exp": "return expF(z);",
}
AFFINE = """\
/* z = x W + b, for a matrix of n rows and m columns. */
static void NAME_affine(
    int n, int m, const T *w, const T *b, const T *x, T *restrict z)
{
    for (int k = 0; k < m; k++) z[k] = b[k];
    for (int i = 0; i < n; i++) {
        const T factor = x[i];
        for (int k = 0; k < m; k++) z[k] += factor * w[i * m + k];
    }
}
"""
MAXOUT = """\
    for (int k = 0; k < UNITS; k++) {
        a[k] = z[k];
        for (int p = 1; p < PIECES; p++) {
            const T piece = z[p * UNITS + k];
            a[k] = piece > a[k] || piece != piece ? piece : a[k];
        }
    }
"""
SOFTMAX = """\
    T largest = z[0], total = 0;
    for (int k = 1; k < UNITS; k++) largest = z[k] > largest ? z[k] : largest;
    for (int k = 0; k < UNITS; k++) total += out[k] = expF(z[k] - largest);
    for (int k = 0; k < UNITS; k++) out[k] /= total;
"""
TAKEN_SHARES = """\
    T total = 0;
    for (int k = 0; k < UNITS; k++) total += out[k];
    for (int k = 0; k < UNITS; k++) out[k] = total > 0 ? out[k] / total : N(1) / UNITS;
"""
TAKEN_PAIR = """\
    out[1] = out[0];
    out[0] = 1 - out[1];
"""


def to_c(estimator: BaseMLP, name: str = "network") -> str:
    """Return a fitted network as the text of one self-contained C99 file.

    The file defines ``void NAME_predict(const T *x, T *out)``, in which T is float or double, the
    dtype of the weights. It computes one row: what `predict` of a regressor or `predict_proba` of a
    classifier returns for it. It needs math.h and nothing else, allocates no memory, and may be
    called by several threads at once. The macros ``NAME_FEATURES`` and ``NAME_OUTPUTS``, in
    capitals, are the lengths of x and out. The comment at its top lists the classes.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator. Of a pipeline, this is the last step: what comes before it is not
        exported.
    name : str, default="network"
        What all names in the file begin with: letters of ASCII, digits and underscores, the first
        one a letter.

    Returns
    -------
    text : str
        In ASCII. Weights are hexadecimal, so that no digit is lost.

    Raises
    ------
    TypeError
        If it is not an estimator of fastmlp.
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If names in C cannot begin with the name, weights are not finite, or an activation is a
        function of your own.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.export import to_c
    >>> X = np.linspace(-1, 1, 40).reshape(20, 2)
    >>> network = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", tol=0.01, random_state=0)
    >>> text = to_c(network.fit(X, X.sum(axis=1)), name="total")
    >>> text[text.rindex("void"):].splitlines()[0]
    'void total_predict(const double *x, double *out)'
    """
    model = fitted_network(estimator)
    refuse_custom(model.network, "C")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):  # a keyword, too: all names are longer
        raise ValueError(
            "The name must be letters, digits and underscores, the first one a letter, such as "
            f"'network', got {name!r}."
        )
    if not all(np.isfinite(part).all() for part in model.parts()):
        raise ValueError("The network has weights that are not finite, which C cannot write.")
    return _Text(model, name).file(_about(estimator))


def _about(estimator):
    """Return the class of the estimator and, of a classifier, the lines that name the classes."""
    kind, classes = type(estimator).__name__, getattr(estimator, "classes_", None)
    if classes is None:
        return kind, []
    lines = (json.dumps(label) for label in map(str, np.asarray(classes)))
    # Nothing that would end a comment, or be read as a trigraph or a continued line.
    return kind, [re.sub(r"[^ -~]|[*/?\\]", "_", line) for line in lines]


def _is_inline(kind):
    """Return whether an activation needs more than one z, and is no function of FUNCTIONS."""
    return kind.pieces > 1 or kind.whole_row


class _Text:
    """The parts of the file for one network."""

    def __init__(self, model: FittedNetwork, name: str):
        self.network, self.form, self.name = model.network, model.output_form, name
        self.kinds: tuple[Activation, ...] = (
            *self.network.activation, self.network.output_activation,
        )  # fmt: skip
        self.float = model.dtype == np.float32
        self.arrays = {}
        learned = [*model.learned, None]
        for layer, parts in enumerate(zip(model.coefs, model.intercepts, learned, strict=True)):
            for letter, array in zip("wbc", parts, strict=True):
                if array is not None:
                    self.arrays[f"NAME_{letter}{layer}"] = np.asarray(array, model.dtype)

    def file(self, about: tuple[str, list[str]]) -> str:
        functions = dict.fromkeys(kind.name for kind in self.kinds if not _is_inline(kind))
        parts = [
            self.head(*about),
            *(self.array(name, array.ravel()) for name, array in self.arrays.items()),
            self.typed(AFFINE),
            *(self.function(name) for name in functions),
            self.predict(),
        ]
        return "\n".join(parts)

    def typed(self, text: str) -> str:
        """Replace the placeholders by what this network's type and name are in C."""
        text = re.sub(r"\bN\(([^)]*)\)", lambda match: self.number(float(match[1])), text)
        text = re.sub(r"\b([a-z0-9]+)F\(", r"\1f(" if self.float else r"\1(", text)
        text = re.sub(r"\bT\b", "float" if self.float else "double", text)
        names = {"NAME": self.name, "BIG": self.name.upper()}
        # At once: the name itself may contain a placeholder.
        return re.sub("NAME|BIG", lambda match: names[match[0]], text)

    def number(self, value: float) -> str:
        """Return a number of this type in C, exactly."""
        value = float(np.float32(value)) if self.float else float(value)
        digits = re.sub(r"\.?0*p", "p", value.hex())  # without zeros at the end
        return f"{digits}f" if self.float else digits

    def array(self, name: str, values: Iterable[float]) -> str:
        numbers = [self.number(value) for value in values]
        lines = (", ".join(numbers[i : i + 4]) for i in range(0, len(numbers), 4))
        text = ",\n    ".join(lines)
        return self.typed(f"static const T {name}[{len(numbers)}] = {{\n    {text}\n}};\n")

    def function(self, name: str) -> str:
        body = FUNCTIONS[name].replace("\n", "\n    ")
        constant = ", T c" if self.has_constant(name) else ""
        return self.typed(f"static T NAME_{name}(T z{constant})\n{{\n    {body}\n}}\n")

    @staticmethod
    def has_constant(name: str) -> bool:
        return re.search(r"\bc\b", FUNCTIONS[name]) is not None

    def head(self, kind: str, classes: list[str]) -> str:
        widths = "-".join(map(str, self.network.units))
        outputs = 2 if self.form == PAIR else self.network.units[-1]
        what = "the probabilities of" if classes else "the predictions"
        lines = [
            f"NAME_predict: {kind} of fastmlp, {widths}, as C99; link with -lm.",
            "It reads BIG_FEATURES numbers of one row from x, writes BIG_OUTPUTS numbers to out,",
            f"{what}{':' if classes else '.'}",
        ]
        # The labels are the user's text, in which nothing is a placeholder.
        comment = "\n * ".join([*map(self.typed, lines), *(f"    {label}" for label in classes)])
        defined = self.typed(
            f"#define BIG_FEATURES {self.network.units[0]}\n#define BIG_OUTPUTS {outputs}\n"
        )
        return f"/* {comment}\n */\n#include <math.h>\n\n{defined}"

    def predict(self) -> str:
        widest = max(fan_out for _, fan_out in self.network.shapes)
        hidden = self.network.units[1:-1]
        a = f"a[{max(hidden)}], " if hidden else ""
        layers = "".join(self.layer(index) for index in range(len(self.kinds)))
        taken = {PAIR: TAKEN_PAIR, SHARES: TAKEN_SHARES}.get(self.form, "")
        taken = taken.replace("UNITS", str(self.network.units[-1]))
        head = "void NAME_predict(const T *x, T *out)"
        return self.typed(f"{head};\n\n{head}\n{{\n    T {a}z[{widest}];\n\n{layers}{taken}}}\n")

    def layer(self, index: int) -> str:
        """Return the lines that compute a layer, from x or a to a or out."""
        (fan_in, fan_out), kind = self.network.shapes[index], self.kinds[index]
        units, last = self.network.units[index + 1], index + 1 == len(self.kinds)
        source, place = "a" if index else "x", "out" if last else "a"
        weights = f"NAME_w{index}, NAME_b{index}"
        affine = f"    NAME_affine({fan_in}, {fan_out}, {weights}, {source}, z);\n"
        if _is_inline(kind):
            rest = MAXOUT if kind.pieces > 1 else SOFTMAX
            return affine + rest.replace("UNITS", str(units)).replace("PIECES", str(kind.pieces))
        constant = ""
        if self.has_constant(kind.name):
            learned = f"NAME_c{index}[k]"
            constant = f", {learned if kind.learnable else self.number(kind.constant)}"
        call = f"NAME_{kind.name}(z[k]{constant})"
        return affine + f"    for (int k = 0; k < {units}; k++) {place}[k] = {call};\n"
