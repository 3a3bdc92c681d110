"""`predict`: apply a run's detector to EDF files, or to a stream that is still arriving. Needs no store."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from brainbrr.core import files
from brainbrr.core.files import exists, leads_to_folder
from brainbrr.core.progress import Progress, Silent
from brainbrr.eeg.signal.preprocess import preprocess
from brainbrr.eeg.signal.streaming import Live
from brainbrr.errors import RecordingError, UsageError
from brainbrr.ingest.ingest import Failure
from brainbrr.learn.start import need_torch, recipe_of

if TYPE_CHECKING:
    from brainbrr.learn.online import Online
    from brainbrr.learn.predict import Predictor
    from brainbrr.learn.runs import Which
    from brainbrr.scoring.events import Events, Scored


_RECORDINGS = (".edf", ".bdf")  # BDF files are found so that they are refused by name, not skipped


@dataclass(frozen=True)
class Prediction:
    """The detected events of one recording, its probabilities, and notes on its quality."""

    scored: Scored
    events: Events
    source: str
    synthetic: bool
    notes: tuple[str, ...]
    calibrated: Scored
    """The same probabilities, calibrated: the confidence of the events."""

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields: all but the probabilities."""
        from brainbrr.scoring.files import mean_score

        return {
            "recording": self.scored.path,
            "duration_s": self.scored.duration_s,
            "events": self.events,
            "confidences": [round(mean_score(self.calibrated, *span), 4) for span in self.events],
            "source": self.source,
            "synthetic": self.synthetic,
            "notes": list(self.notes),
        }


@dataclass
class PredictReport:
    """The predictions of a run's detector; probabilities are in `predictions[i].scored.score`."""

    run: Path
    threshold: float
    threshold_from: str
    weights: str
    predictions: list[Prediction] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """1 if a recording was refused."""
        return int(bool(self.failed))

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {
            "run": str(self.run),
            "threshold": self.threshold,
            "threshold_from": self.threshold_from,
            "weights": self.weights,
            "recordings": [prediction.to_json() for prediction in self.predictions],
            "failed": [vars(failure) for failure in self.failed],
            "written": [str(path) for path in self.written],
            "seconds": round(self.seconds, 3),
        }


def predict(
    run: Path,
    files: Sequence[Path],
    *,
    out: Path | None = None,
    probabilities: Path | None = None,
    overwrite: bool = False,
    accept_truncated: bool = False,
    weights: Which = "best",
    progress: Progress = Silent(),  # noqa: B008  # stateless
) -> PredictReport:
    """Return the seizures that a run's detector finds in EDF files, and in all those below folders.

    Samples are those that `ingest` would store, probabilities those that `evaluate` would compute from them. Only a few
    windows of a long recording are in memory: it is read three times instead. Thresholds are the run's, else its
    config's; `weights` are the run's best, or its last. With `out` events are written: for one file to a `.tsv`
    (SzCORE's table) or a `.csv_bi` (TUSZ's), else both for each recording into a folder. `probabilities` is a
    safetensors file of all, as `evaluate` writes it.
    A refused recording is listed in the report, and the others are still computed. Raises UsageError for input files
    that do not exist, output files that do (unless `overwrite`), a folder that is no run, and a run that has not
    finished.
    """
    need_torch()
    from brainbrr.learn.predict import Predictor, write_probabilities
    from brainbrr.learn.runs import open_run

    began = time.monotonic()
    found = _recordings(files)
    write, places = _writer(found, out) if out else (None, [])
    if probabilities is not None:
        _need_folder(probabilities)
        places.append((probabilities, "probabilities"))
    _need_free(places, found.values(), overwrite=overwrite)
    opened = open_run(run)
    predictor = Predictor.of(opened, recipe_of(opened.view), weights)
    seen = {recording["source"] for _, view in opened.seen() for recording in view["recordings"]}
    report = PredictReport(run, predictor.threshold, predictor.threshold_from, predictor.weights)
    for name, path in found.items():
        try:
            prediction = _prediction(predictor, name, path, accept_truncated, seen, progress)
        except RecordingError as error:
            report.failed.append(Failure.of(name, error))
            continue
        report.predictions.append(prediction)
        if write is not None:
            report.written += write(prediction)
    if probabilities is not None and report.predictions:
        write_probabilities(probabilities, [prediction.scored for prediction in report.predictions])
        report.written.append(probabilities)
    report.seconds = time.monotonic() - began
    return report


