"""The progress of a fit."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Progress:
    """State of a fit. Continues across warm starts and partial fits, except `epochs`."""

    epochs: int = 0
    rows_seen: int = 0
    loss: float = np.inf
    loss_curve: list = field(default_factory=list)
    best_loss: float | None = np.inf
    learning_rates: list = field(default_factory=list)
    scores: list | None = None
    best_score: float | None = None
    stalled: int = 0

    def record_loss(self, loss: float, rows: int, tol: float) -> None:
        """Count an epoch; without validation, record whether the loss still decreases."""
        self.epochs += 1
        self.rows_seen += rows
        self.loss = loss
        self.loss_curve.append(loss)
        if self.scores is None:
            assert self.best_loss is not None  # it is None only if there are scores
            self.stalled = self.stalled + 1 if loss > self.best_loss - tol else 0
            if loss < self.best_loss:
                self.best_loss = loss

    def record_score(self, score: float, tol: float) -> bool:
        """Record a validation score; return whether it is the best so far."""
        assert self.scores is not None
        assert self.best_score is not None
        self.scores.append(score)
        self.stalled = self.stalled + 1 if score < self.best_score + tol else 0
        best = score > self.best_score
        if best:
            self.best_score = score
        return best
