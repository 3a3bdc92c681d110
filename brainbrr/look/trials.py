"""What a folder can do: its file system, what a store relies on, other hosts, and an ingest that is killed.

Everything is tried in a folder of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from brainbrr.core.progress import Progress
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import UsageError
from brainbrr.store import filesystem

State = Literal["fine", "note", "wrong"]

_ON_DISK = "choose a --store on a disk"
_POSIX = "choose a --store on a POSIX file system"
_MEANING: dict[str, tuple[State, str, str | None]] = {
    "tmpfs": ("note", "in memory: gone after a restart", _ON_DISK),
    "ramfs": ("note", "in memory: gone after a restart", _ON_DISK),
    "9p": ("note", "Windows' files through WSL2: slow, and flush is not sure", "keep the store inside WSL2, e.g. in ~"),
    "drvfs": ("note", "Windows' files through WSL2: slow, and flush is not sure", "keep the store inside WSL2"),
    "nfs": ("note", "a network mount: read, not mapped; tried only where `--peer` was", "train with --stage DIR"),
    "nfs4": ("note", "a network mount: read, not mapped; tried only where `--peer` was", "train with --stage DIR"),
    "cifs": ("note", "a Windows share: no promise of links and modes", _POSIX),
    "vfat": ("wrong", "no links and no modes", _POSIX),
    "exfat": ("wrong", "no links and no modes", _POSIX),
    "overlay": ("note", "a container's layer: gone with the container", "mount a volume for the store"),
}
_ENOUGH_FILES, _ENOUGH_SHM = 1024, 64 << 20
_LEAST_BYTES, _LEAST_INODES = 5_000_000_000, 100_000
_BYTES_PER_HOUR = 35e6
_SLOW_FSYNC_MS, _MOST_OFF_S, _SEEN_WITHIN_S = 50, 2, 10
_KILLS = 200


@dataclass(frozen=True)
class Line:
    """One thing that was looked at. `fix`: what to do where it is not fine."""

    about: str
    state: State
    what: str
    fix: str | None = None


def run(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command of ours and return how it ended."""
    return subprocess.run(words, text=True, check=False, **options)  # noqa: S603  # no words from elsewhere


def tried(place: Path, trial: Path, *, peer: str | None, thorough: bool, progress: Progress) -> Iterator[Line]:
    """Yield what a place can do, tried in `trial`, a new folder in it."""
    yield from (*_file_system(place), *_tried(trial), *_case(trial), *_clock(trial), *_space(trial), *_limits())
    if peer:
        yield from _peer(trial, peer)
    if thorough:
        yield _killed(trial, progress)


def _file_system(place: Path) -> Iterator[Line]:
    kind = filesystem.kind_at(place)
    if kind is None:
        yield Line("file system", "note", "not known here", "the trials below say what it can do")
        return
    known: tuple[State, str, str | None] = ("fine", "", None)
    state, meaning, fix = _MEANING.get(kind, known)
    mapped = "read" if not filesystem.is_local(place.stat().st_dev, place) else "mapped"
    yield Line("file system", state, f"{kind}{': ' + meaning if meaning else ''}; shards are {mapped}", fix)


def _tried(trial: Path) -> Iterator[Line]:
    """Try what the write order relies on, one by one."""
    about = "link, exclusive create, rename, modes"
    try:
        filesystem.probe(trial / "probe", folder_mode=0o755)
        yield Line(about, "fine", "tried")
    except (UsageError, OSError) as error:
        yield Line(about, "wrong", str(error).splitlines()[0], _POSIX)
    trials: dict[str, Callable[[Path], str]] = {"rename over an open file": _renames_over_open, "flock": _flocks}
    for about, attempt in trials.items():
        try:
            yield Line(about, "fine", attempt(trial))
        except (OSError, AssertionError) as error:
            yield Line(about, "wrong", str(error) or "tried, and it does not hold", _POSIX)
    took_ms = _fsync_ms(trial)
    slow = took_ms > _SLOW_FSYNC_MS
    fix = "many short recordings will wait for it: choose another disk" if slow else None
    yield Line("fsync", "note" if slow else "fine", f"{took_ms:.1f} ms for 4 kB", fix)


def _renames_over_open(trial: Path) -> str:
    old, new = trial / "old", trial / "new"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    with old.open("rb") as file:
        new.replace(old)
        assert file.read() == b"old", "an open file changed under its reader"
    assert old.read_bytes() == b"new", "the new file is not there"
    return "its reader keeps the old bytes"


def _flocks(trial: Path) -> str:
    import fcntl

    path = trial / "lock"
    path.touch()
    code = "import fcntl,sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        other = run([sys.executable, "-c", code, str(path)], capture_output=True)
    assert other.returncode != 0, "two processes got the same lock"
    return "a second process waits"


