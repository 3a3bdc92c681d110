"""What `repair` brings back and from where, what it keeps apart, and that nothing is ever lost on the way."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.support import Cli, Told

import brainbrr
from brainbrr.core import failpoints, models
from brainbrr.core.digest import source_digest
from brainbrr.core.statcache import Host
from brainbrr.eeg.signal import preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import IntegrityError
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.repair import RepairReport
from brainbrr.ingest.repair import repair as _repair
from brainbrr.store import catalog as catalogs
from brainbrr.store import frozen_views
from brainbrr.store import generation as generation_file
from brainbrr.store.deletion import Deletion, DeletionCancelled
from brainbrr.store.forget import forget
from brainbrr.store.formats import FILL
from brainbrr.store.gc import gc
from brainbrr.store.reachability import Reachability
from brainbrr.store.recompress import recompress
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

N = 18


@pytest.fixture
def store(stored_at: Path, tmp_path: Path) -> Store:
    return Store.open(Path(shutil.copytree(stored_at, tmp_path / "store")))


@pytest.fixture
def other(stored_at: Path) -> Store:
    """Another store with the same things. Read only."""
    return Store.open(stored_at)


def repair(store: Store, **options: Any) -> RepairReport:
    return _repair(store, workers=1, **options)


def from_edf(store: Store, generated: Path, **options: Any) -> RepairReport:
    return repair(store, roots={"demo": generated}, **options)


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    overwrite(file, bytes(data))


def overwrite(file: Path, data: bytes) -> None:
    file.chmod(0o644)
    file.write_bytes(data)


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    said = models.from_checksummed(path.read_bytes(), where=path)
    change(said)
    overwrite(path, models.to_checksummed(said))


def shards(store: Store) -> list[Path]:
    return sorted(store.location.glob("objects.zarr/*/*/c.0.0"))


def quarantined(store: Store) -> list[str]:
    return sorted(path.name for path in (store.location / "quarantine").iterdir())


def outcomes(report: RepairReport) -> dict[str, str]:
    return {each.name: each.outcome for each in report.results}


def ways(report: RepairReport) -> set[str]:
    return {each.how.split(" ")[0] for each in report.results}


def everything_of(store: Store) -> dict[str, bytes]:
    """Every file that a reader may read, whatever the provenance of records says."""
    found = {}
    for folder in ("objects.zarr", "records", "findings", "catalog", "views", "pins"):
        for path in (store.location / folder).rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                if folder == "records":
                    data = json.dumps({**json.loads(data), "provenance": None, "sha256": None}).encode()
                found[str(path.relative_to(store.location))] = data
    return found


# Objects and records


def ruin(store: Store) -> int:
    """Damage objects, records and findings in every way; return how many things are damaged."""
    flip(shards(store)[0], 1000)
    flip(shards(store)[1].with_name("zarr.json"), 20)
    shards(store)[2].unlink()
    shutil.rmtree(shards(store)[3].parent)
    (shards(store)[4].parent / "notes.txt").touch()
    (store.layout.objects / "zarr.json").unlink()
    damaged = {path.parent.name for path in shards(store)[:2]}
    fine = [record for record in store.records() if store.has_object(record) and record.content not in damaged]
    flip(store.layout.record(fine[-1].key), 30)
    store.layout.record(fine[-2].key).unlink()
    reseal(store.layout.record(fine[-3].key), lambda said: said["statistics"]["sums"].__setitem__(0, 7))
    findings = sorted(store.location.glob("findings/*/*.json"))
    flip(findings[0], 20)
    return 10


@pytest.mark.slow
@pytest.mark.parametrize("way", ["from the EDF", "from another store"])
def test_all_that_is_damaged_comes_back_and_the_damaged_is_kept(
    store: Store, other: Store, generated: Path, way: str
) -> None:
    before = everything_of(store)
    ruin(store)
    assert verify(store).exit_code == 4
    report = from_edf(store, generated) if way == "from the EDF" else repair(store, source=other)
    assert report.exit_code == 0 and report.remaining == (), report
    assert set(outcomes(report).values()) == {"restored"}
    assert ways(report) - {"with"} == ({"made", "written"} if way == "from the EDF" else {"from", "written"})
    assert verify(store).corrupt == ()
    assert everything_of(store) == before
    assert len(quarantined(store)) == 7  # all that was there and damaged: of two nothing was left, and no group file
    again = from_edf(store, generated)
    assert (again.results, again.exit_code) == ((), 0)


@pytest.mark.slow
def test_a_store_of_another_codec_can_give_everything_back(store: Store, other: Store, tmp_path: Path) -> None:
    recompress(other, tmp_path / "zstd", codec="zstd")
    before = everything_of(store)
    ruin(store)
    report = repair(store, source=Store.open(tmp_path / "zstd"))
    assert report.exit_code == 0 and verify(store).corrupt == () and everything_of(store) == before


@pytest.mark.slow
def test_what_is_damaged_in_the_other_store_too_comes_from_the_edf(
    store: Store, other: Store, generated: Path, tmp_path: Path
) -> None:
    worse = Store.open(Path(shutil.copytree(other.location, tmp_path / "worse")))
    for each in (store, worse):
        flip(shards(each)[0], 1000)
        flip(each.layout.record(next(iter(other.keys()))), 30)
    flip(shards(store)[1], 1000)
    report = from_edf(store, generated, source=worse)
    assert report.exit_code == 0 and ways(report) == {"made", "from"}
    assert verify(store).corrupt == ()
    assert verify(worse).exit_code == 4  # the other store is read, and nothing else


@pytest.mark.slow
def test_without_its_edf_nothing_is_repaired_and_the_report_says_what_helps(
    store: Store, generated: Path, tmp_path: Path
) -> None:
    flip(shards(store)[0], 1000)
    report = repair(store)
    [mended, *_] = [each for each in report.results if each.kind == "object"]
    assert report.exit_code == 4 and mended.outcome == "not restored"
    assert "does not know where corpus demo is" in mended.how and "--root demo=DIR" in str(mended.fix)
    elsewhere = Path(shutil.copytree(generated, tmp_path / "elsewhere"))
    for edf in elsewhere.rglob("*.edf"):
        flip(edf, -1)
    assert "is another file now" in repair(store, roots={"demo": elsewhere}).results[0].how
    assert "cannot be read" in repair(store, roots={"demo": tmp_path}).results[0].how
    assert quarantined(store) == [name for name in quarantined(store) if name.startswith(mended.name)]
    assert from_edf(store, generated).exit_code == 0 and verify(store).corrupt == ()


@pytest.mark.slow
def test_the_host_knows_where_a_corpus_lies(cli: Cli, store: Store, corpus: Path) -> None:
    assert cli("ingest", corpus, "--workers", 1).code == 0
    flip(shards(store)[0], 1000)
    told = cli("repair", "--workers", 1, "--json")
    assert told.code == 0 and told.json["remaining"] == []
    assert {each["outcome"] for each in told.json["results"]} == {"restored"}
    assert cli("verify").code == 0


@pytest.mark.slow
def test_a_rebuilt_object_that_differs_never_replaces_the_stored_one(
    store: Store, generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code's output has changed since: as if a later numpy rounded otherwise."""
    record = next(store.records())
    said = store.layout.record(record.key).read_bytes()
    flip(store.layout.object(record.content) / "c.0.0", 1000)
    real = preprocess.Preprocessed.blocks

    def otherwise(self: Any) -> Iterator[Any]:
        for block in real(self):
            block[block != -32768] //= 2
            yield block

    monkeypatch.setattr(preprocess.Preprocessed, "blocks", otherwise)
    report = from_edf(store, generated)
    [mended] = [each for each in report.results if each.kind == "object"]
    assert (mended.outcome, report.exit_code) == ("kept apart", 4)
    assert store.layout.record(record.key).read_bytes() == said
    assert not store.layout.object(record.content).exists()
    ours = [path for path in (store.location / "quarantine").iterdir() if len(path.name) == 64]
    assert len(ours) == 1 and str(ours[0]) in mended.how
    monkeypatch.undo()
    assert from_edf(store, generated).exit_code == 0 and verify(store).corrupt == ()


