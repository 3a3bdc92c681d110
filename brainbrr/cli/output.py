"""How results and progress look: aligned on a terminal, tab-separated when piped, one object with --json."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import shutil
import sys
import textwrap
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TextIO

import click

from brainbrr.core.display import size as size
from brainbrr.core.progress import Silent
from brainbrr.errors import Fix

_EVERY_S = 10.0
_NARROWEST = 20


def at(text: str, store: str | None) -> str:
    """Return a text whose commands name the store that this command was given, so that they can be pasted."""
    return text.at(store) if isinstance(text, Fix) else text


class Output:
    """Results to stdout, everything else to stderr. `store` is what `--store` says."""

    def __init__(self, *, as_json: bool, store: str | None = None, quiet: bool = False) -> None:
        self.as_json, self._quiet = as_json, quiet
        self._store = store

    def report(self, fields: dict[str, Any]) -> None:
        """Print the machine interface's one object."""
        shown = {"schema": 1, **self._at_store(fields)}
        click.echo(json.dumps(shown, indent=2 if sys.stdout.isatty() else None))

    def _at_store(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._at_store(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self._at_store(each) for each in value]
        return at(value, self._store) if isinstance(value, str) else value

    def line(self, fields: dict[str, Any]) -> None:
        """Print one of many JSON objects, each a line of its own."""
        click.echo(json.dumps(fields))

    def title(self, text: str) -> None:
        """Print a line that heads what follows."""
        click.echo(click.style(text, bold=True))

    def text(self, text: str) -> None:
        """Print lines as they are."""
        click.echo(text.rstrip())

    def pairs(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print names and values; on a terminal, long values on several lines, unless they hold a command to paste."""
        rows = list(rows)
        if not sys.stdout.isatty():
            for name, value in rows:
                click.echo(f"{name}\t{in_one_line(at(value, self._store))}")
            return
        width = max((len(name) for name, _ in rows), default=0)
        room = max(shutil.get_terminal_size().columns - width - 4, _NARROWEST)
        for name, value in rows:
            text = in_one_line(at(value, self._store))
            lines = (
                [text]
                if isinstance(value, Fix)
                else textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
            )
            click.echo(f"  {click.style(name.ljust(width), dim=True)}  {lines[0]}")
            for line in lines[1:]:
                click.echo(f"{' ' * (width + 4)}{line}")

    def table(
        self,
        head: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        whole: Collection[str] = (),
        numbers: Collection[str] = (),
        droppable: Sequence[str] = (),
        cards: bool = True,
    ) -> None:
        """Print rows under a head. Columns named in `whole` stay on one line; `numbers` are aligned at their right.

        Where a terminal is too narrow, the columns of `droppable` go one after the other; if that is not enough, each
        row becomes a card of names and values, unless `cards` says no.
        """
        cells = [
            [in_one_line(at(cell, self._store) if isinstance(cell, str) else str(cell)) for cell in row] for row in rows
        ]
        if not sys.stdout.isatty():
            for row in [list(head), *cells]:
                click.echo("\t".join(row))
            return
        columns, dropped = _fitting(head, cells, droppable)
        if cards and cells and _width(head, cells, columns, whole) > shutil.get_terminal_size().columns:
            self._cards(head, cells)
            return
        _rich_table([head[i] for i in columns], [[row[i] for i in columns] for row in cells], whole, numbers)
        if dropped:
            self.note(f"not shown here: {', '.join(dropped)}")

    def _cards(self, head: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
        for row in cells:
            click.echo(click.style(row[0], bold=True))
            self.pairs([(name, cell) for name, cell in zip(head[1:], row[1:], strict=True) if cell])

    def note(self, text: str) -> None:
        """Print a line to stderr; with --quiet only a warning or a fix."""
        if not self._quiet or text.startswith(("warning: ", "fix: ")):
            click.echo(at(text, self._store), err=True)

    def fixes(self, fixes: Iterable[str | None]) -> None:
        """Print how to fix something, each way once, to stderr."""
        for fix in sorted({at(fix, self._store) for fix in fixes if fix}):
            self.note(f"fix: {fix}")


def _rich_table(
    head: Sequence[str], cells: Iterable[Sequence[str]], whole: Collection[str], numbers: Collection[str]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in head:  # broken rather than cut
        table.add_column(name, no_wrap=name in whole, overflow="fold", justify="right" if name in numbers else "left")
    for row in cells:
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row))  # names of files: brackets are no markup
    Console().print(table)


_LONGEST_WRAPPED = 24
"""Cells without a word that is longer than this can be broken at spaces."""


def _width(
    head: Sequence[str], cells: Sequence[Sequence[str]], columns: Iterable[int], whole: Collection[str] = ()
) -> int:
    """Return how wide a table is at least, with its long texts broken at spaces."""

    def narrowest(i: int) -> int:
        texts = [head[i], *(row[i] for row in cells)]
        if head[i] in whole:
            return max(map(len, texts))
        return max(len(max(text.split(), key=len)) if len(text) > _LONGEST_WRAPPED else len(text) for text in texts)

    return sum(narrowest(i) + 2 for i in columns) - 2


def _fitting(
    head: Sequence[str], cells: Sequence[Sequence[str]], droppable: Iterable[str]
) -> tuple[list[int], list[str]]:
    """Return the columns that fit the terminal, and the names of those that were left out."""
    room, kept, dropped = shutil.get_terminal_size().columns, list(range(len(head))), []
    for name in droppable:
        if _width(head, cells, kept, head) <= room:
            break
        kept.remove(head.index(name))
        dropped.append(name)
    return kept, dropped


class LineProgress:
    """Progress as plain lines on stderr, one every ten seconds: for pipes and logs."""

    def __init__(self, store: str | None = None) -> None:
        self._store = store

    def start(self, task: str, total: int | None, unit: str, *, done: int = 0) -> None:
        """Begin a task."""
        self._task, self._total, self._unit = task, total, unit
        self._done, self._before, self._began = done, done, time.monotonic()
        self._last = self._began

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Count, and now and then say so."""
        self._done += n
        now = time.monotonic()
        if now - self._last >= _EVERY_S:
            self._last = now
            rate = (self._done - self._before) / (now - self._began)
            left = f", {duration((self._total - self._done) / rate)} left" if self._total and rate else ""
            pace = f"{size(rate)}/s" if self._unit == "B" else per_second(rate, self._unit)
            done = amount(self._total or self._done, self._unit)
            done = f"{size(self._done) if self._unit == 'B' else f'{self._done:,}'} of {done}" if self._total else done
            click.echo(f"{self._task}: {done}, {pace}{left} {note}".rstrip(), err=True)

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(at(text, self._store), err=True)

    def stop(self) -> None:
        """Nothing to clear."""


class QuietProgress(Silent):
    """Progress that shows only warnings, on stderr."""

    def __init__(self, store: str | None = None) -> None:
        self._store = store

    def say(self, text: str) -> None:
        """Print a warning."""
        if text.startswith("warning: "):
            click.echo(at(text, self._store), err=True)


class BarProgress:
    """Progress as one live line on a terminal: done, rate, time left."""

    def __init__(self, store: str | None = None) -> None:
        from rich.console import Console

        self._store = store
        self._console = Console(stderr=True)
        self._bar: Any = None

    def start(self, task: str, total: int | None, unit: str, *, done: int = 0) -> None:
        """Show a bar."""
        from rich import progress as rich_progress
        from rich.table import Column

        whole = Column(no_wrap=True)
        counted = (
            [rich_progress.DownloadColumn(table_column=whole), rich_progress.TransferSpeedColumn(table_column=whole)]
            if unit == "B"
            else [rich_progress.MofNCompleteColumn(table_column=whole), rich_progress.TextColumn(unit)]
        )
        columns = [rich_progress.TextColumn("{task.description}", markup=False), rich_progress.BarColumn(12), *counted]
        self.stop()
        self._bar = rich_progress.Progress(
            *columns,
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task(task, total=total, completed=done, note="")
        self._bar.start()

    def advance(self, n: int = 1, *, note: str = "") -> None:
        """Move the bar."""
        self._bar.update(self._task, advance=n, note=note)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(at(text, self._store), highlight=False, markup=False)

    def stop(self) -> None:
        """Clear the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def open_what_is_closed() -> None:
    """Give stdout and stderr a descriptor where the command was started without, before a file of the store gets it."""
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def flush() -> None:
    """Write out what stdout and stderr hold. Raises OSError while the command can still say so."""
    sys.stdout.flush()
    sys.stderr.flush()


def drop_unwritable() -> None:
    """Send what stdout and stderr cannot write to nowhere, since Python tries once more as it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
            lost = has_lost_its_reader(stream)
        except OSError:
            lost = True
        if lost:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def has_lost_its_reader(*streams: TextIO) -> bool:
    """Return whether one of the streams is a pipe without a reader, as after `| head`."""
    poll = select.poll()
    for stream in streams:
        with contextlib.suppress(io.UnsupportedOperation):  # no descriptor, so no pipe
            poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


_STYLES = {
    "ok": "green", "ready": "green", "stored": "green", "fine": "green", "finished": "green",
    "refused": "red", "damaged": "red", "missing": "red", "empty": "red", "not restored": "red",
    "omitted": "yellow", "incomplete": "yellow", "stale": "yellow", "not stored": "yellow", "retired": "yellow",
    "unfinished": "yellow",
}  # fmt: skip
"""What words that are states look like: green is good, yellow waits for an action, red is wrong."""


def _style(text: str) -> str:
    return _STYLES.get(text, "")


def in_one_line(text: str) -> str:
    """Return a text in which what would end a line or move a cursor, or is no Unicode, is written as an escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


Progress = LineProgress | BarProgress | QuietProgress


def progress(store: str | None = None, *, quiet: bool = False) -> Progress:
    """Return bars on a terminal, lines elsewhere; only warnings where it should be quiet."""
    if quiet:
        return QuietProgress(store)
    return BarProgress(store) if sys.stderr.isatty() else LineProgress(store)


def amount(n: float, unit: str) -> str:
    """Return a number with its unit: 12 files, 3.4 GB."""
    return size(n) if unit == "B" else f"{n:,.0f} {unit}"


def per_second(rate: float, unit: str) -> str:
    """Return a rate: 12/s; below one a second as what each takes, 3.2 s/step."""
    return f"{rate:.3g}/s" if rate >= 1 or not rate else f"{1 / rate:.3g} s/{unit.removesuffix('s')}"


def some(names: Sequence[str], *, shown: int = 3) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def base_names(paths: Sequence[str]) -> str:
    """Return the first paths, each by as many of its last parts as tell them all apart, and how many more there are."""
    parts = [path.split("/") for path in paths]
    n = next((n for n in range(1, 8) if len({tuple(each[-n:]) for each in parts}) == len({*paths})), 8)
    return some(["/".join(each[-n:]) for each in parts])


def not_read(recordings: Mapping[str, Sequence[str]], labels: Sequence[str]) -> list[tuple[str, str]]:
    """Return rows that count what of a corpus is not read: recordings by format, and label files."""
    rows = [("not read", f"{len(paths)} {form}: {base_names(paths)}") for form, paths in recordings.items()]
    if labels:
        rows.append(("labels not read", f"{many(len(labels), 'file')} of no recording: {base_names(labels)}"))
    return rows


def quality(worst: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return a row with the worst quality of some recordings and the reason, none where nothing is against any."""
    if worst is None:
        return []
    name, score, reason = base_names([worst["recording"]]), worst["score"], worst["reason"]
    return [("quality", f"{score} of 100 or more" + (f"; {name}: {reason}" if score < 100 else ""))]


def recipe_name(described: Mapping[str, Any]) -> str:
    """Return a recipe's name, with a warning where its bytes may differ between machines."""
    return str(described["name"]) + ("" if described["exact"] else " (floats: no promise of equal bytes)")


def many(n: int, noun: str) -> str:
    """Return a count with its noun: 1 seizure, 2 seizures."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def duration(seconds: float) -> str:
    """Return seconds as people say them: 4.2 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
