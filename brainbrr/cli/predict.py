"""`brainbrr predict`: a detector on EDF files, or on a stream."""

from __future__ import annotations

import sys
from collections import Counter
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import RUN, Session, accepts, command
from brainbrr.cli.output import Output, duration
from brainbrr.errors import UsageError

if TYPE_CHECKING:
    from brainbrr.learn.online import Online
    from brainbrr.learn.predict_files import PredictReport
    from brainbrr.learn.runs import Which

_STDIN = Path("-")


@command(
    "predict",
    exits=(4, 8),
    example="brainbrr predict runs/20260101-120000-smoke-1a2b3c night.edf -o night_events.tsv",
    store_help="The store beside which RUN is looked up by name; it is not read.",
)
@click.argument("run", type=RUN)
@click.argument("files", metavar="EDF...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Events: a .tsv, a .csv_bi, or a folder for both.")
@click.option("--probabilities", metavar="FILE", type=click.Path(path_type=Path), help="Also these, as safetensors.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option(
    "--weights",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="The run's best weights by its validation, or its last.",
)
@accepts(truncated="read truncated files up to their last complete record")
@click.option("--stream", is_flag=True, help="Online: print probabilities as they become available; `-` is stdin.")
@click.option(
    "--every", type=click.FloatRange(min=0), metavar="S", help="Online: seconds between computations. Default: 1."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Online: seconds to wait for more signal: results are later, but better. Default: 0.",
)
def predict(
    session: Session,
    *,
    run: str,
    files: tuple[Path, ...],
    out: Path | None,
    probabilities: Path | None,
    overwrite: bool,
    accept: frozenset[str],
    stream: bool,
    every: float | None,
    wait: float | None,
    weights: Which,
) -> int:
    """Find seizures in EDF files, or in all below folders, with the detector and threshold of RUN (a folder or name).

    Computes what ingest and evaluate would, needs no store and writes none; memory does not grow with the length of a
    recording. A .tsv is SzCORE's table, a .csv_bi TUSZ's; a folder gets both for each recording.

    With --stream, reads one EDF while it is written: prints the probability of each quarter second once, with the
    second of the recording at which it was known. It depends on nothing after that. The delay, filters included, is
    printed first. Signals are normalised by what was read so far.
    """
    from brainbrr.learn.predict_files import predict as find
    from brainbrr.learn.start import run_named

    folder = run_named(session.runs, run)
    if stream:
        if len(files) > 1 or out or probabilities:
            raise UsageError("--stream takes one EDF, or `-`, and prints", fix="remove --out and --probabilities")
        _listen(folder, files[0], 1 if every is None else every, wait or 0, session.out)
        return 0
    if every is not None or wait is not None or _STDIN in files:
        raise UsageError("--every, --wait and `-` are for --stream")
    report = find(
        folder,
        files,
        out=out,
        probabilities=probabilities,
        overwrite=overwrite,
        accept_truncated="truncated" in accept,
        weights=weights,
        progress=session.progress(),
    )
    session.show(report, table)
    return report.exit_code


def _listen(run: Path, file: Path, every: float, wait: float, out: Output) -> None:
    """Print steps as they become available: one line each."""
    from fractions import Fraction

    from brainbrr.eeg.edf.reader import located
    from brainbrr.learn.predict_files import listen

    for option, seconds in (("--every", every), ("--wait", wait)):
        if not isfinite(seconds):
            raise UsageError(f"{option} {seconds:g} is no number of seconds")
    if file != _STDIN and not file.exists():
        raise UsageError("no such file", where=file)
    if file.is_dir():
        raise UsageError("--stream takes one EDF, this is a folder", where=file)
    name = Path("standard input") if file == _STDIN else file
    with located(name), sys.stdin.buffer if file == _STDIN else file.open("rb") as stream:
        steps(out, listen(run, stream, every_s=Fraction(str(every)), wait_s=Fraction(str(wait))))


def table(out: Output, report: PredictReport) -> None:
    """Show each recording's seizures, what was refused, and by which threshold."""
    rows = [
        (each.scored.path, duration(each.scored.duration_s), *span)
        for each in report.predictions
        for span in [(f"{start:.2f} s", f"{stop:.2f} s") for start, stop in each.events] or [("none", "")]
    ]
    out.table(("recording", "length", "seizure from", "to"), rows)
    if report.failed:
        out.title("refused")
        out.table(("recording", "reason"), [(failure.recording, failure.reason) for failure in report.failed])
        out.fixes(failure.fix for failure in report.failed)
    threshold = f"{report.threshold:.4g}, from {report.threshold_from}"
    out.pairs([("threshold", threshold), ("weights", report.weights)])
    notes = Counter(note for each in report.predictions for note in each.notes)
    notes["SYNTHETIC data"] = sum(each.synthetic for each in report.predictions)
    for note, n in (+notes).items():
        out.note(f"note: {note}" + (f" ({n} recordings)" if n > 1 else ""))
    if report.written:
        more = f" and {len(report.written) - 1} more" if len(report.written) > 1 else ""
        out.note(f"written: {report.written[0]}{more}")


def steps(out: Output, online: Online) -> None:
    """Print steps as they come, as tab-separated rows or as one JSON object a line; first how late they are."""
    from brainbrr.learn.online import Step

    late = f"each step is known at most {online.latency_s:.2f} s after it began"
    out.note(f"{late}; the first ones after {online.warm_up_s:.2f} s")
    if out.as_json:
        out.line({"schema": 1, "latency_s": online.latency_s, "warm_up_s": online.warm_up_s})
    else:
        out.text("\t".join(Step._fields))
    any_step = False
    for step in online:
        any_step = True
        if out.as_json:
            out.line(step._asdict())
        else:
            out.text(f"{step.time_s:.2f}\t{step.available_at_s:.2f}\t{step.probability:.6f}")
    if not any_step:
        out.note("the recording ended within the warm-up: no probability was computed")
