"""The same training in PyTorch (eager), written as its documentation advises, without a DataLoader.

Everything scikit-learn defines is kept: first weights, shuffles, batches, penalty. Of several ways
the one that measured fastest is taken: Adam ``fused``, one gather of the permuted rows an epoch
rather than one a batch, and predictions in blocks of rows.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn

DEFAULT_THREADS = torch.get_num_threads()
#: Those that PyTorch has, for so many units.
ACTIVATIONS = {
    "identity": lambda units, dtype: nn.Identity(),
    "logistic": lambda units, dtype: nn.Sigmoid(),
    "tanh": lambda units, dtype: nn.Tanh(),
    "hard_sigmoid": lambda units, dtype: nn.Hardsigmoid(),
    "hard_tanh": lambda units, dtype: nn.Hardtanh(),
    "relu": lambda units, dtype: nn.ReLU(),
    "leaky_relu": lambda units, dtype: nn.LeakyReLU(0.01),
    "prelu": lambda units, dtype: nn.PReLU(units, dtype=dtype),
    "elu": lambda units, dtype: nn.ELU(),
    "selu": lambda units, dtype: nn.SELU(),
    "softplus": lambda units, dtype: nn.Softplus(),
    "swish": lambda units, dtype: nn.SiLU(),
    "gelu": lambda units, dtype: nn.GELU(),
}


class TorchClassifier:
    """A classifier with as much of scikit-learn's interface as the benchmarks need.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, max_iter, random_state
        As in scikit-learn.
    n_jobs : int or None, default=1
        PyTorch's number of threads; None for PyTorch's own choice.
    n_iter_no_change : int, optional
        Accepted and not needed: nothing stops early here.
    """

    def __init__(
        self,
        hidden_layer_sizes,
        activation="relu",
        *,
        solver="adam",
        alpha=1e-4,
        batch_size=200,
        max_iter=200,
        random_state=0,
        n_jobs=1,
        n_iter_no_change=None,
    ):
        self.hidden_layer_sizes, self.activation = hidden_layer_sizes, activation
        self.solver, self.alpha = solver, alpha
        self.batch_size, self.max_iter = batch_size, max_iter
        self.random_state, self.n_jobs = random_state, n_jobs

    def fit(self, X, y):
        """Train for `max_iter` epochs."""
        torch.set_num_threads(self.n_jobs or DEFAULT_THREADS)
        random_state = np.random.RandomState(self.random_state)
        self.classes_ = np.unique(y)
        X, targets = self._tensors(X, y)
        outputs = targets.shape[1] if self.binary_ else len(self.classes_)
        units = X.shape[1], *self.hidden_layer_sizes, outputs
        self.network_ = layered(units, self.activation, X.dtype)
        draw(self.network_, self.activation, random_state)
        self.optimizer_ = self._optimizer()
        self.steps_, self.loss_curve_ = 0, []
        order = np.arange(len(X))
        for _ in range(self.max_iter):
            order = order[random_state.permutation(len(order))]
            self._train_epoch(X, targets, torch.from_numpy(order))
        return self

    def partial_fit(self, X, y):
        """Train a fitted network for one more epoch."""
        X, targets = self._tensors(X, y)
        order = np.random.RandomState(self.random_state).permutation(len(X))
        self._train_epoch(X, targets, torch.from_numpy(order))
        return self

    def _train_epoch(self, X, targets, order):
        criterion = nn.BCEWithLogitsLoss() if self.binary_ else nn.CrossEntropyLoss()
        batches = X[order].split(self.batch_size), targets[order].split(self.batch_size)
        total = 0.0  # without the penalty, whose value PyTorch never computes
        for inputs, wanted in zip(*batches, strict=True):
            self._adapt_optimizer(len(inputs))
            self.optimizer_.zero_grad()
            loss = criterion(self.network_(inputs), wanted)
            loss.backward()
            self.optimizer_.step()
            total += loss.item() * len(inputs)
        self.loss_curve_.append(total / len(X))

    def _adapt_optimizer(self, rows):
        """scikit-learn's penalty is divided by the batch's rows, and its ε added before Adam's bias
        is corrected.
        """
        self.steps_ += 1
        penalised, other = self.optimizer_.param_groups
        penalised["weight_decay"] = self.alpha / rows
        if self.solver == "adam":
            penalised["eps"] = other["eps"] = 1e-8 / math.sqrt(1 - 0.999**self.steps_)

    @property
    def binary_(self):
        """Whether one output tells two classes apart."""
        return len(self.classes_) == 2

    def _tensors(self, X, y):
        codes = torch.from_numpy(np.searchsorted(self.classes_, y))
        X = torch.from_numpy(X)
        return X, codes[:, None].to(X.dtype) if self.binary_ else codes

    def predict_proba(self, X):
        """Probabilities of the classes, in blocks of rows that fit the cache."""
        with torch.inference_mode():
            outputs = torch.cat([self.network_(x) for x in torch.from_numpy(X).split(4096)])
            if not self.binary_:
                return outputs.softmax(dim=1).numpy()
            positive = outputs.sigmoid()
            return torch.cat([1 - positive, positive], dim=1).numpy()

    def _optimizer(self):
        """Adam or SGD, with scikit-learn's defaults; the penalty is on weights alone."""
        weights = [p for p in self.network_.parameters() if p.ndim == 2]
        biases = [p for p in self.network_.parameters() if p.ndim == 1]
        groups = [{"params": weights, "weight_decay": 0.0}, {"params": biases}]
        if self.solver == "adam":
            return torch.optim.Adam(groups, lr=0.001, fused=True)
        return torch.optim.SGD(groups, lr=0.001, momentum=0.9, nesterov=True, fused=True)


def layered(units, activation, dtype):
    """A network of linear layers with the activation in between, and logits as outputs."""
    layers = []
    for fan_in, fan_out in pairwise(units):
        layers += [nn.Linear(fan_in, fan_out, dtype=dtype), ACTIVATIONS[activation](fan_out, dtype)]
    return nn.Sequential(*layers[:-1])


def draw(network, activation, random_state):
    """Give the network scikit-learn's first weights."""
    factor = 2.0 if activation == "logistic" else 6.0
    for layer in network:
        if isinstance(layer, nn.Linear):
            shape = layer.in_features, layer.out_features
            bound = np.sqrt(factor / sum(shape))
            weights = random_state.uniform(-bound, bound, shape)
            biases = random_state.uniform(-bound, bound, layer.out_features)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weights.T))
                layer.bias.copy_(torch.from_numpy(biases))
