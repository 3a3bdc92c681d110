"""How a shard holds tiles: a store's codec, the checksum behind each tile, and the index at the end.

Writes without zarr what zarr would write. Knows lengths, and nothing of what the samples mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import google_crc32c
import numpy as np

from brainbrr.errors import IntegrityError, UsageError

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Edges = np.ndarray[Any, np.dtype[np.int64]]

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

    def encode(self, samples: Bytes) -> bytes:
        """Return a tile's samples as a frame of zstd with its crc32c behind it."""
        from numcodecs import zstd  # only where it is needed: it loads every codec there is

        frame = bytes(zstd.compress(samples, _LEVEL, False))
        return frame + crc32c(frame)

    def index(self, lengths: Edges) -> bytes:
        """Return the index: (offset, length) of each tile and its crc32c. Tiles lie in the order of time, no gaps."""
        index = np.empty((self.n_tiles, 2), dtype="<u8")
        index[:, 0] = np.cumsum(lengths) - lengths
        index[:, 1] = lengths
        data = index.tobytes()
        return data + crc32c(data)

    def edges(self, index: bytes, *, end: int, where: object) -> Edges:
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

    def decode(self, stored: Bytes, out: Bytes) -> None:
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
