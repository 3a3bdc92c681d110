"""SLURM arrays: the script that would be submitted, and the same jobs run as processes of this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.support import Cli
from helpers.works import Marked, build_beside, run

import brainbrr
from brainbrr.engines.messages import decode, encode
from brainbrr.engines.slurm import Running, Share, Slurm, share_of
from brainbrr.errors import EdfError, ExecutorError, Fix, RecordingError
from brainbrr.ingest.build import Builder, Built, Busy, Task
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

pytest.importorskip("submitit", reason="the cluster extra is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning"),
]  # jobs outlive their driver


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    tests = Path(__file__).resolve().parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, [tests.parent, tests])))
    monkeypatch.setattr("brainbrr.engines.slurm._POLL_S", 0.1)
    return Slurm(tmp_path / "jobs", max_jobs=3, minutes=2, cluster="local")


def test_an_array_builds_everything_and_reports_each_recording_when_it_ends(
    slurm: Slurm, corpus: Path, tmp_path: Path
) -> None:
    report = brainbrr.ingest(corpus, store=tmp_path / "store", executor=slurm)
    assert (report.new, report.failed) == (18, ())
    assert brainbrr.check(Store.open(tmp_path / "store")).exit_code == 0
    told = sum(len((slurm.folder / f).read_bytes().split(b"\n\n")) for f in slurm.folder.glob("*/outcomes/*"))
    assert told == 18
    again = brainbrr.ingest(corpus, store=tmp_path / "store", executor=slurm)
    assert (again.reused, len(list(slurm.folder.iterdir()))) == (18, 1)  # nothing was missing: nothing was submitted


def test_recordings_of_a_killed_job_are_not_refused_and_ingest_again_completes(
    slurm: Slurm, corpus: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            time.sleep(0.02)
            if not any(told.stat().st_size for told in slurm.folder.glob("*/outcomes/*")):
                continue
            for job in jobs_of(slurm.folder):
                os.kill(job, signal.SIGKILL)
                killed.append(job)

    killer = threading.Thread(target=kill)
    killer.start()
    report = brainbrr.ingest(corpus, store=store, executor=slurm, accept="refused")
    killer.join()
    assert len(killed) >= 1 and report.new >= 1
    assert report.failed and {f.error for f in report.failed} == {"ExecutorError"} and report.exit_code == 1
    assert all("ended without it" in f.reason and not f.accepted for f in report.failed)
    catalog = Store.open(store).catalog("demo")
    assert catalog is not None and not any(row.refusals for row in catalog.rows.values())
    again = brainbrr.ingest(corpus, store=store, executor=slurm)
    assert (again.new + again.reused, again.failed) == (18, ()) and again.reused >= report.new
    assert verify(Store.open(store)).verified == 18


def jobs_of(folder: Path) -> list[int]:
    """Return the processes that run jobs of a folder: those, not the controllers that started them (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "submitit.core._submit" in words and any(word.startswith(str(folder)) for word in words):
            found.append(int(process.parent.name))
    return found


def test_a_file_that_kills_its_worker_is_reported_and_the_rest_of_its_job_is_stored(
    slurm: Slurm, builder: Builder, tasks: list[Task], store: Store, tmp_path: Path
) -> None:
    work = Marked(builder, "kill", tasks[0].key, tmp_path / "aside")
    told = run(Slurm(slurm.folder, max_jobs=1, minutes=2, cluster="local"), work, tasks)
    error = told.pop(tasks[0].path)
    assert isinstance(error, RecordingError) and error.where == str(tasks[0].edf)
    assert len(told) == 5 and all(isinstance(built, Built) for built in told.values())
    assert verify(store).verified == 5


def test_a_machine_that_cannot_do_it_stops_the_run(slurm: Slurm, builder: Builder, tasks: list[Task]) -> None:
    elsewhere = dataclasses.replace(builder, store_made=0)
    with pytest.raises(ExecutorError, match="sees another store"):
        run(slurm, elsewhere, tasks)


def test_ctrl_c_cancels_the_jobs_and_says_so(slurm: Slurm, builder: Builder, tasks: list[Task], tmp_path: Path) -> None:
    said: list[str] = []
    work = Marked(builder, "wait", tasks[0].key, tmp_path / "never")
    with pytest.raises(KeyboardInterrupt), closing(slurm.run(work, tasks, said.append)) as ended:
        for _ in ended:
            raise KeyboardInterrupt
    assert said[-1].startswith("cancelled")
    deadline = time.monotonic() + 20
    while jobs_of(slurm.folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not jobs_of(slurm.folder)


def test_tasks_are_dealt_by_key_alike_everywhere(all_tasks: list[Task]) -> None:
    counts = Counter(share_of(task, 3) for task in all_tasks)
    assert set(counts) == {0, 1, 2} and sum(counts.values()) == 18
    assert [share_of(task, 7) for task in all_tasks] == [int(task.key, 16) % 7 for task in all_tasks]


def test_a_dry_run_prints_the_script_and_submits_nothing(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    asked = ("--executor", "slurm", "--partition", "batch", "--max-jobs", 4, "--time", 90, "--memory", 2)
    told = cli("ingest", corpus, *asked, "--workers", 2, "--sbatch", "account=lab", "--sbatch", "requeue", "--dry-run")
    assert told.code == 0 and "18 new" in told.out
    for line in (
        "#SBATCH --partition=batch",
        "#SBATCH --array=0-3%4",
        "#SBATCH --time=90",
        "#SBATCH --mem=2GB",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --account=lab",
        "#SBATCH --requeue",
    ):
        assert line in told.out.splitlines()
    assert "srun" in told.out and "submitit.core._submit" in told.out and str(tmp_path / "jobs") in told.out
    assert not (tmp_path / "jobs").exists() and not (tmp_path / "store" / "format.json").exists()


def test_where_there_is_no_slurm_nothing_is_left_behind(
    cli: Cli, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = cli("ingest", corpus, "--executor", "slurm", "--json")
    assert (told.code, told.json["error"]) == (8, "DependencyError") and "login node" in told.json["fix"]
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--executor", "dask"), "DASK_SCHEDULER_ADDRESS"),
        (("--executor", "dask", "--scheduler", "tcp://x:1", "--workers", "2"), "dask worker"),
        (("--partition", "batch"), "--partition goes with --executor slurm"),
        (("--executor", "slurm", "--scheduler", "tcp://x:1"), "--scheduler goes with --executor dask"),
    ],
)
def test_options_of_another_executor_are_refused(
    cli: Cli, corpus: Path, asked: Iterable[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    told = cli("ingest", corpus, *asked)
    assert told.code == 2 and says in told.err


@pytest.mark.parametrize(("executor", "module"), [("dask", "distributed"), ("slurm", "submitit")])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    cli: Cli, corpus: Path, executor: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    scheduler = ("--scheduler", "tcp://127.0.0.1:9") if executor == "dask" else ()
    told = cli("ingest", corpus, "--executor", executor, *scheduler, "--json")
    assert (told.code, told.json["what"]) == (8, f"{module} is not installed")
    assert told.json["fix"] == "pip install 'brainbrr[cluster]'"


def test_a_plan_is_as_wide_as_the_jobs(cli: Cli, generated: Path) -> None:
    told = cli("ingest", generated, "--dry-run", "--executor", "slurm", "--max-jobs", 5, "--workers", 2, "--json").json
    assert (told["width"], told["executor"]) == (10, "5 SLURM jobs of 2 processes, all running at once")
    alone = cli("ingest", generated, "--dry-run", "--workers", 1, "--json").json
    assert alone["executor"] == "this process" and alone["seconds_estimate"] > told["seconds_estimate"] > 0
    assert "if each place is as fast as" in cli("ingest", generated, "--dry-run", "--workers", 3).out


@pytest.mark.parametrize(
    ("answer", "ended"),
    [  # as SLURM 22.05 answered
        ("echo 7_1; exit 0", {0}),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", {0, 1}),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", set()),
    ],
)
def test_a_job_has_ended_when_slurm_no_longer_has_it_in_its_queue(
    tmp_path: Path, answer: str, ended: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    jobs = {n: Running(SimpleNamespace(job_id=f"7_{n}"), tmp_path / "told", {}) for n in (0, 1)}
    assert Slurm(tmp_path)._ended(jobs) == ended


def test_what_another_process_builds_is_waited_for(slurm: Slurm, builder: Builder, tasks: list[Task]) -> None:
    build_beside(builder, tasks, slurm)
    assert len(list(slurm.folder.iterdir())) == 1  # found, so nothing was submitted again


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_only_the_owner_may_enter_a_job_folder_whatever_the_umask(
    slurm: Slurm, builder: Builder, tasks: list[Task], umask: int
) -> None:
    before = os.umask(umask)
    try:
        assert all(isinstance(built, Built) for built in run(slurm, builder, tasks).values())
    finally:
        os.umask(before)
    (folder,) = slurm.folder.iterdir()
    assert {path.stat().st_mode & 0o777 for path in (slurm.folder, folder, folder / "outcomes")} == {0o700}
    work = json.loads((folder / "work.json").read_text())
    assert {task["key"] for task in work["tasks"]} == {task.key for task in tasks}


@pytest.mark.parametrize("how", ["owner", "mode", "work"])
def test_nothing_is_read_from_a_folder_that_others_may_have_written(builder: Builder, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir(mode=0o700)
    (folder / "work.json").write_text(json.dumps({"work": builder.to_json(), "tasks": []}))
    (folder / "outcomes").mkdir()
    share = Share(Builder, folder, 0, 1, 1)
    share()  # nothing to do, and nothing to object to
    if how == "owner":
        os.chown(folder, 60_999, -1)
    elif how == "mode":
        folder.chmod(0o750)
    else:
        os.chown(folder / "work.json", 60_999, -1)
    with pytest.raises(ExecutorError, match="another user's"):
        share()


def test_an_outcome_of_another_user_is_not_read(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "0").write_text("{}\n")
    job = Running(SimpleNamespace(job_id="7_0"), tmp_path / "0", {})
    assert list(job.news(builder, has_ended=True)) == []
    os.chown(tmp_path / "0", 60_999, -1)
    with pytest.raises(ExecutorError, match="another user's"):
        list(job.news(builder, has_ended=True))


def test_a_submission_is_json_and_says_the_same_on_the_other_side(builder: Builder, tasks: list[Task]) -> None:
    assert Builder.of(json.loads(json.dumps(builder.to_json()))) == builder
    assert [builder.task_of(json.loads(json.dumps(builder.task_to_json(task)))) for task in tasks] == tasks
    built = builder(tasks[0])
    fix = Fix("first ", ("ingest", "ROOT"), ", then rest")
    for outcome in (built, Busy(), EdfError("no", where="a.edf", fix=fix), EdfError("no", fix="text", code="odd")):
        key, again = decode(builder, encode(builder, tasks[0].key, outcome))
        assert key == tasks[0].key and type(again) is type(outcome)
        assert str(again) == str(outcome)
        if isinstance(outcome, EdfError):
            assert isinstance(again, EdfError) and again.code == outcome.code
            assert getattr(again.fix, "commands", None) == getattr(outcome.fix, "commands", None)
    assert decode(builder, encode(builder, None, built)) == (None, built)
    _, full = decode(builder, encode(builder, None, OSError(28, "No space left on device", "/store")))
    assert isinstance(full, OSError) and (full.errno, full.filename) == (28, "/store")


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b'{"key": 1, "result": {}}', b'{"key": "a", "result": {"record": {}}}', b'{"key": "a"}',
     b'{"key": "a", "error": {"kind": "Iterable", "what": "", "where": null, "fix": null, "code": ""}}',
     b'{"key": "a", "error": {"kind": "EdfError"}}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_outcome_is_not_one(builder: Builder, line: bytes) -> None:
    with pytest.raises(ValueError):
        decode(builder, line)
