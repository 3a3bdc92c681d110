"""What an EDF's header says about a person: none of it leaves the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.support import Cli

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
