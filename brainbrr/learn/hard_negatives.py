"""Where a detector raised false alarms on what it learned from: `evaluate` writes it, the next training reads it.

Only those recordings: the false alarms of held-out patients would bring them into the next training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brainbrr.core import files, models
from brainbrr.core.models import Count, Many, Stored
from brainbrr.errors import Fix, UsageError
from brainbrr.loading.windows import BACKGROUND
from brainbrr.scoring.metrics import Outcome
from brainbrr.scoring.nedc import overlapped
from brainbrr.store.sidecars import MAX_CATALOG_BYTES
from brainbrr.views.view import View


class Alarms(Stored):
    """The false alarms in one recording; `content` names it in every corpus and view."""

    recording: str
    content: str
    false_alarms_us: Many[Many[Count]]


class HardNegatives(Stored):
    """A file of false alarms, and the run that raised them."""

    run: str
    view_digest: str
    recordings: Many[Alarms]

    @property
    def n_alarms(self) -> int:
        """False alarms in all recordings."""
        return sum(len(each.false_alarms_us) for each in self.recordings)

    def write(self, file: Path) -> None:
        """Write the file that `read` reads."""
        fields = self.model_dump(mode="json")
        files.replace(file, json.dumps(fields, indent=1).encode())

    @classmethod
    def read(cls, file: Path) -> HardNegatives:
        """Return what a file holds. Raises UsageError for one that is missing, and for anything else."""
        try:
            fields = models.decode_json(files.read(file, limit=MAX_CATALOG_BYTES, folders=0), where=file)
        except FileNotFoundError:
            fix = Fix(("evaluate", "RUN", "--hard-negatives", file), " writes it")
            raise UsageError("the file of hard negatives is missing", where=file, fix=fix) from None
        return models.parse(cls, fields, where=file, error=UsageError)

    def windows(self, view: View) -> tuple[int, ...]:
        """Return the background windows of a view that share time with a false alarm.

        Raises UsageError where there is none.
        """
        spans = {each.content: each.false_alarms_us for each in self.recordings}
        found: list[int] = []
        background = np.flatnonzero(view.classes() == BACKGROUND)
        recordings, starts = view.index.locate(background)  # recording by recording
        windows = np.stack([starts, starts + view.length], axis=1) * (1_000_000 / view.rate_hz)
        for place in np.unique(recordings).tolist():
            if alarms := spans.get(view.recordings[place].content):
                mine = slice(*np.searchsorted(recordings, (place, place + 1)))
                found += background[mine][overlapped(windows[mine], alarms)].tolist()
        if not found:
            raise UsageError(
                f"none of the {self.n_alarms} false alarms is in a window of background of this view",
                where=f"corpus {view.corpus}, profile {view.profile}, split {view.split}",
                fix='train.hard_negatives = "" trains without them',
            )
        return tuple(found)


def false_alarms(outcomes: Sequence[Outcome], view: View, run: str) -> HardNegatives:
    """Return the events of a run that overlap no seizure; `outcomes` are those of recordings of its view."""
    content = {each.path: each.content for each in view.recordings}
    rows = []
    for each in outcomes:
        said = np.array(each.hypothesis).reshape(-1, 2)
        wrong = np.rint(said[~overlapped(said, each.reference)] * 1e6).astype(np.int64)
        if len(wrong):
            alarms = tuple((start, stop) for start, stop in wrong.tolist())
            rows.append(Alarms(recording=each.path, content=content[each.path], false_alarms_us=alarms))
    return HardNegatives(run=run, view_digest=str(view.digest), recordings=tuple(rows))
