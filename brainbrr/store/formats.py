"""The format of an object: an int16 array, its metadata, and the exact bytes of zarr.json and of the shard.

A shard holds tiles, a checksum after each, and an index at the end. Writes without zarr what zarr would write. Knows
nothing of where objects are, and of EEG only the words.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import google_crc32c
import numpy as np

from brainbrr.core import files, models
from brainbrr.core.arrays import Int16, Int64, UInt8
from brainbrr.core.digest import canonical_json
from brainbrr.core.models import Many, Stored
from brainbrr.errors import IntegrityError, UsageError

ARRAY_FILE = "zarr.json"
SHARD_FILE = "c.0.0"


Codec = Literal["none", "zstd"]
CODECS: tuple[Codec, ...] = get_args(Codec)

SAVES_AT_MOST: dict[Codec, int] = {"none": 1, "zstd": 2}
"""No recording was ever smaller than its samples' bytes over this: what is needed at least (decision 11: 0.68)."""

CRC_BYTES = 4

_LEVEL = 1  # decodes half as fast again as level 3 and encodes 2 to 6 times as fast, for 2 to 7 % more bytes
_MAGIC = b"\x28\xb5\x2f\xfd"
_LEAST_FRAME = 10  # magic, descriptor, one byte of content size, one block of one repeated byte
_HEAD = 14  # bytes of a frame that hold its content size, if it has one and needs no dictionary
_PLACE_BYTES = 16  # of a tile in the index: offset and length


@dataclass(frozen=True)
class Tiling:
    """How `n_tiles` tiles of `n_bytes` of samples each lie in a shard."""

    codec: Codec
    n_tiles: int
    n_bytes: int

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise UsageError(f"no codec is called {str(self.codec)[:40]!r}", fix=f"one of {', '.join(CODECS)}")

    @property
    def lengths(self) -> range:
        """Bytes that one tile may take, its checksum with it: one length without a codec."""
        if self.codec == "none":
            return range(self.n_bytes + CRC_BYTES, self.n_bytes + CRC_BYTES + 1)
        small = max(0, (1 << 17) - self.n_bytes) >> 11  # zstd.h: ZSTD_COMPRESSBOUND
        return range(_LEAST_FRAME + CRC_BYTES, self.n_bytes + (self.n_bytes >> 8) + small + CRC_BYTES + 1)

    @property
    def index_length(self) -> int:
        """Bytes of the index, its checksum with it."""
        return self.n_tiles * _PLACE_BYTES + CRC_BYTES

    @property
    def shard_sizes(self) -> range:
        """Bytes that the whole file may take: one size without a codec."""
        lengths = self.lengths
        return range(self.n_tiles * lengths[0] + self.index_length, self.n_tiles * lengths[-1] + self.index_length + 1)

    def encode(self, samples: UInt8) -> bytes:
        """Return a tile's samples as a frame of zstd with its crc32c behind it."""
        from numcodecs import zstd  # only where it is needed: it loads every codec there is

        frame = bytes(zstd.compress(samples, _LEVEL, False))
        return frame + crc32c(frame)

    def index(self, lengths: Int64) -> bytes:
        """Return the index: (offset, length) of each tile and its crc32c. Tiles lie in the order of time, no gaps."""
        index = np.empty((self.n_tiles, 2), dtype="<u8")
        index[:, 0] = np.cumsum(lengths) - lengths
        index[:, 1] = lengths
        data = index.tobytes()
        return data + crc32c(data)

    def edges(self, index: bytes, *, end: int, where: object) -> Int64:
        """Return where each tile begins and the last one ends: int64 (n_tiles + 1), from an index that is proven.

        Raises IntegrityError unless the tiles fill bytes 0 to `end` one after the other, each with a legal length.
        """
        if len(index) != self.index_length or crc32c(index[:-CRC_BYTES]) != index[-CRC_BYTES:]:
            raise IntegrityError("the shard's index is damaged", where=where)
        places = np.frombuffer(index, dtype="<u8", count=2 * self.n_tiles).reshape(-1, 2)
        lengths = places[:, 1]
        if (lengths < self.lengths[0]).any() or (lengths > self.lengths[-1]).any():
            raise IntegrityError("the shard's index names a tile of an impossible length", where=where)
        edges = np.zeros(self.n_tiles + 1, dtype=np.int64)  # lengths are bounded now: the sums cannot overflow
        np.cumsum(lengths, dtype=np.int64, out=edges[1:])
        if edges[-1] != end or (places[:, 0] != edges[:-1].astype(np.uint64)).any():
            raise IntegrityError("the shard's index does not put one tile behind the other", where=where)
        return edges

    def decode(self, stored: UInt8, out: UInt8) -> None:
        """Decode a proven tile of zstd into n_bytes of `out`. Raises IntegrityError for a frame that gives others."""
        from numcodecs import zstd

        try:
            if content_size(stored[:_HEAD].tobytes()) != self.n_bytes:  # a shorter frame would leave what was in `out`
                raise IntegrityError(f"a frame that does not say that it holds {self.n_bytes:,} bytes")
            zstd.decompress(stored[:-CRC_BYTES], out)
        except (RuntimeError, ValueError) as error:
            raise IntegrityError(str(error)) from None


