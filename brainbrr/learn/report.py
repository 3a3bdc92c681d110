"""One run's report: a self-contained HTML file, its tables, around the figures. Draws; computes no score."""

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
from brainbrr.views.view import View

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1c1c1c;max-width:900px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
td.i{color:#777;font-size:.8em;white-space:nowrap}th[colspan='5']{padding-top:.9rem;color:#1f6fc4}code{font-size:.85em;overflow-wrap:anywhere}
.synthetic{background:#7a1f00;color:#fff;padding:.5rem .8rem;font-weight:600}.note{color:#555;font-size:.9em}
svg{width:100%;height:auto;overflow:visible}tr,svg{break-inside:avoid}text{font:11px system-ui,sans-serif;fill:#444}
"""


def write_report(run: r.Run, view: View, found: Mapping[str, Any], example: Example) -> Path:
    """Write report-SPLIT.html into the run, and the same as report.html: the last evaluation's. Return its path.

    `found` is what evaluate measured.
    """
    history = run.history()
    synthetic = found["synthetic"] or any(entry["synthetic"] for _, seen in run.seen() for entry in seen["recordings"])
    parts = [
        f"<h1>{escape(run.config.name)}: seizure detection on split {escape(str(view.split))}</h1>",
        f'<p class="note">run <code>{escape(run.folder.name)}</code></p>',
        '<p class="synthetic">SYNTHETIC DATA: signals and labels were generated; '
        "these scores mean nothing for any patient.</p>"
        if synthetic
        else "",
        "<h2>Scores</h2>",
        f"<p>{escape(' '.join(verdict(found)))}</p>",
        _scores(found),
        _scorer(found),
        "<h2>One recording</h2>",
        figures.recording(example),
        "<h2>Operating points</h2>",
        figures.curves(found["curves"], found["threshold"]),
        '<p class="note">All recordings together, thresholds from 0.05 to 0.99; the circles are near the one used.</p>',
        "<h2>Each patient</h2>",
        _patients(found["by_patient"]),
        "<h2>Each kind of seizure</h2>",
        *(_seizures(f"by {name}", rows) for name, rows in found["by_seizure"].items()),
        "<h2>Latency</h2>",
        figures.histogram(found["latencies"]["seconds"]),
        "<h2>Calibration</h2>",
        figures.reliability(found["calibration"]),
        _calibration(found["calibration"]),
        "<h2>Training loss</h2>",
        figures.loss([row["loss"] for row in history]),
        "<h2>Data and model</h2>",
        _views(run, view, found),
        _omissions(run, view),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(run.folder.name)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    path = run.folder / "report.html"
    for each in (run.folder / f"report-{view.split or 'all'}.html", path):
        files.replace(each, page.encode())
    return path


def _scores(found: Mapping[str, Any]) -> str:
    """Draw one table: a heading for each scorer; detector and baseline side by side, with intervals."""
    head = "<tr><th></th><th class=n colspan=2>detector</th><th class=n colspan=2>line length</th></tr>"
    parts, scorer = [head], ""
    for ours, theirs in zip(score_rows(found), score_rows(found["baseline"]), strict=True):
        if ours.scorer != scorer:
            scorer = ours.scorer
            parts.append(f"<tr><th colspan=5>{escape(scorer)}</th></tr>")
        cells = "".join(
            f"<td class=n>{escape(row.value)}</td><td class=i>{escape(row.interval)}</td>" for row in (ours, theirs)
        )
        parts.append(f"<tr><td>{escape(ours.name)}</td>{cells}</tr>")
    thresholds = "".join(f"<td class=n>{each['threshold']:.3g}</td><td></td>" for each in (found, found["baseline"]))
    parts.append(f"<tr><td>threshold of the events</td>{thresholds}</tr>")
    return f"<table>{''.join(parts)}</table>"


def _scorer(found: Mapping[str, Any]) -> str:
    named = (scorer if scorer.startswith(name) else f"{name}: {scorer}" for name, scorer in scorers(found))
    items = "".join(f"<li>{escape(each)}</li>" for each in named)
    rule = ", ".join(f"{name} = {value:g}" for name, value in found["rule"].items())
    return (
        f'<div class="note"><p>{NO_VALUE}: not defined for any patient. Small print: 95 % confidence intervals. '
        f"Thresholds: {escape(found['threshold_from'])}. Event rule: {escape(rule)}. "
        "The baseline is line length over 5 s, scored by the same code.</p>"
        f"<ul>{items}</ul></div>"
    )


def _views(run: r.Run, view: View, found: Mapping[str, Any]) -> str:
    trained = run.view
    hours = (
        f"{found['hours']:.2f} h of labelled recording (without {found['hours_unknown']:.2f} h of unknown time), "
        f"{found['recordings']} recordings, {found['patients']} patients"
    )
    rows = [
        ("scored on", f"corpus {view.corpus}, profile {view.profile}, split {view.split}: {hours}"),
        ("seizures", str(found["seizures"])),
        ("view digest", str(view.digest)),
        ("trained on", f"corpus {trained['corpus']}, profile {trained['profile']}, split {trained['split']}"),
        ("view digest", trained["digest"]),
        ("recipe", f"{trained['recipe']['name']}, {trained['recipe']['digest']}"),
        ("windows", f"{trained['window']['length_s']} s every {trained['window']['stride_s']} s"),
        ("steps", f"{run.config.train.steps} of {run.config.train.batch * run.config.train.accumulate} windows"),
        ("weights", found["weights"]),
        (
            "reproducible",
            "on a CPU, with the same number of threads"
            + (", and on CUDA" if run.config.train.deterministic else "; not on CUDA"),
        ),
        *_weights(run),
    ]
    if run.before:
        rows.append(("started from", ", which started from ".join(each["run"] for each in run.before)))
    if found["unlabelled"]:
        rows.append(("not scored", f"{found['unlabelled']} recordings without labels"))
    cells = "".join(f"<tr><td>{name}</td><td><code>{escape(value)}</code></td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


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


def _omissions(run: r.Run, view: View) -> str:
    omitted = [*run.view["omitted"], *(vars(omission) for omission in view.omitted)]
    if not omitted:
        return '<p class="note">No recording was omitted.</p>'
    rows = "".join(
        f"<tr><td><code>{escape(o['recording'])}</code></td><td>{escape(o['reason'])}</td></tr>" for o in omitted
    )
    return f"<h2>Omitted: {len(omitted)} refused recordings, accepted as omitted</h2><table>{rows}</table>"


def _patients(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw a row for each patient, so that none hides in a mean."""
    head = ("patient", "h", "seizures", "found", "F1", "precision", "false alarms / 24 h", "time flagged")
    forms = ("{}", "{:.2f}", "{}", "{}", "{:.3f}", "{:.3f}", "{:.1f}", "{:.1%}")
    names = ("patient", "hours", "seizures", "found", "event_f1", "precision", "false_alarms_per_day", "flagged_share")
    return _table(head, [[_shown(form, row[name]) for form, name in zip(forms, names, strict=True)] for row in rows])


def _seizures(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    head = (title, "seizures", "patients", "found", "sensitivity", "Wilson 95 %")
    cells = [
        (
            row["name"],
            str(row["seizures"]),
            str(row["patients"]),
            str(row["found"]),
            f"{row['sensitivity']:.3f}",
            " to ".join(f"{edge:.3f}" for edge in row["wilson"]),
        )
        for row in rows
    ]
    return _table(head, cells)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th{' class=n' if i else ''}>{escape(name)}</th>" for i, name in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if i else ''}>{escape(cell)}</td>" for i, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _shown(form: str, value: Any) -> str:
    return NO_VALUE if value is None else form.format(value)


def _calibration(found: Mapping[str, Any]) -> str:
    if not found["calibrated"]:
        text = "Not calibrated: thresholds were not tuned on another split. Confidences are the detector's own."
    else:
        text = (
            f"Fitted where the threshold was tuned: temperature {found['temperature']:.2f}, shift of the log odds "
            f"{found['prior']:+.2f}. The confidence of events is the calibrated probability."
        )
    return f'<p class="note">{text}</p>'
