"""`push` and `pull`: what one store has of a view and another lacks, each object verified before it appears there.

Only what is missing travels, many at once; what was interrupted goes on when it is run again. In the target, a record
appears after its object, the catalog after the records, and the frozen view last.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.core.digest import key_of
from brainbrr.core.progress import Progress
from brainbrr.core.statcache import Host
from brainbrr.eeg.corpus.terms import strictest
from brainbrr.eeg.quality.detector import QUALITY_VERSION
from brainbrr.errors import Fix, IntegrityError, UsageError, ViewNotReadyError
from brainbrr.share import accept
from brainbrr.share.locks import Lock
from brainbrr.share.terms import require_allowed
from brainbrr.store import catalog as catalogs
from brainbrr.store import frozen_views, remotes, sidecars
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.layers import Layer, LayeredStore, by_layer
from brainbrr.store.remote import RemoteStore
from brainbrr.store.remotes import Remote
from brainbrr.store.send import Failed, Sent, send
from brainbrr.store.store import Store
from brainbrr.views.report import ViewReport, ViewRequest
from brainbrr.views.report import view as view_of
from brainbrr.views.view import View

_DOING = {"pull": "pulling", "unbundle": "unbundling"}


@dataclass(frozen=True)
class TransferReport:
    """What a push or pull did. `differing`: recordings of which the two catalogs say different things."""

    direction: str
    remote: str
    store: Path
    corpus: str
    profile: str
    digest: str | None
    recordings: int
    sent: int
    reused: int
    n_bytes: int
    failed: tuple[Failed, ...]
    missing: tuple[str, ...]
    differing: tuple[str, ...]
    kept: str
    seconds: float

    @property
    def exit_code(self) -> int:
        """4 where something is damaged, 3 where the source has only a part of the view."""
        return 4 if self.failed else 3 if self.missing else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["bytes"] = fields.pop("n_bytes")
        texts = {name: list(fields[name]) for name in ("missing", "differing")}
        failed = [vars(each) for each in self.failed]
        return {**fields, **texts, "store": str(self.store), "failed": failed, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Chosen:
    """What to send: a frozen view by its digest, or all that a request takes."""

    request: ViewRequest
    digest: str | None = None


def push(
    store: Store, remote: Remote, chosen: Chosen, *, host: Host, replace: bool = False, progress: Progress
) -> TransferReport:
    """Send to a remote what it lacks of a view, and the catalog of its corpus; creates the store there.

    Where the two catalogs say different things of a recording, the remote's row stays, unless `replace`.
    """
    began = time.monotonic()
    view = view_in(store, chosen)
    require_allowed(catalog_in(store, view.corpus), remote, what=f"sending it to {remote.name}")
    target = remotes.open_or_create(remote.url, host, like=store)
    known = view.digest is not None and _has_view(target, view.digest)
    sent = Sent(reused=len(view.recordings)) if known else _send(store, target, view, "pushing", progress)
    differing, is_new = send_catalog(store, target, view.corpus, prefer_source=replace)
    if view.state == "ready" and not sent.failed and not known:
        freeze(target, view)
        is_new = True
    if is_new:
        write_index(target)
    return _report("push", remote, store, view, sent, differing, "ours" if replace else "the remote's", began)


def catalog_in(store: Store, corpus: str) -> Catalog:
    """Return a corpus's catalog. Raises UsageError where there is none: it says who may have the corpus."""
    found = store.catalog(corpus) if corpus in store.corpora() else None
    if found is None:
        raise UsageError(f"nothing is known of corpus {corpus!r}, also not who may have it", where=store.where)
    return found


def _has_view(target: Store, digest: str) -> bool:
    """Say whether a view is frozen at a remote, so that all of it was there; folders are looked through in any case."""
    return isinstance(target, RemoteStore) and target.has_view(digest)


def pull(
    store: Store,
    remote: Remote,
    source: Store,
    chosen: Chosen,
    *,
    lock: Lock | None = None,
    direction: str = "pull",
    progress: Progress,
) -> TransferReport:
    """Fetch from `source`, the remote's store, what ours lacks of a view, and its corpus's catalog.

    Where the two catalogs say different things of a recording, the remote's row replaces ours. With a lock, only what
    it names is accepted.
    """
    began = time.monotonic()
    view, forged = view_in(source, chosen), list[Failed]()
    if lock is not None:
        view, forged = accept.named_by(lock, view)
    sent = _send(source, store, view, _DOING[direction], progress)
    sent.failed += forged
    keep = accept.rows_of(lock, view) if lock else None
    differing, _ = send_catalog(source, store, view.corpus, prefer_source=True, keep=keep)
    store.cancel_deletions()
    if chosen.digest is not None and view.state == "ready" and not sent.failed:
        freeze(store, view)
    return _report(direction, remote, store, view, sent, differing, "the remote's", began)