def inner_codecs(codec: Codec) -> list[dict[str, Any]]:
    """Return zarr's description of what happens to a tile."""
    compressor = {"name": "zstd", "configuration": {"level": _LEVEL, "checksum": False}}
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    return [little, *([compressor] if codec == "zstd" else []), {"name": "crc32c"}]


def content_size(head: bytes) -> int | None:
    """Return the size that a zstd frame says it decodes to, from its first 14 bytes (RFC 8878, 3.1.1.1).

    None for what is not a frame, does not say it, or needs a dictionary.
    """
    if len(head) < 6 or head[:4] != _MAGIC or head[4] & 0b1011:  # a reserved bit, or a dictionary
        return None
    single = head[4] >> 5 & 1
    n_bytes = (1 if single else 0, 2, 4, 8)[head[4] >> 6]
    field = head[6 - single : 6 - single + n_bytes]
    if not n_bytes or len(field) < n_bytes:
        return None
    return int.from_bytes(field, "little") + (256 if n_bytes == 2 else 0)


def crc32c(data: Any) -> bytes:
    """Return the crc32c of contiguous bytes as the zarr codec stores it: 4 bytes, little-endian."""
    return int(google_crc32c.value(data)).to_bytes(CRC_BYTES, "little")


FILL = -32768
"""Not a legal sample: absent channels, gaps and padding."""

TILE_S = 10
MAX_CHANNELS = 512
MAX_SAMPLES = 1 << 40

_QUANTUM = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{0,17}[1-9])?\Z")
_SMALL_FILES_BYTES = 1 << 14


class _Attributes(Stored):
    """The attributes of an object's zarr.json: of format 2 where it has gaps."""

    omitted_when_empty = ("gaps",)

    format: Literal[1, 2]
    shape: Many[int]
    rate: int
    channels: Many[str]
    absent: Many[str]
    unit: Literal["uV"] = "uV"
    quantum: str
    k: Many[int]
    gaps: Many[Many[int]] = ()


