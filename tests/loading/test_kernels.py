"""Compiled and plain kernels give the same bits, and nothing is read outside of the tiles."""

from __future__ import annotations

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainbrr.loading.kernels import Numpy, kernels
from brainbrr.loading.rows import MIXED, NO_OFFSETS, NO_WEIGHTS, PROVEN, UNKNOWN, Places, Rows

N_CHANNELS = 5


def rows_of(random: np.random.Generator, n_rows: int, *, mixed: bool, clip: float) -> Rows:
    source = random.integers(0, N_CHANNELS, n_rows).astype(np.int32)
    weights = np.zeros((0, 0))
    if mixed:
        mixes = random.random(n_rows) < 0.5
        source[mixes] = MIXED
        weights = np.where(
            mixes[:, None] & (random.random((n_rows, N_CHANNELS)) < 0.7), random.normal(size=(n_rows, N_CHANNELS)), 0
        )
        weights[random.random((n_rows, N_CHANNELS)) < 0.05] = np.nan
    gain = random.normal(size=n_rows).astype(np.float32)
    gain[random.random(n_rows) < 0.1] = np.nan
    centre = random.integers(-32768, 32768, n_rows).astype(np.int32)
    return Rows(source, centre, gain, weights, random.normal(size=n_rows), np.float32(clip), N_CHANNELS)


def bits(array: np.ndarray) -> np.ndarray:
    """Return float32 as integers, every NaN as one."""
    return np.where(np.isnan(array), np.int32(-1), array.view(np.int32))


cases = {
    "seed": st.integers(0, 2**32),
    "tile": st.integers(1, 90),
    "n_tiles": st.integers(1, 4),
    "extra": st.integers(0, 3),
    "mixed": st.booleans(),
    "clip": st.sampled_from([np.inf, 3.0, 1e4]),
    "length": st.integers(1, 200),
    "shift": st.integers(0, 17),
}


@pytest.mark.slow
@given(**cases)
@settings(max_examples=300, deadline=None)
def test_compiled_and_plain_kernels_give_the_same_bits(
    seed: int, tile: int, n_tiles: int, extra: int, mixed: bool, clip: float, length: int, shift: int
) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    random = np.random.default_rng(seed)
    tiles = random.integers(-32768, 32768, (n_tiles, N_CHANNELS * tile + extra)).astype(np.int16)
    first = int(random.integers(0, n_tiles * tile))
    n = int(random.integers(0, min(length, n_tiles * tile - first) + 1))
    rows = rows_of(random, 4, mixed=mixed, clip=clip)
    found = []
    for kernel in (kernels(compiled=True), Numpy()):
        memory = np.full(4 * length + shift + 64, 7, dtype=np.float32)  # `shift` puts rows anywhere on a cache line
        kernel.rows(tiles, tile, first, n, rows, memory[shift : shift + 4 * length].reshape(4, length))
        assert (memory[:shift] == 7).all() and (memory[shift + 4 * length :] == 7).all()
        raw = np.full(4 * length + shift + 64, 7, dtype=np.int16)
        kernel.raw(
            tiles, tile, first, n, np.abs(rows.source), -32768, raw[shift : shift + 4 * length].reshape(4, length)
        )
        assert (raw[:shift] == 7).all() and (raw[shift + 4 * length :] == 7).all()
        found.append((bits(memory), raw))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32),
    n_windows=st.integers(1, 5),
    length=st.integers(1, 150),
    clip=st.sampled_from([np.inf, 50.0]),
    past=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_many_windows_at_once_are_the_same_as_one_by_one(
    seed: int, n_windows: int, length: int, clip: float, past: bool
) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    from brainbrr.loading import kernels_numba

    random = np.random.default_rng(seed)
    shards, at, n = [], [], []
    for _ in range(n_windows):
        tile, n_tiles = (int(each) for each in random.integers(1, 70, 2))
        shards.append(random.integers(-32768, 32768, (n_tiles, N_CHANNELS * tile + 2)).astype(np.int16))
        at.append((tile, int(random.integers(0, tile * n_tiles))))
        n.append(int(random.integers(0, min(length, tile * n_tiles - at[-1][1]) + 1)))
    here = random.random(n_windows) < 0.8
    tiles, firsts = np.array(at, dtype=np.int64).T
    address = [
        shard.ctypes.data + first // tile * shard.strides[0] for shard, (tile, first) in zip(shards, at, strict=True)
    ]
    places = Places(
        np.where(here, np.array(address), 0),
        np.array([shard.strides[0] for shard in shards]),
        tiles,
        firsts % tiles,
        np.array(n),
        np.full(n_windows, PROVEN),
    )
    table = np.zeros((4, 256), dtype=np.uint32)
    source = random.integers(0, N_CHANNELS, (n_windows, 3)).astype(np.int32)
    centre = random.integers(-99, 99, (n_windows, 3)).astype(np.int32)
    gain = random.normal(size=(n_windows, 3)).astype(np.float32)
    memory, raw = np.full(n_windows * 3 * length + 32, 7, np.float32), np.full(n_windows * 3 * length + 32, 7, np.int16)
    out, raw_out = (m[: n_windows * 3 * length].reshape(n_windows, 3, length) for m in (memory, raw))
    kernels_numba._many_rows(places, table, source, centre, gain, np.float32(clip), out, past)
    kernels_numba._many_raw(places, table, source[0], np.int16(-32768), raw_out, past)
    for i in range(n_windows):
        expected, raw_expected = np.full((3, length), 7, np.float32), np.full((3, length), 7, np.int16)
        if here[i]:
            rows = Rows(source[i], centre[i], gain[i], NO_WEIGHTS, NO_OFFSETS, np.float32(clip), N_CHANNELS)
            Numpy().rows(shards[i], *at[i], n[i], rows, expected)
            Numpy().raw(shards[i], *at[i], n[i], source[0], -32768, raw_expected)
        assert np.array_equal(out[i], expected) and np.array_equal(raw_out[i], raw_expected)
    assert (memory[-32:] == 7).all() and (raw[-32:] == 7).all()


