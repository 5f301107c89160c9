"""Values of parameters as JSON, and back: numbers, texts, lists, arrays and specifications.

What JSON does not have is an object whose first key says what it is; see the package's docstring.
Functions and other objects of the user's own cannot be written, and nothing that is read is called
by a name that the file gives, except the classes in the tables here.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..activations import HIDDEN, OUTPUT
from ..losses import LOSSES
from ..optimizers import OPTIMIZERS
from ..schedules import SCHEDULES, Schedule
from .archive import DTYPES, MOST_TEXT
from .errors import FileError, brief

#: Classes of specifications, by the key that says what an object is, and by name.
SPECIFICATIONS: dict[str, dict[str, type]] = {
    "activation": {kind.name: kind for kind in (HIDDEN | OUTPUT).values()},
    "loss": dict(LOSSES),
    "optimizer": dict(OPTIMIZERS),
    "schedule": dict(SCHEDULES),
}
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
#: The types of labels, and of a list that stands for an array, by the names of their dtypes.
_ITEMS: dict[str, type] = {"bool": bool, "str": str, "object": str} | {
    np.dtype(code).name: float if "f" in code else int for code in ("<f2", *DTYPES)
}
#: The state of a RandomState, besides its key.
_STATE = {"pos": int, "has_gauss": int, "gauss": float}


class Encoder:
    """Makes JSON of values, and collects the arrays that are members of their own.

    Attributes
    ----------
    arrays : dict of ndarray
        The arrays so far, by name.
    """

    def __init__(self):
        self.arrays: dict[str, np.ndarray] = {}

    def member(self, name: str, array: np.ndarray) -> dict[str, str]:
        """Take an array as a member of this name; return its JSON."""
        self.arrays[name] = array
        return {"array": name}

    def value(self, value: object, what: str) -> Any:
        """Return the JSON of a value.

        Parameters
        ----------
        value : object
            The value.
        what : str
            What it is, for error messages and as the name of an array: "parameter_dropout".

        Raises
        ------
        FileError
            If it is a function or another object that a file cannot hold.
        """
        if value is None or isinstance(value, bool | np.bool_ | str | Real):
            return _scalar(value, what)
        if isinstance(value, list):
            return [self.value(one, f"{what}_{i}") for i, one in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": self.value(list(value), what)}
        if isinstance(value, Mapping):
            return {"dict": self.value([list(item) for item in value.items()], what)}
        if isinstance(value, np.ndarray):
            return self._array(value, what)
        if isinstance(value, np.random.RandomState):
            return self._random_state(value, what)
        return self._specification(value, what)

    def _array(self, value, what):
        """Return the JSON of an array: a member of its own, or a list of strings or truths."""
        if value.ndim <= 2 and value.dtype.newbyteorder("<").str in DTYPES:
            return self.member(what, value)
        if value.ndim == 1:
            return labels(value, what)
        raise _cannot_hold(value, what)

    def _random_state(self, value, what):
        state = value.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise _cannot_hold(value, what)
        own = state["state"]
        numbers = {"pos": own["pos"], "has_gauss": state["has_gauss"], "gauss": state["gauss"]}
        return {"random_state": self.member(f"{what}_key", own["key"]), **numbers}

    def _specification(self, value, what):
        for family, table in SPECIFICATIONS.items():
            for name, kind in table.items():
                if type(value) is kind:
                    return {family: name} | {
                        field.name: self.value(getattr(value, field.name), what)
                        for field in fields(kind)
                    }
        raise _cannot_hold(value, what)


def _cannot_hold(value, what):
    return FileError(
        f"{what} is {value!r}: a file holds no functions and no objects of your own. Pickle the "
        "estimator beside the module that defines them, or replace them by set_params if the "
        "network itself does not need them."
    )


def _scalar(value, what):
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        number = int(value)
        if not -(2**63) <= number < 2**64:
            raise FileError(f"{what} is {number}, which has more than 64 bits.")
        return number
    real = float(value)
    return real if math.isfinite(real) else {"float": str(real)}


def labels(array: np.ndarray, what: str) -> dict[str, Any]:
    """Return the JSON of a vector of labels: a list of its values, and its dtype.

    Raises
    ------
    FileError
        If they are not numbers or strings.
    """
    name = "str" if array.dtype.kind == "U" else array.dtype.name
    items = array.tolist()
    if name not in _ITEMS or not all(isinstance(item, _ITEMS[name]) for item in items):
        raise FileError(
            f"{what} are {array!r}: a file holds strings, numbers and truth values only."
        )
    if name == "str" and len(items) * array.dtype.itemsize > 4 * MOST_TEXT:
        raise FileError(f"{what} take {array.nbytes} bytes, more than a file can hold.")
    return {"dtype": name, "values": items}


class Decoder:
    """Makes values of JSON.

    Parameters
    ----------
    arrays : dict of ndarray
        The arrays of the file, by name.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = arrays

    def value(self, form: Any) -> Any:
        """Return the value of a JSON form.

        Raises
        ------
        FileError
            If there is no such value.
        """
        if isinstance(form, list):
            return [self.value(one) for one in form]
        if not isinstance(form, dict):
            return form
        try:
            return self._tagged(form, next(iter(form), ""))
        except FileError:
            raise
        except ValueError as error:  # of a specification, which says what it expects
            raise FileError(f"{brief(form)} is not a value: {brief(error)}") from error
        except (TypeError, KeyError, AttributeError, OverflowError) as error:
            raise FileError(f"{brief(form)} is not a value.") from error

    def _tagged(self, form, tag):
        if tag in SPECIFICATIONS:
            return self._specification(tag, form)
        if tag == "random_state":
            return self._random_state(form)
        if tag == "dtype":
            return known_labels(form)
        if tag == "float":
            return _NOT_FINITE[form[tag]]
        if tag == "array":
            return self.arrays[form[tag]]
        if tag == "tuple":
            return tuple(self.value(list(form[tag])))
        if tag == "dict":
            return self._mapping(form[tag])
        raise FileError(f"it has an unknown kind of value, {tag!r}.")

    def _mapping(self, items):
        if any(type(item) is not list or len(item) != 2 for item in items):
            raise FileError(f"{brief(items)} is not a list of keys and values.")
        return {self.value(key): self.value(value) for key, value in items}

    def _random_state(self, form):
        key, given = self.value(form["random_state"]), {name: form[name] for name in _STATE}
        types = [type(value) for value in given.values()] == list(_STATE.values())
        # NumPy does not check the position, and would read beyond the key's end.
        if (
            not types
            or key.shape != (624,)
            or key.dtype != np.uint32
            or not 0 <= given["pos"] <= 624
        ):
            raise FileError("the state of a random generator is none.")
        state = np.random.RandomState(0)
        inner = {"key": key, "pos": given.pop("pos")}
        state.set_state({"bit_generator": "MT19937", "state": inner, **given})
        return state

    def _specification(self, family, form):
        kind = SPECIFICATIONS[family].get(form[family])
        if kind is None:
            raise FileError(
                f"there is no {family} {brief(repr(form[family]))}: a newer fastmlp may have it. "
                "Update fastmlp."
            )
        given = {name: self.value(value) for name, value in form.items() if name != family}
        usual = kind()
        for name, value in given.items():
            if not _may_be(value, getattr(usual, name), family):
                raise FileError(f"{name} of {form[family]!r} is {brief(repr(value))}.")
        return kind(**given)


def _may_be(value, default, family):
    """Return whether a field may have this value; its class has more to say about numbers."""
    if isinstance(value, Schedule) or isinstance(default, Schedule):
        return isinstance(value, Schedule) and isinstance(default, Schedule)
    if value is None:
        return default is None
    if isinstance(value, tuple):
        return family == "loss" and all(isinstance(one, int | float) for one in value)
    return isinstance(value, int | float)


def known_labels(form: Any) -> np.ndarray:
    """Return the array of the JSON that `labels` makes.

    Raises
    ------
    FileError
        If a value is not of the dtype.
    """
    name, values = form["dtype"], form["values"]
    kind = _ITEMS.get(name)
    if kind is None or not isinstance(values, list) or not all(type(v) is kind for v in values):
        raise FileError(f"labels are not of the dtype {brief(name)!r}.")
    if name == "str" and len(values) * max(map(len, values), default=0) > MOST_TEXT:
        raise FileError("labels would take more memory than a file may ask for.")
    try:
        return np.array(values, name)
    except (ValueError, OverflowError) as error:
        raise FileError(f"labels are not of the dtype {name!r}.") from error
