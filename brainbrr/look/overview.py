"""What a view's report says: splits, patients, rates, quality, what was refused, leakage, bytes, provenance."""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from brainbrr.core.display import size
from brainbrr.core.progress import Progress
from brainbrr.errors import UsageError
from brainbrr.look.history import log
from brainbrr.look.listing import ls
from brainbrr.profiles import SPLITS
from brainbrr.settings import Settings
from brainbrr.share.terms import terms_of
from brainbrr.store.catalog import Catalog
from brainbrr.views.check import check
from brainbrr.views.columns import Value
from brainbrr.views.page import Cell, Html, Number, Section, facts, folded, join, table, text
from brainbrr.views.report import ViewReport
from brainbrr.views.splits import Splits, load_splits
from brainbrr.views.view import View

_OPEN, _MOST_ROWS, _WORST, _GENERATIONS = 40, 2000, 10, 10
_FLOAT_BYTES = 4
_NONE = "–"


@dataclass(frozen=True)
class _Recording:
    """A recording of the view, stored or not, with the columns of `ls`."""

    split: str
    columns: Mapping[str, Value]

    def number(self, name: str) -> float:
        """Return a column as a number, 0 where it is not known."""
        value = self.columns[name]
        return float(value) if isinstance(value, int | float) else 0.0


def sections_of(found: ViewReport, settings: Settings, progress: Progress) -> list[Section]:
    """Return the sections of a view's page. Raises UsageError for a corpus that the store does not have."""
    view = found.view
    catalog = view.store.catalog(view.corpus)
    if catalog is None:
        raise UsageError(f"the store has no catalog of corpus {view.corpus!r}", where=view.store.location)
    rows = _rows(found, settings)
    return [
        Section("In short", facts(_in_short(found))),
        Section("Splits", _splits(rows)),
        Section("Patients", _patients(rows)),
        Section("Rates and montages", _kinds(rows)),
        Section("Quality", _quality(rows, catalog, view)),
        Section("Not in the view", _refused(found)),
        Section("Leakage", _leaks(view, settings, progress)),
        Section("Bytes", facts(_bytes(found, rows))),
        Section("Provenance", _provenance(found, catalog, rows)),
    ]


def _rows(found: ViewReport, settings: Settings) -> list[_Recording]:
    view = found.view
    split_of = {each.path: each.split for each in view.recordings}
    named = {*split_of, *(each.recording for group in (view.missing, view.omitted, view.left_out) for each in group)}
    listed = ls(
        view.store,
        profiles=lambda name: settings.profile_of(name, "full"),
        corpus=view.corpus,
        recipe=view.recipe,
    )
    return [
        _Recording(split_of.get(str(row["path"]), str(row["split"])), row)
        for row in listed.rows
        if row["path"] in named
    ]


def _in_short(found: ViewReport) -> list[tuple[str, str]]:
    view, fields = found.view, found.to_json()
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in fields["window_classes"].items() if n)
    window = fields["window"]
    rows = [
        (
            "state",
            fields["state"] + ("" if fields["state"] == "ready" else f"; to complete it: {found.fix or view.fix}"),
        ),
        ("recordings", f"{fields['ready']:,} of {fields['recordings']:,} ready, {fields['patients']:,} patients"),
        ("signal", f"{fields['seconds'] / 3600:,.2f} h, {fields['seizures']:,} seizures"),
        ("windows", f"{fields['windows']:,} of {window['length_s']} s every {window['stride_s']} s: {kinds or 'none'}"),
        ("unlabelled", f"{fields['seconds_unlabelled']:,.1f} s: neither seizure nor background"),
        ("not in any window", f"{fields['seconds_dropped']:,.1f} s"),
        ("in gaps", f"{fields['seconds_in_gaps']:,.1f} s in which nothing was recorded"),
        ("labels past the end", f"{fields['labels_clipped']:,} seizures, cut there"),
        ("channels missing", _counts(fields["channels_missing"])),
        ("channels flat", _counts(fields["channels_flat"])),
        ("selection", "; ".join(f"{name} {value}" for name, value in fields["selection"].items() if name != "splits")),
    ]
    always = ("state", "recordings", "signal", "windows")
    return [(name, value) for name, value in rows if name in always or (value and not value.startswith(("0 ", "0.0")))]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} in {n:,}" for name, n in counts.items())


def _splits(rows: Sequence[_Recording]) -> Html:
    head = ("split", "recordings", "stored", "patients", "hours", "seizures", "time in seizure", "bytes")
    names = [name for name in (*SPLITS, "none") if any(each.split == name for each in rows)]
    groups = [(name, [each for each in rows if each.split == name]) for name in names]
    return table(head, [_group(name, mine) for name, mine in [*groups, ("all", list(rows))]])


