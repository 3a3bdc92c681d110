"""The exit codes, once: README and every help text show this table."""

from __future__ import annotations

CLOSED = 141
"""As a shell says it of any program that writes into a closed pipe: 128 and the number of SIGPIPE."""

EXIT_CODES = {
    0: "fine",
    1: "failed, or some recordings failed that nobody accepted",
    2: "usage or configuration",
    3: "view not ready",
    4: "corrupt",
    5: "duplicate or leak",
    6: "refused by a corpus's access terms",
    7: "not enough space",
    8: "device or optional dependency missing",
    130: "interrupted",
    CLOSED: "its output was closed",
}


def epilog(example: str) -> str:
    """Return the end of a help text: an example and the exit codes, lines kept as they are."""
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    return f"\b\nExample:\n  {example}\n\n\b\nExit codes:\n{codes}"
