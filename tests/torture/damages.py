"""Damage to every kind of file and folder of a store: `python tests/torture/damages.py --damages 10000`.

Each damage is made alone. `verify` must find it, and the samples that are read meanwhile are right or an error. One
`repair` then restores all that another store or the EDF files know, whichever of the two it is given; what it could
not restore it names, with a command that does or the reason why none can, and a second `verify` finds nothing else.
The host has verified the store once before, as hosts do that look after one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.core.statcache import Host
from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.ingest.repair import RepairReport, repair
from brainbrr.store.store import Store
from brainbrr.store.verify import verify
from brainbrr.views.view import View

sys.path.append(str(Path(__file__).parent))

from specimen import make_specimen

KINDS = {
    "format": r"format\.json",
    "group": r"objects\.zarr/(../)?zarr\.json",
    "zarr.json": r"objects\.zarr/../[0-9a-f]{64}/zarr\.json",
    "shard": r"objects\.zarr/../[0-9a-f]{64}/c\.0\.0",
    "record": r"records/.*json",
    "findings": r"findings/.*json",
    "generation": r"catalog/.*[0-9]\.jsonl",
    "acknowledgement": r"catalog/.*\.ack\.json",
    "cut": r"catalog/.*\.cut\.json",
    "view": r"views/.*json",
    "pin": r"pins/.*json",
    "retirement": r"retired/.*json",
    "receipt": r"receipts/.*json",
}
FOLDERS = {
    "object folder": r"objects\.zarr/../[0-9a-f]{64}",
    "fan-out": r"(objects\.zarr|records|findings)/..",
    "corpus": r"catalog/[^/]*",
    "kind": r"objects\.zarr|records|findings|catalog|views|pins|retired|receipts",
}
SCRATCH = ("tmp", "quarantine", "trash", "leases")
READ = ("shard", "zarr.json", "record", *FOLDERS)
FROM_A_STORE = {*KINDS}
"""What another store knows: everything."""
FROM_EDFS = {"format", "group", "zarr.json", "shard", "record", "findings", "acknowledgement", "cut", "pin"}
"""What the EDF files, names and other files of the store know."""


@dataclass(frozen=True)
class Specimen:
    """A store at `location`, one just like it at `whole` which nobody damages, and what both hold."""

    location: Path
    whole: Path
    kinds: dict[str, str]
    views: dict[str, dict[str, Any]]
    windows: dict[str, list[np.ndarray | None]]
    host: Host
    memory: dict[Path, bytes]
    unbuildable: frozenset[str]
    """Keys and contents of an EDF that is gone."""

    @classmethod
    def of(cls, location: Path, host: Host) -> Specimen:
        whole = location.with_name("whole")
        shutil.copytree(location, whole, symlinks=True)
        store = Store.open(location)
        assert verify(store, host=host).corrupt == ()
        kinds = {name: kind for name in _paths(location) if (kind := _kind(name, location / name)) is not None}
        named = {row.source for row in store.catalog("demo").rows.values()}  # type: ignore[union-attr]
        lost = [record for record in store.records() if record.source not in named]
        kept = {record.content for record in store.records() if record.source in named}
        return cls(
            location,
            whole,
            kinds=kinds,
            views={digest: store.frozen(digest) or {} for digest in store.frozen_views()},
            windows={digest: windows_of(store, store.frozen(digest) or {}) for digest in store.frozen_views()},
            host=host,
            memory={path: path.read_bytes() for path in host.folder.rglob("*") if path.is_file()},
            unbuildable=frozenset({each.key for each in lost} | ({each.content for each in lost} - kept)),
        )

    def undo(self) -> None:
        """Let the store be as before the damage, and the host remember it so."""
        shutil.rmtree(self.location)
        shutil.copytree(self.whole, self.location, symlinks=True)
        for extra in self.location.parent.glob("outside-*"):
            shutil.rmtree(extra) if extra.is_dir() else extra.unlink()
        self.remember()

    def remember(self) -> None:
        for path, data in self.memory.items():
            path.write_bytes(data)

    def read(self, name: str) -> bytes:
        return (self.whole / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        path = self.location / name
        path.unlink(missing_ok=True)  # a new inode: nobody has the old one mapped
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)


def _paths(location: Path) -> list[str]:
    names = (path.relative_to(location).as_posix() for path in sorted(location.rglob("*")))
    return [name for name in names if name.partition("/")[0] not in SCRATCH]


def _kind(name: str, path: Path) -> str | None:
    if path.is_dir() and not any(path.iterdir()):
        return None  # nothing is lost with it
    patterns = FOLDERS if path.is_dir() else KINDS
    return next((kind for kind, pattern in patterns.items() if re.fullmatch(pattern, name)), None)


def windows_of(store: Store, view: dict[str, Any]) -> list[np.ndarray | None]:
    """Return every window of a frozen view as a training reads it; None for one that is an error."""
    found: list[np.ndarray | None] = []
    opened = View.from_json(store, view)
    for i in range(len(opened)):
        try:
            found.append(opened[i].signal)
        except IntegrityError:
            found.append(None)
    return found


# A damage of a file or a folder by its name; False: it changes nothing here

Damage = Callable[[Specimen, str, random.Random], bool]


def flip(specimen: Specimen, name: str, chance: random.Random) -> bool:
    data = bytearray(specimen.read(name))
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    specimen.write(name, bytes(data))
    return True


def truncate(specimen: Specimen, name: str, chance: random.Random) -> bool:
    data = specimen.read(name)
    specimen.write(name, data[: chance.choice((0, len(data) - 1, chance.randrange(len(data))))])
    return True


def extend(specimen: Specimen, name: str, chance: random.Random) -> bool:
    specimen.write(name, specimen.read(name) + chance.choice((b"\0", b"\n", b" ", b"}", bytes(4096))))
    return True


def delete(specimen: Specimen, name: str, chance: random.Random) -> bool:
    path = specimen.location / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return True


def blank(specimen: Specimen, name: str, chance: random.Random) -> bool:
    """A sector that reads as zeros."""
    data = specimen.read(name)
    start = chance.randrange(0, len(data), 512)
    blanked = data[:start] + bytes(len(data[start : start + 512])) + data[start + 512 :]
    specimen.write(name, blanked)
    return blanked != data


def _other(specimen: Specimen, name: str, chance: random.Random, *, same_kind: bool) -> str | None:
    """Return another file or folder, of other bytes."""
    kind, is_file = specimen.kinds[name], specimen.kinds[name] in KINDS
    others = [
        other
        for other, its in specimen.kinds.items()
        if (its == kind) == same_kind
        and (its in KINDS) == is_file
        and other != name
        and not other.startswith(f"{name}/")
        and not name.startswith(f"{other}/")
        and not (is_file and specimen.read(other) == specimen.read(name))
    ]
    return chance.choice(others) if others else None


def exchange(specimen: Specimen, name: str, chance: random.Random) -> bool:
    """Two things of one kind under each other's names."""
    other = _other(specimen, name, chance, same_kind=True)
    if other is None:
        return False
    ours, theirs = specimen.location / name, specimen.location / other
    spare = specimen.location.parent / "outside-spare"
    for old, new in ((ours, spare), (theirs, ours), (spare, theirs)):
        old.rename(new)
    return True


