"""`score`: compare events with a reference, by the scorers of `evaluate`. Needs no store and no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainbrr.core.progress import Progress
from brainbrr.eeg.corpus.annotations import TOLERANCE_US, Annotations, read_annotations
from brainbrr.eeg.corpus.label_formats import BINARY, suffix_of
from brainbrr.eeg.corpus.label_rows import seconds_text
from brainbrr.errors import AnnotationError, DependencyError, UsageError

if TYPE_CHECKING:
    from brainbrr.scoring.metrics import Outcome


_ROLES = (".csv_bi", ".tse_bi", ".lbl_bi", "events.tsv")
_MOST_NAMED = 20
_LONGEST_US = 366 * 86_400 * 1_000_000  # scorers hold each tenth of a second


@dataclass(frozen=True)
class ScoreReport:
    """The scores of one set of events against another, and what each scorer counted in each recording."""

    reference: Path
    hypothesis: Path
    metrics: dict[str, Any]
    recordings: list[dict[str, Any]]
    scorer: str
    left_out: int = 0
    """Recordings that only the reference has."""

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return {**vars(self), "reference": str(self.reference), "hypothesis": str(self.hypothesis)}


def score(
    reference: Path,
    hypothesis: Path,
    *,
    resamples: int,
    seed: int,
    progress: Progress,
    subset: bool = False,
    szcore: Sequence[str] = (),
) -> ScoreReport:
    """Score the label files of `hypothesis` against those of `reference`: two files, or two folders.

    In folders, files of the same path match, else those of the same name; of several kinds for one recording the
    first of csv_bi, tse_bi, lbl_bi and events.tsv is read. The part of a name before the first "_" is its patient.
    With `subset`, recordings that only the reference has are left out, as those outside of a profile are.
    `szcore` changes parameters of timescoring: "tolerance_start_s=0".
    Time that the reference calls unknown (impd, ...) counts in no hours, and what is detected in it is no false alarm.
    Raises UsageError naming every file without a partner, AnnotationError for a malformed one, for one that does not
    state how long its recording is, and where the two disagree about it.
    """
    if find_spec("timescoring") is None:
        raise DependencyError("scoring needs timescoring", fix="pip install timescoring")
    from brainbrr.scoring.bootstrap import Bootstrap
    from brainbrr.scoring.metrics import Judged, event_metrics
    from brainbrr.scoring.szcore import rule_of, scorer

    rule = rule_of(szcore)

    pairs, left_out = _pairs(reference, hypothesis, subset=subset)
    outcomes: list[Outcome] = []
    progress.start("read", len(pairs), "recordings")
    try:
        for name, files in pairs.items():
            outcomes.append(_outcome(name, *files))
            progress.advance(1, note=name)
    finally:
        progress.stop()
    if not any(outcome.known_s for outcome in outcomes):
        raise UsageError("the reference says of no time whether there is a seizure", where=reference)
    n_patients = len({outcome.patient for outcome in outcomes})
    bootstrap = Bootstrap.of(n_patients, resamples=resamples, seed=seed)
    found, intervals = event_metrics(outcomes, bootstrap, rule)
    return ScoreReport(
        reference,
        hypothesis,
        {**found, "intervals": intervals, "intervals_by": bootstrap.name},
        [
            {
                "recording": outcome.path,
                "patient": outcome.patient,
                "duration_s": outcome.duration_s,
                "known_s": outcome.known_s,
                "scores": Judged.of(outcome, rule).to_json(),
            }
            for outcome in outcomes
        ],
        scorer(rule),
        left_out,
    )


def _pairs(reference: Path, hypothesis: Path, *, subset: bool) -> tuple[dict[str, tuple[Path, Path]], int]:
    """Return each recording's two files by its name, and how many of the reference were left out."""
    for path in (reference, hypothesis):
        if not path.exists():
            raise UsageError("no such file or folder", where=path)
    if reference.is_file() and hypothesis.is_file():
        return {_stem(reference): (reference, hypothesis)}, 0
    if reference.is_file() or hypothesis.is_file():
        raise UsageError(
            "one is a file, the other a folder", where=f"{reference}, {hypothesis}", fix="give two files or two folders"
        )
    truth, said = _label_files(reference), _label_files(hypothesis)
    if truth.keys() != said.keys():
        by_name = _by_name(truth), _by_name(said)
        if all(len(names) == len(paths) for names, paths in zip(by_name, (truth, said), strict=True)):
            truth, said = by_name
    left_out = len(truth.keys() - said.keys()) if subset else 0
    truth = {name: file for name, file in truth.items() if name in said or not subset}
    alone = [(reference, truth.keys() - said.keys()), (hypothesis, said.keys() - truth.keys())]
    for folder, names in alone:
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            raise UsageError(
                f"{len(names)} recordings have no partner: {', '.join(sorted(names)[:_MOST_NAMED])}{more}",
                where=folder,
                fix="write a file for each recording, without events where none was detected; or give --subset",
            )
    return {name: (truth[name], said[name]) for name in sorted(truth)}, left_out


