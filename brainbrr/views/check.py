"""`check`: the gate for CI. No array twice, nothing damaged, views complete, no patient in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from brainbrr.core.digest import key_of
from brainbrr.core.progress import Progress, Silent
from brainbrr.eeg.corpus.census import by_format, labels_unread
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import DuplicateError, Fix, IntegrityError, LeakError, UsageError, ViewNotReadyError
from brainbrr.loading.columnar import Assembled, contradicting
from brainbrr.loading.recordings import assemble, contradictions
from brainbrr.settings import Settings
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.checks import Inspection, copies, inspect_store
from brainbrr.store.damage import Damage
from brainbrr.store.store import Store
from brainbrr.views.columns import Where
from brainbrr.views.listed import Listed, in_two_splits, unread_of
from brainbrr.views.select import member_places, members, one_of, resolve_corpus
from brainbrr.views.splits import Aliases, Splits

REQUIREMENTS = ("no-duplicates", "complete", "verified", "no-leaks")


@dataclass(frozen=True)
class CheckReport:
    """What `check` found, and whether all that is required holds."""

    required: tuple[str, ...]
    objects: int
    duplicate_objects: tuple[dict[str, Any], ...]
    duplicate_bytes: int
    orphans: tuple[str, ...]
    missing: tuple[dict[str, str], ...]
    corrupt: tuple[Damage, ...]
    leaks: tuple[dict[str, Any], ...]
    contradictions: tuple[dict[str, Any], ...] = ()
    """Of each corpus, recordings of the same bytes with different labels; `missing` names those of the profile."""
    not_read: tuple[dict[str, Any], ...] = ()
    """Of each corpus and format, recordings that no reader is there for; `missing` names those not accepted."""
    labels_unread: tuple[dict[str, Any], ...] = ()
    """Of each corpus, label files that belong to no recording."""

    @property
    def exit_code(self) -> int:
        """4 before 5 before 3: with damage no other answer can be trusted."""
        failed = {
            "verified": (bool(self.corrupt), IntegrityError.exit_code),
            "no-duplicates": (bool(self.duplicate_objects), DuplicateError.exit_code),
            "no-leaks": (bool(self.leaks), LeakError.exit_code),
            "complete": (bool(self.missing), ViewNotReadyError.exit_code),
        }
        return next((code for name, (bad, code) in failed.items() if name in self.required and bad), 0)

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {"ok": self.exit_code == 0, **vars(self), "corrupt": [each.to_json() for each in self.corrupt]}


def check(
    store: Store,
    *,
    require: Iterable[str] = REQUIREMENTS,
    settings: Settings,
    profile: str = "full",
    corpus: str | None = None,
    split: str | None = None,
    where: Where = (),
    recipe: Recipe = Recipe(),  # noqa: B008  # frozen
    splits: Splits = Splits(),  # noqa: B008  # frozen
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> CheckReport:
    """Decode every object once and compare store and catalogs with what is required.

    Without `verified`, where all catalogs have columns, only objects that no record names are decoded: the others are
    taken for what their names say, and no damage is reported.
    `verified` is what `verify` checks. `complete` and `no-leaks` look at `profile` of `corpus` (None: of every one), at
    what of it is in `split` (None: all) and at what `where` selects, under `recipe`, with patients in `splits` and
    under their aliases. Raises UsageError for a requirement that does not exist, or for none.
    """
    required = tuple(require)
    known = f"requirements: {', '.join(REQUIREMENTS)}"
    if not required:
        raise UsageError("nothing is required, so the check could not fail", fix=known)
    unknown = [name for name in required if name not in REQUIREMENTS]
    if unknown:
        raise UsageError(f"no requirement is called {unknown[0]!r}", fix=known)

    corpora = _corpora(store, corpus, splits)
    if "verified" not in required and split is None and not where and splits == Splits():
        listed = Listed.of(store, corpora)
        if listed is not None:
            return _by_columns(store, listed, required=required, settings=settings, profile=profile, recipe=recipe)
    found = inspect_store(store, progress=progress)
    doubles = copies(found.decoded)
    # a duplicate is reported as one: that its name must be wrong is no second finding
    excused = {name for names in doubles for name in names}
    twice, excused_records = _twice(found)
    corrupt = (
        *found.broken,
        *(each for each in found.misplaced if each.name not in excused | excused_records),
    )
    chosen, unread = _members(store, corpora, settings, profile, required, splits)
    if split is not None or where:
        selected = one_of(store, settings, profile="full", split=split, where=where, recipe=recipe)
        chosen = [(catalog, tuple(row for row in rows if selected(catalog.corpus, row))) for catalog, rows in chosen]
        if chosen and not any(rows for _, rows in chosen):
            raise UsageError("no recording is in this split or selection", fix=Fix(("ls",), " shows what is there"))
    return CheckReport(
        required=required,
        objects=len(found.contents),
        duplicate_objects=(*({"content": names[0], "copies": names[1:]} for names in doubles), *twice),
        duplicate_bytes=sum(store.object_bytes(name) for names in doubles for name in names[1:]),
        orphans=tuple(sorted(set(found.contents) - {record.content for record in found.records} - excused)),
        missing=(*unread, *_missing(store, chosen, recipe, profile)),
        corrupt=tuple(sorted(corrupt)),
        leaks=tuple(
            _leaks(
                ((catalog.corpus, row) for catalog, rows in chosen for row in rows),
                {record.key: record.content for record in found.records},
                recipe,
                splits.aliases,
            )
        ),
        contradictions=tuple(
            {"corpus": catalog.corpus, "recordings": paths}
            for catalog, _ in chosen
            for paths in contradictions(catalog.rows.values())
        ),
        not_read=tuple(
            {"corpus": catalog.corpus, "format": form, "recordings": paths}
            for catalog, rows in chosen
            for form, paths in by_format(row.path for row in rows).items()
        ),
        labels_unread=tuple(
            {"corpus": catalog.corpus, "files": files}
            for catalog, _ in chosen
            if (files := labels_unread(catalog.settings))
        ),
    )


def _by_columns(
    store: Store, listed: Listed, *, required: tuple[str, ...], settings: Settings, profile: str, recipe: Recipe
) -> CheckReport:
    """Return the report for catalogs that have columns, without reading records."""
    doubles = copies(listed.decoded)
    excused = {name for names in doubles for name in names}
    places = {each.corpus: member_places(columns, settings.profiles_of(each.corpus)[profile])
              for each, columns in listed.catalogs}  # fmt: skip
    contradict = {catalog.corpus: contradicting(catalog, columns) for catalog, columns in listed.catalogs}
    missing: list[dict[str, str]] = []
    for catalog, columns in listed.catalogs:
        rows = Assembled(store, catalog, columns, recipe)
        found = rows.members(
            places[catalog.corpus],
            labelled=catalog.labelled,
            contradicting=contradict[catalog.corpus],
        )
        missing += ({"corpus": catalog.corpus, **vars(each)} for each in found.missing)
        if not found.recordings and not found.missing:
            reason = f"profile {profile} has no recording of it, so its view is empty"
            missing.append({"corpus": catalog.corpus, "recording": "", "reason": reason})
    suspects = [(catalog, columns, places[catalog.corpus]) for catalog, columns in listed.catalogs]
    return CheckReport(
        required=required,
        objects=len(listed.contents),
        duplicate_objects=(*({"content": names[0], "copies": names[1:]} for names in doubles), *listed.twice()),
        duplicate_bytes=sum(store.object_bytes(name) for names in doubles for name in names[1:]),
        orphans=tuple(sorted(listed.unnamed - excused)),
        missing=tuple(missing),
        corrupt=(),
        leaks=tuple(_leaks(in_two_splits(suspects, recipe), listed.content_of, recipe, Aliases())),
        contradictions=tuple(
            {"corpus": corpus, "recordings": paths} for corpus, found in contradict.items() for paths in found
        ),
        not_read=tuple(
            {"corpus": catalog.corpus, "format": form, "recordings": paths}
            for catalog, columns in listed.catalogs
            for form, paths in unread_of(columns).items()
        ),
        labels_unread=tuple(
            {"corpus": catalog.corpus, "files": files}
            for catalog, _ in listed.catalogs
            if (files := labels_unread(catalog.settings))
        ),
    )


def _corpora(store: Store, corpus: str | None, splits: Splits) -> tuple[str, ...]:
    """Return the corpora to look at. Splits of one corpus leave the others as they are; they must be of one."""
    if splits.patients is not None and store.corpora():
        named = resolve_corpus(store, splits.corpus or corpus)
        if corpus is None and splits.corpus is None:
            return (str(named),)
    return tuple(store.corpora()) if corpus is None else (str(resolve_corpus(store, corpus)),)


def _twice(found: Inspection) -> tuple[list[dict[str, Any]], set[str]]:
    """Return sources with two objects under one recipe, and the files of their records."""
    by_origin: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    misplaced = {each.name for each in found.misplaced if each.kind == "record"}
    foreign = {name: record for name, record in found.foreign_records.items() if name in misplaced}
    for name, record in (*((record.key, record) for record in found.records), *foreign.items()):
        by_origin[record.source, record.recipe][name] = record.content
    twice: list[dict[str, Any]] = []
    names: set[str] = set()
    for (source, recipe), contents in by_origin.items():
        if len(set(contents.values())) > 1:
            twice.append({"source": source, "recipe": recipe, "objects": sorted(set(contents.values()))})
            names |= contents.keys()
    return twice, names


def _members(
    store: Store,
    corpora: tuple[str, ...],
    settings: Settings,
    profile: str,
    required: tuple[str, ...],
    splits: Splits,
) -> tuple[list[tuple[Catalog, tuple[Row, ...]]], list[dict[str, str]]]:
    """Return each corpus's catalog and the rows that the profile takes of it, and which corpora cannot be read.

    Raises IntegrityError for a damaged catalog that something required depends on, unless `verified` reports it.
    """
    chosen: list[tuple[Catalog, tuple[Row, ...]]] = []
    unread: list[dict[str, str]] = []
    for corpus in corpora:
        try:
            catalog = store.catalog(corpus)
        except IntegrityError as error:
            if "verified" not in required and {"complete", "no-leaks"} & set(required):
                raise
            unread.append({"corpus": corpus, "recording": "", "reason": f"its catalog is damaged: {error.what}"})
            continue
        if catalog is not None:
            catalog = (splits if len(corpora) == 1 else splits.of(corpus)).assigned(catalog)
            chosen.append((catalog, members(catalog.rows, settings.profiles_of(corpus)[profile])))
    return chosen, unread


def _missing(
    store: Store, chosen: list[tuple[Catalog, tuple[Row, ...]]], recipe: Recipe, profile: str
) -> Iterable[dict[str, str]]:
    """Yield what keeps a view of the profile from being ready, corpus by corpus."""
    # not a wrong argument but a view that is not ready (3): as `view` reports of the same store
    if not store.corpora():
        yield {"corpus": "", "recording": "", "reason": "the store has no corpus, so nothing in it can be complete"}
    for catalog, rows in chosen:
        ready, missing, _ = assemble(
            store,
            rows,
            recipe=recipe,
            labelled=catalog.labelled,
            contradicting=contradictions(catalog.rows.values()),
        )
        for each in missing:
            yield {"corpus": catalog.corpus, **vars(each)}
        if not ready and not missing:
            reason = f"profile {profile} has no recording of it, so its view is empty"
            yield {"corpus": catalog.corpus, "recording": "", "reason": reason}


def _leaks(
    rows: Iterable[tuple[str, Row]], contents: Mapping[str, str], recipe: Recipe, aliases: Aliases
) -> Iterable[dict[str, Any]]:
    """Yield each source, content or patient that is in two splits; a patient's name counts within its corpus.

    Names that are aliases are one patient.
    """
    seen: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for corpus, row in rows:
        if row.split == "none":
            continue
        identities = [("patient", aliases.person(corpus, row.patient))]
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
