"""A store against a model of plain dicts: `python tests/torture/state_machine.py --runs 1000 --steps 50`.

hypothesis chooses what happens: recordings come, go and are relabelled; ingest, freeze, gc, verify and repair run, in
this process or in another one; objects and records are damaged or lost; the store is opened anew.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

sys.path.append(str(Path(__file__).parent.parent))

from helpers.support import EVERYTHING

from brainbrr.core.digest import key_of, source_digest
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import IntegrityError
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.repair import repair
from brainbrr.loading.windows import WindowSpec
from brainbrr.store.gc import gc
from brainbrr.store.store import Store
from brainbrr.store.verify import verify
from brainbrr.views.report import ViewRequest, view

RECIPE, WINDOW = Recipe(), WindowSpec(length_s="4", stride_s="4")
N_SOURCES = 4
WHOLE, DAMAGED, GONE = "whole", "damaged", "gone"

sources = st.integers(0, N_SOURCES - 1)


class Pool:
    """Recordings to ingest, and what each of them becomes: made once, by an ingest of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "pool"
        self.edfs = sorted(write_corpus(self.folder, n_recordings=N_SOURCES, seconds=(10, 10)))
        ingest(IngestOptions(root=self.folder, store=folder / "as it should be", workers=1))
        store = Store.open(folder / "as it should be")
        self.keys = [key_of(source=source_digest(edf), recipe=RECIPE.digest) for edf in self.edfs]
        records = [store.record(key) for key in self.keys]
        self.contents = [record.content for record in records if record is not None]
        self.samples = [samples_of(store, content) for content in self.contents]


def samples_of(store: Store, content: str) -> np.ndarray:
    with store.reader(content) as reader:
        return reader.read(0, reader.meta.n_samples)


