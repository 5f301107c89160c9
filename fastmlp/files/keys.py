"""The keys of the JSON object, and the kinds of their values, as the package's docstring says."""

from collections.abc import Mapping
from typing import Any

from .errors import FileError, brief

#: What a value may be: types, or the keys of an object.
Kinds = tuple[Any, ...]

_NUMBER: Kinds = (int, float)
_NOTHING = type(None)
_NETWORK: Mapping[str, Kinds] = {
    "units": (list,), "activation": (list,), "output_activation": (dict,), "loss": (dict,),
}  # fmt: skip
_LABELS: Mapping[str, Kinds] = {
    "classes": ({"dtype": (str,), "values": (list,)},), "type": (str, _NOTHING), "sparse": (bool,),
}  # fmt: skip
_OPTIMIZER: Mapping[str, Kinds] = {
    "rule": (dict,), "schedule": (dict,), "moments": (dict,), "step": (int,), "earlier": (int,),
    "learning_rate": _NUMBER, "last_rate": _NUMBER,
}  # fmt: skip
_TRAINING: Mapping[str, Kinds] = {
    "optimizer": (_OPTIMIZER, _NOTHING),
    "last_weights": ({"trained": (dict,), "averaged": (dict,), "total": _NUMBER}, _NOTHING),
}
#: Those of the whole text; "arrays", "format" and "version" belong to the container.
KEYS: Mapping[str, Kinds] = {
    "written_by": (str,), "class": (str,), "parameters": (dict,), "network": (_NETWORK,),
    "outputs": (str,), "labels": (_LABELS, _NOTHING), "feature_names": (list, _NOTHING),
    "attributes": (dict,), "continuation": (dict,), "training": (_TRAINING, _NOTHING),
}  # fmt: skip


def check_keys(form: Mapping[str, Any], keys: Mapping[str, Kinds], where: str) -> None:
    """Check that an object has these keys, with values of these kinds; it may have others.

    Parameters
    ----------
    form : dict
        The object.
    keys : dict of tuple
        For each key, the types that its value may have, or the keys of an object.
    where : str
        What the object is, for error messages: "its text".

    Raises
    ------
    FileError
        If it does not.
    """
    for key, kinds in keys.items():
        if key not in form:
            raise FileError(f"{where} lacks {key!r}.")
        value = form[key]
        inside = next((kind for kind in kinds if isinstance(kind, dict)), None)
        if inside is not None and isinstance(value, dict):
            check_keys(value, inside, f"{key!r} in {where}")
        elif type(value) not in kinds:
            raise FileError(f"{key!r} in {where} is {brief(repr(value))}.")
