"""Which windows each step takes: a pure function of (seed, step, rank, world). Reads nothing, keeps no state.

A stream of places without end is dealt out: global step n holds the places from n times the global batch on, and each
rank its own stretch of them. So batches do not depend on the world where rank batches scale, and no rank waits for,
repeats or loses what another takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from brainbrr.core.arrays import Int64
from brainbrr.errors import UsageError
from brainbrr.loading.index import Index
from brainbrr.loading.windows import BACKGROUND, FULL, PARTIAL, UNLABELLED

BALANCED = {"background": 2, "partial": 1, "full": 1}
"""Half background, a quarter each of windows with a part of a seizure and full of it."""

UPSTREAM = {"background": 25, "partial": 10, "full": 3}
"""brain-go-brr's set: every partial window once an epoch, 2.5 times as many background, 0.3 times as many full."""

_PRESETS = {"balanced": BALANCED, "upstream": UPSTREAM}
_CLASSES = {"background": BACKGROUND, "partial": PARTIAL, "full": FULL}
_HARD, _ALL = 4, 5


@dataclass(frozen=True)
class Sampling:
    """How windows are chosen and put in order.

    `balance`: places of each class in the order, as a mapping or "balanced" or "upstream"; None takes every window
    once an epoch. Each class is gone through in a new random order each time round.
    `shuffle`: "global", "none", or "block": runs of `run` neighbouring windows are shuffled, and then the windows
    within each `pool` places. A disk then reads stretches, and each byte once. What differs from "global": two windows
    of one run are less than 2 * pool places apart, and share a batch of B with probability of about B / pool
    instead of B / N.
    `patient_cap`: at most so many windows of one patient in each class in each round, drawn again each time.
    `hard_negatives`: windows that take every second place of the background.
    """

    seed: int = 0
    balance: Mapping[str, int] | str | None = None
    shuffle: Literal["global", "block", "none"] = "global"
    run: int = 64
    pool: int = 2048
    patient_cap: int | None = None
    hard_negatives: Sequence[int] = field(default=())

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed = {self.seed}: from 0 to 2^63 - 1")
        if self.run < 1 or self.pool < 1 or (self.patient_cap is not None and self.patient_cap < 1):
            raise UsageError(f"run = {self.run}, pool = {self.pool}, patient_cap = {self.patient_cap}: at least 1")
        if self.shuffle not in ("global", "block", "none"):
            raise UsageError(f"shuffle = {self.shuffle!r}: global, block or none")
        if len(self.hard_negatives) and self.balance is None:
            raise UsageError("hard_negatives take the place of background: they need a balance")

    def ratios(self) -> Mapping[str, int]:
        """Return the places of each class. Raises UsageError for what is no balance."""
        found = _PRESETS.get(self.balance) if isinstance(self.balance, str) else self.balance
        if not found or set(found) - set(_CLASSES) or not all(type(n) is int and n >= 0 for n in found.values()):
            raise UsageError(
                f"balance = {self.balance!r}", fix=f"{', '.join(_PRESETS)}, or whole numbers for {', '.join(_CLASSES)}"
            )
        return found


