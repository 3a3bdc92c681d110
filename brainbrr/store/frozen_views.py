"""What people say of what a store holds: this view stays for good, this recipe is retired. Small sealed files.

Whatever makes something alive is published first, then deletions are called off: see trash.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from brainbrr.core import files
from brainbrr.core.digest import is_digest, json_digest, recipe_digest
from brainbrr.core.files import fields
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.store import sidecars
from brainbrr.store.layout import Layout
from brainbrr.store.sidecars import Kinds, Receipt
from brainbrr.store.store import Store

if TYPE_CHECKING:
    pass


MARK_FORMAT = 1

_PIN: dict[str, tuple[type, ...]] = {"format": (int,), "view": (str,), "created": (str,), "by": (str,)}
_RETIRED: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "recipe": (str,),
    "name": (str,),
    "created": (str,),
    "by": (str,),
}


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
    path = store.layout.pin(digest)
    said = {"format": MARK_FORMAT, "view": digest, "created": sidecars.now(), "by": sidecars.whoever()}
    n_bytes = sidecars.publish_checksummed(store.layout, path, said, lambda: pinned(store, digest))
    freeze(store, digest, view)  # a gc may have taken it while nobody had pinned it
    return n_bytes > 0


def pinned(store: Store, digest: str) -> dict[str, Any] | None:
    """Return who pinned a view and when; None where nobody did. Raises IntegrityError for a damaged pin."""
    return _mark(store.layout.pin(digest), _PIN, "view", digest)


def unpin(store: Store, digest: str) -> bool:
    """Let a view be forgotten again; say whether it was pinned. A receipt tells that from damage."""
    return _unlink(store.layout, store.layout.pin(digest), "pin --remove", pins=(digest,))


def retire(store: Store, recipe: str, name: str) -> bool:
    """Let go of all that was made under a recipe; say whether it was not retired before. Deletes nothing."""
    said = {
        "format": MARK_FORMAT,
        "recipe": recipe,
        "name": name,
        "created": sidecars.now(),
        "by": sidecars.whoever(),
    }
    return (
        sidecars.publish_checksummed(
            store.layout, store.layout.retirement(recipe), said, lambda: retired(store, recipe)
        )
        > 0
    )


def retired(store: Store, recipe: str) -> dict[str, Any] | None:
    """Return who retired a recipe and when; None where nobody did. Raises IntegrityError for a damaged mark."""
    return _mark(store.layout.retirement(recipe), _RETIRED, "recipe", recipe)


def restore(store: Store, recipe: str) -> bool:
    """Take a recipe into use again; say whether it was retired."""
    was = _unlink(store.layout, store.layout.retirement(recipe), "recipe restore", retired=(recipe,))
    store.cancel_deletions()
    return was


def _mark(path: Path, kinds: sidecars.Kinds, of: str, digest: str) -> dict[str, Any] | None:
    found = sidecars.read_checksummed(path, kinds)
    if found is not None and found[of] != digest:
        raise IntegrityError(f"this is the mark of another {of}", where=path)
    return found


def _unlink(
    layout: Layout, path: Path, verb: str, *, pins: tuple[str, ...] = (), retired: tuple[str, ...] = ()
) -> bool:
    if not path.exists():
        return False
    said = Receipt(verb=verb, created=sidecars.now(), by=sidecars.whoever(), pins=pins, retired=retired)
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


_FROZEN: Kinds = {
    "format": (int,),
    "digest": (str,),
    "corpus": (str,),
    "profile": (str,),
    "split": (str, NoneType),
    "selection": (Mapping,),
    "recipe": (Mapping,),
    "window": (Mapping,),
    "recordings": (list,),
    "omitted": (list,),
    "left_out": (list,),
}
_TEXTS = dict.fromkeys(("path", "patient", "split", "source", "key", "content"), (str,))
_PARTS: dict[str, Kinds] = {
    "recordings": {**_TEXTS, "synthetic": (bool,), "annotations": (Mapping,)},
    "omitted": {**dict.fromkeys(("recording", "split", "error", "reason"), (str,)), "source": (str, NoneType)},
    "left_out": {"recording": (str,), "split": (str,), "score": (int,)},
}


def check_frozen(frozen: Mapping[str, Any]) -> None:
    """Raise UsageError for a frozen view of another format, IntegrityError for what is none."""
    if frozen.get("format") != VIEW_FORMAT:
        raise UsageError(f"a frozen view of format {frozen.get('format')!r:.40}; this brainbrr reads {VIEW_FORMAT}")
    where = "the frozen view"
    fields({"left_out": [], **frozen}, _FROZEN, where=where)  # older ones have none
    fields(frozen["recipe"], {"name": (str,), "digest": (str,), "fields": (Mapping,)}, where=where)
    for part, kinds in _PARTS.items():
        for entry in frozen.get(part, ()):
            fields(entry, kinds, where=where)


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
    said = {"recipe": recipe, "window": window, "recordings": sorted(recordings), "omitted": sorted(omitted)}
    return json_digest(said)
