"""What the commands of keeping_commands.py print, as render.py does for the others."""

from __future__ import annotations

from collections import Counter

from brainbrr.cli.output import Output, many, size
from brainbrr.store.forget import ForgetReport
from brainbrr.store.gc import GcReport
from brainbrr.store.sidecars import KINDS
from brainbrr.views.retention import PinReport, RecipesReport

_SHOWN = 3


def gc(out: Output, report: GcReport) -> None:
    """Show what nothing names, by kind and by what is done with it."""
    deletes, condemns = ("would delete", "would condemn") if report.dry_run else ("deleted", "condemned")
    words = {
        "deleted": deletes,
        "kept": "needed again, kept",
        "condemned": condemns,
        "waiting": "condemned, within the grace",
        "young": "written within the grace",
    }
    out.title(f"nothing names {many(len(report.unneeded), 'item')} in {report.store}")
    counts: Counter[tuple[str, str]] = Counter()
    bytes_of: Counter[tuple[str, str]] = Counter()
    for each in report.unneeded:
        counts[each.state, each.kind] += 1
        bytes_of[each.state, each.kind] += each.n_bytes
    rows = []
    for state, said in words.items():
        for kind in ("views", "records", "objects", "findings"):
            if n := counts[state, kind]:
                names = [each.name[:12] for each in report.unneeded if (each.state, each.kind) == (state, kind)]
                rows.append((said, n, kind, size(bytes_of[state, kind]), _some(names)))
    if rows:
        out.table(("what", "count", "kind", "bytes", "names"), rows)
    if report.leftovers:
        out.note(f"{many(report.leftovers, 'leftover')} of dead writers in tmp/{_to_be(report.dry_run)}")
    if report.unfinished:
        out.note(f"{many(report.unfinished, 'deletion')} that died{_to_be(report.dry_run)}")
    acts = any(each.state in ("deleted", "condemned") for each in report.unneeded)
    if report.dry_run and (acts or report.leftovers or report.unfinished):
        out.note("nothing was changed; the same with --yes does it")


def _to_be(dry_run: bool) -> str:
    return ", put right with --yes" if dry_run else ", put right"


def pin(out: Output, report: PinReport) -> None:
    """Show what was done, and every pin."""
    out.title(f"{report.done}: {report.view}" if report.view else f"{many(len(report.pins), 'pinned view')}")
    columns = ("view", "corpus", "profile", "split", "recordings", "created", "by")
    out.table(columns, [[_text(pin[name]) for name in columns] for pin in report.pins])


def recipe(out: Output, report: RecipesReport) -> None:
    """Show what was done, and every recipe."""
    out.title(f"{report.done}: {report.recipe}" if report.recipe else f"{many(len(report.recipes), 'recipe')}")
    rows = [
        (
            each["name"] or "-",
            each["digest"],
            each["records"],
            size(each["bytes"]),
            "retired" if each["retired"] else "in use",
            "preset" if each["preset"] else "own",
        )
        for each in report.recipes
    ]
    out.table(("name", "digest", "records", "bytes", "state", "kind"), rows)
    if report.done == "retired":
        out.note("nothing was deleted; brainbrr gc shows what is no longer needed")


def forget(out: Output, report: ForgetReport) -> None:
    """Show what goes, and what brainbrr cannot reach."""
    of = f"{report.corpus}, generations before {report.older_than}" if report.older_than else report.corpus
    out.title(f"{'would forget' if report.dry_run else 'forgot'} {of}: {size(report.n_bytes)}")
    rows = []
    for kind in KINDS:
        names = getattr(report, kind)
        if names:
            shown = [str(each["seq"]) for each in names] if kind == "generations" else [name[:12] for name in names]
            rows.append((kind, len(names), _some(shown)))
    out.table(("what", "count", "names"), rows)
    if report.shared:
        out.note(f"{many(len(report.shared), 'record')} stay: another corpus or view names them")
    if report.older_than is None:
        out.title("brainbrr cannot reach")
        for place in report.to_json()["out_of_reach"]:
            out.text(f"  {place}")
    if report.dry_run:
        out.note("nothing was changed; the same with --yes does it, and cannot be undone")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, ..." if len(names) > _SHOWN else shown


def _text(value: object) -> str:
    return "all" if value is None else str(value)
