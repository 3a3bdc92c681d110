"""Copying a store into one of another codec: each piece proven where it is read and where it lands.

A copy that was cut off goes on from there, and nothing that differs is overwritten.
Copies as they are: staged_copies.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import chunks, files, marks, proof, receipts
from brainbrr.store import findings as findings_files
from brainbrr.store.layout import Layout
from brainbrr.store.shard_files import MEND
from brainbrr.store.store import Store

_BLOCK_BYTES = 1 << 22


def copy_object(source: Store, target: Store, content: str) -> int:
    """Make an object be in the target, durable, and return the bytes written: 0 where it lies there already.

    What is copied is decoded again and held against its content; of what lies there, the structure is proven.
    Raises IntegrityError for what is damaged in the source, SpaceError.
    """
    proof.verify_place(source, content)
    if _stands(target, content):
        return 0
    with source.reader(content, every=True) as reader:
        meta = reader.meta
        step = max(1, _BLOCK_BYTES // meta.tile_bytes) * meta.tile
        block = np.empty((meta.n_channels, min(step, meta.n_samples)), dtype=np.int16)
        with target.draft(meta) as draft:
            for start in range(0, meta.n_samples, step):
                n = min(step, meta.n_samples - start)
                draft.append(reader.read(start, start + n, block[:, :n]))
            n_bytes = draft.finish()
            found = chunks.decode(draft.folder, sums=draft.sums)
            if found != content:
                where = source.layout.object(content)
                raise IntegrityError(f"its decoded array has content {found[:12]}", where=where, fix=MEND)
            return n_bytes if target.ensure_object(draft, content, []) else 0


def _stands(target: Store, content: str) -> bool:
    folder = target.layout.object(content)
    if not folder.exists() and not folder.is_symlink():
        return False
    try:
        chunks.inspect(folder, codec=target.codec)
    except IntegrityError:
        return False
    return True


def copy_record(source: Store, target: Store, key: str) -> int:
    """Make a record be in the target and return the bytes written: 0 where one of the same content stands.

    Raises IntegrityError for a damaged record, UsageError when its object is not in the target, or the key has
    another content there.
    """
    record = proof.verify_record(source, key)
    try:
        standing = target.record(key)
    except IntegrityError:
        target.layout.quarantine(target.layout.record(key))
        standing = None
    if standing is not None:
        if standing.content != record.content:
            raise UsageError(f"its key has another content there, {standing.content[:12]}", where=target.location)
        return 0
    if not target.has_object(record):
        raise UsageError(f"its object {record.content[:12]} is not there", where=target.location)
    return copy_file(target.layout, source.layout.record(key), target.layout.record(key))


def copy_findings(source: Store, target: Store, name: str) -> int:
    """Make findings that `found_findings` named be in the target; whole ones that are there stay.

    Returns the bytes written. Raises IntegrityError for damaged ones.
    """
    proof.verify_findings(source, name)
    key, _, version = name.partition("-")
    found = findings_files.read(source.layout, key, int(version))
    return 0 if found is None else target.put_findings(key, int(version), found)


def copy_view(source: Store, target: Store, digest: str) -> None:
    """Make a frozen view be in the target; a whole one that is there stays. Raises IntegrityError for a damaged one."""
    view = source.frozen(digest)
    if view is not None:
        target.freeze(digest, view)


def copy_pin(source: Store, target: Store, digest: str) -> None:
    """Make a pin be in the target. Raises IntegrityError for a damaged one, UsageError when its view is not there."""
    if marks.pinned(source, digest) is None:
        return
    if target.frozen(digest) is None:
        raise UsageError("its view is not there", where=target.location)
    _ensure(target.layout, source.layout.pin(digest), target.layout.pin(digest))


def copy_retirement(source: Store, target: Store, recipe: str) -> None:
    """Make a recipe be retired in the target too. Raises IntegrityError for a damaged mark."""
    if marks.retired(source, recipe) is not None:
        _ensure(target.layout, source.layout.retirement(recipe), target.layout.retirement(recipe))


def copy_receipt(source: Store, target: Store, name: str) -> None:
    """Make a receipt be in the target. Raises IntegrityError for a damaged one."""
    receipts.read(source.layout, name)
    _ensure(target.layout, source.layout.receipt(name), target.layout.receipt(name))


def check_catalog(source: Store, target: Store, corpus: str) -> None:
    """Raise UsageError when a corpus of this name went another way in the target."""
    theirs = target.layout.generations(corpus)
    for seq in source.layout.generations(corpus):
        if seq in theirs and _generation(source, corpus, seq) != _generation(target, corpus, seq):
            raise UsageError(
                f"generation {seq} of corpus {corpus!r} is another one there",
                where=target.location,
                fix="choose a new folder",
            )


def copy_catalog(source: Store, target: Store, corpus: str) -> int:
    """Make every generation of a corpus's catalog be in the target, oldest first; return how many were written.

    Raises IntegrityError when one of them is damaged, UsageError when the target has another one of that number.
    """
    proof.verify_catalog(source, corpus)
    check_catalog(source, target, corpus)
    here, there = source.layout, target.layout
    cuts = here.cuts(corpus)
    generations = [seq for seq in here.generations(corpus) if seq >= max((0, *cuts))]
    for seq in cuts:
        _ensure(there, here.cut(corpus, seq), there.cut(corpus, seq))
    n_written = sum(
        _ensure(there, here.generation(corpus, seq), there.generation(corpus, seq)) > 0 for seq in generations
    )
    for seq in here.acknowledged(corpus):
        if seq in generations:
            _ensure(there, here.acknowledgement(corpus, seq), there.acknowledgement(corpus, seq))
    return n_written


def _ensure(layout: Layout, original: Path, path: Path) -> int:
    return 0 if path.exists() else copy_file(layout, original, path)


def _generation(store: Store, corpus: str, seq: int) -> bytes:
    return files.read(store.layout.generation(corpus, seq), limit=catalogs.MAX_CATALOG_BYTES)


def copy_file(layout: Layout, original: Path, path: Path) -> int:
    """Copy a proven file, byte for byte, to where nothing lies; return its bytes, 0 where something does."""
    data = files.read(original, limit=catalogs.MAX_CATALOG_BYTES)
    with files.writing(layout.root, n_bytes=len(data)):
        layout.ensure_fan_out(path.parent)
        with layout.scratch() as temporary:
            return len(data) if files.publish(temporary, path, data) else 0
