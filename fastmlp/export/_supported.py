"""What no exported format can express, and packages that only exports need."""

from importlib import import_module
from typing import Any

from ..network import Network


def refuse_custom(network: Network, format: str) -> None:
    """Raise a ValueError if an activation is a user's own function.

    Losses do not matter: a prediction does not use them.
    """
    for activation in (*network.activation, network.output_activation):
        if activation.custom:
            raise ValueError(
                f"{activation!r} is a function of your own, which cannot be written as {format}: "
                "use an activation of fastmlp.activations, and fit again."
            )


def import_extra(package: str, function: str) -> Any:
    """Import a package that only an export needs.

    Raises
    ------
    ImportError
        If it is not installed, with what to install.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{function} needs {package}, which is not installed: pip install 'fastmlp[onnx]'"
        ) from error
