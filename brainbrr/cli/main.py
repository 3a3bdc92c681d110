"""Run one command, and turn how it ends into an exit code."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import sys
from typing import NoReturn

import click

from brainbrr.cli.app import CLOSED, cli
from brainbrr.cli.output import drop_unwritable, flush, has_lost_its_reader, open_what_is_closed
from brainbrr.errors import BrainbrrError, SpaceError, Stopped, UsageError

INTERRUPTED = 130


def main() -> NoReturn:
    """Run one command and exit with the code that says how it ended."""
    wants_json = "--json" in sys.argv[1:]
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _interrupt)
    open_what_is_closed()
    code = _ended(wants_json)
    drop_unwritable()
    sys.exit(code)


def _ended(wants_json: bool) -> int:
    try:
        return _run()
    except click.ClickException as error:
        _complain(UsageError(error.format_message()), error.exit_code, wants_json, context=getattr(error, "ctx", None))
        return error.exit_code
    except BrainbrrError as error:
        _complain(error, error.exit_code, wants_json)
        return error.exit_code
    except OSError as error:
        return _failed(error, wants_json)
    except SystemExit:  # as which click raises a broken pipe
        if not has_lost_its_reader(sys.stdout, sys.stderr):
            raise
        return CLOSED
    except (click.Abort, KeyboardInterrupt) as error:
        interrupted = BrainbrrError("interrupted", code="interrupted")
        if not isinstance(error.__cause__, Stopped):  # of which click makes an Abort
            _complain(interrupted, INTERRUPTED, wants_json, kind="Interrupted")
        elif wants_json:
            _report(interrupted, INTERRUPTED, "Interrupted")
        return INTERRUPTED


def _run() -> int:
    from brainbrr.settings import wants_colour

    try:
        code = cli.main(prog_name="brainbrr", standalone_mode=False, color=wants_colour())
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        code = error.exit_code
    flush()
    return code if isinstance(code, int) else 0


def _failed(error: OSError, wants_json: bool) -> int:
    """Say in one line what the system refused, such as a file that cannot be written, and return the exit code."""
    if error.errno == errno.EPIPE and has_lost_its_reader(sys.stdout, sys.stderr):
        return CLOSED
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = SpaceError.exit_code if is_full else 1
    what = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    said = BrainbrrError(what, code=SpaceError.code if is_full else "system")
    _complain(said, code, wants_json, kind="UsageError")
    return code


def _complain(
    error: BrainbrrError,
    exit_code: int,
    wants_json: bool,
    *,
    kind: str | None = None,
    context: click.Context | None = None,
) -> None:
    if wants_json:
        _report(error, exit_code, kind or type(error).__name__)
    with contextlib.suppress(OSError):  # stderr is full or closed too: the exit code is all that is left
        click.echo(f"{click.style('error:', fg='red', bold=True)} {error}", err=True)
        if context is not None:
            click.echo(f"try: {context.command_path} --help", err=True)


def _report(error: BrainbrrError, exit_code: int, kind: str) -> None:
    fields = {
        "schema": 1,
        "error": kind,
        "code": error.code,
        "what": error.what,
        "where": error.where,
        "fix": error.fix,
        "exit": exit_code,
    }
    with contextlib.suppress(OSError):  # where it goes to is full, which stderr says
        click.echo(json.dumps(fields))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
