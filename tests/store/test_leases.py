"""Leases: one holder at a time, for as long as it lives; whatever is wrong with them, the work goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brainbrr.store import leases
from brainbrr.store.leases import hold, living
from brainbrr.store.store import Store

KEY = "ab" * 16


def elsewhere(action: Callable[[], None]) -> int:
    """Start a process that does something, says so, and then does nothing more; return its number."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            action()
            os.write(writing, b"x")
            time.sleep(120)
        finally:
            os._exit(0)
    os.close(writing)
    assert os.read(reading, 1) == b"x"
    os.close(reading)
    return child


def holding(store: Store, *, ttl_s: float) -> int:
    def take() -> None:
        taken = hold(store.layout, KEY, ttl_s=ttl_s)
        assert taken.__enter__()
        kept.append(taken)

    kept: list[object] = []
    return elsewhere(take)


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_lease_has_one_holder_and_goes_with_it(store: Store) -> None:
    with hold(store.layout, KEY) as first:
        assert first and living(store.layout, [KEY, "cd" * 16]) == {KEY}
        with hold(store.layout, KEY) as second:
            assert not second
        assert living(store.layout, [KEY]) == {KEY}  # who was refused took nothing away
        assert (store.layout.lease(KEY).stat().st_mode & 0o777) == 0o444
    assert living(store.layout, [KEY]) == set()
    assert list((store.location / "leases").iterdir()) == list((store.location / "tmp").iterdir()) == []


def test_no_two_hold_a_lease_that_is_taken_and_let_go_all_the_time(store: Store) -> None:
    inside: list[int] = []
    overlaps: list[int] = []

    def take(me: int) -> int:
        n = 0
        for _ in range(60):
            with hold(store.layout, KEY) as is_free:
                if is_free:
                    inside.append(me)
                    time.sleep(0)
                    overlaps.extend(each for each in inside if each != me)
                    inside.remove(me)
                    n += 1
        return n

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(take, range(6))) > 6
    assert overlaps == []


def test_a_lease_lasts_as_long_as_its_holder_and_no_longer(store: Store) -> None:
    child = holding(store, ttl_s=0.6)
    time.sleep(1.5)
    assert living(store.layout, [KEY], ttl_s=0.6) == {KEY}
    os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while living(store.layout, [KEY], ttl_s=600) and time.monotonic() < deadline:  # dead, and not yet asked for
        time.sleep(0.01)
    with hold(store.layout, KEY, ttl_s=600) as taken_over:
        assert taken_over
    os.waitpid(child, 0)


def test_a_stalled_holder_loses_its_lease_and_does_not_release_the_next_holders(store: Store) -> None:
    child = holding(store, ttl_s=0.6)
    os.kill(child, signal.SIGSTOP)
    with hold(store.layout, KEY, ttl_s=0.6) as too_early:
        assert not too_early
    time.sleep(0.8)
    with hold(store.layout, KEY, ttl_s=0.6) as late:
        assert late
        facts = store.layout.lease(KEY).stat()
        os.kill(child, signal.SIGCONT)
        time.sleep(0.5)  # the first one touches its own file again, which has no name any more
        end(child)
        assert store.layout.lease(KEY).stat().st_ino == facts.st_ino
        assert living(store.layout, [KEY], ttl_s=0.6) == {KEY}


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_age_of_another_hosts_lease_is_told_by_the_files_alone(store: Store, hours: int) -> None:
    path = store.layout.lease(KEY)
    path.parent.mkdir()
    path.write_bytes(b'{"host":"another","process":"00000000-1"}')
    assert living(store.layout, [KEY]) == {KEY}
    now = path.stat().st_mtime
    os.utime(path, (now, now + 3600 * hours))  # an hour old; or the file system's clock was set back
    assert living(store.layout, [KEY]) == set()
    with hold(store.layout, KEY) as taken_over:
        assert taken_over


@pytest.mark.parametrize("what", ["folder", "link", "pipe", "garbage", "no folder"])
def test_whatever_lies_there_the_work_goes_on(store: Store, tmp_path: Path, what: str) -> None:
    path = store.layout.lease(KEY)
    path.parent.mkdir()
    if what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "garbage":
        path.write_bytes(b"x" * 9999)
        os.utime(path, (0, 0))
    else:
        path.parent.rmdir()
        path.parent.touch()
    with hold(store.layout, KEY) as is_free:
        assert is_free
    assert living(store.layout, [KEY]) == set()
    assert not (tmp_path / "elsewhere").exists()


def test_what_the_work_raises_comes_out_and_ends_the_lease(store: Store) -> None:
    with pytest.raises(OSError, match="the disk"), hold(store.layout, KEY):
        raise OSError("the disk")
    assert not store.layout.lease(KEY).exists()


def test_who_may_not_write_goes_on_without(store: Store) -> None:
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    for folder in (store.location, *store.location.parents[:4]):  # as deep as parallel tests lie
        folder.chmod(0o755)
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.setuid(65534)
            with hold(store.layout, KEY) as is_free:
                code = 0 if is_free and not living(store.layout, [KEY]) and not store.layout.lease(KEY).exists() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_lease_expires_long_before_anybody_loses_patience() -> None:
    assert leases.TTL_S == 60