def _fsync_ms(trial: Path) -> float:
    times = []
    for i in range(20):
        with (trial / f"sync{i}").open("wb") as file:
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return 1000 * sorted(times)[len(times) // 2]


def _case(trial: Path) -> Iterator[Line]:
    (trial / "case").touch()
    if (trial / "CASE").exists():
        yield Line("case", "note", "not distinguished", "recordings whose names differ in case only would be one file")
    else:
        yield Line("case", "fine", "distinguished")


def _clock(trial: Path) -> Iterator[Line]:
    (trial / "clock").write_bytes(b"now")
    off_s = (trial / "clock").stat().st_mtime - time.time()
    is_off = abs(off_s) > _MOST_OFF_S
    fix = "set both by NTP: deletions wait by time" if is_off else None
    yield Line("clock", "wrong" if is_off else "fine", f"the file system's is {off_s:+.2f} s off", fix)


def _space(trial: Path) -> Iterator[Line]:
    facts = os.statvfs(trial)
    free, inodes = facts.f_bavail * facts.f_frsize, facts.f_favail
    fix = "free some space" if free < _LEAST_BYTES else None
    what = f"{free / 1e9:,.1f} GB free, enough for {free / _BYTES_PER_HOUR:,.0f} h of signal"
    yield Line("space", "note" if fix else "fine", what, fix)
    if facts.f_files:
        fix = "each recording takes 4: delete small files" if inodes < _LEAST_INODES else None
        yield Line("inodes", "note" if fix else "fine", f"{inodes:,} free", fix)


def _limits() -> Iterator[Line]:
    import resource

    n, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    fix = f"ulimit -n {_ENOUGH_FILES}" if n < _ENOUGH_FILES else None
    yield Line("open files", "note" if fix else "fine", f"ulimit -n {n}", fix)
    shm = Path("/dev/shm")  # noqa: S108  # nothing is written there
    if shm.is_dir():
        facts = os.statvfs(shm)
        free = facts.f_bavail * facts.f_frsize
        fix = "docker run --shm-size=1g, or no worker processes" if free < _ENOUGH_SHM else None
        yield Line("shared memory", "note" if fix else "fine", f"{free / 1e6:,.0f} MB free in {shm}", fix)


def _peer(trial: Path, host: str) -> Iterator[Line]:
    """See whether another host sees a new file at once, this host the other's, and both the same clock."""
    if host.startswith("-"):
        raise UsageError(f"--peer {host}: a host is meant")
    word, about = uuid.uuid4().hex, f"peer {host}"
    (trial / "here").write_text(word)
    script = f"cat '{trial}/here'; echo; echo {word} > '{trial}/there'; date +%s.%N"
    began = time.time()
    try:
        words = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "--", host, script]
        done = run(words, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Line(about, "wrong", f"ssh: {error}", f"make `ssh {host} true` work without a password")
        return
    lines = done.stdout.splitlines()
    if not lines:
        yield Line(
            about, "wrong", f"ssh: {done.stderr.strip()[-200:]}", f"make `ssh {host} true` work without a password"
        )
        return
    until = time.monotonic() + _SEEN_WITHIN_S
    while not (theirs := _says(trial / "there", word)) and time.monotonic() < until:
        time.sleep(0.1)
    lacks = [] if lines[0] == word else ["it does not see our new file"]
    lacks += [] if theirs else ["we do not see its new file"]
    fix = "mount the same folder on both hosts" if lacks else None
    yield Line(about, "wrong" if lacks else "fine", ", ".join(lacks) or "both hosts see each other's new files", fix)
    with suppress(ValueError):
        off_s = float(lines[-1]) - (began + time.time()) / 2
        fix = "set both clocks by NTP" if abs(off_s) > _MOST_OFF_S else None
        yield Line(f"clock of {host}", "wrong" if fix else "fine", f"{off_s:+.1f} s off", fix)


def _says(path: Path, word: str) -> bool:
    with suppress(OSError):
        return path.read_text().strip() == word
    return False


def _killed(trial: Path, progress: Progress) -> Line:
    """Kill a small ingest many times at any moment, and verify what is there after the last one."""
    corpus, store = trial / "corpus", trial / "store"
    write_corpus(corpus, n_recordings=2, seconds=(20, 20))
    words = ["env", f"XDG_CACHE_HOME={trial / 'host'}", sys.executable, "-m", "brainbrr"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    ingest = [*words, "ingest", str(corpus), "--store", str(store), "--workers", "1"]
    began = time.monotonic()
    run(ingest, **quiet)
    whole_s = time.monotonic() - began
    choose = random.Random(0)  # moments, not secrets
    progress.start("killing an ingest", _KILLS, "kills")
    try:
        for i in range(_KILLS):
            if i % 4 == 0:
                shutil.rmtree(store, ignore_errors=True)
            running = subprocess.Popen(ingest, **quiet)  # noqa: S603
            time.sleep(choose.uniform(0.3, 1) * whole_s)
            running.send_signal(signal.SIGKILL)
            running.wait()
            progress.advance()
    finally:
        progress.stop()
    ended = run(ingest, **quiet).returncode
    verified = run([*words, "verify", "--store", str(store)], **quiet).returncode
    if ended or verified:
        what = f"after {_KILLS} kills: ingest ended with {ended}, verify with {verified}"
        return Line("kills", "wrong", what, "do not keep a store here, and report this with --json")
    return Line("kills", "fine", f"{_KILLS} kills of an ingest, and every object is whole")
