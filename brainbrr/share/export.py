"""`export`: recordings of a view as EDF+ files, or as a BIDS derivative. The samples are those stored, unchanged."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from brainbrr.core import files
from brainbrr.core.access import Guard, file_mode
from brainbrr.core.arrays import Int16
from brainbrr.core.progress import Progress, Silent
from brainbrr.errors import DependencyError, UsageError
from brainbrr.loading.recordings import ViewRecording
from brainbrr.store.store import Store
from brainbrr.views.mne import Acquisition
from brainbrr.views.view import View

Kind = Literal["edf", "bids"]

_BIDS_VERSION = "1.10.0"
_GAP = "BAD_ACQ_SKIP"
_PADDING = "BAD_PADDING"
_EVENTS = ("onset", "duration", "eventType", "confidence", "channels", "dateTime", "recordingDuration", "label")


@dataclass(frozen=True)
class ExportReport:
    """How many files were written into which folder, and how many were there already, byte for byte."""

    folder: Path
    kind: Kind
    recordings: int
    written: int
    unchanged: int
    bytes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "folder": str(self.folder), "seconds": round(self.seconds, 3)}


def export(view: View, into: Path, *, kind: Kind = "edf", progress: Progress = Silent()) -> ExportReport:  # noqa: B008
    """Write each recording of a view as an EDF+ file with its events, no more readable than the store.

    Absent channels are left out. Time without a signal is 0 and annotated as BAD_ACQ_SKIP. Raises UsageError where a
    file of another content is in the way, ViewNotReadyError, DependencyError without edfio, IntegrityError for damage.
    """
    _need_edfio()
    view.require_ready()
    began, counts, n_bytes = time.monotonic(), {True: 0, False: 0}, 0
    guards = (Guard.of(view.store.location),)
    names = _paths(view.recordings, kind)
    progress.start(f"export {kind}", len(view.recordings), "recordings")
    try:
        with files.writing(into.parent, n_bytes=0, what="the folder", option="--into"):
            for recording, name in zip(view.recordings, names, strict=True):
                for path, data in _files_of(view, recording, into / name, kind):
                    counts[_write(path, data, guards)] += 1
                    n_bytes += len(data)
                progress.advance(1, note=recording.path)
            if kind == "bids":
                counts[_write(into / "dataset_description.json", _dataset(view), guards)] += 1
    finally:
        progress.stop()
    return ExportReport(into, kind, len(names), counts[True], counts[False], n_bytes, seconds=time.monotonic() - began)


def _need_edfio() -> None:
    try:
        import edfio  # noqa: F401
    except ImportError as error:
        raise DependencyError("export needs edfio", fix="pip install 'brainbrr[export]'") from error


def _write(path: Path, data: bytes, guards: Sequence[Guard]) -> bool:
    """Write a file; return whether it was not there already. Raises UsageError where another one is."""
    if path.exists():
        if path.read_bytes() == data:
            return False
        raise UsageError("another file is here already", where=path, fix="choose an empty folder with --into")
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, data, mode=file_mode(path.parent, guards))
    return True


def _paths(recordings: Sequence[ViewRecording], kind: Kind) -> list[PurePosixPath]:
    """Return where each recording goes. Raises UsageError where two would go to one place."""
    if kind == "edf":
        found = [PurePosixPath(recording.path).with_suffix(".edf") for recording in recordings]
    else:
        runs: dict[str, int] = {}
        found = []
        for recording in recordings:
            subject = re.sub(r"[^0-9A-Za-z]", "", recording.patient) or "unknown"
            runs[subject] = runs.get(subject, 0) + 1
            name = f"sub-{subject}_task-unknown_run-{runs[subject]:02}_desc-preproc_eeg.edf"
            found.append(PurePosixPath(f"sub-{subject}", "eeg", name))
    for recording, path in zip(recordings, found, strict=True):
        if path.is_absolute() or ".." in path.parts:
            raise UsageError(f"the path of {recording.path!r} leaves the folder", fix="leave it out with --where")
    if len(set(found)) < len(found):
        twice = next(path for path in found if found.count(path) > 1)
        raise UsageError(f"two recordings would be written to {twice}", fix="choose fewer with --where, or --as edf")
    return found


def _files_of(view: View, recording: ViewRecording, path: Path, kind: Kind) -> Iterator[tuple[Path, bytes]]:
    made = Acquisition.of(recording.record, view.recipe, reference="recorded")
    yield path, _edf(view.store, recording, made)
    if kind == "edf":
        return
    stem = path.name.removesuffix("_eeg.edf")
    channels = [name for name in recording.record.array.channels if name not in recording.record.array.absent]
    sidecar = {
        "TaskName": "unknown",
        "SamplingFrequency": made.rate_hz,
        "EEGReference": "as recorded",
        "PowerLineFrequency": made.notch_hz or "n/a",
        "SoftwareFilters": {"brainbrr": {"high-pass Hz": made.low_hz, "low-pass Hz": made.high_hz}},
        "RecordingDuration": recording.duration_s,
        "RecordingType": "continuous",
        "Sources": [recording.path],
        "brainbrr": {"source": recording.source, "content": recording.content, "recipe": view.recipe.digest},
    }
    yield path.with_suffix(".json"), _json(sidecar)
    rows = [("name", "type", "units"), *((name, "EEG", "uV") for name in channels)]
    yield path.with_name(f"{stem}_channels.tsv"), _table(rows)
    if recording.labelled:
        yield path.with_name(f"{stem}_events.tsv"), _table([_EVENTS, *_events(recording)])


def _events(recording: ViewRecording) -> Iterator[tuple[str, ...]]:
    until = f"{recording.valid_until / recording.record.array.rate_hz:.4f}"
    found = recording.events_between(0, recording.end_us)
    for start, stop, label in found:
        yield f"{start:.4f}", f"{stop - start:.4f}", "sz", "n/a", "all", "n/a", until, label
    if not found:
        yield "0.0000", until, "bckg", "n/a", "all", "n/a", until, "bckg"


def _edf(store: Store, recording: ViewRecording, made: Acquisition) -> bytes:
    """Return an EDF+ file whose digital samples are the stored ones."""
    import edfio

    array, record = recording.record.array, recording.record
    with store.reader(recording.content, array, checks=bytes.fromhex(record.checks)) as reader:
        samples = reader.read(0, array.n_samples)
    padding = -array.n_samples % array.rate_hz
    samples = np.pad(samples, ((0, 0), (0, padding)))
    for start, stop in array.gaps:
        samples[:, start:stop] = 0
    notes = [(start / array.rate_hz, (stop - start) / array.rate_hz, _GAP) for start, stop in array.gaps]
    if padding:
        notes.append((recording.duration_s, padding / array.rate_hz, _PADDING))
    notes += [(start, stop - start, label) for start, stop, label in recording.events_between(0, recording.end_us)]
    signals = [
        _signal(name, row, Decimal(array.quantum_uv) * 2**exponent, made)
        for name, row, exponent in zip(array.channels, samples, array.k, strict=True)
        if name not in array.absent
    ]
    file = BytesIO()
    edfio.Edf(
        signals,
        patient=edfio.Patient(),
        recording=edfio.Recording(equipment_code="brainbrr"),
        annotations=[edfio.EdfAnnotation(*note) for note in sorted(notes)],
    ).write(file)
    return file.getvalue()


def _signal(name: str, row: Int16, step: Decimal, made: Acquisition) -> Any:
    import edfio

    filters = [f"HP:{made.low_hz:g}Hz"] * (made.low_hz > 0) + [f"LP:{made.high_hz:g}Hz"]
    filters += [f"N:{made.notch_hz:g}Hz"] if made.notch_hz else []
    return edfio.EdfSignal.from_digital(
        row,
        made.rate_hz,
        label=f"EEG {name}",
        physical_dimension="uV",
        physical_range=(float(-32_768 * step), float(32_767 * step)),
        digital_range=(-32_768, 32_767),
        prefiltering=" ".join(filters),
    )


def _dataset(view: View) -> bytes:
    fields = {
        "Name": f"{view.corpus} preprocessed by brainbrr",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "brainbrr",
                "Version": version("brainbrr"),
                "Description": f"view {view.digest}, recipe {view.recipe.name} {view.recipe.digest}",
            }
        ],
    }
    return _json(fields)


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, indent=1).encode() + b"\n"


def _table(rows: Sequence[Sequence[str]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()
