"""`pin`: a view that the store keeps for good, with all that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainbrr.digest import is_digest
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import marks
from brainbrr.store.store import Store
from brainbrr.views import View

_FIX = "give the digest of a view that is frozen in the store, a run's view.json, or what `brainbrr view --out` wrote"


@dataclass(frozen=True)
class PinReport:
    """What was done, and every pin that there is now: {view, created, by, corpus, profile, split, recordings}."""

    store: Path
    view: str | None
    done: str
    """`listed`, `pinned`, `was pinned`, `unpinned` or `was not pinned`."""
    pins: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "store": str(self.store), "pins": [dict(pin) for pin in self.pins]}


def pin(store: Store, view: str, *, remove: bool = False) -> PinReport:
    """Freeze a view in the store if it is not, and keep it for good; or, with `remove`, let it be forgotten again.

    `view`: a digest, or what begins one, of a frozen view; or a file that holds one. Raises UsageError for neither,
    IntegrityError where the store does not hold what the view names.
    """
    if remove:
        named = _frozen(store, view, {*store.layout.pins(), *store.frozen_views()}) or str(read_view(view)["digest"])
        return _report(store, named, "unpinned" if marks.unpin(store, named) else "was not pinned")
    digest = _frozen(store, view, set(store.frozen_views()))
    said = store.frozen(digest) if digest else read_view(view)
    if said is None:
        raise IntegrityError("this view is no longer frozen", where=store.layout.view(str(digest)), fix=_FIX)
    try:
        opened = View.from_json(store, said)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this is no frozen view: {error}", where=view, fix=_FIX) from None
    digest = str(opened.digest)
    return _report(store, digest, "pinned" if keep(store, digest, said) else "was pinned")


def keep(store: Store, digest: str, view: Mapping[str, Any]) -> bool:
    """Freeze a view and pin it; say whether it was not pinned before. Raises IntegrityError where a gc was faster."""
    marks.freeze(store, digest, view)
    is_new = marks.pin(store, digest)
    need_objects(store, view)
    return is_new


def pins(store: Store) -> PinReport:
    """Return every pin."""
    return _report(store, None, "listed")


def need_objects(store: Store, view: Mapping[str, Any]) -> None:
    """Raise IntegrityError unless the store holds every record and object that a view names. Reads no signal."""
    for entry in view["recordings"]:
        record = store.record(entry["key"])
        if record is None or record.content != entry["content"] or not store.has_object(record):
            raise IntegrityError(
                f"the view names content {entry['content'][:12]}, which the store does not hold",
                where=entry["path"],
                fix="ingest the corpus into this store again",
            )


def read_view(path: str) -> dict[str, Any]:
    """Return what a file says of a view. Raises UsageError for what is neither a file nor a frozen view."""
    try:
        value = json.loads(Path(path).read_bytes())
    except OSError:
        raise UsageError(f"{path[:80]!r} is neither a view frozen in this store nor a file", fix=_FIX) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"this is no frozen view: {error}", where=path, fix=_FIX) from None
    if not isinstance(value, dict) or not is_digest(value.get("digest"), 64):
        raise UsageError("this is no frozen view", where=path, fix=_FIX)
    return value


def _frozen(store: Store, text: str, known: set[str]) -> str | None:
    """Return the one known digest that a text names; None where it names none."""
    found = marks.matching(known, text, 64)
    if len(found) > 1:
        raise UsageError(f"{text} begins {len(found)} digests", fix="give more of its digits")
    return found[0] if found else None


def _report(store: Store, view: str | None, done: str) -> PinReport:
    every = []
    for digest in store.layout.pins():
        said, frozen = marks.pinned(store, digest), store.frozen(digest) or {}
        if said is not None:
            of = {name: frozen.get(name) for name in ("corpus", "profile", "split")}
            every.append({**said, **of, "recordings": len(frozen.get("recordings", ()))})
    return PinReport(store.location, view, done, tuple(every))
