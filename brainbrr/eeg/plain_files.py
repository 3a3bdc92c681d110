"""Files of a corpus, opened: only what has an end, whatever a link leads to. Knows no format."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path


def open_plain(path: Path) -> FileIO:
    """Return a regular file, opened for reading; links are followed. Raises OSError, for pipes and devices too."""
    # O_NONBLOCK: opening a pipe must not wait for a writer
    file = FileIO(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
