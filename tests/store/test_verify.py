"""What each depth of `verify` finds, what a host remembers of it, and that nothing in a store escapes it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.support import Cli

import brainbrr
from brainbrr.core import models
from brainbrr.core.digest import json_digest, sha256
from brainbrr.core.progress import Silent
from brainbrr.core.statcache import Host
from brainbrr.errors import IntegrityError
from brainbrr.ingest.repair import repair
from brainbrr.store import catalog as catalogs
from brainbrr.store import checks, frozen_views, sidecars
from brainbrr.store import generation as generation_file
from brainbrr.store.checks import inspect_store
from brainbrr.store.integrity import DEPTHS, Depth
from brainbrr.store.sidecars import Receipt
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

N = 18
DAY_S = 86_400.0


@pytest.fixture
def store(stored_at: Path, tmp_path: Path) -> Store:
    return Store.open(Path(shutil.copytree(stored_at, tmp_path / "store")))


@pytest.fixture
def settled(stored_at: Path) -> Store:
    """A store that nobody has touched for a while, since a younger stat is not believed. Read only."""
    time.sleep(max(0.0, 2.1 - time.time() + max(path.stat().st_ctime for path in stored_at.rglob("c.0.0"))))
    return Store.open(stored_at)


def pin_of(digest: str) -> sidecars.Pin:
    return sidecars.Pin(view=digest, created="2026-01-01T00:00:00+00:00", by="a test")


def shards(store: Store) -> list[Path]:
    return sorted(store.location.glob("objects.zarr/*/*/c.0.0"))


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    overwrite(file, bytes(data))


def overwrite(file: Path, data: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(data)


def told(store: Store, kind: str, depth: Depth = "full") -> dict[str, str]:
    """Damage of a kind: the reasons by name."""
    return {each.name: each.reason for each in verify(store, depth=depth).corrupt if each.kind == kind}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at", "finds"), [(0, "checksums"), (12_345, "checksums"), (-1, "quick"), (-30, "quick")], ids=str
)
def test_a_flipped_bit_of_a_shard_is_found_at_its_depth_and_below(store: Store, at: int, finds: Depth) -> None:
    flip(shards(store)[2], at)
    for depth in DEPTHS:
        report = verify(store, depth=depth)
        found = [each.name for each in report.corrupt if each.kind == "object"]
        assert found == ([shards(store)[2].parent.name] if DEPTHS.index(depth) >= DEPTHS.index(finds) else [])
        assert (report.exit_code, report.verified) == ((4, N - 1) if found else (0, N))


@pytest.mark.slow
def test_only_full_finds_an_array_under_anothers_name(store: Store) -> None:
    one, other = (store.layout.object(content) for content in sorted(store.contents())[:2])
    one.rename(one.with_name("aside"))
    other.rename(one)
    (one.with_name("aside")).rename(other)
    assert all("decoded array has content" in why for why in told(store, "object").values())
    assert len(told(store, "object")) == 2 and not told(store, "object", "checksums")


def test_two_tiles_swapped_with_their_checksums_are_found_by_full_alone(store: Store) -> None:
    record = next(store.records())
    shard, n = store.layout.object(record.content) / "c.0.0", record.array.tile_bytes
    data = shard.read_bytes()
    overwrite(shard, data[n : 2 * n] + data[:n] + data[2 * n :])
    assert not verify(store, depth="checksums").corrupt
    assert list(told(store, "object")) == [record.content]


@pytest.mark.slow
def test_every_damage_names_what_mends_it(cli: Cli, store: Store) -> None:
    first, second, third = shards(store)[:3]
    flip(first, 0)
    flip(second.parent / "zarr.json", 3)
    third.unlink()
    report = verify(store)
    assert {each.name for each in report.corrupt if each.kind == "object"} == {
        shard.parent.name for shard in (first, second, third)
    }
    assert all("brainbrr repair" in each.fix for each in report.corrupt)
    assert "brainbrr repair" in cli("verify").out
    assert "brainbrr repair" in cli("check", "--require", "verified").out


@pytest.mark.slow
def test_ingest_rehash_mends_what_verify_found(cli: Cli, store: Store, corpus: Path) -> None:
    flip(shards(store)[0], 100)
    (shards(store)[1].parent / "notes.txt").touch()
    (shards(store)[2].parent.parent / "zarr.json").unlink()
    (store.layout.objects / "zarr.json").unlink()
    assert cli("verify").code == 4
    assert cli("ingest", corpus, "--workers", 1, "--rehash").code == 0
    assert cli("verify").code == 0
    assert len(list((store.location / "quarantine").iterdir())) >= 2


def test_a_damaged_group_is_told_once_however_many_objects_it_holds(store: Store) -> None:
    (store.layout.objects / "zarr.json").unlink()
    [found] = verify(store).corrupt
    assert found.subject == ("group", "zarr.json")


@pytest.mark.slow
def test_a_misplaced_copy_is_damage_to_verify_and_known_to_be_whole(store: Store) -> None:
    folder = shards(store)[0].parent
    folder.rename(folder.with_name("elsewhere"))
    found = inspect_store(store)
    assert [each.name for each in found.misplaced] == [f"{folder.name[:2]}/elsewhere"]
    assert found.decoded[f"{folder.name[:2]}/elsewhere"] == folder.name
    assert verify(store).exit_code == 4


# What records, catalogs, views and pins say of each other


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = models.from_checksummed(path.read_bytes(), where=path)
    change(said)
    overwrite(path, models.to_checksummed(said))


@pytest.mark.slow
def test_statistics_that_are_not_those_of_the_samples_are_found(store: Store) -> None:
    record = next(store.records())
    reseal(store.layout.record(record.key), lambda said: said["statistics"]["sums"].__setitem__(0, 7))
    assert verify(store, depth="checksums").corrupt == ()
    assert told(store, "record") == {record.key: "its statistics are not those of its object's samples"}
    store.layout.record(record.key).unlink()
    turned = record.model_copy(update={"checks": record.checks[8:] + record.checks[:8]})
    store.layout.record(record.key).write_bytes(models.to_checksummed(turned.to_json()))
    assert told(store, "record") == {record.key: "its checks are not those of its object's tiles"}


@pytest.mark.slow
def test_a_missing_record_is_damage_unless_it_was_deleted_on_purpose(store: Store) -> None:
    record = next(store.records())
    store.layout.record(record.key).unlink()
    assert "demo was stored under it, and it is gone" in told(store, "record", "quick")[record.key]
    retired = store.layout.retirement(record.recipe)
    frozen_views.retire(store, record.recipe, "default")
    assert verify(store).corrupt == ()
    retired.unlink()
    give_receipt(store, records=(record.key,))
    assert verify(store).corrupt == ()


def give_receipt(store: Store, *, created: str = "2027-01-01T00:00:00+00:00", **deleted: tuple[Any, ...]) -> Path:
    return sidecars.write_receipt(store.layout, Receipt(verb="gc", created=created, by="us", **deleted))


def test_a_record_of_another_content_than_the_catalog_says_is_found(store: Store) -> None:
    first, second = list(store.records())[:2]
    forged = first.model_copy(
        update={"content": second.content, "array": second.array, "statistics": second.statistics}
    )
    overwrite(store.layout.record(first.key), models.to_checksummed(forged.to_json()))
    assert told(store, "record", "quick") == {
        first.key: f"it names content {second.content[:12]}, and the catalog {first.content[:12]}"
    }


@pytest.mark.parametrize(("samples", "found"), [(1, False), (-1, False), (2, True), (-3, True)])
def test_a_length_that_is_off_by_more_than_a_sample_is_found(store: Store, samples: int, found: bool) -> None:
    def longer(latest: Any) -> Any:
        path, row = next(iter(latest.rows.items()))
        row = row.model_copy(update={"signal_us": row.signal_us + int(samples * 1_000_000 / 256)})
        return dataclasses.replace(latest, rows={**latest.rows, path: row})

    store.publish("demo", longer)
    assert bool(told(store, "recording")) == found


def frozen(store: Store) -> str:
    view = brainbrr.view(store)
    assert view.digest is not None
    store.freeze(view.digest, view.to_json())
    return view.digest


@pytest.mark.slow
def test_a_frozen_view_has_to_say_what_its_digest_says(cli: Cli, store: Store) -> None:
    digest = frozen(store)
    assert verify(store).corrupt == ()
    path = store.layout.view(digest)
    good = path.read_bytes()
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda said: said["recordings"].pop(),
        lambda said: said["recordings"][0].update(patient="somebody"),
        lambda said: said["recordings"][0].pop("annotations"),
        lambda said: said["window"].update(length_s="30"),
        lambda said: said["recipe"]["fields"].update(rate_hz=128),
        lambda said: said.update(digest="0" * 64),
    ]
    for change in changes:
        reseal(path, change)
        assert list(told(store, "view", "quick")) == [digest]
        overwrite(path, good)
    path.rename(store.layout.view("0" * 64))
    assert list(told(store, "view", "quick")) == ["0" * 64]


@pytest.mark.slow
def test_a_view_that_somebody_else_froze_needs_no_more_than_its_seal(store: Store) -> None:
    path = store.freeze("c" * 64, {"format": 1})
    assert verify(store).corrupt == ()
    flip(path, 3)
    assert list(told(store, "view")) == ["c" * 64]


def test_a_missing_object_is_reported_if_only_a_frozen_view_references_it(cli: Cli, store: Store) -> None:
    frozen(store)
    record = next(store.records())
    shutil.rmtree(store.location / "catalog")
    store.layout.record(record.key).unlink()
    assert "the frozen view" in told(store, "record")[record.key]


def test_a_pin_has_to_keep_a_view_that_is_there(cli: Cli, store: Store) -> None:
    digest = frozen(store)
    for each in (digest, "0" * 64):
        sidecars.publish_checksummed(store.layout, store.layout.pin(each), pin_of(each), lambda: None)
    assert told(store, "pin") == {"0" * 64: "it keeps a frozen view that is not there"}


def generations(store: Store) -> None:
    """Two generations more, cut at the second."""
    for n in (2, 3):
        store.publish("demo", lambda latest, n=n: dataclasses.replace(latest, layout=f"plain{n}"))
    catalogs.cut(store.layout, "demo", 2, "2026-01-01T00:00:00+00:00")


@pytest.mark.slow
def test_of_a_catalog_the_file_that_is_damaged_is_told_and_no_other(store: Store) -> None:
    generations(store)
    assert verify(store).corrupt == ()
    for name in ("00000002.jsonl", "00000003.jsonl", "00000003.ack.json", "00000002.cut.json"):
        path = store.location / "catalog" / "demo" / name
        good = path.read_bytes()
        flip(path, 40)
        assert list(told(store, "catalog", "quick")) == [f"demo/{name}"]
        overwrite(path, good)
    other = store.layout.generation("demo", 2)
    catalog = generation_file.decode(other.read_bytes(), where=None)
    overwrite(other, generation_file.encode(dataclasses.replace(catalog, layout="another")))
    assert list(told(store, "catalog", "quick")) == ["demo/00000002.jsonl"]  # whole, but not what was published


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "objects.zarr/notes.txt",
        "objects.zarr/zz/c",
        "objects.zarr/00/notes.txt",
        "records/notes.txt",
        "records/00/.hidden",
        "findings/zz/x",
        "catalog/notes.txt",
        "catalog/-demo/00000001.jsonl",
        "catalog/demo/00000001.jsonl.bak",
        "views/notes.json",
        "pins/notes.json",
        "retired/notes",
        "receipts/notes.json",
        "leases/notes",
    ],
)
def test_what_does_not_belong_into_a_store_is_found(store: Store, name: str) -> None:
    path = store.location / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    report = verify(store, depth="quick")
    assert report.exit_code == 4, name
    assert any(each.kind == "stranger" and name.startswith(each.name) for each in report.corrupt)


def test_what_others_leave_in_a_store_is_no_damage(store: Store) -> None:
    for name in ("README.md", ".gitignore", "tmp/x", "quarantine/x", "trash/x", "records/00/.nfs001"):
        path = store.location / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (store.location / "catalog" / "begun").mkdir()
    (store.location / "lost+found").mkdir()
    assert verify(store).corrupt == ()


# Everything there is, damaged in every way


def everything(store: Store, cli: Cli) -> list[Path]:
    """A store with every kind of file; returns one or two of each kind."""
    digest = frozen(store)
    sidecars.publish_checksummed(store.layout, store.layout.pin(digest), pin_of(digest), lambda: None)
    frozen_views.retire(store, "ab" * 16, "old")
    give_receipt(store, objects=("ab" * 32,))
    generations(store)
    catalog = store.location / "catalog" / "demo"
    for name in ("00000001.jsonl", "00000001.ack.json"):
        (catalog / name).unlink()
    one_each = [*list((store.location / "views").iterdir()), *list((store.location / "pins").iterdir())]
    one_each += [*catalog.iterdir(), *(store.location / "retired").iterdir(), *(store.location / "receipts").iterdir()]
    one_each += [next(iter(store.location.glob(f"{kind}/*/*.json"))) for kind in ("records", "findings")]
    shard = shards(store)[0]
    return [*one_each, shard, shard.with_name("zarr.json"), shard.parent.parent / "zarr.json"]


@pytest.mark.slow
def test_no_flip_truncation_or_deletion_in_any_kind_of_file_escapes(cli: Cli, store: Store, tmp_path: Path) -> None:
    paths = everything(store, cli)
    host = Host(tmp_path / "host")
    assert verify(store, host=host).corrupt == ()
    kinds = {path.relative_to(store.location).parts[0] for path in paths}
    assert kinds == {"objects.zarr", "records", "findings", "catalog", "views", "pins", "retired", "receipts"}
    for path in paths:
        depth: Depth = "checksums" if path.name == "c.0.0" else "quick"
        good = path.read_bytes()
        for at in range(0, len(good), max(1, len(good) // 7)):
            overwrite(path, bytes([*good[:at], good[at] ^ 1 << at % 8, *good[at + 1 :]]))
            assert verify(store, depth=depth).exit_code == 4, (path, at)
        for cut in (0, len(good) // 2, len(good) - 1):
            overwrite(path, good[:cut])
            assert verify(store, depth=depth).exit_code == 4, (path, cut)
        path.unlink()
        if path.parent.name != "retired":  # that a mark is gone is what taking it back looks like
            assert verify(store, depth=depth, host=host).exit_code == 4, path
        path.write_bytes(good)
    assert verify(store, host=host).corrupt == ()


# What a host remembers


@pytest.mark.slow
def test_what_passed_lately_counts_and_is_read_again_when_it_is_older(settled: Store, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    report = verify(settled, host=host, max_age_s=DAY_S)
    assert (report.verified, report.remembered, report.remaining) == (N, 0, 0)
    report = verify(settled, host=Host(tmp_path / "host"), max_age_s=DAY_S)
    assert (report.verified, report.remembered, report.oldest_pass is not None) == (0, N, True)
    assert verify(settled, host=host).verified == N  # nobody asked for memory
    age_the_passes(host.folder, by_s=2 * DAY_S)
    assert verify(settled, host=host, max_age_s=DAY_S).verified == N


def age_the_passes(folder: Path, *, by_s: float) -> None:
    [table] = (folder / "passes").iterdir()
    facts = json.loads(table.read_text())
    for entry in facts.values():
        entry[-1][2:] = [at_s - int(by_s) for at_s in entry[-1][2:]]
    table.write_text(json.dumps(facts))


@pytest.mark.slow
@pytest.mark.parametrize("done", DEPTHS)
def test_a_deep_verify_counts_as_a_shallow_one_but_not_the_reverse(settled: Store, tmp_path: Path, done: Depth) -> None:
    host = Host(tmp_path / "host")
    verify(settled, host=host, depth=done)
    for depth in reversed(DEPTHS):
        counts = DEPTHS.index(depth) <= DEPTHS.index(done)
        assert verify(settled, host=host, depth=depth, max_age_s=DAY_S, max_seconds=0).remembered == N * counts


@pytest.mark.slow
def test_verify_with_a_time_limit_continues_next_time_with_the_oldest_verified(settled: Store, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    report = verify(settled, host=host, max_seconds=0)
    assert (report.verified, report.remaining, report.exit_code, report.oldest_pass) == (0, N, 0, None)
    seen: set[str] = set()
    for _ in range(40):
        before = passes(host)
        verify(settled, host=host, max_age_s=DAY_S, max_seconds=0.02)
        new = {name for name, at_s in passes(host).items() if at_s != before.get(name)}
        assert not new & seen  # none twice before each once
        seen |= new
        if len(seen) == N:
            break
    assert len(seen) == N


@pytest.mark.slow
def test_never_verified_objects_do_not_starve_the_others(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, looked = Host(tmp_path / "host"), list[str]()
    real = checks.verify_folder

    def slow(store: Store, name: str, **choices: Any) -> None:
        looked.append(name)
        time.sleep(0.1)
        real(store, name, **choices)

    monkeypatch.setattr(checks, "verify_folder", slow)
    for path in shards(store)[:9]:  # the others are too young for a stat to be believed
        overwrite(path, b"")
    for _ in range(N):
        verify(store, host=host, max_age_s=DAY_S, max_seconds=0.15)
    assert len(set(looked)) == N


def test_an_mtime_in_the_future_keeps_no_pass_from_being_remembered(store: Store, tmp_path: Path) -> None:
    for path in store.location.glob("objects.zarr/*/*/*"):
        os.utime(path, (4e9, 4e9))
    time.sleep(2.1)
    verify(store, host=Host(tmp_path / "host"))
    assert verify(store, host=Host(tmp_path / "host"), max_age_s=DAY_S).remembered == N


def passes(host: Host) -> dict[str, int]:
    return {
        name: entry[-1][-1]
        for table in (host.folder / "passes").glob("*.json")
        for name, entry in json.loads(table.read_text()).items()
    }


class Interrupted(Silent):
    """Ctrl-C, after five objects."""

    n_done = 0

    def advance(self, n: int = 1, *, note: str = "") -> None:
        self.n_done += n
        if self.n_done == 5:
            raise KeyboardInterrupt


def test_what_passed_before_ctrl_c_is_not_read_again(settled: Store, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        verify(settled, host=Host(tmp_path / "host"), progress=Interrupted())
    report = verify(settled, host=Host(tmp_path / "host"), max_age_s=DAY_S, max_seconds=0)
    assert report.remembered >= 5 and report.corrupt == ()


def test_an_object_that_was_touched_is_proven_again(store: Store, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    time.sleep(2.1)
    verify(store, host=host)
    flip(shards(store)[0], 100)
    flip(shards(store)[1].with_name("zarr.json"), 10)
    report = verify(store, host=host, max_age_s=DAY_S)
    assert report.remembered == N - 2 and len([each for each in report.corrupt if each.kind == "object"]) == 2
    assert verify(store, host=host, max_age_s=DAY_S).exit_code == 4  # what failed counts as never passed


def test_a_passs_sums_still_prove_the_statistics(settled: Store, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    verify(settled, host=host)
    sums = {json_digest(record.statistics) + sha256(bytes.fromhex(record.checks)) for record in settled.records()}
    assert {host.passes(settled.location).last(c, *files_of(settled, c)).sums for c in settled.contents()} == sums  # type: ignore[union-attr]


def files_of(store: Store, content: str) -> tuple[Path, Path]:
    folder = store.layout.object(content)
    return folder / "c.0.0", folder / "zarr.json"


@pytest.mark.slow
def test_a_file_deleted_without_a_receipt_is_damage_until_it_is_accepted(
    cli: Cli, store: Store, tmp_path: Path
) -> None:
    view = store.layout.view(frozen(store))
    findings = store.layout.findings_of(next(store.keys()), int(next(store.found_findings()).partition("-")[2]))
    for path in (view, findings):
        assert cli("verify", "--quick").code == 0
        good = path.read_bytes()
        path.unlink()
        for _ in range(2):
            out = cli("verify", "--quick", "--json")
            [found] = out.json["corrupt"]
            assert out.code == 4 and "it was here on 20" in found["reason"] and found["fix"] == "brainbrr repair"
        path.write_bytes(good)
        assert cli("verify", "--quick").code == 0
        path.unlink()
        assert cli("verify", "--quick", "--accept", "gone").code == 0
        assert cli("verify", "--quick").code == 0


def test_a_missing_file_is_excused_only_by_a_receipt_newer_than_its_last_sighting(store: Store, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    path = store.freeze("c" * 64, {"format": 1})
    verify(store, depth="quick", host=host)
    path.unlink()
    assert verify(store, depth="quick", host=host).exit_code == 4
    give_receipt(store, created="2001-01-01T00:00:00+00:00", views=("c" * 64,))
    assert verify(store, depth="quick", host=host).exit_code == 4
    give_receipt(store, created="2999-01-01T00:00:00+00:00", views=("c" * 64,))
    assert verify(store, depth="quick", host=host).corrupt == ()


def test_a_store_that_was_made_again_in_the_same_place_is_another_one(store: Store, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    verify(store, depth="quick", host=host)
    shutil.rmtree(store.location)
    again = Store.create(store.location)
    os.utime(again.layout.mark, (1, 1))
    assert verify(again, host=host).corrupt == ()


@pytest.mark.slow
def test_an_empty_or_torn_stat_cache_costs_time_but_changes_no_result(settled: Store, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    verify(settled, host=host)
    for table in host.folder.rglob("*.json"):
        for torn in ("", "[]", '{"names":{"view":3},"made":1}', '{"a":[1,2]}', table.read_text().replace("[", "{")):
            table.write_text(torn)
            report = verify(settled, host=host, max_age_s=DAY_S)
            assert report.corrupt == () and report.verified + report.remembered == N


def test_verify_refuses_an_age_that_is_none_and_two_depths(cli: Cli, store: Store) -> None:
    assert cli("verify", "--max-age", "soon").code == 2
    assert cli("verify", "--quick", "--checksums").code == 2
    told = cli("verify", "--quick", "--max-age", "7d", "--json")
    assert told.code == 0 and told.json["depth"] == "quick"


@pytest.fixture
def in_sight(stored_at: Path) -> Iterator[Store]:
    """A store where every user of the machine may look."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = Path(shutil.copytree(stored_at, Path(folder) / "store"))
        for each in (store, *filter(Path.is_dir, store.rglob("*"))):
            each.chmod(0o755)
        yield Store.open(store)


