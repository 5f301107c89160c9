"""The messages that a fit prints if it is verbose: scikit-learn's, word for word."""

from dataclasses import dataclass

from ..schedules import Schedule


@dataclass(frozen=True)
class Printer:
    """Prints how training goes on.

    Parameters
    ----------
    every : int, default=0
        The first epoch and every `every`-th one are printed, and each stall; 0 prints nothing.
    """

    every: int = 0

    def loss(self, epoch: int, loss: float) -> None:
        """Print the loss of an epoch."""
        self._print(f"Iteration {epoch}, loss = {loss:.8f}", epoch)

    def score(self, epoch: int, score: float) -> None:
        """Print the validation score of an epoch."""
        self._print(f"Validation score: {score:f}", epoch)

    def stall(
        self, measure: str, tol: float, epochs: float, schedule: Schedule, smaller: float | None
    ) -> None:
        """Print that a measure did not improve, and what follows: a smaller learning rate, or None.

        Parameters
        ----------
        measure : str
            What did not improve.
        tol : float
            The least improvement that counts.
        epochs : float
            Number of epochs in a row without improvement.
        schedule : Schedule
            The schedule of the learning rate.
        smaller : float or None
            The learning rate that training continues with; None if it stops.
        """
        if smaller is not None:
            outcome = f"Setting learning rate to {smaller:f}"
        else:
            outcome = "Learning rate too small. Stopping." if schedule.adapts else "Stopping."
        self._print(
            f"{measure} did not improve more than tol={tol:f} for {epochs:.0f} consecutive epochs. "
            + outcome
        )

    def _print(self, message, epoch=0):
        if self.every and (epoch <= 1 or epoch % self.every == 0):
            print(message)
