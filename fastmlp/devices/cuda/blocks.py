"""Launches of the first regime: a block of threads for each network, alone or in a group."""

from functools import partial
from weakref import WeakKeyDictionary

import numpy as np

from ...regularization import Regularization
from .block import block_rows, threads_of
from .layout import loss_share
from .shared import shared_layout
from .single_block import single_block
from .toolkit import allow_all_shared, configured


class Blocks:
    """The kernel for networks of one kind and shape, and the room that each block needs.

    Parameters
    ----------
    kind : Kind
        The kind of network that kernels are compiled for.
    network : Network
        One of these networks.
    batch_rows : int
        The rows of their batches.
    memory : Memory
        Where what they have in common is sent.
    """

    #: Blocks for each network, each of which sums a part of a batch's losses and of the penalty.
    parts = 1
    kernel_of = staticmethod(single_block)

    def __init__(self, kind, network, batch_rows, memory):
        self._kind, self._network, self.batch_rows = kind, network, batch_rows
        self._kernel, self._threads = self.kernel_of(kind), threads_of(kind)
        self.block_rows = block_rows(kind, network, batch_rows, self.parts)
        plan = self._layout(Regularization())
        self._bytes = plan.size * kind.dtype.itemsize
        self._places = memory.upload(plan.places)
        self._start = np.int32(plan.parameters_size)
        self._penalised = np.int32(sum(fan_in * fan_out for fan_in, fan_out in network.shapes))
        self._loss_share = kind.dtype.type(loss_share(network))
        self._epsilon = np.finfo(kind.dtype).eps

    def _layout(self, regularization):
        network, activations, dtype = self._network, self._kind.activations, self._kind.dtype
        return shared_layout(network, activations, dtype, self.block_rows, regularization)

    def tables(self, regularization):
        """Return the table of layers, and that of their numbers."""
        return self._layout(regularization)[:2]

    def launch_of(
        self, count, stream, positions, tables, numbers, parameters, first, second, steps,
        X, targets, weights, order, constants, totals,
    ):  # fmt: skip
        """Return the launch of a run of so many networks; see the kernel for its arguments."""
        arguments = (
            positions, tables, numbers, self._places, parameters, first, second, steps,
            self._epsilon, X, targets, weights, order, constants, self._loss_share, totals,
            self._start, self._penalised,
        )  # fmt: skip
        allow_all_shared(self._kernel, arguments)
        return self._configured(count, stream, arguments)

    def _configured(self, count, stream, arguments):
        launch = configured(self._kernel, count, self._threads, stream, self._bytes)
        return partial(launch, *arguments)


class SingleBlock:
    """Trains one network with one block of threads.

    Parameters
    ----------
    kind : Kind
        The kind of network that kernels are compiled for.
    network, regularization, batch_rows
        The same as the device's.
    memory : Memory
        The parameters, moments and constants on the GPU.
    """

    #: The most floating-point operations of one run: a few tenths of a second.
    longest_run = 1e11
    blocks_of: type = Blocks

    def __init__(self, kind, network, regularization, batch_rows, memory):
        self._blocks = self.blocks_of(kind, network, batch_rows, memory)
        self.parts = self._blocks.parts
        self._memory = memory
        tables = self._blocks.tables(regularization)
        vectors = memory.parameters, *memory.first_and_second, memory.constants
        *self._vectors, self._constants = (alone(vector) for vector in vectors)
        self._tables = [alone(memory.upload(table)) for table in tables]
        self._launches = WeakKeyDictionary()  # when a run is deleted, so is its launch

    def launch(self, run):
        """Queue the training on a run of batches."""
        position = run.beginning(self._blocks.batch_rows, self._blocks.block_rows)
        if run not in self._launches:  # the arguments are the same for every use of the run
            self._launches[run] = self._blocks.launch_of(
                1, self._memory.stream, alone(position), *self._tables, *self._vectors, run.steps,
                run.X, run.targets, run.weights, run.order, self._constants, run.totals,
            )  # fmt: skip
        self._launches[run]()


def alone(array):
    """Return an array on the GPU as that of the only network."""
    return array.reshape(1, *array.shape)
