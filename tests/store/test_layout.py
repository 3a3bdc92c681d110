from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import zarr
from helpers.store_values import arguments, meta_of, overwrite, samples_of

from brainbrr.errors import FormatError, UsageError
from brainbrr.store import create as the_create
from brainbrr.store import layout as the_layout
from brainbrr.store.integrity import decode_object, verify_object
from brainbrr.store.layout import GROUP, Layout
from brainbrr.store.store import Store


def test_creating_a_store_twice_opens_it(tmp_path: Path) -> None:
    first = Store.create(tmp_path / "a" / "store")
    assert (tmp_path / "a" / "store" / "format.json").read_bytes() == b'{"format":2,"kind":"brainbrr store"}'
    content = first.put(samples_of(meta_of(1, 9)), **arguments(meta_of(1, 9))).record.content
    assert list(Store.create(tmp_path / "a" / "store").contents()) == [content]


def test_opening_where_there_is_no_store_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(UsageError, match="no store here"):
            Store.open(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        (b'{"format":3,"kind":"brainbrr store"}', "format 3"),
        (b'{"format":1,"kind":"brainbrr store"}', "format 1"),
        (b'{"format":1,"kind":"brainbrr store","codec":"x"}', "format 1"),
        (b'{"format":1,"kind":"another"}', "another"),
        (b'{"format":"1","kind":"brainbrr store"}', "'1'"),
        (b"[1]", "cannot be read"),
        (b"", "cannot be read"),
        (b"x" * 9999, "cannot be read"),
    ],
)
def test_a_store_of_another_format_is_refused_by_name(store: Store, mark: bytes, reason: str) -> None:
    overwrite(store.layout.mark, mark)
    for opening in (Store.open, Store.create):
        with pytest.raises(FormatError, match=reason):
            opening(store.location)
    assert store.layout.mark.read_bytes() == mark


def test_a_folder_with_foreign_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        Store.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="a file is"):
        Store.create(tmp_path / "thesis.tex")


def test_a_store_that_another_process_makes_meanwhile_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = the_create._refuse_foreign

    def meanwhile(layout: Layout) -> None:
        monkeypatch.undo()
        Store.create(layout.root)
        refuse(layout)

    monkeypatch.setattr(the_create, "_refuse_foreign", meanwhile)
    assert list(Store.create(tmp_path / "store").keys()) == []


