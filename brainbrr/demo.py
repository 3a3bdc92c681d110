"""`demo`: the whole journey on a generated corpus, with the same verbs that a real one takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainbrr.core.progress import Progress
from brainbrr.core.statcache import Host
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import Fix, UsageError
from brainbrr.ingest.ingest import ingest
from brainbrr.learn.start import evaluate, need_torch, train
from brainbrr.profiles import NAMES, Profile
from brainbrr.store import create
from brainbrr.store.store import Store
from brainbrr.views.report import ViewReport, ViewRequest, view

if TYPE_CHECKING:
    from brainbrr.learn.config import TrainConfig


@dataclass(frozen=True)
class DemoReport:
    """Where everything is, and each step's own report."""

    steps: dict[str, Any]
    report: str
    next: str

    def to_json(self) -> dict[str, Any]:
        """Return each step's fields under its name."""
        return dict(vars(self))


def demo(
    folder: Path,
    location: Path,
    runs: Path,
    profiles: Mapping[str, Profile],
    config: TrainConfig,
    *,
    n_recordings: int,
    seed: int,
    host: Host,
    show: Callable[[str, Any], None],
    progress: Progress,
) -> DemoReport:
    """Generate a corpus `demo` below a folder, ingest, look, train on all of it, and score held-out patients.

    Raises UsageError where the folder is a store.
    """
    need_torch()
    if create.exists(folder):
        raise UsageError(
            "this is a store, and the demo's corpus and runs are none of it", where=folder, fix="--into DIR"
        )
    corpus = folder / "demo"
    recipe = Recipe()
    window = config.window_spec()
    steps: dict[str, Any] = {}

    def done(step: str, report: Any, name: str | None = None) -> None:
        steps[name or step] = report.to_json()
        show(step, report)

    write_corpus(corpus, n_recordings=n_recordings, seed=seed, progress=progress)
    for profile in NAMES:  # each builds only what the one before did not
        store = Store.open_if_there(location)
        report = ingest(
            store,
            corpus,
            location=location,
            profile=profiles[profile],
            recipe=recipe,
            host=host,
            progress=progress,
        )
        done("ingest", report, f"ingest {profile}")
    store = Store.open(location)

    def open_view(profile: str, *, split: str | None = None, **_: Any) -> ViewReport:
        request = ViewRequest(profiles[profile], recipe, window, corpus="demo", split=split)
        return view(store, request, location=store.location, host=host)

    for profile in NAMES:
        done("view", open_view(profile), f"view {profile}")
    trained = train(open_view("full", split="train"), config, runs=runs, resume=None, progress=progress)
    done("train", trained)
    scored = evaluate(Path(trained.run), split="eval", tune="dev", open_view=open_view, progress=progress)
    done("evaluate", scored)
    return DemoReport(
        steps=steps,
        report=str(Path(trained.run) / "report.html"),
        next=Fix(("ingest", "YOUR_CORPUS", "--profile", "smoke"), ", then ", ("view", "--profile", "smoke")),
    )
