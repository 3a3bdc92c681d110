"""Work in the jobs of a SLURM array. Needs `submitit`, imported only here.

The job folder is the only channel: what is to do lies in `work.pkl`, and job i appends how each task ended to
`told/i`. It has to be on a file system that this host and all nodes share.
"""

from __future__ import annotations

import base64
import os
import pickle
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic

from brainbrr.engines.engine import Done, R, Say, T, Task, Work, need
from brainbrr.engines.local import Processes
from brainbrr.errors import BrainbrrError, DependencyError, ExecutorError

_LOOK_AFTER_S = 2.0
_ASK_AFTER_S = 15.0


@dataclass(frozen=True)
class Slurm:
    """Tasks dealt by key over the jobs of one array, at most `max_jobs` of them: see `share_of`.

    A job that is preempted or reaches its time limit is queued again and skips what is done. Ctrl-C at the driver
    cancels the jobs; a driver that is killed leaves them, and the same command later finds what they stored.
    """

    folder: Path
    max_jobs: int = 16
    workers: int = 1
    partition: str | None = None
    minutes: int = 240
    memory_gb: int | None = None
    more: Mapping[str, str | bool] = field(default_factory=dict)
    cluster: str = "slurm"
    """`local` runs the jobs as processes of this machine: how tests see them run."""

    def width(self) -> tuple[int, str]:
        """Return the processes of all jobs together."""
        each = f" of {self.workers} processes" if self.workers > 1 else ""
        return self.max_jobs * self.workers, f"{self.max_jobs} SLURM jobs{each}, all running at once"

    def script(self, tasks: Sequence[Task]) -> str:
        """Return the sbatch script that these tasks would be submitted with."""
        submitit = need("submitit")
        # it refuses to be where there is no SLURM, but a script can be written anywhere
        kind = type("Draft", (submitit.SlurmExecutor,), {"affinity": classmethod(lambda _: 1)})
        draft = kind(self.folder / "<job folder>")
        draft.update_parameters(**self._parameters())
        draft.parameters["map_count"] = max(1, len(self._shares(tasks)))
        return str(draft._make_submission_file_text(draft._submitit_command_str, ""))

    def run(self, work: Work[T, R], tasks: Sequence[T], done: Done[T, R], say: Say) -> None:
        """Do every task."""
        if not tasks:
            return
        folder = self.folder.absolute() / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        executor = self._executor(folder)
        (folder / "told").mkdir(parents=True)
        (folder / "work.pkl").write_bytes(pickle.dumps((work, list(tasks))))
        shares = self._shares(tasks)
        for share in shares:  # they are there before anybody looks: NFS remembers for a while what was not there
            (folder / "told" / str(share)).touch()
        n = self._n_shares(tasks)
        jobs = self._submit(executor, [Share(folder, share, n, self.workers) for share in shares])
        say(f"submitted {len(jobs)} jobs, {jobs[0].job_id} to {jobs[-1].job_id}; their logs are in {folder}")
        running = {
            share: Running(job, folder / "told" / str(share), mine)
            for job, (share, mine) in zip(jobs, shares.items(), strict=True)
        }
        asked = time.monotonic()
        try:
            while running:
                ended: set[int] = set()
                if self.cluster == "local" or time.monotonic() - asked > _ASK_AFTER_S:
                    ended, asked = self._ended(running), time.monotonic()
                for share, job in list(running.items()):
                    if self._look(job, work, done, has_ended=share in ended):
                        del running[share]
                if running:
                    time.sleep(_LOOK_AFTER_S)
        finally:
            for job in running.values():
                job.job.cancel(check=False)
            if running:
                say(f"cancelled {len(running)} jobs")

    def _ended(self, running: Mapping[int, Running[T]]) -> set[int]:
        """Return which jobs will tell nothing more: those that SLURM no longer has in its queue.

        Not from its accounting, as submitit would: many clusters keep none.
        """
        if self.cluster == "local":
            return {share for share, job in running.items() if job.job.done()}
        ids = {share: str(job.job.job_id) for share, job in running.items()}
        array = next(iter(ids.values())).partition("_")[0]
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={array}"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_AFTER_S)  # noqa: S603
        except subprocess.TimeoutExpired:
            return set()
        if told.returncode and "Invalid job id" not in told.stderr:
            return set()  # its controller is away for a moment
        return {share for share, id_ in ids.items() if id_ not in told.stdout.split()}

    def _look(self, job: Running[T], work: Work[T, R], done: Done[T, R], *, has_ended: bool) -> bool:
        """Tell what a job told since the last look; `has_ended` before it. Returns whether nothing more will come."""
        for key, outcome in job.news():
            if key is None:
                raise outcome
            if (task := job.open.pop(key, None)) is not None:
                done(task, outcome)
        if has_ended:
            for task in job.open.values():
                found = work.found(task)
                done(task, job.lost(task) if found is None else found)
            job.open.clear()
        return not job.open

    def _n_shares(self, tasks: Sequence[Task]) -> int:
        return min(self.max_jobs, len(tasks))

    def _shares(self, tasks: Sequence[T]) -> dict[int, dict[str, T]]:
        """Return what each job does, without the jobs that would have nothing to do."""
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
        if self.cluster == "local":
            executor = submitit.LocalExecutor(folder)
            executor.update_parameters(timeout_min=self.minutes)
            return executor
        if not shutil.which("sbatch") or not shutil.which("srun"):
            raise DependencyError(
                "SLURM's sbatch and srun are not on this machine",
                fix="run this on a login node; --dry-run shows the script anywhere",
            )
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
    """Return which of n jobs does a task: the same in every process, unlike Python's `hash`."""
    return int(task.key, 16) % n


