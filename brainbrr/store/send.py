"""Send objects and their records from one store to another, many at once, each verified before it appears there.

Only what is missing travels, and what was interrupted goes on when it is run again. In the target a record appears
after its object. Source and target are folders or places; a target at a place takes each name once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainbrr.core import files
from brainbrr.core.digest import SourceHasher
from brainbrr.core.progress import Progress
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import copy as copies
from brainbrr.store import formats, reader
from brainbrr.store.checks import SampleSums, check_sums
from brainbrr.store.formats import ARRAY_FILE, SHARD_FILE
from brainbrr.store.layers import holder_of
from brainbrr.store.places import Blocks
from brainbrr.store.reader import ShardReader
from brainbrr.store.records import Record
from brainbrr.store.remote import RemoteStore
from brainbrr.store.store import Store

_THREADS_REMOTE, _THREADS_LOCAL = 24, 4
_IN_MEMORY, _BLOCK_BYTES = 1 << 24, 1 << 20
"""Of a larger shard, a push holds some blocks at a time: 24 hours in each thread would not fit."""


@dataclass(frozen=True)
class Failed:
    """A recording that could not be sent, and why."""

    recording: str
    code: str
    reason: str


@dataclass
class Sent:
    """What was sent so far."""

    objects: int = 0
    reused: int = 0
    n_bytes: int = 0
    failed: list[Failed] = dataclasses.field(default_factory=list)


def send(
    source: Store,
    target: Store,
    recordings: Iterable[tuple[str, Record]],
    *,
    findings: int,
    task: str,
    progress: Progress,
) -> Sent:
    """Ensure that the target has the object of each recording, given by name and record, and then its record.

    `findings`: the version of those that travel too. Damage in the source does not stop the rest. Raises RemoteError,
    SpaceError or OSError where going on is useless; what was sent until then stays.
    """
    every = list(recordings)
    present = present_in(target, [record for _, record in every])
    objects: dict[str, list[tuple[str, Record]]] = {}
    for path, record in every:
        if record.key not in present:
            objects.setdefault(record.content, []).append((path, record))
    sent = Sent(reused=sum(record.key in present for _, record in every))
    far = isinstance(source, RemoteStore) or isinstance(target, RemoteStore)
    pool = ThreadPoolExecutor(_THREADS_REMOTE if far else _THREADS_LOCAL, thread_name_prefix="brainbrr-send")
    progress.start(task, sum(each[0][1].array.shard_bytes for each in objects.values()), "B")
    try:
        waiting = {
            pool.submit(send_one, source, target, [record for _, record in all_of], findings=findings): all_of
            for all_of in objects.values()
        }
        for done in as_completed(waiting):
            all_of = waiting[done]
            try:
                n_bytes = done.result()
                sent.objects += n_bytes > 0
                sent.n_bytes += n_bytes
            except (IntegrityError, UsageError) as error:
                if error.code == "remote-denied":
                    raise
                sent.failed += [Failed(path, error.code, error.what) for path, _ in all_of]
            progress.advance(all_of[0][1].array.shard_bytes)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        progress.stop()
    return sent


def present_in(target: Store, records: Sequence[Record]) -> set[str]:
    """Return the keys of which the target has record and object."""
    if isinstance(target, RemoteStore):
        return target.which([record.key for record in records])

    def has(record: Record) -> bool:
        try:
            existing = target.record(record.key)
        except IntegrityError:
            return False
        return existing is not None and existing.content == record.content and target.has_object(existing)

    return {record.key for record in records if has(record)}


def send_one(source: Store, target: Store, records: Sequence[Record], *, findings: int) -> int:
    """Send the one object of some records, and them after it; return the bytes of the object."""
    n_bytes = send_object(source, target, records[0])
    for record in records:
        if isinstance(target, RemoteStore):
            target.add_record(record)
        else:
            copies.add_record(target, record)
        if source.has_findings(record.key, findings) and (found := source.findings(record.key, findings)):
            target.put_findings(record.key, findings, found)
    return n_bytes


def send_object(source: Store, target: Store, record: Record, *, durable: bool = True) -> int:
    """Ensure that the target has a record's object; return the bytes that were written, 0 where it had it.

    Where the copy is `durable`, the record is compared with its samples too: what a view normalises by must be true.
    """
    source = holder_of(source, record.content)
    if isinstance(target, RemoteStore):
        with verified_shard(source, target, record) as (shard, n_bytes):
            return target.add_object(record.content, record.array, shard, n_bytes)
    if not isinstance(source, RemoteStore):
        checked = record if durable else None
        return copies.copy_object(source, target, record.content, record=checked, durable=durable)
    if copies.has_copy(target, record.content, durable=durable):
        return 0

    def fill(folder: Path) -> int:
        return _download(source, target, record, folder)

    for last in (False, True):  # what a connection changed on the way comes again
        try:
            with copies.room(target, record.array.shard_bytes):
                return copies.add_object(
                    target, record.content, fill, lambda folder: _verify(folder, record), durable=durable
                )
        except IntegrityError:
            if last:
                raise
    return 0


def _verify(folder: Path, record: Record) -> None:
    """Raise IntegrityError unless a folder holds the object of a record, and the record says of it what is true."""
    reader.inspect(folder)
    sums = SampleSums()
    if (found := reader.decode(folder, observer=sums)) != record.content:
        what = f"what came for content {record.content[:12]} has content {found[:12]}"
        raise IntegrityError(what, fix="the source is damaged or forged: nothing of it was kept")
    check_sums(record, sums.digests())


def _download(source: RemoteStore, target: Store, record: Record, folder: Path) -> int:
    """Write an object's two files into a new folder, durable; of the source only the shard is fetched."""
    meta, size = record.array, source.shard_size(record.content, record.array)
    blocks = source.shard_blocks(record.content, size)
    if source.codec != target.codec:
        with reader.over_bytes(b"".join(blocks), meta, source.codec, folder=folder) as original:
            return copies.recode(original, target, folder)
    files.make_folder(folder, target.layout.folder_mode)
    with (folder / SHARD_FILE).open("xb", buffering=0) as file:
        for block in blocks:
            files.write_all(file.fileno(), block)
        files.finish(file.fileno())
    data = formats.zarr_json(meta, target.codec)
    files.write(folder / ARRAY_FILE, data)
    files.sync_folder(folder)
    return size + len(data)


