"""What a file is called that was to be an EDF and is none: by its first bytes only.

Knows nothing of headers and signals; `edf` asks here before it believes one.
"""

from __future__ import annotations

import codecs

from brainbrr.errors import EdfError

_ENOUGH = 16  # signs of damage: a few may be chance, or a text of the file
_FIX_MANGLED = "get it again and copy it in binary mode"


def refuse_other_formats(head: bytes) -> None:
    """Raise EdfError unless `head`, a file's first bytes, could be an EDF's: at least 256, of version 0."""
    if not head:
        raise EdfError("the file is empty, not an EDF", fix="get the file itself")
    if head.startswith(b"version https://git-lfs"):
        raise EdfError("the file is a git-LFS pointer, not an EDF", fix="fetch its content with `git lfs pull`")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise EdfError("the file is an HTML or XML page, not an EDF", fix="download the recording itself")
    if head.startswith(b"\xffBIOSEMI") or head[192:197] in (b"24BIT", b"BDF+C", b"BDF+D"):
        raise EdfError("the file is a BDF (24-bit samples), not an EDF", fix="convert it to EDF+ first")
    if len(head) < 256:
        raise EdfError(f"the file has {len(head)} bytes; an EDF's header alone has 256", fix="get the whole file")
    if head[:8].strip(b"\0 \t\r\n") != b"0":
        raise EdfError(f"the file is not an EDF: its version field is {head[:8]!r}, not '0'")


def refuse_mangled_text(head: bytes) -> None:
    """Raise EdfError for samples that were taken for text, which changes their bytes and their number.

    A decoder leaves valid UTF-8 with U+FFFD (EF BF BD) for what was not; a copy in text mode leaves no line
    feed without a carriage return.
    """
    if head.count(b"\xef\xbf\xbd") >= _ENOUGH and _is_utf_8(head):
        raise EdfError("the file was decoded as text once, which destroyed its samples", fix=_FIX_MANGLED)
    if (n := head.count(b"\n")) >= _ENOUGH and head.count(b"\r\n") == n:
        raise EdfError("the file was copied as text, which put a byte before each line feed", fix=_FIX_MANGLED)


def _is_utf_8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # incremental: the last character may be cut
    except UnicodeDecodeError:
        return False
    return True
