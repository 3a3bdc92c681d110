"""That nothing of a corpus stays after `forget`: drafts of other containers, what was never published, quarantine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.support import ROOT, Cli
from helpers.works import InPlace

import brainbrr
from brainbrr.eeg.synthetic.corpus import write_corpus
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions
from brainbrr.store import leases, sidecars
from brainbrr.store.forget import forget
from brainbrr.store.gc import gc
from brainbrr.store.store import Store
from brainbrr.views import retention

pytestmark = pytest.mark.slow

ENDED = """
import os, sys
from pathlib import Path
from brainbrr.core import failpoints
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions

failpoints.listener = lambda point: os._exit(9) if point == sys.argv[3] else None
ingest(IngestOptions(root=Path(sys.argv[1]), store=Path(sys.argv[2]), workers=1))
"""
"""An ingest that ends at a failpoint without cleaning up."""


def signal_of(store: Store) -> list[bytes]:
    """Runs of samples of each recording."""
    runs = []
    for record in store.records():
        with store.reader(record.content, record.array) as reader:
            block = reader.read(0, 2000)
        runs += [block[row, 300:332].tobytes() for row in range(len(block)) if len(set(block[row, 300:332])) > 8]
    return runs


def holding(folder: Path, runs: list[bytes]) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(run in path.read_bytes() for run in runs)]


@pytest.fixture
def half(corpus: Path, stored: Store, tmp_path: Path) -> Path:
    """A store of the corpus but for one recording, which was being written when its ingest ended elsewhere."""
    location, hidden = tmp_path / "store", tmp_path / "hidden.edf"
    edf = sorted(corpus.rglob("*.edf"))[0]
    edf.rename(hidden)
    ingest(IngestOptions(root=corpus, store=location, workers=1))
    hidden.rename(edf)
    return location


def end_elsewhere(corpus: Path, store: Path) -> None:
    """Run an ingest in another pid namespace, as another container has, until it ends in the middle of an object."""
    namespace = ["unshare", "--pid", "--fork", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine permits no pid namespace")
    end(corpus, store, "object written", namespace)


def end(corpus: Path, store: Path, point: str, before: list[str] | None = None) -> None:
    command = [*(before or []), sys.executable, "-c", ENDED, str(corpus), str(store), point]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert done.returncode == 9, done.stderr


def age(store: Path) -> None:
    """Let the lease and the drafts of that ingest be older than a lease lives."""
    then = time.time() - 2 * leases.TTL_S
    for folder in ("leases", "tmp"):
        for path in (store / folder).rglob("*"):
            os.utime(path, (then, then))


def test_a_draft_of_another_container_is_named_until_its_lease_has_expired(
    corpus: Path, half: Path, stored: Store, cli: Cli
) -> None:
    end_elsewhere(corpus, half)
    runs, store = signal_of(stored), Store.open(half)
    drafts = {path.name for path in (half / "tmp").iterdir()}
    assert cli("gc", "--yes", "--store", half).code == 0  # no garbage while its leases live
    away = (half / "leases").rename(half.with_name("leases"))
    told = cli("gc", "--yes", "--grace", "0s", "--store", half)
    assert told.code == 1 and all(f"left: tmp/{name}: {leases.UNKNOWN}" in told.err + told.out for name in drafts)
    shutil.rmtree(half / "leases", ignore_errors=True)
    away.rename(half / "leases")
    told = cli("forget", "demo", "--yes", "--store", half)
    assert told.code == 1 and all(f"tmp/{name}: {leases.RUNNING}" in told.out for name in drafts)
    receipt = sidecars.read_receipts(store.layout)[-1]
    assert drafts == {
        line.partition(": ")[0].removeprefix("tmp/") for line in receipt.out_of_reach if line[:4] == "tmp/"
    }
    assert {path.parent.parent.name for path in holding(half, runs)} == {"tmp"}
    age(half)
    assert cli("gc", "--yes", "--store", half).code == 0 and holding(half, runs) == []


def test_a_draft_of_another_container_with_an_expired_lease_goes(corpus: Path, half: Path, stored: Store) -> None:
    end_elsewhere(corpus, half)
    age(half)
    report = forget(Store.open(half), "demo", yes=True)
    assert (report.unproven, report.exit_code) == ((), 0)
    assert holding(half, signal_of(stored)) == []


def test_a_draft_whose_writer_runs_is_named_and_stays(half: Path) -> None:
    store = Store.open(half)
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        began = Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[19]
        here = leases.own_name().partition("-")[0]
        draft = half / "tmp" / f"{here}-{sleeper.pid}-{began}-{'ab' * 16}"
        draft.write_bytes(b"samples")
        assert gc(store, yes=True).exit_code == 0  # not garbage
        report = forget(store, "demo", yes=True)
        assert report.unproven == (f"tmp/{draft.name}: {leases.RUNNING}",) and report.exit_code == 1
        assert draft.exists()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_what_a_killed_ingest_never_published_goes_too_but_not_while_one_runs(
    corpus: Path, half: Path, stored: Store
) -> None:
    end(corpus, half, "record linked")
    store = Store.open(half)
    assert len(list(store.keys())) == len(list(stored.keys()))
    with leases.hold(store.layout, "ab" * 16):
        assert len(forget(store, "demo").unproven) == 1
    report = forget(store, "demo", yes=True)
    assert report.unproven == () and len(report.records) == len(list(stored.keys()))
    assert holding(half, signal_of(stored)) == []


def test_job_folders_of_the_corpus_go_but_not_while_an_ingest_runs(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the cluster extra is not installed")
    jobs, location = tmp_path / "jobs", tmp_path / "store"
    for seed, name in enumerate(("demo", "more")):
        write_corpus(tmp_path / name, n_recordings=1, seed=seed, seconds=(10, 10))
        brainbrr.ingest(tmp_path / name, store=location, executor=InPlace(jobs))
    store = Store.open(location)
    [folder] = brainbrr.forget("demo", store=store).jobs
    with leases.hold(store.layout, "ab" * 16):
        assert retention.forget(store, "demo", jobs=jobs).unproven[-1].startswith(f"{folder}: an ingest runs")
    assert len(list(jobs.iterdir())) == 2
    report = brainbrr.forget("demo", store=store, delete=True)
    assert (report.jobs, report.exit_code) == ((folder,), 0)
    [left] = jobs.iterdir()
    assert str(left) != folder


def test_samples_in_quarantine_go_or_are_named(half: Path, stored: Store) -> None:
    store = Store.open(half)
    first, second, third = [record.content for record in store.records()][:3]
    aside = half / "quarantine"
    shutil.copytree(store.layout.object(first), aside / "copy of it" / first)
    shutil.copytree(store.layout.object(second), aside / "no name of ours")
    shutil.copytree(store.layout.object(third), aside / "damaged.0123456789ab")
    (aside / "damaged.0123456789ab" / "zarr.json").unlink()
    report = forget(store, "demo", yes=True)
    assert set(report.quarantine) == {"copy of it", "no name of ours"}
    [left] = report.unproven
    assert left.startswith("quarantine/damaged.0123456789ab: ") and f"rm -r {aside}" in left
    assert {path.parent.name for path in holding(half, signal_of(stored))} == {"damaged.0123456789ab"}
