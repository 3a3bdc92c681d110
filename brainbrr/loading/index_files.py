"""The file of an index: numpy's npz, written as numpy does, read without it.

A file from elsewhere may name any dtype and shape, be a zip of zips' bombs, or ask for a pickle: here a header is
compared with the one that numpy writes for the array that is wanted, and nothing is larger than the file.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainbrr.errors import IntegrityError

Array = np.ndarray[Any, np.dtype[Any]]

MAX_INDEX_BYTES = 1 << 31
"""That of four million recordings."""

_FRAME = "frame"
_HEADER = re.compile(rb"\{'descr': '[<|]([a-z][0-9])', 'fortran_order': False, 'shape': \(([0-9, ]{1,60})\), \} *\n")
_OF_ZIP = (struct.error, zipfile.BadZipFile)
_HEAD = struct.Struct("<6sBBH")  # NEP 1: magic, version, length of the header


def save(path: Path, head: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a head (JSON) and arrays to a file that appears whole. Raises OSError."""
    text = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{id(arrays):x}.tmp")
    try:
        with temporary.open("xb") as file:
            np.savez(file, allow_pickle=False, **{_FRAME: text}, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, dtypes: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the head and the arrays of these dtypes.

    Raises FileNotFoundError, and IntegrityError for what save() does not write.
    """
    with path.open("rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        data = file.read(n_bytes) if n_bytes <= MAX_INDEX_BYTES else b""
    try:
        if n_bytes > MAX_INDEX_BYTES:
            raise ValueError(f"more than {MAX_INDEX_BYTES:,} bytes")
        members = _members(data)
        if members.keys() != {_FRAME, *dtypes}:
            raise ValueError(f"it holds {len(members)} arrays, or others than an index has")
        arrays = {name: _array(members[name], dtype) for name, dtype in {_FRAME: "u1", **dtypes}.items()}
        head = json.loads(arrays.pop(_FRAME).tobytes())
        if not isinstance(head, dict):
            raise ValueError("its frame is no JSON object")
        return head, arrays
    # what zipfile says of a file that is none; RuntimeError: encrypted, an unknown method, JSON a thousand deep
    except (ValueError, TypeError, LookupError, EOFError, RuntimeError, OSError, *_OF_ZIP) as error:
        raise no_index(error, path) from None


def no_index(error: Exception, path: Path) -> IntegrityError:
    """Return the error for a file that no index was saved to."""
    fix = "remove it: it is made again from the store"
    return IntegrityError(f"this is no index as brainbrr writes it: {error!s:.200}", where=path, fix=fix)


def _members(data: bytes) -> dict[str, bytes]:
    """Return the members of a zip that is not compressed: together they are no more than the file."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        found = file.infolist()
        if any(each.compress_type != zipfile.ZIP_STORED for each in found):
            raise ValueError("it is compressed")
        if sum(max(each.file_size, each.compress_size) for each in found) > len(data):
            raise ValueError("it says that it holds more than it does")
        return {each.filename.removesuffix(".npy"): file.read(each) for each in found}  # checks the crc32 of each


def _array(data: bytes, dtype: str) -> Array:
    """Return the array of a .npy file whose header is the one that numpy writes for it."""
    if len(data) < _HEAD.size:
        raise ValueError("an array is cut short")
    magic, major, minor, n_bytes = _HEAD.unpack_from(data)
    first = _HEAD.size + n_bytes
    header = _HEADER.fullmatch(data, _HEAD.size, first)
    if (magic, major, minor) != (b"\x93NUMPY", 1, 0) or header is None or header[1].decode() != dtype:
        raise ValueError(f"an array is not as numpy writes one of {dtype}")
    shape = [int(n) for n in header[2].split(b",") if n.strip()]
    array: Array = np.ndarray(shape, dtype=f"<{dtype}", buffer=bytearray(data[first:]))
    if array.nbytes != len(data) - first:
        raise ValueError("an array is not of the shape that it says")
    return array
