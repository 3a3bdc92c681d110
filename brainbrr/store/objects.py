"""What an object is: an int16 array, its metadata, and the exact bytes of its two files.

Writes without zarr what zarr would write. Knows nothing of where objects lie, and of EEG only the words.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.digest import RowHasher, RowSums, canonical_json, content_digest
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import files
from brainbrr.store.failpoints import reach
from brainbrr.store.layout import ARRAY_FILE, SHARD_FILE
from brainbrr.store.tiles import CODECS, CRC_BYTES, Codec, Tiling, crc32c, inner_codecs

Samples = np.ndarray[Any, np.dtype[np.int16]]

ARRAY_FORMAT = 1
FILL = -32768
"""Not a legal sample: absent channels and padding."""

TILE_S = 10
MAX_CHANNELS = 512
MAX_SAMPLES = 1 << 40

_QUANTUM = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{0,17}[1-9])?\Z")
_BLOCK_BYTES = 1 << 22
_SMALL_FILES_BYTES = 1 << 14
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "shape": (list, tuple),
    "rate": (int,),
    "channels": (list, tuple),
    "absent": (list, tuple),
    "unit": (str,),
    "quantum": (str,),
    "k": (list, tuple),
}


@dataclass(frozen=True)
class ArrayMeta:
    """What the numbers of an object mean: int16 (channels, n_samples), channel i in steps of quantum_uv·2^k[i].

    Raises UsageError for a value out of range.
    """

    channels: tuple[str, ...]
    absent: tuple[str, ...]
    n_samples: int
    rate_hz: int
    quantum_uv: str
    k: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.channels) <= MAX_CHANNELS or len(set(self.channels)) != len(self.channels):
            raise UsageError(f"{len(self.channels)} channels: 1 to {MAX_CHANNELS}, each once")
        if not all(isinstance(name, str) and 1 <= len(name) <= 80 for name in self.channels):
            raise UsageError("channels: names of 1 to 80 characters")
        if self.absent != tuple(name for name in self.channels if name in set(self.absent)):
            raise UsageError("absent: some of the channels, in their order")
        for name, value, most in (("n_samples", self.n_samples, MAX_SAMPLES), ("rate_hz", self.rate_hz, 65_536)):
            if type(value) is not int or not 1 <= value <= most:
                raise UsageError(f"{name} = {value!r}: between 1 and {most}")
        if not isinstance(self.quantum_uv, str) or not _QUANTUM.match(self.quantum_uv) or self.quantum_uv == "0":
            raise UsageError(f"quantum_uv = {str(self.quantum_uv)[:40]!r}: a decimal above 0 in its shortest form")
        if len(self.k) != len(self.channels) or not all(type(k) is int and 0 <= k <= 40 for k in self.k):
            raise UsageError("k: one integer from 0 to 40 for each channel")
        if any(k and name in self.absent for name, k in zip(self.channels, self.k, strict=True)):
            raise UsageError("k: 0 for an absent channel")

    def attributes(self) -> dict[str, Any]:
        """Return the array's zarr attributes: exactly the JSON that the content digest covers."""
        return {
            "format": ARRAY_FORMAT,
            "shape": [len(self.channels), self.n_samples],
            "rate": self.rate_hz,
            "channels": list(self.channels),
            "absent": list(self.absent),
            "unit": "uV",
            "quantum": self.quantum_uv,
            "k": list(self.k),
        }

    @classmethod
    def from_attributes(cls, attributes: object, *, where: object = None) -> ArrayMeta:
        """Return what attributes() gave. Raises IntegrityError naming the field that differs."""
        value = files.fields(attributes, _FIELDS, where=where)
        try:
            meta = cls(
                channels=tuple(value["channels"]),
                absent=tuple(value["absent"]),
                n_samples=value["shape"][-1] if value["shape"] else 0,
                rate_hz=value["rate"],
                quantum_uv=value["quantum"],
                k=tuple(value["k"]),
            )
        except (UsageError, TypeError) as error:  # TypeError: a list where a name should be
            raise IntegrityError(f"array attributes: {error}", where=where) from None
        if meta.attributes() != {**value, **{n: list(value[n]) for n in ("shape", "channels", "absent", "k")}}:
            raise IntegrityError(f"array attributes: not of format {ARRAY_FORMAT} in uV", where=where)
        return meta

    @property
    def n_channels(self) -> int:
        """Rows of the array."""
        return len(self.channels)

    @property
    def tile(self) -> int:
        """Samples of one tile: ten seconds."""
        return TILE_S * self.rate_hz

    @property
    def n_tiles(self) -> int:
        """Tiles in the shard; the last one is padded with the fill value."""
        return -(-self.n_samples // self.tile)

    @property
    def tile_bytes(self) -> int:
        """Bytes of one tile in a shard without a codec, its checksum with it."""
        return self.n_channels * self.tile * 2 + CRC_BYTES

    @property
    def shard_bytes(self) -> int:
        """Size of the shard without a codec: tiles, index, checksum of the index."""
        return self.n_tiles * (self.tile_bytes + 16) + CRC_BYTES

    def tiling(self, codec: Codec) -> Tiling:
        """Return how the array's tiles lie in a shard of this codec."""
        return Tiling(codec, self.n_tiles, self.n_channels * self.tile * 2)


def stored_bytes(n_channels: int, n_samples: int, rate_hz: int) -> int:
    """Return the bytes that an object without a codec and its record take on disk, small files generously."""
    tile = TILE_S * rate_hz
    n_tiles = max(1, -(-n_samples // tile))
    return n_tiles * (n_channels * tile * 2 + CRC_BYTES + 16) + CRC_BYTES + _SMALL_FILES_BYTES


def zarr_json(meta: ArrayMeta, codec: Codec = "none") -> bytes:
    """Return an object's zarr.json: one template for each codec, so that nothing from elsewhere is ever trusted."""
    sharding = {
        "chunk_shape": [meta.n_channels, meta.tile],
        "codecs": inner_codecs(codec),
        "index_codecs": inner_codecs("none"),
        "index_location": "end",
    }
    shard_shape = [meta.n_channels, meta.n_tiles * meta.tile]
    return canonical_json(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [meta.n_channels, meta.n_samples],
            "data_type": "int16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard_shape}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": FILL,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "dimension_names": ["channel", "time"],
            "storage_transformers": [],
            "attributes": meta.attributes(),
        }
    )


def read_array(folder: Path) -> tuple[ArrayMeta, Codec]:
    """Return the metadata and the codec of an object's folder.

    Raises IntegrityError unless zarr.json is the bytes of one of the templates.
    """
    path = folder / ARRAY_FILE
    try:
        data = files.read(path, folders=2)
    except FileNotFoundError:
        raise IntegrityError("the object has no zarr.json", where=folder) from None
    meta = ArrayMeta.from_attributes(files.parse(data, where=path).get("attributes"), where=path)
    for codec in CODECS:
        if data == zarr_json(meta, codec):
            return meta, codec
    raise IntegrityError("zarr.json is not what its attributes say", where=path)


def check_fill(block: Samples, meta: ArrayMeta, *, where: object) -> None:
    """Raise IntegrityError when a present channel holds the fill value, or an absent one a sample."""
    if not block.shape[1]:
        return
    lowest, highest = block.min(axis=1), block.max(axis=1)
    for name, low, high in zip(meta.channels, lowest, highest, strict=True):
        if name in meta.absent and high != FILL:
            raise IntegrityError(f"channel {name} is absent, but has samples", where=where)
        if name not in meta.absent and low == FILL:
            raise IntegrityError(
                f"channel {name} holds {FILL}, which is no sample", where=where, fix="clip to ±32767 before storing"
            )


def content_of(samples: Samples, meta: ArrayMeta) -> str:
    """Return the content of an array: what it is, whatever its tiles and codecs."""
    rows = RowHasher(meta.n_channels)
    rows.update(samples)
    return content_digest(meta.attributes(), rows.digests())


class Draft:
    """An object while it is written: samples go in block by block, into a folder that nobody else knows.

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

    def append(self, block: Samples) -> None:
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
        reach("object written")
        return sum(os.fstat(descriptor).st_size for descriptor in (self._metadata, self._shard))

    @property
    def checks(self) -> str:
        """The crc32c of each tile's samples, whatever the codec: 8 hex digits a tile."""
        return self._checks.hex()

    def sync(self) -> None:
        """Make both files read-only and durable, under their names in the folder."""
        files.finish(self._metadata)
        files.finish(self._shard)
        self._open.close()
        files.sync_folder(self.folder)
        reach("object flushed")

    def _tile(self, n: int) -> Samples:
        samples: Samples = self._tiles[n % len(self._tiles)][:-CRC_BYTES].view("<i2")
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


def folder_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files, whatever they are; 0 when it is gone."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return 0
