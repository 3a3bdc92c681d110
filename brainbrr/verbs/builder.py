"""Build many recordings, wherever: the work that engines are sent, and in which order."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from brainbrr.eeg.recipe import Recipe
from brainbrr.engines.engine import Engine, Say, Work, cores
from brainbrr.engines.local import Here, Processes
from brainbrr.errors import BrainbrrError, ExecutorError, RecordingError
from brainbrr.store import leases
from brainbrr.store.founding import open_existing
from brainbrr.store.store import Store
from brainbrr.verbs.build import Built, Busy, Done, Task, build
from brainbrr.verbs.stored import stored

_LOOK_AFTER_S, _LOOK_AFTER_AT_MOST_S = 0.5, 4.0
_SAME_BRAINBRR = "install the same version on every machine"


@dataclass(frozen=True)
class Builder:
    """The build of any task of one ingest, ready to be sent to other processes and machines.

    `recipe_digest`, `version` and `store_made` are the driver's: another installation, or another store under the
    same path, would build something else.
    """

    location: Path
    root: Path
    recipe: Recipe
    prove: bool
    recipe_digest: str
    version: str
    store_made: int
    lease_s: float = leases.TTL_S

    @classmethod
    def for_ingest(
        cls, location: Path, root: Path, recipe: Recipe, *, prove: bool = False, lease_s: float = leases.TTL_S
    ) -> Builder:
        """Return the builder for a store, as this process sees it. `prove` is for found objects."""
        location, made_by = location.absolute(), version("brainbrr")
        return cls(location, root.absolute(), recipe, prove, recipe.digest, made_by, _when_made(location), lease_s)

    def __call__(self, task: Task) -> Built | Busy | RecordingError:
        """Build one task unless somebody else just did, or does; return what is wrong with the recording alone.

        What is raised is not about one recording: a full disk, damage, a store that cannot be written.
        """
        try:
            with leases.hold(open_existing(self.location), task.key, ttl_s=self.lease_s) as is_free:
                if not is_free:
                    return Busy()
                return self.found(task) or build(self.location, task, self.recipe)
        except RecordingError as error:
            return error
        except (BrainbrrError, OSError):
            raise
        except MemoryError:
            return RecordingError("not enough memory to build it", where=task.edf, fix="fewer --workers at a time")
        except Exception as error:  # noqa: BLE001  # one file that shows a defect of ours must not stop the rest
            return RecordingError(f"a defect of brainbrr: {_described(error)}", where=task.edf, fix="please report it")

    def found(self, task: Task) -> Built | None:
        """Return a task's record when it can be reused."""
        store = Store.open(self.location)
        record = store.record(task.key) if stored(store, task.key, prove=self.prove) else None
        return None if record is None else Built(False, record, 0, (), was_found=True)

    def built_elsewhere(self, tasks: Iterable[Task]) -> set[str]:
        """Return the keys of those tasks that another process builds just now."""
        return leases.living(open_existing(self.location), [task.key for task in tasks], ttl_s=self.lease_s)

    def check(self) -> None:
        """Raise ExecutorError naming this machine where it cannot build, or would build something else."""
        here = f"worker {platform.node()}, process {os.getpid()}"
        same = "; mount it there under the same path"
        if self.version != (ours := _own_version()):
            raise ExecutorError(f"{here} has brainbrr {ours}, and {self.version} sent the work", fix=_SAME_BRAINBRR)
        if self.recipe.digest != self.recipe_digest:
            raise ExecutorError(f"{here} has another brainbrr: its recipe has another digest", fix=_SAME_BRAINBRR)
        if not self.root.is_dir():
            raise ExecutorError(
                f"{here} cannot see the corpus", where=self.root, fix=f"workers read the EDF files{same}"
            )
        try:
            made = _when_made(self.location)
        except (BrainbrrError, OSError) as error:
            raise ExecutorError(
                f"{here} cannot see the store: {error}", where=self.location, fix=f"workers write to it{same}"
            ) from None
        if made != self.store_made:
            raise ExecutorError(f"{here} sees another store", where=self.location, fix=f"workers write to it{same}")


@cache
def _own_version() -> str:
    return version("brainbrr")


def _when_made(location: Path) -> int:
    return int(open_existing(location).mark.stat().st_mtime)


def _described(error: Exception) -> str:
    """Return an exception with the place that raised it, since no traceback crosses to the report."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


def local_engine(workers: int | None, n_tasks: int | None = None) -> Engine:
    """Return the engine of this machine: processes, or this one where one worker is enough. Default: all cores."""
    n = workers or cores()
    n = n if n_tasks is None else min(n, n_tasks)  # a process more would have nothing to do
    return Processes(n) if n > 1 else Here()


def build_all(
    tasks: Sequence[Task], builder: Builder, *, done: Done, engine: Engine | None = None, say: Say | None = None
) -> None:
    """Build every task, telling `done` of each as it ends; one that fails never stops the rest.

    The largest files go first, so that none of them is what the end waits for. What another process builds is put
    off until all else is done, and is then found, or built here once that process let it go.
    Errors that are not about one recording (a full disk, damage) stop the work after what is in flight.
    """
    ordered = sorted(tasks, key=lambda task: (-task.n_bytes, task.key))
    waiting = [dataclasses.replace(task, edf=task.edf.absolute()) for task in ordered]  # other machines, other folders
    say = say or (lambda text: None)
    put_off: list[Task] = []

    def told(task: Task, outcome: Built | Busy | BrainbrrError) -> None:
        if isinstance(outcome, Busy):
            put_off.append(task)
        else:
            done(task, outcome)

    work: Work[Task, Built | Busy] = builder
    (engine or local_engine(None, len(tasks))).run(work, waiting, told, say)
    if put_off:
        say(f"waiting for another process, which builds {len(put_off)} of these recordings")
    pause_s = _LOOK_AFTER_S
    while n := len(put_off):
        elsewhere = builder.built_elsewhere(put_off)
        free = [task for task in put_off if task.key not in elsewhere]
        put_off[:] = [task for task in put_off if task.key in elsewhere]
        missing = []
        for task in free:
            if found := builder.found(task):
                done(task, found)
            else:
                missing.append(task)
        if missing:  # whoever had it died, or could not build it
            (engine or local_engine(None, len(missing))).run(work, missing, told, say)
        if len(put_off) < n:
            pause_s = _LOOK_AFTER_S
        else:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LOOK_AFTER_AT_MOST_S)
