"""Copy objects, records, catalogs and small files between stores: each verified where it is read and where it lands.

A copy that was interrupted continues, and nothing that differs is overwritten. Copies that are staged on a scratch disk
are not durable and never quarantined: their original exists, so damaged ones are removed and copied again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from brainbrr.core import files, models
from brainbrr.core.failpoints import reach
from brainbrr.errors import BrainbrrError, IntegrityError, UsageError
from brainbrr.store import catalog as catalogs
from brainbrr.store import reader
from brainbrr.store.checks import SampleSums, check_sums
from brainbrr.store.damage import Kind
from brainbrr.store.formats import ARRAY_FILE, SAVES_AT_MOST, SHARD_FILE
from brainbrr.store.integrity import verify_place, verify_record
from brainbrr.store.layout import INODES_PER_OBJECT
from brainbrr.store.reader import RESTORE, ShardReader
from brainbrr.store.records import Record
from brainbrr.store.references import verify_small_file
from brainbrr.store.sidecars import MAX_CATALOG_BYTES
from brainbrr.store.store import Store
from brainbrr.store.writer import Draft

_BLOCK_BYTES = 1 << 22
_FILE_BLOCK_BYTES = 1 << 23


def copy_object(
    source: Store, target: Store, content: str, *, record: Record | None = None, durable: bool = True
) -> int:
    """Ensure that an object exists in the target, and return the bytes written: 0 where it existed.

    Files are copied byte for byte, each read once from front to end, or recoded for a target of another codec. The
    copy is decoded and compared with its content before it appears; of an existing one the structure is verified, and
    every checksum unless `durable`. `record`: what must be true of the copy's samples. Raises IntegrityError naming
    what is damaged, the original or the copy; SpaceError.
    """
    verify_place(source, content)
    if has_copy(target, content, durable=durable):
        return 0
    original = source.path_of("object", content)

    def fill(folder: Path) -> int:
        return copy_files(source, target, content, folder, durable=durable)

    def verify(folder: Path) -> None:
        _verify_copy(folder, original, content, record)

    with room(target, source.object_bytes(content)) if durable else contextlib.nullcontext():
        return add_object(target, content, fill, verify, durable=durable)


def copy_files(source: Store, target: Store, content: str, folder: Path, *, durable: bool = True) -> int:
    """Copy or recode an object's two files into a new folder, verifying nothing; return the bytes written."""
    if source.codec != target.codec:
        with source.reader(content) as original:
            return recode(original, target, folder)
    files.make_folder(folder, target.layout.folder_mode)
    files_of = source.path_of("object", content)
    both = (ARRAY_FILE, SHARD_FILE)
    n_bytes = sum(_copy_blocks(files_of / name, folder / name, durable=durable) for name in both)
    if durable:
        files.sync_folder(folder)
    return n_bytes


def add_object(
    target: Store,
    content: str,
    fill: Callable[[Path], int],
    verify: Callable[[Path], None],
    *,
    durable: bool = True,
) -> int:
    """Let an object appear whose two files `fill` writes into a new folder, and return the bytes that it returns.

    0 where a faster process added it. `verify` is called before it appears, and raises IntegrityError.
    """
    place = target.path_of("object", content)
    with target.layout.scratch() as temporary:
        n_bytes = fill(temporary)
        verify(temporary)
        target.layout.ensure_fan_out(place.parent, group=True, durable=durable)
        while not files.rename_folder(temporary, place):  # not copied: a reader must never see half an object
            if has_copy(target, content, durable=durable):
                return 0
        reach("object renamed")
        if durable:
            files.sync_folder(place.parent)
            reach("object durable")
        return n_bytes


