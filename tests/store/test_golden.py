"""The committed stores of format 2, without a codec and with zstd, and the one of format 1 that is refused by name.

When a test here fails, raise the format; never edit the golden.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import zarr
from helpers.small_stores import verify_catalog
from helpers.store_values import arguments, catalog_of, meta_of, row_of, samples_of
from numcodecs import zstd

from brainbrr.errors import FormatError
from brainbrr.store.integrity import verify_object, verify_record
from brainbrr.store.store import Store

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = {name: GOLDEN / name for name in ("format-2", "format-2-zstd")}
CONTENTS = {
    "b1370e37118592dc1232ff478d95d116": "f1014e74fd800f555c240d30366dc431ea4f99eb3135ee0e4589f7c7e6c761f4",
    "4c8eacd531a2f4501d66ec5020d84bcc": "7e1fd2be159cf605ef8bb84e511b0ac2f4b039acfd948d278ca0a0d59a766bc9",
}
RECIPE = "1720075d3c047ced28aee6afd79b1780"
GENERATIONS = {
    1: "b44af45109a51310ca07f623f810bf88ba13012b9b5a73d46181557fffcf120f",
    2: "7677d36cbc13b9f8840af5387ae53c84d4047e1c4ed1b1169f8f129127bb56e9",
}


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_golden", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=FOLDERS)
def golden(request: pytest.FixtureRequest) -> Store:
    store = Store.open(FOLDERS[request.param])
    assert store.codec == ("zstd" if "zstd" in request.param else "none")
    return store


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_golden_keys_and_contents(golden: Store) -> None:
    assert {record.key: record.content for record in golden.records()} == CONTENTS
    assert {record.recipe for record in golden.records()} == {RECIPE}
    assert sorted(golden.contents()) == sorted(CONTENTS.values())


def test_the_golden_store_verifies_and_reads(golden: Store, make: ModuleType) -> None:
    for key, (path, meta) in zip(CONTENTS, make.METAS.items(), strict=True):
        record = verify_record(golden, key)
        verify_object(golden, record.content)
        assert golden.has_object(record)
        assert record.array == meta
        assert np.array_equal(golden.reader(record.content).read(0, meta.n_samples), make.samples_of(meta))
        assert record.source == golden.catalog("golden").rows[path].source  # type: ignore[union-attr]


def test_the_golden_catalog_and_view_read(golden: Store) -> None:
    verify_catalog(golden, "golden")
    for seq, digest in GENERATIONS.items():
        assert hashlib.sha256(golden.layout.generation("golden", seq).read_bytes()).hexdigest() == digest
    catalog = golden.catalog("golden")
    assert catalog is not None
    assert (catalog.seq, catalog.parent, catalog.layout) == (2, GENERATIONS[1], "tusz")
    refused = next(row for row in catalog.rows.values() if row.split == "eval")
    assert refused.refusals[RECIPE].accepted
    (view,) = golden.frozen_views()
    stored = [path for split in ("train", "dev") for path in catalog.rows if f"/{split}/" in path]
    assert golden.frozen(view) == {"format": 1, "profile": "smoke", "recordings": stored}


def test_the_same_words_still_make_the_same_bytes(make: ModuleType, tmp_path: Path) -> None:
    make.main(tmp_path / "store")
    assert tree(tmp_path / "store") == tree(GOLDEN / "format-2")


def test_a_store_of_format_1_is_refused_by_name() -> None:
    with pytest.raises(FormatError, match="a store of format 1") as refused:
        Store.open(GOLDEN / "format-1")
    assert refused.value.exit_code == 2 and "ingest again" in str(refused.value.fix)


def test_a_clone_without_empty_folders_can_be_written(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "format-2", tmp_path / "store")
    store, meta = Store.open(tmp_path / "store"), meta_of(2, 300)
    record = store.put(samples_of(meta), **arguments(meta)).record
    assert verify_record(store, record.key) == record
    assert store.publish("golden", lambda _: catalog_of([row_of("a.edf")])).seq == 3
    verify_catalog(store, "golden")


def test_a_codec_changes_objects_and_the_mark_and_nothing_else() -> None:
    plain, packed = (tree(GOLDEN / name) for name in ("format-2", "format-2-zstd"))
    changed = {path for path in plain | packed if plain.get(path) != packed.get(path)}
    objects = {
        f"objects.zarr/{each[:2]}/{each}/{name}" for each in CONTENTS.values() for name in ("zarr.json", "c.0.0")
    }
    assert changed == {"format.json", *objects}


def test_zarr_reads_the_golden_store(golden: Store, make: ModuleType) -> None:
    group = zarr.open_group(str(golden.location / "objects.zarr"), mode="r")
    found = {path: member for path, member in group.members(max_depth=None) if isinstance(member, zarr.Array)}
    for content, meta in zip(CONTENTS.values(), make.METAS.values(), strict=True):
        assert np.array_equal(found[f"{content[:2]}/{content}"][:], make.samples_of(meta))


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 & -(crc & 1))
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("root", FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("key", CONTENTS)
def test_a_reader_written_from_the_specification_alone_gets_the_same(key: str, root: Path, make: ModuleType) -> None:
    """No numpy, no zarr, nothing of brainbrr: only what store/README.md says, and a decoder of zstd."""
    codec = json.loads((root / "format.json").read_bytes()).get("codec", "none")
    text = (root / "records" / key[:2] / f"{key}.json").read_bytes()
    assert hashlib.sha256(text[:-77] + b"}").hexdigest().encode() == text[-66:-2]
    content = json.loads(text)["content"]
    folder = root / "objects.zarr" / content[:2] / content
    attributes = json.loads((folder / "zarr.json").read_bytes())["attributes"]
    (n_channels, n_samples), tile = attributes["shape"], 10 * attributes["rate"]
    n_tiles, n_bytes = -(-n_samples // tile), n_channels * tile * 2
    shard = (folder / "c.0.0").read_bytes()
    index = shard[-(16 * n_tiles + 4) : -4]
    assert struct.unpack("<I", shard[-4:])[0] == crc32c(index)
    rows = [b""] * n_channels
    for offset, length in struct.iter_unpack("<QQ", index):
        data, checksum = shard[offset : offset + length - 4], shard[offset + length - 4 : offset + length]
        assert struct.unpack("<I", checksum)[0] == crc32c(data)
        data = zstd.decompress(data) if codec == "zstd" else data
        assert len(data) == n_bytes
        rows = [row + data[i * tile * 2 : (i + 1) * tile * 2] for i, row in enumerate(rows)]
    rows = [row[: n_samples * 2] for row in rows]
    digest = hashlib.sha256(json.dumps(attributes, sort_keys=True, separators=(",", ":")).encode())
    for row in rows:
        digest.update(hashlib.sha256(row).digest())
    assert digest.hexdigest() == content == CONTENTS[key]
    expected = make.samples_of(list(make.METAS.values())[list(CONTENTS).index(key)])
    assert [list(struct.unpack(f"<{n_samples}h", row)) for row in rows] == expected.tolist()
