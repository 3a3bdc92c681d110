"""What all commands share: the list of them, options, exit codes, settings and the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property, update_wrapper
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from brainbrr.cli.output import Output, Progress, at, progress
from brainbrr.errors import BrainbrrError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from brainbrr.settings import Settings
    from brainbrr.store.store import Store
    from brainbrr.views.columns import Where
    from brainbrr.views.view import View

CLOSED = 141
"""As a shell says it of any program that writes into a closed pipe: 128 and the number of SIGPIPE."""

EXIT_CODES = {
    0: "success",
    1: "failed, or recordings were refused",
    2: "wrong usage or configuration",
    3: "the view is not ready",
    4: "damaged data",
    5: "duplicates, or a patient in two splits",
    6: "forbidden by a corpus's access terms",
    7: "not enough space",
    8: "a device or an optional dependency is missing",
    130: "interrupted",
    CLOSED: "the output was closed",
}
ALWAYS = (0, 1, 2, 7, 130, CLOSED)
"""The exit codes that any command can end with."""

GROUPS = {
    "Start": ("init", "demo", "doctor"),
    "Data": ("ingest", "ls", "view", "show", "why", "log", "diff", "split"),
    "Learn": ("train", "runs", "evaluate", "predict", "score", "report"),
    "Keep": ("status", "check", "verify", "repair", "gc", "pin", "forget", "recompress"),
    "Share": ("remote", "push", "pull", "bundle", "unbundle", "lock", "export"),
    "Settings": ("config", "recipe", "completion", "bench", "help"),
}
"""The commands, each in the file of its name."""

RENAMED = {
    "store": "brainbrr init",
    "plan": "brainbrr ingest ROOT --dry-run",
    "--accept-refused": "--accept refused",
    "--accept-truncated": "--accept truncated",
    "--accept-removed": "--accept removed",
    "--accept-gone": "--accept gone",
}
"""Commands and options by the names that they had."""


class Commands(click.Group):
    """The commands in groups, each imported when it is used and listed by its whole first sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, group by group."""
        return [name for names in GROUPS.values() for name in names]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        if name not in self.list_commands(ctx):
            return None
        found: click.Command = getattr(import_module(f"brainbrr.cli.{name}"), name)
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what comes before the command; of other options, say that they go after it."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            what = f"No such option {error.option_name!r} before a command; a command's options follow its name."
            raise click.NoSuchOption(error.option_name, what, error.possibilities, ctx) from None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find a command. One that was renamed ends with a line that says its name."""
        if args[0] in RENAMED:
            raise UsageError(f"`brainbrr {args[0]}` is now `{RENAMED[args[0]]}`")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, group by group."""
        for group, names in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name, _summary(name)) for name in names])


def _summary(name: str) -> str:
    """Return the first sentence of a command's help, from its source: importing all commands takes longer than that."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    _, _, help_ = source.partition(f"\ndef {name}(")[2].partition('"""')
    sentence = re.split(r'\.\s|"""|\n\n', help_, maxsplit=1)[0]
    return " ".join(sentence.split()).removesuffix(".") + "." if sentence else ""


class Command(click.Command):
    """One command. An option that was renamed ends with a line that says its name."""

    exits: frozenset[int]
    """The exit codes that it can end with."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what follows the command."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name in RENAMED:
                raise UsageError(f"`{error.option_name}` is now `{RENAMED[error.option_name]}`") from None
            raise


class Session:
    """What a command works with: settings, the store, and where output goes."""

    def __init__(self, store: str | None, as_json: bool, **given: str | None) -> None:
        self.given = {"store": store, **given}
        """Options that are settings, as they were given."""
        context = click.get_current_context(silent=True)
        self._quiet = bool(context and context.meta.get("quiet"))
        self.out = Output(as_json=as_json, store=store, quiet=self._quiet)
        if context and context.meta.get("verbose"):
            for name, value, origin in self.settings.described():
                self.out.note(f"{name}: {value} ({origin})")

    @cached_property
    def settings(self) -> Settings:
        """The settings of this host and of the options."""
        return self.resolve(**self.given)

    def resolve(self, **given: Any) -> Settings:
        """Return the settings with these options, and show what is odd about them."""
        from brainbrr.settings import resolve

        settings = resolve(**given)
        for warning in settings.warnings:
            self.out.note(f"warning: {warning}")
        return settings

    @property
    def location(self) -> Path:
        """Where the store is, or will be."""
        return self.settings.store.value

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self.settings.runs.value

    def store(self) -> Store:
        """Open the store, in a folder. Raises UsageError when there is none."""
        from brainbrr.store.opening import require_folder

        return require_folder(self.readable_store())

    def readable_store(self) -> Store:
        """Open the store to read it, also one at a URL. Raises UsageError when there is none."""
        from brainbrr.store.opening import open_existing

        return open_existing(self.settings)

    def store_if_there(self) -> Store | None:
        """Open the store, or return None where none was created yet."""
        from brainbrr.store.store import Store

        return Store.open_if_there(self.location)

    def ready_view(self, *, where: Where, **chosen: Any) -> View:
        """Return the view of a command's selection. Raises ViewNotReadyError with the command that completes it."""
        from brainbrr.loading.windows import WindowSpec
        from brainbrr.views.report import open_view
        from brainbrr.views.select import Selection

        return open_view(self.settings, window=WindowSpec(), selection=Selection(where=where), **chosen).ready_view()

    def progress(self) -> Progress:
        """Return bars on a terminal, lines elsewhere; with --quiet only warnings."""
        return progress(self.given["store"], quiet=self._quiet)

    def show(self, report: Any, table: Callable[..., None]) -> None:
        """Print a report as one JSON object, or as its command shows it."""
        if self.out.as_json:
            self.out.report(report.to_json())
        else:
            table(self.out, report)