def test_verify_reports_unreadable_files_and_verifies_the_others(in_sight: Store) -> None:
    store = in_sight
    first, second = (shard.parent for shard in shards(store)[:2])
    record = next(store.keys())
    (first / "c.0.0").chmod(0)
    (second / "zarr.json").chmod(0)
    store.layout.record(record).chmod(0)
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            found = [(*each.subject, each.reason, each.unreadable) for each in inspect_store(store).damage]
            os.write(there, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as pipe:
        everything_told = pipe.read()
    os.waitpid(child, 0)
    damage = json.loads(everything_told)
    assert {("object", first.name), ("object", second.name), ("record", record)} <= {
        (kind, name) for kind, name, _, unreadable in damage if unreadable
    }
    assert all("Permission denied" in reason for _, _, reason, _ in damage)


def test_verify_is_damage_to_none_of_what_it_reads(store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.location.rglob("*")}
    with pytest.raises(IntegrityError):
        store.reader("0" * 64)
    verify(store)
    assert {path: path.stat().st_mtime_ns for path in store.location.rglob("*")} == before


@pytest.mark.slow
def test_an_unpinned_view_is_not_reported_missing_and_one_deleted_by_hand_is(store: Store, tmp_path: Path) -> None:
    host, recipe, digest = Host(tmp_path / "host"), "ab" * 16, frozen(store)
    for _ in range(2):
        frozen_views.pin(store, digest)
        frozen_views.retire(store, recipe, "x")
        assert verify(store, depth="quick", host=host).corrupt == ()
        frozen_views.unpin(store, digest)
        frozen_views.restore(store, recipe)
        assert verify(store, depth="quick", host=host).corrupt == ()
        time.sleep(1.1)  # receipts and memory are in whole seconds
    frozen_views.pin(store, digest)
    frozen_views.retire(store, recipe, "x")
    verify(store, depth="quick", host=host)
    store.layout.pin(digest).unlink()
    store.layout.retirement(recipe).unlink()
    assert {each.kind for each in verify(store, depth="quick", host=host).corrupt} == {"pin", "retired"}


def test_a_mark_with_a_byte_too_many_is_found_and_mended(store: Store) -> None:
    good = store.layout.mark.read_bytes()
    overwrite(store.layout.mark, good + b"\n")
    [found] = verify(Store.open(store.location), depth="quick").corrupt
    assert found.subject == ("format", "format.json")
    assert repair(store, depth="quick").exit_code == 0
    assert store.layout.mark.read_bytes() == good


def test_a_mark_that_lacks_what_its_readers_need_is_found(store: Store) -> None:
    for path in (store.layout.pin("c" * 64), store.layout.retirement("c" * 32)):
        path.parent.mkdir()
        path.write_bytes(models.to_checksummed({"format": 1}))
    missing = "; ".join(f"field '{name}' is missing" for name in ("view", "created", "by"))
    assert told(store, "pin", "quick") == {"c" * 64: missing}
    missing = "; ".join(f"field '{name}' is missing" for name in ("recipe", "name", "created", "by"))
    assert told(store, "retired", "quick") == {"c" * 32: missing}
