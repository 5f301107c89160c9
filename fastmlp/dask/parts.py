"""The parts of a fit: which blocks lie on which worker, and the members that train on them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from numbers import Number
from typing import Any

import dask
import numpy as np
from distributed import Client, Future, futures_of, wait
from distributed.protocol.pickle import dumps

from ..estimators.base import BaseMLP
from ..notices import warn
from .blocks import Block, agreed, validated_block
from .member import Member, Setup

#: The largest fraction of a worker's memory that its rows may take: while the blocks are put
#: together, both they and the result are there.
MEMORY_SHARE = 0.25
#: How long a worker whose connection broke may still be one of the cluster's, in seconds.
PATIENCE = 15.0
#: How long an answer is waited for before the member is looked after, in seconds.
LOOK_EVERY = 1.0
#: How often in a row nothing may be going on before work that is waited for counts as forgotten.
LOOKS = 3
#: How often blocks are computed that were forgotten.
TRIES = 3

ALL_LOST = (
    "All workers of the Dask cluster were lost during the fit. The estimator is as it was before: "
    "start workers, and fit again."
)


class Parts:
    """The rows of a fit on a cluster.

    Parameters
    ----------
    client : distributed.Client
    encoder : MLPClassifier or MLPRegressor
        Validates the blocks.
    blocks : list of Block
        All rows, delayed.
    numbers : float
        The most numbers that X has; infinite if that is not known.

    Attributes
    ----------
    blocks : list of list of Block
        Those of each part.
    summaries : list of list of Summary
        The same.
    whole : Summary
        Of all rows.
    streamed : bool
        Whether the rows are larger than the memory of the workers.
    """

    def __init__(
        self, client: Client, encoder: BaseMLP, blocks: list[Block], numbers: float = np.inf
    ):
        self.client, self._encoder = client, encoder
        workers = sorted(client.nthreads())
        if not workers:
            raise RuntimeError(
                "The Dask cluster has no workers: start some, with cluster.scale(...) or 'dask "
                "worker', and wait for them with client.wait_for_workers(1)."
            )
        self.blocks, self._workers = _placed(client, blocks, workers)
        self._rows: list[list[Future]] = [[] for _ in self.blocks]
        self._actors: dict[int, Future] = {}
        self._members: dict[int, Any] = {}
        self.streamed = self._is_larger_than_memory(numbers)
        self.summaries = self._validated()
        self.whole = agreed([s for part in self.summaries for s in part])
        self._drop_empty()
        for message, category in self.whole.warned:
            warn(message, category)

    def close(self) -> None:
        """Let go of everything on the workers."""
        self._members.clear()
        self._actors.clear()
        self._rows = [[] for _ in self.blocks]

    # ---- blocks ----------------------------------------------------------------------------------

    def _is_larger_than_memory(self, numbers):
        """Return whether a part is likely too large for its worker; compute a block if need be."""
        if any(_is_raw(block) or futures_of(list(block[:3])) for p in self.blocks for block in p):
            return False  # they are in memory already
        most = max(len(part) for part in self.blocks)
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        limits = [info["memory_limit"] for info in workers.values() if info["memory_limit"]]
        if not limits or most == 1:  # a window is at least a block
            return False
        threads = sum(address.startswith("inproc:") for address in workers)
        share = MEMORY_SHARE * min(limits) / max(threads, 1)  # of one process, each has all of it
        if 8 * numbers <= share:
            return False
        largest = max((b for part in self.blocks for b in part), key=lambda b: b.rows or 0)
        task = _summary_of(self._encoder, largest)
        (first,) = self._gathered(lambda part, worker: self._computed([task], worker), [0])
        return first[0].nbytes * most > share

    def _validated(self):
        """Validate all blocks where they are computed, keep them there, return their summaries."""

        def begin(part, worker):
            if not self.streamed:
                return self._load(part, worker)
            tasks = [_summary_of(self._encoder, block) for block in self.blocks[part]]
            return self._computed(tasks, worker)

        return self._gathered(begin, range(len(self.blocks)))

    def _gathered(self, begin, parts):
        """Return the results of what ``begin(part, worker)`` submits, a list for each part."""
        for _ in range(TRIES):
            futures = [begin(part, self._workers[part]) for part in parts]
            if self._are_done([future for own in futures for future in own]):
                return self.client.gather(futures)
            self.client.cancel([futures, self._rows])  # or they would not be submitted again
            self._rows = [[] for _ in self.blocks]
            alive = self.client.nthreads()
            for part, worker in enumerate(self._workers):
                if worker not in alive:
                    self._workers[part] = self._free_worker()
        raise RuntimeError(
            "Workers of the Dask cluster were lost, or paused for lack of memory, while they "
            f"computed blocks of the data, {TRIES} times in a row. Is there memory for a block, "
            "and for reading it? Smaller blocks need less."
        )

    def _are_done(self, futures):
        """Wait until futures are computed, or failed; return False if they are forgotten.

        Distributed never computes a task whose worker is gone if there was no other one at that
        moment, though others have come since.
        """
        alive, idle = time.monotonic(), 0
        while True:
            try:
                with self.client.as_current():
                    wait(futures, timeout=LOOK_EVERY)
                return True
            except TimeoutError:
                if not self.client.nthreads():
                    if time.monotonic() - alive > PATIENCE:
                        raise RuntimeError(ALL_LOST) from None
                    continue
            alive = time.monotonic()
            idle = 0 if any(self.client.processing().values()) else idle + 1
            if idle == LOOKS:
                return False

    def _load(self, part, worker):
        """Begin to compute the blocks of a part on a worker; return futures of their summaries."""
        pairs = []
        for block in self.blocks[part]:
            values = (_sent(self.client, value, worker) for value in block[:3])
            pairs.append(dask.delayed(validated_block, pure=False)(self._encoder, *values))
        both = self._computed([pair[i] for i in (0, 1) for pair in pairs], worker)
        self._rows[part] = both[: len(pairs)]
        return both[len(pairs) :]

    def _computed(self, tasks, worker):
        return list(self.client.compute(tasks, workers=[worker], allow_other_workers=True))

    def _drop_empty(self):
        kept = [part for part, own in enumerate(self.summaries) if sum(s.rows for s in own)]
        for name in ("blocks", "_workers", "_rows", "summaries"):
            setattr(self, name, [getattr(self, name)[part] for part in kept])

    # ---- members ---------------------------------------------------------------------------------

    def begin(self, setups: Iterable[Setup]) -> None:
        """Make the members of all parts.

        Raises
        ------
        Exception
            What a member's constructor raises.
        """
        self._setups = list(setups)
        for part in range(len(self._setups)):
            self._make(part)
        for part in range(len(self._setups)):
            self._begun(part)

    def _make(self, part):
        """Begin to make a member."""
        blocks = self._rows[part]
        if self.streamed:
            # Without the tasks of all other blocks.
            blocks = [dumps(list(dask.optimize(*block[:3]))) for block in self.blocks[part]]
        self._rows[part] = []  # the member has them, or has copied them
        self._actors[part] = self.client.submit(
            Member, self._setups[part], blocks, actor=True, pure=False,
            workers=[self._workers[part]], allow_other_workers=True,
        )  # fmt: skip

    def _begun(self, part):
        """Wait for a member."""
        actor = self._actors[part]
        try:
            if self._are_done([actor]):
                self._members[part] = actor.result()
                return
        except Exception:
            if not self._is_lost(part, PATIENCE):
                raise
        self._again(part)

    def _again(self, part):
        """Make the member of a part anew, on a worker that is left."""
        lost, self._workers[part] = self._workers[part], self._free_worker()
        warn(
            f"The worker {lost} was lost. Its rows were loaded again on {self._workers[part]}, and "
            "training went on from the last synchronisation: the result is the same as without "
            "the loss."
        )
        if not self.streamed:
            self._load(part, self._workers[part])
        self._make(part)
        self._begun(part)

    def _free_worker(self):
        """Return a worker without a part, or the one with the fewest."""
        alive = sorted(self.client.nthreads())
        if not alive:
            raise RuntimeError(ALL_LOST)
        return min(alive, key=lambda worker: self._workers.count(worker))

    def _is_lost(self, part, patience):
        """Return whether a member's worker is gone, which may take some seconds to be known."""
        deadline = time.monotonic() + patience
        while True:
            known = self._actors[part].status in ("finished", "pending")
            if not known or self._workers[part] not in self.client.nthreads():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)

    def ask(self, request: str, arguments: dict[int, tuple]) -> dict[int, Any]:
        """Ask members, all at the same time.

        A member that was lost is made again and asked again.

        Parameters
        ----------
        request : str
            A method of `Member`.
        arguments : dict of tuple
            Of each part that is asked.

        Returns
        -------
        answers : dict
            Of each of these parts, in their order.
        """
        asked = {part: self._asked(part, request, own) for part, own in arguments.items()}
        return {part: self._answer(part, asked[part], request, arguments[part]) for part in asked}

    def ask_all(self, request: str, *arguments: Any) -> list[Any]:
        """Ask all members the same; return their answers in the order of the parts."""
        return list(self.ask(request, dict.fromkeys(self._members, arguments)).values())

    def _asked(self, part, request, arguments):
        """Ask a member; return its future answer, or None if it is known to be lost."""
        try:
            return self._members[part].answer(request, *arguments)
        except RuntimeError:
            return None

    def _answer(self, part, future, request, arguments):
        """Wait for an answer.

        Distributed does not tell of every loss: a future may stay pending for ever. So from time to
        time the member itself is looked after.
        """
        while True:
            try:
                if future is not None:
                    succeeded, answer = future.result(timeout=LOOK_EVERY)
                    break
            except TimeoutError:
                if not self._is_lost(part, 0.0):
                    continue
            except Exception:
                if not self._is_lost(part, PATIENCE):
                    raise
            self._again(part)
            future = self._asked(part, request, arguments)
        if not succeeded:
            raise answer
        return answer


