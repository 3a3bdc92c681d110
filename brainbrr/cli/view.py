"""`brainbrr view`: what a selection of recordings holds and lacks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import CONFIG, Session, command, recipe_option, selects, splits_options
from brainbrr.cli.output import Output, base_names, duration, many, not_read, quality, recipe_name, size
from brainbrr.errors import Fix, UsageError

if TYPE_CHECKING:
    from brainbrr.eeg.signal.recipe import Recipe
    from brainbrr.views.report import ViewReport
    from brainbrr.views.splits import Splits

_REASONS_SHOWN = 10


@command("view", exits=(3, 4, 5), example="brainbrr view --profile dev --split train")
@selects()
@splits_options
@recipe_option
@click.option(
    "--config", type=CONFIG, default=None, metavar="NAME|FILE", help="Take the window from a training config."
)
@click.option(
    "--tail",
    type=click.Choice(["drop", "pad", "shift"]),
    help="For the end of a recording that no window covers: drop it, pad the last window, or shift it back.",
)
@click.option("--patients", metavar="A,B", help="Only these patients.")
@click.option(
    "--exclude",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File that names recordings to leave out, one on each line.",
)
@click.option(
    "--min-quality",
    type=click.IntRange(0, 100),
    metavar="N",
    help="Leave out recordings whose findings score below N of 100, and name them; 0 shows findings only.",
)
@click.option("--out", "frozen", type=click.Path(path_type=Path, dir_okay=False), help="Freeze the view into FILE.")
@click.option(
    "--index",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.npz",
    help="Write the view's index: a loader opens it in milliseconds.",
)
def view(
    session: Session,
    *,
    corpus: str | None,
    profile: str,
    split: str | None,
    where: tuple[tuple[str, str], ...],
    splits: str | None,
    aliases: Path | None,
    recipe: str,
    config: str | None,
    tail: str | None,
    patients: str | None,
    exclude: Path | None,
    min_quality: int | None,
    frozen: Path | None,
    index: Path | None,
) -> int:
    """Show what a profile holds, how much of it is ready, what is missing, and the command that adds it."""
    from brainbrr.learn.config import load_train_config
    from brainbrr.loading.windows import WindowSpec
    from brainbrr.views.report import save_view
    from brainbrr.views.splits import load_splits

    window = load_train_config(config).window_spec() if config else WindowSpec()
    report = open_view(
        session,
        profile,
        corpus=corpus,
        split=split,
        splits=load_splits(splits, aliases),
        recipe=recipe,
        window=window if tail is None else WindowSpec(**{**window.identity(), "tail": tail}),
        where=where,
        patients=tuple(name.strip() for name in patients.split(",")) if patients else (),
        exclude=_lines(exclude) if exclude else frozenset(),
        min_quality=min_quality,
    )
    ready = report.state == "ready"
    if ready and frozen:  # before the report: a file that cannot be written is the one thing that --json shows
        save_view(report.view, frozen)
    if ready and index:
        report.view.index.save(index, like=report.view.store.location)
    session.show(report, table)
    for said, path in (("frozen into", frozen), ("index in", index)):
        if ready and path:
            session.out.note(f"{said} {path}")
    return 0 if ready else 3


def open_view(
    session: Session,
    profile: str,
    *,
    corpus: str | None,
    split: str | None,
    recipe: Recipe | str,
    window: Any = None,
    splits: Splits | None = None,
    **selection: Any,
) -> ViewReport:
    """Return a view's report. Where nothing was ever ingested there is no store, and the view is empty."""
    from brainbrr.eeg.signal.recipe import Recipe
    from brainbrr.loading.windows import WindowSpec
    from brainbrr.views.recipes import find_recipe
    from brainbrr.views.report import ViewRequest
    from brainbrr.views.report import view as run
    from brainbrr.views.select import Selection, resolve_corpus

    store = session.store_if_there()
    name = resolve_corpus(store, corpus) if store else corpus
    chosen = find_recipe(store, recipe) if isinstance(recipe, str) else recipe
    flags = ["--recipe", recipe if isinstance(recipe, str) else recipe.name] if chosen.digest != Recipe().digest else []
    request = ViewRequest(
        profile=session.settings.profiles_of(name)[profile],
        recipe=chosen,
        window=window or WindowSpec(),
        corpus=name,
        split=split,
        selection=Selection(**selection),
        splits=splits,
    )
    return run(store, request, location=session.location, host=session.settings.host, flags=flags)


def _lines(file: Path) -> frozenset[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"--exclude: the file is not UTF-8: {error.reason}", where=file) from None
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def table(out: Output, report: ViewReport) -> None:
    """Show what a view holds and what it lacks."""
    fields = report.to_json()
    name = f"{fields['corpus'] or 'no corpus'}: profile {fields['profile']}, split {fields['split'] or 'all'}"
    out.title(f"{name} · recipe {recipe_name(fields['recipe'])}")
    out.pairs([*_held(fields), *_lost(fields), *_lacking(fields), *_next_steps(report)])
    if report.findings:
        head = ("finding", "recordings", "channels")
        out.table(head, [(name, n["recordings"], n["channels"]) for name, n in report.findings.items()])