_SETTINGS = ("runs", "jobs", "scheduler")
STORE_HELP = "The store. Default: BRAINBRR_STORE, config file, nearest store/ upwards."
NO_STORE = "No effect: this command needs no store."

_Run = Callable[..., int]
_Part = TypeVar("_Part", bound=Callable[..., Any])


def command(
    name: str, *, example: str, exits: Sequence[int] = (), store_help: str = STORE_HELP
) -> Callable[[_Run], click.Command]:
    """Make a command of a function of a Session and the command's options; it returns the exit code.

    `exits` are the exit codes that it can end with beside those of every command.
    """

    def register(function: _Run) -> click.Command:
        def run(*, store: str | None, as_json: bool, **options: Any) -> int:
            given = {setting: options.pop(setting) for setting in _SETTINGS if setting in options}
            try:
                return function(Session(store, as_json, **given), **options)
            except BrainbrrError as error:
                error.fix = error.fix and at(error.fix, store)
                raise

        made = click.command(name, cls=Command, epilog=epilog(example, exits))(update_wrapper(run, function))
        made.exits = frozenset({*ALWAYS, *exits})
        made.params += [
            click.Option(["--store"], metavar="DIR", help=store_help),
            click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object to stdout."),
        ]
        return made

    return register


def epilog(example: str, exits: Sequence[int] = ()) -> str:
    """Return the end of a help text: an example and exit codes, lines kept as they are."""
    codes = "\n".join(f"  {code:>3}  {EXIT_CODES[code]}" for code in sorted({*ALWAYS, *exits}))
    return f"\b\nExample:\n  {example}\n\n\b\nExit codes:\n{codes}"


def _remember(context: click.Context, option: click.Parameter, value: bool) -> None:
    context.meta[str(option.name)] = value


def _show_version(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if not value:
        return
    from importlib.metadata import version

    click.echo(f"brainbrr, version {version('brainbrr')}")
    if context.meta["verbose"]:
        from brainbrr.core.compiled import described

        click.echo(f"kernels: {described()}")
    context.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "\b\nExample:\n  brainbrr ingest data_ext4/tusz --profile dev\n  brainbrr view --profile dev\n\n"
        "\b\nMore:\n  brainbrr COMMAND --help   options, an example, exit codes\n"
        "  brainbrr help exit-codes  all exit codes"
    ),
)
@click.option(
    "-q",
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=_remember,
    help="No progress and no notes; results, warnings and errors stay. Goes before the command.",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_remember,
    help="Also show each setting and where it came from; with -V, the kernels. Goes before the command.",
)
@click.option(
    "-V", "--version", is_flag=True, expose_value=False, callback=_show_version, help="Show the version and exit."
)
def cli() -> None:
    """Store EEG recordings once, open verified views of them, and train a seizure detector."""


_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[int]):
    """A number and its unit, as 24h; the command gets seconds."""

    name = "duration"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what help shows."""
        return "N[s|m|h|d]"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds. Fails for a text without a unit: hours would be taken for seconds."""
        if isinstance(value, int):
            return value
        match = _DURATION.match(value)
        if match is None:
            self.fail(f"{value[:40]!r} is no duration: a whole number and s, m, h or d, as 24h", param, ctx)
        return int(match[1]) * _SECONDS[match[2]]


class Pair(click.ParamType[tuple[str, str]]):
    """NAME=VALUE."""

    name = "pair"

    def __init__(self, form: str) -> None:
        self.form = form

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what help shows."""
        return self.form

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return name and value."""
        if isinstance(value, tuple):
            return value
        name, equals, rest = value.partition("=")
        if not (name and equals):
            self.fail(f"{value[:40]!r} should be {self.form}", param, ctx)
        return name, rest


