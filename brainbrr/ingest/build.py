"""Build objects from EDF files, in one process: one file, or several that are stored together.

Each build is idempotent and independent of the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from brainbrr.core.digest import key_of
from brainbrr.core.files import leads_to_folder
from brainbrr.core.statcache import at_rest
from brainbrr.core.threads import one_blas_thread
from brainbrr.eeg.corpus.annotations import Annotations
from brainbrr.eeg.edf.reader import EdfFile, WholeFile, located, read_whole
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.eeg.signal.preprocess import Preprocessed, preprocess
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.messages import error_of, error_to_json
from brainbrr.errors import BrainbrrError, EdfError, ExecutorError, RecordingError
from brainbrr.ingest.checksums import check_published, normal
from brainbrr.ingest.remotes import At
from brainbrr.ingest.reuse import Made, reuse
from brainbrr.ingest.scan import within_signal
from brainbrr.store import leases
from brainbrr.store.commit import can_keep_together, keep_together
from brainbrr.store.create import open_existing
from brainbrr.store.formats import ArrayMeta
from brainbrr.store.records import Record
from brainbrr.store.store import Deleted, Finished, Put, Store


@dataclass(frozen=True)
class Task:
    """One recording to build: its file, the source that this must hash to, and the key that it becomes.

    `source` None: it is hashed where it is built; until then `key` is a digest of its path, that work is shared out
    by. `accept`: what `preprocess` may accept. `expected`: the content that the key is known to have, although it has
    no record. `annotations`: labels, as JSON, that have to fit the signal. `listed`: what the publisher's list of
    checksums says, "" where that lacks the file. `seen`: the file's stat when it was hashed at rest.
    """

    path: str
    edf: Path
    source: str | None
    n_bytes: int
    key: str
    accept: tuple[str, ...] = ()
    expected: str | None = None
    annotations: Mapping[str, Any] | None = None
    listed: str | None = None
    seen: tuple[int, ...] = ()


@dataclass(frozen=True)
class Built:
    """One key that is now in the store; new unless another process was faster. `existed`: nothing was computed.

    `remote`: the one that has it, not the store.
    """

    is_new: bool
    record: Record
    n_bytes_written: int
    notes: tuple[str, ...]
    existed: bool = False
    remote: str | None = None


@dataclass(frozen=True)
class Busy:
    """One key that another process is building."""


@dataclass(frozen=True)
class Identified:
    """What became of a task whose file was hashed here, and the task with all that is known now."""

    task: Task
    outcome: Built | Busy | RecordingError


def build(location: Path, task: Task, recipe: Recipe, whole: WholeFile | None = None) -> Built:
    """Preprocess one EDF and put it into the store. `whole`: the file's bytes, where they were read before.

    Raises RecordingError when the recording is refused, SpaceError when the disk is full.
    """
    while True:
        with contextlib.suppress(Deleted):
            return _built(location, task, recipe, whole)


def _identified(task: Task, recipe: str) -> tuple[WholeFile, Task]:
    """Read a task's file, once; return it, and the task with its source and key. Raises RecordingError."""
    try:
        whole, seen = at_rest(task.edf, lambda: read_whole(task.edf))
    except OSError as error:
        raise RecordingError(f"the EDF cannot be read: {error.strerror}", where=task.edf) from error
    key = key_of(source=whole.source, recipe=recipe)
    return whole, dataclasses.replace(task, source=whole.source, key=key, seen=tuple(seen))


def _check_listed(task: Task) -> None:
    """Raise EdfError where a publisher says another source."""
    listed = {normal(task.edf): task.listed} if task.listed else {}
    with located(task.edf):
        check_published(task.edf, str(task.source), None if task.listed is None else listed)


def _with_labels_checked(task: Task, whole: WholeFile | None) -> Task:
    """Return a task whose labels fit its signal, with what there is to note of them. Raises RecordingError."""
    if task.annotations is None or not (annotations := Annotations.from_json(task.annotations)).labelled:
        return task
    with EdfFile(task.edf, accept_truncated="truncated" in task.accept, whole=whole) as edf:
        checked = within_signal(annotations, edf.header, task.n_bytes, accept=frozenset(task.accept))
    return dataclasses.replace(task, annotations=checked.to_json())


