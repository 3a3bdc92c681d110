"""Every error that brainbrr raises on purpose, and the exit code of each.

    BrainbrrError                 1   failed
    ├── RecordingError            1   one recording is refused, the rest goes on
    │   ├── EdfError                  the file is not an EDF that can be trusted
    │   ├── MontageError              the recipe's channels are not in it, or are ambiguous
    │   ├── AnnotationError           a label file is missing, malformed or unknown
    │   ├── NotReproducibleError      a second build of a key gave another content
    │   └── CollisionError            its key's record was made from another file or recipe
    ├── ExecutorError             1   what was to run the work cannot, or lost it
    ├── UsageError                2   a wrong argument
    │   ├── ConfigError               a wrong setting in a file, flag or variable
    │   └── FormatError               a store of an unknown or newer format
    ├── ViewNotReadyError         3   empty, incomplete or stale
    ├── IntegrityError            4   stored bytes are not what their digest says
    ├── DuplicateError            5   one array stored twice
    ├── LeakError                 5   one recording or patient in two splits
    ├── AccessError               6   a corpus's access terms forbid it
    ├── SpaceError                7   not enough disk space or inodes
    └── DependencyError           8   a device or an optional dependency is missing

Knows nothing of EEG and imports nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable


class Fix(str):
    """Text around commands, each the words after `brainbrr`, so that they can be rendered for the store in use.

    >>> fix = Fix("list them with ", ["gc"])
    >>> fix
    'list them with `brainbrr gc`'
    >>> fix.at("our store")
    "list them with `brainbrr gc --store 'our store'`"
    """

    parts: tuple[str | tuple[str, ...], ...]

    def __new__(cls, *parts: str | Iterable[object]) -> Fix:
        """Return the text that these parts make; a part that is a Fix itself brings its commands."""
        flat: list[str | tuple[str, ...]] = []
        for part in parts:
            if isinstance(part, Fix):
                flat += part.parts
            else:
                flat.append(part if isinstance(part, str) else tuple(map(str, part)))
        made = super().__new__(cls, _rendered(flat, None))
        made.parts = tuple(flat)
        return made

    def __reduce__(self) -> tuple[object, ...]:
        return Fix, self.parts

    @property
    def commands(self) -> list[tuple[str, ...]]:
        """The words of each command."""
        return [part for part in self.parts if not isinstance(part, str)]

    def at(self, store: str | None) -> str:
        """Return the text with commands that name this store, unless they name one."""
        return _rendered(self.parts, store)


def _rendered(parts: Iterable[str | tuple[str, ...]], store: str | None) -> str:
    texts = [part if isinstance(part, str) else _command(part, store) for part in parts]
    if len(texts) == 1:
        return texts[0]
    return "".join(t if isinstance(part, str) else f"`{t}`" for t, part in zip(texts, parts, strict=True))


def _command(words: tuple[str, ...], store: str | None) -> str:
    option = () if store is None or "--store" in words else ("--store", store)
    return shlex.join(("brainbrr", words[0], *option, *words[1:]))


class BrainbrrError(Exception):
    """Any error that brainbrr raises on purpose: what went wrong, where, and how to fix it.

    Parameters
    ----------
    what : str
        What went wrong.
    where : object, optional
        A file, folder or setting.
    fix : str, optional
        A command or another way to fix it; a `Fix` where it holds commands.
    code : str, optional
        Names the kind of error and stays the same. Default: the class's.

    Attributes
    ----------
    exit_code : int
        How the command line ends; each kind of error has its own.

    Examples
    --------
    >>> try:
    ...     brainbrr.open_store("nowhere")
    ... except brainbrr.BrainbrrError as error:
    ...     error.exit_code
    2
    """

    exit_code = 1
    code = "failed"

    def __init__(self, what: str, *, where: object = None, fix: str | None = None, code: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.fix = fix
        self.code = code or type(self).code

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  in   {self.where}")
        if self.fix:
            lines.append(f"  fix  {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:  # errors cross process borders whole
        return (_rebuild, (type(self), self.what, self.where, self.fix, self.code))


def _rebuild(kind: type[BrainbrrError], what: str, where: str | None, fix: str | None, code: str) -> BrainbrrError:
    return kind(what, where=where, fix=fix, code=code)


class RecordingError(BrainbrrError):
    """One recording is refused; a batch goes on without it and says so."""

    code = "recording-refused"


class EdfError(RecordingError):
    """The file is not an EDF whose numbers can be trusted."""

    code = "edf-refused"


class MontageError(RecordingError):
    """The recipe's channels are not in the file, or cannot be distinguished."""

    code = "montage-refused"


class AnnotationError(RecordingError):
    """A label file is missing, malformed, or says something unknown."""

    code = "annotation-refused"


class NotReproducibleError(RecordingError):
    """A second build of one key gave another content; the first one stays."""

    code = "not-reproducible"


class CollisionError(RecordingError):
    """The record of a recording's key was made from another source or recipe: a planted or a forged file."""

    code = "collision"


class ExecutorError(BrainbrrError):
    """What was to run the work cannot do so, or lost a task; nothing is wrong with the recording."""

    code = "executor-failed"


class UsageError(BrainbrrError):
    """A wrong argument."""

    exit_code = 2
    code = "usage"


class ConfigError(UsageError):
    """A wrong setting in a file, a flag or an environment variable."""

    code = "config"


class FormatError(UsageError):
    """A store of an unknown or newer format."""

    code = "store-format"


class ViewNotReadyError(BrainbrrError):
    """A view is empty, incomplete or stale, and nothing may be built on the way."""

    exit_code = 3
    code = "view-not-ready"


class IntegrityError(BrainbrrError):
    """Stored bytes are not what their digest says."""

    exit_code = 4
    code = "damaged"


class DuplicateError(BrainbrrError):
    """One array is stored twice."""

    exit_code = 5
    code = "duplicate"


class LeakError(BrainbrrError):
    """One source, content or patient is in two splits."""

    exit_code = 5
    code = "leak"


class AccessError(BrainbrrError):
    """A corpus's access terms forbid this."""

    exit_code = 6
    code = "access-forbidden"


class Stopped(KeyboardInterrupt):
    """A signal ended a command that keeps what it did and can continue; its progress has said so."""


class SpaceError(BrainbrrError):
    """Not enough disk space or inodes."""

    exit_code = 7
    code = "no-space"


class DependencyError(BrainbrrError):
    """A device or an optional dependency is missing."""

    exit_code = 8
    code = "dependency-missing"
