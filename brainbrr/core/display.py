"""How values show themselves at a prompt, in a notebook and on a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(rows: Iterable[Sequence[object]], *, caption: str, columns: Sequence[str] = ()) -> str:
    """Return a table for a notebook; every text in it is escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f"<table><caption>{escape(caption)}</caption>"
        + (f"<thead><tr>{head}</tr></thead>" if head else "")
        + f"<tbody>{body}</tbody></table>"
    )


def counted(n: int, singular: str) -> str:
    """Return a number and what it counts: "1 window", "2 windows"."""
    return f"{n:,} {singular}{'' if n == 1 else 's'}"


def size(n_bytes: float) -> str:
    """Return bytes in decimal units, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n_bytes) < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
