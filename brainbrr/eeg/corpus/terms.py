"""The access terms of a corpus: who may have it, and where that is written. Knows the published ones by their files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from brainbrr.errors import UsageError

Access = Literal["open", "credentialed", "private"]
ACCESS: tuple[Access, ...] = get_args(Access)
"""From open to closed: for everyone; for those who signed the publisher's agreement; for the owner alone."""


TERMS = ("access", "terms", "licence")
"""The settings of a catalog that hold them."""


@dataclass(frozen=True)
class Terms:
    """Who may have a corpus, the page that says so, and its licence."""

    access: Access
    url: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.access not in ACCESS:
            raise UsageError(f"access = {str(self.access)[:40]!r}", fix=f"one of {', '.join(ACCESS)}")
        if self.url and not self.url.startswith(("https://", "http://")):
            raise UsageError(f"terms = {self.url[:80]!r}: the address of the page that says who may have the corpus")

    def settings(self) -> dict[str, str]:
        """Return them as a catalog's settings keep them."""
        found = zip(TERMS, (self.access, self.url, self.licence), strict=True)
        return {name: value for name, value in found if value}

    @classmethod
    def of(cls, settings: Mapping[str, str], *, layout: str, synthetic: bool) -> Terms:
        """Return the terms of a corpus by its settings; without any, generated data are open and others are not.

        What no ingest can have written counts as private.
        """
        if "access" in settings:
            access: Access = next((each for each in ACCESS if each == settings["access"]), "private")
            url = settings.get("terms", "")
            return cls(access, url if url.startswith("http") else "", settings.get("licence", ""))
        if synthetic:
            return cls("open", licence="generated data")
        return TUSZ if layout == "tusz" else cls("private")


def given_terms(access: Access | None, url: str | None) -> Terms | None:
    """Return the terms that were given for a corpus, or None. Raises UsageError."""
    if access is None and url is not None:
        raise UsageError("the page of the terms goes with what they are", fix=f"access: {', '.join(ACCESS)}")
    return None if access is None else Terms(access, url or "")


TUSZ = Terms("credentialed", "https://isip.piconepress.com/projects/nedc/html/tuh_eeg/", "agreement with NEDC")
_PUBLISHED = {
    "summary.txt": Terms("open", "https://physionet.org/content/chbmit/1.0.0/", "ODC-By 1.0"),
    "Seizures-list.txt": Terms("open", "https://physionet.org/content/siena-scalp-eeg/1.0.0/", "CC BY 4.0"),
}
_PHYSIONET = ("SHA256SUMS.txt", "RECORDS")


def published_terms(root: Path, roles: Collection[str]) -> Terms | None:
    """Return the terms of CHB-MIT or Siena, None for anything else: its labels and PhysioNet's own lists tell."""
    if not all((root / name).is_file() for name in _PHYSIONET):
        return None
    return next((terms for role, terms in _PUBLISHED.items() if role in roles), None)


def strictest(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Return two catalogs' settings as one, `first` before `second`, with the terms of the more closed one."""
    both = {**second, **first}
    for settings in (first, second):
        if _closed(settings) > _closed(both):
            both = {name: value for name, value in both.items() if name not in TERMS}
            both |= {name: settings[name] for name in TERMS if name in settings}
    return both


def _closed(settings: Mapping[str, str]) -> int:
    access = settings.get("access")
    return ACCESS.index(access) if access in ACCESS else -1
