"""Tables and bars show names as they are: none of them is markup, a format, a row or a line of its own."""

from __future__ import annotations

import sys

import pytest

from brainbrr.cli.output import BarProgress, Output

NAMES = ("a{b}.edf", "n[/red]t.edf", "n[red]t.edf", ":smile:.edf")


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
    assert capsys.readouterr().out == "recording\tlength\na?b?c?[2J?\t1 s\n"
