"""Exported files: the stored samples again, in EDF+ and in a BIDS tree that other tools and we can read."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import edfio
import numpy as np
import pytest
from helpers.support import Cli

import brainbrr
from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.errors import UsageError
from brainbrr.share.export import export
from brainbrr.store.store import Store
from brainbrr.views.view import View


@pytest.fixture
def view(stored_at: Path) -> View:
    return brainbrr.view(stored_at, profile="smoke")


def test_an_exported_edf_holds_the_stored_samples(view: View, tmp_path: Path) -> None:
    report = export(view, tmp_path / "out")
    assert (report.recordings, report.written, report.unchanged) == (6, 6, 0)
    for recording in view.recordings:
        array = recording.record.array
        with view.store.reader(recording.content, array) as reader:
            stored = reader.read(0, array.n_samples)
        found = edfio.read_edf(tmp_path / "out" / recording.path)
        present = [i for i, name in enumerate(array.channels) if name not in array.absent]
        assert [signal.label for signal in found.signals] == [f"EEG {array.channels[i]}" for i in present]
        for signal, i in zip(found.signals, present, strict=True):
            assert signal.sampling_frequency == array.rate_hz and signal.physical_dimension == "uV"
            microvolts = stored[i] * (float(array.quantum_uv) * 2 ** array.k[i])
            np.testing.assert_allclose(signal.data[: array.n_samples], microvolts, rtol=0, atol=1e-9)
        events = [(note.onset, note.text) for note in found.annotations if not note.text.startswith("BAD")]
        assert events == [(start, label) for start, _, label in recording.events_between(0, recording.end_us)]


def test_what_was_exported_and_ingested_again_is_the_same_within_a_quantum(view: View, tmp_path: Path) -> None:
    export(view, tmp_path / "out")
    recipe = brainbrr.Recipe(name="as-is", bandpass_hz=False, notch_hz=False)
    for recording in view.recordings:
        array = recording.record.array
        with view.store.reader(recording.content, array) as reader:
            stored = reader.read(0, array.n_samples)
        again = preprocess(tmp_path / "out" / recording.path, recipe)
        samples = np.concatenate(list(again.blocks()), axis=1)[:, : array.n_samples]
        scale = float(array.quantum_uv) * 2.0 ** np.array(array.k)[:, None]
        both = [i for i, name in enumerate(array.channels) if name not in array.absent]
        assert set(again.absent) == set(array.absent)
        difference = np.abs(samples * (float(recipe.quantum_uv) * 2.0 ** np.array(again.k)[:, None]) - stored * scale)
        assert (difference[both] <= scale[both]).all()


def test_a_bids_derivative_names_its_source_and_reads_with_its_labels(view: View, tmp_path: Path) -> None:
    folder = tmp_path / "derivatives"
    export(view, folder, kind="bids")
    described = json.loads((folder / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative" and described["GeneratedBy"][0]["Name"] == "brainbrr"
    sidecars = [json.loads(file.read_text()) for file in sorted(folder.glob("sub-*/eeg/*_eeg.json"))]
    assert {each["brainbrr"]["source"] for each in sidecars} == {r.source for r in view.recordings}
    tables = [
        list(csv.DictReader(file.read_text().splitlines(), delimiter="\t"))
        for file in folder.glob("sub-*/eeg/*_events.tsv")
    ]
    assert sum(row["eventType"] == "sz" for table in tables for row in table) == sum(
        len(r.events_between(0, r.end_us)) for r in view.recordings
    )
    brainbrr.ingest(folder, store=tmp_path / "again", workers=1)
    again = brainbrr.view(tmp_path / "again", corpus="derivatives")
    assert again.state == "ready" and len(again.recordings) == 6
    assert sorted(len(r.seizures) for r in again.recordings) == sorted(len(r.seizures) for r in view.recordings)


def test_a_second_export_writes_nothing_and_another_file_is_never_replaced(view: View, tmp_path: Path) -> None:
    export(view, tmp_path / "out")
    again = export(view, tmp_path / "out")
    assert (again.written, again.unchanged) == (0, 6)
    path = tmp_path / "out" / view.recordings[0].path
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="another file is here already"):
        export(view, tmp_path / "out")
    assert path.read_bytes() == b"mine"


def test_exported_files_are_no_more_readable_than_the_store(cli: Cli, stored: Store, tmp_path: Path) -> None:
    told = cli("export", "--store", stored.location, "--profile", "smoke", "--into", tmp_path / "out", "--json")
    assert told.code == 0 and told.json["written"] == 6
    mode = stored.location.stat().st_mode & 0o044
    files = list((tmp_path / "out").rglob("*.edf"))
    assert files and all(os.stat(path).st_mode & 0o044 & ~mode == 0 for path in files)


def test_a_gap_is_zeros_under_a_note_that_other_tools_leave_out(tmp_path: Path) -> None:
    gaps = pytest.importorskip("loading.test_gaps")
    brainbrr.ingest(gaps.write_corpus(tmp_path / "gapped"), store=tmp_path / "store", workers=1)
    view = brainbrr.view(tmp_path / "store")
    export(view, tmp_path / "out")
    [recording] = [each for each in view.recordings if each.record.array.gaps]
    found = edfio.read_edf(tmp_path / "out" / recording.path)
    notes = [(note.onset, note.duration) for note in found.annotations if note.text == "BAD_ACQ_SKIP"]
    assert notes == [(12, 8), (30, 40)]
    assert not any(signal.data[12 * 256 : 20 * 256].any() for signal in found.signals)