def replace(specimen: Specimen, name: str, chance: random.Random) -> bool:
    """A whole file or folder of another kind in this one's place."""
    other = _other(specimen, name, chance, same_kind=False)
    if other is None:
        return False
    delete(specimen, name, chance)
    _copy(specimen.location / other, specimen.location / name)
    return True


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True) if source.is_dir() else shutil.copy2(source, target)


def _renamed(name: str, chance: random.Random) -> str | None:
    """Return another name that a thing of this kind could have."""
    folder, _, last = name.rpartition("/")
    digits = re.match(r"[0-9a-f]+", last)
    if not folder or not digits or len(digits[0]) not in (2, 32, 64):
        return None
    n = len(digits[0])
    new = "".join(chance.choices("0123456789abcdef", k=n))
    new = new if n == 2 else digits[0][:2] + new[2:]
    return f"{folder}/{new}{last[n:]}" if new != digits[0] else None


def misplace(specimen: Specimen, name: str, chance: random.Random) -> bool:
    """A file or folder under another name that could be one of its kind."""
    other = _renamed(name, chance)
    if other is None or (specimen.location / other).exists():
        return False
    (specimen.location / name).rename(specimen.location / other)
    return True


def copy(specimen: Specimen, name: str, chance: random.Random) -> bool:
    """A second one under a name of its kind, or inside its own folder."""
    other = _renamed(name, chance) if chance.random() < 0.7 else f"{name.rpartition('/')[0]}/copy of it".lstrip("/")
    if other is None or (specimen.location / other).exists():
        return False
    _copy(specimen.location / name, specimen.location / other)
    return True


