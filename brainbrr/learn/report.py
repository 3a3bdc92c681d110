"""The parts of a run's report: scores, curves, patients, loss, data. Draws; computes no score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from brainbrr.core import files
from brainbrr.learn import figures
from brainbrr.learn import runs as r
from brainbrr.learn.figures import Example
from brainbrr.scoring.table import NO_VALUE, score_rows, scorers, verdict
from brainbrr.views.page import Html, Number, Section, facts, join, page, table, text


def write_report(run: r.Run, split: str | None, scored: Mapping[str, Any], example: Example) -> Path:
    """Write report-SPLIT.html into the run, and the same as report.html: the last evaluation's. Return its path.

    `scored` is what evaluate saved.
    """
    sections = [*score_sections(run, scored), *training_sections(run, scored)]
    sections.insert(1, Section("One recording", Html(figures.recording(example))))
    whole = page(title_of(run, scored), sections, note=f"run {run.folder.name}", warning=warning_of(run, scored))
    path = run.folder / "report.html"
    for each in (run.folder / f"report-{split or 'all'}.html", path):
        files.replace(each, whole)
    return path


def title_of(run: r.Run, scored: Mapping[str, Any] | None) -> str:
    """Return the heading of a run's page; `scored` None: it was never evaluated."""
    on = f" on split {scored['metrics']['split']}" if scored else ", not evaluated yet"
    return f"{run.config.name}: seizure detection{on}"


def warning_of(run: r.Run, scored: Mapping[str, Any] | None) -> str:
    """Return a warning where any of the data is generated, empty otherwise."""
    generated = scored is not None and scored["metrics"]["synthetic"]
    if generated or any(entry["synthetic"] for _, seen in run.seen() for entry in seen["recordings"]):
        return "SYNTHETIC DATA: signals and labels were generated; these scores mean nothing for any patient."
    return ""


def score_sections(run: r.Run, scored: Mapping[str, Any]) -> list[Section]:
    """Return what an evaluation measured: scores, operating points, patients, seizures, latencies, calibration."""
    found = scored["metrics"]
    note = "All recordings together, thresholds from 0.05 to 0.99; the circles are near the one used."
    return [
        Section("Scores", join(text(" ".join(verdict(found))), _scores(found), _scorer(found))),
        Section("Operating points", join(figures.curves(found["curves"], found["threshold"]), text(note, kind="note"))),
        Section("Each patient", _patients(found["by_patient"])),
        Section(
            "Each kind of seizure",
            join(*(_seizures(f"by {name}", rows) for name, rows in found["by_seizure"].items())),
        ),
        Section("Latency", Html(figures.histogram(found["latencies"]["seconds"]))),
        Section(
            "Calibration",
            join(figures.reliability(found["calibration"]), text(_calibration(found["calibration"]), kind="note")),
        ),
    ]


def training_sections(run: r.Run, scored: Mapping[str, Any] | None) -> list[Section]:
    """Return the loss, and on which data and with which software the run was made and scored."""
    omitted = [*run.view["omitted"], *(scored["omitted"] if scored else ())]
    sections = [
        Section("Training loss", Html(figures.loss([row["loss"] for row in run.history()]))),
        Section("Data and model", facts([*(_scored_on(scored) if scored else ()), *_learned(run)])),
    ]
    if omitted:
        rows = [(each["recording"], each["reason"]) for each in omitted]
        what = text(f"{len(omitted)} refused recordings, accepted as omitted.")
        return [*sections, Section("Omitted", join(what, table(("recording", "reason"), rows)))]
    return [*sections, Section("Omitted", text("No recording was omitted.", kind="note"))]


def _scores(found: Mapping[str, Any]) -> Html:
    """Draw one table, the rows of each scorer below its name; detector and baseline side by side, with intervals."""
    rows: list[tuple[str | Number, ...] | str] = []
    for ours, theirs in zip(score_rows(found), score_rows(found["baseline"]), strict=True):
        if ours.scorer not in rows:
            rows.append(ours.scorer)
        rows.append((ours.name, Number(ours.value), ours.interval, Number(theirs.value), theirs.interval))
    thresholds = [Number(f"{each['threshold']:.3g}") for each in (found, found["baseline"])]
    rows += ["events", ("threshold", thresholds[0], "", thresholds[1], "")]
    return table(("score", "detector", "95 % interval", "line length", "95 % interval "), rows)


