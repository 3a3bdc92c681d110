"""Tables and bars where a terminal is narrow: what is needed stays whole."""

from __future__ import annotations

import io
import sys

import pytest

from brainbrr.cli.output import BarProgress, Output

NAME = "20260101-120000-smoke-1a2b3c"
NOTE = "edf/train/aaaaaaaa/s001_2010/01_tcp_ar/aaaaaaaa_s001_t000.edf"


class Terminal(io.StringIO):
    """What is printed, kept."""

    def isatty(self) -> bool:
        return True


def narrow(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make a terminal of 80 columns of standard output and error."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_a_runs_name_is_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = narrow(monkeypatch)
    columns = ("run", *"abcdef")
    Output(as_json=False).table(columns, [(NAME, *["not comparable: another view"] * 6)], whole=("run",))
    out = terminal.getvalue()
    assert NAME in out and "…" not in out


def test_a_bars_count_and_time_come_before_its_note(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch)
    bar = BarProgress(str)
    bar.start("line length of train", 120, "recordings")
    bar.advance(7, note=NOTE)
    with bar._console.capture() as drawn:
        bar._console.print(bar._bar.get_renderable())
    bar.stop()
    assert "7/120" in drawn.get() and "recordings" in drawn.get() and "-:--:--" in drawn.get()