@dataclass(frozen=True)
class ArrayMeta:
    """What the numbers of an object mean: int16 (channels, n_samples), channel i in steps of quantum_uv·2^k[i].

    `gaps`: [start, stop) in samples, sorted and apart, in which nothing was recorded and all rows are FILL.
    Raises UsageError for a value out of range.
    """

    channels: tuple[str, ...]
    absent: tuple[str, ...]
    n_samples: int
    rate_hz: int
    quantum_uv: str
    k: tuple[int, ...]
    gaps: tuple[tuple[int, int], ...] = ()

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
        edges = [edge for gap in self.gaps for edge in gap]
        if not all(type(edge) is int and 0 <= edge <= self.n_samples for edge in edges) or any(
            before >= after for before, after in pairwise(edges)
        ):
            raise UsageError(f"gaps: sorted and apart, within {self.n_samples} samples")
        if self.n_recorded == 0:
            raise UsageError("gaps: not all of the samples")

    def attributes(self) -> dict[str, Any]:
        """Return the array's zarr attributes: exactly the JSON that the content digest covers."""
        return {
            "format": 2 if self.gaps else 1,
            "shape": [len(self.channels), self.n_samples],
            "rate": self.rate_hz,
            "channels": list(self.channels),
            "absent": list(self.absent),
            "unit": "uV",
            "quantum": self.quantum_uv,
            "k": list(self.k),
            **({"gaps": [list(gap) for gap in self.gaps]} if self.gaps else {}),
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any], *, where: object = None) -> ArrayMeta:
        """Return the metadata that attributes() gave. Raises IntegrityError naming each wrong field."""
        found = models.parse(_Attributes, attributes, where=where)
        if len(found.shape) != 2 or found.shape[0] != len(found.channels):
            raise IntegrityError(f"array attributes: shape is not of {len(found.channels)} channels", where=where)
        if (found.format == 2) != bool(found.gaps) or any(len(gap) != 2 for gap in found.gaps):
            raise IntegrityError("array attributes: format 2 has gaps of two numbers each, format 1 none", where=where)
        try:
            return cls(
                channels=found.channels,
                absent=found.absent,
                n_samples=found.shape[1],
                rate_hz=found.rate,
                quantum_uv=found.quantum,
                k=found.k,
                gaps=tuple((start, stop) for start, stop in found.gaps),
            )
        except UsageError as error:
            raise IntegrityError(f"array attributes: {error}", where=where) from None

    @property
    def n_channels(self) -> int:
        """Rows of the array."""
        return len(self.channels)

    @property
    def n_recorded(self) -> int:
        """Samples of each channel that are in no gap."""
        return self.n_samples - sum(stop - start for start, stop in self.gaps)

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

    @property
    def gaps_us(self) -> tuple[tuple[int, int], ...]:
        """The gaps in microseconds: (start, stop)."""
        return tuple((a * 1_000_000 // self.rate_hz, b * 1_000_000 // self.rate_hz) for a, b in self.gaps)

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
    meta = ArrayMeta.from_attributes(models.decode_json(data, where=path).get("attributes", {}), where=path)
    for codec in CODECS:
        if data == zarr_json(meta, codec):
            return meta, codec
    raise IntegrityError("zarr.json is not what its attributes say", where=path)


def recorded(block: Int16, meta: ArrayMeta, *, first: int) -> Int16:
    """Return the samples of a block that are in no gap; its first one is sample `first` of the array."""
    if not meta.gaps:
        return block
    there = np.ones(block.shape[1], dtype=np.bool_)
    for start, stop in meta.gaps:
        there[max(start - first, 0) : max(stop - first, 0)] = False
    return block if there.all() else np.ascontiguousarray(block[:, there])  # compiled code reads rows as they lie


def check_fill(block: Int16, meta: ArrayMeta, *, first: int, where: object) -> None:
    """Raise IntegrityError when a present channel holds the fill value, or a gap or an absent channel a sample.

    `first`: the place of the block's first sample in the array.
    """
    for start, stop in meta.gaps:
        if (block[:, max(start - first, 0) : max(stop - first, 0)] != FILL).any():
            raise IntegrityError("a gap holds samples", where=where)
    block = recorded(block, meta, first=first)
    if not block.shape[1]:
        return
    if not meta.absent and block.min() > FILL:
        return
    lowest, highest = block.min(axis=1), block.max(axis=1)
    for name, low, high in zip(meta.channels, lowest, highest, strict=True):
        if name in meta.absent and high != FILL:
            raise IntegrityError(f"channel {name} is absent, but has samples", where=where)
        if name not in meta.absent and low == FILL:
            raise IntegrityError(
                f"channel {name} holds {FILL}, which is no sample", where=where, fix="clip to ±32767 before storing"
            )


def folder_bytes(folder: Path) -> int:
    """Return the bytes of a folder's files, whatever they are; 0 when it is gone."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return 0
