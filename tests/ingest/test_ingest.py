"""Ingest on real trees, and what it does when things go wrong in the middle."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers.support import Cli

from brainbrr.core.digest import key_of, source_digest
from brainbrr.eeg.signal.montage import CHB_MIT
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.local import Processes
from brainbrr.errors import EdfError, RecordingError
from brainbrr.ingest.batches import build_all
from brainbrr.ingest.build import Builder, Built, Task, build
from brainbrr.store.store import Store


@pytest.mark.slow
def test_every_real_recording_of_the_tusz_like_tree_is_stored(cli: Cli, data: Path) -> None:
    told = cli("ingest", data / "tusz_like", "--workers", 1, "--json")
    assert (told.code, told.json["new"], told.json["failed"]) == (0, 9, [])
    view = cli("view", "--json").json
    assert (view["state"], view["seizures"], view["patients"], view["short"]) == ("ready", 1, 4, 2)
    assert cli("check").code == 0
    assert cli("ingest", data / "tusz_like" / "edf", "--json").json["reused"] == 9  # the same corpus by its edf/


@pytest.mark.slow
def test_labels_past_the_signal_are_clipped_and_counted(cli: Cli, data: Path) -> None:
    refused = cli("ingest", data / "tusz_layout", "--workers", 1, "--json")  # its EDFs are cut to 2 s
    assert (refused.code, refused.json["new"], len(refused.json["failed"])) == (1, 0, 41)
    told = cli("ingest", data / "tusz_layout", "--accept", "label-length", "--workers", 1, "--json")
    assert (told.code, told.json["new"]) == (0, 41)
    view = cli("view", "--json").json
    assert view["labels_clipped"] > 0 and view["short"] == 41 and view["seizures"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tree", "stored", "refused"),
    [("edf", 10, 1), ("odd", 2, 18), ("other_corpora_layout/siena", 5, 0), ("other_corpora_layout/seizeit", 10, 0)],
)
def test_every_file_of_an_unlabelled_tree_is_stored_or_refused_for_a_reason(
    cli: Cli, data: Path, tree: str, stored: int, refused: int
) -> None:
    told = cli("ingest", data / tree, "--labels", "none", "--workers", 1, "--json").json
    assert (told["recordings"], told["new"], len(told["failed"])) == (stored + refused, stored, refused)
    assert all(failed["reason"] and failed["code"].endswith("-refused") for failed in told["failed"])
    assert cli("view", "--json").json["ready"] == stored
    assert cli("verify").code == 0


def test_a_tree_without_splits_says_what_training_needs(cli: Cli, corpus: Path) -> None:
    plain = corpus.parent / "plain"
    shutil.copytree(next(corpus.rglob("*.edf")).parent, plain)
    assert cli("ingest", plain, "--workers", 1).code == 0
    told = cli("view", "--split", "train", "--json")
    assert told.code == 2
    fix = "`brainbrr split --corpus plain -o folds.toml` makes splits of patients; then add --splits folds.toml"
    assert told.json["fix"] == fix
    assert "time\tnone: nothing to build" in cli("ingest", plain, "--dry-run").out


@pytest.mark.slow
def test_native_bipolar_channels_are_a_recipe_of_their_own(cli: Cli, data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "bipolar.toml"
    own = [name for name in CHB_MIT if name != "T4-T6"]  # these files hold T8-P8 twice, over different noise
    recipe.write_text(f'name = "bipolar"\nchannels = {json.dumps(own)}\n')
    chbmit = data / "other_corpora_layout" / "chbmit"
    refused = cli("ingest", chbmit, "--labels", "none", "--workers", 1, "--json").json
    assert {failed["error"] for failed in refused["failed"]} == {"MontageError"}
    told = cli("ingest", chbmit, "--labels", "none", "--recipe", recipe, "--workers", 1, "--json")
    assert (told.code, told.json["new"]) == (0, 39)
    assert cli("view", "--recipe", recipe).code == 0
    assert cli("view").code == 3  # refused under the default recipe, which is another view


def test_a_bad_edf_is_named_before_its_missing_labels(cli: Cli, data: Path) -> None:
    told = cli("ingest", data / "odd", "--json").json
    reasons = {failed["recording"]: failed["reason"] for failed in told["failed"]}
    assert len(reasons) == told["recordings"] == 20
    assert "git-LFS" in reasons["gitlfs_pointer.edf"]
    assert "gaps" in reasons["edfD_gap_12h.edf"]
    assert "BDF" in reasons["bdf_nrec_minus1.bdf"]
    assert "no label file" in reasons["bids_16ch_256hz.edf"]


@pytest.mark.slow
def test_a_profile_hashes_only_its_own_files_but_labels_cover_the_corpus(cli: Cli, corpus: Path) -> None:
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json").json
    assert told["recordings"] == 6
    everything = sum(edf.stat().st_size for edf in corpus.rglob("*.edf"))
    assert 0 < told["bytes_read"] < everything
    status = cli("status", "--json").json
    assert status["corpora"][0]["recordings"] == 18


@pytest.mark.slow
def test_a_broken_link_is_refused_by_name(cli: Cli, corpus: Path) -> None:
    edf = next(corpus.rglob("*.edf"))
    edf.unlink()
    edf.symlink_to("gone.edf")
    told = cli("ingest", corpus, "--workers", 1, "--json")
    assert told.code == 1 and told.json["new"] == 17
    assert "cannot be read" in told.json["failed"][0]["reason"]


@pytest.mark.slow
def test_membership_that_moves_at_the_cut_is_reported(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    out = corpus.parent / "v.json"
    cli("view", "--profile", "smoke", "--split", "train", "--out", out)
    [path] = [r["path"] for r in json.loads(out.read_bytes())["recordings"] if r["annotations"]["seizures"]]
    for suffix in (".csv", ".csv_bi"):  # its seizure turns out to be none
        labels = (corpus / path).with_suffix(suffix)
        rows = [line for line in labels.read_text().splitlines() if not line.endswith(("sz,1.0000", "seiz,1.0000"))]
        labels.write_text("\n".join(rows) + "\n")
    told = cli("ingest", corpus, "--profile", "smoke", "--workers", 1, "--json").json
    assert told["left"] and told["entered"]


@pytest.mark.slow
def test_several_processes_on_one_tree_end_in_one_object_each(corpus: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "BRAINBRR_STORE": str(tmp_path / "store"), "XDG_CACHE_HOME": str(tmp_path / "host")}
    command = [sys.executable, "-m", "brainbrr", "ingest", str(corpus), "--workers", "1", "--json"]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert all(t["new"] + t["reused"] == 18 for t in told)
    assert len(list((tmp_path / "store").glob("objects.zarr/*/*/c.0.0"))) == 18
    gate = subprocess.run([sys.executable, "-m", "brainbrr", "check"], env=environment, capture_output=True, text=True)
    assert gate.returncode == 0, gate.stdout


@pytest.mark.slow
def test_kill_9_leaves_a_store_that_the_same_command_finishes(corpus: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "BRAINBRR_STORE": str(tmp_path / "store"), "XDG_CACHE_HOME": str(tmp_path / "host")}
    command = [sys.executable, "-m", "brainbrr", "ingest", str(corpus), "--workers", "1", "--json"]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").glob("records/*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(again.stdout)
    assert told["new"] + told["reused"] == 18 and told["failed"] == []
    gate = subprocess.run([sys.executable, "-m", "brainbrr", "check"], env=environment, capture_output=True, text=True)
    assert gate.returncode == 0, gate.stdout


def lengthen(edf: Path, times: int) -> None:
    """Make an EDF so many times as long, the rest of it a hole that takes no space."""
    with edf.open("r+b") as file:
        header = file.read(256)
        n_records, n_header = int(header[236:244]), int(header[184:192])
        n_bytes = edf.stat().st_size - n_header
        file.seek(236)
        file.write(str(n_records * times).encode().ljust(8))
        file.truncate(n_header + n_bytes * times)


def test_a_worker_that_dies_is_reported_with_its_file_and_the_rest_goes_on(corpus: Path, tmp_path: Path) -> None:
    recipe, store = Recipe(), Store.create(tmp_path / "store")
    edfs = sorted(corpus.rglob("*.edf"))[:5]
    tasks = []
    for edf in edfs:
        source = source_digest(edf)
        key = key_of(source=source, recipe=recipe.digest)
        tasks.append(Task(edf.name, edf, source, edf.stat().st_size, key))
    lengthen(edfs[2], 2000)  # whoever builds it does so for a minute, unless it is killed
    told: dict[str, object] = {}
    ended = threading.Event()

    def kill_who_hangs() -> None:
        while not ended.wait(0.5):
            for worker in multiprocessing.active_children() if len(told) == 4 else ():
                worker.kill()

    killer = threading.Thread(target=kill_who_hangs)
    killer.start()
    try:
        builder = Builder.for_ingest(store.location, corpus, recipe)
        for task, built in build_all(tasks, builder, engine=Processes(2)):
            told[task.path] = built
    finally:
        ended.set()
        killer.join()
    error = told.pop(edfs[2].name)
    assert isinstance(error, RecordingError) and "died" in error.what and str(edfs[2]) == error.where
    assert all(isinstance(built, Built) for built in told.values()) and len(told) == 4


def test_a_file_that_changes_while_it_is_read_is_not_stored_under_its_old_key(corpus: Path, tmp_path: Path) -> None:
    edf = next(corpus.rglob("*.edf"))
    recipe, stale = Recipe(), "0" * 32
    store = Store.create(tmp_path / "store")
    task = Task(edf.name, edf, stale, edf.stat().st_size, key_of(source=stale, recipe=recipe.digest))
    with pytest.raises(EdfError, match="changed while it was read"):
        build(store.location, task, recipe)
    assert list(store.contents()) == []


def test_a_full_disk_is_said_before_any_work(cli: Cli, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        f_blocks, f_bavail, f_frsize, f_favail, f_files = 100, 1, 4096, 1000, 2000

    monkeypatch.setattr(os, "statvfs", lambda _: Full)
    told = cli("ingest", corpus, "--workers", 1)
    assert told.code == 7 and "bytes are needed" in told.err


@pytest.mark.slow
def test_accepting_a_truncated_file_stores_its_whole_records_and_says_so(cli: Cli, corpus: Path) -> None:
    edf = next((corpus / "edf" / "train").rglob("*.edf"))
    os.truncate(edf, edf.stat().st_size - 1000)
    assert "truncated" in cli("ingest", corpus, "--workers", 1, "--json").json["failed"][0]["reason"]
    told = cli("ingest", corpus, "--workers", 1, "--accept", "truncated", "--json")
    assert (told.code, told.json["new"], told.json["reused"]) == (0, 1, 17)
    assert any("truncated" in note for notes in told.json["notes"].values() for note in notes)


@pytest.mark.slow
def test_shutil_copy_of_a_store_is_a_store(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    cli("ingest", corpus, "--profile", "smoke", "--workers", 1)
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    assert cli("verify", "--store", tmp_path / "copy").code == 0
