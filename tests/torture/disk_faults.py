"""Break every file-system call of every command in turn, for real, and run the same command again.

`python tests/torture/disk_faults.py --full` breaks each call below the store, the corpus and the host's memory with
each error that it may give, which takes hours; `--writes` only those that write, `--sample N` takes N, evenly.
faults.c does it inside the process, under Python and all libraries. A process that has imported brainbrr is forked for
each fault; a few run `python -m brainbrr`.
After each fault nothing half done may be seen, and the same command must complete the work.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHIM = "faults.so"
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where the places lie: no disk need turn for a call that fails."""

OPEN, CREATE, READ, WRITE, SYNC, NAME, REMOVE, STAT, CLOSE, MODE, SPACE, CLOSE_WRITTEN = (1 << i for i in range(12))
ANY = (1 << 12) - 1
WRITES = CREATE | WRITE | SYNC | NAME | CLOSE_WRITTEN
KINDS = {
    "ENOSPC": WRITES,  # sync, close: where blocks are allocated late, as on NFS
    "EDQUOT": WRITES,
    "EIO": ANY,
    "ESTALE": ANY,
    "EMFILE": OPEN | CREATE,
    "EACCES": OPEN | CREATE | NAME | REMOVE | STAT | MODE | SPACE,
    "EROFS": CREATE | NAME | REMOVE | MODE,
}
"""Which calls may give an error."""

MODES = {"once": 0, "sticky": 1, "short": 2, "fill": 3, "crowd": 4}
"""sticky: all calls from then on, as of a disk that stays full or a mount that is gone. short: half a write. fill,
crowd: none fails, but the disk's bytes or inodes are used up."""


@dataclass(frozen=True)
class Fault:
    """The n-th of these calls that may give an error, below one place of an operation."""

    operation: str
    place: str
    error: str
    mode: str
    n: int = 0
    afresh: bool = False
    calls: int = ANY


@dataclass(frozen=True)
class Ended:
    """How a broken command ended, how many calls were counted, and which one failed."""

    code: int
    out: str
    err: str
    count: int
    fired: str


def faults_of(operation: str, *, writes: bool) -> Iterator[Fault]:
    """All that can happen to an operation, or to what it writes, but for the number of the call."""
    if writes:
        for error in ("ENOSPC", "EIO", "EMFILE"):
            for mode in ("once", "sticky"):
                yield Fault(operation, "store", error, mode, calls=WRITES)
        return
    for error in KINDS:
        for mode in ("once", "sticky"):
            yield Fault(operation, "store", error, mode)
    for error in ("EIO", "ESTALE", "EMFILE", "EACCES"):
        yield Fault(operation, "corpus", error, "once")
    yield Fault(operation, "corpus", "ESTALE", "sticky")
    for error in ("ENOSPC", "EIO", "EACCES", "EMFILE"):
        yield Fault(operation, "host", error, "once")
    yield Fault(operation, "store", "EIO", "short")


def kinds_of(fault: Fault) -> int:
    """The calls of which the n-th is meant."""
    return WRITE if fault.mode == "short" else KINDS[fault.error] & fault.calls


def run_forked(arguments: Sequence[object], place: Any, fault: Fault | None, broken: Path | None) -> Ended:
    """Run a command in a fork of this process, its n-th call broken."""
    from operations import run_here

    report = place.folder / "report"
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            shim = ctypes.CDLL(None)
            shim.faults_fired.restype = ctypes.c_char_p
            if fault is not None and broken is not None:
                n, number, mode = ctypes.c_long(fault.n), getattr(errno, fault.error), MODES[fault.mode]
                shim.faults_arm(os.fsencode(broken), kinds_of(fault), n, number, mode)
            try:
                told = run_here(place, *arguments)
                fields = {"code": told.code, "out": told.out, "err": told.err}
            except BaseException:  # noqa: BLE001  # what the command raises, a user would see as a traceback
                fields = {"code": 1, "out": "", "err": traceback.format_exc()}
            count = shim.faults_disarm()
            report.write_text(json.dumps({**fields, "count": count, "fired": os.fsdecode(shim.faults_fired())}))
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not report.exists():
        return Ended(-status, "", f"killed by signal {-status}", 0, "?")
    return Ended(**json.loads(report.read_text()))