class Order:
    """The windows of each step of one rank. Raises UsageError when there is nothing to take.

    `epoch` is a number of places: every window once, or with a balance as long as all partial seizures last (without
    any of them, the first class that is there). Windows without labels are taken only where `unlabelled` says so
    and nothing is balanced.
    """

    def __init__(
        self, index: Index, sampling: Sampling, *, batch: int, rank: int = 0, world: int = 1, unlabelled: bool = False
    ) -> None:
        if batch < 1 or not 0 <= rank < world:
            raise UsageError(f"batch = {batch}, rank = {rank}, world = {world}: a batch, and a rank below the world")
        self.batch, self.rank, self.world = batch, rank, world
        self._index, self._sampling, self._unlabelled = index, sampling, unlabelled
        self._classes = index.classes()
        self._hard = np.array(sampling.hard_negatives, dtype=np.int64)
        if len(self._hard) and (
            self._hard.min() < 0 or self._hard.max() >= len(index) or (self._classes[self._hard] != BACKGROUND).any()
        ):
            raise UsageError(f"hard_negatives: windows of background, from 0 to {len(index) - 1}")
        self._sizes: dict[int, int] = {}
        self._rounds: dict[int, dict[int, Any]] = {}
        self._pattern = self._places()
        if not len(self._pattern):
            if len(index) and not unlabelled:
                fix = 'labels = "none" takes windows without labels, if nothing is balanced'
                raise UsageError("no window of the view is labelled: there is nothing to take", fix=fix)
            raise UsageError("no window: there is nothing to take")
        self._before = np.array([(self._pattern[:i] == kind).sum() for i, kind in enumerate(self._pattern)])
        self._share = {int(kind): int((self._pattern == kind).sum()) for kind in np.unique(self._pattern)}
        leader = PARTIAL if PARTIAL in self._share else int(self._pattern[0])
        self.epoch = len(self._pattern) * -(-self._size(leader) // self._share[leader])

    def of(self, rank: int, world: int) -> Order:
        """Return the same order as another rank of a world takes it."""
        other = copy(self)
        other.rank, other.world = rank, world
        return other

    def step(self, step: int) -> Int64:
        """Return this rank's windows of one step: int64 (batch,)."""
        return self.take(self.place(step), self.batch)

    def place(self, step: int) -> int:
        """Return the first of this rank's places of a step."""
        return (step * self.world + self.rank) * self.batch

    def steps(self, epochs: int) -> int:
        """Return how many steps hold some epochs, the last one perhaps with less than a batch."""
        return -(-epochs * self.epoch // (self.batch * self.world))

    def take(self, place: int, n: int) -> Int64:
        """Return the windows at n places from `place` on: int64 (n,)."""
        turn, within = np.divmod(np.arange(place, place + n), len(self._pattern))
        kinds = self._pattern[within]
        windows = np.empty(n, dtype=np.int64)
        for kind in np.unique(kinds).tolist():
            mine = np.flatnonzero(kinds == kind)
            lap, nth = np.divmod(turn[mine] * self._share[kind] + self._before[within[mine]], self._size(kind))
            for each in np.unique(lap).tolist():
                windows[mine[lap == each]] = self._round(kind, each)[nth[lap == each]]
        return windows

    def _places(self) -> Int64:
        """Return the class of each place of one turn, every class spread evenly."""
        if self._sampling.balance is None:
            return np.array([_ALL] * bool(self._size(_ALL)), dtype=np.int64)
        shares = {_CLASSES[name]: n for name, n in self._sampling.ratios().items() if n and self._size(_CLASSES[name])}
        points = [((i + 0.5) / n, kind) for kind, n in shares.items() for i in range(n)]
        pattern = np.array([kind for _, kind in sorted(points)], dtype=np.int64)
        if len(self._hard):
            pattern = np.tile(pattern, 2)
            pattern[np.flatnonzero(pattern == BACKGROUND)[1::2]] = _HARD
        return pattern

    def _members(self, kind: int) -> Int64:
        if kind == _HARD:
            return self._hard
        if kind == _ALL:
            if self._unlabelled:
                return np.arange(len(self._classes))
            return np.flatnonzero(self._classes != UNLABELLED)
        return np.flatnonzero(self._classes == kind)

    def _size(self, kind: int) -> int:
        """Return the windows of one round of a class: the same in each round."""
        if kind not in self._sizes:
            self._sizes[kind] = len(self._round(kind, 0))
        return self._sizes[kind]

    def _round(self, kind: int, lap: int) -> Any:
        """Return the windows of one round of a class in their order; the last two that were requested are kept."""
        rounds = self._rounds.setdefault(kind, {})
        if lap not in rounds:
            while len(rounds) > 1:
                del rounds[next(iter(rounds))]
            rounds[lap] = self._drawn(kind, lap)
        return rounds[lap]

    def _drawn(self, kind: int, lap: int) -> Any:
        sampling = self._sampling
        random = np.random.default_rng((sampling.seed, kind, lap))
        windows = self._members(kind)
        if sampling.patient_cap is not None:
            windows = np.sort(self._capped(random.permutation(windows), sampling.patient_cap))
        if sampling.shuffle == "block":
            windows = self._blocks(windows, random)
        elif sampling.shuffle == "global":
            windows = random.permutation(windows)
        return windows.astype(np.int32 if len(self._index) < 2**31 else np.int64)

    def _capped(self, windows: Any, cap: int) -> Any:
        """Return the first `cap` windows of each patient."""
        patients = self._index.patient[self._index.locate(windows)[0]]
        order = np.argsort(patients, kind="stable")
        grouped = patients[order]
        nth = np.arange(len(grouped)) - np.searchsorted(grouped, grouped)
        return windows[order[nth < cap]]

    def _blocks(self, windows: Any, random: np.random.Generator) -> Any:
        """Return ascending windows with their runs shuffled, and then the windows of each pool."""
        sampling = self._sampling
        recordings = self._index.locate(windows)[0]
        nth = np.arange(len(windows)) - np.searchsorted(recordings, recordings)
        begins = np.flatnonzero(nth % sampling.run == 0)
        rank = np.empty(len(begins), dtype=np.int64)
        rank[random.permutation(len(begins))] = np.arange(len(begins))
        run_of = np.repeat(rank, np.diff(np.append(begins, len(windows))))
        windows = windows[np.argsort(run_of, kind="stable")]
        pools = np.arange(len(windows)) // sampling.pool
        return windows[np.argsort(pools + random.random(len(windows)), kind="stable")]
