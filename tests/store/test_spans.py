"""What a loader reads: spans of tiles of either codec, mapped or read, against plain zarr."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from helpers.store_values import eeg_of, meta_of, overwrite, samples_of, write_object
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.errors import BrainbrrError, IntegrityError, UsageError
from brainbrr.store import reader as the_reader
from brainbrr.store.formats import CODECS, Codec
from brainbrr.store.reader import Scratch, ShardReader

META = meta_of(3, 16 * 35 + 7, absent=(1,))
MAPPED = pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "read"])


SAMPLES = eeg_of(META)


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return request.param


@pytest.fixture
def folder(tmp_path: Path, codec: Codec) -> Path:
    write_object(tmp_path / "object", SAMPLES, META, codec=codec)
    return tmp_path / "object"


def edges_of(folder: Path) -> list[int]:
    """Where each tile begins, and the last one ends."""
    index = np.frombuffer((folder / "c.0.0").read_bytes()[-16 * META.n_tiles - 4 : -4], dtype="<u8").reshape(-1, 2)
    return [*index[:, 0].tolist(), int(index[-1].sum())]


def window(reader: ShardReader, start: int, stop: int, scratch: Scratch | None = None) -> np.ndarray[Any, Any]:
    """Samples [start, stop) put together from what span() gives, and from nothing else."""
    tiles, first = reader.span(start, stop, scratch)
    meta = reader.meta
    assert tiles.dtype == np.int16
    assert tiles.shape[0] == (0 if start == stop else -(-stop // meta.tile) - start // meta.tile)
    assert tiles.strides[1] == 2
    rows = tiles[:, : meta.n_channels * meta.tile].reshape(len(tiles), meta.n_channels, meta.tile)
    joined = rows.transpose(1, 0, 2).reshape(meta.n_channels, len(tiles) * meta.tile)
    return joined[:, first : first + stop - start].copy()


def plain(folder: Path) -> np.ndarray[Any, Any]:
    return np.asarray(zarr.open_array(str(folder), mode="r", zarr_format=3)[:])


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    mapped=st.booleans(),
    codec=st.sampled_from(CODECS),
    random=st.booleans(),
    n_channels=st.integers(1, 20),
    n_samples=st.integers(1, 2000) | st.sampled_from([1, 159, 160, 161, 320, 1600]),
    edges=st.lists(st.integers(0, 2000) | st.sampled_from([0, 159, 160, 161, 320]), min_size=8, max_size=8),
    seed=st.integers(0, 9),
)
def test_any_span_holds_what_plain_zarr_reads(
    tmp_path_factory: pytest.TempPathFactory,
    mapped: bool,
    codec: Codec,
    random: bool,
    n_channels: int,
    n_samples: int,
    edges: list[int],
    seed: int,
) -> None:
    folder, meta = tmp_path_factory.mktemp("span") / "object", meta_of(n_channels, n_samples)
    samples = (samples_of if random else eeg_of)(meta, seed=seed)
    write_object(folder, samples, meta, codec=codec)
    expected, scratch = plain(folder), Scratch()
    assert np.array_equal(expected, samples)
    with ShardReader(folder, mapped=mapped) as reader:
        spans = [(0, n_samples), (n_samples - 1, n_samples), (0, 0), (n_samples, n_samples)]
        spans += [(min(a, b) % (n_samples + 1), max(a, b) % (n_samples + 1)) for a, b in itertools.pairwise(edges)]
        for start, stop in (span for span in spans if span[0] <= span[1]):
            assert np.array_equal(window(reader, start, stop, scratch), expected[:, start:stop])
            assert np.array_equal(window(reader, start, stop), expected[:, start:stop])


@MAPPED
@pytest.mark.parametrize("span", [(-1, 5), (5, 4), (0, META.n_samples + 1)])
def test_a_span_outside_the_recording_is_refused(
    folder: Path, span: tuple[int, int], codec: Codec, mapped: bool
) -> None:
    with ShardReader(folder, META, codec=codec, mapped=mapped) as reader:
        for ask in (reader.span, reader.advise):
            with pytest.raises(UsageError, match="of 567"):
                ask(*span)


@MAPPED
def test_a_closed_reader_gives_no_span(folder: Path, mapped: bool) -> None:
    reader = ShardReader(folder, mapped=mapped)
    reader.close()
    for ask in (lambda: reader.span(0, 5), lambda: reader.advise(0, 5)):
        with pytest.raises(UsageError, match="closed"):
            ask()


@MAPPED
def test_a_span_of_a_map_is_no_copy_and_others_fill_the_same_buffer_again(
    folder: Path, codec: Codec, mapped: bool
) -> None:
    scratch = Scratch()
    if mapped and codec == "none":
        with ShardReader(folder, mapped=True) as reader:
            assert np.shares_memory(reader.span(0, 200, scratch)[0], reader.span(0, 500)[0])
        return
    with ShardReader(folder, mapped=mapped) as reader, ShardReader(folder, mapped=mapped) as other:
        longest = reader.span(0, 500, scratch)[0]
        assert np.shares_memory(longest, other.span(100, 200, scratch)[0])
        assert not np.shares_memory(longest, reader.span(0, 500)[0])


@MAPPED
def test_metadata_that_is_known_is_not_read_again(folder: Path, codec: Codec, mapped: bool) -> None:
    (folder / "zarr.json").unlink()
    with ShardReader(folder, META, codec=codec, mapped=mapped) as reader:
        assert np.array_equal(window(reader, 0, 567), SAMPLES)


@MAPPED
def test_advice_changes_no_answer(folder: Path, mapped: bool) -> None:
    with ShardReader(folder, mapped=mapped) as reader:
        for start, stop in ((0, 0), (0, 1), (159, 161), (400, 567), (567, 567)):
            reader.advise(start, stop)
            assert np.array_equal(window(reader, start, stop), SAMPLES[:, start:stop])


@MAPPED
def test_a_damaged_tile_stops_the_spans_that_touch_it(folder: Path, mapped: bool) -> None:
    shard = folder / "c.0.0"
    data = bytearray(shard.read_bytes())
    data[edges_of(folder)[2] + 5] ^= 4
    overwrite(shard, bytes(data))
    with ShardReader(folder, mapped=mapped) as reader:
        for _ in range(2):  # one bad answer does not make the next one good
            assert np.array_equal(window(reader, 0, 320), SAMPLES[:, :320])
            with pytest.raises(IntegrityError, match="from 20 s to 30 s") as caught:
                reader.span(319, 322)
            assert str(folder) in str(caught.value)
        assert np.array_equal(window(reader, 480, 567), SAMPLES[:, 480:])


@MAPPED
def test_tiles_are_verified_on_every_read(folder: Path, mapped: bool) -> None:
    reader = ShardReader(folder, mapped=mapped)
    reader.span(0, 200)
    (folder / "c.0.0").chmod(0o644)
    with (folder / "c.0.0").open("r+b") as shard:  # bit rot under an open file
        shard.seek(9)
        shard.write(b"\xaa\x55" * 4)
    with pytest.raises(IntegrityError, match="crc32c of tile 0"):
        reader.span(0, 200)


@pytest.mark.parametrize(("n_whole", "more"), [(0, 0), (0, 1), (1, 0), (2, 9)])
def test_a_file_cut_short_under_a_reading_reader_is_an_error(folder: Path, n_whole: int, more: int) -> None:
    n_bytes = edges_of(folder)[n_whole] + more
    with ShardReader(folder, mapped=False) as reader:
        shard = folder / "c.0.0"
        shard.chmod(0o644)
        os.truncate(shard, n_bytes)
        whole = n_whole * META.tile
        assert np.array_equal(window(reader, 0, whole), SAMPLES[:, :whole])
        with pytest.raises(IntegrityError, match="the shard ends before byte") as caught:
            reader.span(0, 567)
        assert str(folder) in str(caught.value)


def test_a_removed_file_reads_on_where_the_system_keeps_it(folder: Path, codec: Codec) -> None:
    with ShardReader(folder, mapped=False) as reader:
        (folder / "c.0.0").unlink()
        assert np.array_equal(window(reader, 0, 567), SAMPLES)
    with pytest.raises(IntegrityError, match="no shard file"):
        ShardReader(folder, META, codec=codec, mapped=False)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENOENT, errno.EIO])
def test_a_read_that_fails_names_the_object_and_is_damage_only_where_bytes_are_gone(
    folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    with ShardReader(folder, mapped=False) as reader:
        monkeypatch.setattr(the_reader.os, "preadv", gone)
        with pytest.raises(BrainbrrError, match=os.strerror(number)) as caught:
            reader.span(0, 10)
        assert str(folder) in str(caught.value)
        assert isinstance(caught.value, IntegrityError) == (number in (errno.ENOENT, errno.EIO))


@pytest.mark.parametrize("call", ["open", "pread"])
@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_a_shard_that_cannot_be_opened_is_named(
    folder: Path, codec: Codec, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(the_reader.os, call, gone)
    with pytest.raises(BrainbrrError, match="the shard cannot be read") as caught:
        ShardReader(folder, META, codec=codec)
    assert str(folder) in str(caught.value)
    assert isinstance(caught.value, IntegrityError) == (number == errno.EIO)


def test_a_read_in_small_pieces_is_put_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.preadv
    monkeypatch.setattr(the_reader.os, "preadv", lambda fd, to, at: whole(fd, [to[0][:333]], at))
    with ShardReader(folder, mapped=False) as reader:
        assert np.array_equal(window(reader, 3, 567), SAMPLES[:, 3:])


@pytest.mark.slow
@MAPPED
def test_threads_with_a_scratch_each_share_one_reader(folder: Path, mapped: bool) -> None:
    def read(offset: int) -> bool:
        scratch = Scratch()
        spans = [(i, min(i + 170, META.n_samples)) for i in range(offset, META.n_samples, 7)]
        return all(np.array_equal(window(reader, a, b, scratch), SAMPLES[:, a:b]) for a, b in spans * 5)

    with ShardReader(folder, mapped=mapped) as reader, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


@MAPPED
def test_a_pickled_reader_reads_the_same_way(folder: Path, codec: Codec, mapped: bool) -> None:
    reader = pickle.loads(pickle.dumps(ShardReader(folder, META, codec=codec, mapped=mapped)))
    assert (reader.meta, reader.codec, reader.mapped) == (META, codec, mapped)
    assert np.array_equal(window(reader, 5, 560), SAMPLES[:, 5:560])


def test_closing_a_reading_reader_never_reads_another_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, real = ShardReader(folder, mapped=False), os.preadv

    def close_first(descriptor: int, buffers: list[memoryview], at: int) -> int:
        reader.close()  # by another thread, in the middle of a read
        return real(descriptor, buffers, at)

    monkeypatch.setattr(the_reader.os, "preadv", close_first)
    assert np.array_equal(window(reader, 0, 567), SAMPLES)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list descriptors")
@MAPPED
def test_readers_leave_no_descriptor_behind(folder: Path, codec: Codec, mapped: bool) -> None:
    gc.collect()  # readers of other tests
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with ShardReader(folder, META, codec=codec, mapped=mapped) as reader:
            reader.span(0, 10)
        with pytest.raises(IntegrityError):
            ShardReader(folder, meta_of(3, 1000), codec=codec, mapped=mapped)
    gc.collect()  # what an error holds by its traceback
    assert len(os.listdir("/proc/self/fd")) <= before
