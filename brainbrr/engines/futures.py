"""Work on any `concurrent.futures.Executor`: pools of this machine, loky, Dask's `Client.get_executor()`, ..."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, as_completed

from brainbrr.engines.engine import Done, R, Say, T, Task, Work, checked
from brainbrr.errors import ExecutorError


class Futures:
    """All tasks at once to an executor that somebody else made, and will shut down.

    An executor that breaks when a worker dies, as `ProcessPoolExecutor` does, ends the run: the same again goes on
    from there. `Processes` does not break.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def run(self, work: Work[T, R], tasks: Sequence[T], done: Done[T, R], say: Say) -> None:
        """Do every task."""
        futures = {self.executor.submit(checked, work, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                try:
                    outcome = future.result()
                except (BrokenExecutor, CancelledError) as error:
                    raise ExecutorError(
                        f"the executor broke: {error or type(error).__name__}",
                        where=futures[future].edf,
                        fix="the same command again goes on from here; brainbrr's own workers outlive one that dies",
                    ) from error
                done(futures.pop(future), outcome)
        finally:
            for future in futures:
                future.cancel()

    def width(self) -> tuple[int, str]:
        """Raise ExecutorError: an executor does not tell."""
        raise ExecutorError(f"{type(self.executor).__name__} does not tell how many workers it has")

    def script(self, tasks: Sequence[Task]) -> None:
        """Submit nothing that could be shown."""
