"""Ingesting an unchanged tree again opens nothing; whatever did change is found all the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.support import Cli

from brainbrr.core.statcache import FileFacts
from brainbrr.ingest.reuse import Made, remember, reuse
from brainbrr.store.store import Store

N = 18
COUNT_OPENS = """
import json, os, sys
watched, opened = json.loads(sys.argv.pop()), []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if any(path.startswith(folder + os.sep) and not os.path.isdir(path) for folder in watched):
            opened.append(path)
sys.addaudithook(hook)
from brainbrr.cli.main import main
try:
    main()
except SystemExit as ended:
    print(json.dumps(opened))
    raise
"""


@pytest.fixture
def remembered(cli: Cli, corpus: Path) -> Path:
    """A corpus that was ingested, and again when files and records had been at rest for a while."""
    assert cli("ingest", corpus, "--workers", 2, "--json").json["new"] == N
    time.sleep(2.1)
    assert cli("ingest", corpus, "--json").json["reused"] == N
    return corpus


def opened(corpus: Path, store: Path, *options: str) -> tuple[dict[str, Any], list[str]]:
    """Ingest in another process; return what it says, and which files of corpus, records and objects it opened."""
    watched = json.dumps([str(p.resolve()) for p in (corpus, store / "records", store / "objects.zarr")])
    command = [sys.executable, "-c", COUNT_OPENS, "ingest", str(corpus), "--json", *options, watched]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    told, files = ran.stdout.splitlines()
    return json.loads(told), json.loads(files)


def edit(file: Path, old: bytes, new: bytes) -> None:
    """Change bytes in place, size and mtime kept."""
    times = file.stat()
    data = file.read_bytes()
    assert old in data and len(old) == len(new)
    file.chmod(0o644)
    file.write_bytes(data.replace(old, new, 1))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def table(tmp_path: Path, kind: str) -> Path:
    [file] = (tmp_path / "host-cache" / "brainbrr" / kind).glob("*.json")
    return file


@pytest.mark.slow
def test_an_unchanged_tree_is_ingested_again_without_opening_a_file_of_it(remembered: Path, tmp_path: Path) -> None:
    told, files = opened(remembered, tmp_path / "store")
    assert (told["recordings"], told["reused"], told["bytes_read"]) == (N, N, 0)
    assert files == []
    assert len(list((tmp_path / "store" / "catalog" / "demo").glob("*.jsonl"))) == 1
    told, files = opened(remembered, tmp_path / "store", "--rehash", "--workers", "1")
    assert told["reused"] == N
    kinds = {Path(file).suffix for file in files}
    assert kinds >= {".edf", ".csv", ".csv_bi", ".json"} and any(file.endswith("/c.0.0") for file in files)


@pytest.mark.slow
def test_one_edited_file_is_the_only_one_opened(remembered: Path, tmp_path: Path) -> None:
    labels = min(remembered.rglob("*.csv"))
    edit(labels, b"1.0000", b"0.9000")
    told, files = opened(remembered, tmp_path / "store")
    assert (told["relabelled"], told["reused"]) == (1, N - 1)
    assert set(files) == {str(labels.resolve()), str(labels.with_suffix(".csv_bi").resolve())}


def test_label_edits_right_after_each_other_are_all_seen(cli: Cli, remembered: Path) -> None:
    labels = min(remembered.rglob("*.csv_bi"))
    for old, new in ((b"1.0000", b"0.9000"), (b"0.9000", b"0.8000"), (b"0.8000", b"1.0000")):
        edit(labels, old, new)
        assert cli("ingest", remembered, "--json").json["relabelled"] == 1
    assert cli("ingest", remembered, "--json").json["relabelled"] == 0


def test_a_recording_edited_in_place_with_its_mtime_put_back_is_another_source(cli: Cli, remembered: Path) -> None:
    edit(min(remembered.rglob("*.edf")), b"Startdate 01-JAN", b"Startdate 02-JAN")
    told = cli("ingest", remembered, "--workers", 1, "--json").json
    assert (told["new"], told["reused"]) == (1, N - 1)


@pytest.mark.slow
def test_an_object_that_vanished_is_built_again_although_its_record_is_remembered(
    cli: Cli, remembered: Path, tmp_path: Path
) -> None:
    shards = sorted((tmp_path / "store").glob("objects.zarr/*/*/c.0.0"))
    shutil.rmtree(shards[0].parent)
    os.truncate(shards[1], shards[1].stat().st_size - 1)
    (shards[2].parent / "zarr.json").unlink()
    told = cli("ingest", remembered, "--workers", 1, "--json").json
    assert (told["new"] + told["reused"], told["bytes_written"] > 0, told["failed"]) == (N, True, [])
    assert cli("check").code == 0


def test_a_record_edited_in_place_with_its_mtime_put_back_is_read_again(
    cli: Cli, remembered: Path, tmp_path: Path
) -> None:
    record = min((tmp_path / "store").glob("records/*/*.json"))
    edit(record, b'"content":"', b'"c0ntent":"')
    told = cli("ingest", remembered, "--workers", 1, "--json").json
    assert (told["new"], told["reused"]) == (1, N - 1)
    assert cli("check").code == 0


@pytest.mark.slow
def test_a_store_created_again_at_the_same_path_is_not_the_remembered_one(
    cli: Cli, remembered: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "store")
    told = cli("ingest", remembered, "--profile", "smoke", "--workers", 1, "--json").json
    assert (told["new"], told["reused"]) == (told["recordings"], 0)
    assert cli("ingest", remembered, "--profile", "smoke", "--json").json["new"] == 0


def test_rehash_distrusts_all_that_is_remembered(cli: Cli, remembered: Path, tmp_path: Path) -> None:
    file = table(tmp_path, "sources")
    true = json.loads(file.read_bytes())
    assert {Path(name).suffix for name in true} == {".edf", ".csv", ".csv_bi"} and len(true) == 3 * N
    file.write_text(json.dumps({name: [*entry[:-1], "0" * 64] for name, entry in true.items()}))
    lied_to = cli("ingest", remembered, "--dry-run", "--json").json
    assert (lied_to["new"], lied_to["bytes_read"]) == (1, 0)  # it was believed: all are one source, not yet stored
    records = table(tmp_path, "records")
    facts = json.loads(records.read_bytes())
    lies = {key: [*entry[:-1], ["0" * 64, *entry[-1][1:]]] for key, entry in facts.items()}
    records.write_text(json.dumps(lies))
    told = cli("ingest", remembered, "--rehash", "--json").json
    assert (told["reused"], told["relabelled"], told["new"], told["bytes_read"] > 0) == (N, 0, 0, True)
    assert (json.loads(file.read_bytes()), json.loads(records.read_bytes())) == (true, facts)


def test_what_nobody_can_have_remembered_of_a_record_is_read_anew(cli: Cli, remembered: Path, tmp_path: Path) -> None:
    store, file = Store.open(tmp_path / "store"), table(tmp_path, "records")
    facts = json.loads(file.read_bytes())
    name, (*stat, [content, shard_bytes, signal_us, synthetic]) = next(iter(facts.items()))
    made = Made(*name.split("-"))
    true = reuse(store, made)
    assert true is not None
    for fact in ([], None, [content], ["../..", 1, 1, True], [content, True, 1, True], [content, 1, 1.5, True], "x"):
        file.write_text(json.dumps({name: [*stat, fact]}))
        assert reuse(store, made, remembered=FileFacts(file, stat=os.lstat)) == true
    file.write_text(json.dumps({name: [*stat, [content, shard_bytes, signal_us + 1, synthetic]]}))
    believed = reuse(store, made, remembered=FileFacts(file, stat=os.lstat))
    assert believed is not None and believed.signal_us == true.signal_us + 1


def test_records_that_were_just_built_are_remembered_once_they_have_settled(remembered: Path, tmp_path: Path) -> None:
    store, old = Store.open(tmp_path / "store"), FileFacts(tmp_path / "facts.json", stat=os.lstat)
    *settled, fresh = (Made(record.source, record.recipe) for record in store.records())
    os.utime(store.layout.record(fresh.key))
    remember(store, [*settled, fresh, Made("0" * 64, fresh.recipe)], old)
    for each in (*settled, fresh):
        is_known = old.known(f"{each.source}-{each.recipe}", store.layout.record(each.key)) is not None
        assert is_known == (each is not fresh)


def test_losing_the_memory_costs_time_and_no_truth(cli: Cli, remembered: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "host-cache")
    told = cli("ingest", remembered, "--json").json
    assert (told["reused"], told["relabelled"], told["bytes_written"]) == (N, 0, 0)
    assert told["bytes_read"] == sum(edf.stat().st_size for edf in remembered.rglob("*.edf"))