def run_afresh(arguments: Sequence[object], place: Any, fault: Fault, broken: Path) -> Ended:
    """Run a command as a user does, its n-th call broken by the environment."""
    numbers = f"{kinds_of(fault)}|{fault.n}|{getattr(errno, fault.error)}|{MODES[fault.mode]}"
    told = subprocess.run(
        [sys.executable, "-m", "brainbrr", *map(str, arguments)],
        env={**os.environ, "FAULT": f"{broken}|{numbers}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Ended(told.returncode, told.stdout, told.stderr, fault.n, "?")


class Disk:
    """Where the store lies: a folder of some disk that is large enough."""

    def empty(self, folder: Path) -> None:
        """Make an empty disk of a folder."""
        shutil.rmtree(folder)
        folder.mkdir()

    def mend(self, folder: Path) -> None:
        """Make room after a disk was full."""


class Bench:
    """One operation in one folder: broken at one call after the other, each time from the same beginning."""

    def __init__(self, folder: Path, operation: str, disk: Disk = Disk()) -> None:  # noqa: B008  # stateless
        from operations import OPERATIONS, Place, run_here

        self.disk, self.counts = disk, dict[tuple[str, int], int]()
        self.name, self.operation = operation, OPERATIONS[operation]
        self.place = Place(folder / operation)
        self.kept = folder / f"{operation}-before"
        if self.place.folder.exists():
            return
        self.place.folder.mkdir()
        self.operation.prepare(self.place)
        shutil.copytree(self.place.disk, self.kept / "disk")
        shutil.copytree(self.place.host, self.kept / "host")
        run_here(self.place, *self.operation.command(self.place))  # imports what forks then need not import each

    def learn(self) -> None:
        """Find out what the command does when nothing is broken."""
        from operations import damage, state

        self.begin()
        self.before, self.was_damaged = state(self.place.store), set(damage(self.place.store))
        self.wanted = self.run(None)
        self.after, self.set_aside = state(self.place.store), self._quarantined()
        if damage(self.place.store) or self.run(None).code or (self.operation.writes and self.after == self.before):
            raise RuntimeError(f"{self.name} does not work when nothing is broken")

    def begin(self) -> None:
        self.disk.empty(self.place.disk)
        shutil.copytree(self.kept / "disk", self.place.disk, dirs_exist_ok=True)
        shutil.rmtree(self.place.host)
        shutil.copytree(self.kept / "host", self.place.host)

    def run(self, fault: Fault | None) -> Ended:
        arguments = self.operation.command(self.place)
        broken = None if fault is None else getattr(self.place, fault.place)
        if fault is not None and broken is not None and fault.afresh:
            return run_afresh(arguments, self.place, fault, broken)
        return run_forked(arguments, self.place, fault, broken)

    def count(self, fault: Fault) -> int:
        """How many calls there are to break."""
        kinds = fault.place, kinds_of(fault)
        if kinds not in self.counts:
            self.begin()
            self.counts[kinds] = self.run(replace(fault, n=0)).count
        return self.counts[kinds]

    def violations(self, fault: Fault) -> list[str]:
        """Break one call, and return what should not have happened then, or when the same command ran again."""
        from operations import damage, state

        self.begin()
        ended = self.run(fault)
        found = [*judge(fault, ended), *self._half_done(fault, ended, state, damage)]
        self.disk.mend(self.place.disk)
        again = self.run(None)
        if again.code != self.wanted.code:
            found.append(f"the same command again ended with {again.code}: {again.err[-500:]}")
        if state(self.place.store) != self.after:
            found.append("the same command again led to another store")
        if damage(self.place.store):
            found.append(f"the same command again left {damage(self.place.store)}")
        said = f"{fault} at {ended.fired} ended with {ended.code}: {ended.err[-1500:]}"
        return [f"{each}\n  {said}" for each in found]

    def _half_done(self, fault: Fault, ended: Ended, state: Any, damage: Any) -> Iterator[str]:
        """What is wrong with the store that a broken command left."""
        try:
            left, there = damage(self.place.store), state(self.place.store)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a violation
            yield f"the store does not open: {error!r}"
            return
        new = {each for each in left if not (self.was_damaged and "is not there" in each)} - self.was_damaged
        if new:  # what was damaged is gone for the moment between quarantine and its new build
            yield f"damage: {new}"
        for kind in ("records", "rows"):
            if lost := set(self.before[kind]) - set(there[kind]):
                yield f"{kind} are lost: {lost}"
        if ended.code == 0 and fault.place != "corpus" and there != self.after:
            yield "it says that all is done, and is not"
        leftovers = sorted(path.name for path in self.place.store.glob("tmp/*"))
        may_leave = fault.mode == "sticky" or f"{self.place.store}/tmp/" in ended.fired or ended.fired == "?"
        if leftovers and not may_leave:
            yield f"left in tmp: {leftovers}"
        if (moved := self._quarantined() - self.set_aside) and fault.error != "EIO":  # EIO: a sector that is gone
            yield f"moved to quarantine: {moved}"

    def _quarantined(self) -> set[str]:
        return {re.sub(r"\.[0-9a-f]{12}$", "", path.name) for path in self.place.store.glob("quarantine/*")}


SAYS = {
    "ENOSPC": (0, 7),
    "EDQUOT": (0, 7),
    "EIO": (0, 1, 4),
    "ESTALE": (0, 1, 4),
    "EMFILE": (0, 1),
    "EACCES": (0, 1, 2, 4),
    "EROFS": (0, 1, 2),
}
"""The exit codes that an error of the store may lead to; an error of the corpus may also be a wrong argument (2).

4: what cannot be read is not proven, and is told as such.
"""


def judge(fault: Fault, ended: Ended) -> Iterator[str]:
    """What is wrong with what a broken command said."""
    if "Traceback" in ended.err or ended.code < 0 or ended.code > 8:
        yield "no error of ours"
    may = {0} if fault.mode == "short" else set(SAYS[fault.error])
    if fault.place == "host":
        may = {0, 1 if "roots.json" in ended.fired else 0}  # where the corpus is decides whether a view is stale
    if fault.place == "corpus":
        may = {0, 1, 2, 3 if fault.operation == "view" else 0}
    if ended.code not in may:
        yield f"exit code {ended.code}, where one of {sorted(may)} belongs"
    if ended.code and "error:" not in ended.err and not ended.out:
        yield "it failed without a word"
    if ended.code == 7 and "needed" not in ended.err:
        yield "it does not say how much is needed"


def cases(benches: dict[str, Bench], *, writes: bool, sample: int | None) -> list[Fault]:
    """Every fault of every operation, or of what it writes; a sample is evenly spread; a few run afresh."""
    every = [
        replace(fault, n=n)
        for name, bench in benches.items()
        for fault in faults_of(name, writes=writes)
        for n in range(1, bench.count(fault) + 1)
    ]
    step = 1 if sample is None else max(1, len(every) // sample)
    chosen = every[step // 2 :: step]
    return [replace(fault, afresh=i % 500 == 250 or i == len(chosen) // 2) for i, fault in enumerate(chosen)]


def break_all(folder: Path, *, jobs: int, only: Sequence[str], writes: bool, sample: int | None) -> int:
    """Break what was asked for, in several processes; print a line, and return how many violations there were."""
    from operations import OPERATIONS

    began = time.monotonic()
    benches = {name: Bench(folder, name) for name in only or OPERATIONS}
    for bench in benches.values():
        bench.learn()
    faults = cases(benches, writes=writes, sample=sample)
    children = []
    for job in range(jobs):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                (folder / f"job-{job}.json").write_text(
                    json.dumps(_one_job(folder / str(job), benches, faults[job::jobs]))
                )
                code = 0
            except BaseException:  # noqa: BLE001  # told by the exit code
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        raise RuntimeError("a job of the torture broke")
    found = [each for job in range(jobs) for each in json.loads((folder / f"job-{job}.json").read_text())]
    for violation in found[:50]:
        sys.stderr.write(f"{violation}\n")
    kinds = Counter(fault.error for fault in faults)
    seconds = time.monotonic() - began
    sys.stdout.write(
        f"disk faults: {len(faults):,} injected ({', '.join(f'{name} {n:,}' for name, n in kinds.items())}; "
        f"{sum(fault.afresh for fault in faults)} in fresh processes; {', '.join(benches)}), "
        f"{len(found)} violations, {seconds:.0f} s\n"
    )
    return len(found)


def _one_job(folder: Path, learnt: dict[str, Bench], faults: Sequence[Fault]) -> list[str]:
    folder.mkdir()
    found: list[str] = []
    name = ""
    for fault in faults:
        if fault.operation != name:
            name = fault.operation
            bench = Bench(folder, name)
            bench.learn()
        found += bench.violations(fault)
    return found


def compiled(folder: Path) -> Path:
    """Return the shim, compiled."""
    library = folder / SHIM
    subprocess.run(
        ["cc", "-O2", "-fPIC", "-shared", "-o", library, HERE / "faults.c", "-ldl"], check=True, capture_output=True
    )
    return library


def cannot() -> str | None:
    """Return why this machine cannot break calls, None when it can."""
    if sys.platform != "linux" or not any("glibc" in part for part in os.confstr("CS_GNU_LIBC_VERSION").split()):
        return "the shim is for Linux with glibc"
    return None if shutil.which("cc") else "there is no C compiler (cc)"


def under_shim() -> None:
    """Start this program again under the shim, unless it runs there."""
    if Path(os.environ.get("LD_PRELOAD", "none")).name == SHIM:
        return
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        paths = [str(HERE), str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")]
        again = {"LD_PRELOAD": str(compiled(Path(folder))), "PYTHONPATH": os.pathsep.join(paths)}
        steady = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, *sys.argv]
        sys.exit(subprocess.run(command, env=os.environ | again | steady, check=False).returncode)


def main() -> None:
    """Compile the shim, start again under it, and break."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="each call with each error (the default)")
    parser.add_argument("--writes", action="store_true", help="only what creates, writes, syncs, names: disk full, EIO")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many of them")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these operations")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    if reason := cannot():
        sys.exit(f"skipped: {reason}")
    under_shim()
    with tempfile.TemporaryDirectory(prefix="torture-", dir=MEMORY) as folder:
        what = {"only": asked.only, "writes": asked.writes, "sample": asked.sample}
        sys.exit(bool(break_all(Path(folder), jobs=asked.jobs, **what)))


if __name__ == "__main__":
    main()
