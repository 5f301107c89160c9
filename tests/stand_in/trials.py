"""Networks in many orders, and planted bugs: programs for processes that have the stand-in.

They print a line of JSON for each result, for test_stand_in.py to judge.
"""

import json
import warnings
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import NamedTuple
from unittest import mock

import numpy as np
from laws import EVERYTHING, REGIMES, make_data, make_optimizer, make_parameters, run_epochs
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, activations, devices, fit_many, losses
from fastmlp.devices import cuda
from fastmlp.devices.cuda import layered, runs
from fastmlp.network import Network
from fastmlp.regularization import Regularization
from fastmlp.training import Rows, loss_and_gradient

from . import inside

#: Every limit is reached.
LIMITED = replace(EVERYTHING, max_norm=0.3)


class Case(NamedTuple):
    """Networks of one dtype and optimizer are of one kind here: their kernels are compiled once."""

    dtype: type
    rows: int
    batch_size: int
    patches: tuple = ()
    regimes: tuple = tuple(REGIMES)
    optimizer: str = "adam"

    @property
    def network(self):
        if self.dtype == np.float32:
            return Network((20, 40, 3), "relu", "log_loss")
        # Everything that kernels branch on, and more features than a slice of a tile is deep.
        hidden = activations.Swish(learnable=True), "maxout"
        return Network((70, 12, 9, 4), hidden, losses.Huber(0.5))

    @property
    def settings(self):
        if self.dtype == np.float32:
            return {"regularization": Regularization(l2=0.1), "optimizer": self.optimizer}
        return {"regularization": LIMITED, "optimizer": "sgd"}

    def trained(self, device):
        """Losses, parameters, moments and outputs of two epochs on a device."""
        data = make_data(self.network, self.rows, self.dtype)
        return run_epochs(device, self.network, data, batch_size=self.batch_size, **self.settings)


SHORT = Case(np.float64, 100, 33)
CASES = {
    "everything": SHORT,
    # Of more rows than the shared memory of a block holds.
    "rows in blocks": Case(np.float64, 250, 200, patches=((layered, "LONGEST_BLOCK", 90),)),
    "streamed rows": Case(
        np.float64, 200, 33, patches=((runs, "SHARE", 0), (runs, "BLOCK_BYTES", 1 << 15))
    ),
    "plain": Case(np.float32, 790, 40, regimes=("cluster",)),
    # Batches enough for a graph of sixteen, and for those of one that are left.
    "graphs": Case(np.float32, 790, 40, optimizer="sgd", regimes=("many blocks",)),
    # Of the same kind: not by Adam, whose steps hang on the rounding of gradients close to 0.
    "tensor cores": Case(
        np.float32, 200, 130, optimizer="sgd", regimes=("many blocks",),
        patches=(
            (layered, "LEAST_TENSOR_ROWS", 1), (layered, "LEAST_TENSOR_UNITS", 1),
            (layered, "MOST_PADDED", np.inf), (layered, "multiprocessors", lambda: 1),
        ),
    ),
}  # fmt: skip


@contextmanager
def patched(case, regime):
    with ExitStack() as stack:
        chosen = [(cuda, *constant) for constant in REGIMES[regime].items()]
        for patch in (*case.patches, *chosen):
            stack.enter_context(mock.patch.object(*patch))
        yield


def bits(arrays):
    """Everything that a trial leaves, as bytes: a NaN equals itself."""
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def in_all_orders(work: Callable):
    """The results in the first order, and the orders in which they have other bits."""
    results = []
    for order in inside.ADVERSARIAL:
        inside.orders(*order)
        results.append(work())
    different = [
        order
        for order, result in zip(inside.ADVERSARIAL, results, strict=True)
        if bits(result) != bits(results[0])
    ]
    return results[0], different


def distance(results, expected):
    """How far the results are from others, as a share of the largest number of each array."""
    pairs = [[np.asarray(array) for array in pair] for pair in zip(results, expected, strict=True)]
    return max(float(abs(own - other).max() / abs(other).max()) for own, other in pairs)


