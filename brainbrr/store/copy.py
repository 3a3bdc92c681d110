"""Copying a store into one of another codec: each piece proven where it is read and where it lands.

A copy that was cut off goes on from there, and nothing that differs is overwritten.
Copies as they are: staged_copies.py.

A store of copies on a scratch disk: files copied byte for byte, proven from what was written, then renamed.

A copy here has an original. So nothing is flushed to the disk or kept in quarantine: what a power cut or a bad disk
leaves is found by its checksums, removed, and copied again.

Moving what is damaged out of the way, and what is whole to where it belongs. Deletes and overwrites nothing.

Knows nothing of what is damaged, nor of EEG: verbs/repair.py decides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from brainbrr.core import files
from brainbrr.core.failpoints import reach
from brainbrr.errors import BrainbrrError, IntegrityError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import frozen_views, reader, sidecars
from brainbrr.store import sidecars as findings_files
from brainbrr.store.formats import ARRAY_FILE, SHARD_FILE
from brainbrr.store.layout import GROUP, Layout
from brainbrr.store.reader import MEND, decode, inspect
from brainbrr.store.records import Record
from brainbrr.store.store import Store, verify_catalog, verify_findings, verify_place, verify_record

_BLOCK_BYTES = 1 << 22


def copy_object(source: Store, target: Store, content: str) -> int:
    """Make an object be in the target, durable, and return the bytes written: 0 where it lies there already.

    What is copied is decoded again and held against its content; of what lies there, the structure is proven.
    Raises IntegrityError for what is damaged in the source, SpaceError.
    """
    verify_place(source, content)
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
            found = decode(draft.folder, sums=draft.sums)
            if found != content:
                where = source.layout.object(content)
                raise IntegrityError(f"its decoded array has content {found[:12]}", where=where, fix=MEND)
            return n_bytes if target.ensure_object(draft, content, []) else 0


def _stands(target: Store, content: str) -> bool:
    folder = target.layout.object(content)
    if not folder.exists() and not folder.is_symlink():
        return False
    try:
        inspect(folder, codec=target.codec)
    except IntegrityError:
        return False
    return True


def copy_record(source: Store, target: Store, key: str) -> int:
    """Make a record be in the target and return the bytes written: 0 where one of the same content stands.

    Raises IntegrityError for a damaged record, UsageError when its object is not in the target, or the key has
    another content there.
    """
    record = verify_record(source, key)
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
    verify_findings(source, name)
    key, _, version = name.partition("-")
    found = findings_files.read_findings(source.layout, key, int(version))
    return 0 if found is None else target.put_findings(key, int(version), found)


def copy_view(source: Store, target: Store, digest: str) -> None:
    """Make a frozen view be in the target; a whole one that is there stays. Raises IntegrityError for a damaged one."""
    view = source.frozen(digest)
    if view is not None:
        target.freeze(digest, view)


def copy_pin(source: Store, target: Store, digest: str) -> None:
    """Make a pin be in the target. Raises IntegrityError for a damaged one, UsageError when its view is not there."""
    if frozen_views.pinned(source, digest) is None:
        return
    if target.frozen(digest) is None:
        raise UsageError("its view is not there", where=target.location)
    _ensure(target.layout, source.layout.pin(digest), target.layout.pin(digest))


def copy_retirement(source: Store, target: Store, recipe: str) -> None:
    """Make a recipe be retired in the target too. Raises IntegrityError for a damaged mark."""
    if frozen_views.retired(source, recipe) is not None:
        _ensure(target.layout, source.layout.retirement(recipe), target.layout.retirement(recipe))


def copy_receipt(source: Store, target: Store, name: str) -> None:
    """Make a receipt be in the target. Raises IntegrityError for a damaged one."""
    sidecars.read_receipt(source.layout, name)
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
    verify_catalog(source, corpus)
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
    return files.read(store.layout.generation(corpus, seq), limit=sidecars.MAX_CATALOG_BYTES)


def copy_file(layout: Layout, original: Path, path: Path) -> int:
    """Copy a proven file, byte for byte, to where nothing lies; return its bytes, 0 where something does."""
    data = files.read(original, limit=sidecars.MAX_CATALOG_BYTES)
    with files.writing(layout.root, n_bytes=len(data)):
        layout.ensure_fan_out(path.parent)
        with layout.scratch() as temporary:
            return len(data) if files.publish(temporary, path, data) else 0


_STAGED_BLOCK_BYTES = 1 << 23


def is_copied(target: Store, content: str) -> bool:
    """Say whether a copy is there, its structure and every crc32c of it proven; a damaged one is removed."""
    folder = target.layout.object(content)
    if not os.path.lexists(folder):
        return False
    try:
        reader.inspect(folder, codec=target.codec, checksums=True)
    except IntegrityError:
        with target.layout.scratch() as away:
            away.mkdir()
            take_out(target, content, away)
        return False
    return True


def stage_object(source: Store, target: Store, content: str) -> int:
    """Copy an object, and return its bytes: 0 when a faster process put the same copy there.

    Each file of the original is read once, from front to end. The copy is decoded against its content before it
    appears. Raises IntegrityError naming what is damaged, the original or the copy: then nothing has appeared.
    """
    original, folder = source.layout.object(content), target.layout.object(content)
    with target.layout.scratch() as temporary:
        temporary.mkdir()
        n_bytes = sum(_copy_file(original / name, temporary / name) for name in (ARRAY_FILE, SHARD_FILE))
        _prove(temporary, original, content)
        folder.parent.mkdir(exist_ok=True)
        for group in (folder.parent.parent, folder.parent):
            _place(target, group / ARRAY_FILE, GROUP)
        while not files.rename_folder(temporary, folder):  # not copied: a reader must never see half an object
            if is_copied(target, content):
                return 0
        return n_bytes


def stage_record(record: Record, target: Store) -> None:
    """Make the record of a key be this one, whatever an older copy said: the original's store may have been remade."""
    path = target.layout.record(record.key)
    path.parent.mkdir(exist_ok=True)
    _place(target, path, files.seal(record.to_json()))


