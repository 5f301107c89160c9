"""Learning rate over time: what happens to it after each epoch, and when training stalls."""

from dataclasses import dataclass


@dataclass
class Constant:
    """η = η₀."""

    initial: float
    farewell = "Stopping."  # what is said when training stops at a stall

    def after_epoch(self, learning_rate: float, rows_seen: int) -> float:
        """Learning rate of the next epoch."""
        return learning_rate

    def after_stall(self, learning_rate: float) -> float | None:
        """A smaller learning rate to go on with, or None to stop."""
        return None


@dataclass
class InverseScaling(Constant):
    """η = η₀ / (t + 1)^p, with t the number of rows seen."""

    power: float

    def after_epoch(self, learning_rate: float, rows_seen: int) -> float:
        """Learning rate of the next epoch, which depends on the rows seen alone."""
        return self.initial / (rows_seen + 1) ** self.power


@dataclass
class Adaptive(Constant):
    """η₀ for as long as training gets on, then divided by `divisor` at every stall, to `least`."""

    divisor: float = 5.0
    least: float = 1e-6
    farewell = "Learning rate too small. Stopping."

    def after_stall(self, learning_rate: float) -> float | None:
        """A smaller learning rate, or None at the least."""
        return learning_rate / self.divisor if learning_rate > self.least else None


def schedule(name: str, initial: float, power: float) -> Constant:
    """The schedule called `name`: "constant", "invscaling" or "adaptive"."""
    if name == "invscaling":
        return InverseScaling(initial, power)
    if name == "adaptive":
        return Adaptive(initial)
    return Constant(initial)
