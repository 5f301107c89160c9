"""The same training steps on a GPU: our device, and PyTorch in each way that makes it fast.

All sides start from the same weights and take the same batches, whose rows they gather on the
device by the epoch's permutation. There is no penalty, so that PyTorch's fused Adam updates all
parameters in one kernel.
"""

import functools

import numpy as np
import torch
from grid import OURS, Case
from torch import nn
from torch_side import layered

from fastmlp import devices
from fastmlp.initializers import first_parameters
from fastmlp.network import Network
from fastmlp.optimizers import Adam
from fastmlp.schedules import Constant
from fastmlp.training import OptimizerState, Rows

LEARNING_RATE = 1e-3
#: Training begins as if so many steps had been made: Adam's bias corrections are 1 from then on,
#: and whether epsilon is added before or after them, where the sides differ, is the same.
STEPS_BEFORE = 1_000_000
#: What capturing a graph wants to have seen.
WARM_UP = 3

EAGER, GRAPH = "PyTorch eager", "PyTorch CUDA graph"
#: How `TorchSide` makes its steps; all but the first need CUDA.
TORCH_SIDES = {
    EAGER: {},
    GRAPH: {"graph": True},
    # Of torch.compile's ways the fastest; each takes half a minute to compile.
    "torch.compile CUDA graph": {"compiled": True, "graph": True},
}


class Task(Case):
    """A case with an output for every class, even for two: the same on all sides."""

    __slots__ = ()

    @property
    def units(self):
        """Width of every layer."""
        return self.features, *self.hidden, self.classes

    def network(self):
        """The network as our devices want it."""
        return Network(self.units, self.activation, "log_loss")

    def first(self, dtype):
        """Packed first parameters; in float64 those of float32, to compare both with."""
        random_state = np.random.RandomState(0)
        return first_parameters(self.network(), "glorot", random_state, np.float32).astype(dtype)


class OurSide:
    """One of our devices; X and labels are on the host, as a user has them."""

    def __init__(self, device, task, X, labels):
        self.X, self.targets = X, np.eye(task.classes, dtype=bool)[labels]
        first = task.first(X.dtype)
        optimizer = OptimizerState(
            Adam(),
            Constant(LEARNING_RATE),
            LEARNING_RATE,
            moments=np.zeros((2, first.size), first.dtype),
            step=STEPS_BEFORE,
        )
        self.device = devices.load(device)(
            task.network(), first, optimizer=optimizer, batch_size=task.batch
        )

    def train_epoch(self, order):
        """One pass over the rows in `order`; returns their mean loss, and so waits for it."""
        return self.device.train(Rows(self.X, self.targets, None), order) / len(order)

    def parameters(self):
        """The parameters now, packed."""
        return self.device.parameters()


