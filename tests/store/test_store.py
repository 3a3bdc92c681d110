from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.store_values import arguments, catalog_of, meta_of, overwrite, row_of, samples_of

from brainbrr.errors import IntegrityError, NotReproducibleError, SpaceError, UsageError
from brainbrr.store.formats import FILL
from brainbrr.store.integrity import Depth, decode_object, verify_object, verify_record
from brainbrr.store.store import Store

META = meta_of(3, 16 * 25, absent=(2,), k=1)
SAMPLES = samples_of(META)
VIEW = "c" * 64


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_put_is_found_by_key_and_read_by_content(store: Store) -> None:
    put = store.put(SAMPLES, **arguments(META))
    record = put.record
    assert (put.new_object, put.new_record, put.quarantined) == (True, True, ())
    assert store.record(record.key) == record
    assert list(store.records()) == [record]
    assert list(store.contents()) == [record.content]
    assert store.has_object(record)
    assert np.array_equal(store.reader(record.content).read(0, META.n_samples), SAMPLES)
    assert np.array_equal(store.open_array(record.content)[:], SAMPLES)
    assert store.object_bytes(record.content) + len(store.layout.record(record.key).read_bytes()) == put.n_bytes_written
    assert not any(store.layout.root.joinpath("tmp").iterdir())


def test_an_unknown_key_has_no_record_and_a_lost_object_is_damage(store: Store) -> None:
    assert store.record("0" * 32) is None
    for use in (store.reader, partial(decode_object, store), store.open_array, partial(verify_object, store)):
        with pytest.raises(IntegrityError):
            use("0" * 64)
    assert store.object_bytes("0" * 64) == 0


def test_an_object_larger_than_its_disk_is_refused_before_it_is_begun(store: Store) -> None:
    before = tree(store.location)
    with pytest.raises(SpaceError, match="bytes are needed"), store.draft(meta_of(512, 1 << 40)):
        pass
    assert tree(store.location) == before


def test_putting_the_same_again_writes_nothing(store: Store) -> None:
    store.put(SAMPLES, **arguments(META))
    before = tree(store.location)
    put = store.put(SAMPLES, **{**arguments(META), "provenance": {"brainbrr": "9.9"}})
    assert (put.new_object, put.new_record, put.n_bytes_written) == (False, False, 0)
    assert put.record.provenance == {"brainbrr": "0.1.0"}
    assert tree(store.location) == before


def test_two_keys_of_one_content_are_two_records_and_one_object(store: Store) -> None:
    first = store.put(SAMPLES, **arguments(META))
    second = store.put(SAMPLES, **arguments(META, source="the same, re-issued"))
    assert (second.new_object, second.new_record) == (False, True)
    assert first.record.content == second.record.content
    assert first.record.key != second.record.key
    assert len(list(store.contents())) == 1
    assert len(list(store.keys())) == 2


def test_a_second_content_of_a_key_goes_to_quarantine_and_the_first_stays(store: Store) -> None:
    first = store.put(SAMPLES, **arguments(META)).record
    other = SAMPLES.copy()
    other[0, 0] ^= 1
    for _ in range(2):  # also the second time: one copy in quarantine is enough
        with pytest.raises(NotReproducibleError) as caught:
            store.put(other, **arguments(META))
    assert list(store.records()) == [first]
    assert list(store.contents()) == [first.content]
    kept = list((store.location / "quarantine").iterdir())
    assert [str(path) for path in kept] == [caught.value.where]
    shutil.copytree(kept[0], store.layout.objects / "aa" / "looked-at")
    assert decode_object(store, "aa/looked-at") == kept[0].name