def link(specimen: Specimen, name: str, chance: random.Random) -> bool:
    """A link in its place to itself elsewhere, to another one of its kind, or to nothing."""
    path, moved = specimen.location / name, specimen.location.parent / "outside-moved"
    other = _other(specimen, name, chance, same_kind=True)
    path.rename(moved)
    target = chance.choice([moved, Path("/nonexistent"), *([specimen.location / other] if other else [])])
    path.symlink_to(target)
    return True


def into_file(specimen: Specimen, name: str, chance: random.Random) -> bool:
    """A file where a folder was, or a folder where a file was."""
    path = specimen.location / name
    was_folder = path.is_dir()
    delete(specimen, name, chance)
    path.write_bytes(b"{}") if was_folder else path.mkdir()
    return True


def swap_tiles(specimen: Specimen, name: str, chance: random.Random) -> bool:
    """Two tiles of a shard in each other's places, checksums and all."""
    store = Store.open(specimen.location)
    if specimen.kinds[name] != "shard" or store.codec != "none":
        return False
    n = store.reader(name.split("/")[2]).meta.tile_bytes
    data = specimen.read(name)
    n_tiles = len(data) // n
    if n_tiles < 2:
        return False
    i, j = sorted(chance.sample(range(n_tiles), 2))
    tiles = [data[k * n : (k + 1) * n] for k in range(n_tiles)]
    tiles[i], tiles[j] = tiles[j], tiles[i]
    swapped = b"".join(tiles) + data[n_tiles * n :]
    specimen.write(name, swapped)
    return swapped != data


ANY: tuple[Damage, ...] = (delete, exchange, replace, misplace, copy, link, into_file)
OF_FILES: tuple[Damage, ...] = (flip, truncate, extend, blank, swap_tiles)


def is_silent(specimen: Specimen) -> bool:
    """Say whether any window of any view holds samples that it never held."""
    store = Store.open(specimen.location)
    for digest, view in specimen.views.items():
        try:
            found = windows_of(store, view)
        except IntegrityError:
            continue
        for window, good in zip(found, specimen.windows[digest], strict=True):
            if window is not None and not np.array_equal(window, good):
                return True
    return False


def wrong(specimen: Specimen, kind: str, *, from_store: bool) -> list[str]:
    """Return what is wrong with a damaged store's verification, reading, repair and verification thereafter."""
    store = Store.open(specimen.location)
    if verify(store, host=specimen.host).exit_code != IntegrityError.exit_code:
        return ["not found"]
    bad = ["read silently"] if kind in READ and is_silent(specimen) else []
    specimen.remember()
    source = Store.open(specimen.whole) if from_store else None
    report = repair(store, source=source, host=specimen.host, workers=1)
    bad += _unrestored(specimen, report, FROM_A_STORE if from_store else FROM_EDFS, from_store=from_store)
    left = {each.damage.subject for each in report.results if not each.repaired}
    left |= {each.subject for each in report.remaining}
    for each in verify(Store.open(specimen.location), host=specimen.host).corrupt:
        if each.subject not in left:
            bad.append(f"not named by repair: {each}")
    for result in report.results:
        if not result.repaired and re.fullmatch(r"brainbrr repair\.?", str(result.fix or "brainbrr repair")):
            bad.append(f"points to itself: {result}")
    return bad


def _unrestored(specimen: Specimen, report: RepairReport, known: set[str], *, from_store: bool) -> list[str]:
    """Return what is missing or other than before, and known to what `repair` was given."""
    bad = [f"left: {each}" for each in report.results if from_store and not each.repaired]
    for name, kind in specimen.kinds.items():
        if kind not in known or (not from_store and any(digest in name for digest in specimen.unbuildable)):
            continue
        if not from_store and _names_nothing(specimen.location, kind, name):
            continue
        path = specimen.location / name
        if path.is_symlink() or not path.is_file():
            bad.append(f"missing: {name}")
        elif _said(kind, path.read_bytes()) != _said(kind, specimen.read(name)):
            bad.append(f"other than before: {name}")
    return bad


