"""Show the steps of a training in TensorBoard or Weights & Biases. Sends numbers and the config, never recordings.

metrics.jsonl is the record; these are copies to look at. `train.log` names them, and only then are they imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from brainbrr.errors import DependencyError
from brainbrr.learn import runs as r

Show = Callable[[dict[str, Any]], None]
"""Takes one line of metrics.jsonl."""


def need(names: Sequence[str]) -> None:
    """Raise DependencyError for a logger that is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise DependencyError(
                f"train.log names {name}, which is not installed",
                fix=f"pip install 'brainbrr[{name}]', or take it out of train.log",
            )


@contextmanager
def opened(names: Sequence[str], run: r.Run, step: int) -> Iterator[Show]:
    """Give a function that shows a step in every logger named.

    TensorBoard replaces what it held of steps from `step` on; W&B keeps it. metrics.jsonl is what counts.
    """
    with ExitStack() as stack:
        shows = [stack.enter_context(_OPENERS[name](run, step)) for name in names]

        def show(row: dict[str, Any]) -> None:
            for each in shows:
                each(row)

        yield show


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "step" and value is not None}


@contextmanager
def _tensorboard(run: r.Run, step: int) -> Iterator[Show]:
    from torch.utils.tensorboard.writer import SummaryWriter

    writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=step)
    try:

        def show(row: dict[str, Any]) -> None:
            for name, value in _numbers(row).items():
                writer.add_scalar(f"train/{name}", value, row["step"])

        yield show
    finally:
        writer.close()


@contextmanager
def _wandb(run: r.Run, step: int) -> Iterator[Show]:
    import wandb

    config = {**run.config.model_dump(mode="json"), "view_digest": run.view["digest"], "recipe": run.view["recipe"]}
    name = run.folder.name
    quiet = wandb.Settings(console="off")  # else it sends what the terminal shows: an error names recordings
    try:
        online = wandb.init(
            project="brainbrr", id=name, name=name, dir=run.folder, config=config, resume="allow", settings=quiet
        )
    except wandb.errors.Error as error:
        raise DependencyError(
            f"W&B cannot start: {error}", fix="`wandb login`, or WANDB_MODE=offline, or take it out of train.log"
        ) from None
    exit_code = 1
    try:
        yield lambda row: online.log(_numbers(row), step=row["step"])
        exit_code = 0
    finally:  # not `with`: that prints, and sends, the traceback
        online.finish(exit_code=exit_code)


_OPENERS = {"tensorboard": _tensorboard, "wandb": _wandb}