class Condition(click.ParamType[tuple[str, str]]):
    """A column of `ls` and what its value must be: split=eval, seizures>0."""

    name = "condition"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what help shows."""
        return "FIELD=VALUE"

    def convert(
        self, value: str | tuple[str, str], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return column and value."""
        from brainbrr.views.columns import parse_condition

        return value if isinstance(value, tuple) else parse_condition(value)


class Kinds(click.ParamType[frozenset[str]]):
    """One or more of some words, with commas between them."""

    name = "kinds"

    def __init__(self, *known: str) -> None:
        self.known = known

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what help shows."""
        return "KIND[,KIND]" if len(self.known) > 1 else "KIND"

    def convert(
        self, value: str | frozenset[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[str]:
        """Return the set of words."""
        if isinstance(value, frozenset):
            return value
        words = frozenset(word.strip() for word in value.split(","))
        for word in sorted(words - {*self.known}):
            self.fail(f"{word[:40]!r} is not one of {', '.join(self.known)}", param, ctx)
        return words


class Named(click.ParamType[str]):
    """A name of this host that a shell completes: of corpora, recipes, configs or runs."""

    name = "text"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin so."""
        from click.shell_completion import CompletionItem

        from brainbrr.look.names import names

        found = names(self.kind, store=ctx.params.get("store"), runs=ctx.params.get("runs"))
        return [CompletionItem(name) for name in found if name.startswith(incomplete)]


CORPUS, RECIPE, CONFIG, RUN = Named("corpora"), Named("recipes"), Named("configs"), Named("runs")
DURATION = Duration()
CONDITION = Condition()
PROFILES = click.Choice(["smoke", "dev", "full"])


def accepts(**kinds: str) -> Callable[[_Part], _Part]:
    """Give a command `--accept`, with what each kind means; a kind's "_" is written "-"."""
    named = {kind.replace("_", "-"): meaning for kind, meaning in kinds.items()}
    meanings = "; ".join(f"`{kind}`: {meaning}" for kind, meaning in named.items())
    return click.option("--accept", type=Kinds(*named), default=frozenset[str](), help=f"Accept {meanings}.")


def selects(
    *, profile: str = "full", split: str | None = None, corpus: str = "the only one in the store"
) -> Callable[[_Part], _Part]:
    """Give a command the options that select recordings: --corpus, --profile, --split and --where.

    Texts say what stands for an option that is not given.
    """
    known = profile in PROFILES.choices
    parts = [
        click.option("--corpus", type=CORPUS, metavar="NAME", help=f"Which corpus. Default: {corpus}."),
        click.option(
            "--profile", type=PROFILES, default=profile if known else None, help=f"Which profile. Default: {profile}."
        ),
        click.option(
            "--split", metavar="SPLIT", default=split, help=f"train, dev, eval or none. Default: {split or 'all'}."
        ),
        click.option(
            "--where",
            type=CONDITION,
            multiple=True,
            help="Select by any column of `ls`: patient=aaa*, seizures>0, quality<50, since>=2026-01-31.",
        ),
    ]
    return options(*parts)


def options(*parts: Callable[[Any], Any]) -> Callable[[_Part], _Part]:
    """Return options as one decorator, in this order."""

    def give(function: _Part) -> _Part:
        for part in reversed(parts):
            function = part(function)
        return function

    return give


splits_options = options(
    click.option(
        "--splits",
        metavar="FILE[:N]",
        help="Who is in train, dev and eval: a file of `split` with fold N for eval, or a table of patients and their "
        "split (N: its column).",
    ),
    click.option(
        "--aliases", type=click.Path(path_type=Path), help="TOML of names that are one patient: chb21 = 'chb01'."
    ),
)
szcore_option = click.option(
    "--szcore",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a parameter of timescoring's event scores: tolerance_start_s=30, tolerance_end_s=60, min_overlap=0, "
    "max_event_s=300, merge_gap_s=90.",
)
recipe_option = click.option(
    "--recipe", type=RECIPE, default="default", metavar="NAME|FILE", help="Recipe name or .toml file."
)
runs_option = click.option(
    "--runs", metavar="DIR", help="Where runs are. Default: BRAINBRR_RUNS, config file, beside the store."
)
transfer_options = options(click.argument("view", required=False), selects(), splits_options, recipe_option)
"""Which recordings a command of sharing takes: a selection, or a frozen view by its digest."""
staged_option = click.option(
    "--staged",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Also delete the copies in DIR of this node, where `train --stage DIR` put them.",
)
yes_option = click.option("--yes", is_flag=True, help="Do it. Without it, only show what would be done.")
