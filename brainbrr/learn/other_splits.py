"""The other splits of a corpus: none of their patients may be in a training, and dev is what it validates on.

Opens views; reads no signal and needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable

from brainbrr.core.progress import Progress
from brainbrr.errors import Fix, LeakError, UsageError, ViewNotReadyError
from brainbrr.profiles import SPLITS
from brainbrr.views.view import View

Opened = Callable[[str], View]
"""Opens a split."""


def check_splits(view: View, opened: Opened) -> None:
    """Raise LeakError where a patient of a split is in another one, too: scores there would be of a known patient."""
    ours = {each.patient for each in view.recordings}
    for split in SPLITS:
        if view.split in (None, split):
            continue
        try:
            other = opened(split)
        except UsageError:  # the corpus has no such split
            continue
        if shared := sorted(ours & {each.patient for each in other.recordings}):
            raise LeakError(
                f"split {view.split} and split {split} share {len(shared)} of their patients: {', '.join(shared[:3])}",
                where=f"corpus {view.corpus}, profile {view.profile}",
                fix=Fix(
                    ("check", "--require", "no-leaks"),
                    " lists them; ",
                    ("split", "--corpus", view.corpus, "-o", "folds.toml"),
                    " makes other splits, for --splits",
                ),
            )


def dev_view(dev: View | str | None, view: View, opened: Opened, progress: Progress) -> View | None:
    """Return what to validate on, a view or a split that is ready; None, with the reason said, where there is nothing.

    Raises what is wrong with a view that was given.
    """
    if isinstance(dev, View):
        return dev
    why = "none was requested"
    if dev is not None:
        try:
            found = opened(dev)
        except (UsageError, ViewNotReadyError) as error:
            why = f"{error.what}; {error.fix}" if error.fix else error.what
        else:
            why = _not_for(found, view)
            if not why:
                return found
    progress.say(f"no validation on split {dev or 'dev'}: {why}. The last weights will be the run's result")
    return None


def _not_for(dev: View, training: View) -> str:
    """Return why a split cannot validate a training, empty where it can."""
    ours, theirs = ({each.patient for each in view.recordings} for view in (training, dev))
    if shared := ours & theirs:
        return f"it shares {len(shared)} of its patients with the training"
    return "" if any(each.seizures for each in dev.recordings) else "it has no seizures"
