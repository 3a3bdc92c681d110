"""`view`: what a profile holds, how much of it is ready, and the command that builds the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.core.access import Guard, write_file
from brainbrr.core.digest import canonical_json, key_of
from brainbrr.core.statcache import Host, Sources, keep
from brainbrr.eeg.corpus.annotations import label_digest
from brainbrr.eeg.corpus.census import by_format, labels_unread
from brainbrr.eeg.corpus.tree import RecordingFile, locate, scan
from brainbrr.eeg.signal.montage import has_position
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import Fix, RecordingError, UsageError
from brainbrr.loading.columnar import Assembled, StoredRecordings, contradicting
from brainbrr.loading.index import Index
from brainbrr.loading.labels import not_shown
from brainbrr.loading.recordings import OTHER_LABELS, Members, Missing, Scope, Stale, assemble, contradictions
from brainbrr.loading.windows import WindowSpec
from brainbrr.profiles import Profile
from brainbrr.settings import Settings
from brainbrr.store.catalog import Catalog
from brainbrr.store.columns import Columns, digests
from brainbrr.store.integrity import read_record
from brainbrr.store.layers import LayeredStore, Layers, layered
from brainbrr.store.opening import open_if_there
from brainbrr.store.remote import RemoteStore
from brainbrr.store.store import Store
from brainbrr.views.recipes import find_recipe
from brainbrr.views.select import (
    Examined,
    Selection,
    by_quality,
    resolve_corpus,
    select,
    select_places,
    worst_quality,
)
from brainbrr.views.splits import Splits
from brainbrr.views.view import View


@dataclass(frozen=True)
class ViewReport:
    """A view, its state, and the command that makes it ready."""

    view: View
    location: Path | str
    checked_root: Path | None = None
    elsewhere: Mapping[str, int] = field(default_factory=dict)
    fix: Fix | None = None
    leave_out: Fix | None = None
    findings: Mapping[str, Mapping[str, int]] | None = None
    """By name, in how many recordings and channels; None where no quality was requested."""
    contradictions: tuple[tuple[str, ...], ...] = ()
    """Recordings of the corpus that are the same bytes with different labels; `missing` names those of the view."""
    worst_quality: Mapping[str, Any] | None = None
    """The recording that scores least, its score from 0 to 100, and what lowers it most, as of its last ingest."""
    labels_unread: tuple[str, ...] = ()
    """Label files of the corpus that belong to no recording."""
    from_remotes: Mapping[str, int] = field(default_factory=dict)
    """By remote: recordings that are read there, in its folder."""
    at_remotes: Mapping[str, int] = field(default_factory=dict)
    """By remote: missing recordings that a pull fetches."""
    silent_remotes: tuple[str, ...] = ()
    """Remotes that did not answer, each with the reason."""

    @property
    def state(self) -> str:
        """`empty`, `incomplete`, `stale` or `ready`."""
        return self.view.state

    def ready_view(self) -> View:
        """Return the view. Raises ViewNotReadyError, with what is missing and the command that adds it."""
        self.view.require_ready(location=self.location)
        return self.view

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        view = self.view
        classes = np.bincount(view.classes(), minlength=4).tolist()
        found = view.totals
        in_gaps = int(np.diff(view.index.gaps).sum()) / view.rate_hz
        return {
            "state": self.state,
            "corpus": view.corpus,
            "profile": view.profile,
            "split": view.split,
            "selection": view.selection,
            "recipe": view.recipe.described(),
            "recordings": len(view.recordings) + len(view.missing) + len(view.omitted) + len(view.left_out),
            "ready": len(view.recordings),
            "left_out": [vars(each) for each in view.left_out],
            "findings": self.findings,
            "omitted": [vars(o) for o in view.omitted],
            "missing": [vars(m) for m in view.missing],
            "not_read": by_format([each.recording for each in view.missing] + [o.recording for o in view.omitted]),
            "labels_unread": list(self.labels_unread),
            "worst_quality": self.worst_quality,
            "stale": [vars(s) for s in view.stale],
            "elsewhere": self.elsewhere,
            "from_remotes": dict(self.from_remotes),
            "at_remotes": dict(self.at_remotes),
            "silent_remotes": list(self.silent_remotes),
            "windows": len(view),
            "window_classes": {
                name: classes[i] for i, name in enumerate(("background", "partial", "full", "unlabelled"))
            },
            "hours": round(found.seconds / 3600, 4),
            "seconds": found.seconds,
            "hours_in_gaps": round(in_gaps / 3600, 4),
            "seconds_in_gaps": in_gaps,
            "hours_dropped": round(view.n_dropped / view.rate_hz / 3600, 4),
            "seconds_dropped": view.n_dropped / view.rate_hz,
            "seizures": found.seizures,
            "patients": found.patients,
            "short": found.short,
            "labels_clipped": found.clipped,
            "hours_unlabelled": round(_unlabelled(view.index) / view.rate_hz / 3600, 4),
            "seconds_unlabelled": _unlabelled(view.index) / view.rate_hz,
            "event_channels_not_shown": list(not_shown(view.index)),
            "channels_missing": dict(sorted(found.absent.items())),
            "channels_flat": dict(sorted(found.flat.items())),
            "window": view.window.identity(),
            "synthetic": view.synthetic,
            "digest": view.digest,
            "bytes": _object_bytes(view),
            "extra_bytes": 0,
            "contradictions": [list(paths) for paths in self.contradictions],
            "root": str(self.checked_root) if self.checked_root else None,
            "mend": self.fix,
            "leave_out": self.leave_out,
        }


def _unlabelled(index: Index) -> int:
    """Return the samples of labelled recordings that are past their labels, or may hold a seizure or not."""
    past = (index.n_samples - index.labelled_until)[index.labelled].sum()
    in_gaps = (index.gaps[:, 1] - index.gaps[:, 0])[index.labelled[index.gap_of]].sum()
    return int(past + (index.unknown[:, 1] - index.unknown[:, 0]).sum() - in_gaps)


def _object_bytes(view: View) -> int:
    if view.totals.n_bytes is not None:
        return view.totals.n_bytes
    return sum(view.store.object_bytes(content) for content in {r.content for r in view.recordings})


@dataclass(frozen=True)
class ViewRequest:
    """Which recordings of a corpus, under which recipe, in which windows. `corpus` None: the only one in the store.

    `splits` None: those of the corpus's folders.
    """

    profile: Profile
    recipe: Recipe
    window: WindowSpec
    corpus: str | None = None
    split: str | None = None
    selection: Selection = field(default_factory=Selection)
    splits: Splits | None = None

    def described(self) -> dict[str, Any]:
        """Return what narrows the profile and who is in which split, as a frozen view keeps it."""
        splits = {} if self.splits is None else {"splits": self.splits.to_json()}
        return {**self.selection.to_json(), **splits}


def save_view(view: View, path: Path) -> None:
    """Write a frozen view to a file that is no more readable than its store. Raises OSError."""
    write_file(path, canonical_json(view.to_json()) + b"\n", (Guard.of(view.store.location),))


def view(
    store: Store | None,
    request: ViewRequest,
    *,
    location: Path | str,
    host: Host | None = None,
    flags: Sequence[str] = (),
) -> ViewReport:
    """Return a view of a store and its state; the corpus's folder is read only where it exists.

    A store that was never created gives an empty view. `host` knows where the corpus was ingested from, and opens the
    remotes that are asked for what is missing; without it, or when that folder is out of reach, nothing is compared
    with the files. `flags` are what the command that makes the
    view ready needs in addition to root and profile. Raises UsageError for what is not in the catalog, LeakError for a
    patient in two splits.
    """
    layers = Layers(store, host) if store and host else None
    name, catalog = _catalog(store, layers, request.corpus) if store else (request.corpus, None)
    if catalog and request.splits:
        catalog = request.splits.apply(catalog)
    members, examined = _members(store, catalog, request) if store and catalog else (Members(()), None)
    far: dict[str, str] = {}
    if store and layers and catalog and members.missing:
        keys = _keys_of(catalog, request.recipe, members.missing)
        store = layered(store, layers, keys)
        if isinstance(store, LayeredStore):
            far = {keys[key]: remote for key, remote in store.far.items()}
            members, examined = _members(store, catalog, request)
    columns = store.columns(catalog) if store and catalog else None
    members = _interpolable(members, request)
    root = host.root(Path(location), name) if host and name else None
    stale = None
    if host and catalog and root and members.recordings and not members.missing:
        stale = _stale(catalog, columns, [*_paths_of(members), *(o.recording for o in members.omitted)], root, host)
        members = replace(members, stale=stale or ())
    found = View(
        store,
        members,
        scope=Scope(name or "", request.profile.name, request.split, request.described()),
        recipe=request.recipe,
        window=request.window,
    )
    again = ["--rehash"] if examined and examined.damaged else []
    labelled = catalog is None or catalog.labelled
    command = _fix_of(request, found, root, labelled=labelled, flags=[*flags, *again])
    pulls = _pulls(found, far, flags)
    if pulls:
        rest = any(each.recording not in far for each in found.missing)
        command = Fix(pulls, ", then ", command) if rest else pulls
    refused = bool(members.missing) and all(entry.reason.startswith("refused") for entry in members.missing)
    if isinstance(store, RemoteStore):
        command, refused = Fix(("push", store.where, "--store", "FOLDER"), " from a store that has it"), False
    found.fix = command if found.state != "ready" else None
    return ViewReport(
        view=found,
        location=location,
        checked_root=None if stale is None else root,
        elsewhere=_elsewhere(store, catalog, found) if store and members.missing else {},
        fix=found.fix,
        leave_out=Fix((*command.commands[-1], "--accept", "refused")) if refused else None,
        findings=examined.findings if examined else None,
        contradictions=_contradictions(store, catalog) if store and catalog and catalog.labelled else (),
        worst_quality=_worst_quality(catalog, found) if catalog else None,
        labels_unread=tuple(labels_unread(catalog.settings)) if catalog else (),
        from_remotes=_read_there(store, found),
        at_remotes=Counter(far.values()),
        silent_remotes=tuple(layers.silent) if layers else (),
    )


def corpus_meant(store: Store, corpus: str | None, host: Host) -> str | None:
    """Return the corpus meant as `resolve_corpus` does; a remote may know one that the store does not."""
    known = store.corpora()
    if corpus is None and not known:
        found = Layers(store, host).catalog(None)
        return found.corpus if found else None
    return resolve_corpus(store, corpus) if corpus is None or corpus in known else corpus


def _catalog(store: Store, layers: Layers | None, corpus: str | None) -> tuple[str | None, Catalog | None]:
    """Return a corpus's name and catalog: the own one, else that of the first remote that has it."""
    names = store.corpora()
    if layers is not None and (not names if corpus is None else corpus not in names):
        catalog = layers.catalog(corpus)
        if catalog is not None:
            return catalog.corpus, catalog
    name = resolve_corpus(store, corpus)
    return name, store.catalog(name) if name else None


