"""Which process wrote something: a name that others can read, and whether its process is dead for certain."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from brainbrr.digest import xxh3_128


def own_name() -> str:
    """Return the name of this process: its host's digest and its number."""
    return f"{_host()}-{os.getpid()}"


def is_dead(name: str) -> bool:
    """Say whether the process whose name this text begins with has ended; False for another host's: nobody knows."""
    host, _, rest = name.partition("-")
    pid = rest.partition("-")[0]
    if host != _host() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):  # not Linux, or hidden from us
        return False
    return state in (b"Z", b"X")  # ended, and nobody has asked yet how


def _host() -> str:
    numbering = ""
    with contextlib.suppress(OSError):  # not Linux
        # containers of one host may share its name, but each numbers its processes on its own
        numbering = str(Path("/proc/self/ns/pid").readlink())
    return xxh3_128(f"{os.uname().nodename} {numbering}".encode())[:8]