def _scorer(found: Mapping[str, Any]) -> Html:
    named = (scorer if scorer.startswith(name) else f"{name}: {scorer}" for name, scorer in scorers(found))
    items = "".join(f"<li>{escape(each)}</li>" for each in named)
    rule = ", ".join(f"{name} = {value:g}" for name, value in found["rule"].items())
    return Html(
        f'<div class="note"><p>{NO_VALUE}: not defined for any patient. Small print: 95 % confidence intervals. '
        f"Thresholds: {escape(found['threshold_from'])}. Event rule: {escape(rule)}. "
        "The baseline is line length over 5 s, scored by the same code.</p>"
        f"<ul>{items}</ul></div>"
    )


def _scored_on(scored: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = scored["metrics"]
    hours = (
        f"{found['hours']:.2f} h of labelled recording (without {found['hours_unknown']:.2f} h of unknown time), "
        f"{found['recordings']} recordings, {found['patients']} patients"
    )
    rows = [
        ("scored on", f"corpus {scored['corpus']}, profile {found['profile']}, split {found['split']}: {hours}"),
        ("seizures", str(found["seizures"])),
        ("view digest", str(scored["view_digest"])),
        ("lock digest", found.get("lock_digest", "not recorded")),
        ("weights", found["weights"]),
    ]
    if found["unlabelled"]:
        rows.append(("not scored", f"{found['unlabelled']} recordings without labels"))
    return rows


def _learned(run: r.Run) -> list[tuple[str, str]]:
    trained, config = run.view, run.config
    rows = [
        ("trained on", f"corpus {trained['corpus']}, profile {trained['profile']}, split {trained['split']}"),
        ("view digest", trained["digest"]),
        ("recipe", f"{trained['recipe']['name']}, {trained['recipe']['digest']}"),
        ("windows", f"{trained['window']['length_s']} s every {trained['window']['stride_s']} s"),
        ("steps", f"{config.train.steps} of {config.train.batch * config.train.accumulate} windows"),
        (
            "reproducible",
            "on a CPU, with the same number of threads"
            + (", and on CUDA" if config.train.deterministic else "; not on CUDA"),
        ),
    ]
    if run.model.exists():
        rows += _weights(run)
    if run.before:
        rows.append(("started from", ", which started from ".join(each["run"] for each in run.before)))
    return rows


def _weights(run: r.Run) -> list[tuple[str, str]]:
    """Describe the weights and the software that made them; a file from elsewhere may lack any field."""
    tensors, metadata = r.read_tensors(run.model)
    versions = metadata.get("versions")
    software = (
        ", ".join(f"{name} {each}" for name, each in versions.items()) if isinstance(versions, dict) else "unknown"
    )
    return [
        ("detector", f"{sum(value.numel() for value in tensors.values()):,} parameters, seed {run.config.seed}"),
        ("software", software),
        ("git commit", str(metadata.get("git_commit") or "unknown: an installed package")),
    ]


def _patients(rows: Sequence[Mapping[str, Any]]) -> Html:
    """Draw a row for each patient, so that no patient is hidden in a mean."""
    head = ("patient", "h", "seizures", "found", "F1", "precision", "false alarms / 24 h", "time flagged")
    forms = ("{:.2f}", "{}", "{}", "{:.3f}", "{:.3f}", "{:.1f}", "{:.1%}")
    names = ("hours", "seizures", "found", "event_f1", "precision", "false_alarms_per_day", "flagged_share")
    return table(
        head,
        [
            (row["patient"], *(Number(_shown(form, row[name])) for form, name in zip(forms, names, strict=True)))
            for row in rows
        ],
    )


def _seizures(title: str, rows: Sequence[Mapping[str, Any]]) -> Html:
    head = (title, "seizures", "patients", "found", "sensitivity", "Wilson 95 %")
    return table(
        head,
        [
            (
                row["name"],
                *(Number(str(row[name])) for name in ("seizures", "patients", "found")),
                Number(f"{row['sensitivity']:.3f}"),
                Number(" to ".join(f"{edge:.3f}" for edge in row["wilson"])),
            )
            for row in rows
        ],
    )


def _shown(form: str, value: Any) -> str:
    return NO_VALUE if value is None else form.format(value)


def _calibration(found: Mapping[str, Any]) -> str:
    if not found["calibrated"]:
        return "Not calibrated: thresholds were not tuned on another split. Confidences are the detector's own."
    return (
        f"Fitted where the threshold was tuned: temperature {found['temperature']:.2f}, shift of the log odds "
        f"{found['prior']:+.2f}. The confidence of events is the calibrated probability."
    )
