"""SIGKILL in pushes and pulls: `python tests/torture/transfers.py` kills each when the server has seen n requests.

After each kill another machine reads the bucket, and nothing wrong is visible; the same command then completes.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

from helpers.s3 import BUCKET, KEYS, Proxy, proxy, seaweed

import brainbrr
from brainbrr.core.statcache import Host
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.errors import BrainbrrError
from brainbrr.store.opening import open_store
from brainbrr.store.reader import content_of
from brainbrr.store.remote import RemoteStore
from brainbrr.store.store import Store
from brainbrr.store.verify import verify


@dataclass(frozen=True)
class Trial:
    """One transfer that is killed: the store that is whole, the bucket's URL, and the store that pulls."""

    stored: Path
    url: str
    own: Path

    def command(self, direction: str) -> list[str]:
        store = self.stored if direction == "push" else self.own
        return [sys.executable, "-m", "brainbrr", direction, self.url, "--store", str(store)]


def killed_at(command: list[str], n_requests: int, seen: Proxy, environment: dict[str, str]) -> bool:
    """Run a command, and kill it when the proxy has seen so many requests of it; say whether it was alive then."""
    seen.seen.clear()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(seen.seen) < n_requests:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
    return process.returncode == -signal.SIGKILL


def nothing_wrong_is_visible(url: str, folder: Path) -> None:
    """Read a bucket as a machine that never saw it: each record has its object, which has the record's content."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        there = open_store(url, Host(folder))
    except BrainbrrError as error:
        assert error.code == "no-store", error
        return
    assert isinstance(there, RemoteStore)
    for key in there.keys():  # noqa: SIM118  # a store is no dict
        record = there.record(key)
        assert record is not None
        with there.reader(record.content, record.array, checks=bytes.fromhex(record.checks)) as reader:
            assert content_of(reader) == record.content
    for corpus in there.corpora():
        there.catalog(corpus)
    for digest in there.frozen_views():
        there.frozen(digest)


def trial(found: Trial, direction: str, chance: random.Random, seen: Proxy, folder: Path) -> bool:
    """Kill one transfer, look, and complete it; say whether it was killed before its end."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "worker")}
    if direction == "pull":
        brainbrr.push(found.url, store=found.stored)
    died = killed_at(found.command(direction), chance.randint(1, 60), seen, environment)
    nothing_wrong_is_visible(found.url, folder / "other")
    if direction == "push":
        assert brainbrr.push(found.url, store=found.stored).exit_code == 0
        nothing_wrong_is_visible(found.url, folder / "other")
    elif Store.open_if_there(found.own):
        assert verify(Store.open(found.own)).corrupt == ()
    assert brainbrr.pull(found.url, store=found.own).exit_code == 0
    assert verify(Store.open(found.own)).corrupt == ()
    assert brainbrr.view(found.own).digest == brainbrr.view(found.stored).digest is not None
    return died


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ.update(KEYS)
    ended: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name, seaweed(Path(name)) as port, proxy(port) as seen:
        folder = Path(name) / "here"
        os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{seen.port}", "XDG_CACHE_HOME": str(folder / "host")}
        write_corpus(folder / "demo", n_recordings=8, seed=0, seconds=(12, 14))
        brainbrr.ingest(folder / "demo", store=folder / "stored")
        n = 0
        while sum(ended.values()) < asked.kills:
            direction = ("push", "pull")[n % 2]
            at = Trial(folder / "stored", f"s3://{BUCKET}/{asked.seed}-{n}", folder / str(n) / "own")
            (folder / str(n)).mkdir()
            if trial(at, direction, random.Random(f"{asked.seed}-{n}"), seen, folder / str(n)):
                ended[direction] += 1
            shutil.rmtree(folder / str(n))
            n += 1
    killed = ", ".join(f"{count} in a {direction}" for direction, count in sorted(ended.items()))
    print(f"transfers: {sum(ended.values())} kills ({killed}), all completed by the same command, 0 wrong")


if __name__ == "__main__":
    main()
