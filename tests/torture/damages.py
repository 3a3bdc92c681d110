"""Bit rot in every kind of file of a store: `python tests/torture/damages.py --damages 10000`.

Each damage is made alone, `verify` must find it, and the samples that are read meanwhile are right or an error; then
it is undone. The host has verified the store once before, as hosts do that look after one.
"""

from __future__ import annotations

import argparse
import os
import random
import re
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
    "record": r"records/.*",
    "findings": r"findings/.*",
    "generation": r"catalog/.*[0-9]\.jsonl",
    "acknowledgement": r"catalog/.*\.ack\.json",
    "cut": r"catalog/.*\.cut\.json",
    "view": r"views/.*",
    "pin": r"pins/.*",
    "retirement": r"retired/.*",
    "receipt": r"receipts/.*",
}


READ = ("shard", "zarr.json", "record")


@dataclass(frozen=True)
class Specimen:
    """A store as it should be: every file's bytes, and every object's samples."""

    location: Path
    files: dict[str, bytes]
    times: dict[str, tuple[int, int]]
    views: dict[str, dict[str, Any]]
    windows: dict[str, list[np.ndarray | None]]
    host: Host

    @classmethod
    def of(cls, location: Path, host: Host) -> Specimen:
        paths = {str(path.relative_to(location)): path for path in sorted(location.rglob("*")) if path.is_file()}
        store = Store.open(location)
        assert verify(store, host=host).corrupt == ()
        return cls(
            location,
            files={name: path.read_bytes() for name, path in paths.items()},
            times={name: (path.stat().st_atime_ns, path.stat().st_mtime_ns) for name, path in paths.items()},
            views={digest: store.frozen(digest) or {} for digest in store.frozen_views()},
            windows={digest: windows_of(store, store.frozen(digest) or {}) for digest in store.frozen_views()},
            host=host,
        )

    def kind(self, name: str) -> str:
        [kind] = [kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)]
        return kind

    def write(self, name: str, data: bytes | None) -> None:
        path = self.location / name
        if path.exists():
            path.unlink()  # a new inode: nobody has the old one mapped
        if data is not None:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o444)
            if data == self.files.get(name):
                os.utime(path, ns=self.times[name])  # nothing happened
        elif Path(name).parent not in {Path(each).parent for each in self.files} and path.parent.exists():
            path.parent.rmdir()  # made for what was misplaced


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


# A damage returns what the files then hold; None: it changes nothing here

Damage = Callable[[Specimen, str, random.Random], dict[str, bytes | None] | None]


def flip(specimen: Specimen, name: str, chance: random.Random) -> dict[str, bytes | None]:
    data = bytearray(specimen.files[name])
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return {name: bytes(data)}


def truncate(specimen: Specimen, name: str, chance: random.Random) -> dict[str, bytes | None]:
    data = specimen.files[name]
    return {name: data[: chance.choice((0, len(data) - 1, chance.randrange(len(data))))]}


def extend(specimen: Specimen, name: str, chance: random.Random) -> dict[str, bytes | None]:
    return {name: specimen.files[name] + chance.choice((b"\0", b"\n", b" ", b"}", bytes(4096)))}


def delete(specimen: Specimen, name: str, chance: random.Random) -> dict[str, bytes | None]:
    return {name: None}


def blank(specimen: Specimen, name: str, chance: random.Random) -> dict[str, bytes | None] | None:
    """A sector that reads as zeros."""
    data = specimen.files[name]
    start = chance.randrange(0, len(data), 512)
    blanked = data[:start] + bytes(len(data[start : start + 512])) + data[start + 512 :]
    return {name: blanked} if blanked != data else None


def exchange(specimen: Specimen, name: str, chance: random.Random) -> dict[str, bytes | None] | None:
    """Two files of one kind under each other's names."""
    kind, mine = specimen.kind(name), specimen.files[name]
    others = [o for o, data in specimen.files.items() if o != name and specimen.kind(o) == kind and data != mine]
    if not others:
        return None
    other = chance.choice(others)
    return {name: specimen.files[other], other: mine}