@pytest.mark.slow
def test_a_lost_record_is_only_replaced_by_what_the_catalog_says(
    store: Store, generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = next(store.records())
    store.layout.record(record.key).unlink()
    with monkeypatch.context() as patch:
        real = preprocess.Preprocessed.blocks
        patch.setattr(preprocess.Preprocessed, "blocks", lambda self: (halved(block) for block in real(self)))
        report = from_edf(store, generated)
    assert outcomes(report) == {record.key: "kept apart"} and store.record(record.key) is None
    assert from_edf(store, generated).exit_code == 0
    assert store.record(record.key).content == record.content  # type: ignore[union-attr]


def halved(block: np.ndarray) -> np.ndarray:
    return np.where(block == FILL, FILL, block // 2)


@pytest.mark.slow
def test_a_wrong_record_stays_when_nothing_better_can_be_built(store: Store, generated: Path) -> None:
    record = next(store.records())
    path = store.layout.record(record.key)
    reseal(path, lambda said: said["statistics"]["sums"].__setitem__(0, 7))
    said = path.read_bytes()
    assert repair(store).exit_code == 4
    assert path.read_bytes() == said and quarantined(store) == []
    assert from_edf(store, generated).exit_code == 0
    assert verify(store).corrupt == () and len(quarantined(store)) == 1


@pytest.mark.slow
def test_whole_things_under_wrong_names_go_where_they_belong(store: Store) -> None:
    before = everything_of(store)
    one, two, three = (shard.parent for shard in shards(store)[:3])
    one.rename(one.with_name("aside"))
    two.rename(one)  # an exchange
    one.with_name("aside").rename(two)
    three.rename(three.with_name("elsewhere"))
    first, second, third = (store.layout.record(key) for key in sorted(store.keys())[:3])
    first.rename(first.with_name("aside"))
    second.rename(first)
    first.with_name("aside").rename(second)
    third.rename(third.with_name("else.json"))
    report = repair(store)
    assert report.exit_code == 0 and verify(store).corrupt == (), report.to_json()
    assert everything_of(store) == before


@pytest.mark.slow
def test_copies_and_objects_that_nobody_names_are_moved_aside(store: Store, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    folder = shards(store)[0].parent
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.copytree(folder, store.layout.objects / "00" / ("00" + "a" * 62))
    for name in ("notes.txt", "x" * 255, "µ" * 127):
        (store.location / name).touch()
    (store.layout.records / "zz").mkdir()
    (store.layout.records / "zz" / "notes.txt").touch()
    (store.layout.findings / folder.name[:2]).mkdir(exist_ok=True)
    (store.layout.findings / folder.name[:2] / "notes.txt").touch()
    report = repair(store, host=host)
    assert set(outcomes(report).values()) == {"moved aside"} and report.exit_code == 0
    assert len(quarantined(store)) == len(report.results) - 1  # a folder took its file with it
    assert verify(store, host=host).corrupt == ()  # nobody misses what was moved aside for good


def test_a_deletion_that_ran_meanwhile_is_called_off(store: Store, other: Store) -> None:
    flip(shards(store)[0], 1000)
    deletion = Deletion(Reachability(store.layout), "gc")
    assert repair(store, source=other).exit_code == 0
    with pytest.raises(DeletionCancelled):
        deletion.finish()


@pytest.mark.slow
def test_what_another_repair_restored_meanwhile_is_not_moved_aside(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(shards(store)[0], 1000)
    lost = store.layout.record(max(record.key for record in store.records() if store.has_object(record)))
    lost.unlink()

    def another(point: str) -> None:
        if point == "damage noted":
            monkeypatch.setattr(failpoints, "listener", None)
            assert repair(store, source=other).exit_code == 0

    monkeypatch.setattr(failpoints, "listener", another)
    report = repair(store)  # by somebody who has neither the EDF nor the other store
    assert report.exit_code == 0 and set(outcomes(report).values()) == {"restored"}
    assert verify(store).corrupt == () and len(quarantined(store)) == 1


# What a disk does not give


def as_nobody(run: Callable[[], Any]) -> Any:
    """Return what a function returns in a process that may not read everything."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            os.write(there, json.dumps(run()).encode())
        finally:
            os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said)


@pytest.fixture
def in_sight(stored_at: Path) -> Iterator[Store]:
    """A store that every user of the machine may change."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = Store.open(Path(shutil.copytree(stored_at, Path(folder) / "store")))
        for path in (store.location, *store.location.rglob("*")):
            if path.is_dir():
                path.chmod(0o777)
        yield store


@pytest.mark.slow
def test_what_cannot_be_read_is_left_where_it_is(in_sight: Store) -> None:
    store = in_sight
    first, second = shards(store)[:2]
    record = store.layout.record(sorted(store.keys())[0])
    for path in (first, second.with_name("zarr.json"), record):
        path.chmod(0)
    report = as_nobody(lambda: repair(store).to_json())
    kinds = {each["outcome"] for each in report["results"]}
    assert "left" in kinds and not kinds & {"moved aside", "restored"}
    assert first.exists() and second.exists() and record.exists() and quarantined(store) == []
    for path in (first, second.with_name("zarr.json"), record):
        path.chmod(0o444)
    assert verify(store).corrupt == ()


def test_what_cannot_be_moved_aside_hinders_nothing_else(in_sight: Store) -> None:
    store = in_sight
    snapshots, group = store.location / "snapshots", store.layout.objects / "zarr.json"
    snapshots.mkdir()
    snapshots.chmod(0o555)
    group.unlink()
    report = as_nobody(lambda: repair(store).to_json())
    outcomes = {each.get("stranger", each.get("group")): each["outcome"] for each in report["results"]}
    assert outcomes == {"snapshots": "left", "zarr.json": "restored"}
    assert snapshots.exists() and group.exists()


def test_what_cannot_be_read_hinders_nothing_else(in_sight: Store) -> None:
    store = in_sight
    hidden, lost = (store.layout.record(key) for key in sorted(store.keys())[:2])
    hidden.chmod(0)
    lost.unlink()
    report = as_nobody(lambda: repair(store).to_json())
    outcomes = {each["record"]: each["outcome"] for each in report["results"] if "record" in each}
    assert outcomes == {hidden.stem: "left", lost.stem: "not restored"}


def test_gc_deletes_nothing_when_a_reference_cannot_be_read(in_sight: Store) -> None:
    store = in_sight
    record = store.layout.record(sorted(store.keys())[0])
    record.chmod(0)

    def refused() -> list[str]:
        try:
            gc(store, yes=True)
        except brainbrr.BrainbrrError as error:
            return [type(error).__name__, error.what, str(error.where)]
        return []

    what = "nothing is deleted from a store that cannot be read wholly: it cannot be read: Permission denied"
    assert as_nobody(refused) == ["IntegrityError", what, str(record)]


@pytest.mark.slow
def test_what_the_other_store_does_not_give_hinders_nothing_else(in_sight: Store) -> None:
    store = in_sight
    source = Store.open(Path(shutil.copytree(store.location, store.location.with_name("source"))))
    first, second = shards(store)[:2]
    catalog = store.layout.generation("demo", 1)
    for path in (first, second, catalog):
        flip(path, 1000)
    for path in (shards(source)[0], source.layout.generation("demo", 1)):
        path.chmod(0)
    report = as_nobody(lambda: repair(store, source=source).to_json())
    outcomes = {each["object"]: each["outcome"] for each in report["results"] if "object" in each}
    assert outcomes == {first.parent.name: "not restored", second.parent.name: "restored"}
    assert [each["outcome"] for each in report["results"] if "catalog" in each] == ["not restored"]


def test_a_store_that_may_not_be_written_is_refused_and_stays(in_sight: Store) -> None:
    store = in_sight
    flip(shards(store)[0], 1000)
    for path in (store.location, *store.location.rglob("*")):
        if path.is_dir():
            path.chmod(0o555)

    def refused() -> str:
        try:
            repair(store)
        except brainbrr.BrainbrrError as error:
            return f"{type(error).__name__}: {error.what}"
        return "it did something"

    assert "UsageError: the store cannot be written" in as_nobody(refused)
    for path in (store.location, *store.location.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


# Catalogs


@pytest.fixture
def advanced(store: Store) -> Store:
    """A store whose catalog has four generations."""
    for n in (2, 3, 4):
        store.publish("demo", lambda latest, n=n: dataclasses.replace(latest, layout=f"plain{n}"))
    return store


def generation(store: Store, seq: int) -> Path:
    return store.layout.generation("demo", seq)


@pytest.mark.slow
@pytest.mark.parametrize("seq", [1, 2, 4])
@pytest.mark.parametrize("how", ["flipped", "deleted"])
def test_a_generation_comes_from_another_store_where_a_digest_proves_it(
    advanced: Store, tmp_path: Path, seq: int, how: str
) -> None:
    other = Store.open(Path(shutil.copytree(advanced.location, tmp_path / "other")))
    before = everything_of(advanced)
    if how == "flipped":
        flip(generation(advanced, seq), 100)
    else:
        generation(advanced, seq).unlink()
    report = repair(advanced, source=other)
    assert outcomes(report) == {f"demo/{seq:08d}.jsonl": "restored"} and report.exit_code == 0
    assert verify(advanced).corrupt == () and everything_of(advanced) == before


def test_another_stores_generation_of_the_same_number_is_not_taken(advanced: Store, tmp_path: Path) -> None:
    other = Store.open(Path(shutil.copytree(advanced.location, tmp_path / "other")))
    catalog = generation_file.decode(generation(other, 4).read_bytes(), where=None)
    overwrite(generation(other, 4), generation_file.encode(dataclasses.replace(catalog, layout="another")))
    flip(generation(advanced, 4), 100)
    assert outcomes(repair(advanced, source=other)) == {"demo/00000004.jsonl": "not restored"}


@pytest.mark.slow
@pytest.mark.parametrize("seqs", [(1,), (2,), (1, 3)])
def test_an_older_generation_is_cut_off(advanced: Store, seqs: tuple[int, ...]) -> None:
    latest = advanced.catalog("demo")
    for seq in seqs:
        flip(generation(advanced, seq), 100)
    report = repair(advanced)
    assert set(outcomes(report).values()) == {"restored"} and "begins with" in report.results[0].how
    assert report.exit_code == 0 and verify(advanced).corrupt == ()
    assert Store.open(advanced.location).catalog("demo") == latest
    assert advanced.layout.cuts("demo") == [max(seqs) + 1]


@pytest.mark.slow
def test_the_latest_generation_moves_aside_and_ingest_reads_the_labels_again(
    cli: Cli, store: Store, corpus: Path
) -> None:
    labels = next(corpus.rglob("*.csv_bi"))
    labels.write_text(labels.read_text() + "TERM,0.5000,1.0000,seiz,1.0000\n")
    assert cli("ingest", corpus, "--workers", 1).code == 0
    latest = Store.open(store.location).catalog("demo")
    assert latest is not None and latest.seq == 2
    assert cli("verify", "--quick").code == 0
    flip(generation(store, 2), 100)
    told = cli("repair", "--quick", "--json")
    [mended] = told.json["results"]
    assert (told.code, mended["outcome"]) == (4, "not restored") and "reads its labels again" in mended["fix"]
    assert cli("verify", "--quick").code == 0 and cli("repair", "--quick").code == 0
    assert cli("ingest", corpus, "--workers", 1).code == 0
    assert dataclasses.replace(Store.open(store.location).catalog("demo"), created="") == dataclasses.replace(  # type: ignore[type-var]
        latest, created=""
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "deleted", "never there"])
def test_a_cut_covers_only_its_own_generation_and_hides_no_later_damage(
    advanced: Store, tmp_path: Path, how: str
) -> None:
    host, before = Host(tmp_path / "host"), advanced.catalog("demo")
    if how == "never there":
        forget(Store.open(Path(shutil.copytree(advanced.location, tmp_path / "o"))), "demo", older_than_s=0, yes=True)
        shutil.copy(tmp_path / "o" / "catalog" / "demo" / "00000004.cut.json", generation(advanced, 4).parent)
        generation(advanced, 4).unlink()
        advanced.layout.acknowledgement("demo", 4).unlink()
    else:
        forget(advanced, "demo", older_than_s=0, yes=True)
        verify(advanced, host=host)
        if how == "flipped":
            flip(generation(advanced, 4), 100)
        else:
            generation(advanced, 4).unlink()
            advanced.layout.acknowledgement("demo", 4).unlink()
    assert [each.name for each in verify(advanced).corrupt if each.kind == "catalog"] == ["demo/00000004.jsonl"]
    with pytest.raises(IntegrityError):
        advanced.catalog("demo")
    with pytest.raises(IntegrityError, match="nothing is deleted"):
        gc(advanced, yes=True, grace_s=0)
    assert outcomes(repair(advanced, depth="quick", host=host))["demo/00000004.jsonl"] == "not restored"
    assert advanced.layout.cuts("demo") == []
    assert verify(advanced, host=host).corrupt == ()
    advanced.publish("demo", lambda _: dataclasses.replace(before, layout="plain"))
    flip(generation(advanced, advanced.layout.generations("demo")[-1]), 100)
    assert verify(advanced).exit_code == 4


@pytest.mark.slow
def test_acknowledgements_and_cuts_are_written_anew(advanced: Store) -> None:
    catalogs.cut(advanced.layout, "demo", 2, "2026-01-01T00:00:00+00:00")
    flip(advanced.layout.acknowledgement("demo", 4), 30)
    flip(advanced.layout.acknowledgement("demo", 2), 30)
    flip(advanced.layout.cut("demo", 2), 30)
    report = repair(advanced)
    assert len(report.results) == 3 and report.exit_code == 0 and verify(advanced).corrupt == ()


# Views, pins and findings


def with_view(store: Store) -> str:
    view = brainbrr.view(store)
    assert view.digest is not None
    store.freeze(view.digest, view.to_json())
    frozen_views.pin(store, view.digest)
    return view.digest


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "deleted"])
def test_views_pins_and_findings_come_from_another_store(cli: Cli, store: Store, tmp_path: Path, how: str) -> None:
    digest, host = with_view(store), Host(tmp_path / "host")
    other = Store.open(Path(shutil.copytree(store.location, tmp_path / "other")))
    before = everything_of(store)
    verify(store, depth="quick", host=host)
    paths = [store.layout.view(digest), store.layout.pin(digest), next(store.location.glob("findings/*/*.json"))]
    for path in paths:
        flip(path, 20) if how == "flipped" else path.unlink()
    assert repair(store, source=other, host=host).exit_code == 0
    assert verify(store, host=host).corrupt == () and everything_of(store) == before


@pytest.mark.slow
def test_a_lost_frozen_view_is_reported_until_it_is_frozen_again(cli: Cli, store: Store, tmp_path: Path) -> None:
    digest, host = with_view(store), Host(tmp_path / "host")
    verify(store, depth="quick", host=host)
    flip(store.layout.view(digest), 20)
    for _ in range(2):
        report = repair(store, depth="quick", host=host)
        assert report.exit_code == 4 and "brainbrr pin VIEW.json" in str([each.fix for each in report.results])
    with_view(store)
    assert repair(store, depth="quick", host=host).exit_code == 0
    assert verify(store, host=host).corrupt == ()


@pytest.mark.slow
def test_what_somebody_deleted_comes_back_since_the_host_remembers_it(
    store: Store, other: Store, generated: Path, tmp_path: Path
) -> None:
    host = Host(tmp_path / "host")
    before = everything_of(store)
    verify(store, depth="quick", host=host)
    shutil.rmtree(store.layout.findings)
    shutil.rmtree(store.location / "catalog")
    key = next(store.keys())
    store.layout.record(key).unlink()
    assert repair(store, depth="quick", host=host).exit_code == 4
    # no catalog says any more where recordings lie, and nothing here contradicts the other store's
    assert repair(store, depth="quick", source=other, host=host).exit_code == 0
    assert everything_of(store) == before


# Folders, and whole files under another's name


def _lose_objects(location: Path) -> None:
    shutil.rmtree(location / "objects.zarr")


def _copy_fan_out(location: Path) -> None:
    fan_out = next(path for path in sorted((location / "objects.zarr").iterdir()) if path.is_dir())
    shutil.copytree(fan_out, fan_out.with_name("copy of it"))


def _link(kind: str) -> Callable[[Path], None]:
    def link(location: Path) -> None:
        folder = next(path for path in sorted(location.glob(kind)) if path.is_dir())
        folder.rename(location.parent / "moved")
        folder.symlink_to(location.parent / "moved")

    return link


@pytest.mark.slow
@pytest.mark.parametrize("from_store", [True, False], ids=["from a store", "from EDFs"])
@pytest.mark.parametrize(
    "damage", [_lose_objects, _copy_fan_out, _link("objects.zarr/??"), _link("objects.zarr/??/?*"), _link("records/??")]
)
def test_an_odd_folder_hinders_nothing_and_all_comes_back_in_one_run(
    store: Store, other: Store, generated: Path, damage: Callable[[Path], None], *, from_store: bool
) -> None:
    before = everything_of(store)
    damage(store.location)
    assert verify(store).corrupt
    report = repair(store, source=other) if from_store else from_edf(store, generated)
    assert report.exit_code == 0, report
    assert verify(store).corrupt == () and everything_of(store) == before


def test_a_recipe_that_only_records_know_is_read_from_those_that_were_moved_aside(tmp_path: Path) -> None:
    write_corpus(tmp_path / "demo", n_recordings=1, seconds=(10, 10))
    recipe = Recipe(name="other", notch_hz=50)
    ingest(IngestOptions(root=tmp_path / "demo", store=tmp_path / "store", recipe=recipe, workers=1))
    location, store = tmp_path / "store", Store.open(tmp_path / "store")
    keys = list(store.keys())
    (location / "views").rename(tmp_path / "spare")
    (location / "records").rename(location / "views")
    (tmp_path / "spare").rename(location / "records")
    assert repair(store, roots={"demo": tmp_path / "demo"}).exit_code == 0
    assert list(store.keys()) == keys and verify(store).corrupt == ()


def test_a_damaged_pin_is_pinned_again_by_its_name(store: Store) -> None:
    digest = with_view(store)
    flip(store.layout.pin(digest), 20)
    assert [each.how for each in repair(store, depth="quick").results] == ["pinned again, by its name"]
    assert store.pinned_views() == (digest,) and verify(store, depth="quick").corrupt == ()


def test_a_receipt_that_nothing_restores_is_said_to_be_that(store: Store, other: Store, tmp_path: Path) -> None:
    host, digest = Host(tmp_path / "host"), with_view(store)
    frozen_views.unpin(store, digest)
    [name] = store.layout.receipts()
    verify(store, depth="quick", host=host)
    flip(store.layout.receipt(name), 20)
    for source in (None, other):
        [found] = repair(store, depth="quick", source=source, host=host).results
        assert not found.repaired and str(found.fix).startswith("no command makes a receipt again")
    assert "--from" not in str(found.fix)  # that was tried just now
    assert verify(store, depth="quick", host=host, accept_gone=True).corrupt == ()
    assert verify(store, depth="quick", host=host).corrupt == ()


def test_a_whole_file_under_anothers_name_goes_back_to_its_own(store: Store, tmp_path: Path) -> None:
    host, digest = Host(tmp_path / "host"), with_view(store)
    before = everything_of(store)
    verify(store, depth="quick", host=host)
    store.layout.view(digest).rename(store.layout.view("ab" * 32))
    (store.location / "catalog" / "demo").rename(store.location / "catalog" / "other")
    assert repair(store, depth="quick", host=host).exit_code == 0
    assert verify(store, depth="quick", host=host).corrupt == () and everything_of(store) == before


# Killed at any moment


@pytest.mark.slow
def test_a_repair_that_is_killed_anywhere_is_finished_by_the_next_one(
    store: Store, generated: Path, tmp_path: Path
) -> None:
    for path in shards(store)[3:]:
        shutil.rmtree(path.parent)
        key = next(record.key for record in store.records() if record.content == path.parent.name)
        store.layout.record(key).unlink()
    shutil.rmtree(store.location / "catalog")
    shutil.rmtree(store.layout.findings)
    catalog_of_three(store, generated)
    before = everything_of(store)
    first, second, third = shards(store)
    flip(first, 1000)
    second.parent.rename(second.parent.with_name("elsewhere"))
    keys = sorted(store.keys())
    flip(store.layout.record(keys[0]), 30)
    (third.parent.parent / "zarr.json").unlink()
    flip(next(store.location.glob("findings/*/*.json")), 20)
    flip(store.layout.acknowledgement("demo", 1), 20)
    points = reached(lambda: from_edf(copied(store, tmp_path / "0"), generated))
    assert {"damage noted", "moved aside", "put in place", "damage repaired", "object renamed"} <= set(points)
    for n in sorted({points.index(point) + 1 for point in points}):
        opened, host = copied(store, tmp_path / f"{n}"), Host(tmp_path / f"host{n}")
        kill(lambda store=opened, host=host: from_edf(store, generated, host=host), n)
        assert from_edf(opened, generated, host=host).exit_code == 0, points[n - 1]
        assert verify(opened, host=host).corrupt == (), points[n - 1]
        assert everything_of(opened) == before, points[n - 1]


def copied(store: Store, folder: Path) -> Store:
    return Store.open(Path(shutil.copytree(store.location, folder)))


def reached(run: Callable[[], object]) -> list[str]:
    points: list[str] = []
    failpoints.listener = points.append
    try:
        run()
    finally:
        failpoints.listener = None
    return points


def catalog_of_three(store: Store, generated: Path) -> None:
    """Give a store a catalog and findings of the recordings that it still has."""
    sources = {record.source for record in store.records()}
    tree = store.location.parent / "three" / "demo"
    for edf in generated.rglob("*.edf"):
        if source_digest(edf) in sources:
            for file in edf.parent.glob(f"{edf.stem}.*"):
                target = tree / file.relative_to(generated)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
    ingest(IngestOptions(root=tree, store=store.location, workers=1))


def kill(run: Callable[[], object], n: int) -> None:
    """Kill a run at the n-th failpoint that it reaches."""
    child = os.fork()
    if child == 0:
        left = n

        def die(point: str) -> None:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

        failpoints.listener = die
        try:
            run()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_repair_refuses_itself_and_a_root_without_a_corpus(cli: Cli, store: Store, tmp_path: Path) -> None:
    def told(*options: object) -> Told:
        return cli("repair", *options)

    assert told("--from", store.location).code == 2
    for wrong in ("somewhere", f"nobody={tmp_path}", f"demo={tmp_path / 'nowhere'}"):
        assert told("--root", wrong).code == 2
    assert told("--quick", "--checksums").code == 2
    assert told().code == 0