def _label_files(root: Path) -> dict[str, Path]:
    """Return the label files below a folder by their path without suffix."""
    found: dict[str, Path] = {}
    for role in _ROLES:
        for file in sorted(root.rglob(f"*{suffix_of(role)}")):
            if file.is_file() and not file.name.startswith("."):
                found.setdefault((file.parent / _stem(file)).relative_to(root).as_posix(), file)
    if not found:
        raise UsageError(f"no label files; looked for {', '.join(f'NAME{suffix_of(r)}' for r in _ROLES)}", where=root)
    return found


def _by_name(files: Mapping[str, Path]) -> dict[str, Path]:
    return {_stem(file): file for file in files.values()}


def _stem(file: Path) -> str:
    """Return a recording's name: its label file's, without the suffix of its kind."""
    name = file.name
    for role in _ROLES:
        name = name.removesuffix(suffix_of(role))
    return name.removesuffix("_eeg") if name != file.name else file.stem


def _role(file: Path) -> str:
    if file.suffix == ".tsv":
        return "events.tsv"
    if file.suffix not in BINARY:
        raise UsageError(f"brainbrr cannot score {file.name}", where=file, fix="give .csv_bi or .tsv")
    return file.suffix


def _outcome(name: str, reference: Path, hypothesis: Path) -> Outcome:
    from brainbrr.scoring.events import without
    from brainbrr.scoring.metrics import Outcome

    truth = read_annotations({_role(reference): reference})
    said = read_annotations({_role(hypothesis): hypothesis}, empty=True)
    duration_us = truth.duration_us or said.duration_us
    if duration_us is None:
        raise AnnotationError(
            f"neither file states how long recording {name} is",
            where=reference,
            fix="write `# duration` into the csv_bi, or a column recordingDuration into the table",
        )
    if duration_us > _LONGEST_US:
        raise AnnotationError(
            f"recording {name} is {seconds_text(duration_us)} long: more than a year is not scored",
            where=reference,
            fix="correct the stated duration, which is in seconds",
        )
    if abs((said.duration_us or duration_us) - duration_us) > TOLERANCE_US:
        raise AnnotationError(
            f"recording {name} is {seconds_text(duration_us)} long, the hypothesis covers "
            f"{seconds_text(said.duration_us or 0)}",
            where=hypothesis,
            fix="score the complete recording",
        )
    unknown = [(start / 1e6, min(stop, duration_us) / 1e6) for start, stop in truth.unknown if start < duration_us]
    return Outcome(
        path=name,
        patient=name.rpartition("/")[2].partition("_")[0],
        duration_s=duration_us / 1e6,
        reference=_within(truth, duration_us, reference),
        hypothesis=without(_within(said, duration_us, hypothesis), unknown),
        unknown=unknown,
    )


def _within(said: Annotations, duration_us: int, file: Path) -> list[tuple[float, float]]:
    """Return events in seconds; rounding may carry the last one past the end, nothing else."""
    for event in said.seizures:
        if event.stop_us > duration_us + TOLERANCE_US:
            raise AnnotationError(
                f"an event ends at {seconds_text(event.stop_us)}, the recording at {seconds_text(duration_us)}",
                where=file,
                fix="correct the event, or the stated duration",
            )
    spans = [(event.start_us / 1e6, min(event.stop_us, duration_us) / 1e6) for event in said.seizures]
    return [(start, stop) for start, stop in spans if start < stop]
