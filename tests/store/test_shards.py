from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.store_values import arguments, flips_on_disk, meta_of, overwrite, samples_of, write_object
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import formats
from brainbrr.store.formats import Codec
from brainbrr.store.integrity import decode_object
from brainbrr.store.reader import ShardReader, decode, inspect
from brainbrr.store.store import Store

META = meta_of(3, 16 * 35 + 7, absent=(1,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_object(tmp_path / "object", samples_of(META), META)
    return tmp_path / "object"


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(
    n_channels=st.integers(1, 25),
    n_samples=st.integers(1, 6000),
    k=st.integers(0, 3),
    seed=st.integers(0, 99),
    spans=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=6),
)
def test_any_window_equals_numpy_and_zarr(tmp_path_factory, n_channels, n_samples, k, seed, spans) -> None:  # type: ignore[no-untyped-def]
    store = Store.create(tmp_path_factory.mktemp("s"))
    meta = meta_of(n_channels, n_samples, k=k, absent=(0,) if seed % 3 == 0 and n_channels > 1 else ())
    samples = samples_of(meta, seed=seed)
    content = store.put(samples, **arguments(meta)).record.content
    assert decode_object(store, content) == content
    array = store.open_array(content)
    with store.reader(content) as reader:
        assert reader.meta == meta
        assert np.array_equal(reader.read(0, n_samples), samples)
        for span in spans:
            start, stop = sorted(round(edge * n_samples) for edge in span)
            window = reader.read(start, stop)
            assert window.dtype == np.int16
            assert np.array_equal(window, samples[:, start:stop])
            assert np.array_equal(window, array[:, start:stop])


def test_reading_fills_the_buffer_it_is_given(folder: Path) -> None:
    batch = np.zeros((2, 3, 200), dtype=np.int16)
    with ShardReader(folder) as reader:
        assert reader.read(100, 300, batch[1]).base is batch
    assert np.array_equal(batch[1], samples_of(META)[:, 100:300])
    assert not batch[0].any()


@pytest.mark.parametrize("span", [(-1, 5), (5, 4), (0, META.n_samples + 1), (META.n_samples + 1, META.n_samples + 1)])
def test_reading_outside_the_recording_is_refused(folder: Path, span: tuple[int, int]) -> None:
    with ShardReader(folder) as reader, pytest.raises(UsageError, match="of 567"):
        reader.read(*span)


def test_a_buffer_of_another_shape_or_type_is_refused(folder: Path) -> None:
    with ShardReader(folder) as reader:
        for out in (np.zeros((3, 9), np.int16), np.zeros((3, 10), np.float32)):
            with pytest.raises(UsageError, match="belongs"):
                reader.read(0, 10, out)  # type: ignore[arg-type]


def test_an_empty_span_reads_nothing(folder: Path) -> None:
    with ShardReader(folder) as reader:
        assert reader.read(5, 5).shape == (3, 0)


def test_a_closed_reader_says_so(folder: Path) -> None:
    reader = ShardReader(folder)
    reader.close()
    with pytest.raises(UsageError, match="closed"):
        reader.read(0, 1)


@pytest.mark.slow
def test_every_flipped_bit_of_an_object_is_found(tmp_path: Path) -> None:
    meta = meta_of(2, 55, rate_hz=4, absent=(1,))
    folder = tmp_path / "object"
    write_object(folder, samples_of(meta), meta)
    content = decode(folder)
    n_flips = 0
    for name in ("zarr.json", "c.0.0"):
        for position in flips_on_disk(folder / name):
            try:
                found = decode(folder)
            except IntegrityError:
                found = None
            assert found != content, f"bit flip in byte {position} of {name} is silent"
            # the attributes may still be legal, but then they are another content's
            assert found is None or name == "zarr.json"
            n_flips += 1
    assert n_flips > 8_000
    assert decode(folder) == content


def test_a_damaged_tile_is_named_by_time_and_spares_the_others(folder: Path) -> None:
    shard = folder / "c.0.0"
    data = bytearray(shard.read_bytes())
    data[META.tile_bytes * 2 + 5] ^= 4
    overwrite(shard, bytes(data))
    with ShardReader(folder) as reader:
        assert np.array_equal(reader.read(0, 320), samples_of(META)[:, :320])
        with pytest.raises(IntegrityError, match="from 20 s to 30 s") as caught:
            reader.read(319, 322)
        assert str(folder) in str(caught.value)


def test_a_tile_is_verified_on_every_read(folder: Path) -> None:
    reader = ShardReader(folder)
    reader.read(0, 10)
    with (folder / "c.0.0").open("r+b") as shard:  # bit rot under an open map
        shard.write(b"\xaa")
    with pytest.raises(IntegrityError, match="tile 0"):
        reader.read(0, 10)


@pytest.mark.parametrize("n_bytes", [0, 1, 963, META.shard_bytes - 1, META.shard_bytes + 1])
def test_a_shard_of_another_size_is_refused_before_it_is_mapped(folder: Path, n_bytes: int) -> None:
    data = (folder / "c.0.0").read_bytes()
    overwrite(folder / "c.0.0", (data + b"\0")[:n_bytes])
    for meta in (None, META):
        with pytest.raises(IntegrityError, match=r"bytes instead of 3,\d"):
            ShardReader(folder, meta)


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_shard_of_holes_takes_no_memory_for_its_index(tmp_path: Path, codec: Codec) -> None:
    """One that claims 10^9 tiles and has no byte of them on the disk: its index alone would be 16 GB."""
    meta = meta_of(1, 10 << 30, rate_hz=1)
    (tmp_path / "zarr.json").write_bytes(formats.zarr_json(meta, codec))
    (tmp_path / "c.0.0").touch()
    os.truncate(tmp_path / "c.0.0", meta.shard_bytes)
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="a hole"):
            inspect(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_swapped_tiles_pass_crc32c_but_not_the_content(folder: Path) -> None:
    content = decode(folder)
    data = (folder / "c.0.0").read_bytes()
    n = META.tile_bytes
    overwrite(folder / "c.0.0", data[n : 2 * n] + data[:n] + data[2 * n :])
    inspect(folder, checksums=True)
    assert decode(folder) != content


@pytest.mark.slow
def test_every_flipped_bit_of_a_tile_fails_its_checksum(tmp_path: Path) -> None:
    meta = meta_of(2, 55, rate_hz=4)
    write_object(tmp_path / "object", samples_of(meta), meta)
    for _ in flips_on_disk(tmp_path / "object" / "c.0.0"):
        with pytest.raises(IntegrityError):
            inspect(tmp_path / "object", checksums=True)
    inspect(tmp_path / "object", checksums=True)


def test_proving_a_closed_reader_is_refused(folder: Path) -> None:
    reader = ShardReader(folder)
    reader.close()
    with pytest.raises(UsageError, match="closed"):
        reader.verify()


@pytest.mark.parametrize("name", ["zarr.json", "c.0.0"])
def test_a_missing_or_linked_file_is_damage(folder: Path, name: str, tmp_path: Path) -> None:
    shutil.move(folder / name, tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="has no"):
        ShardReader(folder)
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="a link"):
        ShardReader(folder)


