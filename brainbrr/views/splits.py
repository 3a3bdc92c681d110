"""Splits and aliases that a person gives: which split a patient is in, and which names are one patient.

Reads TOML files of `split` and tables of patients, and applies them to catalog rows. Reads no signal; writes nothing.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from brainbrr.core.toml import read_toml
from brainbrr.eeg.corpus.census import format_of
from brainbrr.errors import ConfigError, Fix, IntegrityError, LeakError, UsageError
from brainbrr.profiles import SPLITS, Candidate
from brainbrr.store.catalog import Catalog, Row

FORMAT = 1
MAX_BYTES = 1 << 24
_NAMES = {
    **{name: name for name in SPLITS},
    "training": "train",
    **dict.fromkeys(("val", "valid", "validation", "development"), "dev"),
    **dict.fromkeys(("test", "testing", "evaluation"), "eval"),
    **dict.fromkeys(("", "n/a"), "none"),
}
"""What a table may call a split, in lower case."""
_PATIENT_COLUMNS = ("patient", "patient_id", "participant_id", "subject", "subject_id")


@dataclass(frozen=True)
class Aliases:
    """Other names of a patient. A name is PATIENT in any corpus, or CORPUS/PATIENT; CORPUS/* is all of a corpus.

    Raises ConfigError where names lead in a circle.
    """

    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            corpus, slash, patient = name.rpartition("/")
            self.person(corpus if slash else "*", patient)

    def person(self, corpus: str, patient: str) -> str:
        """Return the one CORPUS/PATIENT of all names of a patient."""
        name = patient if "/" in patient else f"{corpus}/{patient}"
        seen = {name}
        while (other := self._other(*name.split("/", 1))) is not None:
            if other in seen:
                raise ConfigError(f"the aliases of {other} lead in a circle", fix="let each name lead to one other")
            seen.add(other)
            name = other
        return name

    def name(self, corpus: str, patient: str) -> str:
        """Return the same as a patient of a corpus: without its name where the patient is of this corpus."""
        return self.person(corpus, patient).removeprefix(f"{corpus}/")

    def _other(self, corpus: str, patient: str) -> str | None:
        found = self.names.get(f"{corpus}/{patient}", self.names.get(patient))
        if found is None and f"{corpus}/*" in self.names:
            found = self.names[f"{corpus}/*"].removesuffix("*") + patient
        return found if found is None or "/" in found else f"{corpus}/{found}"


@dataclass(frozen=True)
class Splits:
    """The split of each patient, None for that of the corpus's folders, and the aliases of patients.

    `corpus`: the only one that `patients` are of, None for whichever is opened. `source` says where they are from;
    `given` are the words of a command that gave them, none where they are from elsewhere. It is written nowhere.
    """

    patients: Mapping[str, str] | None = None
    aliases: Aliases = field(default_factory=Aliases)
    corpus: str | None = None
    source: str = ""
    given: tuple[str, ...] = field(default=(), compare=False)

    def apply(self, catalog: Catalog) -> Catalog:
        """Return a catalog with these splits.

        Raises UsageError for a patient without a split, and for another corpus; LeakError for one in two splits.
        """
        found = self.assigned(catalog)
        self._check_apart(found.corpus, found.rows.values())
        return found

    def assigned(self, catalog: Catalog) -> Catalog:
        """Return a catalog with these splits, even where a patient is in two of them. Raises as `splits_of`."""
        if self.patients is None:
            return catalog
        split_of = self.splits_of(catalog.corpus, catalog.rows.values())
        rows = {path: row.model_copy(update={"split": split_of[row.patient]}) for path, row in catalog.rows.items()}
        return replace(catalog, rows=rows)

    def splits_of(self, corpus: str, recordings: Iterable[Candidate]) -> dict[str, str]:
        """Return the split of each patient of recordings; without splits, the one that it has.

        Raises UsageError for a patient without a split, and for another corpus.
        """
        found = list(recordings)
        if self.patients is None:
            return {each.patient: each.split for each in found}
        if self.corpus not in (None, corpus):
            raise UsageError(
                f"the splits are of corpus {self.corpus}, not of {corpus}",
                where=self.source,
                fix=f"take --corpus {self.corpus}, or the splits of {corpus}",
            )
        names = sorted({each.patient for each in found})
        readable = {each.patient for each in found if format_of(each.path) is None}
        split_of = {name: self._split_of(corpus, name) for name in names}
        if lacking := [name for name, split in split_of.items() if split is None and name in readable]:
            raise UsageError(
                f"no split is given for {len(lacking)} of {len(names)} patients: {', '.join(lacking[:5])}",
                where=self.source,
                fix='name each of them, with split "none" to leave it out',
            )
        return {name: split or "none" for name, split in split_of.items()}

    def renamed(self, corpus: str, rows: Iterable[Row]) -> tuple[Row, ...]:
        """Return rows whose patient goes by the one name of all its aliases."""
        names = ((row, self.aliases.name(corpus, row.patient)) for row in rows)
        return tuple(row if row.patient == name else row.model_copy(update={"patient": name}) for row, name in names)

    def of(self, corpus: str) -> Splits:
        """Return what applies to a corpus: without the splits of another one."""
        return self if self.corpus in (None, corpus) else replace(self, patients=None)

    def _split_of(self, corpus: str, patient: str) -> str | None:
        assert self.patients is not None
        name = self.aliases.name(corpus, patient)
        return next((self.patients[each] for each in (patient, name) if each in self.patients), None)

    def _check_apart(self, corpus: str, rows: Iterable[Row]) -> None:
        """Raise LeakError for a patient, under any of its names, in two splits."""
        seen: dict[str, dict[str, str]] = defaultdict(dict)
        for row in rows:
            if row.split != "none":
                seen[self.aliases.person(corpus, row.patient)].setdefault(row.split, row.patient)
        for person, names in sorted(seen.items()):
            if len(names) > 1:
                places = " and ".join(f"{split} (as {name})" for split, name in sorted(names.items()))
                raise LeakError(
                    f"patient {person} is in {places}",
                    where=self.source or corpus,
                    fix="give all names of a patient one split",
                )

    def to_json(self) -> dict[str, Any]:
        """Return what a frozen view keeps."""
        return {
            "patients": None if self.patients is None else dict(self.patients),
            "aliases": dict(self.aliases.names),
            "corpus": self.corpus,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Splits:
        """Return what to_json gave. Raises IntegrityError for anything else."""
        try:
            patients, aliases, corpus, source = (value[name] for name in ("patients", "aliases", "corpus", "source"))
            texts = [*(patients or {}).items(), *aliases.items(), (corpus or "", source)]
            if all(isinstance(text, str) for pair in texts for text in pair):
                return cls(patients, Aliases(aliases), corpus, source)
        except (KeyError, TypeError, AttributeError):
            pass
        raise IntegrityError("the frozen view's splits are not what brainbrr writes")


def load_splits(
    splits: str | Path | None = None,
    aliases: Mapping[str, str] | str | Path | None = None,
    *,
    kept: Mapping[str, Any] | None = None,
) -> Splits | None:
    """Return the splits of FILE or FILE:N, with their aliases and those given; None where nothing is given.

    FILE is a TOML file of `brainbrr split`, of which N chooses the fold for eval (default: 1), or a table of patients
    with a column `split`, or with a column N. `kept` is what a frozen view keeps: it holds where nothing else is
    given. Raises ConfigError for a file that is none of them.
    """
    before = Splits.from_json(kept) if kept else None
    found = _read(splits) if splits is not None else before
    if aliases is None and found is before:
        return found
    found = found or Splits()
    names = {**(before.aliases.names if before else {}), **found.aliases.names, **_aliases_of(aliases)}
    given = ("--aliases", str(aliases)) if isinstance(aliases, str | Path) else ()
    return replace(found, aliases=Aliases(names), given=(*found.given, *given))


def _aliases_of(aliases: Mapping[str, str] | str | Path | None) -> dict[str, str]:
    if aliases is None or isinstance(aliases, Mapping):
        return dict(aliases or {})
    file = Path(aliases)
    table = _toml(file)
    return _texts(table["aliases"] if isinstance(table.get("aliases"), dict) else table, file, "aliases")


def _read(splits: str | Path) -> Splits:
    file, part = Path(splits), ""
    if not file.exists():
        name, _, part = str(splits).rpartition(":")
        file, part = (Path(name), part) if name else (file, "")
    found = _from_toml(file, part) if file.suffix.lower() == ".toml" else _from_table(file, part)
    return replace(found, given=("--splits", str(splits)))


def _from_toml(file: Path, part: str) -> Splits:
    table = _toml(file)
    if table.get("format") != FORMAT:
        raise ConfigError(f"format = {table.get('format')!r:.40}; splits are of format {FORMAT}", where=file)
    fold_of, choices = table.get("patients"), table.get("split")
    if not isinstance(fold_of, dict) or not isinstance(choices, dict):
        raise ConfigError(
            "the tables [patients] and [split.1] are missing",
            where=file,
            fix=Fix(("split", "-o", "folds.toml"), " writes a file that has them"),
        )
    chosen = choices.get(part or "1")
    if not isinstance(chosen, dict):
        raise ConfigError(f"there is no [split.{part or 1}]", where=file, fix=f"there are: {', '.join(choices)}")
    split_of: dict[int, str] = {}
    for name, folds in chosen.items():
        if name not in SPLITS or not isinstance(folds, list) or not all(type(fold) is int for fold in folds):
            raise ConfigError(f"[split.{part or 1}] {name}: a list of folds is meant", where=file, fix="train = [2, 3]")
        for fold in folds:
            if split_of.setdefault(fold, name) != name:
                raise ConfigError(f"[split.{part or 1}]: fold {fold} is in {split_of[fold]} and {name}", where=file)
    for patient, fold in fold_of.items():
        if type(fold) is not int or fold not in split_of:
            raise ConfigError(f"[patients] {patient} = {fold!r}: in no list of [split.{part or 1}]", where=file)
    corpus = table.get("corpus")
    if not isinstance(corpus, str | None):
        raise ConfigError(f"corpus = {corpus!r}: not a name", where=file)
    aliases = Aliases(_texts(table.get("aliases", {}), file, "aliases"))
    patients = {patient: split_of[fold] for patient, fold in fold_of.items()}
    return Splits(patients, aliases, corpus, f"{file.name}:{part or 1}")


def _from_table(file: Path, column: str) -> Splits:
    """Return the splits of a table with a header, or of two columns: patient and split."""
    rows = [row for row in csv.reader(_text(file).splitlines(), delimiter="\t") if any(cell.strip() for cell in row)]
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    patient = next((name for name in _PATIENT_COLUMNS if name in head), None)
    wanted = (column or "split").lower()
    if patient is None and not column and len(head) == 2 and head[1] in _NAMES:
        first, second, body = 0, 1, rows
    elif patient is None or wanted not in head:
        lacking = f"{wanted!r}" if patient else "of patients"
        raise ConfigError(
            f"there is no column {lacking}",
            where=file,
            fix=f"columns: {', '.join(head) or 'none'}; separate them by tabs, call one of them patient",
        )
    else:
        first, second, body = head.index(patient), head.index(wanted), rows[1:]
    patients: dict[str, str] = {}
    for row in body:
        cells = [cell.strip() for cell in row]
        name, word = (cells[place] if place < len(cells) else "" for place in (first, second))
        split = _NAMES.get(word.lower())
        if not name or split is None:
            fix = f"splits: {', '.join(SPLITS)}"
            raise ConfigError(f"patient {name!r}: {word!r:.40} is no split", where=file, fix=fix)
        if patients.setdefault(name, split) != split:
            raise ConfigError(f"patient {name} is in {patients[name]} and in {split}", where=file)
    return Splits(patients, source=f"{file.name}:{column}" if column else file.name)


def _toml(file: Path) -> dict[str, Any]:
    try:
        return read_toml(file)
    except FileNotFoundError:
        raise ConfigError("the file is not there", where=file) from None


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ConfigError(f"more than {MAX_BYTES:,} bytes", where=file)
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8: {error.reason}", where=file) from None
    except FileNotFoundError:
        raise ConfigError("the file is not there", where=file, fix=Fix(("split", "--folds", "5", "-o", file))) from None
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror}", where=file) from None


def _texts(table: Any, file: Path, name: str) -> dict[str, str]:
    """Return a table of names. Raises ConfigError for anything else."""
    if not isinstance(table, dict) or not all(isinstance(value, str) and value for value in table.values()):
        raise ConfigError(f"[{name}]: NAME = NAME is meant", where=file, fix='write chb21 = "chb01"')
    return dict(table)
