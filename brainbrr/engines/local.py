"""Work on this machine: one task after the other in this process, or several at a time in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from typing import Any, Generic

from brainbrr.core.threads import cores
from brainbrr.engines.engine import Ended, Engine, Notify, R, T, Task, Work
from brainbrr.errors import BrainbrrError, ExecutorError, RecordingError


def local_engine(workers: int | None, n_tasks: int | None = None) -> Engine:
    """Return the engine of this machine: worker processes, or this process where one is enough. Default: all cores."""
    n = workers or cores()
    n = n if n_tasks is None else min(n, n_tasks)  # a process more would have nothing to do
    return Processes(n) if n > 1 else Here()


class Here:
    """One task at a time, in this process. A crash of the work is a crash of this process."""

    def run(self, work: Work[T, R], tasks: Sequence[T], notify: Notify) -> Ended[T, R]:
        """Do every task."""
        for task in tasks:
            yield task, work(task)

    def width(self) -> tuple[int, str]:
        """Return one."""
        return 1, "this process"

    def script(self, tasks: Sequence[Task]) -> None:
        """Return None: nothing is submitted."""


class Processes:
    """Several tasks at a time, each worker on a pipe of its own.

    When a worker dies, the others go on, and the task that it had is known: it is tried once more, after all others,
    and then reported. A slow task occupies only its own worker.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def width(self) -> tuple[int, str]:
        """Return the number of processes."""
        return self.workers, f"{self.workers} process{'es' if self.workers > 1 else ''} on this machine"

    def script(self, tasks: Sequence[Task]) -> None:
        """Return None: nothing is submitted."""

    def run(self, work: Work[T, R], tasks: Sequence[T], notify: Notify) -> Ended[T, R]:
        """Do every task."""
        context = multiprocessing.get_context("forkserver")
        # a worker then starts in 15 ms, not 300; never __main__: without a guard, the server would run it
        context.set_forkserver_preload([type(work).__module__, *getattr(work, "preload", ())])
        waiting = deque(tasks)
        idle: list[_Worker[T, R]] = []
        busy: dict[Any, _Worker[T, R]] = {}
        suspects: set[str] = set()
        raised: BaseException | None = None
        try:
            while busy or (waiting and raised is None):
                while waiting and raised is None and len(busy) < self.workers:
                    worker = idle.pop() if idle else _Worker(context, work)
                    worker.begin(waiting.popleft())
                    busy[worker.pipe] = worker
                for pipe in wait(list(busy)):
                    worker = busy[pipe]
                    outcome = worker.outcome()
                    if outcome is None:
                        continue
                    del busy[pipe]
                    if not isinstance(outcome, _Died):
                        idle.append(worker)
                    if isinstance(outcome, _Raised):
                        raised = raised or outcome.error
                    elif not isinstance(outcome, _Died):
                        yield worker.task, outcome
                    elif worker.task.key in suspects:
                        yield worker.task, outcome.refusal(worker.task)
                    else:
                        suspects.add(worker.task.key)
                        waiting.append(worker.task)
        finally:
            for worker in [*idle, *busy.values()]:
                worker.pipe.close()
            for worker in [*idle, *busy.values()]:
                worker.process.join()
        if raised is not None:
            raise raised


@dataclass(frozen=True)
class _Raised:
    """What the work raised in a worker."""

    error: Exception


@dataclass(frozen=True)
class _Died:
    """The worker ended without an answer."""

    how: str

    def refusal(self, task: Task) -> RecordingError:
        return RecordingError(
            f"the worker that read it died, twice ({self.how})",
            where=task.edf,
            fix="when memory ran out: fewer --workers, so that each has more",
        )


class _Worker(Generic[T, R]):
    """One process, the pipe to it, and the task that it has."""

    task: T

    def __init__(self, context: ForkServerContext, work: Work[T, R]) -> None:
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=_serve, args=(far, work), daemon=True)
        self.process.start()
        far.close()  # else its death would not end the pipe
        self._has_started = False

    def begin(self, task: T) -> None:
        self.task = task
        try:
            self.pipe.send(task)
        except OSError:
            return  # dead already, as the next read shows

    def outcome(self) -> R | BrainbrrError | _Raised | _Died | None:
        """Return how the task ended, None while it has only begun. Raises ExecutorError where no worker can start."""
        try:
            answer: R | BrainbrrError | _Raised | None = self.pipe.recv()
        except (EOFError, OSError):
            self.pipe.close()
            self.process.join()
            code = self.process.exitcode or 0
            if code > 0 and not self._has_started:
                raise ExecutorError(
                    f"a worker process cannot start (exit code {code}; the reason is on stderr)",
                    fix='a script needs `if __name__ == "__main__":` around its calls, or workers=1',
                ) from None
            return _Died(f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
        self._has_started = True
        return answer


def _serve(pipe: Connection, work: Work[T, R]) -> None:
    """Do each task that comes through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver: a worker finishes its file first
    threading.Thread(target=_end_with_driver, daemon=True).start()
    try:
        pipe.send(None)
        while True:
            task = pipe.recv()
            answer: R | BrainbrrError | _Raised
            try:
                answer = work(task)
            except Exception as error:  # noqa: BLE001  # the driver raises it
                answer = _Raised(error)
            pipe.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the driver has closed it


def _end_with_driver() -> None:
    """End this worker as soon as its driver has ended, since nothing waits for its results."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)