def listen(run: Path, stream: BinaryIO, *, every_s: Fraction, wait_s: Fraction) -> Online:
    """Return a run's detector on an EDF that is still arriving; iterating yields its steps (`Online`).

    Raises EdfError and MontageError for a header that is refused, UsageError as `Online` and `Live` do.
    """
    need_torch()
    from brainbrr.learn.online import Online
    from brainbrr.learn.predict import Predictor
    from brainbrr.learn.runs import open_run

    opened = open_run(run)
    recipe = recipe_of(opened.view)
    return Online(Predictor.of(opened, recipe), Live(stream, recipe), every_s=every_s, wait_s=wait_s)


def _prediction(
    predictor: Predictor, name: str, path: Path, accept_truncated: bool, seen: Collection[str], progress: Progress
) -> Prediction:
    progress.start(f"read {name}", None, "recordings")
    try:
        made = preprocess(path, predictor.recipe, accept=("truncated",) if accept_truncated else ())
        scored = predictor.scored(name, made, progress)
    finally:
        progress.stop()
    facts = made.facts
    notes = [*facts["notes"]]
    if made.absent:
        notes.append(f"channels missing: {', '.join(made.absent)}")
    if facts["flat"]:
        notes.append(f"flat channels: {', '.join(facts['flat'])}")
    edge_hz = predictor.recipe.bandpass_hz[1] if predictor.recipe.bandpass_hz else None
    bands = [facts["band_hz"]] if "high" in facts["band_hz"] else facts["band_hz"].values()  # or one for each channel
    if lower := sorted({band["high"] for band in bands} - {edge_hz}):
        notes.append(f"recorded too slowly for the recipe's {edge_hz} Hz: up to {', '.join(lower)} Hz")
    if made.source in seen:
        notes.append("the detector was trained on this recording")
    return Prediction(
        scored, predictor.events(scored), made.source, facts["synthetic"], tuple(notes), predictor.confident(scored)
    )


def _recordings(files: Sequence[Path]) -> dict[str, Path]:
    """Return what to predict by its name: the path below the folder that was given, or the file's own name."""
    found: dict[str, Path] = {}
    for given in files:
        if not given.exists():
            raise UsageError("no such file or folder", where=given)
        below = [given] if given.is_file() else sorted(path for path in given.rglob("*") if _is_recording(path))
        if not below:
            raise UsageError("no EDF file below this folder", where=given)
        for path in below:
            name = path.name if path == given else path.relative_to(given).as_posix()
            if found.setdefault(name, path) != path:
                raise UsageError(f"two recordings are called {name}", where=path, fix="give a folder that holds both")
    return found


def _is_recording(path: Path) -> bool:
    return path.suffix.lower() in _RECORDINGS and path.is_file() and not path.name.startswith(".")


def _writer(found: dict[str, Path], out: Path) -> tuple[Callable[[Prediction], list[Path]], list[tuple[Path, str]]]:
    """Return what writes the events of a recording and returns the files; and all files, with what goes there."""
    from brainbrr.learn.predict import event_paths, write_events
    from brainbrr.scoring.files import bids_tsv, csv_bi

    formats = {".tsv": bids_tsv, ".csv_bi": csv_bi}
    if leads_to_folder(out) or not out.suffix:
        places = [(file, name) for name in found for file in event_paths(out, name)]
        return (lambda prediction: write_events(out, prediction.calibrated, prediction.events)), places
    if out.suffix not in formats:
        raise UsageError(f"events are written as {' or '.join(formats)}, or into a folder", where=out)
    if len(found) > 1:
        raise UsageError(f"{len(found)} recordings, and one file for their events", where=out, fix="give a folder")
    _need_folder(out)

    def one(prediction: Prediction) -> list[Path]:
        files.replace(out, formats[out.suffix](prediction.calibrated, prediction.events).encode())
        return [out]

    return one, [(out, "events")]


def _need_folder(file: Path) -> None:
    if not leads_to_folder(file.absolute().parent):
        raise UsageError("the folder of this file does not exist", where=file)


def _need_free(places: Sequence[tuple[Path, str]], recordings: Collection[Path], *, overwrite: bool) -> None:
    """Raise UsageError where two outputs have the same file, or a file to write exists."""
    ours = set(map(_identity, recordings))
    owner: dict[Path, str] = {}
    for file, what in places:
        if (other := owner.setdefault(file.absolute(), what)) != what:
            raise UsageError(f"{other} and {what} would both be written to this file", where=file)
        if not exists(file):
            continue
        if file.exists() and _identity(file) in ours:  # not a dangling link
            raise UsageError("this is the recording itself", where=file, fix="give another name")
        if not overwrite:  # these may be labels made by hand
            raise UsageError("the file exists", where=file, fix="give another path, or --overwrite")


def _identity(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_dev, status.st_ino