def fetch(report: ViewReport, progress: Progress) -> bool:
    """Copy what remotes have of a view into its store, in order of the remotes; return whether anything came.

    Recordings that the store knew keep the rows of its own catalog. Raises as `pull`; IntegrityError for damage.
    """
    view, layers = report.view, report.view.store_if_there
    if not isinstance(layers, LayeredStore):
        return False
    store = Store(layers.layout)
    paths = {each.key: each.path for each in view.recordings}
    for layer, recordings in by_layer(layers.found, paths).items():
        source, task = layer.store, f"pulling from {layer.name}"
        sent = send(source, store, recordings, findings=QUALITY_VERSION, task=task, progress=progress)
        if sent.failed:
            raise IntegrityError(f"{sent.failed[0].recording}: {sent.failed[0].reason}", where=source.where)
        if view.corpus not in store.corpora():
            send_catalog(source, store, view.corpus, prefer_source=False)
        progress.say(f"{len(recordings)} recordings came from remote {layer.name}, {sent.n_bytes:,} bytes")
    came = {key: record.content for key, (_, record) in layers.found.items()}
    name_in_catalog(store, view.corpus, view.recipe.digest, came)
    return True


def name_in_catalog(store: Store, corpus: str, recipe: str, contents: Mapping[str, str]) -> None:
    """Let the rows of a catalog name objects that came to the store, by key: a gc would delete others."""

    def with_them(latest: Catalog | None) -> Catalog:
        assert latest is not None
        rows = {}
        for path, row in latest.rows.items():
            key = key_of(source=row.source, recipe=recipe) if row.source else ""
            named = {**row.contents, **({recipe: contents[key]} if key in contents else {})}
            rows[path] = row if named == row.contents else row.model_copy(update={"contents": named})
        return dataclasses.replace(latest, rows=rows)

    store.publish(corpus, with_them)
    store.cancel_deletions()


def _send(source: Store, target: Store, view: View, task: str, progress: Progress) -> Sent:
    recordings = ((each.path, each.record) for each in view.recordings)
    return send(source, target, recordings, findings=QUALITY_VERSION, task=task, progress=progress)


def _report(
    direction: str,
    remote: Remote,
    store: Store,
    view: View,
    sent: Sent,
    differing: Sequence[str],
    kept: str,
    began: float,
) -> TransferReport:
    return TransferReport(
        direction=direction,
        remote=remote.name,
        store=store.location,
        corpus=view.corpus,
        profile=view.profile,
        digest=view.digest,
        recordings=len(view.recordings),
        sent=sent.objects,
        reused=sent.reused,
        n_bytes=sent.n_bytes,
        failed=tuple(sent.failed),
        missing=tuple(each.recording for each in view.missing),
        differing=tuple(differing),
        kept=kept,
        seconds=time.monotonic() - began,
    )


def view_in(source: Store, chosen: Chosen) -> View:
    """Open a view of the store that has it; its records come first where they are far away."""
    if chosen.digest is not None:
        digest = _one_view(source, chosen.digest)
        frozen = source.frozen(digest)
        if frozen is None:
            raise IntegrityError("this view is no longer frozen", where=digest)
        return View.from_json(source, frozen)
    found = view_of(source, chosen.request, location=source.where).view
    if not found.recordings:
        what = "nothing of this view is stored"
        raise ViewNotReadyError(what, where=source.where, fix=Fix(("status",), " shows what is"))
    return found


def _one_view(source: Store, text: str) -> str:
    found = frozen_views.matching(set(source.frozen_views()), text, 64)
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} frozen views begin with" if found else "no frozen view is called"
    fix = "give the digest of a view that is frozen there, or --profile"
    raise UsageError(f"{what} {text[:64]!r}", where=source.where, fix=fix)


def freeze(target: Store, view: View) -> None:
    """Keep a view that is ready in a store, its own or a remote one."""
    if isinstance(target, RemoteStore):
        target.freeze(str(view.digest), view.to_json())
    else:
        frozen_views.freeze(target, str(view.digest), view.to_json())


# Catalogs


