"""`verify`: every object against its content, every record against its object."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from brainbrr.errors import IntegrityError
from brainbrr.progress import Progress, Silent
from brainbrr.store.store import Store


@dataclass(frozen=True)
class VerifyReport:
    """How many objects were proven, and what was found damaged."""

    objects: int
    records: int
    verified: int
    corrupt: tuple[dict[str, str], ...]
    seconds: float
    quick: bool

    @property
    def exit_code(self) -> int:
        """4 when anything is damaged."""
        return IntegrityError.exit_code if self.corrupt else 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "corrupt": list(self.corrupt), "seconds": round(self.seconds, 3)}


def verify(store: Store, *, quick: bool = False, progress: Progress = Silent()) -> VerifyReport:  # noqa: B008
    """Prove a store. Full: every object is decoded against its content digest. Quick: structure and checksums of it."""
    began = time.monotonic()
    corrupt: list[dict[str, str]] = []
    contents = sorted(store.contents())
    verified = 0
    progress.start("verifying", len(contents), "objects")
    for content in contents:
        try:
            store.verify_object(content, quick=quick)
            verified += 1
        except IntegrityError as error:
            corrupt.append({"object": content, "reason": error.what})
        progress.advance()
    progress.stop()
    keys = sorted(store.keys())
    for key in keys:
        try:
            store.verify_record(key)
        except IntegrityError as error:
            corrupt.append({"record": key, "reason": error.what})
    for corpus in store.corpora():
        try:
            store.verify_catalog(corpus)
        except IntegrityError as error:
            corrupt.append({"catalog": corpus, "reason": error.what})
    for digest in store.frozen_views():
        try:
            store.frozen(digest)
        except IntegrityError as error:
            corrupt.append({"view": digest, "reason": error.what})
    return VerifyReport(len(contents), len(keys), verified, tuple(corrupt), time.monotonic() - began, quick)
