"""A store at a URL, read where it is: the same answers as from its folder, and nothing is written there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.s3 import BUCKET, Proxy, proxy, site
from helpers.support import TINY, Cli

import brainbrr
from brainbrr.errors import BrainbrrError, IntegrityError, UsageError
from brainbrr.store import places
from brainbrr.store.places import RemoteError

pytestmark = pytest.mark.slow

READ_SCHEDULES = int(os.environ.get("BRAINBRR_TORTURE_SCHEDULES", "100" if os.environ.get("BRAINBRR_TORTURE") else "3"))
WINDOW = brainbrr.WindowSpec(2, stride_s=1)


@pytest.fixture(scope="module")
def www(stored_at: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store in a folder, with the index that a web site needs."""
    folder = tmp_path_factory.mktemp("www")
    brainbrr.push(folder / "store", store=stored_at)
    return folder / "store"


@pytest.fixture
def web(www: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of that store on a web site, for a host that never saw it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "host"))
    with site(www) as url:
        yield url


@pytest.fixture
def asked(web: str) -> Iterator[Proxy]:
    """A proxy before that web site."""
    with proxy(int(web.rpartition(":")[2])) as state:
        yield state


def urls(request: pytest.FixtureRequest, where: str, stored_at: Path) -> str:
    if where == "site":
        return str(request.getfixturevalue("web"))
    request.getfixturevalue("s3")
    brainbrr.push(f"s3://{BUCKET}/reading", store=stored_at)
    return f"s3://{BUCKET}/reading"


@pytest.mark.parametrize("where", ["site", "bucket"])
def test_ls_view_and_status_say_the_same_as_of_the_folder(
    where: str, stored_at: Path, request: pytest.FixtureRequest
) -> None:
    url = urls(request, where, stored_at)
    assert brainbrr.ls(url).rows == brainbrr.ls(stored_at).rows
    quality = {"where": ["seizures>0"], "min_quality": 1}
    for chosen in ({}, {"profile": "smoke", "split": "train"}, quality):
        far, near = (brainbrr.view(each, window=WINDOW, **chosen) for each in (url, stored_at))
        assert (far.state, far.digest, far.totals) == ("ready", near.digest, near.totals)
        assert far.index.gain.tobytes() == near.index.gain.tobytes()
    far, near = brainbrr.status(url), brainbrr.status(stored_at)
    assert (far.objects, far.n_bytes, far.profiles) == (near.objects, near.n_bytes, near.profiles)


def test_records_are_fetched_once_and_lists_once(web: str, asked: Proxy) -> None:
    url = f"http://127.0.0.1:{asked.port}"
    brainbrr.ls(url)
    first = len(asked.seen)
    asked.seen.clear()
    assert brainbrr.view(url, window=WINDOW).state == "ready"
    assert len(asked.seen) <= 2 < first, [path for _, path, _ in asked.seen]


WRITE = [
    "ingest {root}",
    "gc --yes",
    "repair",
    "forget demo",
    "pin --list",
    "recompress --to other --codec zstd",
    "init",
    "recipe retire default",
    "remote add lab lab/store",
]


def test_what_writes_refuses_a_store_at_a_url_in_one_line(cli: Cli, web: str, generated: Path) -> None:
    for words in WRITE:
        told = cli(*words.format(root=generated).split(), "--store", web)
        assert told.code == 2 and "one at a URL is only read" in told.err, (words, told.err)
        assert told.out == ""


def test_a_view_read_at_a_url_is_not_pinned_there(web: str) -> None:
    with pytest.raises(UsageError, match="only read"):
        brainbrr.pin(brainbrr.view(web, window=WINDOW))


def test_a_url_without_a_store_and_a_server_that_is_gone_are_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(places, "FIRST_BACKOFF_S", 0.01)
    with site(tmp_path) as url:
        told = cli("ls", "--store", f"{url}/nothing")
        assert told.code == 2 and "there is no store at this remote" in told.err
    told = cli("ls", "--store", url)
    assert told.code == 1 and told.err.startswith("error: the remote does not answer"), told.err


# Reading windows


def batches(view: brainbrr.View, epochs: int = 1) -> list[tuple[bytes, bytes]]:
    with brainbrr.loader(view, batch=8, epochs=epochs, as_numpy=True, seed=0) as found:
        return [(each.signal.tobytes(), each.label.tobytes()) for each in found]


def opened(url: str, cache_bytes: int | None = None) -> brainbrr.View:
    return brainbrr.view(brainbrr.open_store(url, cache_bytes=cache_bytes), window=WINDOW)