def send_catalog(
    source: Store,
    target: Store,
    corpus: str,
    *,
    prefer_source: bool,
    keep: Callable[[Catalog], Catalog] | None = None,
    complete: str | None = None,
) -> tuple[tuple[str, ...], bool]:
    """Merge a corpus's catalog into that of the target; a row names only objects that the target has.

    `keep` makes of the source's catalog what is accepted of it. `complete`: a recipe; rows also name what the target
    has under it, also from other senders. Return the recordings of which the two differ, and whether there is a new
    generation.
    """
    ours = source.catalog(corpus) if corpus in source.corpora() else None
    if ours is None:
        return (), False
    ours = keep(ours) if keep else ours
    if complete is not None:
        ours = _completed(ours, target, complete)
    has = _Holds(target, ours)
    differing: list[str] = []
    before: list[int] = []

    def merge(theirs: Catalog | None) -> Catalog:
        differing[:] = _differing(ours, theirs)
        before.append(theirs.seq if theirs else 0)
        found = merged(ours, theirs, has=has, prefer_ours=prefer_source)
        return dataclasses.replace(found, created=sidecars.now())

    found = target.publish(corpus, merge)
    return tuple(differing), found.seq != before[0]


def _completed(catalog: Catalog, target: Store, recipe: str) -> Catalog:
    """Return a catalog whose rows name what the target has of them under a recipe."""
    lacking = [row for row in catalog.rows.values() if row.source and recipe not in row.contents]
    keys = {key_of(source=str(row.source), recipe=recipe): row for row in lacking}
    rows = dict(catalog.rows)
    for key, record in Layer("", target).records(keys).items():
        row = keys[key]
        rows[row.path] = row.model_copy(update={"contents": {**row.contents, recipe: record.content}})
    return dataclasses.replace(catalog, rows=rows)


class _Holds:
    """Which keys of a catalog a store has, looked up when the first one is asked for."""

    def __init__(self, target: Store, catalog: Catalog) -> None:
        self._target, self._catalog = target, catalog
        self._known: set[str] | None = None

    def __call__(self, key: str) -> bool:
        if self._known is None:
            keys = {key for row in self._catalog.rows.values() for key in _keys(row).values()}
            if isinstance(self._target, RemoteStore):
                self._known = self._target.which(keys)
            else:
                self._known = {key for key in keys if self._target.path_of("record", key).exists()}
        return key in self._known


def _keys(row: Row) -> dict[str, str]:
    """Return the keys of what a row's source became, by recipe."""
    return {recipe: key_of(source=row.source, recipe=recipe) for recipe in row.contents} if row.source else {}


def _differing(ours: Catalog, theirs: Catalog | None) -> Iterator[str]:
    """Yield the recordings of both catalogs that have other bytes, labels or places in them."""
    for path, row in ours.rows.items():
        other = theirs.rows.get(path) if theirs else None
        if other is not None and _facts(row) != _facts(other) and row.source and other.source:
            yield path


def _facts(row: Row) -> tuple[object, ...]:
    return row.source, row.labels, row.annotations, row.split, row.patient


def merged(ours: Catalog, theirs: Catalog | None, *, has: Callable[[str], bool], prefer_ours: bool) -> Catalog:
    """Return the union of two catalogs; of a recording in both, the preferred row with what both know of its source."""
    if theirs is None:
        return dataclasses.replace(ours, rows={path: _without(row, None, has) for path, row in ours.rows.items()})
    first, second = (ours, theirs) if prefer_ours else (theirs, ours)
    rows = {}
    for path in {**first.rows, **second.rows}:
        row = _joined(first.rows.get(path), second.rows.get(path))
        rows[path] = _without(row, theirs.rows.get(path), has)
    return dataclasses.replace(first, rows=rows, settings=strictest(first.settings, second.settings))


def _joined(first: Row | None, second: Row | None) -> Row:
    if first is None or second is None:
        row = first or second
        assert row is not None
        return row
    if first.source is None and second.source is not None:
        return second
    if first.source != second.source:
        return first
    contents = {**second.contents, **first.contents}
    both = {**second.refusals, **first.refusals}
    refusals = {recipe: refusal for recipe, refusal in both.items() if recipe not in contents}
    known = {"signal_us": second.signal_us, "synthetic": second.synthetic} if first.signal_us is None else {}
    return first.model_copy(update={"contents": contents, "refusals": refusals, **known})


def _without(row: Row, theirs: Row | None, has: Callable[[str], bool]) -> Row:
    """Return a row without the contents that the target lacks; those of its own row are there."""
    known = theirs.contents if theirs is not None and theirs.source == row.source else {}
    keys = _keys(row)
    contents = {
        recipe: content
        for recipe, content in row.contents.items()
        if recipe in keys and (recipe in known or has(keys[recipe]))
    }
    return row if len(contents) == len(row.contents) else row.model_copy(update={"contents": contents})


def write_index(target: Store) -> None:
    """Write the names that a reader needs who cannot list, as at a web site."""
    if isinstance(target, RemoteStore):
        target.write_index()
    else:
        catalogs.write_index(target.layout)