def _group(name: str, mine: Sequence[_Recording]) -> tuple[Cell, ...]:
    seconds, seizing = _sum(mine, "length_s"), _sum(mine, "seizure_s")
    return (
        name,
        Number(f"{len(mine):,}"),
        Number(f"{sum(each.columns['state'] == 'stored' for each in mine):,}"),
        Number(f"{len({each.columns['patient'] for each in mine}):,}"),
        Number(f"{seconds / 3600:,.2f}"),
        Number(f"{_sum(mine, 'seizures'):,.0f}"),
        Number(f"{seizing:,.0f} s" + (f", {seizing / seconds:.2%}" if seconds else "")),
        Number(size(_sum(mine, "bytes"))),
    )


def _sum(rows: Iterable[_Recording], name: str) -> float:
    return sum(each.number(name) for each in rows)


def _patients(rows: Sequence[_Recording]) -> Html:
    groups: dict[tuple[str, str], list[_Recording]] = defaultdict(list)
    for each in rows:
        groups[each.split, str(each.columns["patient"])].append(each)
    most_h = max((_sum(mine, "length_s") / 3600 for mine in groups.values()), default=0) or 1
    most_n = max((_sum(mine, "seizures") for mine in groups.values()), default=0) or 1
    head = ("patient", "split", "recordings", "hours", "seizures", "time in seizure", "least quality")
    cells: list[tuple[Cell, ...]] = []
    for (split, patient), mine in sorted(groups.items()):
        hours, n = _sum(mine, "length_s") / 3600, _sum(mine, "seizures")
        scores = [int(score) for each in mine if isinstance(score := each.columns["quality"], int)]
        cells.append(
            (
                patient,
                split,
                Number(str(len(mine))),
                Number(f"{hours:.2f}", hours / most_h),
                Number(f"{n:.0f}", n / most_n),
                Number(f"{_sum(mine, 'seizure_s'):,.0f} s"),
                Number(str(min(scores)) if scores else _NONE),
            )
        )
    shown = table(head, cells[:_MOST_ROWS])
    more = text(f"and {len(cells) - _MOST_ROWS:,} more", kind="note") if len(cells) > _MOST_ROWS else Html("")
    return folded(f"{len(cells):,} patients", join(shown, more), is_open=len(cells) <= _OPEN)


def _kinds(rows: Sequence[_Recording]) -> Html:
    """Draw how many recordings and hours have which rate and reference, and which electrodes are missing."""
    groups: dict[tuple[str, str], list[_Recording]] = defaultdict(list)
    for each in rows:
        rate, montage = each.columns["rate_hz"], each.columns["montage"]
        groups[_NONE if rate is None else f"{rate:g} Hz", str(montage or _NONE)].append(each)
    cells = [
        (rate, montage, Number(f"{len(mine):,}", len(mine) / len(rows)), Number(f"{_sum(mine, 'length_s') / 3600:.2f}"))
        for (rate, montage), mine in sorted(groups.items(), key=lambda one: -len(one[1]))
    ]
    absent = Counter(name for each in rows for name in str(each.columns["absent"] or "").split(", ") if name)
    parts = [table(("rate of the EDF", "reference", "recordings", "hours"), cells)]
    if absent:
        parts.append(text("Electrodes that are missing: " + _counts(dict(absent.most_common())) + " recordings."))
    return join(*parts)


