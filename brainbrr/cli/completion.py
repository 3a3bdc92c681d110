"""`brainbrr completion`: names that a shell completes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, cli, command

if TYPE_CHECKING:
    from brainbrr.cli.output import Output


@command("completion", example='eval "$(brainbrr completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(session: Session, *, shell: str) -> int:
    """Print a script with which SHELL completes commands, options, profiles, corpora, recipes, configs and runs.

    For bash and zsh, evaluate it in ~/.bashrc or ~/.zshrc; for fish, write it to
    ~/.config/fish/completions/brainbrr.fish.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # click knows these three
    script = found(cli, {}, "brainbrr", "_BRAINBRR_COMPLETE").source()
    session.show(_Script(shell, script), table)
    return 0


class _Script:
    """The script of a shell."""

    def __init__(self, shell: str, script: str) -> None:
        self.shell, self.script = shell, script

    def to_json(self) -> dict[str, str]:
        """Return the machine interface's fields."""
        return {"shell": self.shell, "script": self.script}


def table(out: Output, report: _Script) -> None:
    """Print the script."""
    out.text(report.script)
