"""The commands that the torture breaks: each one a way to prepare a place, and a command line.

A new command is one more entry of OPERATIONS.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.cli.main import main
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.store.store import Store
from brainbrr.store.verify import verify


@dataclass(frozen=True)
class Place:
    """One folder with all that a command touches: the corpus, the store on a disk of its own, the host's memory."""

    folder: Path

    @property
    def corpus(self) -> Path:
        return self.folder / "demo"

    @property
    def disk(self) -> Path:
        """What is filled up when a disk is full."""
        return self.folder / "disk"

    @property
    def store(self) -> Path:
        return self.disk / "store"

    @property
    def host(self) -> Path:
        return self.folder / "host"


@dataclass(frozen=True)
class Operation:
    """A command, what makes the place in which it runs, and whether it writes. `command` gives its arguments."""

    prepare: Callable[[Place], None]
    command: Callable[[Place], list[object]]
    writes: bool = True


@dataclass(frozen=True)
class Told:
    """How a command ended, what it said, and what it raised that nobody caught."""

    code: int
    out: str
    err: str


def run_here(place: Place, *arguments: object) -> Told:
    """Run the command line in this process."""
    os.environ["XDG_CACHE_HOME"] = str(place.host)
    os.environ["XDG_CONFIG_HOME"] = str(place.folder / "config")
    sys.argv = ["brainbrr", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Told(code, out.getvalue(), err.getvalue())


def must(place: Place, *arguments: object) -> None:
    told = run_here(place, *arguments)
    if told.code:
        raise RuntimeError(f"{arguments}: {told}")


def corpus_alone(place: Place) -> None:
    """Two recordings of two tiles, one of them behind a link to another disk."""
    write_corpus(place.corpus, n_recordings=2, seconds=(11, 12))
    folder = sorted(place.corpus.rglob("*.edf"))[1].parent
    folder.rename(place.folder / "elsewhere")
    folder.symlink_to(place.folder / "elsewhere")
    place.disk.mkdir()
    place.host.mkdir()


def ingest(place: Place) -> list[object]:
    return ["ingest", place.corpus, "--store", place.store, "--workers", 1]


def ingested(place: Place) -> None:
    corpus_alone(place)
    must(place, *ingest(place))


def relabelled(place: Place) -> None:
    """Stored, then one label file edited."""
    ingested(place)
    labels = sorted(place.corpus.rglob("*.csv_bi"))[0]
    labels.write_text(labels.read_text() + "# looked at again\n")


def damaged(place: Place) -> None:
    """Stored, then one shard damaged, and all findings gone."""
    ingested(place)
    shard = sorted(place.store.glob("objects.zarr/*/*/c.0.0"))[0]
    shard.chmod(0o644)
    with shard.open("r+b") as file:
        file.write(b"rot")
    for findings in place.store.glob("findings/*/*.json"):
        findings.unlink()


def half_done(place: Place) -> None:
    """Stored, but for the records, and as a power cut leaves findings: empty."""
    ingested(place)
    for record in place.store.glob("records/*/*.json"):
        record.unlink()
    for findings in place.store.glob("findings/*/*.json"):
        findings.chmod(0o644)
        findings.write_bytes(b"")


def at_store(*words: object) -> Callable[[Place], list[object]]:
    return lambda place: [*words, "--store", place.store]


OPERATIONS = {
    "ingest": Operation(corpus_alone, ingest),
    "relabel": Operation(relabelled, ingest),
    "resume": Operation(half_done, ingest),
    "rehash": Operation(damaged, lambda place: [*ingest(place), "--rehash"]),
    "zstd": Operation(corpus_alone, lambda place: [*ingest(place), "--codec", "zstd"]),
    "view": Operation(ingested, at_store("view"), writes=False),
    "verify": Operation(ingested, at_store("verify"), writes=False),
    "check": Operation(ingested, at_store("check"), writes=False),
    "status": Operation(ingested, at_store("status"), writes=False),
}


def state(location: Path) -> dict[str, Any]:
    """What a store holds, as far as it should not depend on when and how often it was written."""
    if not (location / "format.json").exists():
        return {"contents": [], "records": {}, "findings": [], "rows": {}, "views": ()}
    store = Store.open(location)
    catalogs = {corpus: store.catalog(corpus) for corpus in store.corpora()}
    return {
        "contents": sorted(store.contents()),
        "records": {record.key: record.content for record in store.records()},
        "findings": sorted(store.found_findings()),
        "rows": {path: row.to_json() for catalog in catalogs.values() if catalog for path, row in catalog.rows.items()},
        "views": store.frozen_views(),
    }


def damage(location: Path) -> list[str]:
    """What `verify` says of a store; nothing of one that was never made."""
    if not (location / "format.json").exists():
        return []
    return [str(found) for found in verify(Store.open(location)).corrupt]
