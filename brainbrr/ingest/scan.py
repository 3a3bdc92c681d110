"""What lies below a corpus's root now: size, labels and source of each recording, by stat where that is enough.

Opens what this host does not remember, and builds nothing.

What a store holds of a key already, from this host's memory where a stat allows that. Opens no object.

Recordings that are gone from a corpus's root, or a store from its place: deleted, or only out of reach?

In doubt an ingest is refused.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from brainbrr.core.digest import is_digest, source_digest
from brainbrr.core.progress import Progress
from brainbrr.core.statcache import FileFacts, Host, Sources, keep
from brainbrr.eeg.corpus.annotations import Annotations, label_digest, read_annotations
from brainbrr.eeg.corpus.tree import Corpus, RecordingFile
from brainbrr.errors import BrainbrrError, Fix, IntegrityError, RecordingError, UsageError
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.integrity import verify_object
from brainbrr.store.records import Record
from brainbrr.store.store import Store


@dataclass(frozen=True)
class Stored:
    """What an ingest needs to know of a record: enough to find its object and to fill its catalog row."""

    content: str
    shard_bytes: int
    signal_us: int
    synthetic: bool

    @classmethod
    def of(cls, record: Record) -> Stored:
        """Return what a record says of all this."""
        array = record.array
        signal_us = array.n_samples * 1_000_000 // array.rate_hz
        return cls(record.content, array.shard_bytes, signal_us, bool(record.signal.get("synthetic")))


def stored(store: Store, key: str, *, remembered: FileFacts | None = None, prove: bool = False) -> Stored | None:
    """Return what a key's record says when it and its object can be reused; where not, building puts that right.

    A record that was read before and whose stat has not moved is not opened again. Its object is looked for each
    time, by two stats. With `prove` nothing remembered counts, and the object is proven.
    """
    try:
        found = _read(store, key, remembered, prove=prove)
        if not store.has_files(found.content, found.shard_bytes):
            return None
        if prove:
            verify_object(store, found.content)
    except (FileNotFoundError, NotADirectoryError, IntegrityError):
        return None
    return found


def is_there(store: Store, key: str, found: Stored | Record) -> bool:
    """Say whether a key's record and its object lie in their places still. Three stats; proves nothing."""
    known = found if isinstance(found, Stored) else Stored.of(found)
    return store.path_of("record", key).exists() and store.has_files(known.content, known.shard_bytes)


def remember(store: Store, keys: Iterable[str], remembered: FileFacts) -> None:
    """Read records again that were built just now: the next ingest then finds those by stat that have settled."""
    for key in keys:
        stored(store, key, remembered=remembered)


def _read(store: Store, key: str, remembered: FileFacts | None, *, prove: bool) -> Stored:
    path = store.path_of("record", key)

    def read() -> Stored:
        record = store.record(key)
        if record is None:
            raise FileNotFoundError(path)
        return Stored.of(record)

    if remembered is None:
        return read()
    known = None if prove else _from_fact(remembered.known(key, path))
    return known or Stored(*remembered.learn(key, path, lambda: astuple(read())))


def _from_fact(fact: Any) -> Stored | None:
    """Return what was remembered; what nobody can have written is nothing: the record says it anew."""
    if (
        not isinstance(fact, list)
        or [type(item) for item in fact] != [str, int, int, bool]
        or not is_digest(fact[0], 64)
    ):
        return None
    return Stored(*fact)


def entry_of(file: RecordingFile) -> Entry:
    """Return what is known of a recording before anything is opened; one that is not there carries its error."""
    try:
        return Entry(file, file.edf.stat().st_size)
    except OSError as error:  # a broken link
        return Entry(file, 0, error=_unreadable(file, error), out_of_reach=True)


def _unreadable(file: RecordingFile, error: OSError) -> RecordingError:
    return RecordingError(f"the EDF cannot be read: {error.strerror}", where=file.edf)


def read_labels(entry: Entry, before: Row | None, found: Corpus, digest_of: Callable[[Path], str]) -> None:
    """Read a recording's label files, or keep what the catalog says when their bytes are the same.

    `digest_of` gives the XXH3-128 of one file. What cannot be read or is malformed gets its RecordingError.
    """
    files = entry.file.labels
    try:
        if files:
            entry.labels = label_digest(files, digest_of=digest_of)
        if before is not None and before.labels == entry.labels and before.annotations is not None:
            entry.annotations = Annotations.from_json(before.annotations)
            return
        said = read_annotations(files, recording=entry.file.edf.name)
    except RecordingError as error:
        entry.error = error
        return
    notes = [*entry.file.notes, *said.notes]
    if found.layout == "tusz" and ".csv_bi" not in files:
        notes.append(f"no .csv_bi, which should decide seizure time: {next(iter(files))} does")
    entry.annotations = dataclasses.replace(said, notes=tuple(notes))


