"""`brainbrr ingest`: recordings in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainbrr.cli.app import PROFILES, Session, accepts, command, options, recipe_option, splits_options
from brainbrr.cli.output import Output, base_names, duration, many, not_read, quality, recipe_name, size, some
from brainbrr.errors import UsageError

if TYPE_CHECKING:
    from brainbrr.eeg.corpus.terms import Access
    from brainbrr.engines.engine import Engine
    from brainbrr.ingest.ingest import IngestReport
    from brainbrr.ingest.options import Labels
    from brainbrr.ingest.plan import Plan
    from brainbrr.store.formats import Codec

_KINDS_SHOWN = 10
_BELONGS_TO = {
    "scheduler": "dask",
    "max_jobs": "slurm",
    "partition": "slurm",
    "time": "slurm",
    "memory": "slurm",
    "sbatch": "slurm",
    "jobs": "slurm",
}

name_option = click.option("--corpus", metavar="NAME", help="Name of the corpus. Default: its folder's name.")
labels_option = click.option(
    "--labels",
    type=click.Choice(["found", "optional", "none"]),
    default="found",
    show_default=True,
    help="`optional` leaves recordings without a label file unlabelled; `none` declares the corpus unlabelled.",
)
width_options = options(
    click.option(
        "--executor",
        type=click.Choice(["local", "dask", "slurm"]),
        default="local",
        show_default=True,
        help="Where recordings are built. Workers elsewhere need this brainbrr and the same paths.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1),
        metavar="N",
        help="Processes here (1: this one; default: all cores), or of each SLURM job (default: 1). Dask has its own.",
    ),
    click.option("--scheduler", metavar="ADDRESS", help="dask: tcp://HOST:PORT. Default: DASK_SCHEDULER_ADDRESS."),
    click.option("--max-jobs", type=click.IntRange(min=1), metavar="N", help="slurm: jobs of the array. Default: 16."),
)
_submission_options = options(
    click.option("--partition", metavar="NAME", help="slurm: where the jobs run."),
    click.option("--time", type=click.IntRange(min=1), metavar="MIN", help="slurm: minutes of a job. Default: 240."),
    click.option("--memory", type=click.IntRange(min=1), metavar="GB", help="slurm: GB of a job. Default: SLURM's."),
    click.option(
        "--sbatch", multiple=True, metavar="KEY[=VALUE]", help="slurm: any other sbatch option, as account=lab."
    ),
    click.option(
        "--jobs", metavar="DIR", help="slurm: scripts and logs; all nodes must see it. Default: jobs/ beside the store."
    ),
)


@command("ingest", exits=(4, 6, 8), example="brainbrr ingest data_ext4/tusz --profile smoke")
@click.argument("root", type=click.Path(path_type=Path))
@name_option
@click.option("--profile", type=PROFILES, help="Only this profile's recordings. Default: all.")
@splits_options
@recipe_option
@width_options
@_submission_options
@labels_option
@click.option(
    "--patient-from",
    metavar="folder|file|REGEX",
    help='What names patients: the folder that holds a recording, its file name up to the first "_", or a regular '
    "expression, searched for in its path. It is kept. Default: the layout.",
)
@click.option(
    "--access",
    type=click.Choice(["open", "credentialed", "private"]),
    help="Who may have the corpus; `push` asks. It is kept.",
)
@click.option("--terms", metavar="URL", help="With --access: the page that says so.")
@click.option("--relabel", is_flag=True, help="Let a corpus that has labels become an unlabelled one.")
@click.option("--codec", type=click.Choice(["none", "zstd"]), help="How a new store compresses tiles. Default: none.")
@click.option("--dry-run", is_flag=True, help="Show what would be built, what it needs and how long it takes.")
@accepts(
    refused="record refused recordings as omitted, so that views count as ready",
    truncated="store the complete records of truncated files, and record that",
    removed="let most of a corpus leave the catalog",
    label_length="cut labels that go past the end of their signal",
    contacts="store electrodes that seem to be contacts of depth or grid electrodes",
)
@click.option(
    "--label-map",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help='What your own labels mean, as TOML: ied = "unknown" (or "background", "seizure"). It is kept.',
)
@click.option(
    "--checksums",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Compare each EDF with its SHA-256 in FILE, as PhysioNet's SHA256SUMS.txt; refuse what differs.",
)
@click.option(
    "--rehash", is_flag=True, help="Hash every file again, verify stored objects, and rebuild the damaged ones."
)
@click.option("--copy", is_flag=True, help="Bring into the store what its remotes have; else it is used there.")
@click.option("--push", metavar="REMOTE", help="Send each object there as it is built; build none that it has.")
def ingest(
    session: Session,
    *,
    root: Path,
    corpus: str | None,
    profile: str | None,
    splits: str | None,
    aliases: Path | None,
    recipe: str,
    workers: int | None,
    labels: Labels,
    relabel: bool,
    patient_from: str | None,
    access: Access | None,
    terms: str | None,
    codec: Codec | None,
    dry_run: bool,
    accept: frozenset[str],
    label_map: Path | None,
    checksums: Path | None,
    rehash: bool,
    copy: bool,
    push: str | None,
    **executor: Any,
) -> int:
    """Store every recording below ROOT that is not stored yet. Running it again recovers from anything.

    Ctrl-C keeps what is done and cancels what waits at Dask and all SLURM jobs. SLURM jobs keep running when this
    process is killed. In both cases, the same command continues from there.
    What a remote of the store has is not built. With --push, machines without a common disk fill one bucket together.
    A dry run writes nothing to the store. It measures the time on this machine and divides it by the width of the
    executor, without the time in queues; for SLURM it shows the script.
    """
    from brainbrr.eeg.corpus.terms import given_terms
    from brainbrr.eeg.corpus.tree import locate
    from brainbrr.eeg.corpus.vocabulary import read_label_map
    from brainbrr.ingest.checksums import read_checksums
    from brainbrr.ingest.ingest import ingest as run
    from brainbrr.ingest.options import IngestOptions
    from brainbrr.share.fill import ingest_to
    from brainbrr.store.remotes import find
    from brainbrr.views.recipes import find_recipe
    from brainbrr.views.splits import load_splits

    name = locate(root, name=corpus).name
    asked = IngestOptions(
        root=root,
        store=session.location,
        corpus=corpus,
        profile=session.settings.profiles_of(name)[profile] if profile else None,
        splits=load_splits(splits, aliases),
        recipe=find_recipe(session.store_if_there(), recipe),
        workers=workers,
        engine=engine_of(session, workers=workers, **executor),
        labels=labels,
        relabel=relabel,
        patient_from=patient_from,
        terms=given_terms(access, terms),
        codec=codec,
        dry_run=dry_run,
        accept=accept,
        label_map=read_label_map(label_map) if label_map else None,
        checksums=read_checksums(checksums) if checksums else None,
        rehash=rehash,
        host=session.settings.host,
        copy=copy,
    )
    if push is None:
        report = run(asked, progress=session.progress())
    else:
        remote = find(session.store_if_there(), push)
        report = ingest_to(asked, remote, host=session.settings.host, progress=session.progress())
    session.show(report, table)
    return report.exit_code


def engine_of(session: Session, *, executor: str, workers: int | None, **given: Any) -> Engine | None:
    """Return the engine that the options name, None for this machine's own. Raises UsageError where they disagree."""
    for name, home in _BELONGS_TO.items():
        if (given.get(name) or session.given.get(name)) and executor != home:
            raise UsageError(f"--{name.replace('_', '-')} goes with --executor {home}")
    if executor == "dask":
        from brainbrr.engines.dask import Dask

        if workers:
            raise UsageError("--workers does not go with --executor dask", fix="start the workers with `dask worker`")
        if session.settings.scheduler is None:
            raise UsageError("which Dask scheduler?", fix="--scheduler tcp://HOST:PORT, or set DASK_SCHEDULER_ADDRESS")
        return Dask(session.settings.scheduler)
    if executor == "slurm":
        from brainbrr.engines.slurm import Slurm

        chosen: dict[str, Any] = {
            "max_jobs": given.get("max_jobs"),
            "workers": workers,
            "partition": given.get("partition"),
            "minutes": given.get("time"),
            "memory_gb": given.get("memory"),
            "more": dict(map(_sbatch, given.get("sbatch", ()))),
        }
        return Slurm(session.settings.jobs.value, **{name: value for name, value in chosen.items() if value})
    return None


