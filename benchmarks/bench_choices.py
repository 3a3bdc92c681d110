"""Choices of a training, each on several seeds of the hard generated corpus: what helps, and what is noise.

    python benchmarks/bench_choices.py [--only ema,dropout,...] [--seeds 0,1,2] [--steps 500] [--into DIR]

Each choice changes one setting of the smoke config. A row is printed as each training ends; with --into it is kept, and
the same command continues where it was stopped. The table at the end has the mean and range over seeds, and the mean
difference to `default` with the same seed. The weights are the last ones: validation would choose among noise. The
threshold is tuned on dev; eval is scored. One thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from measuring import heading, words

import brainbrr
from brainbrr.core.progress import Silent
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.learn.config import TrainConfig
from brainbrr.learn.held_out import probabilities
from brainbrr.learn.predict import load_detector
from brainbrr.learn.runs import open_run
from brainbrr.learn.series import scored_by
from brainbrr.learn.thresholds import PROBABILITIES, Sweep
from brainbrr.scoring.curves import auprc, auroc
from brainbrr.scoring.events import Scored, known_steps

CHOICES: dict[str, tuple[str, ...]] = {
    "default": (),
    "average reference": ("window.reference=average",),
    "natural sampling": ("train.balance=none",),
    "ema 0.99": ("train.ema=0.99",),
    "dropout 0.1": ("model.dropout=0.1",),
}
SCORES = ("auroc", "auprc", "event_f1")
N_RECORDINGS = 108
Found = dict[str, float]


def trained(config: TrainConfig, folder: Path) -> Found:
    """Train one detector and return its scores on eval."""
    opened = partial(brainbrr.view, folder / "store", profile=config.profile, window=config.window_spec())
    run = brainbrr.train(opened(split="train"), config=config, dev=None, runs=folder / "runs").run
    model = load_detector(open_run(run), len(opened(split="eval").channels))

    def scored(split: str) -> list[Scored]:
        return list(scored_by(opened(split=split), partial(probabilities, model), split, Silent()))

    sweep = Sweep.of(scored("dev"), PROBABILITIES, config.evaluate)
    held_out = scored("eval")
    score, label = known_steps(held_out)
    at = Sweep.of(held_out, [sweep.thresholds[sweep.best(sweep.f1())]], config.evaluate)
    return {"auroc": auroc(score, label) or 0, "auprc": auprc(score, label) or 0, "event_f1": float(at.f1()[0])}


def measure(folder: Path, chosen: Sequence[str], seeds: Sequence[int], steps: int) -> dict[str, dict[int, Found]]:
    """Train every choice on every seed, seed by seed; return the scores, those of earlier runs included."""
    if not (folder / "store").exists():
        write_corpus(folder / "corpus", n_recordings=N_RECORDINGS, seed=0, kind="hard")
        brainbrr.ingest(folder / "corpus", store=folder / "store", workers=1)
    found: dict[str, dict[int, Found]] = {name: {} for name in chosen}
    for seed in seeds:
        for name in chosen:
            kept = folder / f"{name}-{seed}-{steps}.json".replace(" ", "-")
            if not kept.exists():
                changes = ("profile=full", f"seed={seed}", f"train.steps={steps}", "train.validate_every=0")
                config = TrainConfig.load("smoke", (*changes, *CHOICES[name]))
                kept.write_text(json.dumps(trained(config, folder)))
            found[name][seed] = json.loads(kept.read_text())
            print(name, seed, *(f"{score} {found[name][seed][score]:.3f}" for score in SCORES), sep="\t", flush=True)
    return found


def table(found: Mapping[str, Mapping[int, Found]]) -> str:
    """Return the mean, the range and the mean difference of each score as a table in Markdown."""
    lines = [f"| choice | {' | '.join(SCORES)} |", "|---" * (len(SCORES) + 1) + "|"]
    for name, by_seed in found.items():
        cells = []
        for score in SCORES:
            values = [by_seed[seed][score] for seed in by_seed]
            text = f"{fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            if name != "default" and "default" in found:
                each = [by_seed[seed][score] - found["default"][seed][score] for seed in by_seed]
                text += f"; {fmean(each):+.3f} ({min(each):+.3f} to {max(each):+.3f})"
            cells.append(text)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=words(tuple(CHOICES)), default=list(CHOICES))
    parser.add_argument("--seeds", type=lambda text: [int(each) for each in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--into", type=Path, help="keep the store and every training here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(heading(("numpy", "torch")), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.into or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(table(measure(folder, given.only, given.seeds, given.steps)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
