"""Work on the workers of a running Dask scheduler. Needs `distributed`, imported only here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any

from brainbrr.engines.engine import Ended, Notify, R, T, Task, Work, checked, need
from brainbrr.errors import BrainbrrError, ExecutorError, RecordingError

_POLL_S = 10.0
_CONNECT_S = 10.0


class Dask:
    """Sends all tasks to a scheduler, which distributes them in order, and again when a worker is lost.

    Workers need the same brainbrr and the same paths: those that lack them are named before anything is sent, and one
    that joins later refuses its first task. When a task has killed as many workers as the scheduler allows, the
    scheduler gives up all tasks of the last of them. These are tried again after all others, one at a time, and a task
    that kills its worker then is reported.
    """

    def __init__(self, scheduler: str) -> None:
        self.scheduler = scheduler

    def width(self) -> tuple[int, str]:
        """Return the threads of all workers. Raises ExecutorError when the scheduler cannot be reached."""
        with self._client() as client:
            threads = client.nthreads()
        n = sum(threads.values())
        return n, f"{n} threads of {len(threads)} Dask workers"

    def script(self, tasks: Sequence[Task]) -> None:
        """Return None: nothing is submitted that could be shown."""

    def run(self, work: Work[T, R], tasks: Sequence[T], notify: Notify) -> Ended[T, R]:
        """Do every task."""
        distributed = need("distributed")
        ended: Queue[Any] = Queue()
        futures: dict[Any, T] = {}
        suspects: deque[T] = deque()
        with self._client() as client:
            _refuse_unfit(client, work)

            def send(some: Sequence[T]) -> None:
                sent = client.map(checked, [work] * len(some), some, pure=False, retries=0)
                futures.update(zip(sent, some, strict=True))
                for future in sent:
                    future.add_done_callback(ended.put)

            try:
                send(tasks)
                alone = False
                while futures or suspects:
                    if not futures:
                        alone = True
                        send([suspects.popleft()])
                    future = self._next(ended, client, notify)
                    task = futures.pop(future)
                    try:
                        outcome = future.result()
                    except distributed.KilledWorker:
                        if not alone:
                            suspects.append(task)
                            continue
                        outcome = RecordingError(
                            "every worker that read it died",
                            where=task.edf,
                            fix="when memory ran out: workers with more of it, or with fewer threads",
                        )
                    except (distributed.CancelledError, OSError) as error:
                        if isinstance(error, OSError) and client.status == "running":
                            raise
                        raise self._lost() from error
                    yield task, outcome
            finally:
                if futures and client.status == "running":
                    client.cancel(list(futures))

    def _next(self, ended: Queue[Any], client: Any, notify: Notify) -> Any:
        """Return the next future that ended; report once when there are no workers meanwhile."""
        reported = False
        while True:
            try:
                return ended.get(timeout=_POLL_S)
            except Empty:
                if client.status != "running":
                    raise self._lost() from None
                if not reported and not client.nthreads():
                    reported = True
                    notify(f"{self.scheduler} has no workers: waiting for some")

    def _lost(self) -> ExecutorError:
        return ExecutorError(
            "the connection to the Dask scheduler is lost",
            where=self.scheduler,
            fix="the same command again goes on from here",
        )

    @contextmanager
    def _client(self) -> Iterator[Any]:
        distributed = need("distributed")
        try:
            client = distributed.Client(self.scheduler, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ExecutorError(
                f"no Dask scheduler answers: {error}",
                where=self.scheduler,
                fix="start one with `dask scheduler`, and workers with `dask worker ADDRESS`",
            ) from error
        with client:
            yield client


def _refuse_unfit(client: Any, work: Work[T, R]) -> None:
    """Let every worker check whether it can do the work. Raises ExecutorError naming those that cannot."""
    answers = client.run(work.check, on_error="return")
    unfit = {worker: error for worker, error in answers.items() if error is not None}
    if not unfit:
        return
    error = next(iter(unfit.values()))
    what = error.what if isinstance(error, BrainbrrError) else f"{type(error).__name__}: {error}"
    raise ExecutorError(
        f"{len(unfit)} of {len(answers)} Dask workers cannot do this: {what}",
        where=", ".join(unfit),
        fix=error.fix if isinstance(error, BrainbrrError) and error.fix else "install the same brainbrr there",
    )