def _summary_of(encoder, block):
    return dask.delayed(validated_block, pure=False)(encoder, *block[:3])[1]


def _is_raw(block):
    """Return whether a block is cut from an array of the client."""
    return not dask.is_dask_collection(block.X)


def _sent(client, value, worker):
    """Return a delayed value itself, and the future of a value that the client has."""
    if value is None or isinstance(value, Number) or dask.is_dask_collection(value):
        return value
    return client.scatter(value, workers=[worker], hash=False)


def _placed(client, blocks, workers):
    """Return the blocks of each part, and its worker.

    Blocks that are in the memory of workers stay there. All others are cut into groups of nearly
    the same number of rows, or of blocks if the rows are not known, in their order: the parts then
    depend on nothing but blocks and the number of workers.
    """
    futures = [_future_of(block.X) for block in blocks]
    if all(future is not None for future in futures):
        with client.as_current():
            wait(futures)
        places = client.who_has(futures)
        owners = [min(places.get(future.key) or workers[:1]) for future in futures]
        where = list(dict.fromkeys(owners))
        groups = [[b for b, o in zip(blocks, owners, strict=True) if o == w] for w in where]
        return groups, where
    sizes = np.array([1 if block.rows is None else block.rows for block in blocks], float)
    middles = np.cumsum(sizes) - sizes / 2
    places = np.minimum(middles * len(workers) / max(sizes.sum(), 1), len(workers) - 1).astype(int)
    used = np.unique(places)
    groups = [[b for b, p in zip(blocks, places, strict=True) if p == u] for u in used]
    return groups, [workers[u] for u in used]


def _future_of(X):
    """Return the future that a delayed block is, or None if it is still to be computed."""
    futures = futures_of(X) if dask.is_dask_collection(X) else []
    return futures[0] if len(futures) == 1 and len(dict(X.dask)) == 1 else None