class TorchSide:
    """PyTorch; X and labels are tensors where it computes."""

    def __init__(self, task, X, labels, compiled=False, graph=False):
        self.task, self.X, self.labels = task, X, labels
        self.network = torch_network(task, task.first(np.float64)).to(X)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), LEARNING_RATE, fused=True, capturable=graph
        )
        self.total = X.new_zeros(())
        self._loss = self._eager_loss
        if compiled:
            # With fullgraph, what it cannot compile is an error: else it would go on eagerly.
            self._loss = torch.compile(self._eager_loss, dynamic=False, fullgraph=True)
        self.reset()
        self._train_batch = self._captured() if graph else self._step

    def reset(self):
        """Back to the first parameters, in place, since a graph knows them by their addresses."""
        first = torch_network(self.task, self.task.first(np.float64))
        for p, value in zip(self.network.parameters(), first.parameters(), strict=True):
            state = self.optimizer.state[p]
            if not state:
                state |= {"step": p.new_zeros((), dtype=torch.float32)}
                state |= {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
            with torch.no_grad():
                p.copy_(value)
            state["exp_avg"].zero_()
            state["exp_avg_sq"].zero_()
            state["step"].fill_(STEPS_BEFORE)

    def _eager_loss(self, X, labels):
        return nn.functional.cross_entropy(self.network(X), labels)

    def _step(self, rows):
        self.optimizer.zero_grad()
        loss = self._loss(self.X.index_select(0, rows), self.labels.index_select(0, rows))
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach()

    def _captured(self):
        """The whole step as one graph, a function of the batch's rows."""
        rows = torch.arange(self.task.batch, device=self.X.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step(rows)
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step(rows)
        self.reset()

        def replay(batch):
            rows.copy_(batch)
            graph.replay()

        return replay

    def train_epoch(self, order):
        """One pass over the rows in `order`; returns their mean loss, and so waits for it."""
        self.total.zero_()
        batches = torch.from_numpy(order).to(self.X.device).split(self.task.batch)
        for batch in batches:
            self._train_batch(batch)
        return self.total.item() / len(batches)

    def parameters(self):
        """The parameters now, packed."""
        tensors = [p.detach().cpu().numpy() for p in self.network.parameters()]
        weights, biases = [w.T for w in tensors[::2]], tensors[1::2]
        return self.task.network().pack(weights, biases, weights[0].dtype)


def torch_network(task, packed):
    """PyTorch's network with the packed parameters, float64, on the host."""
    network = layered(task.units, task.activation, torch.float64)
    tensors = [t for pair in zip(*task.network().views(packed), strict=True) for t in pair]
    with torch.no_grad():
        for p, values in zip(network.parameters(), tensors, strict=True):
            p.copy_(torch.from_numpy(values.T))
    return network


def build(task, X, labels, ours, where, names) -> tuple[dict, dict]:
    """The named sides, and why any of PyTorch's could not be built.

    `ours` is our device's name, `where` PyTorch's. A side is built when it has made a first step:
    only then torch.compile has compiled.
    """
    tensors = torch.from_numpy(X).to(where), torch.from_numpy(labels).to(where)
    sides, missing = {OURS: OurSide(ours, task, X, labels)}, {}
    for name in names:
        make = functools.partial(TorchSide, task, *tensors, **TORCH_SIDES[name])
        try:
            if where == "cpu" and TORCH_SIDES[name]:
                raise RuntimeError("needs CUDA")
            sides[name] = make()
            sides[name].train_epoch(np.arange(task.batch))
            sides[name].reset()
        except Exception as error:  # a compiler may be missing: the other sides are there still
            if name == EAGER:
                raise
            sides.pop(name, None)
            missing[name] = (str(error).splitlines() or [repr(error)])[0]
    return sides, missing


#: How far two sides may be apart after `check`. float64 proves that they compute the same. float32
#: is mostly at 1e-6, but one row whose z rounds to the other side of relu's corner changes the
#: gradients of a whole unit, and Adam takes steps of the same length by small ones: 1e-2 was seen,
#: of NumPy in float32 too.
LIMITS = {np.dtype(np.float32): 5e-2, np.dtype(np.float64): 1e-9}
CHECKED_BATCHES, CHECKED_EPOCHS = 3, 2


def check(task, X, labels, sides) -> dict:
    """Train fresh sides for two epochs, and compare with the NumPy device in float64.

    Returns
    -------
    apart : dict
        Of each side the distance of its parameters, as a share of the way they went, or of its
        losses, whichever is larger.

    Raises
    ------
    SystemExit
        If it is more than rounding explains: then there is nothing to time.
    """
    rows = CHECKED_BATCHES * task.batch
    rng = np.random.default_rng(1)
    orders = [rng.permutation(rows) for _ in range(CHECKED_EPOCHS)]
    first = task.first(np.float64)
    truth = OurSide("reference", task, X[:rows].astype(np.float64), labels[:rows])
    expected = np.array([truth.train_epoch(order) for order in orders])
    way = np.linalg.norm(truth.parameters() - first)
    apart = {}
    for name, side in sides.items():
        losses = np.array([side.train_epoch(order) for order in orders])
        distance = np.linalg.norm(side.parameters() - truth.parameters()) / way
        apart[name] = float(max(distance, np.abs(losses / expected - 1).max()))
    wrong = {name: value for name, value in apart.items() if not value < LIMITS[X.dtype]}
    if wrong:
        raise SystemExit(f"{task}, {X.dtype}: not the same as the reference to rounding: {wrong}")
    return apart
