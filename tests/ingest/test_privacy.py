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
