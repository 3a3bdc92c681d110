"""`demo`: everything on a generated corpus, with the same functions as a real one. Its first part needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brainbrr.core.progress import Progress
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.synthetic.corpus import Kind, write_corpus
from brainbrr.errors import Fix, UsageError
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.ingest.repair import repair
from brainbrr.learn.start import EvaluateOptions, TrainOptions, evaluate, need_torch, train
from brainbrr.profiles import NAMES
from brainbrr.settings import Settings
from brainbrr.store import create
from brainbrr.store.formats import SHARD_FILE
from brainbrr.store.store import Store
from brainbrr.store.verify import verify
from brainbrr.views.report import ViewReport, open_view
from brainbrr.views.view import View

if TYPE_CHECKING:
    from brainbrr.learn.config import TrainConfig

Show = Callable[[str, Any], None]
Step = tuple[str, str, Any]
"""The name of a step's fields, the kind of its report, and the report."""

Part = Literal["store", "training"]
PARTS: tuple[Part, ...] = ("store", "training")
"""What the demo shows: the store, without torch, in under a minute; then training and evaluation."""

_BENCH_S = 0.3
_N_EASY, _N_HARD = 18, 108
"""Recordings of a demo, and of a hard one: of 20 patients for training, and 12 each to tune and to score."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Where the demo puts its corpus (`folder`), store and runs (`settings`), what it generates, and what it trains."""

    folder: Path
    settings: Settings
    config: TrainConfig
    parts: tuple[Part, ...] = PARTS
    n_recordings: int | None = None
    seed: int = 0
    hard: bool = False
    """Weak seizures among look-alikes, twelve patients or more in each split: choices can be judged on its scores."""

    @property
    def corpus(self) -> Path:
        """The folder of the generated corpus."""
        return self.folder / "demo"


@dataclass(frozen=True)
class DemoReport:
    """Where everything is, and each step's own report. `report` is None where nothing was trained."""

    steps: dict[str, Any]
    report: str | None
    next: str

    def to_json(self) -> dict[str, Any]:
        """Return each step's fields under its name."""
        return dict(vars(self))


@dataclass(frozen=True)
class BaselineReport:
    """The scores of the line-length baseline on held-out patients."""

    metrics: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return vars(self)


@dataclass(frozen=True)
class PictureReport:
    """Where the picture of a seizure is."""

    file: str
    recording: str

    def to_json(self) -> dict[str, Any]:
        """Return the machine interface's fields."""
        return vars(self)


def demo(options: DemoOptions, *, show: Show, progress: Progress) -> DemoReport:
    """Generate a corpus, ingest it, open its views, break and repair it, measure the loader; then train and score.

    `show` is called with each step's kind and report as it ends. Raises UsageError where the folder is a store, and
    DependencyError where training is wanted and torch is not installed.
    """
    if "training" in options.parts:
        need_torch()
    if create.exists(options.folder):
        raise UsageError(
            "this folder is a store, which cannot hold the demo's corpus and runs",
            where=options.folder,
            fix="choose another: --into DIR",
        )
    steps: dict[str, Any] = {}
    for part in options.parts:
        for name, kind, report in _PARTS[part](options, progress):
            steps[name] = report.to_json()
            show(kind, report)
    trained = "training" in options.parts
    return DemoReport(
        steps=steps,
        report=str(Path(steps["train"]["run"]) / "report.html") if trained else None,
        next=Fix(("ingest", "YOUR_CORPUS", "--profile", "smoke"), ", then ", ("view", "--profile", "smoke"))
        if trained
        else Fix("pip install 'brainbrr[train]', then ", ("demo", "--into", str(options.folder), "--part", "training")),
    )


