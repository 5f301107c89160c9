"""The CPU device: compiled code over flat buffers, no BLAS."""

from functools import cached_property

import numpy as np

from ...optimizers import MOST_NUMBERS
from ..device import ZERO_WEIGHT, Configured, Sums
from . import loops, optimizer, team, value
from .block_sizes import CHUNK
from .cores import idle_cores
from .ending import present
from .epoch import SETTINGS, add_gradient, apply_gradient, train, transpose
from .layout import Layout, exchange, layout
from .optimizer import update_loop
from .pace import Pace
from .permutation import shuffle
from .prediction import predict
from .row_gradients import gradient_rows
from .row_inspection import integrate, record_rows
from .single_rows import predict_rows, predict_sources
from .sources import Sources
from .team import ALONE, Team

#: Every entry that Python calls; compiled by `warmup`.
ENTRIES = (
    exchange, transpose, train, add_gradient, apply_gradient, predict, predict_rows,
    predict_sources, shuffle, gradient_rows, integrate, record_rows, *loops.ENTRIES,
    *optimizer.ENTRIES, *team.ENTRIES, *value.LOOPS,
)  # fmt: skip
# Larger batches are cut into blocks, to bound their work memory and to react to Ctrl-C.
LONGEST_BATCH = 4096
# Below this product of parameters and batch rows, one thread is enough; about 5 us of arithmetic.
TEAM_WORK = 100_000
# The same for a whole prediction, which has to start the team: a few milliseconds of arithmetic.
PREDICTION_TEAM_WORK = 150_000_000
# The same product, at most, for one prediction call: a tenth of a second at one nanosecond each.
PREDICTION_CALL_WORK = 100_000_000


def compile_ahead(dtype: np.dtype) -> None:
    """Compile every loop that networks of this dtype may call.

    The walks themselves, which are the same for all networks, are compiled when first used.
    """
    loops.compile_all(dtype)
    optimizer.compile_all(dtype)
    team.compile_all()
    value.compile_all(dtype)


def count_compiled() -> int:
    """Return how many functions this process has compiled, or loaded from the cache."""
    return sum(len(entry.signatures) for entry in ENTRIES)


