"""Running ingest again is the recovery from anything; a view never claims what it cannot know."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.support import Cli

import brainbrr
from brainbrr.core.statcache import Host
from brainbrr.errors import ViewNotReadyError


def first_shard(store: Path) -> Path:
    return sorted(store.glob("objects.zarr/*/*/c.0.0"))[0]


def edit(labels: Path) -> None:
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join([*lines[:-1], lines[-1].replace("1.0000", "0.9000")]) + "\n")


def run_mend(cli: Cli, told: str, *extra: str) -> int:
    words = told.split()
    assert words[:2] == ["brainbrr", "ingest"]
    return cli(*words[1:], *extra).code


def test_recordings_that_cannot_be_read_at_all_are_failures_not_nothing(cli: Cli, corpus: Path) -> None:
    for edf in list(corpus.rglob("*.edf")):
        edf.unlink()
        edf.symlink_to("gone.edf")
    told = cli("ingest", corpus, "--json")
    assert told.code == 1 and len(told.json["failed"]) == 18
    assert cli("view", "--json").json["recordings"] == 18


@pytest.mark.slow
def test_rehash_rebuilds_a_damaged_object_and_keeps_the_damaged_one(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    shard = first_shard(tmp_path / "store")
    shard.chmod(0o644)
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    assert cli("verify").code == 4
    told = cli("ingest", corpus, "--profile", "smoke", "--rehash", "--workers", 1, "--json")
    assert (told.code, told.json["reused"]) == (0, 5)
    assert cli("verify").code == 0
    assert len(list((tmp_path / "store" / "quarantine").iterdir())) == 1


@pytest.mark.slow
def test_an_unlabelled_corpus_stays_unlabelled_and_its_mend_says_so(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    for labels in (*corpus.rglob("*.csv"), *corpus.rglob("*.csv_bi")):
        labels.unlink()
    cli("ingest", corpus, "--labels", "none", "--workers", 1)
    shutil.rmtree(first_shard(tmp_path / "store").parent)
    mend = cli("view", "--json").json["mend"]
    assert mend.endswith("--labels none")
    assert run_mend(cli, mend, "--workers", "1") == 0
    assert cli("view").code == 0
    assert cli("ingest", corpus, "--workers", 1).code == 0  # without the flag: it was declared once
    assert cli("view").code == 0


@pytest.mark.slow
def test_mend_names_the_recipe_file_and_works(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "modern.toml"
    recipe.write_text("notch_hz = false\n")
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    mend = cli("view", "--profile", "smoke", "--recipe", recipe, "--json").json["mend"]
    assert run_mend(cli, mend, "--workers", "1") == 0
    assert cli("view", "--profile", "smoke", "--recipe", recipe).code == 0


@pytest.mark.slow
def test_an_empty_mount_point_is_out_of_reach_not_an_error(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    shutil.rmtree(corpus)
    corpus.mkdir()
    told = cli("view", "--json")
    assert (told.code, told.json["state"], told.json["root"]) == (0, "ready", None)


@pytest.mark.slow
def test_one_unreadable_file_is_stale_not_an_error(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    edf = next(corpus.rglob("*.edf"))
    edf.unlink()
    edf.symlink_to("gone.edf")
    told = cli("view", "--json")
    assert (told.code, told.json["state"], len(told.json["stale"])) == (3, "stale", 1)


@pytest.mark.slow
def test_a_recording_that_another_process_added_meanwhile_is_kept(corpus: Path, tmp_path: Path) -> None:
    store, host = tmp_path / "store", tmp_path / "host"
    late = sorted((corpus / "edf" / "train").rglob("*.edf"))[0]
    aside = tmp_path / "aside"
    aside.mkdir()
    for file in late.parent.glob(f"{late.stem}.*"):
        file.rename(aside / file.name)
    brainbrr.ingest(corpus, store=store, workers=1)

    class AddsMeanwhile:
        """Progress of a slow ingest, during which another process finds and stores the late file."""

        done = False

        def start(self, task: str, total: int | None, unit: str) -> None:
            if task == "hashing" and not self.done:
                self.done = True
                for file in aside.iterdir():
                    file.rename(late.parent / file.name)
                brainbrr.ingest(corpus, store=store, workers=1)

        def advance(self, n: int = 1, *, note: str = "") -> None: ...

        def say(self, text: str) -> None: ...

        def stop(self) -> None: ...

    from brainbrr.ingest.ingest import ingest
    from brainbrr.ingest.options import IngestOptions
    from brainbrr.store.store import Store

    ingest(IngestOptions(root=corpus, store=store, workers=1, host=Host(host)), progress=AddsMeanwhile())
    catalog = Store.open(store).catalog("demo")
    assert catalog is not None and len(catalog.rows) == 18


@pytest.mark.slow
def test_an_accepted_label_refusal_ends_when_the_label_is_mended(cli: Cli, corpus: Path) -> None:
    labels = sorted(corpus.rglob("*.csv_bi"))[0]
    good = labels.read_text()
    labels.write_text("nonsense\n")
    cli("ingest", corpus, "--accept", "refused", "--workers", 1)
    assert len(cli("view", "--json").json["omitted"]) == 1
    labels.write_text(good)
    assert cli("view", "--json").json["state"] == "stale"
    cli("ingest", corpus, "--workers", 1)
    told = cli("view", "--json")
    assert (told.code, told.json["omitted"], told.json["ready"]) == (0, [], 18)


@pytest.mark.slow
def test_a_root_behind_a_link_is_hashed_once(cli: Cli, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = corpus.parent / "linked" / "demo"
    link.parent.mkdir()
    link.symlink_to(corpus)
    time.sleep(max(0.0, 2.1 - (time.time() - max(p.stat().st_ctime for p in corpus.rglob("*.edf")))))
    cli("ingest", link, "--workers", 1)
    monkeypatch.setattr("brainbrr.core.statcache.source_digest", lambda _: pytest.fail("hashed again"))
    assert cli("view").code == 0
    assert cli("ingest", corpus, "--workers", 1).code == 0


@pytest.mark.slow
def test_python_does_not_train_on_a_stale_view(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "host"))
    brainbrr.ingest(corpus, store=tmp_path / "store")
    labels = next(p for p in corpus.rglob("*.csv_bi"))
    edit(labels)
    view = brainbrr.view(tmp_path / "store")
    assert view.state == "stale" and view.digest is not None
    with pytest.raises(ViewNotReadyError, match="stale"):
        brainbrr.train(view, runs=tmp_path / "runs", adopt_view=True)


@pytest.mark.slow
def test_a_dry_run_foresees_refusals_duplicates_and_acceptances(cli: Cli, corpus: Path) -> None:
    edfs = sorted((corpus / "edf" / "train").rglob("*.edf"))
    edfs[0].write_bytes(edfs[0].read_bytes()[:1000])
    for suffix in (".edf", ".csv", ".csv_bi"):
        shutil.copy(edfs[1].with_suffix(suffix), edfs[1].with_name(f"{edfs[1].stem[:-1]}9{suffix}"))
    counts = ("recordings", "new", "reused", "relabelled")
    foreseen = cli("ingest", corpus, "--dry-run", "--json")
    done = cli("ingest", corpus, "--workers", 1, "--json")
    assert [foreseen.json[c] for c in counts] == [19, 18, 0, 0]  # what was never read is not known to be a copy
    assert [done.json[c] for c in counts] == [19, 17, 1, 0]
    assert len(foreseen.json["failed"]) == len(done.json["failed"]) == 1
    assert (foreseen.code, done.code) == (1, 1)
    cli("ingest", corpus, "--accept", "refused", "--workers", 1)
    assert cli("ingest", corpus, "--dry-run").code == 0


@pytest.mark.slow
def test_labels_that_change_outside_the_profile_are_reported(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    for labels in corpus.rglob("*.csv_bi"):
        edit(labels)
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json").json
    assert (told["relabelled"], told["relabelled_elsewhere"], told["reused"]) == (6, 12, 0)


@pytest.mark.slow
def test_time_in_no_window_is_said(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    config = corpus.parent / "t.toml"
    config.write_text(
        'name = "t"\nprofile = "smoke"\n[window]\nlength_s = "15"\nstride_s = "15"\n'
        "[train]\nsteps = 1\nbatch = 1\nlr = 1\n"
    )
    told = cli("view", "--profile", "smoke", "--config", config, "--json").json
    assert 6 * 5 / 3600 <= told["hours_dropped"] <= 6 * 9.1 / 3600


@pytest.mark.slow
def test_a_cache_folder_that_cannot_be_written_costs_time_only(
    cli: Cli, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    assert told.code == 0 and "remembers nothing" in told.err
    assert cli("view", "--profile", "smoke").code == 0


@pytest.mark.slow
def test_workers_end_when_their_driver_is_killed(corpus: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "BRAINBRR_STORE": str(tmp_path / "store"), "XDG_CACHE_HOME": str(tmp_path / "host")}
    edf = sorted(corpus.rglob("*.edf"))[3]
    command = [sys.executable, "-m", "brainbrr", "ingest", str(corpus), "--workers", "2", "--json"]
    running = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").glob("records/*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    while (left := members_of(running.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"{left} outlived their driver, {edf}"


def members_of(session: int) -> list[int]:
    """Return the living processes of a session (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[3]) == session:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.slow
def test_a_selection_that_holds_nothing_is_a_usage_error(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    told = cli("view", "--where", "patient=nobody", "--json")
    assert told.code == 2 and json.loads(told.out)["fix"]


@pytest.mark.slow
@pytest.mark.usefixtures("at_rest")
def test_plan_agrees_with_ingest_on_an_unlabelled_corpus_and_a_damaged_record(
    cli: Cli, corpus: Path, tmp_path: Path
) -> None:
    for labels in (*corpus.rglob("*.csv"), *corpus.rglob("*.csv_bi")):
        labels.unlink()
    cli("ingest", corpus, "--labels", "none", "--workers", 1)
    record = sorted((tmp_path / "store").glob("records/*/*.json"))[0]
    record.write_text("{}")
    told = cli("ingest", corpus, "--dry-run", "--json")
    assert (told.code, told.json["problems"], told.json["stored"]) == (0, [], 17)
