"""Shows what a file of a network holds."""

import os
from typing import Any

from ..estimators import load
from ..files import read


def show(path: str | os.PathLike[str]) -> None:
    """Print a saved network: its layers, labels, parameters and records.

    Parameters
    ----------
    path : str or Path
        A file that the method `save` of an estimator has written.
    """
    estimator, (head, _) = load(path), read(path)
    lines = {
        "file": f"{os.fspath(path)}, {os.path.getsize(path)} bytes",
        "written by": f"{head['written_by']}, format {head['version']}",
        "estimator": " ".join(repr(estimator).split()),
        **_layers(head["network"], estimator.coefs_),
        **_labels(estimator, head),
        **_records(estimator, head),
    }
    width = max(map(len, lines))
    for name, text in lines.items():
        print(f"{name:{width}}  {text}")


def _layers(network: dict[str, Any], coefs: list) -> dict[str, str]:
    units = network["units"]
    size = sum(weights.size + weights.shape[1] for weights in coefs)
    functions = [*network["activation"], network["output_activation"]]
    return {
        "units": "-".join(map(str, units)) + f", {size} weights, {coefs[0].dtype}",
        "activations": ", ".join(map(_named, functions)),
        "loss": _named(network["loss"]),
    }


def _named(form: dict[str, Any]) -> str:
    """Return the name of a specification with its parameters."""
    name, *values = form.values()
    own = ", ".join(f"{key}={value}" for key, value in zip([*form][1:], values, strict=True))
    return f"{name}({own})" if own else name


def _labels(estimator: Any, head: dict[str, Any]) -> dict[str, str]:
    lines = {}
    if head["labels"] is not None:
        lines["labels"] = _few(estimator.classes_.tolist())
    if head["feature_names"] is not None:
        lines["features"] = _few(head["feature_names"])
    return lines


def _few(items: list) -> str:
    shown = ", ".join(map(str, items[:10]))
    return f"{shown}, ... ({len(items)})" if len(items) > 10 else shown


def _records(estimator: Any, head: dict[str, Any]) -> dict[str, str]:
    lines = {}
    for name in ("n_iter_", "loss_", "best_loss_", "best_validation_score_"):
        value = getattr(estimator, name, None)
        if value is not None:
            lines[name] = f"{value:.6g}"
    kept = head["training"] is not None
    lines["training"] = "goes on to the same bits" if kept else "begins with a new optimiser"
    return lines
