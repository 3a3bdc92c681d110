"""CPU and memory of every verb on stores of many recordings.

    python benchmarks/bench_scale.py [N ...] [--in FOLDER] [--verbs NAME,NAME] [--repeats R]

Fabricates N (1000 10000) recordings: an EDF without a signal and a label file each, and records and objects that are
copies of a few real builds under other names. `brainbrr ingest` then makes catalog and caches of them. Times whole
processes. With --in, corpus and store stay in FOLDER and are used again by the next run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_reingest import edf_header, labels
from measuring import Row, heading

from brainbrr.core import files, models
from brainbrr.core.digest import key_of, sha256, source_digest, xxh3_128
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.ingest.build import Task, build
from brainbrr.store import sidecars
from brainbrr.store.formats import ARRAY_FILE, SHARD_FILE
from brainbrr.store.layout import Layout
from brainbrr.store.records import Record
from brainbrr.store.sidecars import Findings
from brainbrr.store.store import Store

SECONDS, RATE_HZ = 300, 256
N_TEMPLATES = 4
LINKS = 50_000  # ext4 allows 65,000 names of one file
SETTLE_S = 2.5

Environment = Mapping[str, str]


@dataclass(frozen=True)
class Verb:
    """What to run, how much CPU and memory it may take at 100,000 recordings, and how it may end."""

    words: tuple[str, ...]
    goal_s: float
    goal_mb: float | None = None
    codes: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Ended:
    """What a whole process took."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def tree_of(root: Path, n: int) -> list[Path]:
    """Write N files as TUSZ lays them, and return the EDF files: a header, and nothing that a header promises."""
    header, edfs = edf_header(), []
    for i in range(n):
        patient, session = f"p{i // 10:06d}", f"s{i % 10 // 4 + 1:03d}"
        split = ("dev", "eval")[i // 10 % 2] if i // 10 % 9 < 2 else "train"
        folder = root / "edf" / split / patient / f"{session}_2012" / "01_tcp_ar"
        folder.mkdir(parents=True, exist_ok=True)
        edf = folder / f"{patient}_{session}_t{i % 4:03d}.edf"
        edf.write_bytes(header + i.to_bytes(4, "little"))
        edf.with_suffix(".csv_bi").write_text(labels(edf.stem, seizure=i % 3 == 0)[".csv_bi"])
        edfs.append(edf)
    return edfs


def templates(folder: Path, store: Path, recipe: Recipe) -> list[Record]:
    """Build a few real recordings, and return their records."""
    rng, records = np.random.default_rng(0), []
    for i in range(N_TEMPLATES):
        edf = folder / f"template{i}.edf"
        head = edf_header()
        head = head[:236] + str(SECONDS).ljust(8).encode() + head[244:]
        signal = rng.integers(-300, 300, size=(SECONDS, len(head) // 256 - 1, RATE_HZ), dtype="<i2")
        if i == 1:
            signal[:, 3] = 0  # a flat channel
        edf.write_bytes(head + signal.tobytes())
        source = source_digest(edf)
        key = key_of(source=source, recipe=recipe.digest)
        records.append(build(store, Task(edf.name, edf, source, edf.stat().st_size, key), recipe).record)
    return records


def fabricate(layout: Layout, edfs: list[Path], made: list[Record]) -> None:
    """Give every EDF a record and an object: those of a template under other names."""
    shards: dict[int, Path] = {}
    examined = [sidecars.read_findings(layout, each.key, QUALITY_VERSION) or {} for each in made]
    for i, edf in enumerate(edfs):
        template = made[i % len(made)]
        source = source_digest(edf)
        key, content = key_of(source=source, recipe=template.recipe), sha256(source.encode())
        fields = template.to_json() | {"source": source, "key": key, "content": content}
        record, folder = layout.record(key), layout.object(content)
        if not record.parent.exists():
            layout.ensure_fan_out(record.parent, durable=False)
        record.write_bytes(models.to_checksummed(fields))
        record.chmod(files.READ_ONLY)
        findings = layout.findings_of(key, QUALITY_VERSION)
        findings.parent.mkdir(parents=True, exist_ok=True)
        said = Findings(key=key, version=QUALITY_VERSION, findings=examined[i % len(made)])
        findings.write_bytes(models.to_checksummed(said.to_json()))
        if not folder.parent.exists():
            layout.ensure_fan_out(folder.parent, group=True, durable=False)
        folder.mkdir()
        if i // LINKS and i < LINKS * (i // LINKS) + len(made):  # a new file for the next names
            shards.pop(i % len(made), None)
        shard = shards.setdefault(i % len(made), layout.object(template.content))
        for name in (SHARD_FILE, ARRAY_FILE):
            if i >= LINKS and shard == layout.object(template.content):
                (folder / name).write_bytes((shard / name).read_bytes())
            else:
                (folder / name).hardlink_to(shard / name)
        if i >= LINKS and shard == layout.object(template.content):
            shards[i % len(made)] = folder


def timed(command: list[str], environment: Environment, codes: tuple[int, ...] = (0,)) -> Ended:
    """Run a whole process. Raises CalledProcessError where it ends with another code."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in codes:
            errors.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, stderr=errors.read()[-2000:])
    return Ended(usage.ru_utime + usage.ru_stime, time.perf_counter() - began, usage.ru_maxrss * 1.024e-3)


def ready(folder: Path, n: int, environment: Environment) -> tuple[Path, list[str]]:
    """Return the corpus of N recordings in a folder, fabricated and ingested unless it is there, and its command."""
    root, location = folder / "corpus", folder / "store"
    ingest = [sys.executable, "-m", "brainbrr", "ingest", str(root)]
    if not (folder / "done").exists():
        recipe = Recipe()
        edfs = tree_of(root, n)
        store = Store.create(location)
        made = templates(folder, location, recipe)
        fabricate(store.layout, edfs, made)
        time.sleep(SETTLE_S)
        timed(ingest, environment)
        (folder / "done").touch()
    return root, ingest


def verbs(root: Path) -> dict[str, Verb]:
    """Return what is measured, by name."""
    edf = min(root.rglob("*.edf"))
    path = edf.relative_to(root).as_posix()
    first_batch = (
        "import brainbrr; v = brainbrr.view(window=brainbrr.WindowSpec(60, stride_s=10));"
        "next(iter(brainbrr.loader(v, batch=32, as_numpy=True)))"
    )
    view = ("-m", "brainbrr", "view", "--profile")
    brainbrr = ("-m", "brainbrr")
    return {
        "view full": Verb((*view, "full"), 1.0, 250),
        "view dev": Verb((*view, "dev"), 1.0, 250),
        "view smoke": Verb((*view, "smoke"), 1.0, 250),
        "status": Verb((*brainbrr, "status"), 1.0, 250),
        "why hit": Verb((*brainbrr, "why", path), 1.0, 250),
        "why miss": Verb((*brainbrr, "why", path, "--set", "notch_hz=50"), 1.0, 250, (0, 1, 3)),
        "ingest again": Verb((*brainbrr, "ingest", str(root)), 3),
        "dry run": Verb((*brainbrr, "ingest", str(root), "--dry-run"), 5),
        "check": Verb((*brainbrr, "check", *(f"--require={n}" for n in ("no-duplicates", "complete", "no-leaks"))), 3),
        "verify quick": Verb((*brainbrr, "verify", "--quick"), 3),
        "gc": Verb((*brainbrr, "gc"), 3),
        "first batch": Verb(("-c", first_batch), 2),
    }


def bytes_of_one_file(folder: Path, root: Path, ingest: list[str], environment: Environment) -> int:
    """Return the bytes that the catalog grows by when one recording is added, and take it away again."""
    catalog = folder / "store" / "catalog" / root.name

    def size() -> int:
        return sum(path.stat().st_size for path in catalog.iterdir())

    patient = root / "edf" / "train" / "added" / "s001_2012" / "01_tcp_ar"
    patient.mkdir(parents=True, exist_ok=True)
    name, before = f"added_s001_t{xxh3_128(os.urandom(8))[:3]}", size()
    edf = patient / f"{name}.edf"
    edf.write_bytes((folder / "template0.edf").read_bytes())
    edf.with_suffix(".csv_bi").write_text(labels(name, seizure=True)[".csv_bi"])
    timed(ingest, environment, (0, 1))
    return size() - before


def measure(folder: Path, n: int, chosen: Callable[[str], bool], repeats: int) -> None:
    """Print a row for each verb on a store of N recordings: the median of some runs."""
    environment = {**os.environ, "BRAINBRR_STORE": str(folder / "store"), "XDG_CACHE_HOME": str(folder / "host")}
    root, ingest = ready(folder, n, environment)
    # a host that does not know where the corpus is: views do not compare its files with the catalog
    elsewhere = {**environment, "XDG_CACHE_HOME": str(folder / "other host")}
    for name, verb in verbs(root).items():
        if chosen(name):
            words, of = [sys.executable, *verb.words], environment if "ingest" in verb.words else elsewhere
            runs = sorted((timed(words, of, verb.codes) for _ in range(repeats)), key=_cpu_s)
            median = runs[repeats // 2]
            detail = f"{n} recordings, {median.peak_mb:.0f} MB, {median.wall_s:.2f} s wall"
            print(Row(name, median.cpu_s, "s CPU", detail, verb.goal_s, at_most=True), flush=True)
    if chosen("added"):
        written = bytes_of_one_file(folder, root, ingest, environment)
        print(Row("added", written / 1000, "kB", f"{n} recordings, catalog of one more", 100, at_most=True), flush=True)


def _cpu_s(ended: Ended) -> float:
    return ended.cpu_s


def main() -> None:
    """Fabricate, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("n_recordings", nargs="*", type=int, default=[1000, 10_000])
    parser.add_argument("--in", dest="folder", type=Path)
    parser.add_argument("--verbs", type=lambda text: text.split(","))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(heading(("numpy", "pydantic", "zarr")))
    print("verb\tvalue\tgoal\treached\tdetail")
    with tempfile.TemporaryDirectory() as temporary:
        for n in arguments.n_recordings:
            folder = (arguments.folder or Path(temporary)) / str(n)
            folder.mkdir(parents=True, exist_ok=True)
            measure(folder, n, lambda name: arguments.verbs is None or name in arguments.verbs, arguments.repeats)


if __name__ == "__main__":
    main()
