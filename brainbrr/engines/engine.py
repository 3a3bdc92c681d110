"""The interface between an ingest and what runs its builds: tasks go in, and each comes out once, as it ends.

`Futures` adapts any `concurrent.futures.Executor`: a pool of this machine, loky, Dask's `Client.get_executor()`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias, TypeVar

from brainbrr.errors import BrainbrrError, DependencyError, ExecutorError


class Task(Protocol):
    """One piece of work: the key that it becomes, and the file that it reads."""

    @property
    def key(self) -> str:
        """32 hex digits, the same on every machine: tasks are distributed by it."""

    @property
    def edf(self) -> Path:
        """The file that errors name."""


T = TypeVar("T", bound=Task)
T_contra = TypeVar("T_contra", bound=Task, contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Ended: TypeAlias = Generator[tuple[T, R | BrainbrrError], None, None]
"""Each task once, with its result or the error that is about it alone, in the order in which they end.

Closing it early cancels what has not begun.
"""

Notify = Callable[[str], None]
"""Called with one line for the user while tasks run."""


class Work(Protocol[T_contra, R_co]):
    """What is done to a task. Idempotent, and pickled to where it is done."""

    def __call__(self, task: T_contra) -> R_co | BrainbrrError:
        """Return the result, or the error that is about this task alone. What it raises stops the whole run."""

    def existing(self, task: T_contra) -> R_co | None:
        """Return the result of a task that is done already, None for one that is not."""

    def check(self) -> None:
        """Raise ExecutorError where this process cannot do the work."""


class Transferable(Work[T, R], Protocol[T, R]):
    """Work that JSON can hold, with its tasks and results: for processes that must not run what they read.

    What does not hold such JSON raises KeyError, TypeError, ValueError or BrainbrrError where it is read.
    """

    def to_json(self) -> dict[str, Any]:
        """Return the work."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Self:
        """Return the work that to_json() gave."""

    def task_to_json(self, task: T) -> dict[str, Any]:
        """Return a task."""

    def task_of(self, value: Mapping[str, Any]) -> T:
        """Return the task that task_to_json() gave."""

    def result_to_json(self, result: R) -> dict[str, Any]:
        """Return a result."""

    def result_of(self, value: Mapping[str, Any]) -> R:
        """Return the result that result_to_json() gave."""


class Engine(Protocol):
    """Runs work somewhere."""

    def run(self, work: Transferable[T, R], tasks: Sequence[T], notify: Notify) -> Ended[T, R]:
        """Do every task, the first ones first, and yield each as it ends, in the process that called this.

        An error that `work` raises is raised here, after the tasks that are under way; the rest is never begun.
        Raises ExecutorError where the engine itself cannot go on.
        """

    def width(self) -> tuple[int, str]:
        """Return how many tasks run at a time (0: not known), and in words where."""

    def script(self, tasks: Sequence[Task]) -> str | None:
        """Return what would be submitted for these tasks, None where nothing is submitted."""


def checked(work: Work[T, R], task: T) -> R | BrainbrrError:
    """Do a task in a process that may be on another machine, with another installation."""
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
    """Sends all tasks at once to an executor that the caller made and will shut down.

    An executor that breaks when a worker dies, as `ProcessPoolExecutor` does, ends the run; the same command continues
    from there. `Processes` does not break.
    """

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def run(self, work: Work[T, R], tasks: Sequence[T], notify: Notify) -> Ended[T, R]:
        """Do every task."""
        futures: dict[Future[R | BrainbrrError], T] = {}
        try:
            for task in tasks:
                with _unbroken(task):
                    futures[self.executor.submit(checked, work, task)] = task
            for future in as_completed(futures):
                with _unbroken(futures[future]):
                    outcome = future.result()
                yield futures.pop(future), outcome
        finally:
            for future in futures:
                future.cancel()

    def width(self) -> tuple[int, str]:
        """Return 0: executors do not say how many workers they have."""
        return 0, f"{type(self.executor).__name__}, which does not say how many workers it has"

    def script(self, tasks: Sequence[Task]) -> None:
        """Return None: nothing is submitted that could be shown."""


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