def _names_nothing(location: Path, kind: str, name: str) -> bool:
    """Say whether what a file is about, or says where its EDF file is, is lost itself."""
    if kind in ("acknowledgement", "cut"):
        return not (location / re.sub(r"\.(ack|cut)\.json$", ".jsonl", name)).is_file()
    if kind == "pin":
        return not (location / "views" / Path(name).name).is_file()
    if kind in FROM_EDFS - {"format", "group"} and not any(location.glob("catalog/demo/*.jsonl")):
        return True
    return kind == "group" and not any(each.is_dir() for each in (location / name).parent.glob("*"))


def _said(kind: str, data: bytes) -> Any:
    """Return the content of a file without when, where and by whom it was written."""
    if kind not in ("record", "pin", "cut", "retirement"):
        return data
    fields = json.loads(data)
    return {name: value for name, value in fields.items() if name not in ("provenance", "created", "by", "sha256")}


def torture(
    specimens: list[Specimen], *, n_damages: int, seed: int, seconds: float = math.inf
) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Damage at random, so often or so long; return how often each kind had each damage, and all that went wrong."""
    until = time.monotonic() + seconds
    chance = random.Random(seed)
    done: Counter[tuple[str, str]] = Counter()
    missed: list[str] = []
    while sum(done.values()) < n_damages and time.monotonic() < until:
        specimen = chance.choice(specimens)
        kind = chance.choice(sorted(set(specimen.kinds.values())))
        name = chance.choice([name for name, its in specimen.kinds.items() if its == kind])
        damage = chance.choice(ANY if kind in FOLDERS else ANY + OF_FILES)
        from_store = chance.random() < 0.5
        if damage(specimen, name, chance):
            done[kind, damage.__name__] += 1
            where = (
                f"{damage.__name__} of {name} in {specimen.location}, repaired from {'store' if from_store else 'EDF'}"
            )
            try:
                missed += [f"{where}: {what}" for what in wrong(specimen, kind, from_store=from_store)]
            except BrainbrrError as error:
                if not _refuses_to_open(specimen):
                    missed.append(f"{where}: {error!r}")
                else:
                    done["refused by name", damage.__name__] += 1
            except Exception as error:  # noqa: BLE001  # a traceback is what is looked for
                missed.append(f"{where}: {error!r}")
        specimen.undo()
    assert not any(verify(Store.open(each.location), host=each.host).corrupt for each in specimens), "not undone"
    return done, missed


def _refuses_to_open(specimen: Specimen) -> bool:
    """Say whether the store is refused as a whole, with a fix: its mark, or a link for one of its own folders."""
    try:
        Store.open(specimen.location)
    except BrainbrrError as error:
        return bool(error.fix)
    return False


def specimens(folder: Path) -> list[Specimen]:
    host = Host(folder / "host")
    plain = make_specimen(folder / "plain", codec="none", host=host)
    packed = make_specimen(folder / "zstd", codec="zstd", host=host)
    return [Specimen.of(location, host) for location in (plain, packed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--damages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="end after this time, whatever was done by then"
    )
    asked = parser.parse_args()
    print(f"damages: seed {asked.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        done, missed = torture(specimens(Path(folder)), n_damages=asked.damages, seed=asked.seed, seconds=asked.seconds)
    refused = sum(n for (kind, _), n in done.items() if kind == "refused by name")
    kinds = {kind: sum(n for (k, _), n in done.items() if k == kind) for kind in (*KINDS, *FOLDERS)}
    print(f"  {', '.join(f'{n} {kind}' for kind, n in kinds.items())}")
    for each in missed:
        print(f"  missed: {each}")
    total, n_read = sum(kinds.values()), sum(n for kind, n in kinds.items() if kind in READ)
    print(
        f"damages: {total:,} in {len(kinds)} kinds of files and folders, {refused} refused by name, "
        f"{len(missed)} missed; {n_read:,} also read, 0 silently"
    )
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