@contextlib.contextmanager
def room(target: Store, n_bytes: int) -> Iterator[None]:
    """Raise SpaceError when the target's disk is full, before an object is written where that can be foreseen."""
    files.check_space(target.location, n_bytes=n_bytes // SAVES_AT_MOST[target.codec], n_inodes=INODES_PER_OBJECT)
    with files.writing(target.location, n_bytes=n_bytes):
        yield


def has_copy(target: Store, content: str, *, durable: bool) -> bool:
    """Say whether a verified copy exists; a damaged one moves to quarantine, or is removed unless `durable`."""
    folder = target.path_of("object", content)
    if not os.path.lexists(folder):
        return False
    try:
        reader.inspect(folder, codec=target.codec, checksums=not durable)
    except IntegrityError:
        if durable:
            target.quarantine("object", content)
        else:
            with target.layout.scratch() as away:
                away.mkdir()
                take_out(target, content, away)
        return False
    return True


def take_out(target: Store, content: str, into: Path, *, records: Iterable[Record] = ()) -> bool:
    """Move a copy into a folder of the same disk at once, and remove its records; say whether it existed."""
    try:
        target.path_of("object", content).rename(into / content)
        found = True
    except (FileNotFoundError, NotADirectoryError):
        found = False
    for record in records:
        target.path_of("record", record.key).unlink(missing_ok=True)
    return found


def recode(original: ShardReader, target: Store, folder: Path) -> int:
    """Write an object in the target's codec into a new folder, durable; return its bytes."""
    meta = original.meta
    step = max(1, _BLOCK_BYTES // meta.tile_bytes) * meta.tile
    block = np.empty((meta.n_channels, min(step, meta.n_samples)), dtype=np.int16)
    with Draft(folder, meta, target.codec, mode=target.layout.folder_mode) as draft:
        for start in range(0, meta.n_samples, step):
            n = min(step, meta.n_samples - start)
            draft.append(original.read(start, start + n, block[:, :n]))
        n_bytes = draft.finish()
        draft.sync()
        return n_bytes


def _copy_blocks(original: Path, copy: Path, *, durable: bool) -> int:
    n_bytes = 0
    with copy.open("xb", buffering=0) as file:
        for block in _blocks(original):
            files.write_all(file.fileno(), block)
            n_bytes += len(block)
        files.finish(file.fileno(), durable=durable)
    return n_bytes


def _blocks(path: Path) -> Iterator[memoryview]:
    """Yield a file's bytes in large blocks, each in the same buffer; nothing of it stays in the page cache."""
    try:
        with os.fdopen(files.open_plain(path, folders=2), "rb", buffering=0) as file:
            _advise(file.fileno(), "POSIX_FADV_SEQUENTIAL")
            block = memoryview(bytearray(min(os.fstat(file.fileno()).st_size + 1, _FILE_BLOCK_BYTES)))
            while n := file.readinto(block):
                yield block[:n]
            # a view may be larger than memory: from now on the copy is read
            _advise(file.fileno(), "POSIX_FADV_DONTNEED")
    except FileNotFoundError:
        raise IntegrityError("the object is not there", where=path.parent, fix=RESTORE) from None
    except OSError as error:
        raise BrainbrrError(f"the original cannot be read: {error.strerror}", where=path) from error


def _advise(descriptor: int, advice: str) -> None:
    if hasattr(os, "posix_fadvise"):  # not on macOS
        os.posix_fadvise(descriptor, 0, 0, getattr(os, advice))


def _verify_copy(copy: Path, original: Path, content: str, record: Record | None) -> None:
    """Decode a copy and compare it with its content; where it differs, say which of the two is damaged."""
    same, sums = False, SampleSums() if record else None
    with contextlib.suppress(IntegrityError):
        reader.inspect(copy)
        same = reader.decode(copy, observer=sums) == content
    if same:
        if record is not None and sums is not None:
            check_sums(record, sums.digests())
        return
    reader.inspect(original)
    if (found := reader.decode(original)) != content:
        raise reader.wrong_content(original, found)
    raise IntegrityError(
        f"the copy of {content[:12]} differs from its original, which is whole",
        where=copy.parent,
        fix="this disk gave back other bytes than were written: choose another one for the copies",
    )


def copy_record(source: Store, target: Store, key: str) -> int:
    """Ensure that a record exists in the target, and return the bytes written: 0 where one of the same content existed.

    Raises IntegrityError for a damaged record, UsageError when its object is not in the target, or the key has
    another content there.
    """
    return add_record(target, verify_record(source, key))


def add_record(target: Store, record: Record) -> int:
    """Ensure that a verified record exists in the target, as copy_record does."""
    key = record.key
    try:
        existing = target.record(key)
    except IntegrityError:
        target.quarantine("record", key)
        existing = None
    if existing is not None:
        if existing.content != record.content:
            raise UsageError(f"its key has another content there, {existing.content[:12]}", where=target.location)
        return 0
    if not target.has_object(record):
        raise UsageError(f"its object {record.content[:12]} is not there", where=target.location)
    return _add_file(target, target.path_of("record", key), models.to_checksummed(record.to_json()))


def stage_record(record: Record, target: Store) -> None:
    """Write the record of a staged copy, over an older one too: the original's store may have been made again."""
    path, data = target.path_of("record", record.key), models.to_checksummed(record.to_json())
    with contextlib.suppress(FileNotFoundError, IntegrityError):
        if files.read(path) == data:
            return
    path.parent.mkdir(exist_ok=True)
    with target.layout.scratch() as temporary:
        files.write(temporary, data, durable=False)
        temporary.replace(path)


def copy_small_file(source: Store, target: Store, kind: Kind, name: str) -> int:
    """Ensure that a view, pin, mark of retirement, receipt or findings exist in the target; return the bytes written.

    Whole ones that exist stay. Raises IntegrityError for a damaged original, UsageError for a pin without its view.
    """
    if not verify_small_file(source, kind, name):
        return 0
    if kind == "pin" and target.frozen(name) is None:
        raise UsageError("its view is not there", where=target.location)
    try:
        if verify_small_file(target, kind, name):
            return 0
    except IntegrityError:
        target.quarantine(kind, name)
    return _copy_file(source, target, source.path_of(kind, name), durable=kind != "findings")


def check_catalog(source: Store, target: Store, corpus: str) -> None:
    """Raise UsageError when the target has another catalog of a corpus of this name."""
    here, there = source.layout, target.layout
    for seq in set(here.generations(corpus)) & set(there.generations(corpus)):
        try:
            ours, theirs = (files.read(at.generation(corpus, seq), limit=MAX_CATALOG_BYTES) for at in (here, there))
        except FileNotFoundError:  # forgotten just now
            continue
        if ours != theirs:
            what = f"generation {seq} of corpus {corpus!r} is another one there"
            raise UsageError(what, where=target.location, fix="choose a new folder")


def copy_catalog(source: Store, target: Store, corpus: str) -> None:
    """Ensure that every generation of a corpus's catalog exists in the target, oldest first.

    Raises IntegrityError when one of them is damaged, UsageError when the target has another one of that number.
    """
    layout = source.layout
    catalogs.verify(layout, corpus)
    check_catalog(source, target, corpus)
    cuts = layout.cuts(corpus)
    generations = [seq for seq in layout.generations(corpus) if seq >= max((0, *cuts))]
    for path in (
        *(layout.cut(corpus, seq) for seq in cuts),
        *(layout.generation(corpus, seq) for seq in generations),
        *(layout.acknowledgement(corpus, seq) for seq in layout.acknowledged(corpus) if seq in generations),
    ):
        _copy_file(source, target, path)


def _copy_file(source: Store, target: Store, original: Path, *, durable: bool = True) -> int:
    """Copy a verified file, byte for byte, to the same path in the target; return its bytes, 0 where one exists."""
    path = target.location / original.relative_to(source.location)
    if path.exists():
        return 0
    return _add_file(target, path, files.read(original, limit=MAX_CATALOG_BYTES), durable=durable)


def _add_file(target: Store, path: Path, data: bytes, *, durable: bool = True) -> int:
    with files.writing(target.location, n_bytes=len(data)):
        target.layout.ensure_fan_out(path.parent, durable=durable)
        with target.layout.scratch() as temporary:
            return len(data) if files.publish(temporary, path, data, durable=durable) else 0
