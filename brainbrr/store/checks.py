"""What is damaged in a store: every object against its content, and everything else against what speaks of it.

The only place that says what damage is: `verify`, `repair` and `check --require verified` ask here. Changes nothing.

What lies in a store and does not belong there. Looks at names only.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.core.arrays import Int16
from brainbrr.core.digest import is_digest, json_digest, sha256
from brainbrr.core.files import lies
from brainbrr.core.progress import Progress, Silent
from brainbrr.core.statistics import Statistics
from brainbrr.core.threads import cores, one_blas_thread
from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.store import create, deletion
from brainbrr.store.create import GUESTS
from brainbrr.store.damage import (
    RECEIPTS_OF,
    Bound,
    Found,
    Notes,
    catalogs,
    kind_and_name,
    place_of,
    small_files,
    views,
)
from brainbrr.store.formats import ARRAY_FILE, FILL, ArrayMeta, crc32c
from brainbrr.store.layout import FOLDERS, LATER, Layout
from brainbrr.store.records import Record
from brainbrr.store.store import (
    Depth,
    Store,
    decode_object,
    proven_record,
    unproven_record,
    verify_binding,
    verify_folder,
    verify_group,
    verify_place,
)

_OURS_ELSEWHERE = ".nfs"  # NFS keeps a file that was deleted while open under such a name, and removes it itself


def strangers(layout: Layout) -> Iterator[str]:
    """Yield the path below the store of every file and folder that no store has.

    What lies where objects, records or findings lie under a wrong name is named by those who look there; `tmp`,
    `trash` and `quarantine` may hold anything.
    """
    root = layout.root
    folders = {*FOLDERS, *LATER}
    yield from _others(
        root, root, {layout.mark.name, *GUESTS, *folders}.__contains__, {*folders, "lost+found"}.__contains__
    )
    is_fan_out = layout.names_fan_out
    yield from _others(root, layout.objects, lambda name: name == ARRAY_FILE or is_fan_out(name), is_fan_out)
    for folder in (layout.records, layout.findings):
        yield from _others(root, folder, is_fan_out, is_fan_out)
    for fan_out in layout.fan_outs(layout.objects):
        if is_fan_out(fan_out.name) and not fan_out.is_symlink():
            for name in _names(fan_out):  # folders and links are named as objects
                path = fan_out / name
                if name != ARRAY_FILE and not path.is_dir() and not path.is_symlink() and lies(path):
                    yield _below(root, path)
    for folder in (layout.records, layout.findings):
        for fan_out in layout.fan_outs(folder):
            for name in _names(fan_out):
                if name.startswith("."):  # the others are named as records or findings that are not in their place
                    yield _below(root, fan_out / name)
    catalog = root / "catalog"
    yield from _others(root, catalog, layout.names_corpus, layout.names_corpus)
    for corpus in filter(layout.names_corpus, _names(catalog)):
        if not (catalog / corpus).is_symlink():
            yield from _others(root, catalog / corpus, layout.names_catalog_file)
    for name, n_digits in (("views", 64), ("pins", 64), ("retired", 32)):
        yield from _others(root, root / name, partial(_names_digest, n_digits))
    yield from _others(root, root / "receipts", layout.names_receipt)
    yield from _others(root, root / "leases", lambda name: is_digest(name, 32))


def _names_digest(n_digits: int, name: str) -> bool:
    return name.endswith(".json") and is_digest(name[:-5], n_digits)


def _others(
    root: Path, folder: Path, known: Callable[[str], bool], is_folder: Callable[[str], bool] = lambda _: False
) -> Iterator[str]:
    """Yield what is not known by name, and what is a link or a folder where it has to be something else.

    By what a name is, not by what was listed before: others write meanwhile.
    """
    for name in _names(folder):
        path, inner = folder / name, is_folder(name)
        odd = not known(name) or inner != path.is_dir() or (inner and path.is_symlink())
        if odd and lies(path):
            yield _below(root, path)


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith(_OURS_ELSEWHERE))
    except (FileNotFoundError, NotADirectoryError):
        return []


_SUMS = {"n", "sums", "products", "quartiles"}
_THREADS = 8


def _at_once(name: str, prove: Callable[[], str | None]) -> bool:
    prove()
    return True


@dataclass(frozen=True)
class Scope:
    """How deep to look, and at which objects: those that `sums` names passed before, with the digests of their sums.

    `prove` is given each other one with its proof, which returns these, and says whether it was done now; in
    the order of `first`.
    """

    depth: Depth = "full"
    sums: Mapping[str, str | None] = field(default_factory=dict)
    prove: Callable[[str, Callable[[], str | None]], bool] = _at_once
    first: Callable[[str], Any] = str


@dataclass(frozen=True)
class Damage:
    """What is damaged, and what was read on the way.

    What is `misplaced` is whole, but lies under another's name; `broken` is everything else. `unreadable` is what the
    disk, the network, a permission or a newer format kept from being read: nothing is known of what it says.
    """

    contents: tuple[str, ...]
    proven: frozenset[str]
    """Objects that were looked at now, whole or not."""
    n_records: int
    broken: tuple[Found, ...]
    misplaced: tuple[Found, ...]
    unreadable: frozenset[tuple[str, str]]
    decoded: dict[str, str]
    """By folder: the content of the array that it holds."""
    records: tuple[Bound, ...]
    """Those that are whole, with their objects."""
    lonely: tuple[Bound, ...]
    """Those that are whole, but not their objects."""
    foreign_records: dict[str, Bound]
    """By file: the records that are whole, but another key's, misplaced or without their objects."""
    wanted: dict[str, str]
    """By key: the content that catalogs and frozen views say it has."""
    names: dict[str, frozenset[str]]
    """By kind: what is there, damaged or not."""

    @property
    def all(self) -> tuple[Found, ...]:
        """Whatever its kind, by kind and name."""
        return tuple(sorted((*self.broken, *self.misplaced), key=lambda found: list(found.items())))


