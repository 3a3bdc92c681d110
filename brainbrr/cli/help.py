"""`brainbrr help`: the help of a command, and the exit codes of all."""

from __future__ import annotations

import click

from brainbrr.cli.app import EXIT_CODES, NO_STORE, Session, cli, command
from brainbrr.errors import Fix, UsageError

_TOPIC = "exit-codes"


@command("help", example=f"brainbrr help {_TOPIC}", store_help=NO_STORE)
@click.argument("topic", required=False, metavar=f"[COMMAND|{_TOPIC}]")
def help(session: Session, *, topic: str | None) -> int:  # noqa: A001  # the name of the command
    """Show the help of a command, or the list of exit codes."""
    if topic == _TOPIC:
        _exit_codes(session)
        return 0
    context = click.Context(cli, info_name="brainbrr")
    found = cli if topic is None else cli.get_command(context, topic)
    if found is None:
        raise UsageError(f"no command or topic is called {topic!r}", fix=Fix(("help",), " lists the commands"))
    shown = context if topic is None else click.Context(found, info_name=topic, parent=context)
    session.out.text(found.get_help(shown))
    return 0


def _exit_codes(session: Session) -> None:
    if session.out.as_json:
        session.out.report({"exit_codes": {str(code): meaning for code, meaning in EXIT_CODES.items()}})
    else:
        session.out.pairs((str(code), meaning) for code, meaning in EXIT_CODES.items())
