"""Where work runs, from the command line: the options, and the engine that they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from brainbrr.errors import UsageError

if TYPE_CHECKING:
    from brainbrr.engines.engine import Engine
    from brainbrr.settings import Settings


_BELONGS_TO = {
    "scheduler": "dask",
    "max_jobs": "slurm",
    "partition": "slurm",
    "time": "slurm",
    "memory": "slurm",
    "sbatch": "slurm",
    "jobs": "slurm",
}

_WIDTH = (
    click.option(
        "--executor",
        type=click.Choice(["local", "dask", "slurm"]),
        default="local",
        show_default=True,
        help="Where recordings are built. Workers elsewhere need this brainbrr and the same paths.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes here (1: this one; default: all cores), or of each SLURM job (default: 1). Dask has its own.",
    ),
    click.option("--scheduler", metavar="ADDRESS", help="dask: tcp://HOST:PORT. Default: DASK_SCHEDULER_ADDRESS."),
    click.option("--max-jobs", type=click.IntRange(min=1), metavar="N", help="slurm: jobs of the array. Default: 16."),
)

_SUBMISSION = (
    click.option("--partition", metavar="NAME", help="slurm: where the jobs run."),
    click.option("--time", type=click.IntRange(min=1), metavar="MIN", help="slurm: minutes of a job. Default: 240."),
    click.option("--memory", type=click.IntRange(min=1), metavar="GB", help="slurm: GB of a job. Default: SLURM's."),
    click.option(
        "--sbatch", multiple=True, metavar="KEY[=VALUE]", help="slurm: any other sbatch option, as account=lab."
    ),
    click.option(
        "--jobs", metavar="DIR", help="slurm: scripts and logs; all nodes must see it. Default: jobs/ beside the store."
    ),
)


def width_options(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that say how many recordings are built at a time, and where."""
    return _with(_WIDTH, function)


def executor_options(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command all options of executors."""
    return _with((*_WIDTH, *_SUBMISSION), function)


def _with(options: tuple[Callable[..., Any], ...], function: Callable[..., int]) -> Callable[..., int]:
    for option in reversed(options):
        function = option(function)
    return function


def take_executor(options: dict[str, Any]) -> dict[str, Any]:
    """Take the executor's options out of a command's. `workers` stays too: files are hashed here."""
    taken = {name: options.pop(name) for name in ("executor", *_BELONGS_TO) if name in options}
    return {**taken, "workers": options.get("workers")}


def engine_of(settings: Settings, asked: dict[str, Any]) -> Engine | None:
    """Return the engine that the options mean, None for this machine's own. Raises UsageError where they disagree."""
    executor, workers = asked["executor"], asked["workers"]
    for name, home in _BELONGS_TO.items():
        if asked.get(name) and executor != home:
            raise UsageError(f"--{name.replace('_', '-')} goes with --executor {home}")
    if executor == "dask":
        from brainbrr.engines.dask import Dask

        if workers:
            raise UsageError("--workers does not go with --executor dask", fix="start the workers with `dask worker`")
        if settings.scheduler is None:
            raise UsageError("which Dask scheduler?", fix="--scheduler tcp://HOST:PORT, or set DASK_SCHEDULER_ADDRESS")
        return Dask(settings.scheduler)
    if executor == "slurm":
        from brainbrr.engines.slurm import Slurm

        given = {
            "max_jobs": asked.get("max_jobs"),
            "workers": workers,
            "partition": asked.get("partition"),
            "minutes": asked.get("time"),
            "memory_gb": asked.get("memory"),
            "more": dict(map(_pair, asked.get("sbatch", ()))),
        }
        return Slurm(settings.jobs.value, **{name: value for name, value in given.items() if value})
    return None


def _pair(text: str) -> tuple[str, str | bool]:
    name, equals, value = text.partition("=")
    return name.lstrip("-"), value if equals else True
