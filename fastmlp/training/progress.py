"""The progress of a fit."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Progress:
    """State of a fit. Continues across warm starts and partial fits, except `epochs`.

    `best_loss` is None if training stops by the score on validation rows. Without such rows,
    `validation_losses`, `scores` and `best_score` are None.
    """

    epochs: int = 0
    rows_seen: int = 0
    loss: float = np.inf
    loss_curve: list = field(default_factory=list)
    best_loss: float | None = np.inf
    learning_rates: list = field(default_factory=list)
    validation_losses: list | None = None
    scores: list | None = None
    best_score: float | None = None
    best_epoch: int | None = None
    stalled: int = 0

    @property
    def early_stopping(self) -> bool:
        """Whether training stops by the score on validation rows."""
        return self.best_loss is None

    @property
    def scores_are_undefined(self) -> bool:
        """Whether no score is a number, though the last loss on validation rows is finite."""
        if not (self.scores and self.validation_losses):
            return False
        return bool(np.isnan(self.scores).all() and np.isfinite(self.validation_losses[-1]))

    def copied(self) -> Progress:
        """Return a copy that later epochs do not change."""
        new = copy(self)
        lists = {name: list(value) for name, value in vars(self).items() if type(value) is list}
        vars(new).update(lists)
        return new

    def record_loss(self, loss: float, rows: int, tol: float) -> None:
        """Count an epoch; without early stopping, record whether the loss still decreases."""
        self.epochs += 1
        self.rows_seen += rows
        self.loss = loss
        self.loss_curve.append(loss)
        if self.best_loss is not None:
            self.stalled = self.stalled + 1 if loss > self.best_loss - tol else 0
            if loss < self.best_loss:
                self.best_loss = loss

    def record_validation(self, loss: float, score: float, tol: float, epoch: int) -> bool:
        """Record loss and score of an epoch; return whether the score is the best so far."""
        assert self.validation_losses is not None
        assert self.scores is not None
        assert self.best_score is not None
        self.validation_losses.append(loss)
        self.scores.append(score)
        if self.early_stopping:
            self.stalled = self.stalled + 1 if score < self.best_score + tol else 0
        best = score > self.best_score
        if best:
            self.best_score, self.best_epoch = score, epoch
        return best