def _store(options: DemoOptions, progress: Progress) -> Iterator[Step]:
    corpus, settings = options.corpus, options.settings
    n_recordings = options.n_recordings or (_N_HARD if options.hard else _N_EASY)
    progress.say(f"Generating {n_recordings} recordings ({n_recordings // 6} s)")
    kind: Kind = "hard" if options.hard else "rich"
    write_corpus(corpus, n_recordings=n_recordings, seed=options.seed, kind=kind, progress=progress)
    progress.say("Ingesting them profile by profile: each builds only the difference (5 s)")
    for profile in NAMES:
        yield f"ingest {profile}", "ingest", ingest(_ingest_options(options, profile), progress=progress)
    for profile in NAMES:
        yield f"view {profile}", "view", _view(options, profile)
    progress.say("Ingesting everything again: nothing is built (1 s)")
    yield "ingest again", "ingest", ingest(_ingest_options(options, "full"), progress=progress)
    progress.say("Flipping one byte of a stored recording, then looking for damage, repairing, and looking again (3 s)")
    store = Store.open(settings.store.value)
    _flip_a_byte(store, _view(options, "full").view.recordings[0].content)
    yield "verify damaged", "verify", verify(store, host=settings.host, progress=progress)
    yield "repair", "repair", repair(store, host=settings.host, workers=1, progress=progress)
    yield "verify repaired", "verify", verify(store, host=settings.host, progress=progress)
    yield from _reading(options, progress)


def _reading(options: DemoOptions, progress: Progress) -> Iterator[Step]:
    from brainbrr.look.bench import bench

    training = _view(options, "full", "train").ready_view()
    progress.say("Measuring how many windows a second the loader gives, against copying memory (5 s)")
    yield "bench", "bench", bench(training, batch=16, device="cpu", seconds=_BENCH_S, progress=progress)
    if find_spec("matplotlib") is None:
        progress.say("Skipped, a picture of the traces: pip install 'brainbrr[demo]' adds matplotlib")
    else:
        yield "show", "show", _picture(options, training)
    if find_spec("timescoring") is None:
        progress.say("Skipped, scores of the line-length baseline: pip install 'brainbrr[demo]' adds the scorer")
        return
    progress.say("Scoring a line-length baseline on held-out patients, its threshold from others (5 s)")
    yield "baseline", "baseline", _baseline(options, progress)


def _training(options: DemoOptions, progress: Progress) -> Iterator[Step]:
    progress.say("Training a small detector on the CPU (2 min on two idle cores)")
    wanted = TrainOptions(config=options.config, profile="full", corpus=options.corpus.name)
    trained = train(wanted, options.settings, progress)
    yield "train", "train", trained
    progress.say("Scoring it on patients that it has not seen (10 s)")
    yield "evaluate", "evaluate", evaluate(trained.run, EvaluateOptions(tune="dev"), options.settings, progress)


_PARTS = {"store": _store, "training": _training}


def _ingest_options(options: DemoOptions, profile: str) -> IngestOptions:
    settings, corpus = options.settings, options.corpus
    chosen = settings.profile_of(corpus.name, profile)
    return IngestOptions(root=corpus, store=settings.store.value, profile=chosen, host=settings.host)


def _view(options: DemoOptions, profile: str, split: str | None = None) -> ViewReport:
    return open_view(
        options.settings,
        profile=profile,
        recipe=Recipe(),
        window=options.config.window_spec(),
        corpus=options.corpus.name,
        split=split,
    )


def _flip_a_byte(store: Store, content: str) -> None:
    """Damage one object as a bad disk would: a bit of one sample, somewhere in the middle."""
    file = store.path_of("object", content) / SHARD_FILE
    mode = file.stat().st_mode
    file.chmod(mode | 0o200)
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(-1, 1)
        opened.write(bytes([byte ^ 1]))
    file.chmod(mode)


def _picture(options: DemoOptions, view: View) -> PictureReport:
    """Draw the first seizure of a split into the demo's folder."""
    from brainbrr.look.show import ShowOptions, show_named

    seized = next((each for each in view.recordings if each.seizures), view.recordings[0])
    shown = show_named(view.store, seized.path, options=ShowOptions(), corpus=options.corpus.name)
    file = options.folder / "traces.png"
    shown.save(file)
    return PictureReport(str(file), seized.path)


def _baseline(options: DemoOptions, progress: Progress) -> BaselineReport:
    """Score line length on split eval, with the threshold that is best on split dev."""
    from brainbrr.learn.series import line_length, scored_by
    from brainbrr.learn.thresholds import best_level
    from brainbrr.scoring.metrics import metrics

    rule = options.config.evaluate
    scored = {
        split: list(
            scored_by(_view(options, "full", split).ready_view(), line_length, f"line length of {split}", progress)
        )
        for split in ("dev", "eval")
    }
    return BaselineReport(metrics(scored["eval"], best_level(scored["dev"], rule), rule, seed=options.seed))
