"""Recordings that a training has not seen: what a detector says of them, and refusing those that it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainbrr.core.arrays import Float32
from brainbrr.errors import Fix, LeakError
from brainbrr.learn.model import Detector
from brainbrr.learn.predict import overlap_add, windows_of
from brainbrr.views.splits import Aliases
from brainbrr.views.view import View


def probabilities(model: Detector, view: View, position: int, *, stride: int | None = None) -> Float32:
    """Return the seizure probability of one recording, (steps,): the mean over all windows that hold a sample.

    Windows cover all of the recording, whatever the view does with its tail; padding is left out. `stride` is in
    samples, by default the view's.
    """
    n_samples = view.recordings[position].n_samples
    return overlap_add(
        model,
        lambda start, signal: view.read(position, start, signal),
        windows_of(n_samples, length=view.length, stride=stride or view.stride),
        n_samples,
        shape=(len(view.channels), view.length),
        rate_hz=view.rate_hz,
    )


def check_apart(views: list[tuple[str, Mapping[str, Any]]], aliases: Aliases) -> None:
    """Raise LeakError when two of the frozen views share a patient, a source or a content.

    The same name in another corpus is another patient, unless an alias says otherwise.
    """

    def named(view: Mapping[str, Any], kind: str) -> set[str]:
        if kind != "patient":
            return {entry[kind] for entry in view["recordings"]}
        return {aliases.person(view["corpus"], entry["patient"]) for entry in view["recordings"]}

    for i, (one, first) in enumerate(views):
        for other, second in views[i + 1 :]:
            for kind in ("patient", "source", "content"):
                shared = sorted(
                    name.removeprefix(f"{first['corpus']}/") for name in named(first, kind) & named(second, kind)
                )
                if shared:
                    raise LeakError(
                        f"{one} and {other} share {len(shared)} of their {kind}s: {', '.join(shared[:3])}",
                        fix=Fix(
                            "evaluate on a split with other patients; ",
                            ("check", "--require", "no-leaks"),
                            " lists leaks",
                        ),
                    )