def test_a_linked_folder_a_file_and_nothing_are_not_objects(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "file").touch()
    for name, reason in (("link", "a link"), ("file", "a link or a file"), ("nothing", "not there")):
        with pytest.raises(IntegrityError, match=reason):
            decode(tmp_path / name)


def test_a_file_that_no_object_has_is_found(folder: Path) -> None:
    inspect(folder)
    (folder / "c.0.1").touch()
    with pytest.raises(IntegrityError, match=r"c\.0\.1"):
        inspect(folder)


def test_padding_other_than_fill_is_found(folder: Path) -> None:
    data = bytearray((folder / "c.0.0").read_bytes())
    last = slice((META.n_tiles - 1) * META.tile_bytes, META.n_tiles * META.tile_bytes)
    tile = bytearray(data[last])
    tile[-6:-4] = b"\1\0"
    tile[-4:] = formats.crc32c(bytes(tile[:-4]))
    data[last] = tile
    overwrite(folder / "c.0.0", bytes(data))
    with pytest.raises(IntegrityError, match="padding"):
        decode(folder)


def test_metadata_of_another_array_does_not_open(folder: Path) -> None:
    with pytest.raises(IntegrityError, match="bytes instead of"):
        ShardReader(folder, meta_of(3, 1000))


def test_threads_share_one_reader(folder: Path) -> None:
    samples = samples_of(META)
    spans = [(i, min(i + 170, META.n_samples)) for i in range(0, META.n_samples, 3)]
    with ShardReader(folder) as reader, ThreadPoolExecutor(8) as pool:
        for (start, stop), window in zip(spans, pool.map(lambda span: reader.read(*span), spans), strict=True):
            assert np.array_equal(window, samples[:, start:stop])


