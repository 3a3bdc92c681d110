"""The words of label files: which are seizures, which are background, and what time without a row is.

Owns vocabularies and a laboratory's own label map. Reads no label file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from brainbrr.core.toml import read_toml
from brainbrr.eeg.edf.timestamps import Note
from brainbrr.errors import ConfigError

Meaning = Literal["seizure", "background", "unknown"]
"""What a label says of a stretch of time; unknown: it may hold a seizure or not."""


@dataclass(frozen=True)
class Vocabulary:
    """The labels that a format may use. Anything else is an error.

    `unknown` labels say that nothing can be read from the signal (an impedance check). `others` are types beside
    seizures and background (artefacts, spikes); corpora that use them annotate what they look for and no more, so in
    a file with one of them only background rows are background. A family covers its name and all that follow it
    after "_" or "-": "sz" is also "sz_foc_ia". Labels are compared in lower case.
    """

    name: str
    seizures: frozenset[str]
    background: frozenset[str]
    others: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    families: tuple[str, ...] = ()

    def find(self, text: str) -> str | None:
        """Return the label as this vocabulary writes it, or None when it is unknown."""
        label = text.lower()
        if label in self._words or self._in_family(label) or self._is_combined(label):
            return label
        return None

    def is_seizure(self, label: str) -> bool:
        """Say whether a label that find() returned is a seizure."""
        return label in self.seizures or (self._in_family(label) and label not in self._words)

    def unannotated(self, labels: Iterable[str]) -> Meaning:
        """Return what time without a row is in a file that uses these labels: background or unknown."""
        return "unknown" if any(label in self.others or self._is_combined(label) for label in labels) else "background"

    def listed(self) -> str:
        """Return all labels as one text, for an error."""
        families = [form for name in self.families for form in (name, f"{name}_...")]
        return ", ".join([*families, *sorted(self._words)])

    def with_map(self, meanings: Mapping[str, Meaning]) -> Vocabulary:
        """Return this vocabulary with a laboratory's own words, or with other meanings for words that it has."""
        words = {word.lower(): meaning for word, meaning in meanings.items()}
        if not words:
            return self

        def of(meaning: Meaning) -> frozenset[str]:
            return frozenset(word for word, each in words.items() if each == meaning)

        return replace(
            self,
            seizures=self.seizures - words.keys() | of("seizure"),
            background=self.background - words.keys() | of("background"),
            unknown=self.unknown - words.keys() | of("unknown"),
            others=self.others - words.keys(),
        )

    @cached_property
    def _words(self) -> frozenset[str]:
        return self.seizures | self.background | self.others | self.unknown

    def _in_family(self, label: str) -> bool:
        return any(label == family or label.startswith((f"{family}_", f"{family}-")) for family in self.families)

    def _is_combined(self, label: str) -> bool:
        """Say whether a label is two others at once, as TUAR writes them: eyem_musc."""
        parts = label.split("_")
        return len(parts) == 2 and all(part in self.others for part in parts)


def read_label_map(path: Path) -> dict[str, Meaning]:
    """Return what a label map says: `ied = "unknown"`, `spike = "background"`, `event = "seizure"`, one word a line.

    Raises ConfigError for a file that is no TOML, an empty one, or another meaning.
    """
    meanings: dict[str, Meaning] = {}
    for word, meaning in read_toml(path).items():
        if meaning not in get_args(Meaning):
            raise ConfigError(
                f"label {word[:40]!r} means {str(meaning)[:40]!r}",
                where=path,
                fix=f"choose one of {', '.join(get_args(Meaning))}",
            )
        if word.lower() in meanings:
            raise ConfigError(f"label {word[:40]!r} occurs twice, in other case", where=path, fix="keep one of the two")
        meanings[word.lower()] = meaning
    if not meanings:
        raise ConfigError("the label map is empty", where=path, fix='write a line for each word: ied = "unknown"')
    return meanings


