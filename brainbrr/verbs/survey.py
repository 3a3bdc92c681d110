"""What lies below a corpus's root now: size, labels and source of each recording, by stat where that is enough.

Opens what this host does not remember, and builds nothing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from brainbrr.digest import source_digest
from brainbrr.eeg.annotations import Annotations, label_digest, read_annotations
from brainbrr.eeg.corpus import Corpus, RecordingFile
from brainbrr.errors import RecordingError
from brainbrr.host import Sources, keep
from brainbrr.progress import Progress
from brainbrr.store.catalog import Row
from brainbrr.verbs.generation import Entry


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
        said = read_annotations(files, vocabulary=found.vocabulary)
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
