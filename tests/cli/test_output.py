"""Tables and bars where a terminal is narrow, and names, which are shown as they are."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
import pytest

from brainbrr.cli import output
from brainbrr.cli.output import BarProgress, LineProgress, Output, per_second
from brainbrr.cli.runs import table
from brainbrr.errors import Fix
from brainbrr.learn.compare import RunLine, RunsReport

NAME = "20260101-120000-smoke-1a2b3c"
NAMES = ("a{b}.edf", "n[/red]t.edf", "n[red]t.edf", ":smile:.edf")
NOTE = "edf/train/aaaaaaaa/s001_2010/01_tcp_ar/aaaaaaaa_s001_t000.edf"


class Terminal(io.StringIO):
    """What is printed, kept."""

    def isatty(self) -> bool:
        return True


def narrow(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> Terminal:
    """Make a terminal of so many columns of standard output and error."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


@pytest.mark.slow
def test_a_runs_name_is_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = narrow(monkeypatch)
    columns = ("run", *"abcdef")
    Output(as_json=False).table(columns, [(NAME, *["not comparable: another view"] * 6)], whole=("run",))
    out = terminal.getvalue()
    assert NAME in out and "…" not in out


def test_a_bars_count_and_time_come_before_its_note(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch)
    bar = BarProgress()
    bar.start("line length of train", 120, "recordings")
    bar.advance(7, note=NOTE)
    with bar._console.capture() as drawn:
        bar._console.print(bar._bar.get_renderable())
    bar.stop()
    assert "7/120" in drawn.get() and "recordings" in drawn.get() and "-:--:--" in drawn.get()


@pytest.mark.parametrize("name", NAMES)
def test_a_bar_shows_a_name_as_it_is(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    bar = BarProgress()
    bar.start(f"read {name}", 2, "recordings")
    bar.advance(1, note=f"at {name}")
    bar.stop()
    shown = capsys.readouterr().err
    assert f"read {name}" in shown and f"at {name}" in shown


def test_a_table_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Output(as_json=False).table(("recording",), [(name,) for name in NAMES])
    assert [line.strip() for line in capsys.readouterr().out.splitlines()][1:] == list(NAMES)


def test_a_name_is_one_cell_of_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).table(("recording", "length"), [("a\nb\tc\x1b[2J\udce9", "1 s")])
    assert capsys.readouterr().out == "recording\tlength\na\\nb\\tc\\x1b[2J\\udce9\t1 s\n"


def test_a_long_value_is_wrapped_below_its_beginning_and_a_command_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = narrow(monkeypatch)
    words, command = " ".join(["word"] * 30), ("ingest", "x" * 90)
    Output(as_json=False, store="s").pairs([("name", words), ("fix", Fix("do ", command))])
    first, second, *rest = terminal.getvalue().splitlines()
    assert len(second) <= 80 and second.startswith("        word") and first.count("word") > 10
    assert rest[-1].endswith(f"do `brainbrr ingest --store s {'x' * 90}`")


def test_progress_in_a_log_says_how_many_of_how_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("brainbrr.cli.output._EVERY_S", 0)
    for unit, total, expected in (
        ("files", 1200, "reading: 3 of 1,200 files, "),
        ("B", 2000, "reading: 3 B of 2.0 kB, "),
    ):
        lines = LineProgress()
        lines.start("reading", total, unit)
        lines.advance(3)
        assert capsys.readouterr().err.startswith(expected)


def test_progress_in_a_log_is_a_line_every_ten_seconds_and_counts_from_what_was_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("brainbrr.cli.output.time.monotonic", lambda: float(next(clock)))
    lines = LineProgress()
    lines.start("train", 100, "steps", done=50)
    for _ in range(25):
        lines.advance(note="loss 0.1")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "train: 60 of 100 steps, 1/s, 40.0 s left loss 0.1"
    assert second == "train: 70 of 100 steps, 1/s, 30.0 s left loss 0.1"


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_runs_are_cards_where_their_table_is_too_wide(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"eval": {"event_f1": 0.5, "auroc": 0.75, "scorer": "timescoring", "step_scorer": "steps"}}
    lines = [
        RunLine(Path(f"{NAME}{i}"), "smoke", "demo", "smoke", "a" * 64, "default", "b" * 64, True, 50, 60, False, loss,
                (), scores, {}, {"train.lr": 0.001, "train.steps": 60}, ("another view",))
        for i, loss in enumerate((0.25, 12.5))
    ]  # fmt: skip
    terminal = narrow(monkeypatch, columns)
    table(Output(as_json=False), RunsReport(Path("runs"), lines[0].run, tuple(lines), ()))
    out = click.unstyle(terminal.getvalue()).splitlines()
    assert max(map(len, out)) <= columns and len(out) <= 30
    if columns < 160:
        assert sum(line.startswith("  steps") for line in out) == 2 and f"{NAME}1" in out
    else:
        [low], [high] = ([line for line in out if loss in line] for loss in (" 0.2500", "12.5000"))
        assert low.index("0.2500") == high.index("12.5000") + 1


@pytest.mark.parametrize(("rate", "shown"), [(12.34, "12.3/s"), (1.0, "1/s"), (0.25, "4 s/step"), (0.0, "0/s")])
def test_a_rate_below_one_a_second_is_shown_as_seconds_of_each(rate: float, shown: str) -> None:
    assert per_second(rate, "steps") == shown


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    assert output.base_names(["a/x.edf", "b/y.edf"]) == "x.edf, y.edf"
    assert output.base_names(["p/a/x.edf", "p/b/x.edf"]) == "a/x.edf, b/x.edf"
    assert output.base_names([f"{i}/x.edf" for i in range(5)]) == "0/x.edf, 1/x.edf, 2/x.edf and 2 more"
