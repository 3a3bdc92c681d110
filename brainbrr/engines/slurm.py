"""Work in the jobs of a SLURM array. Needs `submitit`, imported only here.

The job folder is the only channel: `work.json` holds the tasks, and job i appends how each of them ended to
`outcomes/i`. It must be on a file system that this machine and all nodes share. Only its owner may enter it, since
submitit runs the pickles that it keeps there.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic

from brainbrr.core import files
from brainbrr.engines import messages
from brainbrr.engines.engine import Ended, Notify, R, T, Task, Transferable, need
from brainbrr.engines.local import Processes
from brainbrr.errors import BrainbrrError, DependencyError, ExecutorError

_POLL_S = 2.0
_QUEUE_POLL_S = 15.0
_WORK, _OUTCOMES = "work.json", "outcomes"
_PRIVATE = 0o700


@dataclass(frozen=True)
class Slurm:
    """Distributes tasks by key over the jobs of one array, at most `max_jobs` of them: see `share_of`.

    A job that is preempted or reaches its time limit is queued again and skips what is done. Ctrl-C at the driver
    cancels the jobs; when the driver is killed they go on, and the same command later finds what they stored.
    """

    folder: Path
    max_jobs: int = 16
    workers: int = 1
    partition: str | None = None
    minutes: int = 240
    memory_gb: int | None = None
    more: Mapping[str, str | bool] = field(default_factory=dict)
    cluster: str = "slurm"
    """`local` runs the jobs as processes of this machine, as tests do."""

    def width(self) -> tuple[int, str]:
        """Return the processes of all jobs together."""
        each = f" of {self.workers} processes" if self.workers > 1 else ""
        return self.max_jobs * self.workers, f"{self.max_jobs} SLURM jobs{each}, all running at once"

    def script(self, tasks: Sequence[Task]) -> str:
        """Return the sbatch script that these tasks would be submitted with."""
        submitit = need("submitit")
        # submitit needs SLURM to make an executor, but a script can be written anywhere
        kind = type("Draft", (submitit.SlurmExecutor,), {"affinity": classmethod(lambda _: 1)})
        draft = kind(self.folder / "<job folder>")
        draft.update_parameters(**self._parameters())
        # two private names, which another version may not have: pyproject.toml pins submitit
        draft.parameters["map_count"] = max(1, len(self._shares(tasks)))
        return str(draft._make_submission_file_text(draft._submitit_command_str, ""))

    def run(self, work: Transferable[T, R], tasks: Sequence[T], notify: Notify) -> Ended[T, R]:
        """Do every task."""
        if not tasks:
            return
        folder = self.folder.absolute() / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        executor = self._executor(folder)
        files.make_folder(folder / _OUTCOMES, _PRIVATE)
        to_do = {"work": work.to_json(), "tasks": [work.task_to_json(task) for task in tasks]}
        (folder / _WORK).write_bytes(json.dumps(to_do).encode())
        shares = self._shares(tasks)
        for share in shares:  # before the first read: NFS remembers for a while that a file was missing
            (folder / _OUTCOMES / str(share)).touch()
        n = self._n_shares(tasks)
        jobs = self._submit(executor, [Share(type(work), folder, share, n, self.workers) for share in shares])
        notify(f"submitted {len(jobs)} jobs, {jobs[0].job_id} to {jobs[-1].job_id}; their logs are in {folder}")
        running = {
            share: Running(job, folder / _OUTCOMES / str(share), mine)
            for job, (share, mine) in zip(jobs, shares.items(), strict=True)
        }
        asked = time.monotonic()
        try:
            while running:
                ended: set[int] = set()
                if self.cluster == "local" or time.monotonic() - asked > _QUEUE_POLL_S:
                    ended, asked = self._ended(running), time.monotonic()
                for share, job in list(running.items()):
                    yield from job.news(work, has_ended=share in ended)
                    if not job.open:
                        del running[share]
                if running:
                    time.sleep(_POLL_S)
        finally:
            for job in running.values():
                job.job.cancel(check=False)
            if running:
                notify(f"cancelled {len(running)} jobs")

    def _ended(self, running: Mapping[int, Running[T]]) -> set[int]:
        """Return which jobs have ended: those that SLURM no longer has in its queue.

        Not from its accounting, as submitit would: many clusters keep none.
        """
        if self.cluster == "local":
            return {share for share, job in running.items() if job.job.done()}
        ids = {share: str(job.job.job_id) for share, job in running.items()}
        array = next(iter(ids.values())).partition("_")[0]
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={array}"]
        try:
            queue = subprocess.run(command, capture_output=True, text=True, timeout=_QUEUE_POLL_S)  # noqa: S603
        except subprocess.TimeoutExpired:
            return set()
        if queue.returncode and "Invalid job id" not in queue.stderr:
            return set()  # its controller does not answer at the moment
        return {share for share, id_ in ids.items() if id_ not in queue.stdout.split()}

    def _n_shares(self, tasks: Sequence[Task]) -> int:
        return min(self.max_jobs, len(tasks))

    def _shares(self, tasks: Sequence[T]) -> dict[int, dict[str, T]]:
        """Return the tasks of each job by key, without jobs that would have none."""
        shares: dict[int, dict[str, T]] = {}
        for task in tasks:
            shares.setdefault(share_of(task, self._n_shares(tasks)), {})[task.key] = task
        return dict(sorted(shares.items()))

    def _parameters(self) -> dict[str, Any]:
        given = {
            "partition": self.partition,
            "mem": None if self.memory_gb is None else f"{self.memory_gb}GB",
            "additional_parameters": dict(self.more) or None,
        }
        return {
            "job_name": "brainbrr",
            "time": self.minutes,
            "cpus_per_task": self.workers,
            "array_parallelism": self.max_jobs,
            **{name: value for name, value in given.items() if value is not None},
        }

    def _executor(self, folder: Path) -> Any:
        submitit = need("submitit")
        if self.cluster != "local" and not (shutil.which("sbatch") and shutil.which("srun")):
            raise DependencyError(
                "SLURM's sbatch and srun are not on this machine",
                fix="run this on a login node; --dry-run shows the script anywhere",
            )
        files.make_folder(folder, _PRIVATE)  # submitit would make it as the umask says
        if self.cluster == "local":
            executor = submitit.LocalExecutor(folder)
            executor.update_parameters(timeout_min=self.minutes)
            return executor
        executor = submitit.SlurmExecutor(folder)
        executor.update_parameters(**self._parameters())
        return executor

    def _submit(self, executor: Any, shares: Sequence[Share]) -> list[Any]:
        utils = need("submitit.core.utils")
        try:
            with executor.batch():
                return [executor.submit(share) for share in shares]
        except (utils.FailedJobError, utils.FailedSubmissionError) as error:
            raise ExecutorError(f"sbatch refused the jobs: {str(error).strip()}", where=executor.folder) from error


def share_of(task: Task, n: int) -> int:
    """Return which of n jobs does a task. The same in every process, unlike Python's `hash`."""
    return int(task.key, 16) % n


