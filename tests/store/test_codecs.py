"""A store's codec: the same objects in fewer bytes, and no frame or index that is believed before it is checked."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from helpers.store_values import arguments, eeg_of, flips_on_disk, meta_of, overwrite, samples_of, write_object
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import zstd

from brainbrr.errors import FormatError, IntegrityError, UsageError
from brainbrr.store import formats
from brainbrr.store.formats import CODECS, Codec, content_size, crc32c
from brainbrr.store.integrity import DEPTHS, decode_object, verify_object, verify_record
from brainbrr.store.reader import ShardReader, decode
from brainbrr.store.store import Store

META = meta_of(3, 16 * 35 + 7, absent=(1,))
SAMPLES = eeg_of(META)
N_BYTES = META.n_channels * META.tile * 2
BOTH = pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "read"])


def fill(location: Path, codec: Codec) -> Store:
    store = Store.create(location, codec=codec)
    store.put(SAMPLES, **arguments(META))
    return store


@pytest.fixture
def stored(tmp_path: Path) -> Store:
    return fill(tmp_path / "store", "zstd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_object(tmp_path / "object", SAMPLES, META, codec="zstd")
    return tmp_path / "object"


def test_content_key_and_record_know_no_codec(tmp_path: Path) -> None:
    stores = {codec: fill(tmp_path / codec, codec) for codec in CODECS}
    (plain,), (packed,) = (list(store.records()) for store in stores.values())
    assert plain == packed
    for codec, store in stores.items():
        assert Store.open(store.location).codec == codec
        assert decode_object(store, plain.content) == plain.content
        for depth in DEPTHS:
            verify_object(store, plain.content, depth=depth)
        assert verify_record(store, plain.key) == plain
        assert np.array_equal(store.open_array(plain.content)[:], SAMPLES)
        with store.reader(plain.content, plain.array) as reader:
            assert np.array_equal(reader.read(3, 500), SAMPLES[:, 3:500])
    assert stores["zstd"].object_bytes(plain.content) < 0.9 * stores["none"].object_bytes(plain.content)


def test_any_zarr_reader_opens_the_hierarchy_of_a_compressed_store(stored: Store) -> None:
    group = zarr.open_group(str(stored.layout.objects), mode="r")
    (array,) = (member for _, member in group.members(max_depth=None) if isinstance(member, zarr.Array))
    assert np.array_equal(array[:], SAMPLES)


def test_the_same_samples_give_the_same_bytes(tmp_path: Path, folder: Path) -> None:
    write_object(tmp_path / "again", SAMPLES, META, codec="zstd")
    for name in ("zarr.json", "c.0.0"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_second_put_proves_what_is_there_and_damage_is_replaced(stored: Store) -> None:
    (record,) = stored.records()
    assert not stored.put(SAMPLES, **arguments(META)).new_object
    shard = stored.layout.object(record.content) / "c.0.0"
    overwrite(shard, b"\0" + shard.read_bytes()[1:])
    again = stored.put(SAMPLES, **arguments(META))
    assert again.new_object
    assert len(again.quarantined) == 1
    verify_object(stored, record.content)


def test_format_json_names_a_codec_and_says_nothing_without_one(tmp_path: Path) -> None:
    marks = {codec: fill(tmp_path / codec, codec).layout.mark.read_bytes() for codec in CODECS}
    assert marks["none"] == b'{"format":2,"kind":"brainbrr store"}'
    assert marks["zstd"] == b'{"codec":"zstd","format":2,"kind":"brainbrr store"}'


def test_a_stores_codec_never_changes(stored: Store, tmp_path: Path) -> None:
    assert Store.create(stored.location).codec == "zstd"
    assert Store.create(stored.location, codec="zstd").codec == "zstd"
    with pytest.raises(UsageError, match="has codec zstd, not none"):
        Store.create(stored.location, codec="none")
    assert Store.create(tmp_path / "new").codec == "none"
    with pytest.raises(UsageError, match="no codec is called 'lz4'"):
        Store.create(tmp_path / "other", codec="lz4")  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("codec", ['"lz4"', '"none"', "null", "1"])
def test_a_codec_that_this_version_does_not_know_is_refused_by_name(stored: Store, codec: str) -> None:
    overwrite(stored.layout.mark, b'{"codec":%s,"format":1,"kind":"brainbrr store"}' % codec.encode())
    with pytest.raises(FormatError, match=r"with codec .*; this brainbrr reads"):
        Store.open(stored.location)


@pytest.mark.parametrize("codec", CODECS)
def test_an_object_of_another_codec_is_damage_to_its_store(tmp_path: Path, codec: Codec) -> None:
    store, other = (fill(tmp_path / each, each) for each in sorted(CODECS, key=lambda each: each != codec))
    (record,) = store.records()
    folder = store.layout.object(record.content)
    shutil.rmtree(folder)
    shutil.copytree(other.layout.object(record.content), folder)
    assert decode(folder) == record.content
    for ask in (partial(verify_object, store), store.open_array, store.reader):
        with pytest.raises(IntegrityError, match=f"in a store of codec {codec}"):
            ask(record.content)
    with pytest.raises(IntegrityError):
        verify_record(store, record.key)


def test_an_object_with_a_missing_empty_or_oversized_shard_is_reported(stored: Store) -> None:
    (record,) = stored.records()
    shard = stored.layout.object(record.content) / "c.0.0"
    assert stored.has_object(record)
    for n_bytes in (0, 2 * META.shard_bytes):
        overwrite(shard, bytes(n_bytes))
        assert not stored.has_object(record)
    shard.unlink()
    assert not stored.has_object(record)


@pytest.mark.parametrize("meta", [meta_of(1, 1, rate_hz=1), meta_of(1, 1000, rate_hz=1), META], ids=str)
def test_frames_that_save_nothing_still_count_as_there(tmp_path: Path, meta: Any) -> None:
    store = Store.create(tmp_path / "store", codec="zstd")
    record = store.put(samples_of(meta), **arguments(meta)).record
    assert store.has_object(record)
    verify_object(store, record.content)


@pytest.mark.slow
def test_every_flipped_bit_of_a_compressed_object_is_found(tmp_path: Path) -> None:
    meta = meta_of(2, 55, rate_hz=4, absent=(1,))
    folder = tmp_path / "object"
    write_object(folder, eeg_of(meta), meta, codec="zstd")
    content, n_flips = decode(folder), 0
    for _ in flips_on_disk(folder / "c.0.0"):
        with pytest.raises(IntegrityError):
            decode(folder)
        n_flips += 1
    assert n_flips > 1_000
    assert decode(folder) == content


def frames_of(folder: Path) -> list[bytes]:
    data = (folder / "c.0.0").read_bytes()
    places = np.frombuffer(data[-16 * META.n_tiles - 4 : -4], dtype="<u8").reshape(-1, 2).tolist()
    return [data[offset : offset + length - 4] for offset, length in places]


def rewrite(folder: Path, frames: list[bytes], places: list[tuple[int, int]] | None = None) -> None:
    """Write a shard of these frames, every checksum right; `places`: what its index says instead of the truth."""
    lengths = [len(frame) + 4 for frame in frames]
    true = [(sum(lengths[:i]), length) for i, length in enumerate(lengths)]
    index = np.array(places or true, dtype="<u8").tobytes()
    body = b"".join(frame + crc32c(frame) for frame in frames)
    overwrite(folder / "c.0.0", body + index + crc32c(index))


LIES = {
    "swapped": lambda p: [p[1], p[0], *p[2:]],
    "overlapping": lambda p: [p[0], (p[1][0] - 1, p[1][1]), *p[2:]],
    "with a gap": lambda p: [p[0], (p[1][0] + 1, p[1][1] - 1), *p[2:]],
    "out of the file": lambda p: [*p[:-1], (p[-1][0] + 10_000, p[-1][1])],
    "longer than the file": lambda p: [*p[:-1], (p[-1][0], p[-1][1] + 1)],
    "shorter than the file": lambda p: [*p[:-1], (p[-1][0], p[-1][1] - 1)],
    "longer than a tile": lambda p: [(0, N_BYTES * 2), *p[1:]],
    "of no length": lambda p: [(0, 0), *p[1:]],
    "of 2^64 - 1 bytes": lambda p: [(0, 2**64 - 1), *p[1:]],
    "at 2^64 - 1": lambda p: [(2**64 - 1, p[0][1]), *p[1:]],
    "that wrap around": lambda p: [(p[0][0], 2**63), (2**63, 2**63), *p[2:]],
    "missing, as zarr says it": lambda p: [(2**64 - 1, 2**64 - 1), *p[1:]],
}


@BOTH
@pytest.mark.parametrize("lie", LIES)
def test_tiles_that_the_index_puts_elsewhere_are_not_read(folder: Path, lie: str, mapped: bool) -> None:
    frames = frames_of(folder)
    rewrite(folder, frames)
    assert np.array_equal(ShardReader(folder, mapped=mapped).read(0, 567), SAMPLES)
    lengths = [len(frame) + 4 for frame in frames]
    rewrite(folder, frames, LIES[lie]([(sum(lengths[:i]), length) for i, length in enumerate(lengths)]))
    with pytest.raises(IntegrityError, match="index"):
        ShardReader(folder, mapped=mapped)


@pytest.mark.parametrize("meta", [META, meta_of(3, 16 * 355 + 7, absent=(1,))], ids=["right", "longer"])
def test_a_shard_that_is_cut_short_is_refused_when_it_is_opened(folder: Path, meta: Any) -> None:
    data = (folder / "c.0.0").read_bytes()
    for n_bytes in (0, 1, 20, len(data) // 2, len(data) - 1, len(data) + 1):
        overwrite(folder / "c.0.0", (data + b"\0")[:n_bytes])
        with pytest.raises(IntegrityError):
            ShardReader(folder, meta, codec="zstd")


def raw(tile: int = 0) -> bytes:
    return samples_of(META, seed=tile)[:, : META.tile].tobytes()


FRAMES = {
    "a bomb": zstd.compress(bytes(1 << 28), 1, False),
    "one byte more": zstd.compress(raw() + b"\0", 1, False),
    "two bytes less": zstd.compress(raw()[:-2], 1, False),
    "two frames": zstd.compress(raw()[: N_BYTES // 2], 1, False) * 2,
    "a whole frame and another": zstd.compress(bytes(N_BYTES), 1, False) * 2,
    "no frame": bytes(40),
    "an empty frame": zstd.compress(b"", 1, False) + bytes(8),
    "a frame cut short": zstd.compress(raw(), 1, False)[:-5],
    "a frame that needs a dictionary": b"\x28\xb5\x2f\xfd\x61" + bytes(30),
    "a frame without a size": b"\x28\xb5\x2f\xfd\x00" + bytes(30),
    "a size that is not kept": b"\x28\xb5\x2f\xfd\xa0"
    + N_BYTES.to_bytes(4, "little")
    + bytes.fromhex("030000")
    + bytes(9),
}


@BOTH
@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_that_is_not_exactly_a_tile_is_damage_with_its_time(folder: Path, kind: str, mapped: bool) -> None:
    frames = frames_of(folder)
    frames[2] = FRAMES[kind]
    rewrite(folder, frames)
    try:
        reader = ShardReader(folder, mapped=mapped)
    except IntegrityError as error:
        assert len(frames[2]) > N_BYTES, error
        return
    for _ in range(2):
        assert np.array_equal(reader.read(0, 320), SAMPLES[:, :320])
        with pytest.raises(IntegrityError, match="from 20 s to 30 s") as caught:
            reader.span(300, 400)
        assert str(folder) in str(caught.value)
    with pytest.raises(IntegrityError):
        decode(folder)


@given(n_bytes=st.integers(1, 70_000) | st.sampled_from([255, 256, 65_791, 65_792]), level=st.integers(1, 4))
def test_the_content_size_is_read_as_the_specification_says(n_bytes: int, level: int) -> None:
    frame = zstd.compress(bytes(n_bytes), level, False)
    assert content_size(frame[:14]) == n_bytes
    for cut in range(6):
        assert content_size(frame[:cut]) is None


@given(head=st.binary(max_size=14))
def test_any_bytes_are_a_size_or_none(head: bytes) -> None:
    for start in (b"", b"\x28\xb5\x2f\xfd"):
        assert content_size(start + head) is None or content_size(start + head) >= 0  # type: ignore[operator]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("more", [0, 1, -1])
def test_an_index_of_tiles_of_impossible_lengths_is_damage_whatever_its_checksum(codec: Codec, more: int) -> None:
    tiling = formats.Tiling(codec, 2, 20)
    least, most = tiling.lengths[0], tiling.lengths[-1]
    lengths = np.array([least - 1, least] if more < 0 else [most, most + more])
    if more:
        with pytest.raises(IntegrityError, match="impossible length"):
            tiling.edges(tiling.index(lengths), end=lengths.sum(), where="here")
    else:
        assert tiling.edges(tiling.index(lengths), end=2 * most, where="here").tolist() == [0, most, 2 * most]


def test_a_codec_that_does_not_exist_tiles_nothing() -> None:
    with pytest.raises(UsageError, match="no codec is called"):
        formats.Tiling("lz4", 1, 20)  # type: ignore[arg-type]
