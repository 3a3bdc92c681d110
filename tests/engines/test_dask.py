"""Building on a real Dask scheduler and real worker processes, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.support import Cli
from helpers.works import Marked, build_beside, run

from brainbrr.engines.dask import Dask
from brainbrr.errors import BrainbrrError, ExecutorError, RecordingError
from brainbrr.ingest.build import Builder, Built, Task
from brainbrr.store.store import Store
from brainbrr.store.verify import verify

distributed = pytest.importorskip("distributed", reason="the cluster extra is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default:::distributed", "default::ResourceWarning")]

TESTS = Path(__file__).resolve().parents[1]
PATHS = [str(TESTS.parent), str(TESTS)]


class Cluster:
    """A scheduler and workers as processes, on ports that the system chose; they end themselves if nobody ends them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--port", "0", "--host", "127.0.0.1", "--idle-timeout", "120")
        deadline = time.monotonic() + 60
        while not self.file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.address = json.loads(self.file.read_bytes())["address"]

    def _start(self, kind: str, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{len(self.processes)}.log").open("wb")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([*before, *PATHS]),
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",  # else one bad file kills four workers
        }
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard", *arguments]
        command += ["--scheduler-file", str(self.file)]
        with log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        self.processes.append(process)
        return process

    def worker(self, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        given = ["--nthreads", "1", "--host", "127.0.0.1", "--lifetime", "240", "--death-timeout", "60"]
        return self._start("worker", *given, *(arguments or ("--no-nanny",)), before=before)

    def end(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what a nanny started
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = tmp_path / "dask"
    folder.mkdir()
    cluster = Cluster(folder)
    try:
        yield cluster
    finally:
        cluster.end()


def when(holds: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    def look() -> None:
        deadline = time.monotonic() + 60
        while not holds() and time.monotonic() < deadline:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=look)
    thread.start()
    return thread


def test_workers_killed_while_they_build_cost_nothing_but_time(cluster: Cluster, cli: Cli, corpus: Path) -> None:
    first = cluster.worker()
    store = corpus.parent / "store"

    def replace() -> None:
        first.send_signal(signal.SIGKILL)
        cluster.worker()
        cluster.worker()

    killer = when(lambda: len(list(store.glob("records/*/*.json"))) >= 4, replace)
    told = cli("ingest", corpus, "--executor", "dask", "--scheduler", cluster.address, "--json")
    killer.join()
    assert (told.code, told.json["new"] + told.json["reused"], told.json["failed"]) == (0, 18, [])
    assert first.wait() == -signal.SIGKILL
    assert cli("check").code == 0 and cli("verify", "--json").json["verified"] == 18
    again = cli("ingest", corpus, "--executor", "dask", "--scheduler", cluster.address, "--json").json
    assert (again["reused"], again["bytes_written"]) == (18, 0)


def test_a_file_that_kills_its_worker_is_reported_and_all_others_are_stored(
    cluster: Cluster, builder: Builder, tasks: list[Task], store: Store, tmp_path: Path
) -> None:
    cluster.worker("--nanny")
    told = run(Dask(cluster.address), Marked(builder, "kill", tasks[2].key, tmp_path / "aside"), tasks)
    error = told.pop(tasks[2].path)
    assert isinstance(error, RecordingError) and error.where == str(tasks[2].edf)
    assert len(told) == 5 and all(isinstance(built, Built) for built in told.values())
    assert verify(store).verified == 5


def test_workers_that_cannot_do_it_are_named_before_anything_is_sent(
    cluster: Cluster, builder: Builder, tasks: list[Task], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    (other / "brainbrr-0.0.9.dist-info").mkdir(parents=True)
    (other / "brainbrr-0.0.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: brainbrr\nVersion: 0.0.9\n"
    )
    none = tmp_path / "none"
    (none / "brainbrr").mkdir(parents=True)
    (none / "brainbrr" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'brainbrr'\")\n")
    cluster.worker("--no-nanny", "--name", "good")
    cluster.worker("--no-nanny", "--name", "other", before=[str(other)])
    with distributed.Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    with pytest.raises(ExecutorError, match=r"1 of 2 Dask workers cannot do this: .* has brainbrr 0\.0\.9") as caught:
        run(Dask(cluster.address), builder, tasks)
    assert caught.value.where is not None and caught.value.where.count("tcp://127.0.0.1") == 1
    cluster.worker("--no-nanny", "--name", "none", before=[str(none)])
    with distributed.Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(3, timeout=60)
    with pytest.raises(ExecutorError, match="2 of 3 Dask workers cannot do this"):
        run(Dask(cluster.address), builder, tasks)


def test_a_scheduler_that_ends_is_an_error_that_says_so(
    cluster: Cluster, builder: Builder, all_tasks: list[Task]
) -> None:
    cluster.worker()
    told: dict[str, Built | BrainbrrError] = {}
    killer = when(lambda: len(told) >= 2, cluster.processes[0].kill)
    with pytest.raises(ExecutorError, match="scheduler is lost"):
        for task, outcome in Dask(cluster.address).run(builder, all_tasks, lambda _: None):
            told[task.path] = outcome
    killer.join()
    assert 2 <= len(told) < 18


def test_a_plan_is_as_wide_as_the_workers_are_now(cluster: Cluster, cli: Cli, generated: Path) -> None:
    cluster.worker("--no-nanny")
    cluster.worker("--no-nanny")
    with distributed.Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    told = cli("ingest", generated, "--dry-run", "--executor", "dask", "--scheduler", cluster.address, "--json").json
    assert (told["width"], told["executor"]) == (2, "2 threads of 2 Dask workers")


def test_where_no_scheduler_answers_the_error_says_how_to_start_one(
    cli: Cli, generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brainbrr.engines.dask._CONNECT_S", 0.5)
    told = cli("ingest", generated, "--executor", "dask", "--scheduler", "tcp://127.0.0.1:9", "--json")
    assert (told.code, told.json["error"]) == (1, "ExecutorError") and "dask scheduler" in told.json["fix"]


def test_what_another_process_builds_is_waited_for(cluster: Cluster, builder: Builder, tasks: list[Task]) -> None:
    cluster.worker()
    build_beside(builder, tasks, Dask(cluster.address))
