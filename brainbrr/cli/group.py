"""The group of commands, and what all of them share: settings, the store, output, options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.exits import epilog
from brainbrr.cli.output import Output
from brainbrr.errors import BrainbrrError

if TYPE_CHECKING:
    from brainbrr.settings import Settings
    from brainbrr.store.store import Store


class Verbs(click.Group):
    """Commands, each listed with its whole first sentence, however narrow the terminal is."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, found.get_short_help_str(200)) for name, found in sorted(self.commands.items())])


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=epilog("brainbrr ingest data_ext4/tusz --profile dev && brainbrr view --profile dev"),
)
@click.version_option(package_name="brainbrr")
def cli() -> None:
    """EDF files in, one content-addressed zarr store, verified views out, a seizure detector trained from it."""


PROFILES = click.Choice(["smoke", "dev", "full"])


class Session:
    """What every command shares: settings, the store, and where output goes."""

    def __init__(
        self,
        store: str | None,
        as_json: bool,
        *,
        runs: str | None = None,
        jobs: str | None = None,
        scheduler: str | None = None,
    ) -> None:
        from brainbrr.settings import resolve

        self.settings: Settings = resolve(store=store, runs=runs, jobs=jobs, scheduler=scheduler)
        self.out = Output(as_json=as_json, aim=partial(aimed, store=store))
        for warning in self.settings.warnings:
            self.out.note(f"warning: {warning}")

    @property
    def location(self) -> Path:
        """Where the store is, or will be."""
        return self.settings.store.value

    def store(self) -> Store:
        """Open the store. Raises UsageError when there is none."""
        from brainbrr.store.store import Store

        return Store.open(self.location)

    def store_if_there(self) -> Store | None:
        """Open the store, or return None where nothing was ever ingested."""
        from brainbrr.store.store import Store

        return Store.open_if_there(self.location)

    def show(self, render: Callable[..., None], report: Any) -> None:
        """Print a report in the form asked for."""
        if self.out.as_json:
            self.out.report(report.to_json())
        else:
            render(self.out, report)


def aimed(text: str, *, store: str | None) -> str:
    """Return a text whose commands go to the store that this one was given, so that they do what they say if pasted."""
    if store is None or "--store" in text:
        return text
    names = "|".join(cli.commands.keys() - {"store"})
    return re.sub(rf"\bbrainbrr ({names})\b", lambda found: f"{found[0]} --store {shlex.quote(store)}", text)


_STORE = "The store. Default: BRAINBRR_STORE, config file, nearest store/ upwards."


def command(
    name: str, *, example: str, parent: click.Group = cli, store_help: str = _STORE
) -> Callable[[Callable[..., int]], click.Command]:
    """Register a command with the options that every command has; its function returns the exit code."""

    def register(function: Callable[..., int]) -> click.Command:
        @wraps(function)
        def aiming(*, store: str | None, **asked: Any) -> int:
            try:
                return function(store=store, **asked)
            except BrainbrrError as error:
                error.fix = error.fix and aimed(error.fix, store=store)
                raise

        decorated = click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")(aiming)
        decorated = click.option("--store", metavar="DIR", help=store_help)(decorated)
        return parent.command(name, epilog=epilog(example))(decorated)

    return register


recipe_option = click.option("--recipe", default="default", metavar="NAME|FILE", help="Recipe name or .toml file.")
corpus_option = click.option("--corpus", metavar="NAME", help="Which corpus. Default: the only one in the store.")
name_option = click.option("--corpus", metavar="NAME", help="What to call the corpus. Default: its folder's name.")
labels_option = click.option(
    "--labels", type=click.Choice(["found", "none"]), default="found", help="`none` declares the corpus unlabelled."
)
