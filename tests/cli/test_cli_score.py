"""`score` through the command line: two formats, two layouts, and every pair that is none refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import ROOT, Cli

CSV_BI = """# version = csv_v1.0.0
# duration = {duration:.4f} secs
#
channel,start_time,stop_time,label,confidence
"""


def csv_bi(file: Path, *events: tuple[float, float], duration: float = 3600.0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"TERM,{start:.4f},{stop:.4f},seiz,1.0000\n" for start, stop in events)
    file.write_text(CSV_BI.format(duration=duration) + rows)
    return file


def bids(file: Path, *events: tuple[float, float], duration: str = "3600.0") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{a}\t{b - a}\tsz\t{duration}\n" for a, b in events] or [f"0\t3600\tbckg\t{duration}\n"]
    file.write_text("onset\tduration\teventType\trecordingDuration\n" + "".join(rows))
    return file


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """A TUSZ tree and a flat folder of BIDS tables: two patients, one seizure of two found, one false alarm."""
    reference, hypothesis = tmp_path / "ref", tmp_path / "hyp"
    csv_bi(reference / "a" / "s001" / "a_s001_t000.csv_bi", (100, 150))
    csv_bi(reference / "a" / "s001" / "a_s001_t001.csv_bi")
    csv_bi(reference / "b" / "s001" / "b_s001_t000.csv_bi", (500, 530))
    bids(hypothesis / "a_s001_t000_events.tsv", (120, 140))
    bids(hypothesis / "a_s001_t001_events.tsv", (1000, 1020))
    bids(hypothesis / "b_s001_t000_events.tsv")
    return reference, hypothesis


def test_trees_of_two_formats_are_matched_by_name_and_scored(cli: Cli, trees: tuple[Path, Path]) -> None:
    told = cli("score", *trees, "--json")
    assert told.code == 0, told.err
    found = told.json["metrics"]
    assert (found["hours"], found["seizures"], found["recordings"], found["patients"]) == (3.0, 2, 3, 2)
    assert found["sensitivity"] == 0.5 and found["event_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["nedc"]["ovlp"]["sensitivity"] == 0.5
    assert found["nedc"]["ovlp"]["false_alarms_per_day"] == pytest.approx(8.0)
    assert found["nedc"]["taes"]["sensitivity"] == pytest.approx(0.2)
    assert found["latency_s"] == 20.0
    assert "2 patients, 1000 resamples" in found["intervals_by"]
    assert "timescoring" in told.json["scorer"] and "recordings" not in told.json


def test_what_was_counted_in_each_recording_is_told_when_asked(cli: Cli, trees: tuple[Path, Path]) -> None:
    told = cli("score", *trees, "--per-recording", "--resamples", 200, "--json").json
    assert [(each["recording"], each["patient"]) for each in told["recordings"]] == [
        ("a_s001_t000", "a"),
        ("a_s001_t001", "a"),
        ("b_s001_t000", "b"),
    ]
    assert told["recordings"][1]["scores"]["nedc_ovlp"] == {"hits": 0, "false": 1, "reference": 0}
    shown = cli("score", *trees, "--per-recording").out.splitlines()
    assert sum(line.startswith(("a_", "b_")) for line in shown) == 3
    assert any(line.startswith("NEDC OVLP\tsensitivity\t0.500") for line in shown)


def test_two_files_are_a_pair_whatever_they_are_called(cli: Cli, tmp_path: Path) -> None:
    reference = csv_bi(tmp_path / "truth.csv_bi", (100, 150))
    for hypothesis in (bids(tmp_path / "mine.tsv", (90, 160)), bids(tmp_path / "my_events.tsv", (90, 160))):
        assert cli("score", reference, hypothesis, "--json").json["metrics"]["event_f1"] == 1.0


def test_a_table_without_rows_is_a_hypothesis_of_no_event_and_no_reference(cli: Cli, trees: tuple[Path, Path]) -> None:
    reference, hypothesis = trees
    for table in (hypothesis / "a_s001_t001_events.tsv", hypothesis / "b_s001_t000_events.tsv"):
        table.write_text("onset\tduration\teventType\n")
    found = cli("score", *trees, "--json").json["metrics"]
    assert (found["sensitivity"], found["nedc"]["ovlp"]["false_alarms_per_day"]) == (0.5, 0)
    told = cli("score", hypothesis, reference)
    assert told.code == 1 and "no rows, and nothing that says how much time was looked at" in told.err


@pytest.mark.parametrize("side", [0, 1])
def test_a_seizure_of_no_length_is_refused_on_both_sides(cli: Cli, trees: tuple[Path, Path], side: int) -> None:
    file = (trees[0] / "a/s001/a_s001_t001.csv_bi", trees[1] / "b_s001_t000_events.tsv")[side]
    (csv_bi if side == 0 else bids)(file, (10, 10))
    told = cli("score", *trees)
    assert told.code == 1 and "a seizure of no length" in told.err and file.name in told.err


def test_files_without_a_partner_are_named(cli: Cli, trees: tuple[Path, Path]) -> None:
    reference, hypothesis = trees
    (hypothesis / "b_s001_t000_events.tsv").rename(hypothesis / "c_s001_t000_events.tsv")
    told = cli("score", reference, hypothesis, "--json")
    assert told.code == 2 and "b_s001_t000" in told.json["what"] and told.json["where"] == str(reference)
    csv_bi(hypothesis / "b_s001_t000.csv_bi")
    told = cli("score", reference, hypothesis, "--json")
    assert told.code == 2 and "c_s001_t000" in told.json["what"] and told.json["where"] == str(hypothesis)


def test_equal_names_in_two_folders_are_told_apart_by_their_paths(cli: Cli, tmp_path: Path) -> None:
    for place in ("one", "two"):
        csv_bi(tmp_path / "ref" / place / "x.csv_bi", (100, 150))
        csv_bi(tmp_path / "hyp" / place / "x.csv_bi", (100, 150))
    assert cli("score", tmp_path / "ref", tmp_path / "hyp", "--json").json["metrics"]["recordings"] == 2
    (tmp_path / "hyp" / "two").rename(tmp_path / "hyp" / "three")
    told = cli("score", tmp_path / "ref", tmp_path / "hyp", "--json")
    assert told.code == 2 and "two/x" in told.json["what"]


def test_the_length_of_a_recording_is_known_and_agreed_on(cli: Cli, tmp_path: Path) -> None:
    reference = csv_bi(tmp_path / "ref.csv_bi", (100, 150))
    told = cli("score", reference, csv_bi(tmp_path / "short.csv_bi", (1, 2), duration=60), "--json")
    assert (told.code, told.json["error"]) == (1, "AnnotationError") and "60 s" in told.json["what"]
    nameless = bids(tmp_path / "x.tsv", (100, 150), duration="n/a")
    assert cli("score", reference, nameless).code == 0  # the reference says it
    told = cli("score", nameless, nameless, "--json")
    assert told.code == 1 and "how long" in told.json["what"]
    late = csv_bi(tmp_path / "late.csv_bi", (3590, 3700))
    told = cli("score", reference, late, "--json")
    assert told.code == 1 and "3700 s" in told.json["what"]
    ages = csv_bi(tmp_path / "ages.csv_bi", (1, 2), duration=9e8)  # scorers would take gigabytes
    told = cli("score", ages, ages, "--json")
    assert told.code == 1 and "more than a year is not scored" in told.json["what"]


def test_what_is_no_pair_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    file = csv_bi(tmp_path / "ref" / "x.csv_bi")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.edf").write_text("")
    for hypothesis in (tmp_path, tmp_path / "nowhere", tmp_path / "x.edf"):
        assert cli("score", file, hypothesis).code == 2
    assert cli("score", tmp_path / "ref", tmp_path / "empty").code == 2


def test_nedcs_tables_come_out_of_the_command(cli: Cli, data: Path) -> None:
    folder = data / "scores" / "nedc_v6.0.0"
    found = cli("score", folder / "ref", folder / "hyp", "--json").json["metrics"]["nedc"]
    printed = {"ovlp": ("77.4436", "7.4550"), "epoch": ("84.4816", "17286.3368"), "taes": ("7.9017", "104.1959")}
    for name, texts in printed.items():
        assert (f"{100 * found[name]['sensitivity']:.4f}", f"{found[name]['false_alarms_per_day']:.4f}") == texts


@pytest.mark.slow
def test_scoring_needs_no_torch(trees: tuple[Path, Path]) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['brainbrr', 'score', *sys.argv[1:]];"
        "from brainbrr.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, trees)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "event F1" in done.stdout


def test_time_that_the_reference_calls_unknown_is_left_out_of_hours_and_false_alarms(cli: Cli, tmp_path: Path) -> None:
    head = "onset\tduration\teventType\trecordingDuration\n"
    reference, hypothesis = tmp_path / "ref_events.tsv", tmp_path / "hyp_events.tsv"
    reference.write_text(head + "100\t20\tsz_foc_ia\t3600\n1800\t1800\timpd\t3600\n")
    hypothesis.write_text(head + "105\t20\tsz\t3600\n2000\t60\tsz\t3600\n")
    found = cli("score", reference, hypothesis, "--per-recording", "--json").json
    assert (found["metrics"]["hours"], found["metrics"]["hours_unknown"]) == (0.5, 0.5)
    assert found["metrics"]["micro"]["false_alarms_per_day"] == 0
    [recording] = found["recordings"]
    assert (recording["duration_s"], recording["known_s"]) == (3600, 1800)
    reference.write_text(head + "0\t3600\timpd\t3600\n")
    told = cli("score", reference, hypothesis)
    assert told.code == 2 and "of no time" in told.err


def test_a_part_of_the_reference_is_scored_with_subset(cli: Cli, tmp_path: Path) -> None:
    head = "onset\tduration\teventType\trecordingDuration\n"
    for folder, names in (("ref", ("a", "b", "c")), ("hyp", ("b",)), ("odd", ("b", "d"))):
        for name in names:
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{name}_events.tsv").write_text(head + "100\t20\tsz\t3600\n")
    told = cli("score", tmp_path / "ref", tmp_path / "hyp")
    assert told.code == 2 and "--subset" in told.err
    found = cli("score", tmp_path / "ref", tmp_path / "hyp", "--subset", "--json").json
    assert (found["left_out"], found["metrics"]["recordings"]) == (2, 1)
    assert (
        "left out: 2 recordings that only the reference has"
        in cli("score", tmp_path / "ref", tmp_path / "hyp", "--subset").err
    )
    assert cli("score", tmp_path / "ref", tmp_path / "odd", "--subset").code == 2  # a detection of nothing known
