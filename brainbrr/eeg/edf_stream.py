"""EDF and EDF+ that is still coming: from a pipe, or from a file that is read as if it were one. Seeks nowhere."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from brainbrr.eeg.edf import Int16
from brainbrr.eeg.edf_header import count_signals, parse
from brainbrr.eeg.not_edf import refuse_mangled_text, refuse_other_formats
from brainbrr.errors import EdfError


class EdfStream:
    """An EDF whose records are given out in their order, each as soon as it is whole.

    header.n_records is ENDLESS. Raises EdfError for a header that cannot be trusted, and for EDF+D, whose gaps only
    the whole file tells. Timestamps are not looked at: EDF+C promises that there are no gaps.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        main = file.read(256)
        refuse_other_formats(main)
        n_bytes = 256 * count_signals(main, None)
        self._head = main + file.read(n_bytes)
        if len(self._head) < 256 + n_bytes:
            raise EdfError("the stream ends inside its header", fix="send the whole file")
        self.header, _ = parse(main, self._head[256:], None, accept_truncated=False)
        if self.header.discontinuous:
            raise EdfError("a stream cannot be discontinuous (EDF+D)", fix="split it at its gaps into EDF+C files")
        self._waiting: list[Int16] = []
        self.n_heard = 0

    def wait(self, last: int) -> bool:
        """Read on until all records before `last` have come; say whether they have, or the stream has ended.

        Raises EdfError where it ends before the record that its header declares as the last, or goes on after it.
        """
        while self.n_heard < last:
            data = self._file.read(2 * self.header.record_samples)
            declared = self.header.n_records_declared
            if len(data) < 2 * self.header.record_samples:
                if self.n_heard < declared:
                    raise EdfError(f"the stream ended after {self.n_heard} of {declared} records")
                return False
            if self.n_heard == declared:
                raise EdfError(f"the stream goes on after the {declared} records that its header declares")
            if not self.n_heard:
                refuse_mangled_text(self._head + data)
            self._waiting.append(np.frombuffer(data, "<i2").astype(np.int16, copy=False))
            self.n_heard += 1
        return True

    def records(self, first: int, last: int) -> Int16:
        """Return records first to last, each once and in order: int16 (last − first, header.record_samples).

        They must have come.
        """
        found = np.stack(self._waiting[: last - first])
        del self._waiting[: last - first]
        return found
