"""What an EDF's header says about a person: none of it leaves the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.edf_bytes import File, noise
from helpers.support import Cli

from brainbrr.eeg.signal.montage import TEN_TWENTY

PATIENT = b"MRN778899 F 02-MAY-1951 Mustername_Erika"
RECORDING = b"Startdate X EMG561 TECH_Hansen Telemetry03"
SECRETS = (b"MRN778899", b"02-MAY", b"Erika", b"EMG561", b"Hansen", b"Telemetry")


@pytest.mark.slow
def test_names_numbers_and_technicians_of_a_header_are_written_nowhere(cli: Cli, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    data = bytearray(File([noise(name, seconds=20, seed=seed) for seed, name in enumerate(TEN_TWENTY)]).bytes())
    data[8:88], data[88:168] = PATIENT.ljust(80), RECORDING.ljust(80)
    (corpus / "a.edf").write_bytes(data)
    shown = [
        cli(*words, *form)
        for words in (("ingest", corpus, "--labels", "none", "--workers", 1), ("view",), ("why", "a"), ("status",))
        for form in ((), ("--json",))
    ]
    assert [told.code for told in shown] == [0] * len(shown)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != corpus]
    assert {"records", "catalog", "findings"} <= {folder.name for path in written for folder in path.parents}
    texts = [*(path.read_bytes() for path in written), *(f"{told.out}{told.err}".encode() for told in shown)]
    assert not [secret for text in texts for secret in SECRETS if secret in text]


NAME, RECORD_NUMBER, TECHNICIAN = "Krankheimer", "MRN-7731946", "Messdienerin"
DATES = ("17.11.03", "17:11:03", "2003-11-17", "17-NOV-2003", "03-APR-1951", "20031117", "09.41.27", "09:41:27")
WORDS = (NAME, RECORD_NUMBER, TECHNICIAN, *DATES)


def name_a_person(edf: Path, *, date: str) -> None:
    """Write a patient, a technician and a date into the header of an EDF."""
    patient = f"{RECORD_NUMBER} F 03-APR-1951 {NAME}_Anna"
    recording = f"Startdate 17-NOV-2003 EEG-88 {TECHNICIAN} Nihon"
    head = bytearray(edf.read_bytes())
    head[8:88], head[88:168] = patient.encode().ljust(80), recording.encode().ljust(80)
    head[168:184] = date.encode().ljust(8) + b"09.41.27"
    edf.write_bytes(head)


@pytest.mark.slow
def test_no_name_date_or_number_of_a_header_is_kept_anywhere(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    edfs = sorted(corpus.rglob("*.edf"))
    for i, edf in enumerate(edfs):
        name_a_person(edf, date="17.11.03" if i % 3 else "17:11:03")  # some are not valid, which is noted
    edfs[-1].write_bytes(edfs[-1].read_bytes()[:900])  # refused, with a reason
    texts = []
    for words in (
        ("ingest", corpus, "--workers", 1, "--accept", "refused", "--json"),
        ("view", "--out", tmp_path / "view.json", "--index", tmp_path / "view.npz", "--json"),
        ("why", edfs[0].relative_to(corpus), "--json"),
        ("status", "--json"),
        ("verify", "--json"),
    ):
        told = cli(*words)
        assert told.code in (0, 3), told.err
        texts.append(told.out + told.err)
    assert list((tmp_path / "store" / "records").rglob("*.json"))
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(corpus)]
    assert any("host-cache" in path.parts for path in kept)
    for word in WORDS:
        assert not any(word in text for text in texts), word
        assert [path for path in kept if word.encode() in path.read_bytes()] == [], word