@pytest.fixture
def through(asked: Proxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the proxy; what fails is tried again at once."""
    monkeypatch.setattr(places, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(places, "FIRST_BACKOFF_S", 0.01)
    return f"http://127.0.0.1:{asked.port}"


def shards(asked: Proxy) -> list[str]:
    return [path for _, path, _ in asked.seen if path.endswith("/c.0.0")]


@pytest.mark.parametrize("cache_bytes", [None, 0, 2_000_000])
def test_windows_at_a_url_have_the_bits_of_the_folder_whatever_is_kept(
    cache_bytes: int | None, stored_at: Path, asked: Proxy, through: str, tmp_path: Path
) -> None:
    near, far = brainbrr.view(stored_at, window=WINDOW), opened(through, cache_bytes)
    assert batches(far) == batches(near)
    assert (far[5].signal == near[5].signal).all()
    asked.seen.clear()
    assert batches(far, 2) == batches(near, 2)
    kept = sum(path.stat().st_blocks * 512 for path in (tmp_path / "host").rglob("*-none"))
    if cache_bytes is None:
        assert asked.seen == [] and batches(opened(through)) == batches(near) and shards(asked) == []
    else:
        assert kept <= cache_bytes + 300_000  # and the shard that is read now


def test_a_window_is_one_request_and_overlapping_ones_fetch_no_tile_twice(asked: Proxy, through: str) -> None:
    view = brainbrr.view(brainbrr.open_store(through), window=brainbrr.WindowSpec(20))
    asked.seen.clear()
    view[0]
    assert len(asked.seen) == 1 and len(shards(asked)) == 1, asked.seen  # two tiles, one range
    batches(view)
    n_tiles = sum(each.record.array.n_tiles for each in view.recordings)
    whole = sum(each.n_samples // (20 * 256) for each in view.recordings)
    assert len(asked.seen) <= whole < n_tiles


def test_a_store_with_a_codec_is_read_at_a_url(
    www: Path, tmp_path: Path, stored_at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "host"))
    brainbrr.init(tmp_path / "packed", codec="zstd")
    brainbrr.push(tmp_path / "packed", store=stored_at)
    with site(tmp_path / "packed") as url:
        assert batches(opened(url), 2) == batches(brainbrr.view(stored_at, window=WINDOW), 2)


def test_a_flipped_byte_at_the_server_is_found_and_one_in_the_cache_is_fetched_again(
    www: Path, stored_at: Path, asked: Proxy, through: str, tmp_path: Path
) -> None:
    near, far = brainbrr.view(stored_at, window=WINDOW), opened(through)
    assert batches(far) == batches(near)
    for copy in (tmp_path / "host").rglob("*-none"):
        data = bytearray(copy.read_bytes())
        data[5_000] ^= 1
        copy.write_bytes(data)
    asked.seen.clear()
    assert batches(opened(through)) == batches(near) and len(shards(asked)) == 18
    record = far.recordings[0].record
    shard = next(www.rglob(f"{record.content}/c.0.0"))
    before = shard.read_bytes()
    shard.chmod(0o644)
    try:
        shard.write_bytes(before[:7_000] + bytes([before[7_000] ^ 1]) + before[7_001:])
        with pytest.raises(IntegrityError, match=r"damaged from 0 s to 10 s .*in recording") as caught:
            batches(opened(through, 0))
        assert through in str(caught.value.where)
    finally:
        shard.write_bytes(before)


@pytest.mark.parametrize("seed", range(READ_SCHEDULES))
def test_faults_on_the_way_are_retried_and_give_the_same_bits(
    seed: int, stored_at: Path, asked: Proxy, through: str
) -> None:
    near = batches(brainbrr.view(stored_at, window=WINDOW))
    asked.break_things(seed, chance=0.15, most=40, faults=("lost", "429", "500", "503", "slow", "cut", "flip"))
    for _ in range(20):
        try:
            found = batches(opened(through))
        except BrainbrrError:
            continue  # one clear error
        assert found == near, (seed, asked.hit)
        break
    else:
        pytest.fail(f"never completed: {seed} {asked.hit}")
    assert asked.hit


def test_a_server_that_fails_while_windows_are_read_is_one_clear_error(asked: Proxy, through: str) -> None:
    view = opened(through)
    asked.break_things(0, chance=1.0, most=1_000_000, faults=("500",))
    with pytest.raises(RemoteError, match="does not answer"):
        batches(view)


def test_a_forked_process_is_told_and_does_not_hang(web: str) -> None:
    view = opened(web)
    view[0]
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            view[100]
        except UsageError as error:
            os._exit(7 if "forked" in error.what else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_training_at_a_url_gives_the_weights_of_the_folder(cli: Cli, web: str, stored_at: Path, tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(TINY)
    said = [
        cli(
            "train",
            "--config",
            config,
            "--set",
            "train.steps=2",
            "--store",
            store,
            "--runs",
            tmp_path / name,
            "--name",
            "run",
            "--json",
        )
        for name, store in (("near", stored_at), ("far", web))
    ]
    assert [each.code for each in said] == [0, 0], said[1].err
    weights = [next((tmp_path / name).rglob("model.safetensors")).read_bytes() for name in ("near", "far")]
    assert weights[0] == weights[1]


# verify


@pytest.mark.parametrize("where", ["site", "bucket"])
def test_verify_reads_a_store_at_a_url_and_finds_what_is_damaged_there(
    where: str, stored_at: Path, cli: Cli, request: pytest.FixtureRequest
) -> None:
    url = urls(request, where, stored_at)
    for depth in ("quick", "checksums", "full"):
        report = brainbrr.verify(url, depth=depth)
        assert (report.objects, report.records, report.verified, report.corrupt) == (18, 18, 18, ())
    assert cli("verify", "--quick", "--store", url).code == 0


def test_verify_names_each_damage_of_a_site(www: Path, web: str, stored_at: Path) -> None:
    some = sorted(www.rglob("c.0.0"))
    before = {path: path.read_bytes() for path in some[:2]}
    record = sorted(www.glob("records/*/*.json"))[-1]
    before[record] = record.read_bytes()
    try:
        for path in before:
            path.chmod(0o644)
        some[0].write_bytes(before[some[0]][:4000] + b"\0\0" + before[some[0]][4002:])
        some[1].write_bytes(before[some[1]][:-1])
        record.write_bytes(before[record].replace(b'"key"', b'"kez"'))
        quick = {each.name for each in brainbrr.verify(web, depth="quick").corrupt if each.kind == "object"}
        full = {each.name for each in brainbrr.verify(web).corrupt if each.kind == "object"}
        assert some[1].parent.name in full and some[0].parent.name in full - quick
        assert record.stem in {each.name for each in brainbrr.verify(web, depth="quick").corrupt}
    finally:
        for path, data in before.items():
            path.write_bytes(data)
    assert brainbrr.verify(web).corrupt == ()
