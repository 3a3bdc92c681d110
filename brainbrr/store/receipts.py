"""Receipts: sealed files that say what gc or forget deleted, so that nobody takes it for a loss. Written once, kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from brainbrr.errors import IntegrityError
from brainbrr.store import sealed
from brainbrr.store.layout import Layout

RECEIPT_FORMAT = 1

KINDS = ("generations", "views", "pins", "records", "objects", "findings", "quarantine")
_FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "verb": (str,),
    "created": (str,),
    "by": (str,),
    "corpus": (str, NoneType),
    **dict.fromkeys(KINDS, (list,)),
}


@dataclass(frozen=True)
class Receipt:
    """What one run of `verb` deleted, and when; `generations` are numbers of the corpus's catalog."""

    verb: str
    created: str
    by: str
    corpus: str | None
    generations: tuple[int, ...]
    views: tuple[str, ...]
    pins: tuple[str, ...]
    records: tuple[str, ...]
    objects: tuple[str, ...]
    findings: tuple[str, ...]
    quarantine: tuple[str, ...]


def read(layout: Layout, name: str) -> Receipt:
    """Return a receipt. Raises IntegrityError when it is gone or damaged."""
    path = layout.receipt(name)
    found: dict[str, Any] | None = sealed.read(path, _FIELDS)
    if found is None:
        raise IntegrityError("there is no receipt of this name", where=path)
    if found.pop("format") != RECEIPT_FORMAT:
        raise IntegrityError(f"not a receipt of format {RECEIPT_FORMAT}", where=path)
    return Receipt(**{**found, **{kind: tuple(found[kind]) for kind in KINDS}})


def read_all(layout: Layout) -> tuple[Receipt, ...]:
    """Return every receipt that is whole, oldest first."""
    found = []
    for name in layout.receipts():
        try:
            found.append(read(layout, name))
        except IntegrityError:
            continue
    return tuple(found)


def deleted(layout: Layout) -> Mapping[str, Mapping[str, str]]:
    """Return what was deleted and when it last was: by kind (`records`, ...) and name; generations as CORPUS/SEQ."""
    when: dict[str, dict[str, str]] = defaultdict(dict)
    for receipt in read_all(layout):
        for kind in KINDS:
            for name in getattr(receipt, kind):
                when[kind][f"{receipt.corpus}/{name}" if kind == "generations" else name] = receipt.created
    return when
