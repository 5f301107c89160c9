"""Activations for the estimators' parameters: small frozen objects, or their names.

A name stands for the object with the defaults of the literature: ``"elu"`` for ``ELU(alpha=1.0)``.
Objects are immutable and compare by value, so that they can be cloned, pickled and searched over::

    MLPClassifier((64, 64), activation=[LeakyReLU(negative_slope=0.1), "tanh"])
    GridSearchCV(MLPClassifier(), {"activation": ["relu", Swish(learnable=True), Maxout(pieces=3)]})

The formulas are in `fastmlp.formulas.activations`, and in NumPy in `fastmlp.devices.reference`.
"""

from collections.abc import Iterable

from ..notices import did_you_mean
from .custom import Custom
from .kinds import (
    ELU,
    GELU,
    HIDDEN,
    OUTPUT,
    SELU,
    Activation,
    Exp,
    HardSigmoid,
    HardTanh,
    Identity,
    LeakyReLU,
    Logistic,
    Maxout,
    PReLU,
    ReLU,
    Softmax,
    Softplus,
    Step,
    Swish,
    Tanh,
)

__all__ = [
    "ELU",
    "GELU",
    "HIDDEN",
    "OUTPUT",
    "SELU",
    "Activation",
    "Custom",
    "Exp",
    "HardSigmoid",
    "HardTanh",
    "Identity",
    "LeakyReLU",
    "Logistic",
    "Maxout",
    "PReLU",
    "ReLU",
    "Softmax",
    "Softplus",
    "Step",
    "Swish",
    "Tanh",
    "hint",
    "resolve",
    "resolve_layers",
]  # fmt: skip


def resolve(
    activation: str | Activation, among: dict[str, type[Activation]] = HIDDEN
) -> Activation:
    """Return the activation with this name; an activation object is returned as it is.

    Raises
    ------
    ValueError
        If it is neither a name in `among` nor an object of one of its kinds.
    """
    if isinstance(activation, str) and activation in among:
        return among[activation]()
    kinds: tuple[type[Activation], ...] = (*among.values(), Custom)
    if isinstance(activation, kinds):
        return activation
    where = "of hidden layers" if among is HIDDEN else "of outputs"
    raise ValueError(
        f"Unknown activation {where}: {activation!r}. Expected one of {sorted(among)}, or an "
        f"object from fastmlp.activations.{did_you_mean(activation, sorted(among))} "
        f"{hint(activation)}".rstrip()
    )


def hint(activation: object) -> str:
    """Return advice about an object that is not an activation, or an empty string."""
    if isinstance(activation, type) and issubclass(activation, Activation):
        return f"That is a class: write {activation.__name__}()."
    if callable(activation):
        return "Functions of your own are given as fastmlp.activations.Custom(f, derivative)."
    return ""


def resolve_layers(
    activation: str | Activation | Iterable[str | Activation], layers: int
) -> tuple[Activation, ...]:
    """Return one activation for each hidden layer, from one for all layers or a list.

    Raises
    ------
    ValueError
        If one is unknown, or a list has the wrong length.
    """
    if isinstance(activation, str | Activation) or not isinstance(activation, Iterable):
        return (resolve(activation),) * layers
    chosen = tuple(resolve(one) for one in activation)
    if len(chosen) != layers:
        raise ValueError(
            f"activation has {len(chosen)} entries, expected one for each of {layers} hidden "
            "layer(s), or a single one for all of them."
        )
    return chosen
