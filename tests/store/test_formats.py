"""Files of a newer format are refused by name wherever they lie; nobody takes them for damage, or moves them aside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.store_values import arguments, catalog_of, key_for, meta_of, overwrite, row_of, samples_of

from brainbrr.core import models
from brainbrr.core.digest import canonical_json, sha256
from brainbrr.errors import FormatError, IntegrityError
from brainbrr.ingest.repair import repair
from brainbrr.store import catalog as catalogs
from brainbrr.store import reader
from brainbrr.store.store import Store

META = meta_of(2, 400)
KEY = key_for()
VIEW = "c" * 64


@pytest.fixture
def full(store: Store) -> Store:
    store.put(samples_of(META), **arguments(META))
    store.put_findings(KEY, 1, {"score": 100})
    store.publish("demo", lambda _: catalog_of([row_of("a.edf")]))
    store.publish("demo", lambda _: catalog_of([row_of("a.edf"), row_of("b.edf")]))
    catalogs.cut(store.layout, "demo", 2, "2026-01-01T00:00:00+00:00")
    store.freeze(VIEW, {"format": 1})
    return store


def reseal(path: Path) -> None:
    """Write a sealed file as a newer brainbrr would: another format, and a field that nobody knows yet."""
    overwrite(
        path,
        models.to_checksummed({**models.from_checksummed(path.read_bytes(), where=path), "format": 2, "novelty": 1}),
    )


def rewrite_catalog(path: Path) -> None:
    first, *lines = path.read_bytes().split(b"\n")[:-2]
    text = b"\n".join([canonical_json({**json.loads(first), "format": 3, "novelty": 1}), *lines]) + b"\n"
    overwrite(path, text + canonical_json({"sha256": sha256(text)}) + b"\n")


def catalog_path(store: Store) -> Path:
    return store.layout.generation("demo", 2)


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (lambda s: reseal(s.layout.record(KEY)), lambda s: s.record(KEY)),
        (lambda s: reseal(s.layout.record(KEY)), lambda s: s.put(samples_of(META), **arguments(META))),
        (lambda s: reseal(s.layout.findings_of(KEY, 1)), lambda s: s.findings(KEY, 1)),
        (lambda s: reseal(s.layout.findings_of(KEY, 1)), lambda s: s.put_findings(KEY, 1, {"score": 1})),
        (lambda s: reseal(s.layout.view(VIEW)), lambda s: s.frozen(VIEW)),
        (lambda s: reseal(s.layout.view(VIEW)), lambda s: s.freeze(VIEW, {"format": 1})),
        (lambda s: reseal(s.layout.acknowledgement("demo", 2)), lambda s: catalogs.verify(s.layout, "demo")),
        (lambda s: reseal(s.layout.cut("demo", 2)), lambda s: s.catalog("demo")),
        (lambda s: rewrite_catalog(catalog_path(s)), lambda s: s.catalog("demo")),
        (
            lambda s: rewrite_catalog(catalog_path(s)),
            lambda s: s.publish("demo", lambda _: catalog_of([row_of("c.edf")])),
        ),
    ],
    ids=["record", "put", "findings", "examine", "view", "freeze", "acknowledgement", "cut", "catalog", "publish"],
)
def test_a_newer_file_is_refused_by_name_and_stays(
    full: Store, change: Callable[[Store], None], read: Callable[[Store], object]
) -> None:
    change(full)
    before = {path: path.read_bytes() for path in full.location.rglob("*") if path.is_file()}
    with pytest.raises(FormatError, match=r"of format (2; this brainbrr reads 1|3; this brainbrr reads [12])"):
        read(Store.open(full.location))
    assert {path: path.read_bytes() for path in full.location.rglob("*") if path.is_file()} == before


def test_an_object_of_another_format_is_damage(full: Store) -> None:
    (content,) = full.contents()
    path = full.layout.object(content) / "zarr.json"
    overwrite(path, path.read_bytes().replace(b'"format":1', b'"format":3'))
    with pytest.raises(IntegrityError, match="format = 3: should be 1 or 2"):
        reader.inspect(full.layout.object(content), codec="none")


@pytest.mark.parametrize("come_by", [Store.open, Store.create])
def test_a_store_that_lost_its_mark_is_told_from_none(full: Store, come_by: Callable[[Path], Store]) -> None:
    full.layout.mark.unlink()
    with pytest.raises(FormatError, match="has lost its format") as lost:
        come_by(full.location)
    mark = re.search(r"\{.*?\}", str(lost.value.fix))
    assert mark is not None
    full.layout.mark.write_text(mark[0])
    assert come_by(full.location).record(KEY) == full.record(KEY)


@pytest.mark.parametrize(
    ("kind", "path", "change"),
    [
        ("record", lambda s: s.layout.record(KEY), reseal),
        ("findings", lambda s: s.layout.findings_of(KEY, 1), reseal),
        ("view", lambda s: s.layout.view(VIEW), reseal),
        ("catalog", lambda s: s.layout.acknowledgement("demo", 2), reseal),
        ("catalog", lambda s: s.layout.cut("demo", 2), reseal),
        ("catalog", lambda s: catalog_path(s), rewrite_catalog),
    ],
    ids=["record", "findings", "view", "acknowledgement", "cut", "catalog"],
)
def test_a_newer_file_is_told_and_left_while_all_else_is_repaired(
    full: Store, kind: str, path: Callable[[Store], Path], change: Callable[[Path], None]
) -> None:
    full.freeze("d" * 64, {"format": 1})
    overwrite(full.layout.view("d" * 64), b"rubbish")
    lost = full.put(samples_of(META, seed=1), **arguments(META, source="another")).record
    row = row_of("l.edf", source=lost.source, contents={lost.recipe: lost.content})
    full.publish("other", lambda _: catalog_of([row], corpus="other"))
    full.layout.record(lost.key).unlink()
    newer = path(full)
    change(newer)
    data = newer.read_bytes()
    mended = repair(full).results
    assert [(each.kind, each.fix) for each in mended if each.outcome == "left"] == [(kind, "upgrade brainbrr")]
    assert newer.read_bytes() == data
    assert {("record", lost.key), ("view", "d" * 64)} <= {(each.kind, each.name) for each in mended}
