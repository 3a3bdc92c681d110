"""`brainbrr check`: the gate for CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brainbrr.cli.app import Session, command, recipe_option, selects, splits_options
from brainbrr.cli.output import Output, many, not_read
from brainbrr.cli.verify import repairs
from brainbrr.errors import Fix

if TYPE_CHECKING:
    from brainbrr.views.check import CheckReport

_SHOWN = 10


@command(
    "check",
    exits=(3, 4, 5),
    example="brainbrr check --require no-duplicates,complete,verified,no-leaks --profile full",
)
@click.option(
    "--require",
    default="no-duplicates,complete,verified,no-leaks",
    show_default=True,
    metavar="A,B",
    help="What must hold.",
)
@selects(corpus="all")
@recipe_option
@splits_options
def check(
    session: Session,
    *,
    require: str,
    corpus: str | None,
    profile: str,
    split: str | None,
    where: tuple[tuple[str, str], ...],
    recipe: str,
    splits: str | None,
    aliases: Path | None,
) -> int:
    """Fail if the store has duplicate arrays, missing or damaged objects, or a patient in two splits.

    `complete` and `no-leaks` apply to --corpus, --profile, --split and --where, the others to the store. Reads the
    store alone; `view` shows whether EDF or label files changed since.
    """
    from brainbrr.views.check import check as run
    from brainbrr.views.recipes import find_recipe
    from brainbrr.views.splits import Splits, load_splits

    store = session.store()
    report = run(
        store,
        require=[name.strip() for name in require.split(",") if name.strip()],
        settings=session.settings,
        profile=profile,
        corpus=corpus,
        split=split,
        where=where,
        recipe=find_recipe(store, recipe),
        splits=load_splits(splits, aliases) or Splits(),
        progress=session.progress(),
    )
    session.show(report, table)
    return report.exit_code


def table(out: Output, report: CheckReport) -> None:
    """Show each requirement and what breaks it."""
    problems = {
        "no-duplicates": [
            f"{d.get('content', d.get('source'))}: {', '.join(d.get('copies', d.get('objects', ())))}"
            for d in report.duplicate_objects
        ],
        "complete": [
            f"{' '.join(filter(None, (m['corpus'], m['recording']))) or 'store'}: {m['reason']}" for m in report.missing
        ],
        "verified": [f"{c.name}: {c.reason}" for c in report.corrupt],
        "no-leaks": [f"{x['kind']} {x['value']} in {' and '.join(x['splits'])}" for x in report.leaks],
    }
    rows = [("objects", f"{report.objects}, {len(report.orphans)} without a record")]
    for name, those in problems.items():
        verdict = "ok" if not those else many(len(those), "problem")
        rows.append((name, verdict if name in report.required else f"{verdict} (not required)"))
        rows += [("", problem) for problem in those[:_SHOWN]]
        if len(those) > _SHOWN:
            rows.append(("", f"and {len(those) - _SHOWN} more; --json lists all"))
    for each in report.not_read:
        rows += not_read({f"{each['format']} of {each['corpus']}": each["recordings"]}, ())
    for each in report.labels_unread:
        rows += not_read({}, each["files"])
    if report.missing and "complete" in report.required:
        corpora = sorted({each["corpus"] for each in report.missing if each["corpus"]})
        rows += [("fix", Fix(("view", "--corpus", corpus), " shows what is missing")) for corpus in corpora[:_SHOWN]]
    out.pairs([*rows, *repairs(report.corrupt)])
