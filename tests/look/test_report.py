"""`report` writes one page that loads nothing, escapes what files say, and shows a run's events."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import browsing
from helpers.support import TINY, Cli

import brainbrr
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.look.snippets import Evaluated, Event, chosen, events_of, extremes, snippets
from brainbrr.views.page import Number, Section, facts, page, table, text
from brainbrr.views.traces import Trace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(stored_at: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a view, and that of a run that was trained for two steps and scored."""
    folder = tmp_path_factory.mktemp("pages")
    made = {name: folder / f"{name}.html" for name in ("view", "run")}
    brainbrr.report(brainbrr.view(stored_at), made["view"])
    (folder / "tiny.toml").write_text(TINY)
    trained = brainbrr.train(
        config=folder / "tiny.toml", changes=["train.steps=2"], store=stored_at, runs=folder, name="first", dev=None
    )
    brainbrr.evaluate(trained.run, store=stored_at, runs=folder)
    brainbrr.report("first", made["run"], store=stored_at, runs=folder)
    return made


def data_of(file: Path) -> dict[str, Any]:
    [found] = re.findall(r'<script type="application/json" id="events-data">(.*?)</script>', file.read_text())
    return dict(json.loads(found))


def test_a_view_is_described_by_the_numbers_of_its_commands(cli: Cli, stored_at: Path, tmp_path: Path) -> None:
    told = cli("report", "--store", stored_at, "--split", "eval", "-o", tmp_path / "a.html", "--json").json
    assert (told["kind"], told["events"]) == ("view", 0) and "Leakage" in told["sections"]
    assert told["bytes"] == (tmp_path / "a.html").stat().st_size
    said = (tmp_path / "a.html").read_text()
    fields = cli("view", "--store", stored_at, "--split", "eval", "--json").json
    rows = cli("ls", "--store", stored_at, "--split", "eval", "--json").json["recordings"]
    assert fields["digest"] in said and f"{fields['seizures']} seizures" in said and "SYNTHETIC" in said
    for row in rows:
        assert row["patient"] in said
    assert f"{fields['windows'] * 19 * 15360 * 4 / 1e6:.1f} MB" in said
    assert "No patient, no EDF and no signal is in two splits" in said and "every recording of the profile" in said


