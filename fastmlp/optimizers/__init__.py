"""Optimisers as small frozen objects: how a parameter is updated from its gradient.

An optimiser declares its hyperparameters, how many moments it keeps for each parameter, and the
numbers that its formula takes in each step. The formula itself is in `fastmlp.formulas.optimizers`,
and in NumPy in `fastmlp.devices.reference`.

The estimators' parameter `solver` takes a name or an object::

    MLPClassifier(solver="sgd", momentum=0.5)
    GridSearchCV(MLPClassifier(), {"solver": ["adam", SGD(momentum=0.5), SGD(nesterov=False)]})
"""

from ..notices import did_you_mean
from .kinds import (
    MOST_NUMBERS,
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
)

__all__ = [
    "MOST_NUMBERS",
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "resolve",
]

_KINDS = (SGD, Adam, AdamW, NAdam, RAdam, RMSprop, Adagrad, Lion)
#: Optimiser classes by name.
OPTIMIZERS: dict[str, type[Optimizer]] = {kind.name: kind for kind in _KINDS}


def resolve(optimizer: str | Optimizer, **parameters: object) -> Optimizer:
    """Return the optimiser with this name; an optimiser object is returned as it is.

    Parameters
    ----------
    optimizer : str or Optimizer
        One of `OPTIMIZERS`, or an object of one of their classes.
    **parameters : dict
        Parameters of an estimator, which set the fields if `optimizer` is a name.

    Raises
    ------
    ValueError
        If there is no such optimiser.

    Examples
    --------
    >>> resolve("sgd", momentum=0.5)
    SGD(momentum=0.5, nesterov=True)
    """
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        kind = OPTIMIZERS[optimizer]
        given = {
            field: parameters[name] for field, name in kind.parameters.items() if name in parameters
        }
        return kind(**given)
    # Not of a subclass, whose number of moments may differ from what the loop of its name writes.
    if isinstance(optimizer, Optimizer) and type(optimizer) in OPTIMIZERS.values():
        return optimizer
    raise ValueError(
        f"Unknown optimizer: {optimizer!r}. Expected one of {sorted(OPTIMIZERS)}, or an object "
        f"from fastmlp.optimizers.{did_you_mean(optimizer, OPTIMIZERS)}"
    )
