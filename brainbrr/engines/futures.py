"""Work on any `concurrent.futures.Executor`: pools of this machine, loky, Dask's `Client.get_executor()`, ..."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import contextmanager

from brainbrr.engines.engine import Done, R, Say, T, Task, Work, checked
from brainbrr.errors import BrainbrrError, ExecutorError


class Futures:
    """All tasks at once to an executor that somebody else made, and will shut down.

    An executor that breaks when a worker dies, as `ProcessPoolExecutor` does, ends the run: the same again goes on
    from there. `Processes` does not break.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def run(self, work: Work[T, R], tasks: Sequence[T], done: Done[T, R], say: Say) -> None:
        """Do every task."""
        futures: dict[Future[R | BrainbrrError], T] = {}
        try:
            for task in tasks:
                with _unbroken(task):
                    futures[self.executor.submit(checked, work, task)] = task
            for future in as_completed(futures):
                with _unbroken(futures[future]):
                    outcome = future.result()
                done(futures.pop(future), outcome)
        finally:
            for future in futures:
                future.cancel()

    def width(self) -> tuple[int, str]:
        """Raise ExecutorError: an executor does not tell."""
        raise ExecutorError(f"{type(self.executor).__name__} does not tell how many workers it has")

    def script(self, tasks: Sequence[Task]) -> None:
        """Submit nothing that could be shown."""


@contextmanager
def _unbroken(task: Task) -> Iterator[None]:
    """Raise ExecutorError where the executor breaks over a task, at once or later."""
    try:
        yield
    except (BrokenExecutor, CancelledError) as error:
        raise ExecutorError(
            f"the executor broke: {error or type(error).__name__}",
            where=task.edf,
            fix="the same command again goes on from here; brainbrr's own workers outlive one that dies",
        ) from error
