"""Which recordings of a catalog a command means: corpus, profile, split and further selection, also by findings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from brainbrr.core.arrays import Int64
from brainbrr.eeg.corpus.annotations import Annotations
from brainbrr.eeg.corpus.census import choose_with_unread, format_of
from brainbrr.eeg.quality import detector
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import Fix, IntegrityError, UsageError
from brainbrr.loading.recordings import LeftOut, Missing, ViewRecording
from brainbrr.profiles import Profile, by_rank
from brainbrr.settings import Settings
from brainbrr.store.catalog import Catalog, Row
from brainbrr.store.columns import Columns
from brainbrr.store.store import Store
from brainbrr.views.columns import Recording, Where, check_conditions, condition_text, holds, prefetch


@dataclass(frozen=True)
class Selection:
    """What narrows a profile further: explicit, shown, and never silent."""

    patients: tuple[str, ...] = ()
    where: Where = ()
    exclude: frozenset[str] = frozenset()
    min_quality: int | None = None

    def __post_init__(self) -> None:
        if self.min_quality is not None and not 0 <= self.min_quality <= 100:
            raise UsageError(f"min_quality = {self.min_quality}: a score, from 0 to 100")
        check_conditions(self.where)

    def to_json(self) -> dict[str, Any]:
        """Return what was asked for, without what was not."""
        asked: dict[str, Any] = {
            "patients": sorted(self.patients),
            "where": [condition_text(field, value) for field, value in self.where],
            "exclude": sorted(self.exclude),
            "min_quality": self.min_quality,
        }
        return {name: values for name, values in asked.items() if values not in (None, [])}


def resolve_corpus(store: Store, corpus: str | None) -> str | None:
    """Return the corpus meant: the named one, or the only one; None in a store without any.

    Raises UsageError with the names when several could be meant, or the named one is not there.
    """
    names = store.corpora()
    if corpus is None:
        if len(names) > 1:
            raise UsageError(
                f"the store has {len(names)} corpora: {', '.join(names)}", fix=f"say which: --corpus {names[0]}"
            )
        return names[0] if names else None
    if names and corpus not in names:
        fix = f"corpora: {', '.join(names)}"
        raise UsageError(f"no corpus is called {corpus!r}", where=store.where, fix=fix, code="no-such-corpus")
    return corpus


def matching_rows(store: Store, subject: str, corpus: str | None = None) -> list[tuple[str, Row]]:
    """Return the corpus and the row of every recording that a text names: its path, the end of it, or its file name."""
    return [
        (name, catalog.rows[path])
        for name in store.corpora()
        if corpus in (None, name) and (catalog := store.catalog(name)) is not None
        for path in catalog.rows
        if path == subject or path.endswith(f"/{subject}") or path.rpartition("/")[2] == f"{subject}.edf"
    ]


def one_of(
    store: Store, settings: Settings, *, profile: str, split: str | None, where: Where, recipe: Recipe | None = None
) -> Callable[[str, Row], bool]:
    """Return a test whether a corpus's row is selected; without a selection every row is, and nothing is read.

    `recipe` None: conditions on what is stored look at the corpus's usual recipe.
    """
    check_conditions(where)
    chosen: dict[str, set[str]] = {}

    def holds_of(corpus: str, row: Row) -> bool:
        if profile != "full" and corpus not in chosen:
            catalog = store.catalog(corpus)
            taken = members(catalog.rows, settings.profile_of(corpus, profile)) if catalog else ()
            chosen[corpus] = {each.path for each in taken}
        if split not in (None, row.split) or row.path not in chosen.get(corpus, {row.path}):
            return False
        if not where:
            return True
        catalog = None if recipe else store.catalog(corpus)
        digest = recipe.digest if recipe else usual_recipe(catalog) if catalog else ""
        return holds(Recording(store, corpus, row, digest), where)

    return holds_of


def worst_quality(rows: Iterable[Row], recipe: str) -> dict[str, Any] | None:
    """Return the recording that scores least of those examined under a recipe, with its score and the reason."""
    rated = [(row.quality[recipe].score, row.path) for row in rows if recipe in row.quality]
    if not rated:
        return None
    score, path = min(rated)
    reason = next(row.quality[recipe].reason for row in rows if row.path == path)
    return {"recording": path, "score": score, "reason": reason}


def usual_recipe(catalog: Catalog) -> str:
    """Return the digest of the recipe that most recordings of a corpus are stored under, or refused by."""
    stored = Counter(digest for row in catalog.rows.values() for digest in row.contents)
    refused = Counter(digest for row in catalog.rows.values() for digest in row.refusals)
    most = (stored or refused).most_common(1)
    return most[0][0] if most else Recipe().digest


def has_seizures(rows: Iterable[Row]) -> dict[str, bool]:
    """Return for each path whether its labels name a seizure."""
    return {
        row.path: row.annotations is not None and bool(Annotations.from_json(row.annotations).seizures) for row in rows
    }


def members(rows: Mapping[str, Row], profile: Profile) -> tuple[Row, ...]:
    """Return the rows that a profile takes, split after split, and what is not read."""
    return choose_with_unread(rows.values(), profile, has_seizures=has_seizures(rows.values()))


def select(
    store: Store, catalog: Catalog, profile: Profile, *, split: str | None, selection: Selection, recipe: Recipe
) -> tuple[Row, ...]:
    """Return the profile's rows of one split (None: all), narrowed by the selection.

    Raises UsageError for a split, patient or path that is not in the catalog.
    """
    chosen = members(catalog.rows, profile)
    _known("split", [split] if split else [], {row.split for row in catalog.rows.values()}, catalog)
    _known("patient", selection.patients, {row.patient for row in catalog.rows.values()}, catalog)
    _known("recording", selection.exclude, set(catalog.rows), catalog)
    selected = [
        Recording(store, catalog.corpus, row, recipe.digest)
        for row in chosen
        if (split is None or row.split == split)
        and (not selection.patients or row.patient in selection.patients)
        and row.path not in selection.exclude
    ]
    if selection.where:
        prefetch(store, selected, selection.where)
        selected = [each for each in selected if holds(each, selection.where)]
    if chosen and not selected:
        raise _nothing_of(profile)
    return tuple(each.row for each in selected)


def member_places(columns: Columns, profile: Profile) -> Int64:
    """Return the places of the rows that a profile takes, as `members` orders them."""
    arrays, words = columns.arrays, columns.words["split"]
    unread = [i for i, path in enumerate(columns.paths) if not path.endswith(".edf") and format_of(path)]
    high, low = arrays["order"].view(">u8").reshape(-1, 2).T
    order = np.lexsort((np.arange(len(columns)), low, high))
    order = order[~np.isin(order, unread)] if unread else order
    with_seizures = (arrays["annotated"] & (np.diff(arrays["seizures_bounds"]) > 0))[order]
    split = arrays["split"][order]
    chosen = [np.zeros(0, dtype=np.int64)]
    for name in by_rank(words):
        here = split == words.index(name)
        ones, others = order[here & with_seizures], order[here & ~with_seizures]
        turns = np.concatenate([2 * np.arange(len(ones)), 2 * np.arange(len(others)) + 1])
        both = np.concatenate([ones, others])[np.argsort(turns)]
        chosen.append(both[: profile.quota.get(name)])
    return np.concatenate([*chosen, unread]).astype(np.int64)


def select_places(
    catalog: Catalog, columns: Columns, profile: Profile, *, split: str | None, selection: Selection
) -> Int64:
    """Return the places of the rows that `select` takes without conditions, and raise what it raises."""
    chosen, arrays, words = member_places(columns, profile), columns.arrays, columns.words
    used = {name: {words[name][i] for i in np.unique(arrays[name]).tolist()} for name in ("split", "patient")}
    _known("split", [split] if split else [], used["split"], catalog)
    _known("patient", selection.patients, used["patient"], catalog)
    _known("recording", selection.exclude, set(columns.paths) if selection.exclude else set(), catalog)
    keep = np.ones(len(columns), dtype=np.bool_)
    if split is not None:
        keep &= arrays["split"] == words["split"].index(split)
    if selection.patients:
        keep &= np.isin(arrays["patient"], [words["patient"].index(name) for name in selection.patients])
    if selection.exclude:
        keep &= np.array([path not in selection.exclude for path in columns.paths])
    selected = chosen[keep[chosen]]
    if len(chosen) and not len(selected):
        raise _nothing_of(profile)
    return selected


def _nothing_of(profile: Profile) -> UsageError:
    return UsageError(f"profile {profile.name} holds nothing of this selection", fix="widen one of them")


def _known(kind: str, asked: Iterable[str], there: set[str], catalog: Catalog) -> None:
    unknown = sorted(set(asked) - there)
    if unknown:
        fix: str = f"{kind}s there: {', '.join(sorted(there)[:8])}{' ...' if len(there) > 8 else ''}"
        if kind == "split" and there == {"none"}:
            fix = Fix(
                ("split", "--corpus", catalog.corpus, "-o", "folds.toml"),
                " makes splits of patients; then add --splits folds.toml",
            )
        raise UsageError(f"corpus {catalog.corpus!r} has no {kind} {unknown[0]!r}", fix=fix)


@dataclass(frozen=True)
class Examined:
    """Stored recordings by what their findings say. `findings`: by name, in how many recordings and channels.

    `missing` were never examined by this version, or their findings are damaged, which `damaged` tells.
    """

    kept: tuple[ViewRecording, ...]
    left_out: tuple[LeftOut, ...]
    missing: tuple[Missing, ...]
    findings: Mapping[str, Mapping[str, int]]
    damaged: bool


def by_quality(store: Store, recordings: Iterable[ViewRecording], min_quality: int) -> Examined:
    """Return the recordings that score at least `min_quality`, those that do not, and those never examined.

    Raises UsageError when none is left and nothing is missing.
    """
    kept: list[ViewRecording] = []
    left_out: list[LeftOut] = []
    missing: list[Missing] = []
    places: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    damaged, recordings = False, tuple(recordings)
    store.prefetch((each.key for each in recordings), findings=detector.QUALITY_VERSION)
    for recording in recordings:
        try:
            found = store.findings(recording.key, detector.QUALITY_VERSION)
        except IntegrityError as error:
            damaged = True
            missing.append(Missing(recording.path, f"its findings are damaged: {error.what}", stored=True))
            continue
        if found is None:
            why = f"not examined: it has no findings of version {detector.QUALITY_VERSION}"
            missing.append(Missing(recording.path, why, stored=True))
            continue
        for finding in found["findings"]:
            places[finding["name"]].add((recording.path, finding["channel"]))
        if found["score"] >= min_quality:
            kept.append(recording)
        else:
            left_out.append(LeftOut(recording.path, recording.split, found["score"]))
    if left_out and not kept and not missing:
        best = max(each.score for each in left_out)
        raise UsageError(
            f"no recording has a quality of {min_quality}; the best one has {best}", fix="lower --min-quality"
        )
    counts = {
        name: {
            "recordings": len({path for path, _ in found}),
            "channels": sum(channel is not None for _, channel in found),
        }
        for name, found in sorted(places.items())
    }
    return Examined(tuple(kept), tuple(left_out), tuple(missing), counts, damaged)
