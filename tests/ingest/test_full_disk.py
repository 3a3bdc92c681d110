"""A disk that fills up while an ingest works: no half object is begun, and what is done is in the catalog."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import ROOT

# in a mount namespace of its own: somebody else fills the disk after five recordings, and takes it away again
SCRIPT = """
import json, os, sys
from pathlib import Path
import brainbrr
from brainbrr.errors import SpaceError
from brainbrr.core.progress import Silent
from brainbrr.store.store import Store

corpus, disk, what = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
ballast = disk / "ballast"
ballast.mkdir()

class Filling(Silent):
    task, n = "", 0
    def start(self, task, total, unit):
        self.task = task
    def advance(self, n=1, *, note=""):
        self.n += self.task == "building"
        if self.n == 5 and not any(ballast.iterdir()):
            free = os.statvfs(disk)
            if what == "bytes":
                (ballast / "0").write_bytes(bytes(free.f_bavail * free.f_frsize - 400_000))
            else:
                for i in range(free.f_favail - 10):
                    (ballast / str(i)).touch()

def held():
    store = Store.open(disk / "store")
    return sum(bool(row.contents) for row in store.catalog("demo").rows.values()), len(list(store.contents()))

try:
    brainbrr.ingest(corpus, store=disk / "store", progress=Filling())
    said = None
except SpaceError as error:
    said = error.what, error.exit_code
full = held(), len(list((disk / "store" / "tmp").iterdir())), len(list((disk / "store" / "quarantine").iterdir()))
for file in ballast.iterdir():
    file.unlink()
again = brainbrr.ingest(corpus, store=disk / "store")
print(json.dumps([said, full, again.new, again.reused, held(), brainbrr.verify(Store.open(disk / "store")).verified]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_a_full_disk_leaves_no_partial_object_and_the_same_command_finishes(
    generated: Path, tmp_path: Path, what: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=24m,nr_inodes=800 none {disk} && exec "$@"'
    namespace = ["unshare", "-m", *([] if os.geteuid() == 0 else ["-Ur"]), "sh", "-c", mount, "sh"]
    if sys.platform != "linux" or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "host")}
    command = [*namespace, sys.executable, "-c", SCRIPT, str(generated), str(disk), what]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    said, full, new, reused, held, verified = json.loads(told.stdout)
    assert said is not None and f"{what} are needed and" in said[0] and said[1] == 7
    left = int(said[0].partition("; the ")[2].split()[0])  # what was under way when the disk filled up may be done
    assert (
        9 <= left <= 13 and " recordings that are left need " in said[0] and f" bytes and {5 * left} inodes" in said[0]
    )
    assert full == [[18 - left, 18 - left], 0, 0]
    assert (new, reused, held, verified) == (left, 18 - left, [18, 18], 18)