def in_another_process(act: Callable[[], Any]) -> Any:
    """Return what a forked process makes of it: a number or a text."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(tell, repr(act()).encode())
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  # a child must not go on as its parent
            os.write(tell, repr(error).encode())
            os._exit(1)
    os.close(tell)
    with os.fdopen(told) as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, said
    return eval(said)  # of our own numbers and texts


class StoreMachine(RuleBasedStateMachine):
    """The real store, and beside it what it must be."""

    pool: Pool

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=self.pool.folder.parent))
        self.tree = self.folder / "demo"
        self.tree.mkdir()
        self.store = Store.create(self.folder / "store")
        # the model: the source under each path, what was ingested last, and the state of records and objects
        self.there: dict[int, int] = {}
        self.labels: dict[int, int] = {}  # how often each path's labels were looked at again since they came
        self.catalog: dict[int, int] = {}
        self.catalog_labels: dict[int, int] = {}
        self.records = dict.fromkeys(range(N_SOURCES), GONE)
        self.objects = dict.fromkeys(range(N_SOURCES), GONE)
        self.frozen: set[frozenset[int]] = set()

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, act: Callable[[Store], Any], *, elsewhere: bool) -> Any:
        """Do something with the store, here or in another process that opens it itself."""
        if elsewhere:
            return in_another_process(lambda: act(Store.open(self.store.location)))
        return act(self.store)

    # The tree

    @rule(path=sources, source=sources)
    def come(self, path: int, source: int) -> None:
        """A recording lies under a path, with that path's labels."""
        edf = self.pool.edfs[path]
        place = self.tree / edf.relative_to(self.pool.folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path not in self.there:
            for label in edf.parent.glob(f"{edf.stem}.csv*"):
                shutil.copyfile(label, place.with_name(label.name))
            self.labels[path] = 0
        shutil.copyfile(self.pool.edfs[source], place)
        self.there[path] = source

    @precondition(lambda self: len(self.there) > 1)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.there)))
        edf = self.tree / self.pool.edfs[path].relative_to(self.pool.folder)
        for file in edf.parent.glob(f"{edf.stem}.*"):
            file.unlink()
        del self.there[path], self.labels[path]

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def relabel(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.there)))
        edf = self.tree / self.pool.edfs[path].relative_to(self.pool.folder)
        label = edf.with_suffix(".csv_bi")
        label.write_text(label.read_text() + "# looked at again\n")
        self.labels[path] += 1

    # What users do

    @precondition(lambda self: self.there)
    @rule(elsewhere=st.booleans())
    def ingest(self, elsewhere: bool) -> None:
        def act(store: Store) -> tuple[int, int, int]:
            accept = frozenset({"removed"})
            report = ingest(IngestOptions(root=self.tree, store=store.location, workers=1, accept=accept))
            return report.new, report.relabelled, len(report.failed)

        wanted = set(self.there.values())
        build = {s for s in wanted if self.records[s] != WHOLE or self.objects[s] == GONE}
        built = {min(p for p, s in self.there.items() if s == source) for source in build}  # the others reuse that
        relabelled = {
            path
            for path, version in self.catalog_labels.items()
            if path not in built and self.labels.get(path, version) != version
        }
        assert self.run(act, elsewhere=elsewhere) == (len(build), len(relabelled), 0)
        for source in build:
            self.records[source] = self.objects[source] = WHOLE
        self.catalog, self.catalog_labels = dict(self.there), dict(self.labels)

    @precondition(lambda self: self.catalog)
    @rule()
    def freeze(self) -> None:
        wanted = set(self.catalog.values())
        found = view(self.store, ViewRequest(EVERYTHING, RECIPE, WINDOW), location=self.store.location).view
        whole = all(self.records[s] == WHOLE and self.objects[s] != GONE for s in wanted)
        assert (found.state == "ready") == whole
        if whole:
            self.store.freeze(str(found.digest), found.to_json())
            self.frozen.add(frozenset(wanted))

    def named(self) -> set[int]:
        return {*self.catalog.values(), *(source for view in self.frozen for source in view)}

    @rule(elsewhere=st.booleans())
    def gc(self, elsewhere: bool) -> None:
        def act(store: Store) -> str:
            try:
                gc(store, yes=True, grace_s=0)
            except IntegrityError:
                return "refused"
            return "done"

        whole = DAMAGED not in self.records.values()
        assert self.run(act, elsewhere=elsewhere) == ("done" if whole else "refused")
        if whole:
            for source in set(range(N_SOURCES)) - self.named():
                self.records[source] = self.objects[source] = GONE

    def damaged(self) -> bool:
        named = self.named()
        return any(
            record == DAMAGED
            or self.objects[source] == DAMAGED
            or (record == WHOLE and self.objects[source] == GONE)
            or (source in named and GONE in (record, self.objects[source]))
            for source, record in self.records.items()
        )

    @rule(elsewhere=st.booleans())
    def verify(self, elsewhere: bool) -> None:
        code = self.run(lambda store: verify(store).exit_code, elsewhere=elsewhere)
        assert code == (IntegrityError.exit_code if self.damaged() else 0)

    @rule(elsewhere=st.booleans())
    def repair(self, elsewhere: bool) -> None:
        """What the tree still has under the catalog's path is mended; the rest is set aside, and is known as lost."""
        lost = {s for s in range(N_SOURCES) if self.records[s] == DAMAGED or self.objects[s] == DAMAGED} | {
            s
            for s in range(N_SOURCES)
            if (s in self.named() or self.records[s] == WHOLE) and GONE in (self.records[s], self.objects[s])
        }
        mendable = {s for path, s in self.catalog.items() if self.there.get(path) == s}
        # an object that no record and nothing else names is set aside, and is nobody's loss
        missed = lost - mendable - {s for s in lost - self.named() if self.records[s] == GONE}
        code = self.run(
            lambda store: repair(store, roots={"demo": self.tree}, workers=1).exit_code, elsewhere=elsewhere
        )
        for source in lost & mendable:
            self.records[source] = self.objects[source] = WHOLE
        for source in lost - mendable:  # never given out, and told of as long as anything names it
            if self.objects[source] == DAMAGED:
                self.objects[source] = GONE
            if self.records[source] == DAMAGED:
                self.records[source] = GONE
        assert (code == 0) == (not missed), (code, lost, mendable)

    @rule()
    def reopen(self) -> None:
        self.store = Store.open(self.store.location)

    # What disks do

    @rule(source=sources, how=st.sampled_from([DAMAGED, GONE]), place=st.floats(0, 1, exclude_max=True))
    def rot_object(self, source: int, how: str, place: float) -> None:
        if self.objects[source] != WHOLE:
            return
        folder = self.store.layout.object(self.pool.contents[source])
        if how == GONE:
            shutil.rmtree(folder)
        else:
            flip(folder / "c.0.0", place)
        self.objects[source] = how

    @rule(source=sources, how=st.sampled_from([DAMAGED, GONE]), place=st.floats(0, 1, exclude_max=True))
    def rot_record(self, source: int, how: str, place: float) -> None:
        if self.records[source] != WHOLE:
            return
        path = self.store.layout.record(self.pool.keys[source])
        if how == GONE:
            path.unlink()
        else:
            flip(path, place)
        self.records[source] = how

    # What always holds

    @invariant()
    def what_is_whole_reads_as_it_should_and_what_is_not_never_reads(self) -> None:
        if not hasattr(self, "store"):
            return
        for source, content in enumerate(self.pool.contents):
            state = self.objects[source]
            try:
                assert np.array_equal(samples_of(self.store, content), self.pool.samples[source])
            except IntegrityError:
                assert state != WHOLE
            else:
                assert state == WHOLE
            try:
                record = self.store.record(self.pool.keys[source])
                assert (record is not None) == (self.records[source] == WHOLE)
            except IntegrityError:
                assert self.records[source] == DAMAGED


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.unlink()  # a new inode: nobody has the old one mapped
    path.write_bytes(data)
    path.chmod(0o444)


def run(folder: Path, *, n_runs: int, n_steps: int, derandomize: bool = False) -> None:
    """Run the machine. Raises AssertionError with the shortest way to where store and model differ."""
    StoreMachine.pool = Pool(folder)
    chosen = settings(
        max_examples=n_runs,
        stateful_step_count=n_steps,
        deadline=None,
        derandomize=derandomize,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(StoreMachine, settings=chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--same", action="store_true", help="The same runs each time.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), n_runs=asked.runs, n_steps=asked.steps, derandomize=asked.same)
    print(f"state machine: {asked.runs:,} runs of up to {asked.steps} steps, store and model agree")


if __name__ == "__main__":
    main()