def _keys_of(catalog: Catalog, recipe: Recipe, missing: Sequence[Missing]) -> dict[str, str]:
    """Return the paths of missing recordings that a layer could have, by key."""
    rows = (catalog.rows[each.recording] for each in missing)
    return {key_of(source=row.source, recipe=recipe.digest): row.path for row in rows if row.source}


def _read_there(store: Store | None, found: View) -> Mapping[str, int]:
    borrowed = store.borrowed if isinstance(store, LayeredStore) else {}
    return Counter(borrowed[each.key] for each in found.recordings if each.key in borrowed) if borrowed else {}


def _pulls(found: View, far: Mapping[str, str], flags: Sequence[str]) -> Fix | None:
    """Return the commands that fetch what remotes have of the missing recordings, None where they have nothing."""
    at = sorted({far[each.recording] for each in found.missing if each.recording in far})
    profile = "full" if "splits" in found.selection else found.profile
    commands: list[Any] = []
    for remote in at:
        commands += [", "] if commands else []
        commands.append(("pull", remote, "--corpus", found.corpus, "--profile", profile, *flags))
    return Fix(*commands) if commands else None


def open_view(
    settings: Settings,
    *,
    profile: str,
    recipe: Recipe | str,
    window: WindowSpec,
    corpus: str | None = None,
    split: str | None = None,
    selection: Selection | None = None,
    splits: Splits | None = None,
) -> ViewReport:
    """Return a view of the settings' store; without a store, an empty one. `recipe`: one, or its name, digest or file.

    Raises as `view`, `resolve_corpus` and `find_recipe`.
    """
    store = open_if_there(settings)
    corpus = corpus_meant(store, corpus, settings.host) if store else corpus
    named, chosen = (recipe, find_recipe(store, recipe)) if isinstance(recipe, str) else (recipe.name, recipe)
    request = ViewRequest(
        settings.profile_of(corpus, profile), chosen, window, corpus, split, selection or Selection(), splits
    )
    flags = ["--recipe", named] if chosen.digest != Recipe().digest else []
    return view(store, request, location=str(settings.store), host=settings.host, flags=flags)


