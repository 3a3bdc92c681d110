from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from helpers.store_values import content_of, eeg_of, meta_of, samples_of, write_object
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec

from brainbrr.core.digest import canonical_json
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import formats, reader, writer
from brainbrr.store.formats import CODECS, FILL, ArrayMeta, Codec


def written_by_zarr(folder: Path, samples: np.ndarray, meta: ArrayMeta, codec: str) -> None:
    zstd = [ZstdCodec(level=1, checksum=False)] if codec == "zstd" else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.create(
            store=str(folder),
            shape=samples.shape,
            dtype="int16",
            chunks=(meta.n_channels, meta.n_tiles * meta.tile),
            zarr_format=3,
            codecs=[
                ShardingCodec(chunk_shape=(meta.n_channels, meta.tile), codecs=[BytesCodec(), *zstd, Crc32cCodec()])
            ],
            fill_value=FILL,
            chunk_key_encoding=("default", "."),
            dimension_names=["channel", "time"],
            attributes=meta.attributes(),
            config={"write_empty_chunks": True},
        )
        array[:] = samples


@pytest.mark.slow
@pytest.mark.parametrize(
    "meta",
    [
        meta_of(1, 1),
        meta_of(3, 160),
        meta_of(3, 161, absent=(1,)),
        meta_of(4, 1000, absent=(0, 1, 2, 3)),
        meta_of(19, 256 * 25, rate_hz=256, k=2),
        meta_of(3, 1000, absent=(1,), gaps=((0, 7), (150, 500), (999, 1000))),
    ],
    ids=lambda meta: f"{meta.n_channels}x{meta.n_samples}",
)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("make", [samples_of, eeg_of])
def test_both_files_are_what_zarr_python_writes(tmp_path: Path, meta: ArrayMeta, codec: Codec, make: Any) -> None:
    samples = make(meta)
    samples[:, :200][samples[:, :200] != FILL] = 0  # a tile of nothing but zeros keeps its place
    written_by_zarr(tmp_path / "theirs", samples, meta, codec)
    n_bytes = write_object(tmp_path / "ours", samples, meta, codec=codec)
    ours, theirs = ({f.name: f.read_bytes() for f in (tmp_path / who).iterdir()} for who in ("ours", "theirs"))
    assert ours["c.0.0"] == theirs["c.0.0"]
    assert len(ours["c.0.0"]) in meta.tiling(codec).shard_sizes
    assert codec != "none" or len(ours["c.0.0"]) == meta.shard_bytes
    assert json.loads(ours["zarr.json"]) == json.loads(theirs["zarr.json"])
    assert ours.keys() == theirs.keys()
    assert n_bytes == sum(map(len, ours.values()))
    assert n_bytes <= formats.stored_bytes(meta.n_channels, meta.n_samples, meta.rate_hz)


@pytest.mark.parametrize("codec", CODECS)
def test_zarr_json_is_canonical_and_ends_in_the_attributes_that_the_content_covers(codec: Codec) -> None:
    meta = meta_of(2, 500)
    text = formats.zarr_json(meta, codec)
    assert text == canonical_json(json.loads(text))
    assert json.loads(text)["attributes"] == meta.attributes()


def test_the_files_of_an_object_are_read_only(tmp_path: Path) -> None:
    meta = meta_of(2, 500)
    write_object(tmp_path / "object", samples_of(meta), meta)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "object").iterdir()} == {0o444}


def test_content_is_computed_from_the_plain_array_and_knows_no_tiles() -> None:
    meta = meta_of(3, 4321, absent=(2,), k=1)
    samples = samples_of(meta)
    digest = hashlib.sha256(
        b'{"absent":["E2"],"channels":["E0","E1","E2"],"format":1,"k":[1,1,0],"quantum":"0.125",'
        b'"rate":16,"shape":[3,4321],"unit":"uV"}'
    )
    for row in samples:
        digest.update(hashlib.sha256(row.astype("<i2").tobytes()).digest())
    assert content_of(samples, meta) == digest.hexdigest()
    assert content_of(np.asfortranarray(samples), meta) == digest.hexdigest()


def test_content_changes_with_every_attribute_and_every_sample() -> None:
    meta = meta_of(2, 500)
    samples = samples_of(meta)
    changed = samples.copy()
    changed[1, 499] ^= 1
    contents = [content_of(changed, meta)]
    for other in (
        ArrayMeta(("E0", "X"), (), 500, 16, "0.125", (0, 0)),
        ArrayMeta(("E0", "E1"), ("E1",), 500, 16, "0.125", (0, 0)),
        ArrayMeta(("E0", "E1"), (), 500, 17, "0.125", (0, 0)),
        ArrayMeta(("E0", "E1"), (), 500, 16, "0.25", (0, 0)),
        ArrayMeta(("E0", "E1"), (), 500, 16, "0.125", (0, 1)),
        ArrayMeta(("E0", "E1"), (), 500, 16, "0.125", (0, 0), ((3, 5),)),
        meta,
    ):
        contents.append(content_of(samples, other))
    assert len(set(contents)) == 8