def networks():
    """Train every case in its regimes, in all orders."""
    for name, case in CASES.items():
        expected = case.trained("reference")
        for regime in case.regimes:
            with patched(case, regime):
                before = inside.count()
                results, different = in_all_orders(lambda case=case: case.trained("cuda"))
            launches, graphs = (
                now - then for now, then in zip(inside.count(), before, strict=True)
            )
            say(
                program="networks", case=name, regime=regime, dtype=case.dtype.__name__,
                different=different, distance=distance(results, expected), launches=launches,
                graphs=graphs,
            )  # fmt: skip


def gradients():
    """Compute a gradient of rows that do not fit at once, in all orders."""
    network = CASES["plain"].network
    data = Rows(*make_data(network, 100, np.float32))
    parameters = make_parameters(network, np.float32)

    optimizer = make_optimizer("sgd", parameters)  # of a kind that is compiled already

    def gradient(name="cuda"):
        device = devices.load(name)(network, parameters, optimizer=optimizer)
        return loss_and_gradient(device, parameters, data)

    with mock.patch.object(layered, "LONGEST_BLOCK", 40):
        results, different = in_all_orders(gradient)
    apart = distance(results, gradient("reference"))
    say(program="networks", case="gradient", dtype="float32", different=different, distance=apart)


def groups():
    """Fit small networks in one launch, on parts of the rows, in all orders; and each by itself."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5), dtype=np.float32)
    rows = [None, rng.permutation(60)[:45], None, np.arange(50)]
    y = X[:, 0] > X[:, 1]

    def fitted(fit, device="cuda"):
        estimators = [
            MLPClassifier(
                (7,), batch_size=20, max_iter=2 + seed, random_state=seed, alpha=0.1 * seed,
                learning_rate_init=0.01 * (1 + seed), device=device,
            )
            for seed in range(len(rows))
        ]  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit(estimators)
        return [
            np.concatenate([np.ravel(each) for each in (*own.coefs_, own.loss_curve_)])
            for own in estimators
        ]

    def each_by_itself(estimators):
        for estimator, own in zip(estimators, rows, strict=True):
            own = slice(None) if own is None else own
            estimator.fit(X[own], y[own])

    results, different = in_all_orders(
        lambda: fitted(lambda estimators: fit_many(estimators, X, y, rows=rows))
    )
    if bits(results) != bits(fitted(each_by_itself)):
        different.append("each by itself")
    apart = distance(results, fitted(each_by_itself, "reference"))
    say(program="networks", case="group", dtype="float32", different=different, distance=apart)


def is_seen(case, regime, before):
    """Whether a planted bug changes any bit in any order."""
    with patched(case, regime):
        for order in inside.ADVERSARIAL[::-1]:
            inside.orders(*order)
            if bits(case.trained("cuda")) != before:
                return True
    return False


def missing_barriers():
    """Leave out one barrier after another: each of a function once, whatever kernels call it."""
    tried = set()
    for regime in REGIMES:
        known, before = len(inside.compiled), {}
        for case in (SHORT, CASES["rows in blocks"]):
            with patched(case, regime):
                inside.orders()
                before[case] = bits(case.trained("cuda"))
        for kernel in inside.compiled[known:]:
            functions = inside.barriers_of(kernel)
            for number, function in enumerate(functions):
                barrier = function, functions[:number].count(function)
                if barrier in tried:
                    continue
                tried.add(barrier)
                with inside.without_barrier(kernel, number):
                    seen = any(is_seen(case, regime, own) for case, own in before.items())
                say(
                    program="barriers", regime=regime, function=function, barrier=barrier[1],
                    seen=seen,
                )  # fmt: skip


def missing_waits():
    """Let each of the events of a run not be waited for."""
    case = CASES["streamed rows"]
    for owner, event in ((runs.Streamed, "_sent"), (runs.Run, "_done")):

        def init(self, *arguments, original=owner.__init__, event=event, **settings):
            original(self, *arguments, **settings)
            getattr(self, event).wait = lambda stream: None

        with patched(case, "many blocks"):
            inside.orders()
            before = bits(case.trained("cuda"))
        with mock.patch.object(owner, "__init__", init):
            say(
                program="waits",
                event=f"{owner.__name__}.{event}",
                seen=is_seen(case, "many blocks", before),
            )


def everything():
    """Run all of them, the barriers first: they are of kernels that this process has compiled."""
    for program in (missing_barriers, networks, gradients, groups, missing_waits):
        program()


def say(**result):
    print(json.dumps(result), flush=True)