def _worst_quality(catalog: Catalog, found: View) -> dict[str, Any] | None:
    given = found.recordings
    paths = given.worst_paths() if isinstance(given, StoredRecordings) else [each.path for each in given]
    return worst_quality([catalog.rows[path] for path in paths], found.recipe.digest)


def _contradictions(store: Store, catalog: Catalog) -> tuple[tuple[str, ...], ...]:
    columns = store.columns(catalog)
    return contradictions(catalog.rows.values()) if columns is None else contradicting(catalog, columns)


def _members(store: Store, catalog: Catalog, request: ViewRequest) -> tuple[Members, Examined | None]:
    """Return the recordings that a request takes, and what their findings say where a quality is requested."""
    columns = store.columns(catalog)
    if columns is not None and request.splits is None and not request.selection.where:
        some = select_places(catalog, columns, request.profile, split=request.split, selection=request.selection)
        found = Assembled(store, catalog, columns, request.recipe)
        members = found.members(some, labelled=catalog.labelled, contradicting=contradicting(catalog, columns))
        return _by_quality(store, members, request)
    rows = select(
        store,
        catalog,
        request.profile,
        split=request.split,
        selection=request.selection,
        recipe=request.recipe,
    )
    rows = rows if request.splits is None else request.splits.renamed(catalog.corpus, rows)
    ready, missing, omitted = assemble(
        store,
        rows,
        recipe=request.recipe,
        labelled=catalog.labelled,
        contradicting=contradictions(catalog.rows.values()),
    )
    return _by_quality(store, Members(ready, missing, omitted), request)


