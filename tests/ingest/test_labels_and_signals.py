"""Labels against the signal they belong to, and a laboratory's own words, through `ingest` and the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers.support import Cli

from brainbrr.eeg.corpus.tree import locate, scan

CASES = "cases"


def tables(corpus: Path) -> list[Path]:
    return [each.labels[".csv_bi"] for each in scan(locate(corpus))]


def declare(table: Path, seconds: float | None, *rows: str) -> None:
    """Change the length that a csv_bi declares, and its rows."""
    text = table.read_text()
    if seconds is not None:
        text = re.sub(r"# duration = \S+ secs", f"# duration = {seconds:.4f} secs", text)
    if rows:
        text = text[: text.index("confidence\n") + len("confidence\n")] + "".join(f"{row}\n" for row in rows)
    table.write_text(text)


@pytest.mark.slow
def test_labels_longer_than_their_signal_are_refused_until_they_are_accepted(cli: Cli, corpus: Path) -> None:
    first, second, *others = tables(corpus)
    declare(first, 711, "TERM,0.0000,711.0000,bckg,1.0000")
    declare(second, None, "TERM,30.0000,40.0000,seiz,1.0000")
    planned = cli("ingest", corpus, "--dry-run", "--json").json
    assert (planned["lengths_differ"], planned["failed"].__len__()) == (2, 2)
    assert 680 < planned["largest_difference_s"] < 700
    shown = cli("ingest", corpus, "--dry-run")
    assert re.search(r"labels\s+of 2 recordings differ in length from the signal, at most 6\d\d\S* s longer", shown.out)
    told = cli("ingest", corpus, "--workers", 1, "--json")
    assert told.code == 1 and told.json["new"] == len(others)
    reasons = {each["recording"]: each["reason"] for each in told.json["failed"]}
    assert sorted(reasons) == sorted(f"edf{str(each).split('/edf')[1][:-7]}.edf" for each in (first, second))
    assert any("the labels cover 711 s, the signal 2" in reason for reason in reasons.values())
    assert any("seiz from 30 s to 40 s is not in the signal" in reason for reason in reasons.values())
    assert all("--accept label-length" in each["fix"] for each in told.json["failed"])
    accepted = cli("ingest", corpus, "--workers", 1, "--accept", "label-length", "--json")
    assert accepted.code == 0 and accepted.json["new"] == 2
    assert sum("accepted" in note for notes in accepted.json["notes"].values() for note in notes) == 2
    assert "711 s, the signal" in str(accepted.json["notes"])
    again = cli("ingest", corpus, "--workers", 1, "--json")  # what was accepted stays so, like a truncated file
    assert (again.code, again.json["reused"]) == (0, len(others) + 2)
    assert again.json["notes"] == accepted.json["notes"]  # the catalog keeps them


@pytest.mark.slow
def test_truncated_implies_label_length(cli: Cli, corpus: Path) -> None:
    declare(tables(corpus)[0], 711)
    assert cli("ingest", corpus, "--workers", 1, "--accept", "truncated", "--json").code == 0


@pytest.mark.slow
def test_labels_that_a_later_edit_makes_too_long_are_refused_outside_the_profile_too(cli: Cli, corpus: Path) -> None:
    assert cli("ingest", corpus, "--workers", 1).code == 0
    declare(tables(corpus)[-1], 100)
    told = cli("ingest", corpus, "--workers", 1, "--profile", "smoke", "--json").json
    full = cli("view", "--corpus", corpus.name, "--json")
    assert full.code == 3 and "the labels cover 100 s" in str(full.json["missing"]), told


@pytest.mark.slow
@pytest.mark.usefixtures("at_rest")
def test_labels_shorter_than_their_signal_leave_the_rest_unlabelled_and_say_so(cli: Cli, corpus: Path) -> None:
    declare(tables(corpus)[0], 5, "TERM,0.0000,5.0000,bckg,1.0000")
    told = cli("ingest", corpus, "--workers", 1, "--json")
    assert told.code == 0
    assert sum("s at the end are unlabelled" in note for notes in told.json["notes"].values() for note in notes) == 1
    assert cli("ingest", corpus, "--dry-run", "--json").json["largest_difference_s"] < -5
    assert 15 / 3600 < cli("view", "--corpus", corpus.name, "--json").json["hours_unlabelled"] < 20 / 3600
    assert "neither seizure nor background" in cli("view", "--corpus", corpus.name).out


@pytest.mark.slow
def test_a_laboratory_s_own_words_are_read_with_its_map_which_is_kept(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    declare(tables(corpus)[0], None, "TERM,1.0000,3.0000,ied,1.0000", "TERM,5.0000,6.0000,spike,1.0000")
    told = cli("ingest", corpus, "--workers", 1, "--json")
    assert told.code == 1 and "'ied' is not a label of TUSZ" in told.json["failed"][0]["reason"]
    assert "--label-map" in told.json["failed"][0]["fix"]
    file = tmp_path / "map.toml"
    file.write_text('ied = "unknown"\nspike = "background"\n')
    told = cli("ingest", corpus, "--workers", 1, "--label-map", file, "--json")
    assert told.code == 0, told.err
    assert "2 s of ied are not background" in str(told.json["notes"])
    assert cli("ingest", corpus, "--workers", 1, "--json").json["relabelled"] == 0
    assert cli("view", "--corpus", corpus.name, "--json").json["stale"] == []
    file.write_text('ied = "seizure"\nspike = "background"\n')
    changed = cli("ingest", corpus, "--workers", 1, "--label-map", file, "--json").json
    assert changed["relabelled"] == changed["recordings"]
    file.write_text('ied = "maybe"\n')
    assert cli("ingest", corpus, "--label-map", file).code == 2


# The cases of the field, where their folder is


@pytest.mark.parametrize(
    ("case", "n_refused", "reason"),
    [
        ("zero-length-seizure/corpus", 1, "a seizure of no length"),
        ("zero-length-seizure/bids", 1, "a seizure of no length"),
        ("label-duration-mismatch/corpus", 1, "the labels cover 711 s, the signal 20 s"),
    ],
)
def test_cases_that_are_refused(cli: Cli, data: Path, case: str, n_refused: int, reason: str) -> None:
    folder = data.parent / CASES / case
    if not folder.is_dir():
        pytest.skip(f"no cases at {data.parent / CASES}")
    told = cli("ingest", folder, "--workers", 1, "--json")
    assert told.code == 1 and len(told.json["failed"]) == n_refused
    assert all(reason in each["reason"] for each in told.json["failed"])


def test_the_case_of_an_impedance_check_is_not_background(cli: Cli, data: Path, tmp_path: Path) -> None:
    import brainbrr

    folder = data.parent / CASES / "impedance-check-is-background/bids"
    if not folder.is_dir():
        pytest.skip(f"no cases at {data.parent / CASES}")
    assert cli("ingest", folder, "--workers", 1).code == 0
    view = brainbrr.view(tmp_path / "store", window=brainbrr.WindowSpec(30, stride_s=30))
    window = view[0]
    assert (window.label[10 * 256 : 20 * 256] == 255).all() and not window.valid[10 * 256 : 20 * 256].any()
    assert (window.label[: 10 * 256] == 0).all() and (window.label[20 * 256 :] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("reference", ["recorded", "bipolar"])
def test_the_case_of_channels_that_a_view_does_not_have(cli: Cli, data: Path, tmp_path: Path, reference: str) -> None:
    import brainbrr

    folder = data.parent / CASES / "per-channel-nowhere/corpus"
    if not folder.is_dir():
        pytest.skip(f"no cases at {data.parent / CASES}")
    assert cli("ingest", folder, "--workers", 1).code == 0
    window = brainbrr.WindowSpec(30, stride_s=30, reference=reference)
    view = brainbrr.view(tmp_path / "store", window=window)
    with brainbrr.loader(view, batch=3, labels="per-channel", shuffle="none", epochs=1, as_numpy=True) as batches:
        batch = next(iter(batches))
        label = batch.label[batch.index.argsort(), :, 10 * 256 : 20 * 256].copy()
    both = reference == "recorded"
    said = cli("view", "--json")
    assert said.json["event_channels_not_shown"] == ["XX-YY"]
    expected = {
        "aaaaaaaa": {"T3"} if both else set(),
        "aaaaaaab": set(),
        "aaaaaaac": {"Fp1", "F7"} if both else {"Fp1-F7"},
    }
    for recording, rows in zip(view.recordings, label, strict=True):
        marked = {name for name, samples in zip(view.channels, rows, strict=True) if (samples == 1).all()}
        assert marked == expected[recording.patient]
        assert (rows[[name not in marked for name in view.channels]] == (0 if marked else 255)).all()
