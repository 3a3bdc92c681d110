"""Ingest against its peers: one recording from hash to stored and fsynced, worker processes, and memory.

    python benchmarks/bench_ingest.py [--only tuned,edfio,limit,...] [--rates 250,256]

All contenders of a row run in turns in one run, after a round that does not count; values are medians. Signals are
generated: 20 minutes, 31 channels of which 19 are kept. `--profile` shows where brainbrr's time goes instead.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import json
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

from measuring import Contender, Cost, Row, heading, interleaved, words
from one_build import ours, task_of
from threadpoolctl import threadpool_limits

from brainbrr.core import statistics
from brainbrr.core.compiled import has_numba
from brainbrr.eeg.signal import filters
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.local import local_engine
from brainbrr.errors import BrainbrrError
from brainbrr.ingest.batches import build_all
from brainbrr.ingest.build import Builder
from brainbrr.store.store import Store

PARTS = ("tuned", "edfio", "limit", "naive", "biosigio", "upstream", "numpy", "workers", "memory", "long")
SINGLE = {"tuned", "edfio", "limit", "naive", "biosigio", "upstream", "numpy", "memory"}
NEEDS_MNE = {"tuned", "naive", "upstream"}
RECIPE = Recipe()
FIRST_HZ = 250  # the rate that most goals are about


def main() -> None:
    """Measure the parts that are asked for and print a row for each value."""
    options = _options()
    needed = ["edfio", "scipy", *(["mne"] if NEEDS_MNE & set(options.only) and not options.profile else [])]
    if missing := [name for name in needed if find_spec(name) is None]:
        sys.exit(f"not installed: {', '.join(missing)}; `pip install -e '.[dev]'`, or choose other parts with --only")
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary, threadpool_limits(1):
        folder = Path(temporary)
        print(heading(), flush=True)
        if options.profile:
            for text in _profile(options, folder):
                print(text, flush=True)
            return
        print("measure\tvalue\tgoal\treached\tdetail", flush=True)
        for row in _parts(options, folder):
            print(row, flush=True)


def _options() -> argparse.Namespace:
    summary, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=summary)
    rates = ("250", "256", "400", "512", "1000")
    parser.add_argument("--only", type=words(PARTS), default=list(PARTS), metavar="PARTS", help=", ".join(PARTS))
    parser.add_argument("--rates", type=words(rates), default=list(rates), metavar="HZ", help=", ".join(rates))
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count (a third of it with workers)")
    parser.add_argument("--recordings", type=int, default=24, help="recordings to share out to workers")
    parser.add_argument("--hours", type=int, default=24, help="length of the long recording")
    parser.add_argument("--folder", type=Path, help="where to work; the disk of the temporary files, if not given")
    parser.add_argument("--profile", action="store_true", help="where brainbrr's time goes, at each rate")
    return parser.parse_args()


def _parts(options: argparse.Namespace, folder: Path) -> Iterator[Row | str]:
    from recordings import tusz_like

    parts = set(options.only)
    for rate in map(int, options.rates):
        if parts & SINGLE:
            edf = tusz_like(folder, rate)
            yield from _one_recording(edf, rate, parts, options.repeats, folder)
            if "memory" in parts:
                yield _memory(edf, rate, folder)
            edf.unlink()
    if parts & {"workers", "upstream"}:
        yield from _workers(parts, options.recordings, -(-options.repeats // 3), folder)
    if "long" in parts:
        yield _long(options.hours, folder)


def _one_recording(edf: Path, rate: int, parts: set[str], repeats: int, folder: Path) -> Iterator[Row]:
    """Compare the cost of one recording, in this process."""
    from peers import PEERS

    chosen = {
        "MNE tuned": "tuned" in parts,
        "MNE naive": "naive" in parts and rate == FIRST_HZ,
        "edfio + scipy": "edfio" in parts,
        "biosigio": "biosigio" in parts and rate == FIRST_HZ and find_spec("biosigio") is not None,
        "without numba": "numpy" in parts and has_numba(),
        "the limit": "limit" in parts,
        "the limit with two SHA-256": "limit" in parts,
        "upstream npz": "upstream" in parts and rate == FIRST_HZ,
        "upstream npz compressed": "upstream" in parts and rate == FIRST_HZ,
    }
    if not any(chosen.values()):
        return

    def peer(name: str) -> Contender:
        return lambda into: partial(PEERS[name], edf, into / "out")

    contenders: dict[str, Contender] = {"brainbrr": lambda into: ours(edf, into, RECIPE)}
    contenders |= {name: peer(name) for name, is_chosen in chosen.items() if is_chosen}
    if chosen["without numba"]:
        contenders["without numba"] = lambda into: partial(_without_numba, ours(edf, into, RECIPE))
    costs = interleaved(contenders, repeats, folder)
    mine = costs.pop("brainbrr")
    goals = {"MNE tuned": 3.5, "edfio + scipy": 2.0, "MNE naive": 10.0}
    for name, cost in costs.items():
        detail = f"brainbrr {mine}; {name} {cost}; wall {cost.wall_s / mine.wall_s:.2f} ×"
        if name.startswith("the limit"):
            goal = 3.5 if name.endswith("two SHA-256") and rate == RECIPE.rate_hz else None
            detail = f"brainbrr {mine}; {name} {cost}; wall {mine.wall_s / cost.wall_s:.2f} ×"
            yield Row(f"CPU, brainbrr / {name}, {rate} Hz", mine.cpu_s / cost.cpu_s, "×", detail, goal, at_most=True)
        else:
            yield Row(f"CPU, {name} / brainbrr, {rate} Hz", cost.cpu_s / mine.cpu_s, "×", detail, goals.get(name))


def _without_numba(run: Callable[[], object]) -> object:
    """Run as where numba is not installed."""
    with contextlib.ExitStack() as patched:
        for module in (filters, statistics):
            patched.enter_context(mock.patch.object(module, "has_numba", lambda: False))
        return run()


def _memory(edf: Path, rate: int, folder: Path) -> Row:
    told = _alone(edf, folder, ())
    return Row(f"peak memory, 20 min at {rate} Hz", told.pop("peak_mb"), "MB", _said(told), 250, at_most=True)


def _long(hours: int, folder: Path) -> Row | str:
    """Measure the memory that a long recording takes, all of whose 64 channels are kept."""
    from recordings import MANY, long_bytes, long_recording

    free, needed = shutil.disk_usage(folder).free, int(1.4 * long_bytes(hours))
    if free < needed:
        return f"# long: left out, {free / 1e9:.0f} GB are free and {needed / 1e9:.0f} GB needed (--hours, --folder)"
    told = _alone(long_recording(folder, hours=hours), folder, MANY)
    measure = f"peak memory, {hours} h at 1000 Hz, {len(MANY)} channels kept"
    return Row(measure, told.pop("peak_mb"), "MB", _said(told), 400, at_most=True)


def _alone(edf: Path, folder: Path, channels: tuple[str, ...]) -> dict[str, float]:
    """Build in a fresh process; return its seconds and its peak memory."""
    into = folder / "alone"
    into.mkdir()
    script = Path(__file__).with_name("one_build.py")
    command = [sys.executable, str(script), str(edf), str(into), *channels]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    shutil.rmtree(into)
    return dict(json.loads(told.stdout))


def _said(told: dict[str, float]) -> str:
    return str(Cost(told["wall_s"], told["cpu_s"]))


def _workers(parts: set[str], n: int, repeats: int, folder: Path) -> Iterator[Row]:
    """Compare one worker with two, and two with two of the upstream pipeline's."""
    from recordings import copies, tusz_like

    edfs = copies(tusz_like(folder, FIRST_HZ), n)
    paces: dict[int, list[float]] = {1: [], 2: []}

    def crew(n_workers: int) -> Contender:
        return lambda into: lambda: paces[n_workers].append(_ingest(edfs, into, n_workers))

    contenders = {f"{w} of ours": crew(w) for w in ((1, 2) if "workers" in parts else (2,))}
    if "upstream" not in parts:
        costs = interleaved(contenders, repeats, folder)
    else:
        import peers

        few = edfs[:4]  # it takes seconds for each
        with peers.pool(2) as workers:

            def theirs(name: str) -> Contender:
                run = partial(workers.map, peers.PEERS[name], few)
                return lambda into: lambda: list(run([into / edf.stem for edf in few]))

            names = ("upstream npz", "upstream npz compressed")
            costs = interleaved(contenders | {name: theirs(name) for name in names}, repeats, folder)
        two = n / costs["2 of ours"].wall_s
        for name in names:
            pace = len(few) / costs[name].wall_s
            detail = f"brainbrr {two:.2f} recordings/s, {name} {pace:.2f}"
            goal = 20 if name.endswith("compressed") else None  # as upstream does it
            yield Row(f"recordings per second on 2 workers, brainbrr / {name}", two / pace, "×", detail, goal)
    if "workers" in parts:
        walls = {w: costs[f"{w} of ours"].wall_s for w in (1, 2)}
        detail = f"{n} recordings: {walls[1]:.2f} s on 1 worker, {walls[2]:.2f} s on 2, the workers' start included"
        yield Row("wall, 1 worker / 2 workers", walls[1] / walls[2], "×", detail, 1.85)
        rates = {w: sorted(paces[w][1:])[len(paces[w]) // 2 - 1] for w in (1, 2)}
        detail = f"{rates[1]:.2f} and {rates[2]:.2f} recordings/s once all workers run"
        yield Row("pace, 2 workers / 1 worker", rates[2] / rates[1], "×", detail)


def _ingest(edfs: list[Path], into: Path, n_workers: int) -> float:
    """Hash and build all; return the recordings per second from when every worker had ended its first."""
    location = Store.create(into / "store").location
    tasks = [task_of(edf) for edf in edfs]
    ended: list[float] = []
    builder = Builder.for_ingest(location, edfs[0].parent, RECIPE)
    for _, built in build_all(tasks, builder, engine=local_engine(n_workers, len(tasks))):
        if isinstance(built, BrainbrrError):
            raise built
        ended.append(time.perf_counter())
    return (len(edfs) - n_workers) / (ended[-1] - ended[n_workers - 1])


def _profile(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Show what takes brainbrr's time: the functions with the most of their own, in CPU seconds."""
    from recordings import tusz_like

    for rate in map(int, options.rates):
        edf = tusz_like(folder, rate)
        for _ in range(2):  # the first pays for imports and tables
            into = folder / "profiled"
            into.mkdir()
            profile = cProfile.Profile(time.process_time)
            profile.runcall(ours(edf, into, RECIPE))
            shutil.rmtree(into)
        text = io.StringIO()
        pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(25)
        yield f"# {rate} Hz{text.getvalue().rstrip()}"


if __name__ == "__main__":
    main()
