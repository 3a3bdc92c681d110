"""What one ingest is asked to do: a frozen value that every stage reads and none changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from brainbrr.core.statcache import Host
from brainbrr.eeg.corpus.terms import Terms
from brainbrr.eeg.corpus.vocabulary import Meaning, is_label_map
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.engines.engine import Engine
from brainbrr.errors import UsageError
from brainbrr.profiles import Profile
from brainbrr.store.catalog import Catalog
from brainbrr.store.formats import Codec
from brainbrr.store.remotes import Remote
from brainbrr.store.store import Store
from brainbrr.views.splits import Splits

ACCEPT = ("refused", "truncated", "removed", "label-length", "contacts")
"""What can be accepted."""


class Sink(Protocol):
    """A remote that an ingest fills."""

    @property
    def remote(self) -> Remote:
        """The remote."""

    def begin(self, store: Store, catalog: Catalog, here: Mapping[str, Path]) -> None:
        """Prepare for what an ingest sends; `catalog`: as it would be published now, `here`: EDFs by key.

        Raises AccessError where the corpus's terms forbid it.
        """

    def add(self, keys: Iterable[str]) -> None:
        """Send what the store has of some keys; returns at once."""


Labels = Literal["found", "optional", "none"]


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """What to ingest, into which store, and what to accept.

    Parameters
    ----------
    root : Path
        The folder of the corpus.
    store : Path
        The location of the store, which is created where there is none; a dry run creates nothing.
    corpus : str, optional
        The corpus's name. Default: the name of its folder.
    profile : Profile, optional
        Store only the recordings of this profile; labels are read of all. Default: all recordings.
    splits : Splits, optional
        Which split each patient is in, for the profile. Default: by the corpus's folders.
    recipe : Recipe
        What the stored numbers are.
    workers : int, optional
        Processes that hash and build. Default: all cores.
    engine : Engine, optional
        Where recordings are built. Default: `workers` processes on this machine.
    labels : {"found", "optional", "none"}
        "found": a recording without a label file is refused. "optional": it is unlabelled. "none" declares that the
        corpus has no labels.
    patient_from : str, optional
        What names the patient of a recording: "folder" (the one that holds it), "file" (its name up to the first "_"),
        or a regular expression. Default: as the ingest before, at first by the layout. The catalog keeps it.
    terms : Terms, optional
        Who may have the corpus. Default: as the ingest before; at first what its publisher says, where that is known.
    relabel : bool
        Let a corpus that has labels become an unlabelled one.
    codec : {"none", "zstd"}, optional
        How a new store keeps its tiles; an existing store must have the same.
    dry_run : bool
        Report what an ingest would do and need; write nothing to the store.
    accept : set of {"refused", "truncated", "removed", "label-length", "contacts"}
        "refused": record refused recordings as omitted. "truncated": store the complete records of truncated files.
        "removed": let recordings leave the catalog although their disk may only be missing. "label-length": cut labels
        that go past the end of their signal; "truncated" does so as well. "contacts": store electrodes that
        seem to be contacts of depth or grid electrodes.
    label_map : mapping, optional
        What a laboratory's own labels mean: "seizure", "background" or "unknown". Default: the one that the catalog's
        labels were read with.
    checksums : mapping of Path to str, optional
        The SHA-256 of each EDF as its publisher gives it (`checksums.read_checksums`); what differs is refused.
    rehash : bool
        Hash every file again and verify stored objects; damaged ones are built again.
    host : Host, optional
        What this machine remembers of files by their stat, and how it reaches remotes. Default: nothing, so every file
        is read and no remote is asked.
    copy : bool
        Bring into the store what its remotes have. Default: it is used where it is.
    sink : Sink, optional
        A remote that gets each object as it is built, and of which no key is built that it has.
    """

    root: Path
    store: Path
    corpus: str | None = None
    profile: Profile | None = None
    splits: Splits | None = None
    recipe: Recipe = Recipe()  # noqa: RUF009  # frozen
    workers: int | None = None
    engine: Engine | None = None
    labels: Labels = "found"
    patient_from: str | None = None
    terms: Terms | None = None
    relabel: bool = False
    codec: Codec | None = None
    dry_run: bool = False
    accept: frozenset[str] = frozenset()
    label_map: Mapping[str, Meaning] | None = None
    checksums: Mapping[Path, str] | None = None
    rehash: bool = False
    host: Host | None = None
    copy: bool = False
    sink: Sink | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for unknown labels, and for a label map that is none."""
        if self.labels not in get_args(Labels):
            raise UsageError(f"labels = {self.labels!r}", fix=f"one of {', '.join(get_args(Labels))}")
        if self.label_map is not None and not is_label_map(self.label_map):
            raise UsageError(
                f"label_map = {self.label_map!r:.80}",
                fix=f"words in lower case, each with one of {', '.join(get_args(Meaning))}",
            )