def is_label_map(value: object) -> bool:
    """Say whether a value is a label map: words in lower case, and what each means."""
    return isinstance(value, Mapping) and all(
        isinstance(word, str) and word == word.lower() and meaning in get_args(Meaning)
        for word, meaning in value.items()
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TUSZ = Vocabulary(
    name="TUSZ",
    seizures=_words("seiz fnsz gnsz spsz cpsz absz tnsz cnsz tcsz atsz mysz nesz"),
    background=_words("bckg null (null)"),
    others=_words("spsw gped pled eybl eyeb eyem artf intr slow chew shiv musc elpp elst elec calb hphs trip"),
)
"""NEDC's annotation symbols, as the symbol tables of TUSZ 1.5 and the annotation guidelines list them.

A TUSZ file has seizures and background alone; TUEV and TUAR use the others.
"""

SZCORE = Vocabulary(
    name="SzCORE",
    seizures=frozenset(),
    background=_words("bckg"),
    unknown=_words("impd"),  # SeizeIT2 writes its impedance checks beside bckg and sz_...
    families=("sz",),
)
"""BIDS events in the SzCORE annotation format, where seizures are `sz` and the ILAE types below it, `sz_foc_ia`."""


_NO_DATA = re.compile(
    r"bad acq(uisition)? skip|(acq|acquisition) skip|(no|missing|lost) (data|signal|recording)|gap|drop ?out"
    r"|(data|signal|recording|eeg) (loss|lost|missing|gap|drop ?out|interruption|not available|unavailable)"
    r"|((recording|acquisition|data|eeg|system) )?(paused?|interrupted|suspended|halted|on hold)"
    r"|(recording|acquisition|system|eeg|amplifier|headbox) (stopped|off)"
    r"|((electrode|checking) )?(imp|impd|impedances?|impedanz\w*)( (checks?|test|testing|measurement)( .*)?)?"
    r"|((amplifier|amp|headbox|jackbox|electrodes?|cables?|patient|system) )?(disconnected|disconnection|unplugged)"
    r"|((amplifier|system|eeg) )?cal(ib|ibration)?( (signal|pulses?))?"
)
"""What recorders and MNE write over time in which nothing of the patient was recorded, without case and punctuation."""

_BEGINS = ("start", "started", "begin", "on")
_ENDS = frozenset(
    ("recording resumed", "recording resume", "recording restarted", "resumed", "acquisition resumed", "data resumed")
)
_END_WORDS = ("end", "ended", "stop", "stopped", "off", "finished", "done")
_APART = re.compile(r"[\W_]+")


def _is_no_data(text: str) -> bool:
    return _NO_DATA.fullmatch(text) is not None


def no_data_spans(
    annotations: Iterable[Note], end_s: Fraction
) -> tuple[list[tuple[Fraction, Fraction]], tuple[str, ...]]:
    """Return the time that a file's own annotations mark as no data, sorted and disjoint, and the texts that do.

    An annotation without a length lasts until the one that ends it ("Recording resumed", "Impedance check end");
    without that it marks nothing.
    """
    spans: list[tuple[Fraction, Fraction]] = []
    words: dict[str, None] = {}
    opened: dict[str, tuple[Fraction, str]] = {}
    for each in sorted(annotations, key=lambda each: each.onset_s):
        text = _APART.sub(" ", each.text.casefold()).strip()
        name, _, last = text.rpartition(" ")
        begins = _is_no_data(name) and last in _BEGINS
        ends = text in _ENDS or (_is_no_data(name) and last in _END_WORDS)
        if begins or (not ends and _is_no_data(text)):
            if each.duration_s:
                spans.append((each.onset_s, each.onset_s + each.duration_s))
                words[each.text] = None
            else:
                opened.setdefault(name if begins else text, (each.onset_s, each.text))
        elif ends:
            for word in list(opened) if text in _ENDS else [name]:
                if word in opened:
                    start_s, written = opened.pop(word)
                    spans.append((start_s, each.onset_s))
                    words[written] = None
    joined: list[tuple[Fraction, Fraction]] = []
    for start_s, stop_s in sorted(spans):
        start_s, stop_s = max(start_s, Fraction(0)), min(stop_s, end_s)
        if start_s >= stop_s:
            continue
        if joined and start_s <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop_s, joined[-1][1])
        else:
            joined.append((start_s, stop_s))
    return joined, tuple(words)