@contextlib.contextmanager
def verified_shard(source: Store, target: Store, record: Record) -> Iterator[tuple[bytes | Blocks, int]]:
    """Yield a record's shard in the target's codec and its bytes: verified, and in memory only where it is small."""
    folder, meta = source.path_of("object", record.content), record.array
    if isinstance(source, RemoteStore):
        data = source.shard(record.content, meta)
        with _over(data, source, record, folder) as opened, _recoded(opened, source, target, folder) as file:
            yield (data, len(data)) if file is None else _sent(file)
        return
    if reader.inspect(folder, codec=source.codec) != meta:
        raise IntegrityError("record and object disagree about the array", where=folder, fix=reader.RESTORE)
    if meta.shard_bytes <= _IN_MEMORY and source.codec == target.codec:
        data = files.read(folder / SHARD_FILE, limit=meta.tiling(source.codec).shard_sizes[-1], folders=2)
        with _over(data, source, record, folder):
            yield data, len(data)
        return
    with source.reader(record.content, meta) as opened, _recoded(opened, source, target, folder) as recoded:
        file = recoded or folder / SHARD_FILE
        blocks, n_bytes = _sent(file)  # hashed before it is verified, and again as it is sent
        if (found := reader.content_of(opened) if recoded is None else reader.decode(file.parent)) != record.content:
            raise reader.wrong_content(folder, found)
        yield blocks, n_bytes


def shard_bytes(source: Store, target: Store, record: Record) -> bytes:
    """Return the bytes of a record's shard in the target's codec, verified."""
    with verified_shard(source, target, record) as (shard, _):
        return b"".join(shard()) if callable(shard) else shard


@contextlib.contextmanager
def _over(data: bytes, source: Store, record: Record, folder: Path) -> Iterator[ShardReader]:
    """Yield a reader of a shard in memory. Raises IntegrityError where it is not the record's content."""
    with reader.over_bytes(data, record.array, source.codec, folder=folder) as opened:
        if (found := reader.content_of(opened)) != record.content:
            raise reader.wrong_content(folder, found)
        yield opened


@contextlib.contextmanager
def _recoded(opened: ShardReader, source: Store, target: Store, folder: Path) -> Iterator[Path | None]:
    """Yield a file of the shard in the target's codec, None where that is the source's own."""
    if source.codec == target.codec:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="brainbrr-") as name:
        copies.recode(opened, target, Path(name) / "object")
        yield Path(name) / "object" / SHARD_FILE


def _sent(file: Path) -> tuple[Blocks, int]:
    """Return what gives a file's blocks, and its bytes. Raises IntegrityError as they end unless they are the same."""

    def read() -> Iterator[bytes]:
        with os.fdopen(files.open_plain(file, folders=2), "rb", buffering=0) as opened:
            while block := opened.read(_BLOCK_BYTES):
                yield block

    def hashed() -> Iterator[bytes]:
        hasher = SourceHasher()
        for block in read():
            hasher.update(np.frombuffer(block, dtype=np.uint8))
            yield block
        if hasher.hexdigest() != known:
            raise IntegrityError("the shard changed while it was sent", where=file)

    first = SourceHasher()
    n_bytes = 0
    for block in read():
        first.update(np.frombuffer(block, dtype=np.uint8))
        n_bytes += len(block)
    known = first.hexdigest()
    return hashed, n_bytes