_NOT_INTERPOLATED = "and pairs of electrodes cannot be interpolated"


def _interpolable(members: Members, request: ViewRequest) -> Members:
    """Move recordings that lack a pair of electrodes, where the window interpolates, to the missing ones."""
    if request.window.missing != "interpolate" or all(map(has_position, request.recipe.channels)):
        return members
    lacking = {each.path: each.absent for each in members.recordings if each.absent}
    if not lacking:
        return members
    missing = [
        Missing(path, f"absent: {', '.join(names)}, {_NOT_INTERPOLATED}", True) for path, names in lacking.items()
    ]
    kept = tuple(each for each in members.recordings if each.path not in lacking)
    return replace(members, recordings=kept, missing=(*members.missing, *missing))


def _by_quality(store: Store, members: Members, request: ViewRequest) -> tuple[Members, Examined | None]:
    if request.selection.min_quality is None or not members.recordings:
        return members, None
    examined = by_quality(store, members.recordings, request.selection.min_quality)
    missing = (*members.missing, *examined.missing)
    return replace(members, recordings=examined.kept, missing=missing, left_out=examined.left_out), examined


def _paths_of(members: Members) -> Sequence[str]:
    found = members.recordings
    return found.paths if isinstance(found, StoredRecordings) else [each.path for each in found]


_Known = tuple[int, str | None, str | None]
"""What a catalog says of a recording's files: bytes and source of the EDF, digest of the labels."""


