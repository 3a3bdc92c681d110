"""How to cite what a lock names: a sentence, a BibTeX entry, and a BIDS `GeneratedBy` block."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from brainbrr.share.locks import Lock


@dataclass(frozen=True)
class Citation:
    """A lock in the three forms that papers and data sets use."""

    text: str
    bibtex: str
    generated_by: list[dict[str, Any]]

    @classmethod
    def of(cls, lock: Lock) -> Citation:
        """Return the citation of a lock."""
        counts, short = lock.counts, lock.digest[:16]
        split = f", split {lock.split}" if lock.split else ""
        part = f"{lock.corpus}, profile {lock.profile}{split}{', narrowed by a selection' if lock.narrowed else ''}"
        held = f"{counts['recordings']:,} recordings of {counts['patients']:,} patients, "
        held += f"{counts['seconds'] / 3600:.1f} h, {counts['seizures']:,} seizures"
        recipe = f"recipe {lock.recipe.name} {lock.recipe.digest}"
        made = f"preprocessed by brainbrr {version('brainbrr')} under {recipe}"
        bibtex = "\n".join(
            (
                f"@misc{{brainbrr_{short},",
                "  title = {{" + part + "}},",
                "  author = {{brainbrr contributors}},",
                f"  note = {{{held}; {made}; lock {lock.digest}}},",
                "}",
            )
        )
        described = f"{part}; {recipe}; lock {lock.digest}"
        by = {"Name": "brainbrr", "Version": version("brainbrr"), "Description": described}
        return cls(f"{part}: {held}; {made}; lock {lock.digest}.", bibtex, [by])

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {"text": self.text, "bibtex": self.bibtex, "GeneratedBy": self.generated_by}

    def bids(self) -> str:
        """Return the block as dataset_description.json has it."""
        return json.dumps({"GeneratedBy": self.generated_by}, indent=1)
