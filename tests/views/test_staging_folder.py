"""Copies that several processes share: killed, at the same time, cleaned up by one while another reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.stager import STAGER, stager, view_of, windows

import brainbrr
from brainbrr.store import copy as copies
from brainbrr.store.integrity import verify_object
from brainbrr.store.store import Store
from brainbrr.views.stage import StagingFolder, remove_tree, stage

pytestmark = pytest.mark.slow


def test_two_stores_do_not_meet_in_one_folder(stored_at: Path, store: Path, into: Path) -> None:
    one, other = stage(view_of(stored_at), into), stage(view_of(store), into)
    assert one.location != other.location and one.n_copied == other.n_copied
    one.remove()
    assert windows(other.view)


def test_a_killed_staging_is_finished_by_the_next(stored_at: Path, into: Path) -> None:
    view = view_of(stored_at)
    n_objects = len({r.content for r in view.recordings})
    killed = stager(stored_at, into, "kill", 2)
    assert killed.wait(60) == -signal.SIGKILL
    for pipe in (killed.stdin, killed.stdout):
        assert pipe is not None
        pipe.close()
    target = Store.open(StagingFolder.of(Store.open(stored_at), into).store)
    there = set(target.contents())
    assert 2 <= len(there) < n_objects
    for content in there:
        verify_object(target, content)
    again = stage(view, into)
    assert (again.n_copied, again.n_reused) == (n_objects - len(there), len(there))
    assert not list((target.location / "tmp").iterdir()) and windows(again.view) == windows(view)
    again.remove()
    assert not list(into.iterdir())  # the dead one's lease holds nothing


def test_a_death_at_any_call_leaves_nothing_half_done(stored_at: Path, into: Path) -> None:
    patient = view_of(stored_at).recordings[0].patient
    dying = stager(stored_at, into, "die", patient)
    out, _ = dying.communicate(timeout=240)
    assert dying.returncode == 0 and int(out) > 20


def test_stagings_at_the_same_time_copy_each_object_once(stored_at: Path, into: Path) -> None:
    running = [stager(stored_at, into, "hold") for _ in range(3)]
    told = []
    for each in running:
        assert each.stdout is not None
        told.append(json.loads(each.stdout.readline()))
    view = view_of(stored_at)
    n_objects = len({r.content for r in view.recordings})
    assert sum(each["n_copied"] for each in told) == n_objects
    assert all(each["n_copied"] + each["n_reused"] == n_objects for each in told)
    assert not brainbrr.verify(Store.open(Path(told[0]["location"]))).corrupt
    for n, each in enumerate(running):
        each.communicate("clean\n", timeout=60)
        assert each.returncode == 0
        assert bool(list(into.iterdir())) == (n < 2)  # the last one takes all of it away


def test_two_that_want_one_object_read_its_original_once(
    stored_at: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, read = copies._copy_blocks, []

    def slow(original: Path, copy: Path, *, durable: bool) -> int:
        read.append(original)
        time.sleep(0.02)
        return real(original, copy, durable=durable)

    monkeypatch.setattr(copies, "_copy_blocks", slow)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: stage(view_of(stored_at), into), range(3)))
    assert len(read) == len(set(read)) == 2 * sum(each.n_copied for each in done)


def test_the_folder_stays_for_one_that_has_only_begun(stored_at: Path, into: Path) -> None:
    with_copies, folder = stage(view_of(stored_at), into), StagingFolder.of(Store.open(stored_at), into)
    with folder.gate():
        lease = folder.lease({"ab" * 32: 10**6})
    with_copies.remove()
    assert Store.open(folder.store) and not list(Store.open(folder.store).contents())
    lease.release()


def test_a_waiter_whose_lock_file_was_deleted_creates_a_new_one(stored_at: Path, into: Path) -> None:
    folder = StagingFolder.of(Store.open(stored_at), into)

    def enter() -> bool:
        with folder.gate():
            return (folder.path / "gate").exists()

    with ThreadPoolExecutor(1) as pool:
        with folder.gate():
            waiting = pool.submit(enter)
            time.sleep(0.2)
            away = folder.put_away()
            folder.dissolve(away)
        assert waiting.result(10)
    remove_tree(away)
    assert [path.name for path in folder.path.iterdir()] == ["gate"]


def test_cleaning_leaves_what_a_living_process_uses(stored_at: Path, into: Path) -> None:
    view = view_of(stored_at)
    patient = view.recordings[0].patient
    other = stager(stored_at, into, "hold", patient)
    assert other.stdout is not None
    told = json.loads(other.stdout.readline())
    theirs = {r.content for r in view.recordings if r.patient == patient}
    ours = {r.content for r in view.recordings}
    with_copies = stage(view, into)
    assert with_copies.n_reused == told["n_copied"] == len(theirs)
    assert with_copies.remove() == len(ours - theirs)
    target = Store.open(Path(told["location"]))
    assert set(target.contents()) == theirs and not brainbrr.verify(target).corrupt
    other.kill()  # and its lease is nobody's
    other.communicate(timeout=60)
    again = stage(view, into)
    assert again.n_reused == len(theirs)
    assert again.remove() == len(ours) and not list(into.iterdir())


def test_copies_that_an_earlier_run_kept_stay_unless_this_view_uses_them(stored_at: Path, into: Path) -> None:
    view = view_of(stored_at)
    patients = sorted({r.patient for r in view.recordings})
    kept = stage(view_of(stored_at, patients=(patients[0],)), into)
    kept.release()
    stage(view_of(stored_at, patients=tuple(patients[1:])), into).remove()
    assert set(Store.open(kept.location).contents()) == {r.content for r in kept.view.recordings}


def test_a_forked_child_does_not_let_go_of_its_parents_lease(stored_at: Path, into: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from helpers.stager import view_of\n"
        "from brainbrr.views.stage import stage\n"
        "staged = stage(view_of(Path(sys.argv[1])), Path(sys.argv[2]))\n"
        "child = os.fork()\n"
        "if child == 0: staged.release(); os._exit(0)\n"
        "os.waitpid(child, 0); print(len(staged._folder.in_use()))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(stored_at), str(into)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(STAGER.parents[1]), *sys.path])},
    )
    assert told.stdout.strip() == "1"
    folder = StagingFolder.of(Store.open(stored_at), into)
    with folder.gate():
        assert folder.in_use() == []  # it let go when it ended
