"""`check`: the gate for CI. One array once, nothing damaged, views whole, nobody in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from brainbrr.digest import key_of
from brainbrr.eeg.recipe import Recipe
from brainbrr.errors import DuplicateError, IntegrityError, LeakError, UsageError, ViewNotReadyError
from brainbrr.profiles import Profile
from brainbrr.progress import Progress, Silent
from brainbrr.recordings import assemble
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.records import Record
from brainbrr.store.store import Store
from brainbrr.verbs.select import members

REQUIREMENTS = ("no-duplicates", "complete", "verified", "no-leaks")


@dataclass(frozen=True)
class CheckReport:
    """What the gate found, and whether what was required holds."""

    required: tuple[str, ...]
    objects: int
    duplicate_objects: tuple[dict[str, Any], ...]
    duplicate_bytes: int
    orphans: tuple[str, ...]
    missing: tuple[dict[str, str], ...]
    corrupt: tuple[dict[str, str], ...]
    leaks: tuple[dict[str, Any], ...]

    @property
    def exit_code(self) -> int:
        """4 before 5 before 3: damage makes every other answer doubtful."""
        failed = {
            "verified": (bool(self.corrupt), IntegrityError.exit_code),
            "no-duplicates": (bool(self.duplicate_objects), DuplicateError.exit_code),
            "no-leaks": (bool(self.leaks), LeakError.exit_code),
            "complete": (bool(self.missing), ViewNotReadyError.exit_code),
        }
        return next((code for name, (bad, code) in failed.items() if name in self.required and bad), 0)

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {"ok": self.exit_code == 0, **vars(self)}


def check(
    store: Store,
    *,
    require: Iterable[str] = REQUIREMENTS,
    profiles_of: Callable[[str], dict[str, Profile]],
    profile: str = "full",
    recipe: Recipe = Recipe(),  # noqa: B008  # frozen
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> CheckReport:
    """Decode every object and hold store and catalogs against what is required.

    `complete` and `no-leaks` look at `profile` of every corpus under `recipe`. Raises UsageError for
    a requirement that does not exist.
    """
    required = tuple(require)
    unknown = [name for name in required if name not in REQUIREMENTS]
    if unknown:
        raise UsageError(f"no requirement is called {unknown[0]!r}", fix=f"requirements: {', '.join(REQUIREMENTS)}")

    digests: dict[str, str] = {}
    broken: dict[str, str] = {}
    contents = sorted(store.contents())
    progress.start("decoding", len(contents), "objects")
    for name in contents:
        try:
            digests[name] = store.decode(name)
        except IntegrityError as error:
            broken[name] = error.what
        progress.advance()
    progress.stop()
    folders: dict[str, list[str]] = defaultdict(list)
    for name, digest in digests.items():
        folders[digest].append(name)
    copies = [sorted(names, key=lambda n, d=d: n != d) for d, names in folders.items() if len(names) > 1]  # type: ignore[misc]
    excused = {name for names in copies for name in names}
    for name, digest in digests.items():
        if name != digest and name not in excused:
            broken[name] = f"its decoded array has content {digest[:12]}"

    records, bad_records, twice = _records(store)
    chosen = _members(store, profiles_of, profile)
    return CheckReport(
        required=required,
        objects=len(contents),
        duplicate_objects=(*({"content": names[0], "copies": names[1:]} for names in copies), *twice),
        duplicate_bytes=sum(store.object_bytes(name) for names in copies for name in names[1:]),
        orphans=tuple(sorted(set(contents) - {r.content for r in records} - excused)),
        missing=tuple(
            {"corpus": catalog.corpus, **vars(missing)}
            for catalog, rows in chosen
            for missing in assemble(store, rows, recipe=recipe, labelled=catalog.labelled)[1]
        ),
        corrupt=(*({"object": name, "reason": why} for name, why in sorted(broken.items())), *bad_records),
        leaks=tuple(
            _leaks(
                ((catalog.corpus, row) for catalog, rows in chosen for row in rows),
                {record.key: record.content for record in records},
                recipe,
            )
        ),
    )


def _records(store: Store) -> tuple[list[Record], list[dict[str, str]], list[dict[str, Any]]]:
    """Return the records, those that are damaged, and sources with two objects under one recipe."""
    good: list[Record] = []
    bad: dict[str, str] = {}
    by_origin: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for key in sorted(store.keys()):
        try:
            record = store.verify_record(key)
        except IntegrityError as error:
            bad[key] = error.what
            unproven = store.unproven_record(key)
            if unproven is not None:
                by_origin[unproven.source, unproven.recipe].append((key, unproven.content))
            continue
        good.append(record)
        by_origin[record.source, record.recipe].append((key, record.content))
    twice = []
    for (source, recipe), found in by_origin.items():
        if len({content for _, content in found}) > 1:
            twice.append({"source": source, "recipe": recipe, "objects": sorted({content for _, content in found})})
            for key, _ in found:
                bad.pop(key, None)
    return good, [{"record": key, "reason": why} for key, why in bad.items()], twice


def _members(
    store: Store, profiles_of: Callable[[str], dict[str, Profile]], profile: str
) -> list[tuple[Catalog, tuple[Row, ...]]]:
    """Return each corpus's catalog and the rows that the profile takes of it."""
    catalogs = [catalog for corpus in store.corpora() if (catalog := store.catalog(corpus)) is not None]
    return [(catalog, members(catalog.rows, profiles_of(catalog.corpus)[profile])) for catalog in catalogs]


def _leaks(rows: Iterable[tuple[str, Row]], contents: Mapping[str, str], recipe: Recipe) -> Iterable[dict[str, Any]]:
    """Yield each source, content or patient that is in two splits; a patient's name counts within its corpus."""
    seen: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for corpus, row in rows:
        if row.split == "none":
            continue
        identities = [("patient", f"{corpus}/{row.patient}")]
        if row.source is not None:
            identities.append(("source", row.source))
            content = contents.get(key_of(source=row.source, recipe=recipe.digest))
            if content is not None:
                identities.append(("content", content))
        for identity in identities:
            seen[identity][row.split].append(f"{corpus}/{row.path}")
    for (kind, value), splits in seen.items():
        if len(splits) > 1:
            yield {"kind": kind, "value": value, "splits": dict(sorted(splits.items()))}
