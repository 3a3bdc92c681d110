"""Fill real disks: tmpfs of every small size, of few inodes, and ones that are filled up in the middle of a command.

`python tests/torture/small_disks.py --full`. The kernel itself refuses here, in a mount namespace of its own; the same
command must complete the work after room was made.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from disk_faults import MEMORY, Bench, Fault, cannot, under_shim

WRITING = ("ingest", "relabel", "resume", "rehash", "zstd")
NAMESPACE = "TORTURE_NAMESPACE"


@dataclass(frozen=True)
class SmallDisk:
    """A tmpfs. Its 4 KiB pages and its inodes are all that it has."""

    n_bytes: int
    n_inodes: int = 10_000

    def empty(self, folder: Path) -> None:
        """Mount it."""
        if os.path.ismount(folder):
            subprocess.run(["umount", "--lazy", folder], check=True)
        options = f"size={self.n_bytes},nr_inodes={self.n_inodes}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "torture", folder], check=True)
        (folder / "ballast").mkdir()

    def mend(self, folder: Path) -> None:
        """Take the ballast away and make it large."""
        shutil.rmtree(folder / "ballast")
        options = f"remount,size={1 << 26},nr_inodes=10000"
        subprocess.run(["mount", "-o", options, folder], check=True)


def disks(bench: Bench, *, step: int) -> Iterator[tuple[SmallDisk, Fault]]:
    """Every small disk for an operation, and when somebody fills it; n = 0: never."""
    files = [path for path in bench.place.disk.rglob("*") if path.name != "ballast"]
    n_bytes = sum(-(-path.stat().st_size // 4096) * 4096 for path in files if path.is_file())
    before = list((bench.kept / "disk").rglob("*"))
    least = sum(-(-path.stat().st_size // 4096) * 4096 for path in before if path.is_file())
    never = Fault(bench.name, "store", "ENOSPC", "fill")
    for size in range(least + (1 << 14), n_bytes + (1 << 18), 4096 * step):
        yield SmallDisk(size), never
    for n in range(len(before) + 4, len(files) + 20, step):
        yield SmallDisk(1 << 24, n), never
    n_calls = bench.count(never)
    for n in range(1, n_calls + 1, step):
        for mode in ("fill", "crowd"):
            yield SmallDisk(1 << 23, 200), Fault(bench.name, "store", "ENOSPC", mode, n)


def fill_all(folder: Path, *, only: Sequence[str], step: int) -> int:
    """Fill what was asked for; print a line, and return how many violations there were."""
    began, n, found = time.monotonic(), 0, list[str]()
    for name in only or WRITING:
        bench = Bench(folder, name, SmallDisk(1 << 26))
        bench.learn()
        for disk, fault in list(disks(bench, step=step)):
            bench.disk = disk
            found += [f"{disk}: {each}" for each in bench.violations(fault)]
            n += 1
        subprocess.run(["umount", "--lazy", bench.place.disk], check=True)
    for violation in found[:50]:
        sys.stderr.write(f"{violation}\n")
    sys.stdout.write(f"small disks: {n:,} filled, {len(found)} violations, {time.monotonic() - began:.0f} s\n")
    return len(found)


def namespace() -> list[str] | None:
    """Return the command that runs another one where it may mount, None where none does."""
    for unshare in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        tried = [*unshare, "mount", "-t", "tmpfs", "torture", "/tmp"]
        if shutil.which("unshare") and not subprocess.run(tried, capture_output=True, check=False).returncode:
            return unshare
    return None


def main() -> None:
    """Start again in a mount namespace, under the shim, and fill."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="every size and every call (the default)")
    parser.add_argument("--step", type=int, default=1, metavar="N", help="only every N-th of them")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these operations")
    asked = parser.parse_args()
    if reason := cannot():
        sys.exit(f"skipped: {reason}")
    if NAMESPACE not in os.environ:
        if (unshare := namespace()) is None:
            sys.exit("skipped: no mount namespace with a tmpfs can be had here")
        command = [*unshare, sys.executable, *sys.argv]
        sys.exit(subprocess.run(command, env={**os.environ, NAMESPACE: "1"}, check=False).returncode)
    under_shim()
    with tempfile.TemporaryDirectory(prefix="torture-", dir=MEMORY) as folder:
        sys.exit(bool(fill_all(Path(folder), only=asked.only, step=asked.step)))


if __name__ == "__main__":
    main()