def hash_sources(
    picked: list[Entry], *, sources: Sources | None, rehash: bool, workers: int | None, progress: Progress
) -> None:
    """Give every picked entry its source: by stat where this host remembers it, else, or to `rehash`, by its bytes.

    What cannot be read gets a RecordingError instead.
    """

    def one(entry: Entry) -> None:
        try:
            entry.source = (sources.hash if sources else source_digest)(entry.file.edf)
        except OSError as error:
            entry.error = _unreadable(entry.file, error)

    unknown: list[Entry] = []
    for entry in picked:
        try:
            entry.source = sources.known(entry.file.edf) if sources and not rehash else None
        except OSError as error:
            entry.error = _unreadable(entry.file, error)
            continue
        if entry.source is None:
            entry.was_read = True
            unknown.append(entry)
    progress.start("hashing", sum(entry.n_bytes for entry in unknown), "B")
    pool = ThreadPoolExecutor(2 * (workers or os.cpu_count() or 1))  # half of them wait for the disk
    try:
        for entry, _ in zip(unknown, pool.map(one, unknown), strict=True):
            progress.advance(entry.n_bytes)
    finally:
        pool.shutdown(cancel_futures=True)
        progress.stop()
        if sources and (trouble := keep(sources.save)):
            progress.say(trouble)


_FIX = (
    "check that the whole corpus is mounted; another corpus needs --corpus NAME; "
    "if they were really deleted, give --accept removed"
)


def refuse_lost_store(location: Path, host: Host | None) -> None:
    """Raise UsageError where this host had a store, and nothing but an empty folder is left: is its disk mounted?

    A new one would lie hidden below the mount point, and hold all the corpus a second time.
    """
    lost = False
    with suppress(OSError):  # what cannot be looked at says nothing
        folder = next(each for each in (location.absolute(), *location.absolute().parents) if each.exists())
        lost = host is not None and host.knows(location) and next(folder.iterdir(), None) is None
    if lost:
        raise UsageError(
            "the store that was here is gone, and its folder is empty, as a mount point without its disk",
            where=location,
            fix=Fix("mount it; if it was really deleted, ", ("init",), " creates a new one"),
        )


def refuse_removal(found: Corpus, base: Catalog | None, removed: Iterable[str], *, accepted: bool) -> None:
    """Raise UsageError where recordings may be gone only because a disk is: a gc would let go of what they became.

    That is where most of them are gone, or where one lies behind a link that leads nowhere, behind a folder that
    cannot be looked into, or was all that a folder held, as an empty mount point looks. `accepted` believes all of it
    but a folder that cannot be looked into.
    """
    removed = sorted(removed)
    empty: dict[Path, bool] = {}
    for path in removed:
        why = _out_of_reach(found.root, path, empty)
        if why is not None and not (accepted and why[1]):
            raise UsageError(f"recording {path} is out of reach: {why[0]}", where=found.root, fix=_FIX)
    if base and 2 * len(removed) > len(base.rows) and not accepted:
        raise UsageError(
            f"{len(removed)} of the {len(base.rows)} recordings of corpus {found.name!r} are not below this root",
            where=found.root,
            fix=_FIX,
        )


def _out_of_reach(root: Path, path: str, empty: dict[Path, bool]) -> tuple[str, bool] | None:
    """Return why a missing file may still be there, and whether that can be accepted; None where it is deleted."""
    try:
        (root / path).stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # no permission, a network that is gone
        return f"{error.strerror}", False
    for folder in [root / part for part in reversed(Path(path).parents[:-1])]:
        if not folder.exists():
            return ("a link leads nowhere", True) if folder.is_symlink() else None
        if folder not in empty:
            with os.scandir(folder) as entries:
                empty[folder] = next(entries, None) is None
        if empty[folder]:
            return f"folder {folder.relative_to(root)} is empty, as a mount point without its disk", True
    return None


@dataclass
class Entry:
    """What this run learned of one recording file. `out_of_reach`: nothing, not even whether it is there still."""

    file: RecordingFile
    n_bytes: int
    labels: str | None = None
    annotations: Annotations | None = None
    error: BrainbrrError | None = None
    source: str | None = None
    record: Record | Stored | None = None  # as built just now, or as found
    outcome: str | None = None  # new | reused
    was_read: bool = False
    out_of_reach: bool = False
