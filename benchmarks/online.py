"""How good and how late the online mode is, beside the whole-recording one: AUROC over steps that both judge.

PYTHONPATH=. python benchmarks/online.py RUN CORPUS_ROOT --split eval --every 1 --wait 0
"""

from __future__ import annotations

import argparse
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from brainbrr.eeg.corpus.annotations import read_annotations
from brainbrr.eeg.corpus.tree import locate, scan
from brainbrr.eeg.signal.streaming import Live
from brainbrr.learn.online import Online
from brainbrr.learn.predict import Predictor
from brainbrr.learn.predict_files import predict
from brainbrr.learn.runs import open_run
from brainbrr.learn.start import recipe_of
from brainbrr.scoring.curves import auroc
from brainbrr.scoring.events import Scored


def main() -> None:
    """Predict both ways, and say what each is worth."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--split", default="eval")
    parser.add_argument("--every", type=Fraction, default=Fraction(1))
    parser.add_argument("--wait", type=Fraction, nargs="+", default=[Fraction(0)])
    chosen = parser.parse_args()
    run = open_run(chosen.run)
    predictor = Predictor.of(run, recipe_of(run.view))
    files = [file for file in scan(locate(chosen.root)) if file.split == chosen.split]
    whole = [predict(chosen.run, [file.edf]).predictions[0].scored for file in files]
    for wait_s in chosen.wait:
        online, both, labels = [], [], []
        delays: list[float] = []
        signal_s, began = 0.0, time.perf_counter()
        for file, scored in zip(files, whole, strict=True):
            with file.edf.open("rb") as stream:
                listening = Online(predictor, Live(stream, predictor.recipe), every_s=chosen.every, wait_s=wait_s)
                steps = list(listening)
            events = read_annotations(file.labels).seizures
            spans = [(event.start_us / 1e6, event.stop_us / 1e6) for event in events]
            n = len(steps)
            assert [step.time_s for step in steps] == [i * scored.step_s for i in range(n)]
            online.append(np.array([step.probability for step in steps], dtype=np.float32))
            both.append(scored.score[:n])
            truth = Scored(file.path, "", scored.score, scored.step_s, scored.duration_s, spans)
            labels.append(truth.label[:n])
            warm = [step for step in steps if step.available_at_s > steps[0].available_at_s]
            delays += [step.available_at_s - step.time_s for step in warm]
            assert max(delays) <= listening.latency_s
            signal_s += scored.duration_s
        seconds = time.perf_counter() - began
        label = np.concatenate(labels)
        ours, theirs = (auroc(np.concatenate(each), label) for each in (online, both))
        print(
            f"{len(files)} recordings, {len(label)} steps, {label.mean():.1%} seizure; "
            f"every {float(chosen.every):g} s, wait {float(wait_s):g} s: AUROC online {ours:.4f}, whole {theirs:.4f}; "
            f"latency stated {listening.latency_s:.2f} s, seen {min(delays):.2f} to {max(delays):.2f} s; "
            f"warm-up {listening.warm_up_s:.2f} s; {signal_s / seconds:.0f} x real time"
        )


if __name__ == "__main__":
    main()
