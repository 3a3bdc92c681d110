"""What a corpus's access terms allow: anything for open data; for all other, places that were declared private."""

from __future__ import annotations

from brainbrr.eeg.corpus.terms import Terms
from brainbrr.errors import AccessError, Fix
from brainbrr.store.catalog import Catalog
from brainbrr.store.remotes import Remote


def terms_of(catalog: Catalog) -> Terms:
    """Return the terms of a corpus. It counts as generated where all that is stored or was read of it is."""
    read = [row.synthetic for row in catalog.rows.values() if row.contents or row.source is not None]
    return Terms.of(catalog.settings, layout=catalog.layout, synthetic=bool(read) and all(read))


def require_allowed(catalog: Catalog, target: Remote | None, *, what: str) -> None:
    """Raise AccessError unless a corpus may go to a target; `target` None: a file that anybody may be given.

    Whether a bucket is private cannot be checked: the person who declares it so is recorded by name.
    """
    terms = terms_of(catalog)
    if terms.access == "open" or (target is not None and target.private):
        return
    words = {
        "credentialed": "is credentialed: each user has to sign its publisher's agreement",
        "private": "is private: nothing says that others may have it",
    }
    place = (
        "remote",
        "add",
        target.name if target and "/" not in target.name else "NAME",
        target.url if target else "URL",
    )
    fix = Fix(
        "if only people read it who may have the data, declare that once with ",
        (*place, "--private"),
        "; others must ingest their own copy of the corpus, and compare it with a lock, which has no data in it: ",
        ("lock", "-o", "FILE"),
        *(
            ()
            if terms.access == "credentialed"
            else ("; if the corpus is open, say so: ", ("ingest", "ROOT", "--access", "open"))
        ),
    )
    raise AccessError(
        f"corpus {catalog.corpus!r} {words[terms.access]}; {what} is not allowed", where=terms.url or None, fix=fix
    )