def test_closing_waits_for_nobody_and_breaks_no_running_read(folder: Path) -> None:
    samples, wrong, stop = samples_of(META), [], time.monotonic() + 0.3
    readers = [ShardReader(folder)]

    def read() -> None:
        while time.monotonic() < stop:
            try:
                if not np.array_equal(readers[-1].read(0, 500), samples[:, :500]):
                    wrong.append("bytes")
            except UsageError:
                pass  # closed between taking and reading it

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    while time.monotonic() < stop:
        readers.append(ShardReader(folder))
        readers[-2].close()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_reader_travels_to_another_process_by_its_path(folder: Path) -> None:
    reader = pickle.loads(pickle.dumps(ShardReader(folder)))
    assert np.array_equal(reader.read(0, 500), samples_of(META)[:, :500])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_reader_survives_a_fork_after_it_has_read(folder: Path) -> None:
    reader = ShardReader(folder)
    reader.read(0, 10)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put(int(reader.read(0, 560)[0].sum(dtype=np.int64))))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert answers.get() == int(samples_of(META)[0, :560].sum(dtype=np.int64))


@pytest.mark.parametrize(
    ("channel", "sample", "reason"), [(0, formats.FILL, "E0 holds -32768"), (1, 5, "E1 is absent")]
)
def test_fill_and_samples_in_the_wrong_rows_are_found_whatever_the_digest(
    tmp_path: Path, channel: int, sample: int, reason: str
) -> None:
    samples = samples_of(META)
    samples[channel, 333] = sample
    write_object(tmp_path / "object", samples, META)
    with pytest.raises(IntegrityError, match=reason):
        decode(tmp_path / "object")


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_valid_tile_at_another_tiles_position_is_found_by_the_record(tmp_path: Path, codec: Codec) -> None:
    store = Store.create(tmp_path / "s", codec=codec)
    record = store.put(samples_of(META), **arguments(META)).record
    folder = store.layout.object(record.content)
    checks = bytes.fromhex(record.checks)
    swapped = checks[4:8] + checks[:4] + checks[8:]  # as if the first two tiles had changed places
    with store.reader(record.content, checks=checks) as reader:
        assert np.array_equal(reader.read(0, META.n_samples), samples_of(META))
    with store.reader(record.content, checks=swapped) as reader:
        for _ in range(2):  # also when it is asked for again
            with pytest.raises(IntegrityError, match=r"from 0 s to 10 s .another tile in the place"):
                reader.read(0, 10)
    with pytest.raises(IntegrityError, match="another tile"):
        inspect(folder, checksums=True, checks=swapped)
    with pytest.raises(IntegrityError, match="its record checks"):
        store.reader(record.content, checks=checks[:4])