def _held(fields: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("state", fields["state"])]
    if fields["synthetic"]:
        rows.append(("data", "SYNTHETIC, generated by brainbrr"))
    splits = fields["selection"].get("splits")
    if splits and splits["source"]:
        rows.append(("splits", splits["source"]))
    if splits and splits["aliases"]:
        rows.append(("aliases", f"{many(len(splits['aliases']), 'name')} of patients"))
    asked = {k: ", ".join(v) if isinstance(v, list) else v for k, v in fields["selection"].items() if k != "splits"}
    if asked:
        rows.append(("selection", "; ".join(f"{k} {v}" for k, v in asked.items())))
    kinds = ", ".join(f"{n} {kind}" for kind, n in fields["window_classes"].items() if n)
    return [
        *rows,
        ("recordings", f"{fields['ready']} of {fields['recordings']} ready, {many(fields['patients'], 'patient')}"),
        ("signal", f"{duration(fields['seconds'])}, {many(fields['seizures'], 'seizure')}"),
        ("windows", f"{fields['windows']} of {fields['window']['length_s']} s every {fields['window']['stride_s']} s"),
        ("classes", kinds or "none"),
        *quality(fields["worst_quality"]),
        ("bytes", f"{size(fields['bytes'])} in the store; the view copies nothing"),
        ("digest", fields["digest"] or "none until complete"),
    ]


def _lost(fields: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what of the recordings no window shows as it was recorded."""
    rows = []
    if absent := _channels(fields["channels_missing"]):
        how = {"interpolate": "interpolated", "nan": "NaN", "zero": "zeros"}[fields["window"]["missing"]]
        rows.append(("channels missing", f"{absent} ({how})"))
    if flat := _channels(fields["channels_flat"]):
        rows.append(("channels flat", f"{flat} (zeros)"))
    if fields["seconds_dropped"]:
        dropped = duration(fields["seconds_dropped"])
        why = "ends shorter than a window; use `--tail shift` to keep them"
        if fields["window"]["tail"] != "drop":
            why = "gaps between windows: the stride is longer than a window"
        rows.append(("not in any window", f"{dropped} ({why})"))
    if fields["short"]:
        rows.append(("short", f"{many(fields['short'], 'recording')} shorter than a window: padded"))
    if fields["labels_clipped"]:
        rows.append(("labels clipped", f"{many(fields['labels_clipped'], 'seizure')} past the end of the signal"))
    if fields["hours_in_gaps"]:
        rows.append(("gaps", f"{duration(fields['hours_in_gaps'] * 3600)} in which nothing was recorded: not counted"))
    if fields["seconds_unlabelled"]:
        rows.append(("unlabelled", f"{duration(fields['seconds_unlabelled'])}: neither seizure nor background"))
    if hidden := fields["event_channels_not_shown"]:
        rows.append(("events not shown", f"on {', '.join(hidden)}: unknown in per-channel labels"))
    return rows


def _channels(counts: dict[str, int]) -> str:
    return ", ".join(f"{channel} in {n}" for channel, n in counts.items())


def _lacking(fields: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if fields["left_out"]:
        least = fields["selection"]["min_quality"]
        scored = base_names([f"{each['recording']} ({each['score']})" for each in fields["left_out"]])
        rows.append(("left out", f"{len(fields['left_out'])} of a quality below {least}: {scored}"))
    if fields["omitted"]:
        rows.append(("omitted", f"{len(fields['omitted'])} refused and accepted: {_paths(fields['omitted'])}"))
    rows += not_read(fields["not_read"], fields["labels_unread"])
    for kind in ("missing", "stale"):
        reasons = Counter(entry["reason"] for entry in fields[kind])
        for reason, n in reasons.most_common(_REASONS_SHOWN):
            those = [entry for entry in fields[kind] if entry["reason"] == reason]
            rows.append((kind, f"{n}: {reason}: {_paths(those)}"))
        if len(reasons) > _REASONS_SHOWN:
            rows.append((kind, f"and {len(reasons) - _REASONS_SHOWN} more reasons; --json lists all"))
    return rows


def _paths(entries: list[dict[str, Any]]) -> str:
    return base_names([entry["recording"] for entry in entries])


def _next_steps(report: ViewReport) -> list[tuple[str, str]]:
    rows = []
    for recipe, n in report.elsewhere.items():
        rows.append(("other recipe", f"{n} of the missing are stored under {recipe}: another view, never mixed in"))
    if report.state == "ready" and report.checked_root is None:
        rows.append(("files", "not compared: the EDF files are out of reach"))
    if report.mend:
        rows.append(("fix", Fix("the files, then ", report.mend) if report.leave_out else report.mend))
    if report.leave_out:
        rows.append(("or leave out", report.leave_out))
    return rows