def damage(store: Store, scope: Scope = Scope(), *, progress: Progress = Silent()) -> Damage:  # noqa: B008  # frozen
    """Prove everything in a store, each object read once. Several threads, a few tiles of memory each."""
    broken, misplaced, before = Notes(), Notes(), deletion.deleted(store.layout)
    contents = sorted(store.contents())
    decoded: dict[str, str] = {}
    sums = dict(scope.sums)
    proven = _objects(store, contents, scope, broken, misplaced, decoded, sums, progress)
    lost = misplaced.names("object")  # nobody owes a group to a folder that zarr should not list
    for fan_out in sorted({"", *(name[:2] for name in contents if name not in lost)}):
        with broken.noting("group", f"{fan_out}/zarr.json".lstrip("/")):
            verify_group(store, fan_out)
    with broken.noting("format", "format.json"):
        create.verify_mark(store.layout)
    keys = sorted(store.keys())
    bound: dict[str, Bound] = {}
    lonely: dict[str, Bound] = {}
    foreign: dict[str, Bound] = {}
    for key in keys:
        alone = Notes()
        with alone.noting("record", key):
            record = proven_record(store, key)
            lonely[key] = Bound.of(record)
            verify_binding(store, record)
            bound[key] = lonely.pop(key)
            _check_sums(record, sums.get(record.content))
        notes = broken
        if alone.found and key not in lonely and key not in bound and (stray := _stray(store, key)) is not None:
            foreign[key] = Bound.of(stray)
            notes = misplaced if _is_bound(store, stray) else broken
        notes.found += alone.found
        notes.unreadable |= alone.unreadable
    deleted = deletion.deleted(store.layout)
    wanted = catalogs(store, {**lonely, **bound}, set(keys), deleted["records"], broken)
    views(store, {**lonely, **bound}, set(keys), wanted, broken)
    names = {
        "object": frozenset(contents),
        "record": frozenset(keys),
        **{kind: frozenset(found) for kind, found in small_files(store, broken).items()},
    }
    for name in strangers(store.layout):
        if name not in broken.names("folder"):
            broken.say("stranger", name, "no store has a file of this name")
    if broken.found or misplaced.found:
        deleted = deletion.deleted(store.layout)
        for notes in (broken, misplaced):
            notes.found = [found for found in notes.found if not _was_deleted(store, found, before, deleted)]
    return Damage(
        contents=tuple(contents),
        proven=frozenset(proven),
        n_records=len(keys),
        broken=tuple(broken.found),
        misplaced=tuple(misplaced.found),
        unreadable=frozenset(broken.unreadable | misplaced.unreadable),
        decoded=decoded,
        records=tuple(bound.values()),
        lonely=tuple(lonely.values()),
        foreign_records=foreign,
        wanted=wanted,
        names=names,
    )