@dataclass(frozen=True)
class Drafted:
    """A recording whose object is written and read back, but not stored yet."""

    task: Task
    finished: Finished
    findings: Mapping[str, Any]
    notes: tuple[str, ...]

    def built(self, store: Store, put: Put) -> Built:
        """Return what was built, once it is stored; its findings are stored here."""
        n_bytes = store.put_findings(self.finished.record.key, QUALITY_VERSION, self.findings)
        return Built(put.new_object or put.new_record, put.record, put.n_bytes_written + n_bytes, self.notes)


def _built(location: Path, task: Task, recipe: Recipe, whole: WholeFile | None) -> Built:
    store = Store.open(location)
    with contextlib.ExitStack() as held:
        drafted = draft(held, store, task, recipe, whole)
        put = store.keep_finished(drafted.finished)
    return drafted.built(store, put)


def draft(
    held: contextlib.ExitStack, store: Store, task: Task, recipe: Recipe, whole: WholeFile | None = None
) -> Drafted:
    """Preprocess one EDF into a draft of the store that `held` removes unless it is kept. Raises as `build`."""
    with one_blas_thread():
        made = preprocess(task.edf, recipe, accept=task.accept, whole=whole)
        if made.source != task.source:
            raise EdfError(
                "the file changed while it was read", where=task.edf, fix="ingest again, once no program writes to it"
            )
        finished = _finished(held, store, task, recipe, made)
    facts = made.facts
    notes = [*facts["notes"], *([f"flat channels: {', '.join(facts['flat'])}"] if facts["flat"] else [])]
    return Drafted(task, finished, made.findings, tuple(notes))


def _finished(held: contextlib.ExitStack, store: Store, task: Task, recipe: Recipe, made: Preprocessed) -> Finished:
    meta = ArrayMeta(
        channels=made.channels,
        absent=made.absent,
        n_samples=made.n_samples,
        rate_hz=made.rate_hz,
        quantum_uv=made.quantum_uv,
        k=made.k,
        gaps=made.gaps,
    )
    samples = held.enter_context(store.draft(meta))
    for block in made.blocks():
        samples.append(block)
    return store.finish(
        samples,
        source=made.source,
        recipe_fields=recipe.identity(),
        statistics=made.statistics,
        signal=made.facts,
        provenance={
            "recipe_name": recipe.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "certificate": made.certificate,
            **_versions(exact=recipe.exact),
        },
        expected=task.expected,
    )


@cache
def _versions(*, exact: bool) -> dict[str, str]:
    names = ("brainbrr", "numpy") if exact else ("brainbrr", "numpy", "scipy")
    own = {"python": platform.python_version(), "machine": platform.machine()}
    return {**own, **{name: version(name) for name in names}}


_TOGETHER_S = 1.0
_SAME_BRAINBRR = "install the same version on every machine"


Result: TypeAlias = Built | Busy | Identified | RecordingError


def _reported(given: Task, known: Task, outcome: Built | Busy | RecordingError) -> Result:
    """Return an outcome, with what is known of its task where that is more than was given."""
    return outcome if known is given else Identified(known, outcome)