@dataclass
class Running(Generic[T]):
    """A job of the array, the file of its outcomes, and its tasks that have not ended yet, by key."""

    job: Any
    outcomes: Path
    open: dict[str, T]
    offset: int = 0

    def news(self, work: Transferable[T, R], *, has_ended: bool) -> Iterator[tuple[T, R | BrainbrrError]]:
        """Yield each task that ended since the last call, all open ones if the job `has_ended` before this call."""
        for key, outcome in self._read(work):
            if key is None or isinstance(outcome, OSError):
                raise outcome if isinstance(outcome, Exception) else _strange(self.outcomes)
            if (task := self.open.pop(key, None)) is not None:
                yield task, outcome
        while has_ended and self.open:
            task = self.open.pop(next(iter(self.open)))
            existing = work.existing(task)
            yield task, self._lost(task) if existing is None else existing

    def _read(self, work: Transferable[T, R]) -> Iterator[tuple[str | None, R | BrainbrrError | OSError]]:
        """Yield key and outcome of each new line; key None: the error because of which the job cannot go on."""
        data = _read_own(self.outcomes, self.offset)  # opened for each call: only then does NFS show new lines
        complete = data[: data.rfind(b"\n") + 1]
        self.offset += len(complete)
        for line in complete.splitlines():
            try:
                ended = messages.decode(work, line)
            except ValueError:
                continue  # empty, or torn by a kill: `Work.existing` knows whether the task was done
            yield ended

    def _lost(self, task: Task) -> ExecutorError:
        return ExecutorError(
            f"job {self.job.job_id} ended without it: killed, cancelled, or out of time",
            where=task.edf,
            fix=f"the same command again; the job's log: {self.job.paths.stderr}",
        )


@dataclass(frozen=True)
class Share:
    """The work of one job of the array: its share of the tasks in `work.json`."""

    kind: type[Transferable[Any, Any]]
    folder: Path
    index: int
    n: int
    workers: int

    def __call__(self) -> None:
        """Do the tasks and write how each ended. Raises what stops the whole run, and writes that too."""
        work, tasks = self._to_do()
        mine = [task for task in tasks if share_of(task, self.n) == self.index]
        try:
            work.check()
            with closing(Processes(self.workers).run(work, mine, lambda _: None)) as ended:
                for task, outcome in ended:
                    self._write(messages.encode(work, task.key, outcome))
        except (BrainbrrError, OSError) as error:
            self._write(messages.encode(work, None, error))
            raise

    def _to_do(self) -> tuple[Transferable[Any, Any], list[Any]]:
        _require_own(self.folder)
        path = self.folder / _WORK
        try:
            to_do = json.loads(_read_own(path))
            work = self.kind.of(to_do["work"])
            return work, [work.task_of(task) for task in to_do["tasks"]]
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise _strange(path) from None

    def checkpoint(self) -> Any:
        """Return the same work, which submitit queues again when the job is preempted or out of time."""
        return need("submitit.helpers").DelayedSubmission(self)

    def _write(self, text: bytes) -> None:
        line = b"\n" + text + b"\n"  # the first ends a torn line before it
        # opened for each line: only closing it shows it to the other machines of an NFS
        with (self.folder / _OUTCOMES / str(self.index)).open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def submissions(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield each of our job folders below a folder, with what its work.json says."""
    for path in sorted(folder.glob(f"*/{_WORK}")):
        with suppress(ExecutorError, OSError, ValueError, RecursionError):
            _require_own(path.parent)
            yield path.parent, json.loads(_read_own(path))


def _require_own(folder: Path) -> None:
    """Raise ExecutorError unless a folder is ours and no other user may enter it."""
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise ExecutorError(
            "the job folder is another user's, or others may enter it",
            where=folder,
            fix="nothing in it was read; the same command again makes a new one",
        )


def _read_own(path: Path, offset: int = 0) -> bytes:
    """Return the bytes of a file of ours from an offset on. Raises ExecutorError for another user's."""
    with os.fdopen(files.open_plain(path), "rb") as file:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            raise ExecutorError("a file in the job folder is another user's", where=path)
        file.seek(offset)
        return file.read()


def _strange(path: Path) -> ExecutorError:
    return ExecutorError("this is not what brainbrr wrote", where=path, fix="the same command again makes a new one")