class CpuDevice(Configured):
    """One network on the CPU, with its parameters, moments and work memory; see `Device`."""

    name = "cpu"

    @present
    def _load(self, parameters, moments):
        network, batch_size = self.network, self.batch_size
        self.batch_size = batch_size or CHUNK
        self._size = network.size
        rows = min(self.batch_size, LONGEST_BATCH)
        # Predictions work on whole chunks, even if batches are smaller.
        # Custom functions may read globals that have changed since: their layout is not cached.
        make = Layout if network.custom else layout
        self._layout = make(network, self.dtype, max(rows, CHUNK), self.sparse)
        dropout = self.regularization.dropout
        self._drop = loops.drop_loop(self.dtype) if any(dropout) else None
        self._general = True if any(dropout) else self._layout.general
        # As checked with its moments; the state's own may be replaced.
        self._rule = None if moments is None else self.optimizer.rule
        places = self._layout.buffers(0 if moments is None else len(moments), dropout)
        self._buffers, self._memory = places
        self._gradient = self._described = None
        # A team is worthwhile if a batch's arithmetic takes much longer than the barriers.
        heavy = batch_size is not None and self._size * rows > TEAM_WORK
        self._team = Team(self.n_jobs) if heavy else ALONE
        self._pace = Pace(rows, self._team.size)
        if self.n_jobs is not None:
            self._pace.together()
        self._scratch = []
        if moments is None:
            self._fill(self._buffers.weights, parameters)
        else:
            self._replace(parameters, moments)

    @present
    def _replace(self, parameters, moments):
        self._fill(self._buffers.weights, parameters)
        transpose(self._layout.layers, self._memory)
        for buffer, moment in zip(self._moments, moments, strict=True):
            self._fill(buffer, moment)

    def _fill(self, buffer, parameters):
        """Copy a packed vector into a buffer, in the buffer's layout."""
        exchange(self._layout.layers, buffer, parameters, False)

    def _packed(self, buffer):
        packed = np.empty(self._size, self.dtype)
        exchange(self._layout.layers, buffer, packed, True)
        return packed

    @cached_property
    def _fixed_settings(self):
        """The settings that stay constant, and initial values of the others."""
        network, regularization = self.network, self.regularization
        values = dict.fromkeys(SETTINGS.names, 0) | {
            "batch_size": self.batch_size,
            "loss": self._layout.loss_loop.address,
            "canonical": network.canonical,
            "backward": True,
            "same_constants": len(set(network.loss.constants(network.units[-1]))) == 1,
            "mean_over_outputs": network.loss.mean_over_outputs,
            "clip": np.finfo(self.dtype).eps,
            "dropping": self._drop.address if self._drop else 0,
            "seed": self.dropout_seed,
        }
        for name in ("l2", "l1", "weight_decay", "clip_norm", "max_norm"):
            values[name] = getattr(regularization, name)
        if (rule := self._rule) is not None:
            values["update"] = update_loop(rule, self.dtype).address
            values["beta_1"], values["beta_2"] = rule.decays
            values["decay"] = rule.weight_decay
            values["numbers_stride"] = MOST_NUMBERS if rule.by_step else 0
        return np.array([tuple(values.values())], SETTINGS).view(np.uint8)

    def _settings(self):
        # Copied as bytes: NumPy copies records field by field, which is slower than a small batch.
        settings = self._fixed_settings.copy().view(SETTINGS)
        if self.optimizer is not None:
            settings["step"] = self.optimizer.step
        return settings

    @property
    def _moments(self):
        """The buffers of the moments that the optimiser carries."""
        return self._buffers[2:4][: self._rule.moments]

    def _sources_of(self, rows, order=None):
        """Return descriptions of the rows; reuse the last epoch's if the arrays are the same."""
        if self._described is None or any(
            own is not other for own, other in zip(rows, self._described[0], strict=True)
        ):
            self._described = rows, Sources(self.network, *rows)
        sources = self._described[1]
        if order is not None:
            sources.follow(order)
        return sources

    @present
    def train(self, rows, order):
        """Do one update for each batch of the rows in `order`; see `Device`."""
        sources = self._sources_of(rows, order)
        settings = self._settings()
        optimizer, batches = self.optimizer, -(-len(order) // self.batch_size)
        changed = {"rates": optimizer.rates(batches)}
        if self._rule.by_step or not self._buffers.numbers.size:
            changed["numbers"] = self._rule.table(optimizer.step, batches).ravel()
        self._put(**changed)
        if self._needs_whole_gradient:
            self._train_in_blocks(sources, settings, len(order))
        else:
            self._train(sources, settings, len(order))
        return float(settings[0]["loss_sum"])

    def _put(self, **arrays):
        """Put other arrays into the places of some buffers."""
        self._buffers = self._buffers._replace(**arrays)
        self._memory.put(**arrays)

    @property
    def _needs_whole_gradient(self):
        """Whether the whole gradient of a batch is needed before its first update."""
        limits = self.regularization.clip_norm, self.regularization.max_norm
        return self.batch_size > LONGEST_BATCH or min(limits) < np.inf

    def _train(self, sources, settings, n):
        """Train on n rows, with as many batches per compiled call as the time limit allows."""
        for begin, end, members in self._pace.runs(0, n):
            done = self._share(train, self._memory, sources, settings, members, begin, end)
            self.optimizer.step = int(settings[0]["step"])
            if not done:
                raise ZeroDivisionError(ZERO_WEIGHT)

    def _share(self, walk, memory, sources, settings, members, begin, end):
        """Run the compiled walk on `members` threads; return the first thread's result."""
        while len(self._scratch) < members - 1:
            self._scratch.append(self._layout.scratch())
        own_settings = [settings, *(settings.copy() for _ in range(members - 1))]

        def work(member):
            own = memory
            if member.rank > 0:
                scratch = self._scratch[member.rank - 1]
                if walk is add_gradient:  # all threads add to the same buffer
                    scratch = scratch | {"gradient": self._gradient}
                own = memory.copy().put(**scratch)
            return walk(
                self._layout.layers,
                own,
                sources.table,
                own_settings[member.rank],
                member,
                begin,
                end,
                self._general,
            )

        return self._team.run(work, members)

    def _train_in_blocks(self, sources, settings, n):
        """Train on n rows; sum each batch's gradient block by block before applying it."""
        for begin in range(0, n, self.batch_size):
            end = min(n, begin + self.batch_size)
            settings[0]["batch_begin"] = begin
            loss, weight = self._sum_gradient(sources, settings, begin, end)
            if weight == 0:
                raise ZeroDivisionError(ZERO_WEIGHT)
            penalty = apply_gradient(self._layout.layers, self._whole(), settings, weight)
            self.optimizer.step = int(settings[0]["step"])
            settings[0]["loss_sum"] += (loss + penalty) / weight * (end - begin)

    def _whole(self):
        """Return the memory, with a gradient buffer large enough for all layers."""
        if self._gradient is None:
            self._gradient = self._layout.whole_gradient()
        return self._memory.copy().put(gradient=self._gradient)

    def _sum_gradient(self, sources, settings, begin, end):
        """Sum the gradient over rows; return the sums of weight times loss and of weights."""
        memory = self._whole()
        self._gradient[:] = 0
        sums = settings.copy()
        sums[["loss_sum", "weight_sum"]] = 0
        sums[0]["batch_size"] = min(self.batch_size, LONGEST_BATCH)
        for first, last, members in self._pace.runs(begin, end):
            self._share(add_gradient, memory, sources, sums, members, first, last)
        return float(sums[0]["loss_sum"]), float(sums[0]["weight_sum"])

    @present
    def sums(self, rows, parameters=None, gradient=True, out=None):
        """Return the sums over all rows; see `Device`."""
        if parameters is not None:
            self._fill(self._buffers.weights, self.network.checked(parameters, self.dtype))
        settings = self._settings()
        settings["backward"] = gradient
        if gradient:
            transpose(self._layout.layers, self._memory)  # which nothing else here needs
        if out is not None:
            self._check_place(out, len(rows.targets))
            if out.dtype != self.dtype or not out.flags.carray:
                raise ValueError(f"The place of outputs must be a C-ordered array of {self.dtype}.")
            settings["keeps"] = True
            self._put(kept=out.ravel())
        sources = self._sources_of(rows)
        loss, weight = self._sum_gradient(sources, settings, 0, len(rows.targets))
        return Sums(loss, weight, self._packed(self._gradient) if gradient else None)

    @present
    def forward(self, X, out, order=None):
        """Write the network's outputs to `out`, for the rows in `order` or for all rows."""
        sources = Sources(self.network, X, order=order)
        self._check_place(out, X.shape[0] if order is None else len(order))
        threads = self._predicting_team(len(out))
        most = max(1, PREDICTION_CALL_WORK // (CHUNK * self._size))

        def work(member):
            memory = self._memory
            if member.rank > 0:  # each member's own, except the weights
                _kept, memory = self._layout.buffers(moments=0)
                memory.put(weights=self._buffers.weights)
            general, layers = self._layout.general, self._layout.layers
            while predict(layers, memory, sources.table, out, member, most, general):
                pass

        threads.run(work, threads.size, meets=False)
        return out

    def _check_place(self, out, rows):
        expected = rows, self.network.units[-1]
        if out.shape != expected:
            raise ValueError(f"The outputs have shape {expected}, but their place {out.shape}.")

    def _predicting_team(self, rows):
        """Return the threads for predicting this many rows; new ones end with the call."""
        if self._size * rows < PREDICTION_TEAM_WORK:
            return ALONE
        if self.n_jobs is None and idle_cores() == 0:
            return ALONE
        return Team(self.n_jobs) if self._team is ALONE else self._team

    @present
    def parameters(self):
        """Return the current parameters, packed."""
        return self._packed(self._buffers.weights)

    @present
    def moments(self):
        """Return the optimiser's current moments, each packed."""
        packed = np.empty((len(self._moments), self._size), self.dtype)
        for row, buffer in zip(packed, self._moments, strict=True):
            exchange(self._layout.layers, buffer, row, True)
        return packed
