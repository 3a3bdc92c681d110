"""`brainbrr bench`: how fast a view can be read here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import Session, command, recipe_option, selects
from brainbrr.cli.output import Output, many
from brainbrr.errors import Fix, IntegrityError, UsageError

if TYPE_CHECKING:
    from brainbrr.look.bench import BenchReport


@command("bench", exits=(3, 4, 8), example="brainbrr bench --profile full --split train")
@click.option(
    "--view",
    "frozen",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="A view frozen by `brainbrr view --out FILE`. Default: the profile's.",
)
@selects()
@recipe_option
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Windows of a batch.")
@click.option("--device", default="cpu", show_default=True, help="Where batches go: cpu, cuda or cuda:N.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="For each way.")
def bench(session: Session, *, frozen: Path | None, batch: int, device: str, seconds: float, **selected: Any) -> int:
    """Measure how fast each way of reading feeds a model here, compared with copying memory, and what limits it.

    Reads only. For the rows of a cold cache the system is asked to drop the view's files from its cache.
    """
    from brainbrr.look.bench import bench as run
    from brainbrr.views.view import View

    view = View.from_json(session.readable_store(), _read(frozen)) if frozen else session.ready_view(**selected)
    session.show(run(view, batch=batch, device=device, seconds=seconds, progress=session.progress()), table)
    return 0


def _read(path: Path) -> dict[str, Any]:
    """Return what `view --out` wrote. Raises UsageError for what is no JSON object."""
    from brainbrr.core.models import decode_json

    try:
        return decode_json(path.read_bytes(), where=path)
    except IntegrityError as error:
        fix = Fix(("view", "--out", "FILE"))
        raise UsageError(f"this is no frozen view: {error.what}", where=path, fix=fix) from None


def table(out: Output, report: BenchReport) -> None:
    """Show each way of reading beside the limit, what limits it, and the advice."""
    out.title(f"{many(report.recordings, 'recording')}, {report.windows:,} windows of {report.window_s:g} s")
    limit = f"{report.limit_windows_per_second:,.0f} windows/s: {report.limit_gb_per_second:.1f} GB/s of copies"
    out.pairs([("batch", f"{report.batch} windows, to {report.device}; tiles {report.codec}"), ("limit", limit)])
    rows = [[pace.way, f"{pace.windows_per_second:,.0f}", f"{pace.share:.2f}"] for pace in report.paces]
    out.table(["way", "windows/s", "of the limit"], rows)
    out.pairs([("limited by", report.bound), ("advice", report.advice)])
