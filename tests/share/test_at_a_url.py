"""A store at a URL, read where it is: the same answers as from its folder, and nothing is written there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.s3 import BUCKET, Proxy, proxy, site
from helpers.support import Cli

import brainbrr
from brainbrr.errors import UsageError
from brainbrr.store import places

pytestmark = pytest.mark.slow

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
