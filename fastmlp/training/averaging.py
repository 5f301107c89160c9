"""Averages of the weights over epochs.

The average of the weights along a trajectory is often closer to a minimum than its end, which
wanders around: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992;
Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Weights(NamedTuple):
    """The parameters that training goes on from, and those to predict with.

    Attributes
    ----------
    trained : ndarray of shape (network.size,)
        Packed parameters after the last step.
    averaged : ndarray of shape (network.size,)
        Their average.
    total : float, default=0.0
        Sum of the average's coefficients, where the last one is 1; 0 if nothing is averaged yet.
    """

    trained: np.ndarray
    averaged: np.ndarray
    total: float = 0.0


@dataclass
class Averaging:
    """A running average in which each epoch counts `decay` times as much as the next one.

    With the weights w_e after epoch e, from the first epoch s on, and d the decay:

        w̄_k = Σ_e d^(k - e) w_e / Σ_e d^(k - e),    e = s, ..., k

    For d < 1 this is the exponential moving average, without the bias of a start at 0; for d = 1 it
    is the mean, that of stochastic weight averaging. Before epoch s, w̄_k = w_k.

    Parameters
    ----------
    weights : Weights
        The state so far; replaced after each epoch, not changed.
    decay : float
        d, in [0, 1].
    first : int, default=1
        s.
    """

    weights: Weights
    decay: float
    first: int = 1

    def after_epoch(self, trained: np.ndarray, epoch: int) -> Weights:
        """Add the weights after an epoch, and return the new state.

        Both sums of the formula need only their last values: with T_k the one in the denominator,

            T_k = d T_(k-1) + 1,    w̄_k = w̄_(k-1) + (w_k - w̄_(k-1)) / T_k
        """
        before = self.weights
        total = self.decay * before.total + 1
        if epoch < self.first:
            self.weights = Weights(trained, trained)
        elif total == 1:
            self.weights = Weights(trained, trained, total)
        else:
            share = trained.dtype.type(1 / total)
            averaged = before.averaged + share * (trained - before.averaged)
            self.weights = Weights(trained, averaged, total)
        return self.weights