@pytest.mark.slow
@pytest.mark.parametrize("n_bytes", [2, 30, 97_280])
def test_a_damaged_tile_is_found_in_the_pass_that_reads_it(n_bytes: int) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    many = kernels(compiled=True).many
    assert many is not None
    if not many.verifies:
        pytest.skip("this processor has no instruction for checksums")
    random, n = np.random.default_rng(3), n_bytes // 2
    tiles = random.integers(0, 256, (6, n_bytes + 4)).astype(np.uint8)
    checks = np.array([google_crc32c.value(tile[:-4].tobytes()) for tile in tiles], dtype="<u4")
    tiles[:, -4:] = checks.view(np.uint8).reshape(6, 4)

    def damaged(known: int, *, checks_at: int = 0) -> int:
        address = tiles.ctypes.data + 2 * np.arange(3) * tiles.strides[0]  # two tiles each
        column = np.ones(3, dtype=np.int64)
        places = Places(address, column * (n_bytes + 4), column * n, 0 * column, column * 2 * n, known + 0 * column)
        if known:
            places = places._replace(checks=checks_at + 8 * np.arange(3))
        rows, out = np.zeros((3, 1), dtype=np.int32), np.empty((3, 1, 2 * n), dtype=np.float32)
        raw = np.empty((3, 1, 2 * n), dtype=np.int16)
        found = many.rows(places, rows, rows, rows.astype(np.float32), np.float32(1), out)
        assert found == many.raw(places, rows[0], -1, raw)
        return found

    assert damaged(UNKNOWN) == -1 == damaged(1, checks_at=checks.ctypes.data)
    tiles[3, int(random.integers(n_bytes))] ^= 4
    assert damaged(UNKNOWN) == 1 == damaged(1, checks_at=checks.ctypes.data)
    tiles[3] = tiles[2]  # intact, and in another's place
    assert damaged(UNKNOWN) == -1 and damaged(1, checks_at=checks.ctypes.data) == 1


@pytest.mark.slow
def test_a_row_is_what_its_definition_says() -> None:
    random = np.random.default_rng(1)
    samples = random.integers(-32768, 32768, (N_CHANNELS, 40)).astype(np.int16)
    tiles = samples.reshape(N_CHANNELS, 2, 20).transpose(1, 0, 2).reshape(2, -1).copy()
    weights = np.zeros((2, N_CHANNELS))
    weights[1, [0, 3]] = 0.25, -2.0
    rows = Rows(
        np.array([2, MIXED], dtype=np.int32),
        np.array([17, 0], dtype=np.int32),
        np.array([0.3, 0], dtype=np.float32),
        weights,
        np.array([0, 5.5]),
        np.float32(1000),
        N_CHANNELS,
    )
    out = np.empty((2, 33), dtype=np.float32)
    kernels().rows(tiles, 20, 9, 31, rows, out)
    x = samples[:, 9:40].astype(np.float64)
    assert np.array_equal(out[0, :31], np.clip((x[2] - 17).astype(np.float32) * np.float32(0.3), -1000, 1000))
    assert np.array_equal(out[1, :31], np.clip((0.25 * x[0] - 2 * x[3] - 5.5).astype(np.float32), -1000, 1000))
    assert not out[:, 31:].any()


@pytest.mark.parametrize(("first", "n", "channel"), [(-1, 4, 0), (38, 3, 0), (0, 11, 0), (0, 4, N_CHANNELS)])
def test_compiled_kernels_never_read_outside(first: int, n: int, channel: int) -> None:
    pytest.importorskip("numba", reason="numba is not installed")
    tiles = np.zeros((2, N_CHANNELS * 20), dtype=np.int16)
    with pytest.raises(IndexError):
        kernels(compiled=True).raw(
            tiles, 20, first, n, np.array([channel], dtype=np.int32), 0, np.zeros((1, 10), np.int16)
        )