def _sbatch(text: str) -> tuple[str, str | bool]:
    name, equals, value = text.partition("=")
    return name.lstrip("-"), value if equals else True


def table(out: Output, report: IngestReport) -> None:
    """Show what one ingest did."""
    done = "would ingest" if report.dry_run else "ingested"
    out.title(f"{done} {report.corpus}, recipe {recipe_name(report.recipe.described())}")
    counts = {"new": report.new, "reused": report.reused, "relabelled": report.relabelled, "failed": len(report.failed)}
    line = " · ".join(f"{n} {name}" for name, n in counts.items())
    rows = [("recordings", f"{report.recordings}: {line}")]
    rows.append(("patients", f"{len(report.patients)}: {some(report.patients)} (from {report.patient_rule})"))
    rows += not_read(report.not_read, report.labels_unread)
    rows += quality(report.worst_quality)
    if report.relabelled_elsewhere:
        rows.append(("relabelled", f"{report.relabelled_elsewhere} more outside the profile"))
    if report.removed:
        rows.append(("removed", f"{report.removed} no longer below the root"))
    if report.plan is not None:
        rows += _planned(report.plan)
    else:
        rows += [
            ("read", size(report.bytes_read)),
            ("written", f"{size(report.bytes_written)} to {report.store}"),
            ("time", duration(report.seconds)),
        ]
    for name, n in report.from_remotes.items():
        rows.append(("from remote", f"{n} from remote {name}, {'copied' if report.copied else 'which stay there'}"))
    if report.pushed is not None:
        sent = f"{many(report.pushed['objects'], 'object')}, {size(report.pushed['bytes'])}"
        rows.append(("pushed", f"{sent} to {report.pushed['remote']}"))
    for name, paths in (("entered", report.entered), ("left", report.left)):
        if paths:
            rows.append((name, f"{len(paths)} at the limit of {report.profile}: {base_names(paths)}"))
    out.pairs(rows)
    notes = Counter(note for notes in report.notes.values() for note in notes)
    for note, n in notes.most_common(_KINDS_SHOWN):
        out.note(f"note: {note}" + (f" ({n} recordings)" if n > 1 else ""))
    if len(notes) > _KINDS_SHOWN:
        out.note(f"note: {len(notes) - _KINDS_SHOWN} more kinds; --json lists all")
    _refused(out, report)
    for paths in report.contradictions:
        out.note(f"problem: the same bytes with different labels, so no view takes them: {', '.join(paths)}")
    if report.contradictions:
        out.note("fix: delete the copies, or give all of them the same labels; then ingest again")
    if report.plan is not None and report.plan.no_space:
        out.note(f"not enough space: {report.plan.no_space}")
    if report.script is not None:
        out.title("would submit")
        out.text(report.script)