def test_a_store_may_share_its_folder_with_its_readme(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    assert Store.create(tmp_path).location == tmp_path


def test_a_store_that_lost_its_format_is_never_adopted_or_emptied(store: Store) -> None:
    meta = meta_of(1, 9)
    content = store.put(samples_of(meta), **arguments(meta)).record.content
    store.layout.mark.unlink()
    with pytest.raises(FormatError, match="lost its format"):
        Store.create(store.location)
    assert decode_object(store, content) == content


def test_an_unfinished_creation_is_finished(tmp_path: Path) -> None:
    (tmp_path / "objects.zarr").mkdir()
    (tmp_path / "tmp").mkdir()
    Store.create(tmp_path)
    assert (tmp_path / "objects.zarr" / "zarr.json").read_bytes() == GROUP


def test_a_file_system_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(UsageError, match="hard links"):
        Store.create(tmp_path / "store")


@pytest.mark.parametrize(
    "text",
    ["", "x", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "a" * 32 + "/" + "b" * 31, None, 7],
)
def test_identifiers_are_hex_before_they_touch_a_path(store: Store, text: str) -> None:
    for use in (store.reader, store.record, store.frozen, store.open_array):
        with pytest.raises(UsageError, match="hex digits"):
            use(text)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/../b", "/etc", "a/b/c", "a\0b", "."])
def test_names_of_strange_folders_stay_inside_the_store(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="names nothing"):
        decode_object(store, name)


@pytest.mark.parametrize("corpus", ["", ".", "..", "a/b", "-x", ".hidden", "a" * 65, "ümlaut", "a\n", "a b"])
def test_a_corpus_name_is_no_path(store: Store, corpus: str) -> None:
    with pytest.raises(UsageError, match="cannot name a corpus"):
        store.catalog(corpus)


def test_zarr_lists_every_object_of_the_hierarchy(store: Store) -> None:
    contents = {
        store.put(samples_of(meta, seed=i), **arguments(meta, source=str(i))).record.content
        for i, meta in enumerate([meta_of(2, 100 + 50 * n) for n in range(6)])
    }
    group = zarr.open_group(str(store.location / "objects.zarr"), mode="r")
    arrays = {path: member for path, member in group.members(max_depth=None) if isinstance(member, zarr.Array)}
    assert set(arrays) == {f"{content[:2]}/{content}" for content in contents}
    assert {array.attrs["unit"] for array in arrays.values()} == {"uV"}


def test_a_damaged_group_file_is_found_and_mended_by_the_next_put(store: Store) -> None:
    meta = meta_of(2, 100)
    content = store.put(samples_of(meta), **arguments(meta)).record.content
    group = store.layout.object(content).parent / "zarr.json"
    top = store.layout.objects / "zarr.json"
    for damage in (lambda: overwrite(group, GROUP[:-1]), group.unlink, top.unlink, lambda: overwrite(top, b"{}")):
        damage()
        with pytest.raises(Exception, match="zarr group file"):
            verify_object(store, content, depth="checksums")
        store.put(samples_of(meta), **arguments(meta))
        verify_object(store, content)


def test_leftovers_of_dead_writers_are_listed_and_those_of_others_are_not(store: Store) -> None:
    with store.layout.scratch() as mine:
        mine.touch()
        where, pid, began, rest = mine.name.split("-")
        dead = [mine.with_name(f"{where}-{n}-{rest}") for n in (f"{2**22 + 1}-{began}", f"{pid}-{int(began) + 1}")]
        for each in dead:
            each.mkdir()
        mine.with_name(f"{'0' * 16}-{pid}-{began}-{rest}").touch()
        mine.with_name(f"{where}-{pid}-0-{rest}").touch()  # of a process that could not say when it began
        mine.with_name("something").touch()
        assert set(store.stale_tmp()) == set(dead)
        assert list(store.contents()) == []


@pytest.mark.parametrize("file", ["boot_id", "pid", "time"])
def test_writers_of_another_boot_or_container_are_others_whatever_they_are_called(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, real_text, real_link = the_layout.own_name().partition("-")[0], Path.read_text, Path.readlink
    monkeypatch.setattr(
        Path, "read_text", lambda path, **how: "another" if path.name == file else real_text(path, **how)
    )
    monkeypatch.setattr(Path, "readlink", lambda path: Path("another") if path.name == file else real_link(path))
    monkeypatch.setattr(the_layout, "_name_of", the_layout._name_of.__wrapped__)  # as in a process of its own
    dead = f"{2**22 + 1}-1"
    assert not the_layout.own_name().startswith(where)
    assert not the_layout.is_dead(f"{where}-{dead}")
    assert the_layout.is_dead(f"{the_layout.own_name().partition('-')[0]}-{dead}")


def test_strange_folders_and_files_are_named_by_their_place(store: Store) -> None:
    layout = store.layout
    for folder in ("ab/copy", "foo/bar", f"zz/{'a' * 64}", f"aa/{'a' * 64}"):
        (layout.objects / folder).mkdir(parents=True)
    (layout.objects / "ab" / "note.txt").touch()
    (layout.objects / "bare").mkdir()
    (layout.objects / "bare" / "c.0.0").touch()
    (layout.objects / "link").symlink_to(layout.records)
    assert list(store.contents()) == ["a" * 64, "ab/copy", "bare", "foo/bar", "link", f"zz/{'a' * 64}"]
    for file in ("aa/readme.json", f"aa/{'a' * 32}.json", f"ab/{'a' * 32}.json", f"aa/{'a' * 32}", "aa/.nfs0001"):
        (layout.records / file).parent.mkdir(exist_ok=True)
        (layout.records / file).touch()
    names = [f"aa/{'a' * 32}", "a" * 32, "aa/readme.json", f"ab/{'a' * 32}.json"]
    assert list(store.keys()) == names


def test_layout_is_a_value(tmp_path: Path) -> None:
    assert Layout(tmp_path) == Layout(tmp_path)


@pytest.mark.parametrize("name", ["", "../format", "20260101T000000Z-0123", "20260101T000000Z-0123456789AB", "x" * 99])
def test_what_names_no_receipt_reaches_no_path(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="names no receipt"):
        store.layout.receipt(name)
