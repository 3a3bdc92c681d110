"""What goes wrong on the way: nothing wrong becomes visible, and running it again completes it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from helpers.s3 import Proxy

from brainbrr.core.progress import Silent
from brainbrr.core.statcache import Host
from brainbrr.eeg.signal.recipe import Recipe
from brainbrr.errors import BrainbrrError
from brainbrr.loading.windows import WindowSpec
from brainbrr.profiles import load_profiles
from brainbrr.settings import configs
from brainbrr.share import transfer
from brainbrr.share.transfer import Chosen
from brainbrr.store.opening import open_store
from brainbrr.store.remote import RemoteStore
from brainbrr.store.remotes import Remote
from brainbrr.store.send import verified_shard
from brainbrr.store.store import Store
from brainbrr.store.verify import verify
from brainbrr.views.report import ViewRequest
from brainbrr.views.select import Selection

SCHEDULES = int(os.environ.get("BRAINBRR_TORTURE_SCHEDULES", "1000" if os.environ.get("BRAINBRR_TORTURE") else "50"))
PART = 10


def chosen() -> Chosen:
    profile = load_profiles(configs() / "profiles.toml", corpus=None)["full"]
    selection = Selection(where=(("split", "dev"),))
    return Chosen(ViewRequest(profile, Recipe(), WindowSpec(), selection=selection))


def assert_nothing_wrong_is_visible(url: str, host: Host) -> None:
    """Read the bucket as another machine would: each record has its object, whose content is the record's."""
    shutil.rmtree(host.folder, ignore_errors=True)
    try:
        there = open_store(url, host)
    except BrainbrrError as error:
        assert error.code == "no-store"
        return
    assert isinstance(there, RemoteStore)
    for key in there.keys():  # noqa: SIM118  # a store is no dict
        record = there.record(key)
        assert record is not None
        with verified_shard(there, there, record) as (_, n_bytes):
            assert n_bytes == record.array.shard_bytes
    for corpus in there.corpora():
        there.catalog(corpus)
    for digest in there.frozen_views():
        there.frozen(digest)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SCHEDULES, PART))
def test_under_any_faults_nothing_wrong_is_visible_and_a_retry_completes(
    first: int, stored: Store, s3: Proxy, bucket: str, tmp_path: Path
) -> None:
    for seed in range(first, min(first + PART, SCHEDULES)):
        url, folder = f"{bucket}/{seed}", tmp_path / str(seed)
        mine, reader = Host(folder / "host"), Host(folder / "reader")
        remote = Remote(name="r", url=url)

        def push(remote: Remote = remote, mine: Host = mine) -> int:
            return transfer.push(stored, remote, chosen(), host=mine, progress=Silent()).exit_code

        own = Store.create(folder / "own")

        def pull(own: Store = own, url: str = url, remote: Remote = remote, mine: Host = mine) -> int:
            source = open_store(url, mine)
            return transfer.pull(own, remote, source, chosen(), progress=Silent()).exit_code

        for step in (push, pull):
            s3.break_things(seed * 2 + (step is pull))
            for _ in range(20):
                try:
                    code: int | None = step()
                except BrainbrrError:
                    code = None
                left, s3.left = s3.left, 0
                if step is push:
                    assert_nothing_wrong_is_visible(url, reader)
                else:
                    assert verify(own).corrupt == (), (seed, s3.hit)
                if code == 0:
                    break
                s3.left = left
            assert code == 0, (seed, s3.hit)
        s3.behave()
        assert sorted(own.keys()) == sorted(open_store(url, reader).keys())
        shutil.rmtree(folder)
