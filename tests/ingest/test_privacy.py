"""What an EDF's header says about a person: none of it leaves the file."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.support import TINY, Cli, Told
from helpers.works import InPlace

import brainbrr
from brainbrr.eeg.synthetic.corpus import write_corpus

NAME, RECORD_NUMBER, TECHNICIAN = "Krankheimer", "MRN-7731946", "Messdienerin"
DATES = ("17.11.03", "17:11:03", "2003-11-17", "17-NOV-2003", "03-APR-1951", "20031117", "09.41.27", "09:41:27")
WORDS = (NAME, RECORD_NUMBER, TECHNICIAN, *DATES)
STARTS_S = (1069058487, 1069058487 - 3600)
"""The start of the recordings in seconds since 1970, as UTC and as of Berlin."""


def name_a_person(edf: Path, *, date: str) -> None:
    """Write a patient, a technician and a date into the header of an EDF."""
    patient = f"{RECORD_NUMBER} F 03-APR-1951 {NAME}_Anna"
    recording = f"Startdate 17-NOV-2003 EEG-88 {TECHNICIAN} Nihon"
    head = bytearray(edf.read_bytes())
    head[8:88], head[88:168] = patient.encode().ljust(80), recording.encode().ljust(80)
    head[168:184] = date.encode().ljust(8) + b"09.41.27"
    edf.write_bytes(head)


def texts_of(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, and what they are when decompressed."""
    data = path.read_bytes()
    yield data
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as members:
            yield from (members.read(name) for name in members.namelist())
    for decompress in (gzip.decompress, zlib.decompress):
        try:
            yield decompress(data)
        except (OSError, EOFError, zlib.error):
            continue


@pytest.fixture
def edfs(tmp_path: Path) -> list[Path]:
    """A corpus whose headers name a person, one of them cut off in the signal."""
    write_corpus(tmp_path / "demo", n_recordings=6, seconds=(10, 12))
    edfs = sorted((tmp_path / "demo").rglob("*.edf"))
    for i, edf in enumerate(edfs):
        name_a_person(edf, date="17.11.03" if i % 3 else "17:11:03")  # some are not valid, which is noted
    edfs[0].write_bytes(edfs[0].read_bytes()[:900])  # refused, with a reason
    return edfs


def require_nothing(folder: Path, told: list[Told]) -> None:
    """Assert that neither the outputs of commands nor any file but the corpus's has one of the words."""
    words = [word.encode() for word in (*WORDS, *map(str, STARTS_S))]
    outputs = "".join(each.out + each.err for each in told).encode()
    assert [word for word in words if word in outputs] == []
    kept = [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(folder / "demo")]
    assert [(path, word) for path in kept for text in texts_of(path) for word in words if word in text] == []


def test_no_name_date_or_number_of_a_header_is_kept_anywhere(cli: Cli, edfs: list[Path], tmp_path: Path) -> None:
    corpus = tmp_path / "demo"
    told = [
        cli("ingest", corpus, "--workers", 1, "--accept", "refused", "--json"),
        cli("view", "--out", tmp_path / "view.json", "--index", tmp_path / "view.npz", "--json"),
        cli("why", edfs[0].relative_to(corpus), "--json"),
        cli("status", "--json"),
        cli("verify", "--json"),
    ]
    assert {each.code for each in told} <= {0, 3}
    assert list((tmp_path / "store" / "records").rglob("*.json")) and any((tmp_path / "host-cache").rglob("*"))
    require_nothing(tmp_path, told)


@pytest.mark.slow
def test_nor_in_runs_job_folders_predictions_exports_and_remotes(cli: Cli, edfs: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the cluster extra is not installed")
    run, config, events = tmp_path / "runs" / "first", tmp_path / "tiny.toml", tmp_path / "events"
    config.write_text(TINY.replace("steps = 4", "steps = 2"))
    brainbrr.ingest(tmp_path / "demo", store=tmp_path / "store", executor=InPlace(tmp_path / "jobs"), accept="refused")
    told = [
        cli("train", "--config", config, "--name", "first", "--stage", tmp_path / "scratch", "--json"),
        cli("evaluate", run, "--json"),
        cli("predict", run, edfs[1], "-o", events, "--probabilities", tmp_path / "p.safetensors", "--json"),
        cli("export", "--as", "bids", "--into", tmp_path / "bids", "--json"),
        cli("remote", "add", "there", tmp_path / "remote", "--private", "--json"),
        cli("push", "there", "--json"),
    ]
    assert {each.code for each in told} == {0}
    assert (run / "report.html").is_file()
    for folder in ("store", "jobs", "events", "bids", "remote", "scratch"):
        assert any((tmp_path / folder).rglob("*")), folder
    require_nothing(tmp_path, told)
