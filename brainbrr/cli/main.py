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
from brainbrr.cli.exits import CLOSED
from brainbrr.cli.group import cli
from brainbrr.cli.output import flush, has_lost_its_reader, let_go, open_what_is_closed
from brainbrr.errors import BrainbrrError


def main() -> NoReturn:
    """Run one command and exit with the code that says how it ended."""
    wants_json = "--json" in sys.argv[1:]
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _interrupt)
    open_what_is_closed()
    code = _ended(wants_json)
    let_go()
    sys.exit(code)


def _ended(wants_json: bool) -> int:
    try:
        return _run()
    except click.ClickException as error:
        _complain(error.format_message(), error.exit_code, wants_json, getattr(error, "ctx", None))
        return error.exit_code
    except BrainbrrError as error:
        _complain(error.what, error.exit_code, wants_json, None, type(error).__name__, error.where, error.fix)
        return error.exit_code
    except OSError as error:
        return _failed(error, wants_json)
    except SystemExit:  # as which click raises a broken pipe
        if not has_lost_its_reader(sys.stdout, sys.stderr):
            raise
        return CLOSED
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted", 130, wants_json, None)
        return 130


def _run() -> int:
    from brainbrr.settings import wants_colour

    try:
        code = cli.main(standalone_mode=False, color=wants_colour())
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = error.exit_code
    flush()
    return code if isinstance(code, int) else 0


def _failed(error: OSError, wants_json: bool) -> int:
    """Say in one line what the system refused, such as a file that cannot be written, and return the exit code."""
    if error.errno == errno.EPIPE and has_lost_its_reader(sys.stdout, sys.stderr):
        return CLOSED
    code = 7 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 1
    _complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", code, wants_json, None)
    return code


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
    with contextlib.suppress(OSError):  # stderr is full or closed too: the exit code is all that is left
        head = click.style("error:", fg="red", bold=True)
        click.echo(f"{head} {BrainbrrError(what, where=where, fix=fix)}", err=True)
        if context is not None:
            click.echo(f"try: {context.command_path} --help", err=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