def misplace(specimen: Specimen, name: str, chance: random.Random) -> dict[str, bytes | None] | None:
    """A file under another name that could be one of its kind."""
    digests = re.findall(r"[0-9a-f]{32,64}", name)
    if not digests:
        return None
    other = name.replace(
        digests[-1], digests[-1][:2] + "".join(chance.choices("0123456789abcdef", k=len(digests[-1]) - 2))
    )
    return {name: None, other: specimen.files[name]}


def swap_tiles(specimen: Specimen, name: str, chance: random.Random) -> dict[str, bytes | None] | None:
    """Two tiles of a shard in each other's places, checksums and all."""
    if specimen.kind(name) != "shard":
        return None
    store = Store.open(specimen.location)
    if store.codec != "none":
        return None
    n = store.reader(name.split("/")[2]).meta.tile_bytes
    data = specimen.files[name]
    n_tiles = len(data) // n
    if n_tiles < 2:
        return None
    i, j = sorted(chance.sample(range(n_tiles), 2))
    tiles = [data[k * n : (k + 1) * n] for k in range(n_tiles)]
    tiles[i], tiles[j] = tiles[j], tiles[i]
    swapped = b"".join(tiles) + data[n_tiles * n :]
    return {name: swapped} if swapped != data else None


DAMAGES: tuple[Damage, ...] = (flip, truncate, extend, delete, blank, exchange, misplace, swap_tiles)


def found_by_verify(specimen: Specimen) -> bool:
    memory = {path: path.read_bytes() for path in specimen.host.folder.rglob("*") if path.is_file()}
    try:
        return verify(Store.open(specimen.location), host=specimen.host).exit_code == IntegrityError.exit_code
    except BrainbrrError:
        return True  # the store's own mark: it does not open
    finally:
        for path, data in memory.items():  # what it remembers is the store as it should be
            path.write_bytes(data)


def is_silent(specimen: Specimen) -> bool:
    """Say whether any window of any view holds samples that it never held."""
    try:
        store = Store.open(specimen.location)
    except BrainbrrError:
        return False
    for digest, view in specimen.views.items():
        try:
            found = windows_of(store, view)
        except IntegrityError:
            continue
        for window, good in zip(found, specimen.windows[digest], strict=True):
            if window is not None and not np.array_equal(window, good):
                return True
    return False


def torture(specimens: list[Specimen], *, n_damages: int, seed: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Damage at random; return how often each kind had each damage, and what nobody found or was read silently."""
    chance = random.Random(seed)
    done: Counter[tuple[str, str]] = Counter()
    missed: list[str] = []
    while sum(done.values()) < n_damages:
        specimen = chance.choice(specimens)
        kind = chance.choice(sorted({specimen.kind(name) for name in specimen.files}))
        name = chance.choice([name for name in specimen.files if specimen.kind(name) == kind])
        damage = chance.choice(DAMAGES)
        changed = damage(specimen, name, chance)
        if changed is None:
            continue
        for each, data in changed.items():
            specimen.write(each, data)
        done[kind, damage.__name__] += 1
        if not found_by_verify(specimen):
            missed.append(f"{damage.__name__} of {name} in {specimen.location}")
        if kind in READ and is_silent(specimen):
            missed.append(f"{damage.__name__} of {name} in {specimen.location} was read silently")
        for each in reversed(changed):
            specimen.write(each, specimen.files.get(each))
    assert not any(found_by_verify(specimen) for specimen in specimens), "what was undone is still damaged"
    return done, missed


def specimens(folder: Path) -> list[Specimen]:
    host = Host(folder / "host")
    plain = make_specimen(folder / "plain", codec="none", host=host)
    packed = make_specimen(folder / "zstd", codec="zstd", host=host)
    return [Specimen.of(location, host) for location in (plain, packed)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--damages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    print(f"damages: seed {asked.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        done, missed = torture(specimens(Path(folder)), n_damages=asked.damages, seed=asked.seed)
    kinds = Counter({kind: sum(n for (k, _), n in done.items() if k == kind) for kind in KINDS})
    print(f"  {', '.join(f'{n} {kind}' for kind, n in kinds.items())}")
    for each in missed:
        print(f"  missed: {each}")
    total = sum(done.values())
    n_read = sum(n for (kind, _), n in done.items() if kind in READ)
    print(f"damages: {total:,} in {len(kinds)} kinds of files, {len(missed)} missed; {n_read:,} also read, 0 silently")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
