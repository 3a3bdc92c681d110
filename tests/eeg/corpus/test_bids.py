"""BIDS tables beside recordings: what channels.tsv says of channels."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainbrr.eeg.corpus.annotations import Annotations, read_annotations
from brainbrr.eeg.corpus.bids import ChannelTable, read_channels
from brainbrr.errors import AnnotationError

TABLE = "name\ttype\tunits\tstatus\nFp1\tEEG\tµV\tgood\nT4\tEEG\tµV\tbad\nEKG\tECG\tµV\tn/a\nO1\teeg\tV\tBAD\n"


def table(folder: Path, text: str = TABLE) -> Path:
    path = folder / "task-rest_channels.tsv"
    path.write_text(text)
    return path


def test_bad_channels_and_those_that_are_no_eeg_are_told_apart(tmp_path: Path) -> None:
    assert read_channels(table(tmp_path)) == ChannelTable(bad=("T4", "O1"), not_eeg=("EKG",))
    assert read_channels(table(tmp_path, "Name\tSTATUS\nFp1\tBad\n")) == ChannelTable(("Fp1",), ())
    assert read_channels(table(tmp_path, "name\nFp1\n")) == ChannelTable((), ())


def test_unusable_channels_are_kept_with_the_annotations_and_noted(tmp_path: Path) -> None:
    events = tmp_path / "a_events.tsv"
    events.write_text("onset\tduration\teventType\trecordingDuration\n0\t9\tbckg\t9\n")
    annotations = read_annotations({"events.tsv": events, "channels.tsv": table(tmp_path)})
    assert annotations.unusable == ("T4", "O1", "EKG")
    assert annotations.notes == ("channels.tsv: bad: T4, O1", "channels.tsv: not EEG: EKG")
    assert Annotations.from_json(annotations.to_json()) == annotations
    with pytest.raises(AnnotationError, match="no label file"):
        read_annotations({"channels.tsv": table(tmp_path)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("channel\tstatus\nFp1\tbad\n", "no column `name`"),
        ("name\tname\nFp1\tFp1\n", "a column twice"),
        ("name\tstatus\nFp1\n", "1 fields for 2 columns"),
        ("name\tstatus\nFp1\tbroken\n", "status 'broken'"),
        ("name\tstatus\nFp1\tbad\nFp1\tgood\n", "channel 'Fp1' occurs twice"),
        ("", "the label file is empty"),
    ],
)
def test_a_malformed_table_of_channels_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as error:
        read_channels(table(tmp_path, text))
    assert error.value.where and error.value.fix