def _known(catalog: Catalog, columns: Columns | None) -> Mapping[str, _Known]:
    if columns is None:
        return {path: (row.n_bytes, row.source, row.labels) for path, row in catalog.rows.items()}
    arrays = columns.arrays
    texts = [
        [name if there else None for name, there in zip(digests(arrays[kind]), arrays[f"has_{kind}"], strict=True)]
        for kind in ("source", "labels")
    ]
    return dict(zip(columns.paths, zip(arrays["n_bytes"].tolist(), *texts, strict=True), strict=True))


def _stale(
    catalog: Catalog, columns: Columns | None, paths: Sequence[str], root: Path, host: Host
) -> tuple[Stale, ...] | None:
    """Return the recordings whose files differ from the catalog; None when the root is out of reach.

    Sizes and remembered stats come first, bytes when in doubt.
    """
    try:
        files = {file.path: file for file in scan(locate(root, name=catalog.corpus))}
    except UsageError:  # not mounted, or empty: nothing can be compared
        return None
    sources, known = host.sources(root), _known(catalog, columns)
    reasons = {path: _difference(known[path], files.get(path), sources, catalog.labelled) for path in paths}
    keep(sources.save)
    return tuple(Stale(path, reason) for path, reason in reasons.items() if reason)


def _difference(known: _Known, file: RecordingFile | None, sources: Sources, labelled: bool) -> str | None:
    n_bytes, source, labels = known
    if file is None:
        return "the EDF is gone"
    if file.refusal is not None:  # nothing of it was read
        return None if source is None else "the EDF changed"
    try:
        if file.edf.stat().st_size != n_bytes or sources.digest(file.edf) != source:
            return "the EDF changed"
        found = label_digest(file.labels, digest_of=sources.digest) if labelled and file.labels else None
        if labelled and found != labels:
            return "the label file changed"
    except (OSError, RecordingError) as error:
        return f"cannot be read: {error}"
    return None


def _elsewhere(store: Store, catalog: Catalog | None, found: View) -> dict[str, int]:
    """Count, per other recipe, the missing recordings that it has; they are never mixed in."""
    rows = catalog.rows if catalog else {}
    wanted = {rows[m.recording].source for m in found.missing} - {None}
    counts: Counter[str] = Counter()
    for key in store.keys():  # noqa: SIM118  # a store is no dict
        record = read_record(store, key)
        if record is not None and record.source in wanted and record.recipe != found.recipe.digest:
            counts[f"{record.provenance.get('recipe_name', '')} {record.recipe[:8]}".strip()] += 1
    return dict(counts)


def _fix_of(request: ViewRequest, found: View, root: Path | None, *, labelled: bool, flags: Sequence[str]) -> Fix:
    """Return what makes a view ready: a command, and what to do before it where that alone changes nothing."""
    reasons = [entry.reason for entry in found.missing]
    if reasons and all(reason.endswith(_NOT_INTERPOLATED) for reason in reasons):
        return Fix(
            'choose missing = "zero" in the [window] of a training config, or list these recordings in a file: ',
            ("view", "--profile", request.profile.name, *flags, "--exclude", "FILE"),
        )
    splits = request.splits.given if request.splits else ()
    command = fix_command(found, root, labelled=labelled, flags=flags, splits=splits)
    if reasons and all(reason.startswith(OTHER_LABELS) for reason in reasons):
        return Fix("delete the copies, or give all of them the same labels, then ", command)
    return command


def fix_command(
    found: View, root: Path | None, *, labelled: bool, flags: Sequence[str], splits: Sequence[str] = ()
) -> Fix:
    """Return the command that makes a view ready. `splits`: the words that gave its own; without, all is ingested."""
    words = ["ingest", str(root) if root else "ROOT"]
    if found.corpus and (root is None or root.name != found.corpus):
        words += ["--corpus", found.corpus]
    words += ["--profile", "full" if "splits" in found.selection and not splits else found.profile, *splits, *flags]
    if not labelled:
        words += ["--labels", "none"]
    return Fix(words)
