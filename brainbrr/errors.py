"""Every error that brainbrr raises on purpose, and the exit code of each.

    BrainbrrError                 1   failed
    ├── RecordingError            1   one recording is refused, the rest goes on
    │   ├── EdfError                  the file is not an EDF that can be trusted
    │   ├── MontageError              the recipe's channels are not in it, or are ambiguous
    │   ├── AnnotationError           a label file is missing, malformed or unknown
    │   └── NotReproducibleError      a second build of a key gave another content
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


class BrainbrrError(Exception):
    """What went wrong, where, and how to fix it."""

    exit_code = 1

    def __init__(self, what: str, *, where: object = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.fix = fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  in   {self.where}")
        if self.fix:
            lines.append(f"  fix  {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:  # errors cross process borders whole
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(kind: type[BrainbrrError], what: str, where: str | None, fix: str | None) -> BrainbrrError:
    return kind(what, where=where, fix=fix)


class RecordingError(BrainbrrError):
    """One recording is refused; a batch goes on without it and says so."""


class EdfError(RecordingError):
    """The file is not an EDF whose numbers can be trusted."""


class MontageError(RecordingError):
    """The recipe's channels are not in the file, or cannot be told apart."""


class AnnotationError(RecordingError):
    """A label file is missing, malformed, or says something unknown."""


class NotReproducibleError(RecordingError):
    """A second build of one key gave another content; the first one stays."""


class ExecutorError(BrainbrrError):
    """What was to run the work cannot do so, or lost a task; nothing is wrong with the recording."""


class UsageError(BrainbrrError):
    """A wrong argument."""

    exit_code = 2


class ConfigError(UsageError):
    """A wrong setting in a file, a flag or an environment variable."""


class FormatError(UsageError):
    """A store of an unknown or newer format."""


class ViewNotReadyError(BrainbrrError):
    """A view is empty, incomplete or stale, and nothing may be built on the way."""

    exit_code = 3


class IntegrityError(BrainbrrError):
    """Stored bytes are not what their digest says."""

    exit_code = 4


class DuplicateError(BrainbrrError):
    """One array is stored twice."""

    exit_code = 5


class LeakError(BrainbrrError):
    """One source, content or patient is in two splits."""

    exit_code = 5


class AccessError(BrainbrrError):
    """A corpus's access terms forbid this."""

    exit_code = 6


class SpaceError(BrainbrrError):
    """Not enough disk space or inodes."""

    exit_code = 7


class DependencyError(BrainbrrError):
    """A device or an optional dependency is missing."""

    exit_code = 8