def take_out(target: Store, content: str, into: Path) -> bool:
    """Move a copy out of a store at once, into a folder of the same disk; say whether one was there."""
    try:
        target.layout.object(content).rename(into / content)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _place(target: Store, path: Path, data: bytes) -> None:
    """Make a file be these bytes; one that is already is not touched."""
    try:
        if files.read(path) == data:
            return
    except (FileNotFoundError, IntegrityError):
        pass
    with target.layout.scratch() as temporary:
        files.write(temporary, data, durable=False)
        temporary.replace(path)


def _copy_file(original: Path, copy: Path) -> int:
    n_bytes = 0
    with copy.open("xb", buffering=0) as file:
        for block in _blocks(original):
            files.write_all(file.fileno(), block)
            n_bytes += len(block)
        files.finish(file.fileno(), durable=False)
    return n_bytes


def _blocks(path: Path) -> Iterator[memoryview]:
    """Yield a file's bytes in large blocks, each in the same buffer; nothing of it stays in the page cache."""
    try:
        with os.fdopen(files.open_plain(path, folders=2), "rb", buffering=0) as file:
            _advise(file.fileno(), "POSIX_FADV_SEQUENTIAL")
            block = memoryview(bytearray(min(os.fstat(file.fileno()).st_size + 1, _STAGED_BLOCK_BYTES)))
            while n := file.readinto(block):
                yield block[:n]
            # a view may be larger than memory: what is read from now on is the copy
            _advise(file.fileno(), "POSIX_FADV_DONTNEED")
    except FileNotFoundError:
        raise IntegrityError("the object is not there", where=path.parent, fix=MEND) from None
    except OSError as error:
        raise BrainbrrError(f"the original cannot be read: {error.strerror}", where=path) from error


def _advise(descriptor: int, advice: str) -> None:
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(descriptor, 0, 0, getattr(os, advice))


def _prove(copy: Path, original: Path, content: str) -> None:
    """Decode a copy against its content; where it differs, say which of the two is damaged."""
    try:
        reader.inspect(copy)
        if reader.decode(copy) == content:
            return
    except IntegrityError:
        pass
    reader.inspect(original)
    found = reader.decode(original)
    if found != content:
        raise IntegrityError(f"its decoded array has content {found[:12]}", where=original, fix=MEND)
    raise IntegrityError(
        f"the copy of {content[:12]} differs from its original, which is whole",
        where=copy.parent,
        fix="this disk gave back other bytes than were written: choose another one for the copies",
    )


def place_object(layout: Layout, folder: Path, content: str) -> bool:
    """Move a folder that holds an array, whole, to where its content belongs; False when something lies there."""
    place = layout.object(content)
    layout.ensure_fan_out(place.parent, group=True)
    if os.path.lexists(place):
        return False
    if not files.rename_folder(folder, place):
        return False
    reach("put in place")
    for each in (place.parent, folder.parent):
        files.sync_folder(each)
    return True


def place_file(layout: Layout, file: Path, place: Path) -> bool:
    """Move a whole file to where it belongs; False when something lies there."""
    layout.ensure_fan_out(place.parent)
    if not files.link(file, place):
        return False
    reach("put in place")
    files.sync_folder(place.parent)
    file.unlink()
    files.sync_folder(file.parent)
    return True


def replace_generation(layout: Layout, corpus: str, seq: int, data: bytes) -> None:
    """Put a generation's own bytes where it lies damaged or lacks; what lies there moves to quarantine."""
    path = layout.generation(corpus, seq)
    layout.quarantine(path)
    layout.ensure_fan_out(path.parent)
    with layout.scratch() as temporary:
        files.publish(temporary, path, data)
    catalogs.acknowledge(layout, corpus, seq, catalogs.generation(layout, corpus, seq)[1])
