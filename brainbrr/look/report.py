"""`report`: one HTML file about a view or a run that loads nothing: tables, curves, and traces around its events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brainbrr.core import files
from brainbrr.core.access import OWNER_ONLY, Guard, write_file
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import IntegrityError, UsageError
from brainbrr.learn.start import need_torch, recipe_of, run_named
from brainbrr.look.difference import frozen_view, kind_of
from brainbrr.look.overview import sections_of
from brainbrr.look.snippets import KINDS, Evaluated, chosen, events_of, snippets
from brainbrr.settings import Settings
from brainbrr.store.sidecars import MAX_CATALOG_BYTES
from brainbrr.store.store import Store
from brainbrr.views.page import Html, Section, join, page, text
from brainbrr.views.report import ViewReport
from brainbrr.views.view import View

if TYPE_CHECKING:
    from brainbrr.learn.runs import Run

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("uPlot.iife.min.js", "events.js")
MOST_EVENTS = 60
"""How many events a page shows unless more are requested: about 60 kB each."""


@dataclass(frozen=True)
class Report:
    """Where the page is, what it is about, and how many of how many events it shows."""

    file: Path
    kind: Literal["view", "run"]
    subject: str
    sections: tuple[str, ...]
    n_bytes: int
    events: int = 0
    of_events: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        fields = {name: value for name, value in vars(self).items() if name != "n_bytes"}
        return {**fields, "file": str(self.file), "bytes": self.n_bytes}


@dataclass(frozen=True)
class _Page:
    kind: Literal["view", "run"]
    subject: str
    title: str
    note: str
    warning: str
    sections: list[Section]
    events: tuple[dict[str, Any], ...] | None = None
    of_events: int = 0
    threshold: float = 0.0


def report_view(found: ViewReport, settings: Settings, file: Path, progress: Progress = Silent()) -> Report:  # noqa: B008  # stateless
    """Write the page of a view, which may be incomplete: that is in it. Raises UsageError without a store."""
    view = found.view
    name = f"{view.corpus}, profile {view.profile}, split {view.split or 'all'}"
    note = f"view {view.digest or 'without a digest, since it is not complete'}"
    warning = "SYNTHETIC DATA: signals and labels were generated." if view.synthetic else ""
    sections = sections_of(found, settings, progress)
    return _written(_Page("view", name, f"The view {name}", note, warning, sections), file, view.store)


def report_named(
    subject: str,
    settings: Settings,
    file: Path,
    *,
    split: str | None = None,
    most_events: int = MOST_EVENTS,
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> Report:
    """Write the page of a frozen view (a digest or a file) or of a run (a name or a folder).

    Of a run `split` says which evaluation; None: that of eval, else the newest. Raises UsageError for anything else.
    """
    store = Store.open_if_there(settings.store.value)
    kind = kind_of(subject, store, settings.runs.value)
    if kind == "recipe":
        raise UsageError(f"{subject} is a recipe", fix="a run, or a view by its digest, by its file or by --profile")
    if kind == "view":
        opened = View.from_json(Store.open(settings.store.value), frozen_view(store, subject))
        found = ViewReport(opened, settings.store.value)
        return report_view(found, settings, file, progress)
    need_torch()
    from brainbrr.learn.runs import open_run

    run = open_run(run_named(settings.runs.value, subject))
    return _written(_of_run(run, store, split, most_events, progress), file, store)


def _of_run(run: Run, store: Store | None, split: str | None, most_events: int, progress: Progress) -> _Page:
    from brainbrr.learn import report

    scored = evaluation_of(run.folder, split)
    title, warning = report.title_of(run, scored), report.warning_of(run, scored)
    sections = report.training_sections(run, scored)
    made = _Page("run", run.folder.name, title, f"run {run.folder.resolve().name}", warning, sections)
    if scored is None:
        why = Section("Scores", text(f"Not evaluated yet: brainbrr evaluate {run.folder.name}"))
        return replace(made, sections=[why, *sections])
    events = events_of(scored["recordings"])
    some = chosen(events, most_events)
    shown = []
    progress.start("traces", len(some), "events")
    try:
        for each in snippets(_evaluated(run, store, scored), some):
            shown.append(each)
            progress.advance(1, note=each["recording"])
    finally:
        progress.stop()
    sections = [*report.score_sections(run, scored), *sections]
    sections.insert(1, Section("Events", _browser(len(some), len(events))))
    threshold = scored["metrics"]["threshold"]
    return replace(made, sections=sections, events=tuple(shown), of_events=len(events), threshold=threshold)


def evaluation_of(run: Path, split: str | None) -> dict[str, Any] | None:
    """Return what an evaluation saved; None where a run was never evaluated.

    Raises UsageError where it was not evaluated on this split, IntegrityError for a file that is damaged.
    """
    there = {file.stem.removeprefix("evaluation-"): file for file in run.glob("evaluation-*.json")}
    if split is not None and split not in there:
        known = f"evaluated on {', '.join(sorted(there)) or 'no split'}"
        raise UsageError(f"the run was not evaluated on split {split}", where=run, fix=known)
    if not there:
        return None
    newest = max(there, key=lambda name: there[name].stat().st_mtime)
    file = there[split or ("eval" if "eval" in there else newest)]
    try:
        found = json.loads(files.read(file, limit=MAX_CATALOG_BYTES, folders=0))
        found["metrics"]["curves"], found["recordings"][:1], found["view_digest"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"not what evaluate saved: {error!s:.200}", where=file) from None
    return dict(found)


def _evaluated(run: Run, store: Store | None, scored: Mapping[str, Any]) -> Evaluated:
    from brainbrr.learn.runs import read_tensors

    split = scored["metrics"]["split"] or "all"
    tensors, _ = read_tensors(run.folder / f"probabilities-{split}.safetensors")
    catalog = store.catalog(scored["corpus"]) if store else None
    return Evaluated(
        store=store,
        corpus=scored["corpus"],
        recipe=recipe_of(run.view),
        rows=catalog.rows if catalog else {},
        probabilities={path: each.numpy() for path, each in tensors.items()},
        recordings={each["recording"]: each for each in scored["recordings"]},
    )


def _browser(n: int, of: int) -> Html:
    if not of:
        return text("Neither a seizure nor a false alarm.", kind="note")
    choices = "".join(f"<option>{kind}</option>" for kind in ("all", *KINDS))
    some = "All events." if n == of else f"{n} of {of} events: of each kind some, over all recordings."
    return join(
        Html(
            '<div id="events" tabindex="0" role="group" aria-label="Events: arrow keys go on and back, + and − scale">'
            f'<div class="tools"><label>Show <select id="events-kind">{choices}</select></label>'
            '<button id="events-previous" type="button">← Previous</button>'
            '<button id="events-next" type="button">Next →</button>'
            '<button id="events-smaller" type="button" aria-label="Smaller traces">−</button>'
            '<button id="events-larger" type="button" aria-label="Larger traces">+</button>'
            '<span id="events-scale" class="note"></span></div>'
            '<p id="events-where" aria-live="polite"></p>'
            '<div id="traces" role="img"></div><div id="scores" role="img" aria-label="Probability of a seizure"></div>'
            "</div>"
        ),
        text(
            f"{some} Shaded between two lines: a labelled seizure. Bar along the bottom: a detected event. Dashed: the "
            "threshold. Grey rows are absent or interpolated. Keys: ← → for events, + − for the scale.",
            kind="note",
        ),
    )


_STYLE = """
#events{padding:.4rem 0}#events .tools{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center}
#events button,#events select{font:inherit;color:var(--text);background:var(--panel);border:1px solid var(--line);
border-radius:4px;padding:.3rem .7rem;min-height:2.2rem}#events button:disabled{opacity:.45}
#events-where{margin:.5rem 0}.uplot{max-width:100%}
"""


def _written(made: _Page, file: Path, store: Store | None) -> Report:
    data: dict[str, str] = {}
    scripts: list[str] = []
    styles: list[str] = []
    if made.events:
        fields = {"events": made.events, "threshold": made.threshold}
        data = {"events-data": json.dumps(fields, separators=(",", ":"), allow_nan=False)}
        scripts = [(_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS]
        scripts[0] = f"/*\n{(_ASSETS / 'uPlot-LICENSE').read_text(encoding='utf-8')}*/\n{scripts[0]}"
        styles = [(_ASSETS / "uPlot.min.css").read_text(encoding="utf-8"), _STYLE]
    whole = page(
        made.title, made.sections, note=made.note, warning=made.warning, data=data, scripts=scripts, styles=styles
    )
    write_file(file, whole, OWNER_ONLY if store is None else (Guard.of(store.location),))  # it shows patients' signals
    titles = tuple(each.title for each in made.sections)
    return Report(file, made.kind, made.subject, titles, len(whole), len(made.events or ()), made.of_events)
