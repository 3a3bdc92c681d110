"""Run one command, and turn how it ends into an exit code."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import sys
from typing import NoReturn

import click

# each registers its commands
from brainbrr.cli import commands, keeping_commands, learn_commands, store_commands, store_init, view_commands  # noqa: F401
from brainbrr.cli.group import cli
from brainbrr.errors import BrainbrrError


def main() -> NoReturn:
    """Run one command and exit with the code that says how it ended."""
    from brainbrr.config import wants_colour

    wants_json = "--json" in sys.argv[1:]
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _interrupt)
    try:
        code = cli.main(standalone_mode=False, color=wants_colour())
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = error.exit_code
    except click.ClickException as error:
        _complain(error.format_message(), error.exit_code, wants_json, getattr(error, "ctx", None))
        code = error.exit_code
    except BrainbrrError as error:
        _complain(error.what, error.exit_code, wants_json, None, type(error).__name__, error.where, error.fix)
        code = error.exit_code
    except OSError as error:  # a full /dev/shm, a file that cannot be written: said in one line, by its own words
        code = 7 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 1
        _complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", code, wants_json, None)
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted", 130, wants_json, None)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _complain(
    what: str,
    code: int,
    wants_json: bool,
    context: click.Context | None,
    kind: str = "UsageError",
    where: str | None = None,
    fix: str | None = None,
) -> None:
    if wants_json:
        kind = kind if code != 130 else "Interrupted"
        fields = {"schema": 1, "error": kind, "what": what, "where": where, "fix": fix, "exit": code}
        with contextlib.suppress(OSError):  # where it goes to is full, which stderr says
            click.echo(json.dumps(fields))
    click.echo(f"{click.style('error:', fg='red', bold=True)} {BrainbrrError(what, where=where, fix=fix)}", err=True)
    if context is not None:
        click.echo(f"try: {context.command_path} --help", err=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