@dataclass(frozen=True)
class Builder:
    """The build of any task of one ingest, ready to be sent to other processes and machines.

    `verify`: verify existing objects in full before reusing them. `remote`: builds nothing that it has.
    `recipe_digest`, `version` and `store_made` are the driver's: another installation, or another store under the same
    path, would build something else. `corpus`: whose ingest this is, so that `forget` knows its job folders.
    """

    location: Path
    root: Path
    recipe: Recipe
    verify: bool
    recipe_digest: str
    version: str
    store_made: int
    lease_s: float = leases.TTL_S
    remote: At | None = None
    corpus: str | None = None
    preload: ClassVar[tuple[str, ...]] = ("brainbrr.ingest.ready",)

    @classmethod
    def for_ingest(
        cls,
        location: Path,
        root: Path,
        recipe: Recipe,
        *,
        verify: bool = False,
        lease_s: float = leases.TTL_S,
        remote: At | None = None,
        corpus: str | None = None,
    ) -> Builder:
        """Return the builder for a store, as this process sees it."""
        location, made_by = location.absolute(), version("brainbrr")
        made_at = _when_made(location)
        return cls(location, root.absolute(), recipe, verify, recipe.digest, made_by, made_at, lease_s, remote, corpus)

    def __call__(self, task: Task) -> Result:
        """Build one task unless it is built already or another process builds it. An error of the file is returned.

        A file whose source is not known is read and hashed first, and built from the bytes that were hashed.
        Errors that are not about one recording are raised: a full disk, damage, a store that cannot be written.
        """
        return self.several([task])[0]

    def several(self, tasks: Sequence[Task]) -> list[Result]:
        """Build tasks as one by one, but store them together, after a second at the latest, where that is possible.

        What cannot be begun for an error that is not about one recording is Busy, unless that is the first of them.
        """
        store = Store.open(self.location)
        together = len(tasks) > 1 and can_keep_together(store)
        outcomes: dict[int, Result] = {}
        drafts: dict[int, Drafted] = {}
        with contextlib.ExitStack() as held:
            make = partial(draft, held, store) if together else partial(build, self.location)
            take = held.enter_context(leases.holding(store.layout, ttl_s=self.lease_s))
            began = time.monotonic()
            for i, task in enumerate(tasks):
                try:
                    known, made = self._made(store, task, take, make)
                except (BrainbrrError, OSError):
                    if not i:
                        raise
                    break
                if isinstance(made, Drafted):
                    drafts[i] = made
                else:
                    outcomes[i] = _reported(task, known, made)
                is_due = not together or time.monotonic() - began > _TOGETHER_S
                if is_due and i + 1 < len(tasks):
                    outcomes |= self._kept(store, tasks, drafts)
                    drafts.clear()
                    held.close()
                    take = held.enter_context(leases.holding(store.layout, ttl_s=self.lease_s))
                    began = time.monotonic()
            outcomes |= self._kept(store, tasks, drafts)
        return [outcomes.get(i, Busy()) for i in range(len(tasks))]

    def _kept(self, store: Store, tasks: Sequence[Task], drafts: Mapping[int, Drafted]) -> dict[int, Result]:
        """Store drafts together, and return what became of each. Raises what is not about one recording."""
        outcomes: dict[int, Result] = {}
        puts = keep_together(store, [each.finished for each in drafts.values()]) if drafts else []
        for (i, each), put in zip(drafts.items(), puts, strict=True):
            outcome: Built | RecordingError
            try:
                if isinstance(put, Deleted):
                    outcome = build(self.location, each.task, self.recipe)
                else:
                    outcome = put if isinstance(put, RecordingError) else each.built(store, put)
            except RecordingError as error:
                outcome = error
            outcomes[i] = _reported(tasks[i], each.task, outcome)
        return outcomes

    def _made(
        self, store: Store, task: Task, take: Callable[[str], bool], make: Callable[..., Built | Drafted]
    ) -> tuple[Task, Built | Drafted | Busy | RecordingError]:
        """Return what was made of a task unless another process has its lease, and the task with what is known now."""
        whole = None
        try:
            if task.source is None:
                whole, task = _identified(task, self.recipe_digest)
                _check_listed(task)
                if (existing := self.existing(task, store)) is not None:  # before a lease is written
                    return task, existing
            if not take(task.key):
                return task, Busy()
            if (existing := self.existing(task, store)) is not None:
                return task, existing
            task = _with_labels_checked(task, whole)
            return task, make(task=task, recipe=self.recipe, whole=whole)
        except RecordingError as error:
            return task, error
        except (BrainbrrError, OSError):
            raise
        except MemoryError:
            what = "not enough memory to build it"
            return task, RecordingError(what, where=task.edf, fix="fewer --workers at a time")
        except Exception as error:  # noqa: BLE001  # a defect of ours that one file shows must not stop the rest
            what = f"a defect of brainbrr: {_described(error)}"
            return task, RecordingError(what, where=task.edf, fix="please report it")

    def existing(self, task: Task, store: Store | None = None) -> Built | None:
        """Return a task's record where it can be reused, or is at the remote; None also for an unknown source."""
        if task.source is None:
            return None
        store = store or Store.open(self.location)
        made = Made(task.source, self.recipe_digest)
        record = store.record(task.key) if reuse(store, made, verify=self.verify) else None
        if record is not None:
            return Built(False, record, 0, (), existed=True)
        if self.remote is not None and (there := self.remote.record(task.key)) is not None:
            there.check_made_from(source=task.source, recipe=self.recipe_digest, where=self.remote.url)
            return Built(False, there, 0, (), existed=True, remote=self.remote.name)
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        paths = {"location": os.fspath(self.location), "root": os.fspath(self.root)}
        return {**vars(self), **paths, "recipe": {"name": self.recipe.name, "fields": self.recipe.identity()}}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Builder:
        """Return the builder that to_json() gave."""
        recipe = Recipe.from_identity(value["recipe"]["fields"], name=value["recipe"]["name"])
        paths = {name: Path(value[name]) for name in ("location", "root")}
        remote = At(*value["remote"]) if value.get("remote") else None
        return cls(**{**value, **paths, "recipe": recipe, "remote": remote})

    def task_to_json(self, task: Task) -> dict[str, Any]:
        """Return a task's fields as JSON."""
        return {**vars(task), "edf": os.fspath(task.edf)}

    def task_of(self, value: Mapping[str, Any]) -> Task:
        """Return the task that task_to_json() gave."""
        lists = {name: tuple(value[name]) for name in ("accept", "seen")}
        return Task(**{**value, **lists, "edf": Path(value["edf"])})

    def result_to_json(self, result: Built | Busy | Identified) -> dict[str, Any]:
        """Return a result's fields as JSON; none for Busy."""
        if isinstance(result, Identified):
            return {"task": self.task_to_json(result.task), **self.outcome_to_json(result.outcome)}
        return {} if isinstance(result, Busy) else {**vars(result), "record": result.record.to_json()}

    def result_of(self, value: Mapping[str, Any]) -> Built | Busy | Identified:
        """Return the result that result_to_json() gave."""
        if "task" in value:
            outcome = self.outcome_of(value)
            if isinstance(outcome, Identified):
                raise TypeError("outcome")
            return Identified(self.task_of(value["task"]), outcome)
        if not value:
            return Busy()
        return Built(**{**value, "record": Record.from_json(value["record"]), "notes": tuple(value["notes"])})

    def outcome_to_json(self, outcome: Result | BrainbrrError) -> dict[str, Any]:
        """Return a result or an error as JSON."""
        if isinstance(outcome, BrainbrrError):
            return {"error": error_to_json(outcome)}
        return {"result": self.result_to_json(outcome)}

    def outcome_of(self, value: Mapping[str, Any]) -> Result:
        """Return what outcome_to_json() gave."""
        if "error" not in value:
            return self.result_of(value["result"])
        error = error_of(value["error"])
        if not isinstance(error, RecordingError):
            raise TypeError("error")
        return error

    def built_elsewhere(self, tasks: Iterable[Task]) -> set[str]:
        """Return the keys of those tasks that another process is building."""
        return leases.living(open_existing(self.location), [task.key for task in tasks], ttl_s=self.lease_s)

    def check(self) -> None:
        """Raise ExecutorError naming this machine where it cannot build, or would build something else."""
        here = f"worker {platform.node()}, process {os.getpid()}"
        same = "; mount it there under the same path"
        if self.version != (ours := _own_version()):
            raise ExecutorError(f"{here} has brainbrr {ours}, and {self.version} sent the work", fix=_SAME_BRAINBRR)
        if self.recipe.digest != self.recipe_digest:
            raise ExecutorError(f"{here} has another brainbrr: its recipe has another digest", fix=_SAME_BRAINBRR)
        if not leads_to_folder(self.root):
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
    """Return an exception with the place that raised it, since the report has no traceback."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