def _quality(rows: Sequence[_Recording], catalog: Catalog, view: View) -> Html:
    scored = [(int(score), each) for each in rows if isinstance(score := each.columns["quality"], int)]
    if not scored:
        return text("No recording was examined.", kind="note")
    bins = Counter(min(score // 10, 9) for score, _ in scored)
    most = max(bins.values())
    spread = [
        (f"{10 * i} to {10 * i + (9 if i < 9 else 10)}", Number(f"{bins[i]:,}", bins[i] / most))
        for i in range(9, -1, -1)
        if bins[i]
    ]
    worst = sorted(scored, key=lambda one: one[0])[:_WORST]
    reasons = []
    for score, each in worst:
        found = catalog.rows[str(each.columns["path"])].quality.get(view.recipe.digest)
        if score < 100:
            reasons.append((str(each.columns["path"]), Number(str(score)), found.reason if found else ""))
    parts = [table(("score of 100", "recordings"), spread)]
    if reasons:
        parts += [Html("<h3>The lowest</h3>"), table(("recording", "score", "what lowers it most"), reasons)]
    return join(*parts)


def _refused(found: ViewReport) -> Html:
    view = found.view
    rows = [
        *((each.recording, "missing", each.reason) for each in view.missing),
        *((each.recording, "stale", each.reason) for each in view.stale),
        *((each.recording, "refused, accepted", each.reason) for each in view.omitted),
        *((each.recording, "left out", f"quality {each.score}") for each in view.left_out),
    ]
    if not rows:
        parts = [text("Nothing: every recording of the profile is in the view.", kind="good")]
    else:
        reasons = Counter((state, reason) for _, state, reason in rows)
        counted = [(state, reason, Number(f"{n:,}")) for (state, reason), n in reasons.most_common()]
        each = table(("recording", "state", "reason"), rows[:_MOST_ROWS])
        parts = [table(("state", "reason", "recordings"), counted), folded(f"{len(rows):,} recordings", each)]
    if found.labels_unread:
        parts.append(text(f"Label files of no recording: {', '.join(found.labels_unread[:20])}."))
    return join(*parts)


def _leaks(view: View, settings: Settings, progress: Progress) -> Html:
    splits = load_splits(None, None, kept=view.selection.get("splits"))
    found = check(
        view.store,
        require=("no-leaks",),
        settings=settings,
        corpus=view.corpus,
        recipe=view.recipe,
        splits=splits or Splits(),
        progress=progress,
    )
    if not found.leaks:
        words = "No patient, no EDF and no signal is in two splits of the corpus."
        return text(words, kind="good")
    rows = [
        (each["kind"], each["value"][:16], "; ".join(f"{split}: {', '.join(p)}" for split, p in each["splits"].items()))
        for each in found.leaks[:_MOST_ROWS]
    ]
    return join(
        text(f"{len(found.leaks)} are in two splits: scores on one of them would be too good.", kind="bad"),
        table(("what", "which", "where"), rows),
    )


def _bytes(found: ViewReport, rows: Sequence[_Recording]) -> list[tuple[str, str]]:
    view = found.view
    n_windows = len(view) if view.recordings else 0
    as_windows = n_windows * len(view.channels) * view.length * _FLOAT_BYTES
    stored, edf = _sum(rows, "bytes"), _sum(rows, "edf_bytes")
    each = f"{n_windows:,} × {len(view.channels)} × {view.length:,} float32"
    less = f", {as_windows / stored:.1f} times the objects" if stored else ""
    return [
        ("objects", f"{size(stored)}, once for every profile, window and label"),
        ("EDF files", f"{size(edf)}, of which the objects are {stored / edf:.0%}" if edf else _NONE),
        ("the same as windows", f"{size(as_windows)} ({each}){less}"),
        ("this view adds", "0 B"),
    ]


def _provenance(found: ViewReport, catalog: Catalog, rows: Sequence[_Recording]) -> Html:
    view, terms = found.view, terms_of(catalog)
    since = sorted(str(each.columns["since"]) for each in rows if each.columns["since"])
    said = [
        ("corpus", f"{view.corpus}, {catalog.layout}, generation {catalog.seq} of its catalog"),
        ("access", ", ".join(filter(None, (terms.access, terms.licence, terms.url)))),
        ("files", f"compared with {found.checked_root}" if found.checked_root else "not compared: out of reach"),
        ("stored", f"{since[0]} to {since[-1]}" if since else _NONE),
        ("view digest", view.digest or "none: it is not complete"),
        ("recipe", f"{view.recipe.name}, {view.recipe.digest}"),
        ("software", f"brainbrr {version('brainbrr')}, Python {platform.python_version()}, numpy {version('numpy')}"),
    ]
    kept = view.selection.get("splits")
    if kept and kept.get("source"):
        said.append(("splits", str(kept["source"])))
    chosen = [(name, _text(value)) for name, value in view.recipe.identity().items()]
    entries = log(view.store, view.corpus, last=_GENERATIONS).entries
    lines = [
        (str(each.generation), each.created or _NONE, each.by or _NONE, _changes(each.damaged, each.changes))
        for each in entries
    ]
    return join(
        facts(said),
        folded("Settings of the recipe", facts(chosen)),
        folded("Last ingests", table(("generation", "when", "by", "what"), lines)),
    )


def _changes(damaged: str | None, changes: Iterable[Any]) -> str:
    counts = Counter(each.change for each in changes)
    return damaged or ", ".join(f"{n:,} {name}" for name, n in counts.items()) or "settings"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
