"""A store of copies on a scratch disk: files copied byte for byte, proven from what was written, then renamed.

A copy here has an original. So nothing is flushed to the disk or kept in quarantine: what a power cut or a bad disk
leaves is found by its checksums, removed, and copied again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from brainbrr.errors import BrainbrrError, IntegrityError
from brainbrr.store import chunks, files
from brainbrr.store.layout import ARRAY_FILE, GROUP, SHARD_FILE
from brainbrr.store.records import Record
from brainbrr.store.shard_files import MEND
from brainbrr.store.store import Store

_BLOCK_BYTES = 1 << 23


def is_copied(target: Store, content: str) -> bool:
    """Say whether a copy is there, its structure and every crc32c of it proven; a damaged one is removed."""
    folder = target.layout.object(content)
    if not os.path.lexists(folder):
        return False
    try:
        chunks.inspect(folder, codec=target.codec, checksums=True)
    except IntegrityError:
        with target.layout.scratch() as away:
            away.mkdir()
            take_out(target, content, away)
        return False
    return True


def copy_object(source: Store, target: Store, content: str) -> int:
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


def copy_record(record: Record, target: Store) -> None:
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
            block = memoryview(bytearray(min(os.fstat(file.fileno()).st_size + 1, _BLOCK_BYTES)))
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
        chunks.inspect(copy)
        if chunks.decode(copy) == content:
            return
    except IntegrityError:
        pass
    chunks.inspect(original)
    found = chunks.decode(original)
    if found != content:
        raise IntegrityError(f"its decoded array has content {found[:12]}", where=original, fix=MEND)
    raise IntegrityError(
        f"the copy of {content[:12]} differs from its original, which is whole",
        where=copy.parent,
        fix="this disk gave back other bytes than were written: choose another one for the copies",
    )
