"""The seam between verbs and engines: tasks go out, each comes back once with a result or an error.

Work on any `concurrent.futures.Executor`: pools of this machine, loky, Dask's `Client.get_executor()`, ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

from brainbrr.errors import BrainbrrError, DependencyError, ExecutorError


class Task(Protocol):
    """One piece of work: the key that it becomes, and the file that it reads."""

    @property
    def key(self) -> str:
        """32 hex digits, the same on every machine: tasks are dealt by it."""

    @property
    def edf(self) -> Path:
        """The file that errors name."""


T = TypeVar("T", bound=Task)
T_contra = TypeVar("T_contra", bound=Task, contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Done = Callable[[T, R | BrainbrrError], None]
"""Is told of each task once, as it ends, in the process that called `run`."""

Say = Callable[[str], None]
"""Is told what a person should know while it runs."""


class Work(Protocol[T_contra, R_co]):
    """What is done to a task. Idempotent, and pickled to wherever it is done."""

    def __call__(self, task: T_contra) -> R_co | BrainbrrError:
        """Return the result, or the error that is about this task alone. What it raises stops the whole run."""

    def found(self, task: T_contra) -> R_co | None:
        """Return the result of a task that somebody did already."""

    def check(self) -> None:
        """Raise ExecutorError where this process cannot do the work."""


class Engine(Protocol):
    """Runs work somewhere."""

    def run(self, work: Work[T, R], tasks: Sequence[T], done: Done[T, R], say: Say) -> None:
        """Do every task, the first ones first, telling `done` of each; return when all have ended.

        An error that `work` raises comes out of here after what is under way; then some tasks were never begun.
        Raises ExecutorError where the engine itself cannot go on. After Ctrl-C nothing new begins.
        """

    def width(self) -> tuple[int, str]:
        """Return how many tasks run at a time, and in words where."""

    def script(self, tasks: Sequence[Task]) -> str | None:
        """Return what would be submitted for these tasks, None where nothing is submitted."""


def checked(work: Work[T, R], task: T) -> R | BrainbrrError:
    """Do a task in a process that may lie on another machine, with another installation."""
    work.check()
    return work(task)


def need(module: str) -> Any:
    """Import a library of the `cluster` extra. Raises DependencyError where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"{error.name or module} is not installed", fix="pip install 'brainbrr[cluster]'"
        ) from error


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
