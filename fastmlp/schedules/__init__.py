"""Schedules of the learning rate for the estimators' parameter `learning_rate`, or their names.

They are small frozen objects. The estimators' `learning_rate_init` is η₀ unless an object has its
own, and `max_iter` is the length of those that end::

    MLPClassifier(solver="adamw", learning_rate="cosine", max_iter=30)
    MLPClassifier(learning_rate=WarmUp(Cosine(end=0.01), epochs=3), learning_rate_init=0.01)

As always, training ends before `max_iter` if loss or score stall: ``n_iter_no_change=numpy.inf``
lets a schedule end. A `partial_fit` goes on in the schedule of the call before, and so does a warm
start, except in scikit-learn's "invscaling" and "adaptive". `learning_rates_` has the rates that
were used.

A schedule of your own is a frozen dataclass derived from `Schedule`, with a method `rates`::

    @dataclass(frozen=True)
    class Sawtooth(Schedule):
        def rates(self, learning_rate, first_step, count):
            return self.initial * (1 - (first_step + np.arange(count)) % 10 / 10)
"""

from ..notices import did_you_mean
from .base import Adaptive, Constant, InverseScaling, Schedule
from .by_epoch import ByEpoch, Exponential, Plateau, StepDecay
from .by_step import ByStep, Cosine, CosLog, OneCycle
from .warm_up import WarmUp

__all__ = [
    "SCHEDULES",
    "SCIKIT_LEARNS",
    "Adaptive",
    "ByEpoch",
    "ByStep",
    "Constant",
    "CosLog",
    "Cosine",
    "Exponential",
    "InverseScaling",
    "OneCycle",
    "Plateau",
    "Schedule",
    "StepDecay",
    "WarmUp",
    "schedule",
]

#: The names that scikit-learn also has; there, they are for "sgd" only.
SCIKIT_LEARNS = {"constant": Constant, "invscaling": InverseScaling, "adaptive": Adaptive}
#: Schedule classes by name.
SCHEDULES: dict[str, type[Schedule]] = {
    **SCIKIT_LEARNS,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "step": StepDecay,
    "exponential": Exponential,
    "plateau": Plateau,
    "warm_up": WarmUp,
    "coslog4": CosLog,
}


def schedule(kind: str | Schedule, initial: float, power: float = 0.5) -> Schedule:
    """Return a schedule by its name, or the object given, with its first learning rate.

    Parameters
    ----------
    kind : str or Schedule
        One of `SCHEDULES`, or an object.
    initial : float
        η₀, unless the object has its own.
    power : float, default=0.5
        The exponent of "invscaling".

    Raises
    ------
    ValueError
        If there is no such schedule.

    Examples
    --------
    >>> schedule("invscaling", 0.1)
    InverseScaling(initial=0.1, power=0.5)
    """
    if kind == "invscaling":
        return InverseScaling(initial, power)
    if isinstance(kind, str) and kind in SCHEDULES:
        kind = SCHEDULES[kind]()
    if not isinstance(kind, Schedule):
        raise ValueError(
            f"Unknown schedule: {kind!r}. Expected one of {sorted(SCHEDULES)}, or an object from "
            f"fastmlp.schedules.{did_you_mean(kind, SCHEDULES)}"
        )
    return kind.beginning_at(initial)
