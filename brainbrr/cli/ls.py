"""`brainbrr ls`: the recordings of a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import RECIPE, Session, command, selects
from brainbrr.cli.output import Output, duration, many, size
from brainbrr.errors import UsageError

if TYPE_CHECKING:
    from brainbrr.look.listing import Listing

_COLUMNS = ("recording", "patient", "session", "split", "length", "rate", "montage", "seizures", "quality")
_SHOWN = (*_COLUMNS, "bytes", "since", "state")
_FIRST_TO_GO = ("since", "session", "montage", "bytes", "patient", "rate", "quality", "split")
"""Columns that a narrow terminal leaves out, one after the other."""
_NUMBERS = ("length", "rate", "seizures", "quality", "bytes")


@command("ls", exits=(4, 8), example="brainbrr ls --split train --where 'seizures>0' --where 'quality<80'")
@selects(corpus="all")
@click.option(
    "--recipe",
    type=RECIPE,
    metavar="NAME|FILE",
    help="Under which recipe. Default: for each corpus the one that most of its recordings are stored under.",
)
@click.option("--columns", metavar="A,B", help="Which columns, in this order: any that --where takes.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "parquet", "json"]), default="table", show_default=True
)
@click.option("--out", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write csv or parquet to a file.")
def ls(
    session: Session,
    *,
    corpus: str | None,
    profile: str,
    split: str | None,
    where: tuple[tuple[str, str], ...],
    recipe: str | None,
    columns: str | None,
    form: str,
    out: Path | None,
) -> int:
    """List recordings: patient, split, length, rate, montage, seizures, quality, bytes, and since when.

    --where selects by any column: path, patient, session, split, state, length_s, rate_hz, montage, absent, labelled,
    seizures, seizure_s, quality, bytes, edf_bytes, since, synthetic, reason, source, key, content. Texts take shell
    wildcards; numbers and dates take <, <=, >, >= and !=.
    """
    from brainbrr.look.listing import check_columns
    from brainbrr.look.listing import ls as run
    from brainbrr.views.recipes import find_recipe

    names = tuple(name.strip() for name in columns.split(",")) if columns else ()
    check_columns(names)
    if out and form not in ("csv", "parquet"):
        raise UsageError("--out needs --format csv or parquet")
    store = session.readable_store()
    listing = run(
        store,
        profiles=lambda name: session.settings.profile_of(name, profile),
        corpus=corpus,
        split=split,
        where=where,
        recipe=find_recipe(store, recipe) if recipe else None,
        host=session.settings.host,
    )
    if form in ("csv", "parquet"):
        _write(listing.encoded(form, names), form, out)
    else:
        session.out.as_json |= form == "json"
        session.show(listing, lambda out, listing: table(out, listing, names))
    return 0


def _write(data: bytes, form: str, out: Path | None) -> None:
    if out:
        out.write_bytes(data)
        return
    if form == "parquet" and sys.stdout.isatty():
        raise UsageError("Parquet is no text", fix="write it to a file: --out FILE.parquet")
    sys.stdout.buffer.write(data)


def table(out: Output, listing: Listing, columns: tuple[str, ...] = ()) -> None:
    """Show the recordings; on a narrow terminal fewer columns."""
    if columns:
        out.table(columns, [["" if row[name] is None else row[name] for name in columns] for row in listing.rows])
    else:
        corpora = {row["corpus"] for row in listing.rows}
        head: tuple[str, ...] = ("corpus", *_SHOWN) if len(corpora) > 1 else _SHOWN
        if any(row["remote"] for row in listing.rows):
            head = (*head, "remote")
        names = _names([str(row["path"]) for row in listing.rows])
        cells = [_cells(row, name) for row, name in zip(listing.rows, names, strict=True)]
        out.table(
            head, [[row[name] for name in head] for row in cells], numbers=_NUMBERS, droppable=_FIRST_TO_GO, cards=False
        )
    hours = sum(float(row["length_s"] or 0) for row in listing.rows) / 3600
    patients = len({(row["corpus"], row["patient"]) for row in listing.rows})
    out.note(f"{many(len(listing.rows), 'recording')} of {many(patients, 'patient')}, {hours:.2f} h")


def _names(paths: list[str]) -> list[str]:
    """Return the file names without .edf, or whole paths where two files have one name."""
    names = [path.rsplit("/", 1)[-1].removesuffix(".edf") for path in paths]
    return names if len({*names}) == len(names) else paths


def _cells(row: dict[str, Any], name: str) -> dict[str, str]:
    def shown(column: str, form: Any = str) -> str:
        return "-" if row[column] is None else form(row[column])

    return {
        "recording": name,
        **{column: shown(column) for column in ("corpus", "patient", "session", "split", "montage", "state", "remote")},
        "length": shown("length_s", duration),
        "rate": shown("rate_hz", lambda rate: f"{rate:g} Hz"),
        "seizures": shown("seizures"),
        "quality": shown("quality"),
        "bytes": shown("bytes", size),
        "since": shown("since", lambda text: text[:10]),
    }
