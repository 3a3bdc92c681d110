"""Frozen views, pins and retired recipes: what keeps data from gc, and what releases it.

Whatever keeps something is published first, and a running deletion is cancelled after that: see deletion.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from brainbrr.core import files, models
from brainbrr.core.digest import canonical_json, is_digest, json_digest, recipe_digest, sha256
from brainbrr.core.models import Many, Stored
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import sidecars
from brainbrr.store.layout import Layout
from brainbrr.store.sidecars import Pin, Receipt, RetiredRecipe
from brainbrr.store.store import Store


def freeze(store: Store, digest: str, view: Mapping[str, Any]) -> None:
    """Keep a view under its digest from now on: one that was frozen long ago counts as frozen now.

    Raises UsageError where the store cannot be written, SpaceError.
    """
    while True:
        path = store.freeze(digest, view)
        fresh = _refresh(store.layout, path)
        store.cancel_deletions()
        if fresh and path.exists():
            return


def _refresh(layout: Layout, path: Path) -> bool:
    """Give a file the time of now; False where it is gone."""
    with files.writing(layout.root, n_bytes=path.stat().st_size if path.exists() else 1):
        try:
            os.utime(path)
            return True
        except FileNotFoundError:
            return False
        except PermissionError:  # another user's: the same bytes again
            with contextlib.suppress(FileNotFoundError), layout.scratch() as temporary:
                files.write(temporary, path.read_bytes())
                temporary.replace(path)
                return True
            return False


def pin(store: Store, digest: str) -> bool:
    """Keep a frozen view for good; say whether it was not pinned before. Raises IntegrityError where it is gone."""
    view = store.frozen(digest)
    if view is None:
        raise IntegrityError("no view of this digest is frozen", where=store.layout.view(digest))
    content = sidecars.Pin(view=digest, created=sidecars.now(), by=sidecars.user_and_host())
    path = store.layout.pin(digest)
    n_bytes = sidecars.publish_checksummed(store.layout, path, content, lambda: sidecars.read_pin(store.layout, digest))
    freeze(store, digest, view)  # a gc may have taken it before it was pinned
    return n_bytes > 0


def pinned(store: Store, digest: str) -> Pin | None:
    """Return who pinned a view and when, None where it is not pinned. Raises IntegrityError for a damaged pin."""
    return sidecars.read_pin(store.layout, digest)


def unpin(store: Store, digest: str) -> bool:
    """Let a view be forgotten again; say whether it was pinned. A receipt tells that from damage."""
    return _unlink(store.layout, store.layout.pin(digest), "pin --remove", pins=(digest,))


def retire(store: Store, recipe: str, name: str) -> bool:
    """Mark a recipe as retired; return whether it was not before. Deletes nothing: gc does, later."""
    layout = store.layout
    content = sidecars.RetiredRecipe(recipe=recipe, name=name, created=sidecars.now(), by=sidecars.user_and_host())
    path = layout.retirement(recipe)
    return sidecars.publish_checksummed(layout, path, content, lambda: sidecars.read_retired(layout, recipe)) > 0


def retired(store: Store, recipe: str) -> RetiredRecipe | None:
    """Return who retired a recipe and when, None where it is in use. Raises IntegrityError for a damaged file."""
    return sidecars.read_retired(store.layout, recipe)


def restore(store: Store, recipe: str) -> bool:
    """Take a recipe into use again; say whether it was retired."""
    was = _unlink(store.layout, store.layout.retirement(recipe), "recipe restore", retired=(recipe,))
    store.cancel_deletions()
    return was


def _unlink(
    layout: Layout, path: Path, verb: str, *, pins: tuple[str, ...] = (), retired: tuple[str, ...] = ()
) -> bool:
    if not path.exists():
        return False
    said = Receipt(verb=verb, created=sidecars.now(), by=sidecars.user_and_host(), pins=pins, retired=retired)
    sidecars.write_receipt(layout, said)
    with files.writing(layout.root, n_bytes=1):
        path.unlink(missing_ok=True)
        files.sync_folder(path.parent)
        return True


def matching(digests: Mapping[str, Any] | set[str], prefix: str, n_digits: int) -> list[str]:
    """Return the digests that a text of at least six hex digits begins."""
    if not 6 <= len(prefix) <= n_digits or not is_digest(prefix.ljust(n_digits, "0"), n_digits):
        return []
    return sorted(digest for digest in digests if digest.startswith(prefix))


VIEW_FORMAT = 1


class _Recording(Stored):
    path: str
    patient: str
    split: str
    source: str
    key: str
    content: str
    synthetic: bool
    annotations: dict[str, Any]


class _Omitted(Stored):
    recording: str
    split: str
    error: str
    reason: str
    source: str | None


class _LeftOut(Stored):
    recording: str
    split: str
    score: int


class _Recipe(Stored):
    name: str
    digest: str
    fields: dict[str, Any]


class _FrozenView(Stored):
    """The fields of a frozen view; older ones have no `left_out`."""

    format: int
    digest: str
    corpus: str
    profile: str
    split: str | None
    selection: dict[str, Any]
    recipe: _Recipe
    window: dict[str, Any]
    recordings: Many[_Recording]
    omitted: Many[_Omitted]
    left_out: Many[_LeftOut]


def check_frozen(frozen: Mapping[str, Any]) -> None:
    """Raise UsageError for a frozen view of another format, IntegrityError for other fields than a view has."""
    if frozen.get("format") != VIEW_FORMAT:
        raise UsageError(f"a frozen view of format {frozen.get('format')!r:.40}; this brainbrr reads {VIEW_FORMAT}")
    models.parse(_FrozenView, {"left_out": [], **frozen}, where="the frozen view")


def frozen_digest(frozen: Mapping[str, Any]) -> str:
    """Return the digest of what to_json() gave, by its own words: also of a recipe that this version cannot build.

    Raises KeyError, TypeError, ValueError or AttributeError for anything else.
    """
    recordings = []
    for entry in frozen["recordings"]:
        labels = {name: said for name, said in entry["annotations"].items() if name != "notes"}
        recordings.append([entry["key"], entry["content"], entry["split"], entry["patient"], json_digest(labels)])
    omitted = ([each["source"] or "", each["split"], each["error"]] for each in frozen["omitted"])
    return digest_of_view(recipe_digest(frozen["recipe"]["fields"]), frozen["window"], recordings, omitted)


def digest_of_view(
    recipe: str, window: Mapping[str, Any], recordings: Iterable[list[str]], omitted: Iterable[list[str]]
) -> str:
    """Return the SHA-256 of what a view consists of; the order of recordings does not matter."""
    return digest_of_texts(recipe, window, map(canonical_json, sorted(recordings)), omitted)


def digest_of_texts(
    recipe: str, window: Mapping[str, Any], recordings: Iterable[bytes], omitted: Iterable[list[str]]
) -> str:
    """Return the SHA-256 of a view, of recordings that are sorted and canonical JSON already."""
    rest = canonical_json({"omitted": sorted(omitted), "recipe": recipe, "window": window})
    before, window_too = rest.split(b',"window":', 1)
    return sha256(before + b',"recordings":[' + b",".join(recordings) + b'],"window":' + window_too)