def test_a_view_that_lacks_recordings_says_which(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    assert cli("ingest", corpus, "--profile", "smoke", "--workers", 1).code == 0
    assert cli("report", "-o", tmp_path / "a.html").code == 0
    said = (tmp_path / "a.html").read_text()
    missing = cli("view", "--json").json["missing"]
    assert len(missing) == 12 and all(each["recording"] in said for each in missing)
    assert "brainbrr ingest" in said


def test_a_page_is_no_more_readable_than_its_store(stored_at: Path, pages: dict[str, Path]) -> None:
    for file in pages.values():
        assert file.stat().st_mode & 0o077 & ~stored_at.stat().st_mode == 0


def test_every_event_of_a_run_has_its_traces_and_scores(pages: dict[str, Path], stored_at: Path) -> None:
    found = json.loads((pages["run"].parent / "first" / "evaluation-eval.json").read_text())
    events = data_of(pages["run"])["events"]
    assert len(events) == len(events_of(found["recordings"])) > 0
    row = brainbrr.ls(stored_at, where=[f"path={events[0]['recording']}"]).rows[0]
    for each in events:
        n = (each["to"] - each["from"]) / each["moment"]
        values = np.frombuffer(b64decode(each["traces"]), dtype=np.int8).reshape(len(each["rows"]), -1)
        assert abs(values.shape[1] / 2 - n) <= 1 and np.abs(values).max() > 20
        assert all(0 <= score <= 1 for score in each["scores"]) and len(each["scores"]) >= 4 * (
            each["to"] - each["from"]
        )
        assert each["from"] <= each["span"][0] and each["to"] <= max(row["length_s"], 24)
        assert (each["kind"] == "false alarm") != bool(_near(each["reference"], each["span"]))


def _near(spans: list[list[float]], span: list[float]) -> list[list[float]]:
    return [each for each in spans if each[0] < span[1] and each[1] > span[0]]


def test_kinds_of_events_share_the_room_over_all_recordings() -> None:
    found = [
        {"recording": f"{i}.edf", "patient": "a", "seizures": [[1, 2], [8, 9]], "events": [[1.5, 3], [5, 6]]}
        for i in range(20)
    ]
    events = events_of(found)
    assert [each.kind for each in events[:3]] == ["found", "false alarm", "missed"]
    some = chosen(events, 9)
    assert len(some) == 9 and {each.kind for each in some} == {"found", "missed", "false alarm"}
    assert {"0.edf", "19.edf"} <= {each.recording for each in some if each.kind == "missed"}
    rare = [Event("missed", "a", "a", 0, 1), *(Event("found", "b", "b", i, i + 1) for i in range(50))]
    assert len(chosen(rare, 10)) == 10 and chosen(rare, 10)[0].kind == "missed" and chosen(rare, 0) == []


def test_scores_are_where_their_rate_puts_them() -> None:
    """At 250 Hz a step has 62 samples, so the scores of the fourth hour are a minute and a half from a quarter's."""
    start = 3 * 3600.0
    score = np.arange(4 * 3600 * 250 // 62, dtype=np.float32)
    said = {"duration_s": 4 * 3600.0, "seizures": [[start, start + 5]], "events": []}
    recipe = Recipe(name="half", rate_hz=250)
    evaluated = Evaluated(None, "demo", recipe, {}, {"a.edf": score}, {"a.edf": said})
    [found] = snippets(evaluated, [Event("missed", "a.edf", "a", start, start + 5)])
    assert found["step"] == 62 / 250 and found["first_score"] == found["scores"][0] * found["step"]
    assert found["first_score"] <= found["from"] < found["first_score"] + found["step"]


def test_what_files_say_is_text_and_no_script() -> None:
    evil = '</script><img src=x onerror=alert(1)>"\udc80'
    made = page(
        evil, [Section(evil, facts([(evil, evil)])), Section("t", table((evil,), [(evil,), (Number(evil),), evil])),
               Section("p", text(evil))], note=evil, warning=evil, data={"a": json.dumps(evil)}, scripts=["let a = 1"],
    ).decode()  # fmt: skip
    assert "<img" not in made and made.count("</script>") == 2
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='\"", made)


def test_what_cannot_be_reported_is_an_error(cli: Cli, stored_at: Path, pages: dict[str, Path], tmp_path: Path) -> None:
    runs = pages["run"].parent
    words = ("report", "first", "--store", stored_at, "--runs", runs, "-o", tmp_path / "a.html")
    assert "evaluated on eval" in cli(*words, "--split", "dev").err
    assert "its own recordings" in cli(*words, "--where", "patient=a").err
    assert "is a recipe" in cli("report", "default", "--store", stored_at, "-o", tmp_path / "a.html").err
    copy = Path(shutil.copytree(runs / "first", tmp_path / "copy"))
    (copy / "evaluation-eval.json").write_text('{"metrics": {}}')
    with pytest.raises(IntegrityError, match="not what evaluate saved"):
        brainbrr.report(copy, tmp_path / "a.html", store=stored_at)
    (copy / "evaluation-eval.json").unlink()
    assert brainbrr.report(copy, tmp_path / "a.html", store=stored_at).sections[0] == "Scores"
    with pytest.raises(UsageError):
        brainbrr.report("nothing", tmp_path / "a.html", store=stored_at, runs=runs)


@pytest.mark.parametrize("name", ["view", "run"])
def test_a_page_is_whole_in_a_browser(pages: dict[str, Path], name: str) -> None:
    if reason := browsing.missing():
        pytest.skip(reason)
    with browsing.browser() as opened:
        for width, scheme in ((420, "dark"), (1280, "light")):
            assert browsing.examine(opened, pages[name], width=width, scheme=scheme) == []


def test_the_browser_sees_what_is_wrong(tmp_path: Path) -> None:
    if reason := browsing.missing():
        pytest.skip(reason)
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<p style='width:900px'>wide</p><p style='color:#ccc'>pale</p><script>no()</script><img src=http://127.0.0.1:9/a>"
    )
    with browsing.browser() as opened:
        found = " ".join(browsing.examine(opened, bad, width=420, scheme="light"))
    for said in ("the page is", "contrast", "error: no is not defined", "loads http://127.0.0.1:9/a"):
        assert said in found, found


def test_where_there_is_no_signal_no_line_is_drawn() -> None:
    samples = np.array([0, 10, -10, 0, np.nan, np.nan, np.nan, 5, 5, 5, 5, 20], dtype=np.float64)
    drawn = extremes(Trace("Fp1", samples, 4.0, "", False, 0), 20.0, 4).reshape(-1, 2)
    assert (drawn[1] == -128).all() and (drawn[[0, 2]] > -128).all()
    assert drawn[0, 0] > 0 > drawn[0, 1] and drawn[2, 1] == drawn.max()
    assert (extremes(Trace("Cz", np.zeros(8), 4.0, "absent", True, 2), 20.0, 4) == -128).all()
