"""Write an object: samples block by block into a folder that no reader sees yet."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from brainbrr.core import files
from brainbrr.core.arrays import Int16
from brainbrr.core.digest import RowSums
from brainbrr.core.failpoints import reach
from brainbrr.errors import Fix, IntegrityError, RecordingError, UsageError
from brainbrr.store.formats import ARRAY_FILE, CRC_BYTES, FILL, SHARD_FILE, ArrayMeta, Codec, crc32c, zarr_json

_BLOCK_BYTES = 1 << 22


class Draft:
    """An object while it is written: samples go in block by block, into a folder that no other process knows.

    The shard is byte for byte what zarr-python writes with write_empty_chunks=True. `sums` are checksums of the
    samples as they came, to hold against what the files give back.
    """

    def __init__(self, folder: Path, meta: ArrayMeta, codec: Codec = "none", *, mode: int | None = None) -> None:
        self.folder, self.meta, self.codec, self._mode = folder, meta, codec, mode
        self._tiling = meta.tiling(codec)
        self._lengths = np.full(meta.n_tiles, meta.tile_bytes, dtype=np.int64)
        self._frames: list[bytes] = []
        self._checks = bytearray()
        self.sums = RowSums(meta.n_channels)
        self._n = 0
        self._tiles = np.empty((min(max(1, _BLOCK_BYTES // meta.tile_bytes), meta.n_tiles), meta.tile_bytes), np.uint8)
        self._open = contextlib.ExitStack()
        self._is_synced = False

    def __enter__(self) -> Draft:
        files.make_folder(self.folder, self._mode)
        with contextlib.ExitStack() as opened:
            self._metadata = opened.enter_context((self.folder / ARRAY_FILE).open("xb", buffering=0)).fileno()
            self._shard = opened.enter_context((self.folder / SHARD_FILE).open("xb", buffering=0)).fileno()
            files.write_all(self._metadata, zarr_json(self.meta, self.codec))
            self._open = opened.pop_all()
        reach("object begun")
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def append(self, block: Int16) -> None:
        """Take the next samples: int16 (channels, any). Raises UsageError for another shape or dtype."""
        meta = self.meta
        if block.dtype != np.int16 or block.shape[:-1] != (meta.n_channels,):
            raise UsageError(f"{block.dtype} {block.shape}, where int16 ({meta.n_channels}, any) belongs")
        if self._n + block.shape[1] > meta.n_samples:
            raise UsageError(f"{self._n + block.shape[1]} samples, where {meta.n_samples} belong")
        self.sums.update(block)
        at = 0
        while at < block.shape[1]:
            tile, first = divmod(self._n, meta.tile)
            n = min(meta.tile - first, block.shape[1] - at)
            self._tile(tile)[:, first : first + n] = block[:, at : at + n]
            at += n
            self._n += n
            if first + n == meta.tile:
                self._close(tile)

    def finish(self) -> int:
        """Write what is left, and the index; return the bytes of both files. Raises UsageError for missing samples."""
        meta = self.meta
        if self._n != meta.n_samples:
            raise UsageError(f"{self._n} samples, where {meta.n_samples} belong")
        tile, first = divmod(self._n, meta.tile)
        if first:
            self._tile(tile)[:, first:] = FILL
            self._close(tile)
        files.write_all(self._shard, self._tiling.index(self._lengths))
        self._tiles = self._tiles[:0]  # many finished drafts may wait to be kept together
        reach("object written")
        return sum(os.fstat(descriptor).st_size for descriptor in (self._metadata, self._shard))

    @property
    def checks(self) -> str:
        """The crc32c of each tile's samples, whatever the codec: 8 hex digits a tile."""
        return self._checks.hex()

    def sync(self) -> None:
        """Make both files read-only and durable, under their names in the folder; once."""
        if self._is_synced:
            return
        files.finish(self._metadata)
        files.finish(self._shard)
        self._open.close()
        files.sync_folder(self.folder)
        self._is_synced = True
        reach("object flushed")

    @contextlib.contextmanager
    def expected(self) -> Iterator[None]:
        """Let an error of the block be one of this recording if the draft was removed: nothing stored is damaged."""
        try:
            yield
        except (IntegrityError, FileNotFoundError) as error:
            if all(files.exists(self.folder / name) for name in (ARRAY_FILE, SHARD_FILE)):
                raise
            what = "its draft was removed while it was written: by hand, or by a program that cleans up"
            fix = Fix("run ", ("ingest", "ROOT"), " again: nothing else is concerned")
            raise RecordingError(what, where=self.folder, fix=fix) from error

    def _tile(self, n: int) -> Int16:
        samples: Int16 = self._tiles[n % len(self._tiles)][:-CRC_BYTES].view("<i2")
        return samples.reshape(self.meta.n_channels, self.meta.tile)

    def _close(self, n: int) -> None:
        """Put the checksum behind a full tile; write when the buffer is full, or this is the last one."""
        place = self._tiles[n % len(self._tiles)]
        samples = place[:-CRC_BYTES]
        check = crc32c(samples)
        self._checks += check
        if self.codec == "none":
            place[-CRC_BYTES:] = np.frombuffer(check, dtype=np.uint8)
        else:
            self._frames.append(self._tiling.encode(samples))
            self._lengths[n] = len(self._frames[-1])
        used = n % len(self._tiles) + 1
        if used == len(self._tiles) or n + 1 == self.meta.n_tiles:
            plain = self._tiles[:used].reshape(-1).data
            files.write_all(self._shard, plain if self.codec == "none" else b"".join(self._frames))
            self._frames.clear()
