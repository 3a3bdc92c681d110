"""`view`: what a profile holds, how much of it is ready, and the command that mends the rest."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.eeg.annotations import label_digest
from brainbrr.eeg.corpus import locate, scan
from brainbrr.eeg.recipe import Recipe
from brainbrr.host import Host
from brainbrr.profiles import Profile
from brainbrr.recordings import assemble
from brainbrr.store.catalog import Catalog
from brainbrr.store.store import Store
from brainbrr.verbs.select import Selection, resolve_corpus, select
from brainbrr.views import View
from brainbrr.windows import WindowSpec


@dataclass(frozen=True)
class Stale:
    """A recording whose EDF or label file is no longer what the catalog says."""

    recording: str
    reason: str


@dataclass(frozen=True)
class ViewReport:
    """A view, its state, and what would mend it."""

    view: View
    location: Path
    state: str
    stale: tuple[Stale, ...]
    checked_root: Path | None
    elsewhere: dict[str, int]
    mend: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        view = self.view
        classes = Counter(int(c) for c in view.classes())
        channels = Counter(name for r in view.recordings for name in r.record.array.absent)
        return {
            "state": self.state,
            "corpus": view.corpus,
            "profile": view.profile,
            "split": view.split,
            "selection": view.selection,
            "recipe": {"name": view.recipe.name, "digest": view.recipe.digest},
            "recordings": len(view.recordings) + len(view.missing) + len(view.omitted),
            "ready": len(view.recordings),
            "omitted": [vars(o) for o in view.omitted],
            "missing": [vars(m) for m in view.missing],
            "stale": [vars(s) for s in self.stale],
            "elsewhere": self.elsewhere,
            "windows": len(view),
            "window_classes": {
                name: classes[i] for i, name in enumerate(("background", "partial", "full", "unlabelled"))
            },
            "hours": round(sum(r.duration_s for r in view.recordings) / 3600, 4),
            "seizures": sum(len(r.seizures) for r in view.recordings),
            "patients": len({r.patient for r in view.recordings}),
            "short": sum(r.n_samples < view.length for r in view.recordings),
            "labels_clipped": sum(r.n_clipped for r in view.recordings),
            "channels_missing": dict(sorted(channels.items())),
            "window": view.window.identity(),
            "synthetic": view.synthetic,
            "digest": view.digest,
            "bytes": sum(view.store.object_bytes(c) for c in {r.content for r in view.recordings}),
            "extra_bytes": 0,
            "root": str(self.checked_root) if self.checked_root else None,
            "mend": self.mend,
        }


def view(
    store: Store | None,
    *,
    location: Path,
    profile: Profile,
    recipe: Recipe,
    window: WindowSpec,
    corpus: str | None = None,
    split: str | None = None,
    selection: Selection = Selection(),  # noqa: B008  # frozen
    host: Host | None = None,
    store_flag: str | None = None,
) -> ViewReport:
    """Return a view of a store and its state, without touching the EDF tree unless it is there.

    A store that was never made is an empty view. `host` knows where the corpus was ingested from; without it,
    or when the root is out of reach, nothing is checked against the files. Raises UsageError for what is not
    in the catalog.
    """
    name = resolve_corpus(store, corpus) if store else corpus
    catalog = store.catalog(name) if store and name else None
    rows = select(catalog, profile, split=split, selection=selection) if catalog else ()
    ready, missing, omitted = (
        assemble(store, rows, recipe=recipe, labelled=catalog.labelled) if store and catalog else ((), (), ())
    )
    found = View(
        store,
        corpus=name or "",
        profile=profile.name,
        split=split,
        recipe=recipe,
        window=window,
        recordings=ready,
        missing=missing,
        omitted=omitted,
        selection=selection.to_json(),
    )
    root = host.root(location, name) if host and name else None
    reachable = root if root is not None and root.is_dir() else None
    stale: tuple[Stale, ...] = ()
    if found.state == "ready" and reachable is not None and catalog is not None and host is not None:
        stale = _stale(catalog, found, reachable, host)
    state = "stale" if stale else found.state
    return ViewReport(
        view=found,
        location=location,
        state=state,
        stale=stale,
        checked_root=reachable,
        elsewhere=_elsewhere(store, catalog, found) if store and missing else {},
        mend=None if state == "ready" else mend(found, root, store_flag),
    )


def _stale(catalog: Catalog, found: View, root: Path, host: Host) -> tuple[Stale, ...]:
    """Return the recordings whose files differ from the catalog: size and stat first, bytes when in doubt."""
    sources = host.sources(root)
    files = {file.path: file for file in scan(locate(root, name=found.corpus))}
    stale = []
    for recording in found.recordings:
        row, file = catalog.rows[recording.path], files.get(recording.path)
        if file is None:
            stale.append(Stale(row.path, "the EDF is gone"))
        elif (
            file.edf.stat().st_size != row.n_bytes or (sources.known(file.edf) or sources.hash(file.edf)) != row.source
        ):
            stale.append(Stale(row.path, "the EDF changed"))
        elif catalog.labelled and (label_digest(file.labels) if file.labels else None) != row.labels:
            stale.append(Stale(row.path, "the label file changed"))
    sources.save()
    return tuple(stale)


def _elsewhere(store: Store, catalog: Catalog | None, found: View) -> dict[str, int]:
    """Count, per other recipe, the missing recordings that it has: never mixed in, only named."""
    rows = catalog.rows if catalog else {}
    wanted = {rows[m.recording].source for m in found.missing} - {None}
    counts: Counter[str] = Counter()
    for key in store.keys():  # noqa: SIM118  # a store is no dict
        record = store.unproven_record(key)
        if record is not None and record.source in wanted and record.recipe != found.recipe.digest:
            counts[f"{record.provenance.get('recipe_name', '')} {record.recipe[:8]}".strip()] += 1
    return dict(counts)


def mend(found: View, root: Path | None, store_flag: str | None = None) -> str:
    """Return the whole command that makes a view ready."""
    words = ["brainbrr", "ingest", str(root) if root else "ROOT"]
    if found.corpus and (root is None or root.name != found.corpus):
        words += ["--corpus", found.corpus]
    words += ["--profile", found.profile]
    if found.recipe.name != "default":
        words += ["--recipe", found.recipe.name]
    if found.missing and all(m.reason.startswith("refused") for m in found.missing):
        words.append("--accept-refused")
    if store_flag is not None:
        words += ["--store", store_flag]
    return shlex.join(words) if root else " ".join(words)