@dataclass
class Running(Generic[T]):
    """A job of the array, and what it has not told yet."""

    job: Any
    told: Path
    open: dict[str, T]
    offset: int = 0

    def news(self) -> Iterator[tuple[str | None, Any]]:
        """Yield key and outcome of each task that ended since the last call; key None: the job cannot go on."""
        with self.told.open("rb") as file:  # opened anew: only then does NFS look again
            file.seek(self.offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            try:
                yield pickle.loads(base64.b64decode(line))  # noqa: S301  # our own job's
            except (ValueError, EOFError, pickle.UnpicklingError):
                continue  # empty, or torn by a kill: `Work.found` knows whether the task was done

    def lost(self, task: Task) -> ExecutorError:
        """Return what a task's outcome is that the job neither told nor did."""
        return ExecutorError(
            f"job {self.job.job_id} ended without it: killed, cancelled, or out of time",
            where=task.edf,
            fix=f"the same command again; the job's log: {self.job.paths.stderr}",
        )


@dataclass(frozen=True)
class Share:
    """What one job of the array does: the tasks of `work.pkl` that are its own."""

    folder: Path
    index: int
    n: int
    workers: int

    def __call__(self) -> None:
        """Do the tasks, and tell of each as it ends. Raises what stops the whole run, and tells of it too."""
        work, tasks = pickle.loads((self.folder / "work.pkl").read_bytes())  # noqa: S301  # our own driver's
        mine = [task for task in tasks if share_of(task, self.n) == self.index]
        try:
            work.check()
            Processes(self.workers).run(work, mine, lambda task, outcome: self._tell(task.key, outcome), _unheard)
        except (BrainbrrError, OSError) as error:
            self._tell(None, error)
            raise

    def checkpoint(self) -> Any:
        """Return what submitit queues again when the job is preempted or out of time: the same."""
        return need("submitit.helpers").DelayedSubmission(self)

    def _tell(self, key: str | None, outcome: object) -> None:
        line = b"\n" + base64.b64encode(pickle.dumps((key, outcome))) + b"\n"  # whatever was torn before it ends here
        # opened for each line: only closing brings it to the other hosts of an NFS
        with (self.folder / "told" / str(self.index)).open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _unheard(text: str) -> None:
    """Nobody reads what is said in a job."""