def _planned(plan: Plan) -> list[tuple[str, str]]:
    """Return what an ingest would need, and how long it would take."""
    if plan.seconds_estimate is None:
        estimate = "unknown: no recording could be measured"
    elif plan.seconds_estimate == 0:
        estimate = "none: nothing to build"
    else:
        estimate = f"{duration(plan.seconds_estimate)} on {plan.executor}, if each place is as fast as the "
        estimate += f"{many(plan.sampled, 'recording')} preprocessed here"
    differ = []
    if plan.lengths_differ:
        most = f"{abs(plan.largest_difference_s):g} s {'longer' if plan.largest_difference_s > 0 else 'shorter'}"
        differ = [
            ("labels", f"of {many(plan.lengths_differ, 'recording')} differ in length from the signal, at most {most}")
        ]
    identify = (
        [("to identify", f"{plan.to_identify}: stored by path and size, not hashed on this machine yet")]
        if plan.to_identify
        else []
    )
    return [
        *identify,
        *differ,
        ("signal", f"{plan.hours:.2f} h, {many(plan.labelled, 'recording')} with labels, {plan.stored} stored already"),
        ("EDF", size(plan.bytes_source)),
        ("space", f"{size(plan.bytes_needed)} needed, {size(plan.bytes_free)} free"),
        ("inodes", f"{plan.inodes_needed:,} needed, {plan.inodes_free:,} free"),
        ("time", estimate),
    ]


def _refused(out: Output, report: IngestReport) -> None:
    if not report.failed:
        return
    out.title("refused")
    by_reason: dict[tuple[str, bool], list[str]] = {}
    for failure in report.failed:
        by_reason.setdefault((failure.reason, failure.accepted), []).append(failure.recording)
    out.table(
        ("recordings", "reason", "accepted"),
        [(base_names(paths), reason, "yes" if accepted else "no") for (reason, accepted), paths in by_reason.items()],
    )
    out.fixes(failure.fix for failure in report.failed if not failure.accepted)
    if report.exit_code:
        out.note("then ingest again; or leave the refused recordings out with --accept refused")