@pytest.mark.parametrize(("error", "told"), [(errno.ENOTEMPTY, NotReproducibleError), (errno.EIO, OSError)])
def test_a_second_content_that_cannot_be_quarantined_is_not_reported_as_quarantined(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: int, told: type[Exception]
) -> None:
    store.put(SAMPLES, **arguments(META))

    def refused(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(type(store.layout), "quarantine", refused)  # ENOTEMPTY: a faster process set the same aside
    with pytest.raises(told):
        store.put(SAMPLES[:, ::-1].copy(), **arguments(META))


def test_a_damaged_object_moves_to_quarantine_and_ours_takes_its_place(store: Store) -> None:
    record = store.put(SAMPLES, **arguments(META)).record
    folder = store.layout.object(record.content)
    good = tree(folder)
    damages = (
        lambda: overwrite(folder / "c.0.0", good["c.0.0"][:-1]),
        lambda: overwrite(folder / "c.0.0", good["c.0.0"].replace(good["c.0.0"][40:48], b"\0" * 8)),
        lambda: overwrite(folder / "zarr.json", b"{}"),
        lambda: (folder / "c.0.0").unlink(),
        lambda: (folder / "extra").touch(),
        lambda: (shutil.rmtree(folder), folder.touch()),
        lambda: (folder.unlink(), folder.symlink_to(store.location)) if folder.is_file() else shutil.rmtree(folder),
    )
    n_moved = 0
    for damage in damages:
        damage()
        put = store.put(SAMPLES, **arguments(META))
        assert (put.new_object, put.new_record) == (True, False)
        n_moved += len(put.quarantined)
        assert all(path.parent == store.location / "quarantine" for path in put.quarantined)
        assert tree(folder) == good
    assert n_moved == 6
    assert len(list((store.location / "quarantine").iterdir())) == 6


def test_a_damaged_record_moves_to_quarantine_and_is_written_again(store: Store) -> None:
    record = store.put(SAMPLES, **arguments(META)).record
    path = store.layout.record(record.key)
    overwrite(path, path.read_bytes()[:-9])
    put = store.put(SAMPLES, **arguments(META))
    assert (put.new_object, put.new_record, len(put.quarantined)) == (False, True, 1)
    assert verify_record(store, record.key) == record


@pytest.mark.parametrize(
    "change",
    [
        {"source": "../../x"},
        {"recipe_fields": {"rate_hz": 0.5}},
        {"statistics": {"mean": 0.5}},
        {"signal": {"n": 1 << 63}},
        {"provenance": {"when": b"now"}},
        {"meta": meta_of(3, 399)},
    ],
    ids=str,
)
def test_what_no_record_can_hold_is_refused_before_anything_is_written(store: Store, change: dict[str, object]) -> None:
    before = tree(store.location)
    with pytest.raises(UsageError):
        store.put(SAMPLES, **{**arguments(META), **change})
    assert tree(store.location) == before


def test_samples_that_are_none_are_refused(store: Store) -> None:
    clipped = SAMPLES.copy()
    clipped[1, 3] = FILL
    with pytest.raises(IntegrityError, match="E1 holds -32768"):
        store.put(clipped, **arguments(META))
    assert list(store.contents()) == []


@pytest.mark.parametrize("depth", ["checksums", "full"])
def test_flipped_samples_and_damaged_structure_are_found_at_every_depth(store: Store, depth: Depth) -> None:
    content = store.put(SAMPLES, **arguments(META)).record.content
    shard = store.layout.object(content) / "c.0.0"
    good = shard.read_bytes()
    flipped = bytearray(good)
    flipped[100] ^= 1
    overwrite(shard, bytes(flipped))
    with pytest.raises(IntegrityError, match="from 0 s to 10 s") as caught:
        verify_object(store, content, depth=depth)
    assert "brainbrr repair" in str(caught.value.fix)
    for damage in (good[:-1] + b"\0", good[:-20] + b"\1" * 20, good + b"x"):
        overwrite(shard, damage)
        with pytest.raises(IntegrityError):
            verify_object(store, content, depth=depth)
    overwrite(shard, good)
    verify_object(store, content, depth=depth)


def test_an_object_of_another_content_under_this_name_is_found(store: Store) -> None:
    contents = [
        store.put(samples_of(META, seed=seed), **arguments(META, source=str(seed))).record.content for seed in (1, 2)
    ]
    one, other = map(store.layout.object, contents)
    overwrite(one / "c.0.0", (other / "c.0.0").read_bytes())
    verify_object(store, contents[0], depth="checksums")
    with pytest.raises(IntegrityError, match=f"has content {contents[1][:12]}"):
        verify_object(store, contents[0])
    assert decode_object(store, contents[0]) == contents[1]


def test_a_copy_under_any_name_decodes_to_the_same_content(store: Store) -> None:
    content = store.put(SAMPLES, **arguments(META)).record.content
    folder = store.layout.object(content)
    for copy in (folder.parent / "copy", folder.parent.parent / "zz" / content, folder.parent.parent / "bare"):
        shutil.copytree(folder, copy)
    names = [content, f"{content[:2]}/copy", "bare", f"zz/{content}"]
    assert sorted(store.contents()) == sorted(names)
    assert {decode_object(store, name) for name in names} == {content}
    assert {store.object_bytes(name) for name in names} == {store.object_bytes(content)}
    for name in names[1:]:
        with pytest.raises(IntegrityError, match="not lie in its place"):
            verify_object(store, name)


def test_an_array_of_a_foreign_codec_is_never_decoded(store: Store) -> None:
    content = store.put(SAMPLES, **arguments(META)).record.content
    metadata = store.layout.object(content) / "zarr.json"
    overwrite(
        metadata, metadata.read_bytes().replace(b'[{"configuration":{"endian":"little"}', b'[{"name":"pickle"},{')
    )
    for use in (partial(decode_object, store), store.reader, store.open_array, partial(verify_object, store)):
        with pytest.raises(IntegrityError):
            use(content)


def test_has_object_is_false_for_half_an_object(store: Store) -> None:
    record = store.put(SAMPLES, **arguments(META)).record
    folder = store.layout.object(record.content)
    shard = (folder / "c.0.0").read_bytes()
    overwrite(folder / "c.0.0", shard[:-1])
    assert not store.has_object(record)
    overwrite(folder / "c.0.0", shard)
    assert store.has_object(record)
    (folder / "zarr.json").unlink()
    assert not store.has_object(record)
    shutil.rmtree(folder)
    assert not store.has_object(record)


def test_a_store_that_does_not_answer_is_not_taken_for_one_that_lacks_the_object(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, real = store.put(SAMPLES, **arguments(META)).record, os.stat

    def stale(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("zarr.json"):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
        return real(path, **options)

    with monkeypatch.context() as broken, pytest.raises(OSError, match="Stale file handle"):
        broken.setattr(os, "stat", stale)
        store.has_object(record)


def test_frozen_views_are_kept_once_and_proven_when_read(store: Store) -> None:
    assert store.frozen(VIEW) is None
    path = store.freeze(VIEW, {"format": 1, "profile": "smoke", "recordings": [1]})
    assert store.freeze(VIEW, {"format": 1, "profile": "dev", "recordings": [1]}) == path
    assert store.frozen(VIEW) == {"format": 1, "profile": "smoke", "recordings": [1]}
    assert store.frozen_views() == (VIEW,)
    overwrite(path, path.read_bytes().replace(b"smoke", b"smokE"))
    with pytest.raises(IntegrityError):
        store.frozen(VIEW)
    store.freeze(VIEW, {"format": 1, "profile": "dev"})
    assert store.frozen(VIEW) == {"format": 1, "profile": "dev"}
    assert len(list((store.location / "quarantine").iterdir())) == 1


def test_a_store_travels_between_processes(store: Store) -> None:
    content = store.put(SAMPLES, **arguments(META)).record.content
    assert decode_object(pickle.loads(pickle.dumps(store)), content) == content


READ_ALL = """
import os, sys
from functools import partial
from pathlib import Path
import numpy
from brainbrr.errors import UsageError
from brainbrr.store import integrity
from brainbrr.store.store import Store
import brainbrr.store.reader
sys.path.insert(0, sys.argv[2])
from helpers.store_values import arguments, catalog_of, meta_of, row_of, samples_of
meta = meta_of(1, 9)
samples = samples_of(meta)
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)  # from here on, nothing may be imported
store = Store.open(Path(sys.argv[1]))
for content in store.contents():
    integrity.verify_object(store, content); store.reader(content).read(0, 100)
records = [integrity.verify_record(store, key) for key in store.keys()]
assert len(records) == 1 and store.catalog("demo").rows and store.frozen("c" * 64)
assert not os.access(sys.argv[1], os.W_OK)
for write in (
    lambda: store.put(samples, **arguments(meta, source="new")),
    lambda: store.publish("demo", lambda _: catalog_of([row_of("b.edf")])),
    lambda: store.freeze("d" * 64, {"format": 1}),
):
    try:
        write()
    except UsageError as error:
        assert "cannot be written" in error.what
    else:
        raise SystemExit("it was written")
print("read")
"""


@pytest.mark.slow
def test_a_reader_needs_no_permission_to_write() -> None:
    folder = Path(tempfile.mkdtemp())  # not tmp_path: whoever reads is nobody
    try:
        store = Store.create(folder / "store")
        store.put(SAMPLES, **arguments(META))
        store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
        store.freeze(VIEW, {"format": 1})
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        tests = Path(__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", READ_ALL, str(store.location), str(tests)],
            capture_output=True,
            text=True,
            cwd=tests.parent,
            check=False,
        )
        assert (done.stdout, done.returncode) == ("read\n", 0), done.stderr
    finally:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("mount_point", [False, True])
def test_into_a_store_that_is_gone_nothing_is_written(store: Store, tmp_path: Path, mount_point: bool) -> None:
    store.location.rename(tmp_path / "unmounted")
    if mount_point:
        store.location.mkdir()
    with pytest.raises(UsageError, match="not there any more"):
        store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
    with pytest.raises(UsageError, match="not there any more"):
        store.freeze(VIEW, {"format": 1})
    with pytest.raises((UsageError, FileNotFoundError)):
        store.put(SAMPLES, **arguments(META))
    assert [path.name for path in store.location.rglob("*")] == (["tmp"] if mount_point else [])


def test_a_store_says_what_it_holds(store: Store) -> None:
    assert repr(store) == f"<Store {store.location}: codec {store.codec}, corpora none>"
    store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
    store.publish("demo", lambda _: catalog_of([row_of("a.edf"), row_of("<b>.edf")]))
    assert repr(store).endswith("corpora demo>")
    html = store._repr_html_()
    assert html.startswith("<table>") and "<td>corpus demo</td><td>2 recordings</td>" in html
    overwrite(store.layout.generation("demo", 2), b"{}")
    assert "<td>1 recording</td>" in store._repr_html_()  # the newest that can be read