names = st.text(min_size=1, max_size=12)


@pytest.mark.slow
@given(
    channels=st.lists(names, min_size=1, max_size=8, unique=True),
    n_samples=st.integers(1, 1 << 40),
    rate_hz=st.integers(1, 65_536),
    quantum=st.sampled_from(["1", "0.125", "0.03125", "250"]),
    seed=st.randoms(use_true_random=False),
)
def test_attributes_round_trip_through_canonical_json(channels, n_samples, rate_hz, quantum, seed) -> None:  # type: ignore[no-untyped-def]
    absent = tuple(name for name in channels if seed.random() < 0.3)
    k = tuple(0 if name in absent else seed.randrange(41) for name in channels)
    edges = sorted({seed.randrange(n_samples) for _ in range(4)})
    gaps = tuple(zip(edges[::2], edges[1::2], strict=False))
    meta = ArrayMeta(tuple(channels), absent, n_samples, rate_hz, quantum, k, gaps)
    assert meta.attributes()["format"] == (2 if gaps else 1)
    assert ArrayMeta.from_attributes(json.loads(canonical_json(meta.attributes()))) == meta


GOOD = meta_of(2, 500).attributes()


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": "1"},
        {"shape": [2]},
        {"shape": [3, 500]},
        {"shape": []},
        {"shape": [2, 0]},
        {"shape": [2, 1 << 60]},
        {"shape": [2, "500"]},
        {"rate": 0},
        {"rate": True},
        {"rate": 16.0},
        {"channels": ["E0", "E0"]},
        {"channels": ["E0", 1]},
        {"channels": ["E0", ["E1"]]},
        {"channels": ["E0", ""]},
        {"channels": []},
        {"channels": "E0"},
        {"absent": ["E7"]},
        {"absent": ["E1", "E0"]},
        {"unit": "mV"},
        {"quantum": "0"},
        {"quantum": "1e-3"},
        {"quantum": "0.50"},
        {"quantum": "-1"},
        {"quantum": 1},
        {"k": [0]},
        {"k": [0, -1]},
        {"k": [0, 41]},
        {"k": [0, True]},
        {"absent": ["E1"], "k": [0, 1]},
        {"filters": []},
        {"gaps": [[3, 5]]},
        {"format": 2, "gaps": []},
        {"format": 2, "gaps": [[5, 3]]},
        {"format": 2, "gaps": [[3, 3]]},
        {"format": 2, "gaps": [[3, 5], [5, 9]]},
        {"format": 2, "gaps": [[6, 9], [3, 5]]},
        {"format": 2, "gaps": [[-1, 5]]},
        {"format": 2, "gaps": [[3, 501]]},
        {"format": 2, "gaps": [[0, 500]]},
        {"format": 2, "gaps": [[3, 5, 7]]},
        {"format": 2, "gaps": [[3, True]]},
        {"format": 2, "gaps": [3, 5]},
    ],
    ids=str,
)
def test_attributes_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        ArrayMeta.from_attributes({**GOOD, **change})


def test_gaps_have_the_attributes_of_format_2() -> None:
    meta = meta_of(2, 500, gaps=((3, 5), (6, 9)))
    assert meta.attributes() == {**GOOD, "format": 2, "gaps": [[3, 5], [6, 9]]} and meta.n_recorded == 495
    assert ArrayMeta.from_attributes(meta.attributes()) == meta


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("at", "value", "why"), [(200, 5, "a gap holds samples"), (149, FILL, "holds -32768"), (500, FILL, "holds -32768")]
)
def test_an_object_whose_gaps_are_elsewhere_is_damaged(
    tmp_path: Path, at: int, value: int, why: str, codec: Codec
) -> None:
    meta = meta_of(3, 1000, absent=(1,), gaps=((0, 7), (150, 500)))
    samples = samples_of(meta)
    write_object(tmp_path / "sound", samples, meta, codec=codec)
    assert reader.decode(tmp_path / "sound") == content_of(samples, meta)
    samples[2, at] = value
    write_object(tmp_path / "object", samples, meta, codec=codec)
    with pytest.raises(IntegrityError, match=why):
        reader.decode(tmp_path / "object")


def test_a_missing_attribute_is_named() -> None:
    with pytest.raises(IntegrityError, match="'quantum' is missing"):
        ArrayMeta.from_attributes({name: value for name, value in GOOD.items() if name != "quantum"})


def test_samples_that_mean_something_else_are_refused(tmp_path: Path) -> None:
    meta = meta_of(2, 500, absent=(1,))
    samples = samples_of(meta)
    with writer.Draft(tmp_path / "object", meta) as draft:
        with pytest.raises(UsageError, match="int32"):
            draft.append(samples.astype(np.int32))
        with pytest.raises(UsageError, match="belongs"):
            draft.append(samples[:1])
        draft.append(samples[:, :300])
        with pytest.raises(UsageError, match="300 samples, where 500 belong"):
            draft.finish()
        with pytest.raises(UsageError, match="501 samples, where 500 belong"):
            draft.append(samples[:, :201])
