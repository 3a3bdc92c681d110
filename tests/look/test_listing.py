"""`ls` lists what catalogs, records and findings say; `--where` selects by each of its columns, everywhere."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
from pathlib import Path

import pytest
from helpers.support import Cli

import brainbrr
from brainbrr.errors import UsageError
from brainbrr.views.columns import COLUMNS, condition_text, parse_condition


def paths(told: object) -> set[str]:
    return {row["path"] for row in told.json["recordings"]}  # type: ignore[attr-defined]


def test_every_column_of_a_stored_recording_is_known(cli: Cli, stored_at: Path) -> None:
    rows = cli("ls", "--store", stored_at, "--json").json["recordings"]
    assert len(rows) == 18 and all(row.keys() == COLUMNS.keys() for row in rows)
    assert all(row["state"] == "stored" and row["reason"] is None for row in rows)
    assert {row["rate_hz"] for row in rows} >= {250, 256, 400} and {row["montage"] for row in rows} == {"REF", "LE"}
    for row in rows:
        assert 20 <= row["length_s"] <= 24 and row["quality"] is not None and row["bytes"] > 100_000
        assert row["since"].startswith("20") and len(row["key"]) == 32 and len(row["content"]) == 64


@pytest.mark.parametrize(
    ("condition", "keeps"),
    [
        ("seizures>0", lambda row: row["seizures"] > 0),
        ("seizures=0", lambda row: row["seizures"] == 0),
        ("seizures!=0", lambda row: row["seizures"] != 0),
        ("length_s<=22", lambda row: row["length_s"] <= 22),
        ("rate_hz>=400", lambda row: row["rate_hz"] >= 400),
        ("montage=L*", lambda row: row["montage"] == "LE"),
        ("split!=train", lambda row: row["split"] != "train"),
        ("absent=", lambda row: row["absent"] is None),
        ("absent!=", lambda row: row["absent"] is not None),
        ("since>=2000-01-01", lambda row: True),
        ("since<2000-01-01", lambda row: False),
    ],
)
def test_a_condition_keeps_the_rows_of_which_it_holds(stored_at: Path, condition: str, keeps: object) -> None:
    every = brainbrr.ls(stored_at).rows
    assert list(brainbrr.ls(stored_at, where=[condition]).rows) == [row for row in every if keeps(row)]  # type: ignore[operator]


def test_view_and_check_select_by_the_same_columns(cli: Cli, stored_at: Path) -> None:
    some = [row["path"] for row in brainbrr.ls(stored_at, where=["seizures>0", "rate_hz>=400"]).rows]
    view = brainbrr.view(stored_at, where=["seizures>0", "rate_hz>=400"])
    assert 0 < len(some) < 18 and sorted(r.path for r in view.recordings) == sorted(some)
    assert view.selection["where"] == ["seizures>0", "rate_hz>=400"]
    check = ["check", "--store", stored_at, "--require", "complete"]
    assert cli(*check, "--where", "seizures>0").code == 0
    assert "no recording is in this" in cli(*check, "--where", "seizures>99").err


def test_conditions_are_read_as_they_are_written() -> None:
    for text in ("split=eval", "seizures>0", "quality<=50", "patient!=x", "path=a=b"):
        assert condition_text(*parse_condition(text)) == text
    for text in ("seizures", "seizures==1", "seizures=>1", ">1"):
        with pytest.raises(UsageError):
            parse_condition(text)


def test_wrong_columns_and_values_are_refused(cli: Cli, stored_at: Path) -> None:
    assert "no such field" in cli("ls", "--store", stored_at, "--where", "age>3").err
    assert "is a number" in cli("ls", "--store", stored_at, "--where", "seizures>few").err
    assert "a value is missing" in cli("ls", "--store", stored_at, "--where", "seizures>").err
    assert "no column is called" in cli("ls", "--store", stored_at, "--columns", "age").err
    assert "no recording is in split" in cli("ls", "--store", stored_at, "--split", "test").err


def test_csv_is_the_table(cli: Cli, stored_at: Path, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    words = ("ls", "--store", stored_at, "--format", "csv", "--columns", "patient,seizures")
    assert cli(*words, "-o", file).code == 0
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [(row["patient"], int(row["seizures"])) for row in rows] == [
        (row["patient"], row["seizures"]) for row in brainbrr.ls(stored_at).rows
    ]


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_pyarrow_says_what_to_install(cli: Cli, stored_at: Path, tmp_path: Path) -> None:
    told = cli("ls", "--store", stored_at, "--format", "parquet", "-o", tmp_path / "t.parquet")
    assert told.code == 8 and "pip install pyarrow" in told.err


def test_refused_recordings_are_listed_with_their_reason(cli: Cli, corpus: Path) -> None:
    edf = sorted(corpus.glob("edf/eval/*/*/*/*.edf"))[0]
    edf.write_bytes(b"no EDF")
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code in (0, 1)
    assert cli("ingest", corpus, "--workers", 1).code == 1
    [row] = cli("ls", "--where", "state=refused", "--json").json["recordings"]
    assert row["path"].endswith(edf.name) and row["reason"] and row["bytes"] is None


def test_a_changed_file_says_what_changed(cli: Cli, corpus: Path) -> None:
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    first, second, third = (
        corpus / row["path"] for row in cli("ls", "--profile", "smoke", "--json").json["recordings"][:3]
    )
    data = bytearray(first.read_bytes())
    data[8:16] = b"somebody"  # the patient's name, which no recipe reads
    first.write_bytes(data)
    today = cli("why", first.name, "--json").json["today"]
    assert (today["state"], today["header"], today["samples"], today["labels"]) == ("changed", {}, "same", "same")
    assert today["stored_key"] and today["key"] != today["stored_key"] and today["since"].startswith("20")
    data = bytearray(second.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8] = bytes(8)
    second.write_bytes(data)
    labels = second.with_suffix(".csv_bi")
    labels.write_text(labels.read_text() + "\n")
    today = cli("why", second.name, "--json").json["today"]
    assert (today["samples"], today["labels"]) == ("changed", "changed")
    assert "now changed" in cli("why", second.name).out
    third.unlink()
    assert cli("why", third.name, "--json").json["today"]["state"] == "gone"
    os.rename(corpus, corpus.parent / "elsewhere")
    assert cli("why", third.name, "--json").json["today"]["state"] == "out of reach"
