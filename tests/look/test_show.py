"""`show` draws what is stored, marks what is odd, and says what it drew; what it looks like is looked at by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.support import Cli

import brainbrr
from brainbrr.eeg.signal.recipe import PRESETS
from brainbrr.errors import UsageError
from brainbrr.look.show import seconds_of_clock
from brainbrr.views.strips import window_of
from brainbrr.views.traces import Trace, clock, fitting_scale, hemisphere, spectrum

pytest.importorskip("matplotlib")


def recording_with(store: Path, *where: str) -> str:
    return str(brainbrr.ls(store, where=list(where)).rows[0]["path"])


def test_a_seizure_is_shown_with_what_is_before_it(cli: Cli, stored_at: Path, tmp_path: Path) -> None:
    name = recording_with(stored_at, "seizures>0", "absent!=")
    told = cli("show", name, "--store", stored_at, "--seconds", "12", "-o", tmp_path / "a.png", "--json").json
    onset = min(start for start, _, _ in told["events"])
    assert told["at_s"] == pytest.approx(max(0, min(onset - 5, told["at_s"])), abs=1e-6) and told["at_s"] <= onset
    assert told["states"]["Fz-Cz"] == "interpolated Fz" and len(told["rows"]) == 18
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert cli("show", name, "--store", stored_at, "-o", tmp_path / "a.gif").code == 2


def test_the_edf_is_drawn_beside_it_in_its_own_samples(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    name = cli("ls", "--profile", "smoke", "--json").json["recordings"][0]["path"]
    shown = brainbrr.show(name, store=tmp_path / "store", at=3, seconds=8, source=True)
    raw, stored, spectra = shown.figure.axes
    assert raw.get_title() == "" and [t.get_text() for t in raw.get_yticklabels()] == list(shown.rows)
    ours = next(line for line in stored.lines if len(line.get_ydata()) == 8 * 256)
    theirs = next(line for line in raw.lines if len(line.get_ydata()) > 1000)
    times = 3.5 + np.arange(7 * 64) / 64
    waves = [np.interp(times, line.get_xdata(), line.get_ydata()) for line in (ours, theirs)]
    drift = np.ones(64) / 64  # which the recipe takes away
    a, b = (wave - np.convolve(wave, drift, "same") for wave in waves)
    assert np.corrcoef(a[64:-64], b[64:-64])[0, 1] > 0.9
    assert spectra.get_xscale() == "log"
    for file in corpus.rglob(Path(name).name):
        file.unlink()
    assert "out of reach" in cli("show", name, "--source", "-o", tmp_path / "b.png").err


def test_a_window_of_a_view_is_drawn_in_its_own_units(stored_at: Path) -> None:
    view = brainbrr.view(stored_at, profile="smoke", window=brainbrr.WindowSpec(8, tail="pad", normalise="none"))
    last = max(i for i in range(len(view)) if not view[i].valid.all())
    texts = [text.get_text() for text in view.plot(last).axes[0].texts]
    assert "padding" in texts and any("µV" in text for text in texts)
    robust = brainbrr.view(stored_at, profile="smoke", window=brainbrr.WindowSpec(8, normalise="robust"))
    assert any("robust SD" in text.get_text() for text in robust.plot(0).axes[0].texts)


def test_what_cannot_be_shown_is_said(cli: Cli, stored_at: Path, tmp_path: Path) -> None:
    name = recording_with(stored_at)
    for words, said in {
        ("--at", "9:59:00"): "is not in the recording",
        ("--at", "noon"): "a time such as",
        ("--recipe", "upstream"): "not stored",
        ("--corpus", "demo", "--where", "split=none"): "no recording is called",
    }.items():
        told = cli("show", name, "--store", stored_at, "-o", tmp_path / "a.png", *words)
        assert told.code == 2 and said in told.err, told.err


def test_times_are_read_and_written_as_clocks() -> None:
    assert [seconds_of_clock(text) for text in ("90", "50:00", "1:02:03.5")] == [90, 3000, 3723.5]
    assert [clock(seconds) for seconds in (0, 3000, 3723.5)] == ["0:00:00", "0:50:00", "1:02:03.5"]
    for text in ("1:60", "-1", "1:2:3:4", ""):
        with pytest.raises(UsageError):
            seconds_of_clock(text)


def test_rows_are_coloured_by_hemisphere_and_scaled_to_fit() -> None:
    assert hemisphere("F7-T3") == hemisphere("O1") != hemisphere("F8-T4") == hemisphere("O2") != hemisphere("Fz-Cz")
    x = np.random.default_rng(0).standard_normal(2560)
    assert fitting_scale([Trace("Fp1", 40 * x, 256)]) > fitting_scale([Trace("Fp1", 10 * x, 256)])
    assert fitting_scale([Trace("Fp1", np.zeros(10), 256)]) == 50
    hz, db = spectrum(Trace("Fp1", np.sin(2 * np.pi * 10 * np.arange(2560) / 256) + 1e-3 * x, 256))
    assert hz[db.argmax()] == 10


def test_montages_fit_what_a_recipe_stores() -> None:
    assert window_of(PRESETS["default"], None).reference == "bipolar"
    assert (
        window_of(PRESETS["chb-mit"], None).reference
        == window_of(PRESETS["chb-mit"], "bipolar").reference
        == "recorded"
    )
    with pytest.raises(UsageError):
        window_of(PRESETS["chb-mit"], "average")
