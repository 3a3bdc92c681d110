"""Readers that run in turns: windows per second and CPU time of each, and ratios of what ran in the same round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path

import measuring

_TRIED = 4
_QUICK = 100  # windows a second; who is slower is bound by other things than pages touched for the first time
_CLOCK_TICKS = 100
_IDLE_S = 0.002
_FIRST_TURN = 1000


@dataclass(frozen=True)
class Contender:
    """Given the number of the turn and how many windows, `take` delivers at least so many; it returns how many.

    After `warm` windows every page has been touched and every tile proven. `ahead` batches may have been read in
    another's turn: they are taken first, and do not count.
    """

    take: Callable[[int, int], int]
    warm: int
    ahead: int = 0


@dataclass(frozen=True)
class Pace:
    """What one contender reached in each round."""

    windows_s: tuple[float, ...]
    cpu_ms: tuple[float, ...]

    @property
    def median(self) -> float:
        """Windows per second."""
        return statistics.median(self.windows_s)

    def __str__(self) -> str:
        rate = f"{self.median:,.0f}" if self.median >= 100 else f"{self.median:.1f}"
        return f"{rate} windows/s at {statistics.median(self.cpu_ms):.2f} ms CPU"

    def over(self, other: Pace) -> float:
        """Return how many times as quick as another: the median of the ratios of each round."""
        return statistics.median(a / b for a, b in zip(self.windows_s, other.windows_s, strict=True))


def paces(contenders: Mapping[str, Contender], *, rounds: int, turn_s: float, batch: int) -> dict[str, Pace]:
    """Run all contenders in turns of about `turn_s` seconds.

    Not counted: a first turn, which finds how many windows a turn takes, and for the quick as many windows as leave
    them warm. Each turn begins when the last one's threads are idle.
    """
    sizes = {name: _size(contender, turn_s, batch) for name, contender in contenders.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for turn in range(_FIRST_TURN, _FIRST_TURN + rounds):
        for name, contender in contenders.items():
            found[name].append(_turn(contender, turn, sizes[name], batch))
    return {name: Pace(*zip(*each, strict=True)) for name, each in found.items()}


def _size(contender: Contender, turn_s: float, batch: int) -> int:
    """Return how many windows fill a turn; leave a contender warm."""
    take = contender.take
    take(0, _TRIED)
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < turn_s / 4 and n < 4 * batch:
        n += take(1, _TRIED if n == 0 else batch)
    rate = n / (time.perf_counter() - began)
    if rate > _QUICK:
        began = time.perf_counter()
        rate = take(2, contender.warm) / (time.perf_counter() - began)
    n = round(turn_s * rate)
    settle()
    return max(_TRIED, n if n < batch else n // batch * batch)


def _turn(contender: Contender, turn: int, n: int, batch: int) -> tuple[float, float]:
    """Return windows per second and CPU ms per window of one turn."""
    if contender.ahead:
        contender.take(turn, contender.ahead * batch)
    children, taken = _children_cpu_s(), 0

    def work() -> None:
        nonlocal taken
        taken = contender.take(turn, n)

    cost = measuring.cost_of(work)
    cpu_s = cost.cpu_s + _children_cpu_s() - children
    settle()
    return taken / cost.wall_s, 1000 * cpu_s / taken


def settle() -> None:
    """Return when neither this process nor its children compute."""
    for _ in range(100):
        before = time.process_time() + _children_cpu_s()
        time.sleep(0.02)
        if time.process_time() + _children_cpu_s() - before < _IDLE_S:
            return


def _children_cpu_s() -> float:
    """Return the CPU seconds of worker processes that still live."""
    total = 0.0
    for child in active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS
    return total
