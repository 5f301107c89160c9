"""What no exported format can express."""

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
