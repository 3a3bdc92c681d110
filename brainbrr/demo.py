"""`demo`: the whole journey on a generated corpus, with the same verbs that a real one takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainbrr.core.progress import Progress
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import Fix, UsageError
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.learn.start import EvaluateOptions, TrainOptions, evaluate, need_torch, train
from brainbrr.profiles import NAMES
from brainbrr.settings import Settings
from brainbrr.store import create
from brainbrr.store.store import Store
from brainbrr.views.report import ViewReport, ViewRequest, view

if TYPE_CHECKING:
    from brainbrr.learn.config import TrainConfig


Show = Callable[[str, Any], None]


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Where the demo puts its corpus (`folder`), store and runs (`settings`), what it generates, and what it trains."""

    folder: Path
    settings: Settings
    config: TrainConfig
    n_recordings: int = 18
    seed: int = 0

    @property
    def corpus(self) -> Path:
        """The folder of the generated corpus."""
        return self.folder / "demo"


@dataclass(frozen=True)
class DemoReport:
    """Where everything is, and each step's own report."""

    steps: dict[str, Any]
    report: str
    next: str

    def to_json(self) -> dict[str, Any]:
        """Return each step's fields under its name."""
        return dict(vars(self))


def demo(options: DemoOptions, *, show: Show, progress: Progress) -> DemoReport:
    """Generate a corpus, ingest it, open its views, train on all of it, and score held-out patients.

    `show` is called with each step's name and report as it ends. Raises UsageError where the folder is a store.
    """
    need_torch()
    if create.exists(options.folder):
        raise UsageError(
            "this folder is a store, which cannot hold the demo's corpus and runs",
            where=options.folder,
            fix="choose another: --into DIR",
        )
    steps: dict[str, Any] = {}

    def done(step: str, report: Any, name: str | None = None) -> None:
        steps[name or step] = report.to_json()
        show(step, report)

    write_corpus(options.corpus, n_recordings=options.n_recordings, seed=options.seed, progress=progress)
    for profile in NAMES:  # each builds only what the one before did not
        done("ingest", ingest(_ingest_options(options, profile), progress=progress), f"ingest {profile}")
    for profile in NAMES:
        done("view", _view(options, profile), f"view {profile}")
    wanted = TrainOptions(config=options.config, profile="full", corpus=options.corpus.name)
    trained = train(wanted, options.settings, progress)
    done("train", trained)
    done("evaluate", evaluate(trained.run, EvaluateOptions(tune="dev"), options.settings, progress))
    return DemoReport(
        steps=steps,
        report=str(trained.run / "report.html"),
        next=Fix(("ingest", "YOUR_CORPUS", "--profile", "smoke"), ", then ", ("view", "--profile", "smoke")),
    )


def _ingest_options(options: DemoOptions, profile: str) -> IngestOptions:
    settings, corpus = options.settings, options.corpus
    chosen = settings.profile_of(corpus.name, profile)
    return IngestOptions(root=corpus, store=settings.store.value, profile=chosen, host=settings.host)


def _view(options: DemoOptions, profile: str) -> ViewReport:
    settings, corpus = options.settings, options.corpus.name
    chosen = settings.profile_of(corpus, profile)
    request = ViewRequest(chosen, Recipe(), options.config.window_spec(), corpus=corpus)
    store = Store.open(settings.store.value)
    return view(store, request, location=store.location, host=settings.host)
