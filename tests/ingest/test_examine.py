"""Findings on their way: written by `ingest`, used by `view --min-quality`, told by `why`, proven by `verify`."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.support import Cli

import brainbrr
from brainbrr.eeg.edf.reader import EdfFile
from brainbrr.eeg.quality import detector
from brainbrr.errors import UsageError
from brainbrr.store.store import Store
from brainbrr.views.view import View


@pytest.fixture
def location(tmp_path: Path) -> Path:
    return tmp_path / "store"


def spoil(edf: Path) -> None:
    """Make half of an EDF's channels flat, in place."""
    with EdfFile(edf) as opened:
        header = opened.header
    records = np.memmap(edf, "<i2", "r+", offset=header.n_bytes, shape=(header.n_records, header.record_samples))
    for signal in header.signals[::2]:
        records[:, signal.start : signal.start + signal.samples_per_record] = 7
    records.flush()


@pytest.fixture
def bad(corpus: Path) -> str:
    """The path in the catalog of a recording of the corpus that has become bad."""
    edf = sorted(corpus.rglob("*.edf"))[0]
    spoil(edf)
    return edf.relative_to(corpus).as_posix()


def files(store: Path, *folders: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for each in folders for path in (store / each).rglob("*") if path.is_file()}


@pytest.mark.slow
def test_ingest_writes_findings_once_and_an_unchanged_tree_is_not_read_again(
    cli: Cli, corpus: Path, location: Path, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("ingest", corpus, "--workers", 1)
    store = Store.open(location)
    scores = {key: (store.findings(key, detector.QUALITY_VERSION) or {})["score"] for key in store.keys()}  # noqa: SIM118
    assert len(scores) == 18 and sorted(scores.values())[0] < 70 and sorted(scores.values())[1] > 90
    monkeypatch.setattr(detector, "examine", lambda *_, **__: pytest.fail("examined again"))
    assert cli("ingest", corpus, "--workers", 1, "--json").json["bytes_written"] == 0


@pytest.mark.slow
def test_workers_write_the_same_findings(cli: Cli, corpus: Path, location: Path, bad: str) -> None:
    cli("ingest", corpus, "--workers", 1)
    alone = {path.name: data for path, data in files(location, "findings").items()}
    shutil.rmtree(location)
    cli("ingest", corpus, "--workers", 2)
    assert {path.name: data for path, data in files(location, "findings").items()} == alone


@pytest.mark.slow
def test_a_new_detector_writes_new_files_and_changes_no_identity(
    cli: Cli, corpus: Path, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    digest = cli("view", "--profile", "smoke", "--min-quality", 0, "--json").json["digest"]
    before = files(location, "records", "objects.zarr", "findings")
    monkeypatch.setattr(detector, "QUALITY_VERSION", 4)
    waiting = cli("view", "--profile", "smoke", "--min-quality", 0, "--json")
    assert (waiting.code, waiting.json["state"], len(waiting.json["missing"])) == (3, "incomplete", 6)
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json").json
    assert (told["new"], told["reused"], told["failed"]) == (0, 6, [])
    after = files(location, "records", "objects.zarr", "findings")
    assert before.items() <= after.items()
    new = after.keys() - before.keys()
    assert len(new) == 6 and {path.name[32:] for path in new} == {"-4.json"}
    assert told["bytes_written"] == sum(path.stat().st_size for path in new)
    assert cli("view", "--profile", "smoke", "--min-quality", 0, "--json").json["digest"] == digest
    assert cli("verify").code == 0


@pytest.mark.slow
def test_a_view_leaves_out_what_scores_less_and_names_it(cli: Cli, corpus: Path, bad: str, tmp_path: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    everything = cli("view", "--json").json
    assert everything["left_out"] == [] and everything["findings"] is None and everything["selection"] == {}
    told = cli("view", "--min-quality", 80, "--json")
    assert (told.code, told.json["state"], told.json["selection"]) == (0, "ready", {"min_quality": 80})
    [left_out] = told.json["left_out"]
    assert (left_out["recording"], left_out["split"]) == (bad, bad.split("/")[1]) and left_out["score"] < 80
    assert (told.json["ready"], told.json["recordings"]) == (17, 18)
    flat = [each["name"] for each in cli("why", bad, "--json").json["quality"]["findings"]].count("flat")
    assert told.json["findings"]["flat"] == {"recordings": 1, "channels": flat} and flat > 8
    exclude = tmp_path / "exclude.txt"
    exclude.write_text(bad)
    excluded = cli("view", "--exclude", exclude, "--json").json
    assert told.json["digest"] == excluded["digest"] != everything["digest"]
    text = cli("view", "--min-quality", 80).out
    assert f"1 of a quality below 80: {Path(bad).name} ({left_out['score']})" in text
    assert "min_quality 80" in text and f"flat\t1\t{flat}" in text


@pytest.mark.slow
def test_a_frozen_view_remembers_what_it_left_out(corpus: Path, location: Path, bad: str) -> None:
    brainbrr.ingest(corpus, store=location)
    view = brainbrr.view(location, min_quality=80)
    assert [each.recording for each in view.left_out] == [bad]
    frozen = view.to_json()
    again = View.from_json(Store.open(location), frozen)
    assert (again.left_out, again.selection, again.digest) == (view.left_out, {"min_quality": 80}, view.digest)
    del frozen["left_out"]  # a view that an older version froze
    assert View.from_json(Store.open(location), frozen).left_out == ()


@pytest.mark.slow
def test_a_quality_that_nothing_has_or_can_have_is_refused(cli: Cli, corpus: Path, location: Path) -> None:
    for edf in corpus.rglob("*.edf"):
        spoil(edf)
    cli("ingest", corpus, "--workers", 1)
    told = cli("view", "--min-quality", 90)
    assert told.code == 2 and "no recording has a quality of 90" in told.err
    assert cli("view", "--min-quality", 101).code == 2
    with pytest.raises(UsageError, match="from 0 to 100"):
        brainbrr.view(location, min_quality=-1)


def mend(cli: Cli, told: dict[str, Any]) -> list[str]:
    words = shlex.split(told["mend"])
    assert words[:2] == ["brainbrr", "ingest"]
    assert cli(*words[1:], "--workers", 1).code == 0
    return words


@pytest.mark.slow
def test_recordings_without_findings_make_the_view_incomplete_until_ingest(
    cli: Cli, corpus: Path, location: Path
) -> None:
    cli("ingest", corpus, "--workers", 1)
    before = files(location, "findings")
    shutil.rmtree(location / "findings")
    assert cli("view").code == 0  # who does not ask for a quality needs none
    told = cli("view", "--min-quality", 0, "--json")
    assert (told.code, told.json["state"], told.json["ready"]) == (3, "incomplete", 0)
    assert {each["reason"] for each in told.json["missing"]} == {"not examined: it has no findings of version 3"}
    mend(cli, told.json)
    assert cli("view", "--min-quality", 0).code == 0
    assert files(location, "findings") == before


@pytest.mark.slow
def test_damaged_findings_are_reported_by_view_verify_and_why_and_repaired_by_the_command_shown(
    cli: Cli, corpus: Path, location: Path
) -> None:
    cli("ingest", corpus, "--workers", 1)
    good = files(location, "findings")
    file = sorted(good)[3]
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-2])
    told = cli("view", "--min-quality", 0, "--json")
    assert (told.code, told.json["state"], told.json["ready"]) == (3, "incomplete", 17)
    assert cli("verify", "--json").json["corrupt"][0]["findings"] == file.stem
    assert "findings are damaged" in cli("why", file.stem[:32]).out
    assert "--rehash" in mend(cli, told.json)
    assert cli("verify").code == 0 and files(location, "findings") == good


@pytest.mark.slow
def test_a_recording_that_is_out_of_reach_or_changed_is_not_examined_and_said_so(
    cli: Cli, corpus: Path, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("ingest", corpus, "--workers", 1)
    shutil.rmtree(location / "findings")
    real = detector.examine

    def changing(path: Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        if path == victim:  # after it was hashed; a change after it was read would not matter
            path.write_bytes(path.read_bytes()[:-1] + b"\x01")
        return real(path, *arguments, **options)

    victim = sorted(corpus.rglob("*.edf"))[0].resolve()
    monkeypatch.setattr(detector, "examine", changing)
    told = cli("ingest", corpus, "--workers", 1, "--json")
    notes = [note for notes in told.json["notes"].values() for note in notes if "not examined" in note]
    assert notes == ["not examined: the file changed while it was read"]
    assert len(files(location, "findings")) == 17


@pytest.mark.slow
def test_a_store_that_cannot_be_written_is_an_error_not_an_unexamined_recording(
    cli: Cli, corpus: Path, location: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("ingest", corpus, "--workers", 1)
    shutil.rmtree(location / "findings")
    (location / "findings").write_text("in the way")
    told = cli("ingest", corpus, "--workers", 1)
    assert told.code == 1 and str(location / "findings") in told.err


@pytest.mark.slow
def test_a_truncated_file_that_was_accepted_is_examined_too(cli: Cli, corpus: Path, location: Path) -> None:
    edf = sorted(corpus.rglob("*.edf"))[0]
    edf.write_bytes(edf.read_bytes()[:-10])
    cli("ingest", corpus, "--workers", 1, "--accept", "truncated")
    told = cli("why", edf.stem, "--json").json
    assert [each["name"] for each in told["quality"]["findings"]].count("header") == 1
    shutil.rmtree(location / "findings")
    cli("ingest", corpus, "--workers", 1)
    assert cli("why", edf.stem, "--json").json["quality"] == told["quality"]


@pytest.mark.slow
def test_why_shows_what_a_score_is_made_of(cli: Cli, corpus: Path, bad: str, location: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    told = cli("why", bad, "--json").json
    assert told["quality"]["score"] < 80
    text = cli("why", bad).out
    assert f"quality\t{told['quality']['score']} of 100, by detector version 3" in text
    assert "flat\tFp1, " in text and "\t100 %\tpeak_to_peak_steps 0" in text
    assert cli("why", bad, "--set", "notch_hz=50", "--json").json["quality"] is None
    shutil.rmtree(location / "findings")
    assert "not examined: `brainbrr ingest ROOT` examines it" in cli("why", bad).out


@pytest.mark.slow
def test_the_worst_quality_and_its_reason_are_shown_by_ingest_and_view(
    cli: Cli, corpus: Path, bad: str, location: Path
) -> None:
    told = cli("ingest", corpus, "--workers", 1, "--json").json["worst_quality"]
    assert told["recording"] == bad and told["score"] < 80 and told["reason"].startswith("flat in 9 of 17 channels: ")
    shown = f"quality\t{told['score']} of 100 or more; {Path(bad).name}: {told['reason']}\n"
    assert shown in cli("ingest", corpus, "--workers", 1).out
    shutil.rmtree(location / "findings")
    (location / "findings").mkdir()  # the catalog has it
    assert cli("view", "--json").json["worst_quality"] == told and shown in cli("view").out
    assert cli("view", "--split", "train", "--json").json["worst_quality"]["score"] > 90
    assert cli("ingest", corpus, "--workers", 1, "--dry-run", "--json").json["worst_quality"] == told