def _objects(
    store: Store,
    contents: Iterable[str],
    scope: Scope,
    broken: Notes,
    misplaced: Notes,
    decoded: dict[str, str],
    sums: dict[str, str | None],
    progress: Progress,
) -> set[str]:
    """Prove the objects of a scope; return those that were looked at."""
    todo = sorted((name for name in contents if name not in scope.sums), key=scope.first)

    def one(name: str) -> bool:
        def prove() -> str | None:
            verify_folder(store, name, checksums=scope.depth == "checksums")
            seen = _Sums()
            if scope.depth == "full":
                decoded[name] = decode_object(store, name, look=seen)
                sums[name] = seen.digests()
            verify_place(store, name, decoded=decoded.get(name))
            return sums.get(name)

        try:
            return scope.prove(name, prove)
        except (BrainbrrError, OSError) as error:
            # whole, and not what lies here: its name is wrong, or an array was swapped
            whole = name in decoded or (scope.depth != "full" and not _in_place(store, name))
            (misplaced if whole else broken).note("object", name, error)
            return True

    looked: set[str] = set()
    progress.start("verifying", len(todo), "objects")
    pool = ThreadPoolExecutor(min(_THREADS, cores()))
    try:
        with one_blas_thread():
            for name, done in zip(todo, pool.map(one, todo), strict=True):
                if done:
                    looked.add(name)
                progress.advance()
    finally:
        pool.shutdown(cancel_futures=True)
        progress.stop()
    return looked


def _in_place(store: Store, name: str) -> bool:
    try:
        verify_place(store, name)
    except IntegrityError:
        return False
    return True


class _Sums:
    """What the samples of an object add up to, and each tile's crc32c, gathered while they are decoded."""

    def __init__(self) -> None:
        self._statistics: Statistics | None = None
        self._checks = bytearray()

    def __call__(self, meta: ArrayMeta) -> Callable[[Int16], None]:
        present = [i for i, name in enumerate(meta.channels) if name not in meta.absent]
        statistics = self._statistics = Statistics(meta.n_channels, present)

        def see(tile: Int16) -> None:
            statistics.update(tile)
            padding = ((0, 0), (0, meta.tile - tile.shape[1]))
            whole = np.pad(tile, padding, constant_values=FILL) if padding[1][1] else tile
            self._checks += crc32c(np.ascontiguousarray(whole))

        return see

    def digests(self) -> str | None:
        """Return the SHA-256 of the statistics and of the checks, one after the other."""
        if self._statistics is None:
            return None
        return json_digest(self._statistics.result()) + sha256(self._checks)


def _check_sums(record: Record, sums: str | None) -> None:
    """Hold a record's statistics and checks against its object's samples; others than ours are nobody's to judge."""
    if sums is None:
        return
    if record.statistics.keys() == _SUMS and json_digest(record.statistics) != sums[:64]:
        raise IntegrityError("its statistics are not those of its object's samples")
    if record.checks and sha256(bytes.fromhex(record.checks)) != sums[64:]:
        raise IntegrityError("its checks are not those of its object's tiles")


def _stray(store: Store, name: str) -> Record | None:
    """Return what a record file says when nothing in it is wrong but its name."""
    try:
        record = unproven_record(store, name)
        if record is not None:
            record.check_identity()
    except (BrainbrrError, OSError):
        return None
    return record


def _is_bound(store: Store, record: Record) -> bool:
    try:
        verify_binding(store, record)
    except (BrainbrrError, OSError):
        return False
    return True


def _was_deleted(
    store: Store, found: Found, before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> bool:
    """Say whether what was missed was deleted on purpose while we looked."""
    kind, name = kind_and_name(found)
    if kind not in RECEIPTS_OF:
        return False
    then, when = (said[RECEIPTS_OF[kind]].get(name) for said in (before, now))
    meanwhile = when is not None and (when == deletion.UNENDED or when != then)
    return meanwhile and not os.path.lexists(place_of(store, kind, name))


def copies(decoded: dict[str, str]) -> tuple[tuple[str, ...], ...]:
    """Return the folders that hold one array more than once, each group with the one in its place first."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in sorted(decoded, key=lambda name: (decoded[name] != name, name)):
        folders[decoded[name]].append(name)
    return tuple(tuple(names) for names in folders.values() if len(names) > 1)
